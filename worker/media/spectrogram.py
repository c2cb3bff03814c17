"""Waveforms to spectrograms, of the kinds in circulation: log-mel (ours), log-STFT (OGM-GE), Kaldi's filter bank (AST).

A clip's spectrogram never depends on what else is in its batch. B clips, L samples, M bins, S time steps.
"""

from __future__ import annotations

import warnings

import torch
import torchaudio.compliance.kaldi
import torchaudio.functional
from torch import Tensor
from torch.nn.functional import pad

from worker.contract.spec.preprocess import PreprocessSpec

AUDIO_FLOOR = 1e-6
"""Power below which the log-mel spectrogram is cut: -60 dB of full scale (ours)."""
AUDIO_CENTRE, AUDIO_SCALE = -6.0, 4.0
"""(log-mel - centre) / scale. Constants, not each clip's own mean and spread: how loud someone speaks is a cue (ours).

With power normalised by the window, silence becomes -1.95 and full-scale sound about +3.
"""
STFT_FLOOR = 1e-7
"""ln(|S| + floor). Source: OGM-GE (Peng et al. 2022), public code."""
FBANK_MEAN, FBANK_SPREAD = -4.503877, 5.141276
"""(x - mean) / (2 * spread). Source: AST (Gong et al. 2021) for Kinetics-Sounds, as BalanceBenchmark has it."""


class Spectrogram:
    """Makes and standardises the spectrograms of one spec."""

    def __init__(self, spec: PreprocessSpec) -> None:
        """Builds the tables of the spec; they move to a device when a batch does."""
        self._spec = spec
        window = torch.hann_window(spec.fft_samples)
        self._scale = 1.0 / float(window.square().sum())
        bank = _mel_bank(spec) if spec.spectrogram == "log-mel" else None
        self._tables: dict[torch.device, tuple[Tensor, Tensor | None]] = {torch.device("cpu"): (window, bank)}

    def make(self, waveforms: Tensor) -> Tensor:
        """Returns spectrograms as the store keeps them: (B, L) float32, -1..1 -> (B, M, S) float32."""
        match self._spec.spectrogram:
            case "log-mel":
                return self._log_mel(waveforms)
            case "log-stft":
                # Edges padded with zeros, as librosa does since 0.9.
                return (self._stft(waveforms, "constant").abs() + STFT_FLOOR).log()
            case "kaldi-fbank":
                return torch.stack([self._filter_bank(waveform) for waveform in waveforms])

    def standardise(self, spectrograms: Tensor) -> Tensor:
        """Returns what the encoder sees: log-mel and filter bank by their constants, log-STFT as it is."""
        match self._spec.spectrogram:
            case "log-mel":
                return (spectrograms - AUDIO_CENTRE) / AUDIO_SCALE
            case "log-stft":
                return spectrograms
            case "kaldi-fbank":
                return (spectrograms - FBANK_MEAN) / (2 * FBANK_SPREAD)

    def _log_mel(self, waveforms: Tensor) -> Tensor:
        """Returns ln(max(mel power, floor))."""
        power = torch.view_as_real(self._stft(waveforms, "reflect")).square().sum(-1) * self._scale
        bank = self._on(waveforms.device)[1]
        assert bank is not None
        return torch.matmul(bank, power).clamp_min(AUDIO_FLOOR).log()

    def _stft(self, waveforms: Tensor, pad_mode: str) -> Tensor:
        return torch.stft(
            waveforms,
            n_fft=self._spec.fft_samples,
            hop_length=self._spec.hop_samples,
            window=self._on(waveforms.device)[0],
            center=True,
            pad_mode=pad_mode,
            return_complex=True,
        )

    def _filter_bank(self, waveform: Tensor) -> Tensor:
        """Returns Kaldi's filter bank of one clip, its mean removed, padded with zeros: (L,) -> (M, S)."""
        rate_hz = self._spec.sample_rate_hz
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="At least one mel filterbank has all zero values")
            steps = torchaudio.compliance.kaldi.fbank(
                (waveform - waveform.mean())[None],
                htk_compat=True,
                sample_frequency=rate_hz,
                use_energy=False,
                window_type="hanning",
                num_mel_bins=self._spec.num_mels,
                dither=0.0,
                frame_length=1_000 * self._spec.fft_samples / rate_hz,
                frame_shift=1_000 * self._spec.hop_samples / rate_hz,
            )
        wanted = self._spec.steps_of(len(waveform))
        return pad(steps, (0, 0, 0, max(0, wanted - len(steps))))[:wanted].T

    def _on(self, device: torch.device) -> tuple[Tensor, Tensor | None]:
        if device not in self._tables:
            window, bank = self._tables[torch.device("cpu")]
            self._tables[device] = (window.to(device), None if bank is None else bank.to(device))
        return self._tables[device]


def _mel_bank(spec: PreprocessSpec) -> Tensor:
    """Returns the mel filters as (M, frequencies): torchaudio's, HTK scale, unnormalised."""
    with warnings.catch_warnings():
        # With many mel bins for few frequencies some filters are empty: constant rows, which harm nothing.
        warnings.filterwarnings("ignore", message="At least one mel filterbank has all zero values")
        bank: Tensor = torchaudio.functional.melscale_fbanks(
            n_freqs=spec.fft_samples // 2 + 1,
            f_min=0.0,
            f_max=spec.sample_rate_hz / 2,
            n_mels=spec.num_mels,
            sample_rate=spec.sample_rate_hz,
        )
    return bank.T.contiguous()
