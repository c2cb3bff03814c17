"""GMM-guided experts (ours): trained as gmm-masking, predicts by the mixture of both heads without the joint layer.

The joint layer is an auxiliary loss alone: masked by the mixture of score gaps it helps the encoders of a modality that
starts slowly, which losses apart do not; in the prediction it overfits, so the heads' probabilities are mixed by how
certain each is (worker.objectives.experts). Source: ours; what was tried is in docs/leaderboard.md.

Shapes: B clips, A / V features, C classes.
"""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from worker.objectives.base import Adaptable, Features, StepView
from worker.objectives.experts import CertaintyMixture
from worker.objectives.masking import GmmMasking


class JointBesideExperts(CertaintyMixture):
    """The mixture of the heads, and beside it the joint layer, which the mixture does not use."""

    def __init__(self, joint: nn.Module, heads: nn.ModuleDict) -> None:
        """Takes the model's fusion and its heads."""
        super().__init__(heads)
        self.joint = joint


class GmmExperts(GmmMasking):
    """The loss of gmm-masking, on the joint layer; the prediction of experts."""

    def __init__(self, *, warm_up_epochs: int | None, strength: float, guidance: Literal["posterior", "gap"]) -> None:
        """Takes the coefficients of the spec by their names there."""
        super().__init__(warm_up_epochs=warm_up_epochs, strength=strength, guidance=guidance)
        self._joint: nn.Module = nn.Identity()

    def adapt(self, model: Adaptable) -> None:
        """Keeps the fusion as the joint layer, and puts the mixture of the heads in its place."""
        self._joint = model.fusion
        model.fusion = JointBesideExperts(model.fusion, model.heads)

    def joint_logits(self, step: StepView, features: Features) -> Float[Tensor, "B C"]:
        """Returns the logits of the joint layer."""
        logits: Tensor = self._joint(features["audio"], features["visual"])
        return logits
