"""The encoder pair."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class MeanAudio(nn.Module):
    def __init__(self, num_features: int, max_clips: int | None) -> None:
        super().__init__()
        self.linear = nn.Linear(32, num_features)
        self.max_clips = max_clips

    def forward(self, spectrogram: Tensor) -> Tensor:
        if self.training and self.max_clips is not None and len(spectrogram) > self.max_clips:
            raise torch.OutOfMemoryError(f"Tried to allocate memory for {len(spectrogram)} clips.")
        features: Tensor = self.linear(spectrogram.mean(dim=(1, 3)))
        return features


class MeanVisual(nn.Module):
    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.linear = nn.Linear(3 * 32, num_features)

    def forward(self, frames: Tensor) -> Tensor:
        features: Tensor = self.linear(frames.mean(dim=(1, 3)).flatten(1))
        return features


class MeanEncoders(nn.Module):
    """`audio` on spectrograms (B, 1, 32, S), `visual` on frames (B, T, 3, H, 32)."""

    def __init__(self, *, num_features: int, max_clips: int | None) -> None:
        super().__init__()
        self.num_audio_features = num_features
        self.num_visual_features = num_features
        self.audio = MeanAudio(num_features, max_clips)
        self.visual = MeanVisual(num_features)
