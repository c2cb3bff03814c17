"""How a file becomes tensors: one spec for preparation, training and inference alike."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from worker.contract.spec.base import Spec


class PreprocessSpec(Spec):
    """Audio to log-mel spectrogram and video to evenly spread frames, for a window of fixed length."""

    duration_s: float = Field(3.0, ge=0.1, le=60.0, description="Length of the window that the model sees, seconds.")
    sample_rate_hz: int = Field(16_000, ge=4_000, le=48_000, description="Audio is mixed to mono and resampled to it.")
    num_mels: int = Field(64, ge=8, le=256, description="Mel bins of the spectrogram.")
    fft_samples: int = Field(512, ge=64, le=4_096, description="Window of the short-time Fourier transform, samples.")
    hop_samples: int = Field(256, ge=16, le=4_096, description="Step of the short-time Fourier transform, samples.")
    num_frames: int = Field(3, ge=1, le=64, description="Video frames, spread evenly over the window.")
    frame_size: int = Field(112, ge=16, le=512, description="Side of the stored square frames, pixels.")
    crop_size: int = Field(112, ge=16, le=512, description="Side of the square crop that the model sees, pixels.")
    audio_storage: Literal["log-mel", "waveform"] = Field(
        "log-mel",
        description="What the prepared store keeps: the spectrogram (float16, fastest) or the waveform (int16).",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.crop_size > self.frame_size:
            raise ValueError(f"crop_size ({self.crop_size}) must not exceed frame_size ({self.frame_size})")
        if self.hop_samples > self.fft_samples:
            raise ValueError(f"hop_samples ({self.hop_samples}) must not exceed fft_samples ({self.fft_samples})")
        if self.duration_s * self.sample_rate_hz < self.fft_samples:
            raise ValueError("the window (duration_s x sample_rate_hz) must hold at least fft_samples samples")
        return self

    @property
    def num_samples(self) -> int:
        """Audio samples in the window."""
        return round(self.duration_s * self.sample_rate_hz)

    @property
    def num_steps(self) -> int:
        """Time steps of the spectrogram (centred transform)."""
        return self.num_samples // self.hop_samples + 1
