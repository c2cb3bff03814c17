"""Opening media files of strangers and reading their compressed packets.

Torch-free. Knows nothing of windows or models: it gives, for one file, the sound and the picture track as lists of
packets with their times in seconds from the start of the clip.
"""

from __future__ import annotations

import math
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition, Stream

from worker.contract.errors import MediaError

FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,mpegts,wav,ogg,mp3,flac"
"""Demuxers that may run: no playlists, no image sequences, nothing that opens other files."""

Compressed: TypeAlias = "Packet[Stream]"

_EARLY_END_FLOOR_S = 0.15
_EARLY_END_SHARE = 0.03
_READ_MARGIN_S = 1.0


@dataclass(frozen=True)
class DecodeLimits:
    """What a clip may cost."""

    max_pixels: int = 4096 * 4096
    """Width x height, checked before a frame is decoded."""
    max_duration_s: float | None = None
    """Longer clips are refused; None: no limit (a window is read from the middle)."""
    threads: int = 1
    """Decoder threads: 1 where one process runs for each core, 2 for a single uploaded clip."""
    in_memory_bytes: int = 32 * 1024 * 1024
    """Smaller files are read whole, so that their true end is known; of larger ones only the part that is needed."""


@dataclass
class Track:
    """One stream: its decoder and its packets in decoding order."""

    stream: av.VideoStream | av.AudioStream
    origin_s: float = 0.0
    """Time stamp of the start of the clip: packets' and frames' stamps minus this are seconds from its start."""
    start_s: float = math.inf
    end_s: float = -math.inf
    packets: list[Compressed] = field(default_factory=list)
    times_s: list[float] = field(default_factory=list)
    """Presentation time of each packet, from the start of the clip."""

    def add(self, packet: Compressed, *, keep: bool) -> float:
        """Notes a packet's time, keeps it if asked, and returns its time in seconds from the start of the clip."""
        stamp = packet.pts if packet.pts is not None else packet.dts
        tick_s = self.tick_s
        time_s = stamp * tick_s - self.origin_s if stamp is not None and tick_s else max(self.end_s, 0.0)
        length_s = packet.duration * tick_s if packet.duration and tick_s else self._nominal_s()
        if not packet.is_discard:
            self.start_s = min(self.start_s, max(time_s, 0.0))
            self.end_s = max(self.end_s, time_s + length_s)
        if keep:
            self.packets.append(packet)
            self.times_s.append(time_s)
        return time_s

    @property
    def length_s(self) -> float | None:
        """How long the track is: by its packets if all were read, else as the file declares it, if it does."""
        if self.packets:
            return self.end_s - self.start_s if math.isfinite(self.end_s - self.start_s) else None
        return self.stream.duration * self.tick_s if self.stream.duration else None

    @cached_property
    def tick_s(self) -> float:
        """The stream's unit of time in seconds; 0 where it has none."""
        return float(self.stream.time_base or 0)

    def _nominal_s(self) -> float:
        rate = self.stream.average_rate if isinstance(self.stream, av.VideoStream) else None
        return float(1 / rate) if rate else 0.0


@dataclass
class Media:
    """One file: its tracks and how long it is."""

    audio: Track | None
    visual: Track | None
    declared_s: float | None
    notes: list[str]

    @property
    def tracks(self) -> list[Track]:
        """The tracks that are there."""
        return [track for track in (self.audio, self.visual) if track is not None]


@contextmanager
def open_container(path: Path) -> Iterator[InputContainer]:
    """Opens a regular file with the demuxers of `FORMATS`; no network, no second file.

    Raises:
        MediaError: media-not-found, media-empty, media-not-decodable.
    """
    absolute = path.absolute()
    try:
        status = absolute.stat()
    except OSError as error:
        raise MediaError(f"There is no file {path.name!r}: {error.strerror}.", code="media-not-found") from None
    if not stat.S_ISREG(status.st_mode):
        raise MediaError(f"{path.name!r} is no regular file.", code="media-not-decodable")
    if status.st_size == 0:
        raise MediaError(f"{path.name!r} is empty (0 bytes). Upload or copy it again.", code="media-empty")
    options = {"protocol_whitelist": "file", "format_whitelist": FORMATS}
    try:
        container = av.open(str(absolute), mode="r", options=options, metadata_errors="replace")
    except (av.FFmpegError, ValueError, OverflowError) as error:
        raise MediaError(
            f"{path.name!r} is no readable mp4, mov, mkv, webm, avi, flv, mpegts, wav, ogg, mp3 or flac file "
            f"({_said(error)}).",
            code="media-not-decodable",
        ) from None
    with container:
        yield container


def read_media(container: InputContainer, limits: DecodeLimits, *, size_bytes: int) -> Media:
    """Returns the tracks of an open file, with all packets if the file is small, else with none yet.

    Raises:
        MediaError: media-no-streams, media-too-large, media-too-long.
    """
    declared_s = container.duration / av.time_base if container.duration and container.duration > 0 else None
    media = Media(_audio_track(container), _visual_track(container), declared_s, [])
    if not media.tracks:
        raise MediaError("The file has neither a sound nor a picture track.", code="media-no-streams")
    _check_picture(media.visual, limits)
    _check_duration(declared_s, limits)
    keep = size_bytes <= limits.in_memory_bytes
    if keep or declared_s is None:
        _read_all(container, media, keep=keep)
        _note_early_end(media)
        _check_duration(max((t.end_s for t in media.tracks), default=0.0), limits)
    else:
        for track in media.tracks:
            track.start_s, track.end_s = 0.0, declared_s
    return media


def read_region(container: InputContainer, media: Media, start_s: float, end_s: float) -> None:
    """Reads the packets of [start_s, end_s] of a large file into its tracks, beginning at the keyframe before."""
    if any(track.packets for track in media.tracks):
        return
    by_index = {track.stream.index: track for track in media.tracks}
    container.seek(round(max(0.0, start_s - _READ_MARGIN_S / 2 + _origin_s(container)) * av.time_base), backward=True)
    waiting = set(by_index)
    for track in media.tracks:
        track.start_s, track.end_s = math.inf, -math.inf
    for packet in _packets(container, media):
        if packet.stream_index not in by_index:
            continue
        time_s = by_index[packet.stream_index].add(packet, keep=True)
        if time_s > end_s + _READ_MARGIN_S:
            waiting.discard(packet.stream_index)
            if not waiting:
                return


def _read_all(container: InputContainer, media: Media, *, keep: bool) -> None:
    by_index = {track.stream.index: track for track in media.tracks}
    for packet in _packets(container, media):
        by_index[packet.stream_index].add(packet, keep=keep)


def _packets(container: InputContainer, media: Media) -> Iterator[Compressed]:
    try:
        for packet in container.demux([track.stream for track in media.tracks]):
            if packet.size:
                yield packet
    except av.FFmpegError as error:
        media.notes.append(f"the file is damaged: reading stopped ({_said(error)})")


def _origin_s(container: InputContainer) -> float:
    return container.start_time / av.time_base if container.start_time is not None else 0.0


def _audio_track(container: InputContainer) -> Track | None:
    for stream in container.streams.audio:
        if stream.codec_context is not None:
            return Track(stream, _origin_s(container))
    return None


def _visual_track(container: InputContainer) -> Track | None:
    for stream in container.streams.video:
        if stream.codec_context is not None and not stream.disposition & Disposition.attached_pic:
            return Track(stream, _origin_s(container))
    return None


def _check_picture(track: Track | None, limits: DecodeLimits) -> None:
    if track is None or not isinstance(track.stream, av.VideoStream):
        return
    context = track.stream.codec_context
    if context.width * context.height > limits.max_pixels:
        raise MediaError(
            f"The picture is {context.width} x {context.height}; at most {limits.max_pixels:,} pixels are decoded. "
            "Scale the video down.",
            code="media-too-large",
        )
    context.options = {"max_pixels": str(limits.max_pixels)}
    context.thread_count = limits.threads
    context.thread_type = "SLICE"


def _check_duration(duration_s: float | None, limits: DecodeLimits) -> None:
    if duration_s is not None and limits.max_duration_s is not None and duration_s > limits.max_duration_s:
        raise MediaError(
            f"The clip lasts {duration_s:.0f} s; at most {limits.max_duration_s:.0f} s are accepted. Cut it.",
            code="media-too-long",
        )


def _note_early_end(media: Media) -> None:
    end_s = max((track.end_s for track in media.tracks), default=-math.inf)
    if media.declared_s is None or not math.isfinite(end_s):
        return
    if end_s < media.declared_s - max(_EARLY_END_FLOOR_S, _EARLY_END_SHARE * media.declared_s):
        media.notes.append(f"ends early at {end_s:.1f} of {media.declared_s:.1f} s")


def _said(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__)[:200]
