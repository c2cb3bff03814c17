"""Spectrograms as people read them: levels in dB over seconds and Hz, binned to what a chart can show.

The store keeps what the encoder needs: natural logarithms, or a waveform. No torch here; of a waveform the log-mel is
computed by the formula of worker.media.spectrogram, to which a test holds it.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from worker.contract.clip_contents import SpectrogramView, WaveformView
from worker.contract.spec.preprocess import PreprocessSpec, Spectrogram

MAX_STEPS, MAX_BINS, MAX_PEAKS = 96, 48, 320
"""Cells over time and frequency, and columns of a waveform, that one answer holds."""
POWER_FLOOR = 1e-6
KALDI_LOW_HZ = 20.0
"""Where Kaldi's filters begin by default."""
_DB_OF_POWER, _DB_OF_AMPLITUDE = 10 / math.log(10), 20 / math.log(10)
_INT16_SCALE = 32_767.0
Floats = NDArray[np.float64]


def spectrogram_view(stored: NDArray[np.generic], spec: PreprocessSpec, start_s: float) -> SpectrogramView:
    """Returns a clip's spectrogram, binned.

    Args:
        stored: (bins, steps) float16 as the store keeps it, or (samples,) int16.
        spec: of the store.
        start_s: where the window begins in the clip, seconds.
    """
    is_waveform = stored.ndim == 1
    kind: Spectrogram = "log-mel" if is_waveform else spec.spectrogram
    logs = log_mel(stored.astype(np.float64) / _INT16_SCALE, spec) if is_waveform else stored.astype(np.float64)
    levels_db = logs * (_DB_OF_AMPLITUDE if kind == "log-stft" else _DB_OF_POWER)
    bins, steps = levels_db.shape
    hertz, seconds = _edges_hz(kind, spec, bins), _edges_s(kind, spec, steps) + start_s
    rows, columns = _cuts(bins, MAX_BINS), _cuts(steps, MAX_STEPS)
    power = 10 ** (levels_db / 10)
    power = np.add.reduceat(np.add.reduceat(power, rows[:-1], axis=0), columns[:-1], axis=1)
    power /= np.diff(rows)[:, None] * np.diff(columns)[None, :]
    return SpectrogramView(
        kind=kind,
        edges_s=_rounded(seconds[columns], 4),
        edges_hz=_rounded(hertz[rows], 1),
        levels_db=[_rounded(row, 1) for row in 10 * np.log10(power)],
    )


def waveform_view(stored: NDArray[np.generic], spec: PreprocessSpec, start_s: float) -> WaveformView:
    """Returns a clip's waveform, binned.

    Args:
        stored: (samples,) int16.
        spec: of the store.
        start_s: where the window begins in the clip, seconds.
    """
    cuts, values = _cuts(len(stored), MAX_PEAKS), stored.astype(np.float64) / _INT16_SCALE
    return WaveformView(
        edges_s=_rounded(cuts / spec.sample_rate_hz + start_s, 4),
        low=_rounded(np.minimum.reduceat(values, cuts[:-1]), 3),
        high=_rounded(np.maximum.reduceat(values, cuts[:-1]), 3),
    )


def log_mel(waveform: Floats, spec: PreprocessSpec) -> Floats:
    """Returns ln(max(mel power, floor)) of a waveform: (samples,) -> (mel bins, steps).

    Source: ours, as worker.media.spectrogram.
    """
    size = spec.fft_samples
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    padded = np.pad(waveform, size // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[:: spec.hop_samples]
    power = np.abs(np.fft.rfft(frames * window)) ** 2 / np.square(window).sum()
    logs: Floats = np.log(np.maximum(_mel_bank(spec) @ power.T, POWER_FLOOR))
    return logs


def _mel_bank(spec: PreprocessSpec) -> Floats:
    """Returns triangular filters on the HTK scale, unnormalised: (mel bins, frequencies)."""
    hertz = np.linspace(0, spec.sample_rate_hz / 2, spec.fft_samples // 2 + 1)
    points = hertz_of(np.linspace(0, mel_of(np.array(spec.sample_rate_hz / 2)), spec.num_mels + 2))
    rising = (hertz[None] - points[:-2, None]) / np.diff(points)[:-1, None]
    falling = (points[2:, None] - hertz[None]) / np.diff(points)[1:, None]
    return np.maximum(0.0, np.minimum(rising, falling))


def mel_of(hertz: Floats) -> Floats:
    """Returns frequencies on the mel scale (HTK)."""
    mel: Floats = 2595 * np.log10(1 + hertz / 700)
    return mel


def hertz_of(mel: Floats) -> Floats:
    """Returns frequencies in Hz of the mel scale (HTK)."""
    hertz: Floats = 700 * (10 ** (mel / 2595) - 1)
    return hertz


def _edges_hz(kind: Spectrogram, spec: PreprocessSpec, bins: int) -> Floats:
    """Returns where the bins meet: halfway between their centres on their own scale."""
    nyquist_hz = spec.sample_rate_hz / 2
    if kind == "log-stft":
        edges: Floats = np.clip((np.arange(bins + 1) - 0.5) * spec.sample_rate_hz / spec.fft_samples, 0, nyquist_hz)
        return edges
    low = mel_of(np.array(KALDI_LOW_HZ if kind == "kaldi-fbank" else 0.0))
    width = (mel_of(np.array(nyquist_hz)) - low) / (bins + 1)
    return hertz_of(low + (np.arange(bins + 1) + 0.5) * width)


def _edges_s(kind: Spectrogram, spec: PreprocessSpec, steps: int) -> Floats:
    """Returns where the steps meet; Kaldi's first window begins with the sound, the others are centred on it."""
    first = spec.fft_samples / 2 if kind == "kaldi-fbank" else 0.0
    edges = (first + (np.arange(steps + 1) - 0.5) * spec.hop_samples) / spec.sample_rate_hz
    clipped: Floats = np.clip(edges, 0, max(spec.duration_s, edges[-2] + 1e-4))
    return clipped


def _cuts(length: int, most: int) -> NDArray[np.int64]:
    """Returns places that cut a length into at most so many near-equal parts, both ends among them."""
    cuts: NDArray[np.int64] = np.linspace(0, length, min(length, most) + 1).astype(np.int64)
    return cuts


def _rounded(values: NDArray[np.generic] | Floats, digits: int) -> list[float]:
    rounded: list[float] = np.round(values.astype(np.float64), digits).tolist()
    return rounded
