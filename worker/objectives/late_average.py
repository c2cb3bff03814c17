"""Late average (UME, uni-modal ensemble): two unimodal losses; the fused logits are the mean of both heads' logits.

L = CE(u_audio) + CE(u_visual); f = (u_audio + u_visual) / 2, in evaluation and scoring too. Source: baseline of Du et
al., ICML 2023 ("uni-modal ensemble"), there of models that are trained apart; here both train in one run.

Shapes: B clips, A / V features, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from worker.objectives.base import Adaptable, Objective, Pass, StepView


class MeanOfHeads(nn.Module):
    """A fusion without weights of its own: the mean of the unimodal heads' logits."""

    def __init__(self, heads: nn.ModuleDict) -> None:
        """Takes the model's heads; both names share their weights."""
        super().__init__()
        self.heads = heads

    def forward(self, audio: Float[Tensor, "B A"], visual: Float[Tensor, "B V"]) -> Float[Tensor, "B C"]:
        """Returns the mean logits.

        Args:
            audio: (B, A), float.
            visual: (B, V), float.

        Source: baseline; official code of LFM.
        """
        first, second = self.split(audio, visual)
        return first + second

    def split(
        self, audio: Float[Tensor, "B A"], visual: Float[Tensor, "B V"]
    ) -> tuple[Float[Tensor, "B C"], Float[Tensor, "B C"]]:
        """Returns half of each head's logits, which add up to the fused ones.

        Args:
            audio: (B, A), float.
            visual: (B, V), float.

        Source: ours.
        """
        return self.heads["audio"](audio) / 2, self.heads["visual"](visual) / 2


class LateAverage(Objective):
    """Trains each modality as if the other were not there."""

    trains_heads: ClassVar[bool] = True

    def adapt(self, model: Adaptable) -> None:
        """Puts the mean of the heads in the place of the fusion."""
        model.fusion = MeanOfHeads(model.heads)

    def passes(self, step: StepView) -> Iterator[Pass]:
        """Yields one pass of both unimodal losses."""
        terms = {
            "audio": step.cross_entropy(step.output.audio_logits),
            "visual": step.cross_entropy(step.output.visual_logits),
        }
        yield Pass(terms["audio"] + terms["visual"], terms)
