"""How a file becomes tensors: one spec for preparation, training and inference alike, and its named presets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self, cast

from pydantic import Field, model_validator

from worker.contract.spec.base import MisfitError, Spec

Spectrogram = Literal["log-mel", "log-stft", "kaldi-fbank"]
PresetName = Literal["gapscope", "ogm-ge-crema-d", "ogm-ge-vggsound", "kaldi-fbank"]


def _added(default: Any, description: str, **bounds: Any) -> Any:
    """Returns a field that came later: left out where it has its default, so that digests of older stores stay."""
    return Field(default, description=description, exclude_if=lambda value: value == default, **bounds)


class PreprocessSpec(Spec):
    """Audio to spectrogram and video to a few frames, for a window of fixed length."""

    preset: PresetName | None = Field(
        None,
        exclude=True,
        description="Preprocessing in circulation to start from; the fields given beside it change it.",
    )
    duration_s: float = Field(3.0, ge=0.1, le=60.0, description="Length of the window that is taken, seconds.")
    sample_rate_hz: int = Field(16_000, ge=4_000, le=48_000, description="Audio is mixed to mono and resampled to it.")
    num_mels: int = Field(64, ge=8, le=256, description="Mel bins of the spectrogram (log-mel and kaldi-fbank).")
    fft_samples: int = Field(512, ge=64, le=4_096, description="Window of the short-time Fourier transform, samples.")
    hop_samples: int = Field(256, ge=16, le=4_096, description="Step of the short-time Fourier transform, samples.")
    num_frames: int = Field(3, ge=1, le=64, description="Video frames of the window.")
    frame_size: int = Field(112, ge=16, le=512, description="Side of the stored square frames, pixels.")
    crop_size: int = Field(112, ge=16, le=512, description="Side of the square crop that the model sees, pixels.")
    audio_storage: Literal["log-mel", "waveform"] = Field(
        "log-mel",
        description="What the prepared store keeps: the spectrogram, of whichever kind (float16, fastest), or the "
        "waveform (int16).",
    )
    spectrogram: Spectrogram = _added(
        "log-mel",
        "log-mel: mel power, standardised by constants; log-stft: ln(|S| + 1e-7) as in OGM-GE; kaldi-fbank: Kaldi's "
        "filter bank as in AST.",
    )
    num_spectrogram_steps: int | None = _added(
        None, "Pad (with zeros) or cut the kaldi-fbank to so many time steps; empty: as they come.", ge=16, le=8_192
    )
    audio_crop_s: float | None = _added(
        None,
        "Train on a random stretch of the sound of this length, evaluate the middle one, seconds; empty: all of it.",
        ge=0.1,
        le=60.0,
    )
    window: Literal["middle", "start"] = _added("middle", "Which part of a longer clip is taken.")
    frame_choice: Literal["spread", "one-fps"] = _added(
        "spread",
        "spread: the middles of num_frames equal stretches of the window (one a segment); one-fps: the middles of the "
        "first num_frames seconds.",
    )
    frame_fit: Literal["cut", "squeeze"] = _added(
        "cut",
        "cut: the shorter side is scaled and the centre cut out; squeeze: the whole picture is resized to a square, "
        "whatever its shape, and evaluated whole.",
    )

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, value: Any) -> Any:
        """Fills in the preset that a document names, under the fields given beside it."""
        if not isinstance(value, Mapping) or value.get("preset") is None:
            return value
        given = {name: one for name, one in value.items() if name != "preset"}
        known = PREPROCESS_PRESETS.get(cast(PresetName, str(value["preset"])))
        return value if known is None else {**known.model_dump(mode="json"), **given}

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.crop_size > self.frame_size:
            raise MisfitError(
                "crop_size", f"crop_size ({self.crop_size}) must not exceed frame_size ({self.frame_size})"
            )
        if self.hop_samples > self.fft_samples:
            raise MisfitError(
                "hop_samples", f"hop_samples ({self.hop_samples}) must not exceed fft_samples ({self.fft_samples})"
            )
        if self.num_model_samples < self.fft_samples:
            raise MisfitError(
                "fft_samples", "the window (duration_s x sample_rate_hz) must hold at least fft_samples samples"
            )
        if self.audio_crop_s is not None and self.audio_crop_s > self.duration_s:
            raise MisfitError(
                "audio_crop_s", f"audio_crop_s ({self.audio_crop_s}) must not exceed duration_s ({self.duration_s})"
            )
        if self.spectrogram != "kaldi-fbank" and self.num_spectrogram_steps is not None:
            raise MisfitError("num_spectrogram_steps", "num_spectrogram_steps is for the spectrogram kaldi-fbank only")
        if self.spectrogram == "kaldi-fbank" and self.audio_crop_s is not None and self.audio_storage != "waveform":
            raise MisfitError(
                "audio_storage", "audio_crop_s with the spectrogram kaldi-fbank needs audio_storage waveform"
            )
        return self

    @property
    def num_samples(self) -> int:
        """Audio samples in the stored window."""
        return round(self.duration_s * self.sample_rate_hz)

    @property
    def num_model_samples(self) -> int:
        """Audio samples that the model's spectrogram is made of."""
        return round((self.audio_crop_s or self.duration_s) * self.sample_rate_hz)

    @property
    def num_bins(self) -> int:
        """Frequency bins of the spectrogram."""
        return self.fft_samples // 2 + 1 if self.spectrogram == "log-stft" else self.num_mels

    @property
    def num_steps(self) -> int:
        """Time steps of the spectrogram that the model sees."""
        return self.steps_of(self.num_model_samples)

    def steps_of(self, num_samples: int) -> int:
        """Returns the time steps of the spectrogram of so many samples.

        Kaldi's transform begins with the first sample and drops what does not fill its window; the others are centred.
        """
        if self.spectrogram == "kaldi-fbank":
            return self.num_spectrogram_steps or 1 + (num_samples - self.fft_samples) // self.hop_samples
        return num_samples // self.hop_samples + 1

    @property
    def stored_audio_shape(self) -> tuple[int, ...]:
        """Shape of one clip's stored sound: (bins, steps) of float16, or (samples,) of int16."""
        if self.audio_storage == "waveform":
            return (self.num_samples,)
        return (self.num_bins, self.steps_of(self.num_samples))

    @property
    def stored_bytes(self) -> int:
        """Bytes of one clip in the prepared store: sound of two bytes a value, frames of one."""
        values = 1
        for side in self.stored_audio_shape:
            values *= side
        return 2 * values + 3 * self.num_frames * self.frame_size**2


PREPROCESS_PRESETS: dict[PresetName, PreprocessSpec] = {
    "gapscope": PreprocessSpec(num_mels=128, frame_size=256, crop_size=224),
    "ogm-ge-crema-d": PreprocessSpec(
        duration_s=3.0,
        sample_rate_hz=22_050,
        spectrogram="log-stft",
        fft_samples=512,
        hop_samples=353,
        window="start",
        num_frames=1,
        frame_choice="one-fps",
        frame_fit="squeeze",
        frame_size=256,
        crop_size=224,
    ),
    "ogm-ge-vggsound": PreprocessSpec(
        duration_s=10.0,
        audio_crop_s=5.0,
        sample_rate_hz=16_000,
        spectrogram="log-stft",
        fft_samples=256,
        hop_samples=128,
        window="start",
        num_frames=3,
        frame_fit="squeeze",
        frame_size=256,
        crop_size=224,
        audio_storage="waveform",
    ),
    "kaldi-fbank": PreprocessSpec(
        duration_s=10.0,
        sample_rate_hz=16_000,
        spectrogram="kaldi-fbank",
        num_mels=128,
        fft_samples=400,
        hop_samples=160,
        num_spectrogram_steps=1_024,
        num_frames=3,
        frame_fit="squeeze",
        frame_size=256,
        crop_size=224,
    ),
}
"""Preprocessing that papers and public code use, by name; docs/datasets.md says what each reproduces.

The spectrogram of OGM-GE's CREMA-D is stored, not the waveform: resampled from 16 kHz to 22.05 kHz its upper band holds
less than the rounding to int16 would add, and ln(|S|) would show that.
"""
