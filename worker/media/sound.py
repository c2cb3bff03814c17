"""Decoding a stretch of sound to mono at a given rate from the packets of a sound track.

Torch-free. S samples of a window.
"""

from __future__ import annotations

import contextlib
import math
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from numpy.typing import NDArray

from worker.contract.errors import MediaError
from worker.media.container import Track

MAX_RATE_HZ = 768_000
MAX_CHANNELS = 64
_PREROLL_S = 0.25
"""Codecs with memory (Opus, MP3) need some packets before the first wanted sample."""


@dataclass(frozen=True)
class Sound:
    """A decoded stretch: mono float32 samples and the time of the first, from the start of the clip."""

    samples: NDArray[np.float32]
    start_s: float
    rate_hz: int

    def window(self, start_s: float, length_s: float, num_samples: int) -> NDArray[np.float32]:
        """Returns exactly `num_samples` samples from `start_s` on; what is too short is repeated in place.

        A stretch in which the track is over (or has not begun) is silence.

        Args:
            start_s: start of the window, seconds from the start of the clip.
            length_s: how much of the window the clip covers; sound after it is not used.
            num_samples: samples to return.

        Returns:
            (S,) float32.
        """
        offset = round((start_s - self.start_s) * self.rate_hz)
        covered = min(num_samples, max(1, math.ceil(length_s * self.rate_hz - 1e-6)))
        first, last = max(0, offset), min(len(self.samples), offset + covered)
        if last <= first:
            return np.zeros(num_samples, np.float32)
        piece = self.samples[first:last]
        if len(piece) == num_samples:
            return piece.copy()
        # Sound that begins after the window stays at its time; the rest is filled by repeating it.
        return piece[(np.arange(num_samples) - (first - offset)) % len(piece)]


def decode_sound(track: Track, start_s: float, end_s: float, rate_hz: int) -> Sound | None:
    """Returns the sound of [start_s, end_s], or None if nothing can be decoded.

    Args:
        track: a sound track with its packets.
        start_s: seconds from the start of the clip.
        end_s: seconds from the start of the clip.
        rate_hz: the sample rate of the result.

    Raises:
        MediaError: code media-too-large, for a rate or a number of channels that nothing real has.
    """
    begin = max(0, bisect_left(track.times_s, start_s - _PREROLL_S) - 1)
    resampler = av.AudioResampler(format="fltp", rate=rate_hz)
    pieces: list[NDArray[np.float32]] = []
    first_s: float | None = None
    for frame in _frames(track, begin, end_s):
        if first_s is None:
            check_rate(frame)
            stamp = frame.pts if track.tick_s else None
            first_s = stamp * track.tick_s - track.origin_s if stamp is not None else track.times_s[begin]
        try:
            pieces += [_mono(piece) for piece in resampler.resample(frame)]
        except (av.FFmpegError, ValueError):  # the format changes in mid-stream: what came before is used
            break
    if first_s is None:
        return None
    pieces += [_mono(piece) for piece in resampler.resample(None)]
    samples = np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
    if not len(samples):
        return None
    samples = np.clip(np.nan_to_num(samples, nan=0.0, posinf=1.0, neginf=-1.0), -1.0, 1.0)
    return Sound(samples.astype(np.float32, copy=False), first_s, rate_hz)


def check_rate(frame: av.AudioFrame) -> None:
    """Passes sound that can be resampled: the filter grows with the rate, and a broken header may claim any."""
    channels = frame.layout.nb_channels
    if not 0 < frame.sample_rate <= MAX_RATE_HZ or not 0 < channels <= MAX_CHANNELS:
        raise MediaError(
            f"The sound claims {frame.sample_rate:,} samples a second in {channels} channels; at most {MAX_RATE_HZ:,} "
            f"and {MAX_CHANNELS} are decoded.",
            code="media-too-large",
        )


def _mono(frame: av.AudioFrame) -> NDArray[np.float32]:
    """Returns the mean of the channels (the resampler's own mix to mono is 3 dB louder and may clip)."""
    channels = frame.to_ndarray().astype(np.float32, copy=False)
    mono: NDArray[np.float32] = channels[0] if len(channels) == 1 else channels.mean(axis=0)
    return mono


def _frames(track: Track, begin: int, end_s: float) -> Iterator[av.AudioFrame]:
    """Yields frames as they are decoded: ten minutes of surround sound would be 700 MB at once."""
    context = track.stream.codec_context
    assert isinstance(context, AudioCodecContext)
    for packet, time_s in zip(track.packets[begin:], track.times_s[begin:], strict=True):
        if time_s > end_s:
            break
        try:
            yield from context.decode(packet)
        except (av.InvalidDataError, av.BlockingIOError):  # a damaged packet: the ones around it may be whole
            continue
        except av.FFmpegError:
            return
    with contextlib.suppress(av.FFmpegError):
        yield from context.decode(None)
