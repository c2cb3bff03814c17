"""FiLM fusion: one modality scales and shifts the features of the other.

The logits have no additive split, so there is no `split`. This module must not know encoders, labels or losses.

Shapes: B clips, A audio features, V visual features, D features of the modality that is modulated, C classes.
"""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn


class FilmFusion(nn.Module):
    """Fused logits W_out (gamma * z_other + beta) + b_out, with [gamma; beta] = W z_film + b."""

    def __init__(
        self,
        num_audio_features: int,
        num_visual_features: int,
        num_classes: int,
        *,
        film_by: Literal["audio", "visual"],
    ) -> None:
        """Builds both layers with random weights from torch's generator.

        Args:
            num_audio_features: A.
            num_visual_features: V.
            num_classes: C.
            film_by: the modality that scales and shifts the other.
        """
        super().__init__()
        self.film_by = film_by
        sizes = (num_audio_features, num_visual_features)
        num_film, num_modulated = sizes if film_by == "audio" else sizes[::-1]
        self.film = nn.Linear(num_film, 2 * num_modulated)
        self.out = nn.Linear(num_modulated, num_classes)

    def forward(self, audio: Float[Tensor, "B A"], visual: Float[Tensor, "B V"]) -> Float[Tensor, "B C"]:
        """Returns the fused logits.

        Args:
            audio: (B, A), float.
            visual: (B, V), float.

        Source: Perez et al. 2018 (FiLM), as FiLM of OGM-GE's code, which needs A = V.
        """
        film, modulated = (audio, visual) if self.film_by == "audio" else (visual, audio)
        gamma, beta = self.film(film).chunk(2, dim=1)
        logits: Tensor = self.out(gamma * modulated + beta)
        return logits
