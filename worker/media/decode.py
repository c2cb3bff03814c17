"""From a clip to the arrays of its window: mono sound and evenly spread frames.

Torch-free (PyAV and numpy), since it runs in expendable processes (worker.media.sandbox). It must not know models,
datasets or log-mel spectrograms.

The window has a fixed length, spec.duration_s. Of a longer clip it is the middle or the start; of a shorter one
the whole clip, its sound repeated and its frames spread over what there is. W windows; S samples; T frames; H side of
the square frames.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import av
import numpy as np
from av.container import InputContainer
from numpy.typing import NDArray

from worker.contract.errors import MediaError
from worker.contract.quality import ClipQuality
from worker.media.container import DecodeLimits, Media, Track, open_container, read_media, read_region
from worker.media.picture import decode_frames
from worker.media.pictures import packed_pictures
from worker.media.sound import decode_sound

_TOLERANCE_S = 0.04
"""One frame at 25 frames/s: a clip shorter than the window by less counts as whole."""


class WindowSpec(Protocol):
    """What decoding needs of a PreprocessSpec."""

    @property
    def duration_s(self) -> float:
        """Length of the window."""

    @property
    def sample_rate_hz(self) -> int:
        """Sample rate of the sound."""

    @property
    def num_samples(self) -> int:
        """Samples in the window."""

    @property
    def num_frames(self) -> int:
        """Frames spread over the window."""

    @property
    def frame_size(self) -> int:
        """Side of the square frames."""

    @property
    def window(self) -> Literal["middle", "start"]:
        """Which part of a longer clip is taken."""

    @property
    def frame_choice(self) -> Literal["spread", "one-fps"]:
        """Where in the window the frames lie."""

    @property
    def frame_fit(self) -> Literal["cut", "squeeze"]:
        """How a picture becomes square."""


@dataclass(frozen=True)
class MediaInfo:
    """What the file is, before scaling and resampling; None where the track is missing."""

    duration_s: float
    width: int | None
    height: int | None
    frames_per_s: float | None
    sample_rate_hz: int | None
    duration_mismatch_s: float | None = None
    """How much longer one track is than the other; None too where a large file does not declare it."""


@dataclass(frozen=True, eq=False)
class DecodedClip:
    """One window of a clip; an array is None where the clip has no such track."""

    waveform: NDArray[np.float32] | None
    """(S,) mono, -1..1."""
    frames: NDArray[np.uint8] | None
    """(T, H, H, 3) RGB."""
    start_s: float
    """Start of the window in the clip."""
    padded: bool
    """The clip is shorter than the window."""
    info: MediaInfo
    notes: tuple[str, ...] = ()
    quality: ClipQuality | None = None
    """Where it was asked for (worker.media.quality)."""

    @property
    def duration_s(self) -> float:
        """Length of the whole clip."""
        return self.info.duration_s


@dataclass(frozen=True)
class _Source:
    container: InputContainer
    media: Media


@dataclass(frozen=True)
class _Window:
    start_s: float
    length_s: float


def decode_clip(
    path: Path,
    spec: WindowSpec,
    *,
    audio_path: Path | None = None,
    start_s: float | None = None,
    end_s: float | None = None,
    limits: DecodeLimits | None = None,
) -> DecodedClip:
    """Returns the one window of a clip that a model sees: the middle of it, or of the part [start_s, end_s].

    Args:
        path: a media file with picture, sound or both; or a folder of JPEG frames.
        spec: the window.
        audio_path: a file that holds the sound, where it lies beside the video.
        start_s: start of the part to use, seconds from the start of the clip.
        end_s: end of the part to use.
        limits: what the clip may cost.

    Raises:
        MediaError: with the codes media-not-found, media-empty, media-not-decodable, media-no-streams, media-too-large,
            media-too-long, media-bad-range.
    """
    clips = decode_windows(path, spec, audio_path=audio_path, start_s=start_s, end_s=end_s, limits=limits)
    return clips[0]


def decode_windows(
    path: Path,
    spec: WindowSpec,
    *,
    audio_path: Path | None = None,
    start_s: float | None = None,
    end_s: float | None = None,
    max_windows: int = 0,
    hop_s: float | None = None,
    limits: DecodeLimits | None = None,
) -> list[DecodedClip]:
    """Returns the middle window, and after it up to `max_windows` windows spread over the clip in time order.

    The file is read once. All windows have the tracks that the first one has. A clip that is not longer than the window
    has no windows over time.

    Args:
        path: a media file with picture, sound or both; or a folder of JPEG frames.
        spec: the window.
        audio_path: a file that holds the sound, where it lies beside the video.
        start_s: start of the part to use, seconds from the start of the clip.
        end_s: end of the part to use.
        max_windows: windows over time wanted at most. Where the hop asks for more, so many are spread evenly over the
            clip, and a note says so.
        hop_s: seconds from one window to the next, half a window by default; the last window ends with the clip.
        limits: what the clip may cost.

    Raises:
        MediaError: as decode_clip.
    """
    limits = limits or DecodeLimits()
    try:
        with ExitStack() as stack:
            sound = _open(stack, audio_path, limits) if audio_path is not None else None
            sources = [_open_pictures(stack, path, limits, sound) if path.is_dir() else _open(stack, path, limits)]
            if audio_path is not None and sound is not None:
                sources.append(sound)
                sources[0].media.audio = None
                sources[1].media.visual = None
                if sources[1].media.audio is None:
                    raise MediaError(f"{audio_path.name!r} holds no sound.", code="media-no-streams")
            part = _part(sources, spec.duration_s, start_s, end_s)
            starts, thinned = window_starts(part.length_s, spec.duration_s, max_windows, hop_s)
            spread = [_Window(part.start_s + start_s, spec.duration_s) for start_s in starts]
            return _decode(sources, [_chosen(part, spec), *spread], spec, limits, thinned)
    except (MemoryError, av.MemoryError):
        raise MediaError("Decoding the clip takes too much memory. Scale or cut it.", code="media-too-large") from None
    except av.FFmpegError as error:
        raise MediaError(f"The clip cannot be decoded: {error.strerror}.", code="media-not-decodable") from None


def _open(stack: ExitStack, path: Path, limits: DecodeLimits) -> _Source:
    container = stack.enter_context(open_container(path))
    return _Source(container, read_media(container, limits, size_bytes=path.stat().st_size))


def _open_pictures(stack: ExitStack, folder: Path, limits: DecodeLimits, sound: _Source | None) -> _Source:
    """Opens a folder of frames, which last as long as the sound."""
    content = packed_pictures(folder, sound.media.audio.length_s if sound and sound.media.audio else None)
    container = stack.enter_context(av.open(io.BytesIO(content), mode="r", format="mov"))
    return _Source(container, read_media(container, limits, size_bytes=len(content)))


def _part(sources: Sequence[_Source], duration_s: float, start_s: float | None, end_s: float | None) -> _Window:
    """Returns the stretch to choose from: where picture and sound both are, if that is long enough, else all."""
    tracks = [track for source in sources for track in source.media.tracks if math.isfinite(track.start_s)]
    if not tracks:
        raise MediaError("The file holds no sound and no picture: it was cut off or damaged.", code="media-empty")
    whole = min(t.start_s for t in tracks), max(t.end_s for t in tracks)
    shared = max(t.start_s for t in tracks), min(t.end_s for t in tracks)
    begin, end = shared if shared[1] - shared[0] >= duration_s else whole
    if start_s is not None or end_s is not None:
        begin, end = max(whole[0], start_s or 0.0), min(whole[1], end_s if end_s is not None else math.inf)
    if end <= begin and (start_s is not None or end_s is not None):
        raise MediaError(
            f"The part from {start_s or 0.0:g} s to {end_s if end_s is not None else whole[1]:g} s lies outside the "
            f"clip, which lasts {whole[1]:.2f} s.",
            code="media-bad-range",
        )
    return _Window(begin, max(end - begin, 0.0))


def _chosen(part: _Window, spec: WindowSpec) -> _Window:
    spare = part.length_s - spec.duration_s
    if spare <= 0:
        return part
    return _Window(part.start_s + (spare / 2 if spec.window == "middle" else 0.0), spec.duration_s)


def window_starts(
    length_s: float, duration_s: float, max_windows: int, hop_s: float | None = None
) -> tuple[list[float], str | None]:
    """Returns where windows over time begin, seconds, and a note where fewer are taken than the hop asks for.

    Args:
        length_s: of the clip, or of the part of it to use.
        duration_s: of a window. A clip that is not longer has no windows over time.
        max_windows: at most so many; with fewer than 2 there are none.
        hop_s: from one window to the next; half a window by default.
    """
    spare = length_s - duration_s
    if spare <= _TOLERANCE_S or max_windows < 2:
        return [], None
    hop = hop_s or duration_s / 2
    number = max(2, math.ceil((spare - _TOLERANCE_S) / hop) + 1)
    if number <= max_windows:
        return [min(k * hop, spare) for k in range(number - 1)] + [spare], None
    step = spare / (max_windows - 1)
    note = (
        f"A window every {hop:g} s would make {number:,}; at most {max_windows} are scored: "
        f"they are spread evenly over the clip, one every {step:.2f} s."
    )
    return [step * k for k in range(max_windows)], note


def _decode(
    sources: Sequence[_Source],
    windows: Sequence[_Window],
    spec: WindowSpec,
    limits: DecodeLimits,
    thinned: str | None,
) -> list[DecodedClip]:
    mismatch_s = _mismatch_s(sources)
    first, last = min(w.start_s for w in windows), max(w.start_s + w.length_s for w in windows)
    for source in sources:
        read_region(source.container, source.media, first, last)
    notes = [note for source in sources for note in source.media.notes] + ([thinned] if thinned else [])
    audio = next((s.media.audio for s in sources if s.media.audio is not None), None)
    visual = next((s.media.visual for s in sources if s.media.visual is not None), None)
    waveforms = _waveforms(audio, windows, spec, notes) if audio else [None] * len(windows)
    frames = _frames(visual, windows, spec, limits, notes) if visual else [None] * len(windows)
    if all(waveform is None for waveform in waveforms) and all(picture is None for picture in frames):
        raise MediaError("Neither sound nor picture can be decoded.", code="media-not-decodable")
    info = _info(audio, visual, mismatch_s)
    return [
        DecodedClip(
            waveform=waveform,
            frames=picture,
            start_s=window.start_s,
            padded=window.length_s < spec.duration_s - _TOLERANCE_S,
            info=info,
            notes=tuple(notes),
        )
        for window, waveform, picture in zip(windows, waveforms, frames, strict=True)
    ]


def _waveforms(
    track: Track, windows: Sequence[_Window], spec: WindowSpec, notes: list[str]
) -> list[NDArray[np.float32] | None]:
    first, last = min(w.start_s for w in windows), max(w.start_s + w.length_s for w in windows)
    sound = decode_sound(track, first, last, spec.sample_rate_hz) if track.packets else None
    if sound is None:
        notes.append("the sound cannot be decoded")
        return [None] * len(windows)
    return [sound.window(window.start_s, window.length_s, spec.num_samples) for window in windows]


def _frames(
    track: Track, windows: Sequence[_Window], spec: WindowSpec, limits: DecodeLimits, notes: list[str]
) -> list[NDArray[np.uint8] | None]:
    """Decodes the frames of all windows in one pass over the track."""
    times = np.concatenate([_frame_times(track, window, spec) for window in windows])
    order = np.argsort(times, kind="stable")
    decoded = decode_frames(track, times[order], spec.frame_size, limits, fit=spec.frame_fit) if track.packets else None
    if decoded is None:
        notes.append("the picture cannot be decoded")
        return [None] * len(windows)
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    return [decoded[back[k : k + spec.num_frames]] for k in range(0, len(times), spec.num_frames)]


def _frame_times(track: Track, window: _Window, spec: WindowSpec) -> NDArray[np.float64]:
    """Returns the middles of equal stretches of what the picture covers of the window, or of its first seconds."""
    num_frames = spec.num_frames
    begin, end = max(window.start_s, track.start_s), min(window.start_s + window.length_s, track.end_s)
    if end <= begin:
        return np.full(num_frames, begin)
    middles = np.arange(0.5, num_frames, dtype=np.float64)
    if spec.frame_choice == "one-fps":
        return np.minimum(begin + middles, end)
    return begin + middles * ((end - begin) / num_frames)


def _mismatch_s(sources: Sequence[_Source]) -> float | None:
    """Returns how much longer one track is than the other; call it before a large file's region is read."""
    lengths = [track.length_s for source in sources for track in source.media.tracks]
    known = [length for length in lengths if length is not None]
    return round(abs(known[0] - known[1]), 6) if len(known) == len(lengths) == 2 else None


def _info(audio: Track | None, visual: Track | None, mismatch_s: float | None) -> MediaInfo:
    ends = [track.end_s for track in (audio, visual) if track is not None and math.isfinite(track.end_s)]
    picture = visual.stream if visual is not None and isinstance(visual.stream, av.VideoStream) else None
    sound = audio.stream if audio is not None and isinstance(audio.stream, av.AudioStream) else None
    rate = picture.average_rate if picture is not None else None
    return MediaInfo(
        duration_s=max(ends, default=0.0),
        width=picture.codec_context.width if picture is not None else None,
        height=picture.codec_context.height if picture is not None else None,
        frames_per_s=float(rate) if rate else None,
        sample_rate_hz=sound.codec_context.sample_rate if sound is not None else None,
        duration_mismatch_s=mismatch_s,
    )
