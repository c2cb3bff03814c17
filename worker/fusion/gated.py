"""Gated fusion: one modality opens and closes the gates that the other passes.

The logits have no additive split, so there is no `split`. This module must not know encoders, labels or losses.

Shapes: B clips, A audio features, V visual features, D hidden features, C classes.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn


class GatedFusion(nn.Module):
    """Fused logits W_out (sigmoid(h_gate) * h_other) + b_out, with h_m = W_m z_m + b_m."""

    def __init__(
        self,
        num_audio_features: int,
        num_visual_features: int,
        num_classes: int,
        *,
        gate_by: Literal["audio", "visual"],
        num_hidden: int,
    ) -> None:
        """Builds the three layers with random weights from torch's generator.

        Args:
            num_audio_features: A.
            num_visual_features: V.
            num_classes: C.
            gate_by: the modality that makes the gates.
            num_hidden: D.
        """
        super().__init__()
        self.gate_by = gate_by
        self.audio = nn.Linear(num_audio_features, num_hidden)
        self.visual = nn.Linear(num_visual_features, num_hidden)
        self.out = nn.Linear(num_hidden, num_classes)

    def forward(self, audio: Float[Tensor, "B A"], visual: Float[Tensor, "B V"]) -> Float[Tensor, "B C"]:
        """Returns the fused logits.

        Args:
            audio: (B, A), float.
            visual: (B, V), float.

        Source: Kiela et al. 2018 (Efficient Large-Scale Multi-Modal Classification), as GatedFusion of OGM-GE's code.
        """
        hidden_audio, hidden_visual = self.audio(audio), self.visual(visual)
        gate, passing = (hidden_audio, hidden_visual) if self.gate_by == "audio" else (hidden_visual, hidden_audio)
        logits: Tensor = self.out(torch.sigmoid(gate) * passing)
        return logits
