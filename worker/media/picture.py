"""Decoding chosen video frames, and only those, from the packets of a picture track.

Torch-free. T frames; S side of the square frames.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import Literal

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from worker.contract.errors import MediaError
from worker.media.container import DecodeLimits, Track

_EPSILON_S = 1e-4
# Bit-exact scaling: the same file gives the same bytes on every processor.
_SCALING = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.BITEXACT


def decode_frames(
    track: Track,
    times_s: NDArray[np.float64],
    size: int,
    limits: DecodeLimits,
    *,
    fit: Literal["cut", "squeeze"] = "cut",
) -> NDArray[np.uint8] | None:
    """Returns the frames shown at the given times, or None if no frame can be decoded.

    Each group of pictures is entered at its keyframe and left as soon as its last wanted frame is out; frames that no
    other one refers to are not even decoded unless wanted.

    Args:
        track: a picture track with its packets.
        times_s: (T,) seconds from the start of the clip, ascending; a time before the first frame means the first, one
            after the last frame the last.
        size: side of the frames.
        limits: cap on the pixels of a frame.
        fit: cut: the shorter side is scaled to `size`, the centre is cut out; squeeze: the whole picture is resized.

    Returns:
        (T, S, S, 3) uint8, RGB.
    """
    shown = sorted({time for packet, time in zip(track.packets, track.times_s, strict=True) if not packet.is_discard})
    if not shown:
        return None
    wanted = [shown[max(0, bisect_right(shown, time + _EPSILON_S) - 1)] for time in times_s]
    scaler = _Scaler(size, limits, fit)
    found: dict[float, NDArray[np.uint8]] = {}
    for first_packet, times in _groups(track, sorted(set(wanted))):
        _decode_group(track, first_packet, times, scaler, found)
    if not found:
        return None
    have = sorted(found)
    return np.stack([found[have[max(0, bisect_right(have, time) - 1)]] for time in wanted])


def _groups(track: Track, wanted: list[float]) -> Iterator[tuple[int, list[float]]]:
    """Yields (packet to begin at, wanted times) for each group of pictures that holds a wanted frame."""
    keys = [
        (time, index)
        for index, (packet, time) in enumerate(zip(track.packets, track.times_s, strict=True))
        if packet.is_keyframe
    ]
    keys.sort()
    key_times = [time for time, _ in keys]
    group: list[float] = []
    begin = -1
    for time in wanted:
        position = bisect_right(key_times, time + _EPSILON_S) - 1
        packet = keys[position][1] if position >= 0 else 0
        if packet != begin and group:
            yield begin, group
            group = []
        begin = packet
        group.append(time)
    yield begin, group


def _decode_group(
    track: Track, begin: int, wanted: list[float], scaler: _Scaler, found: dict[float, NDArray[np.uint8]]
) -> None:
    """Decodes from packet `begin` until all `wanted` times are found; what never comes out takes the frame before."""
    remaining = list(reversed(wanted))
    previous: av.VideoFrame | None = None
    for frame in _frames(track, begin, set(wanted)):
        time_s = scaler.time_of(frame, track)
        while remaining and time_s > remaining[-1] + _EPSILON_S:
            chosen = previous if previous is not None else frame
            found[remaining.pop()] = scaler.scale(chosen)
        if remaining and abs(time_s - remaining[-1]) <= _EPSILON_S:
            found[remaining.pop()] = scaler.scale(frame)
        if not remaining:
            return
        previous = frame
    if previous is not None:
        while remaining:
            found[remaining.pop()] = scaler.scale(previous)


def _frames(track: Track, begin: int, wanted: set[float]) -> Iterator[av.VideoFrame]:
    context = track.stream.codec_context
    assert isinstance(context, VideoCodecContext)
    if context.is_open:
        context.flush_buffers()
    stamped = all(packet.pts is not None for packet in track.packets[begin:])
    for packet, time_s in zip(track.packets[begin:], track.times_s[begin:], strict=True):
        if stamped:
            context.skip_frame = "DEFAULT" if time_s in wanted else "NONREF"
        try:
            yield from context.decode(packet)
        except (av.InvalidDataError, av.BlockingIOError):  # a damaged packet: the frames around it may be whole
            continue
        except av.FFmpegError:  # the decoder cannot go on: what came out so far is what there is
            return
    try:
        yield from context.decode(None)
    except av.FFmpegError:
        return


class _Scaler:
    """Scales and cuts frames; remembers the scaler's tables."""

    def __init__(self, size: int, limits: DecodeLimits, fit: Literal["cut", "squeeze"]) -> None:
        self._size = size
        self._fit = fit
        self._limits = limits
        self._reformatter = VideoReformatter()
        self._count = 0

    def time_of(self, frame: av.VideoFrame, track: Track) -> float:
        """Returns the frame's time from the start of the clip; counted where the frame carries none."""
        self._count += 1
        if frame.pts is None or not track.tick_s:
            rate = track.stream.average_rate if isinstance(track.stream, av.VideoStream) else None
            return track.start_s + (self._count - 1) / float(rate or 25)
        return frame.pts * track.tick_s - track.origin_s

    def scale(self, frame: av.VideoFrame) -> NDArray[np.uint8]:
        """Returns the frame as (S, S, 3) uint8, upright."""
        if frame.width * frame.height > self._limits.max_pixels:
            raise MediaError(f"A frame is {frame.width} x {frame.height} pixels: too large.", code="media-too-large")
        width, height = self._target(frame)
        scaled = self._reformatter.reformat(
            frame, width=width, height=height, format="rgb24", interpolation=_SCALING, threads=1
        )
        pixels = scaled.to_ndarray()
        quarter_turns = round(frame.rotation / 90) % 4
        if quarter_turns:
            pixels = np.rot90(pixels, quarter_turns)
        top, left = (pixels.shape[0] - self._size) // 2, (pixels.shape[1] - self._size) // 2
        return np.ascontiguousarray(pixels[top : top + self._size, left : left + self._size])

    def _target(self, frame: av.VideoFrame) -> tuple[int, int]:
        if self._fit == "squeeze":
            return self._size, self._size
        shorter = min(frame.width, frame.height)
        # A strip of 4 x 4096 would become huge: the longer side is capped, the picture squeezed.
        longest = 16 * self._size
        width = min(longest, max(self._size, round(frame.width * self._size / shorter)))
        height = min(longest, max(self._size, round(frame.height * self._size / shorter)))
        return width, height
