"""The fusion."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ProductFusion(nn.Module):
    def __init__(self, num_audio_features: int, num_visual_features: int, num_classes: int) -> None:
        super().__init__()
        if num_audio_features != num_visual_features:
            raise ValueError(f"expected features of one size, got {num_audio_features} and {num_visual_features}")
        self.linear = nn.Linear(3 * num_audio_features, num_classes)

    def forward(self, audio: Tensor, visual: Tensor) -> Tensor:
        logits: Tensor = self.linear(torch.cat([audio, visual, audio * visual], dim=1))
        return logits
