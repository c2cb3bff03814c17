"""One modality alone: its encoder and its head; the fused prediction is that head's.

Source: baseline ("uni-modal", "solo"). The other encoder is neither computed nor trained; its figures are null.

Shapes: B clips, A / V features, C classes.
"""

from __future__ import annotations

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from worker.objectives.base import Adaptable, Modality, Objective


class OneHead(nn.Module):
    """A fusion that reads one modality: its head's logits."""

    def __init__(self, head: nn.Module, modality: Modality) -> None:
        """Takes the head that the model has for the modality; both names share its weights."""
        super().__init__()
        self.head = head
        self._modality = modality

    def forward(self, audio: Float[Tensor, "B A"], visual: Float[Tensor, "B V"]) -> Float[Tensor, "B C"]:
        """Returns the logits of the one modality.

        Args:
            audio: (B, A), float.
            visual: (B, V), float.

        Source: baseline.
        """
        logits: Tensor = self.head(audio if self._modality == "audio" else visual)
        return logits


class SingleModality(Objective):
    """Trains one encoder and its head on CE(fused), where fused is that head."""

    trains_heads: ClassVar[bool] = True
    modality: ClassVar[Modality]

    def adapt(self, model: Adaptable) -> None:
        """Narrows the model to the modality."""
        model.modalities = (self.modality,)
        model.fusion = OneHead(model.heads[self.modality], self.modality)


class AudioOnly(SingleModality):
    """The sound alone."""

    modality: ClassVar[Modality] = "audio"


class VisualOnly(SingleModality):
    """The picture alone."""

    modality: ClassVar[Modality] = "visual"
