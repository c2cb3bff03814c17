"""Fusion by sum: a linear layer for each modality, their logits added.

This module must not know encoders, labels or losses.

Shapes: B clips, A audio features, V visual features, C classes.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn


class SumFusion(nn.Module):
    """Fused logits W_audio z_audio + b_audio + W_visual z_visual + b_visual."""

    def __init__(self, num_audio_features: int, num_visual_features: int, num_classes: int) -> None:
        """Builds both layers with random weights from torch's generator.

        Args:
            num_audio_features: A.
            num_visual_features: V.
            num_classes: C.
        """
        super().__init__()
        self.audio = nn.Linear(num_audio_features, num_classes)
        self.visual = nn.Linear(num_visual_features, num_classes)

    def forward(self, audio: Float[Tensor, "B A"], visual: Float[Tensor, "B V"]) -> Float[Tensor, "B C"]:
        """Returns the fused logits.

        Args:
            audio: (B, A), float.
            visual: (B, V), float.

        Source: SumFusion of OGM-GE's code (Peng et al. 2022).
        """
        audio_part, visual_part = self.split(audio, visual)
        return audio_part + visual_part

    def split(
        self, audio: Float[Tensor, "B A"], visual: Float[Tensor, "B V"]
    ) -> tuple[Float[Tensor, "B C"], Float[Tensor, "B C"]]:
        """Returns the audio and the visual part of the fused logits (`split_head`): they add up to them.

        Args:
            audio: (B, A), float.
            visual: (B, V), float.

        Returns:
            u_m = W_m z_m + b_m, twice (B, C), with gradient.

        Source: training in OGM-GE's code. Its validation halves b_m, so that the two are not the same quantity: here
        the whole b_m counts everywhere.
        """
        return self.audio(audio), self.visual(visual)
