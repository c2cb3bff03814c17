"""Fusion by concatenation: one linear layer on both feature vectors side by side.

This module must not know encoders, labels or losses.

Shapes: B clips, A audio features, V visual features, C classes.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


class ConcatFusion(nn.Module):
    """Fused logits W [z_audio; z_visual] + b."""

    def __init__(self, num_audio_features: int, num_visual_features: int, num_classes: int) -> None:
        """Builds the layer with random weights from torch's generator.

        Args:
            num_audio_features: A.
            num_visual_features: V.
            num_classes: C.
        """
        super().__init__()
        self.num_audio_features = num_audio_features
        self.linear = nn.Linear(num_audio_features + num_visual_features, num_classes)

    def forward(self, audio: Float[Tensor, "B A"], visual: Float[Tensor, "B V"]) -> Float[Tensor, "B C"]:
        """Returns the fused logits.

        Args:
            audio: (B, A), float.
            visual: (B, V), float.

        Source: textbook.
        """
        logits: Tensor = self.linear(torch.cat([audio, visual], dim=1))
        return logits

    def split(
        self, audio: Float[Tensor, "B A"], visual: Float[Tensor, "B V"]
    ) -> tuple[Float[Tensor, "B C"], Float[Tensor, "B C"]]:
        """Returns the audio and the visual part of the fused logits (`split_head`): they add up to them.

        Args:
            audio: (B, A), float.
            visual: (B, V), float.

        Returns:
            u_m = W[:, slice of m] z_m + b / 2, twice (B, C), with gradient.

        Source: Peng et al. 2022 (OGM-GE), whose code halves the bias too.
        """
        audio_weight = self.linear.weight[:, : self.num_audio_features]
        visual_weight = self.linear.weight[:, self.num_audio_features :]
        half_bias = self.linear.bias / 2
        return (
            nn.functional.linear(audio, audio_weight, half_bias),
            nn.functional.linear(visual, visual_weight, half_bias),
        )
