"""The one way from decoded arrays to tensors, used by preparation, training and inference alike.

Decoded -> stored form (what the prepared store keeps) -> batch -> device -> float. Inference goes through the stored
form too, rounding included, so that a clip scored on its own gives what the same clip gave in training.

B batch, M bins, S time steps, L samples of the window, T frames, H side of stored frames, W side of the crop.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.contract.spec.augment import AugmentSpec
from worker.contract.spec.preprocess import PreprocessSpec
from worker.media import augment
from worker.media.masking import spec_augment
from worker.media.spectrogram import Spectrogram

PIXEL_MEAN = (0.485, 0.456, 0.406)
PIXEL_STD = (0.229, 0.224, 0.225)
"""ImageNet's channel statistics, which pretrained encoders expect (torchvision)."""
PLAIN_AUGMENTATION = AugmentSpec()
_INT16_SCALE = 32_767.0


class Preprocessor:
    """Turns decoded clips into the store's arrays, and the store's arrays into tensors."""

    def __init__(self, spec: PreprocessSpec) -> None:
        """Builds the tables of the spec."""
        self.spec = spec
        self._spectrogram = Spectrogram(spec)

    @property
    def audio_shape(self) -> tuple[int, ...]:
        """Shape of one clip's stored sound: (M, S) or (L,)."""
        return self.spec.stored_audio_shape

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
        stored: NDArray[np.float16] = self._spectrogram.make(torch.from_numpy(waveform)[None])[0].half().numpy()
        return stored

    def audio_tensor(self, stored: NDArray[np.generic] | Tensor, device: torch.device | None = None) -> Tensor:
        """Returns a batch of stored sound as the encoder's input; of what is longer than it sees, the middle.

        Args:
            stored: (B, M, S) float16 or (B, L) int16, whole or cut already (`augmented`).
            device: where to compute; the batch's own by default.

        Returns:
            (B, 1, M, S) float32, standardised by fixed constants.
        """
        batch = torch.as_tensor(stored).to(device, non_blocking=True)
        spare = batch.shape[-1] - self._model_length
        if spare > 0:
            batch = batch[..., spare // 2 : spare // 2 + self._model_length]
        waveform = self.spec.audio_storage == "waveform"
        spectrogram = self._spectrogram.make(batch.float() / _INT16_SCALE) if waveform else batch.float()
        return self._spectrogram.standardise(spectrogram)[:, None]

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
        """Returns stored frames as evaluation and scoring see them: the centre, or the whole picture where squeezed.

        Args:
            frames: (B, T, H, H, 3) uint8 as stored.

        Returns:
            (B, T, W, W, 3) uint8.
        """
        if self.spec.frame_fit == "squeeze" and self.spec.frame_size != self.spec.crop_size:
            flat = augment.resized(frames.reshape(-1, *frames.shape[2:]), self.spec.crop_size)
            return flat.reshape(*frames.shape[:2], *flat.shape[1:])
        return augment.centre_crop(frames, self.spec.crop_size)

    def augmented(
        self,
        frames: NDArray[np.uint8],
        audio: NDArray[np.generic],
        sample_ids: Sequence[str],
        *,
        seed: int,
        epoch: int,
        augmentation: AugmentSpec = PLAIN_AUGMENTATION,
    ) -> tuple[NDArray[np.uint8], NDArray[np.generic]]:
        """Returns a training batch, randomly cut and shifted in time: a pure function of (seed, epoch, sample id).

        Args:
            frames: (B, T, H, H, 3) uint8 as stored.
            audio: (B, *audio_shape) as stored.
            sample_ids: B ids.
            seed: of the run.
            epoch: counted from 1.
            augmentation: which changes.

        Returns:
            ((B, T, W, W, 3) uint8, audio as stored, cut where the model sees less than is stored).
        """
        drawn = augment.draws(seed, epoch, sample_ids)
        match augmentation.crop:
            case "place":
                cut = augment.random_crop(frames, self.spec.crop_size, drawn)
            case "resized":
                cut = augment.resized_crop(frames, self.spec.crop_size, drawn)
            case "none":
                cut = self.crop(frames)
        if augmentation.horizontal_flip:
            cut = augment.mirrored(cut, drawn)
        if self._model_length < audio.shape[-1]:
            audio = augment.random_stretch(audio, self._model_length, drawn)
        elif augmentation.time_shift:
            audio = augment.time_shift(audio, drawn)
        return cut, audio

    def masked(
        self, spectrograms: Tensor, sample_ids: Sequence[str], *, seed: int, epoch: int, augmentation: AugmentSpec
    ) -> Tensor:
        """Returns the encoder's input with the masks of SpecAugment, of stored spectrograms and waveforms alike.

        Args:
            spectrograms: (B, 1, M, S) from `audio_tensor`.
            sample_ids: B ids.
            seed: of the run.
            epoch: counted from 1.
            augmentation: which masks.
        """
        if not augmentation.masks:
            return spectrograms
        return spec_augment(spectrograms, augment.draws(seed, epoch, sample_ids), augmentation)

    @property
    def _model_length(self) -> int:
        """Stored samples, or time steps, that the model sees."""
        return self.spec.num_model_samples if self.spec.audio_storage == "waveform" else self.spec.num_steps
