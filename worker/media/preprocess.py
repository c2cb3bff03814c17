"""The one way from decoded arrays to tensors, used by preparation, training and inference alike.

Decoded -> stored form (what the prepared store keeps) -> batch -> device -> float. Inference goes through the stored
form too, rounding included, so that a clip scored on its own gives what the same clip gave in training.

B batch, M mel bins, S time steps, L samples of the window, T frames, H side of stored frames, W side of the crop.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import torch
import torchaudio.functional
from numpy.typing import NDArray
from torch import Tensor

from worker.contract.spec.preprocess import PreprocessSpec
from worker.media import augment

AUDIO_FLOOR = 1e-6
"""Power below which the spectrogram is cut: -60 dB of full scale (ours)."""
AUDIO_CENTRE, AUDIO_SCALE = -6.0, 4.0
"""(log-mel - centre) / scale. Constants, not each clip's own mean and spread: how loud someone speaks is a cue (ours).

With power normalised by the window, silence becomes -1.95 and full-scale sound about +3.
"""
PIXEL_MEAN = (0.485, 0.456, 0.406)
PIXEL_STD = (0.229, 0.224, 0.225)
"""ImageNet's channel statistics, which pretrained encoders expect (torchvision)."""
_INT16_SCALE = 32_767.0


class Preprocessor:
    """Turns decoded clips into the store's arrays, and the store's arrays into tensors."""

    def __init__(self, spec: PreprocessSpec) -> None:
        """Builds the tables of the spec; they move to a device when a batch does."""
        self.spec = spec
        self._window = torch.hann_window(spec.fft_samples)
        self._scale = 1.0 / float(self._window.square().sum())
        self._bank = _mel_bank(spec)
        self._on_device: dict[torch.device, tuple[Tensor, Tensor]] = {}

    @property
    def audio_shape(self) -> tuple[int, ...]:
        """Shape of one clip's stored sound: (M, S) or (L,)."""
        if self.spec.audio_storage == "waveform":
            return (self.spec.num_samples,)
        return (self.spec.num_mels, self.spec.num_steps)

    @property
    def audio_dtype(self) -> np.dtype[np.generic]:
        """Type of stored sound: float16 spectrogram or int16 waveform."""
        return np.dtype(np.int16 if self.spec.audio_storage == "waveform" else np.float16)

    @property
    def frames_shape(self) -> tuple[int, int, int, int]:
        """Shape of one clip's stored frames: (T, H, H, 3), uint8."""
        return (self.spec.num_frames, self.spec.frame_size, self.spec.frame_size, 3)

    def store_audio(self, waveform: NDArray[np.float32]) -> NDArray[np.generic]:
        """Returns one clip's sound as the store keeps it.

        Clip by clip, so that the value never depends on what else is in a batch.

        Args:
            waveform: (L,) float32 mono, -1..1.

        Returns:
            `audio_shape` of `audio_dtype`.

        Raises:
            ValueError: when the waveform has another length.
        """
        if waveform.shape != (self.spec.num_samples,):
            raise ValueError(f"expected a waveform of {self.spec.num_samples} samples, got shape {waveform.shape}")
        if self.spec.audio_storage == "waveform":
            return np.round(np.clip(waveform, -1.0, 1.0) * _INT16_SCALE).astype(np.int16)
        log_mel: NDArray[np.float16] = self._log_mel(torch.from_numpy(waveform)[None])[0].half().numpy()
        return log_mel

    def audio_tensor(self, stored: NDArray[np.generic] | Tensor, device: torch.device | None = None) -> Tensor:
        """Returns a batch of stored sound as the encoder's input.

        Args:
            stored: (B, M, S) float16 or (B, L) int16.
            device: where to compute; the batch's own by default.

        Returns:
            (B, 1, M, S) float32, standardised by fixed constants.
        """
        batch = torch.as_tensor(stored).to(device, non_blocking=True)
        if self.spec.audio_storage == "waveform":
            log_mel = self._log_mel(batch.float() / _INT16_SCALE)
        else:
            log_mel = batch.float()
        return ((log_mel - AUDIO_CENTRE) / AUDIO_SCALE)[:, None]

    def frame_tensor(self, frames: NDArray[np.uint8] | Tensor, device: torch.device | None = None) -> Tensor:
        """Returns a batch of cut frames as the encoder's input, made float and normalised on the device.

        Args:
            frames: (B, T, W, W, 3) uint8, cut already (`crop`, `augmented`).
            device: where to compute; the batch's own by default.

        Returns:
            (B, T, 3, W, W) float32.
        """
        batch = torch.as_tensor(frames).to(device, non_blocking=True)
        mean = torch.tensor(PIXEL_MEAN, device=batch.device).mul_(255)
        std = torch.tensor(PIXEL_STD, device=batch.device).mul_(255)
        return batch.float().sub_(mean).div_(std).permute(0, 1, 4, 2, 3).contiguous()

    def crop(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Returns the centre of stored frames: (B, T, H, H, 3) -> (B, T, W, W, 3), for evaluation and scoring."""
        return augment.centre_crop(frames, self.spec.crop_size)

    def augmented(
        self,
        frames: NDArray[np.uint8],
        audio: NDArray[np.generic],
        sample_ids: Sequence[str],
        *,
        seed: int,
        epoch: int,
        horizontal_flip: bool = False,
    ) -> tuple[NDArray[np.uint8], NDArray[np.generic]]:
        """Returns a training batch, randomly cut and shifted in time: a pure function of (seed, epoch, sample id).

        Args:
            frames: (B, T, H, H, 3) uint8 as stored.
            audio: (B, *audio_shape) as stored.
            sample_ids: B ids.
            seed: of the run.
            epoch: counted from 1.
            horizontal_flip: mirror half of the clips.

        Returns:
            ((B, T, W, W, 3) uint8, audio as stored).
        """
        drawn = augment.draws(seed, epoch, sample_ids)
        cut = augment.random_crop(frames, self.spec.crop_size, drawn, horizontal_flip=horizontal_flip)
        return cut, augment.time_shift(audio, drawn)

    def _log_mel(self, waveforms: Tensor) -> Tensor:
        """Returns ln(max(mel power, floor)): (B, L) float32 -> (B, M, S)."""
        if waveforms.device not in self._on_device:
            self._on_device[waveforms.device] = (
                self._window.to(waveforms.device),
                self._bank.to(waveforms.device),
            )
        window, bank = self._on_device[waveforms.device]
        spectrum = torch.stft(
            waveforms,
            n_fft=self.spec.fft_samples,
            hop_length=self.spec.hop_samples,
            window=window,
            center=True,
            pad_mode="reflect",
            return_complex=True,
        )
        power = torch.view_as_real(spectrum).square().sum(-1) * self._scale
        return torch.matmul(bank, power).clamp_min(AUDIO_FLOOR).log()


def _mel_bank(spec: PreprocessSpec) -> Tensor:
    """Returns the mel filters as (M, F): torchaudio's, HTK scale, unnormalised."""
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
