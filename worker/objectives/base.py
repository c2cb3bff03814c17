"""What a training method is: six hooks, each with the default of plain joint training.

The loop (worker.engine.train) owns order, optimizer, precision, checks and reports; an objective only says what is
computed from a batch. It keeps its state in itself and gives it away in `state`, so that a run can be killed anywhere.
This module must not know the model's class, the optimizer, files or events.

Shapes: B clips of a batch, N samples of the store, C classes, A / V features of a modality.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor, nn

from worker.science.mixture import MixturePair

Stage = Literal["single", "warm-up", "adaptive", "purification"]
Scalar = float | int | str | bool | None
Features = Mapping[str, Tensor]
"""{"audio": (B, A), "visual": (B, V)}, float32."""
Gradients = dict[nn.Parameter, Tensor]


class Outputs(Protocol):
    """What the model makes of a batch; unimodal logits are computed when first asked for."""

    @property
    def features(self) -> Features:
        """What the logits were computed from."""

    @property
    def fused_logits(self) -> Float[Tensor, "B C"]:
        """(B, C), float32."""

    @property
    def audio_logits(self) -> Float[Tensor, "B C"]:
        """(B, C), float32, of the audio head."""

    @property
    def visual_logits(self) -> Float[Tensor, "B C"]:
        """(B, C), float32, of the visual head."""

    @property
    def split_logits(self) -> tuple[Float[Tensor, "B C"], Float[Tensor, "B C"]]:
        """The fused logits' audio and visual part, where the fusion splits."""


@dataclass(frozen=True)
class Setup:
    """What an objective learns once, before the first epoch.

    Attributes:
        epochs: of the whole run.
        num_classes: C.
        model: to check, to add to or to take initial copies from.
    """

    epochs: int
    num_classes: int
    model: nn.Module


@dataclass(frozen=True, eq=False)
class EpochView:
    """What an objective may look at before an epoch.

    Attributes:
        epoch: the one that begins, from 1.
        rows: store indices of the training split, ascending.
        gaps: training gaps at the end of the last epoch, by row; None before the first.
        mixtures: fitted on them; None before the first epoch's end.
    """

    epoch: int
    rows: NDArray[np.int64]
    gaps: NDArray[np.float32] | None
    mixtures: MixturePair | None


@dataclass(frozen=True, eq=False)
class EpochPlan:
    """What an epoch trains on.

    Attributes:
        stage: for progress and the event.
        rows: store indices to visit, in any order (the loop orders them), more than once if need be.
        method: what the method uses in this epoch, for the event; batch means of the passes' coefficients join it.
    """

    stage: Stage
    rows: NDArray[np.int64]
    method: dict[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class StepView:
    """What an objective sees of one batch.

    Attributes:
        epoch: from 1.
        index: of the batch in its epoch, from 0.
        num_steps: batches of the epoch.
        rows: (B,) store indices.
        labels: (B,) true classes.
        output: of the (perhaps masked) features, with gradient.
        gaps: (B,) modality gaps from the features before masking, without gradient.
        generator: the method's own random stream, apart from the data's.
    """

    epoch: int
    index: int
    num_steps: int
    rows: Int[Tensor, " B"]
    labels: Int[Tensor, " B"]
    output: Outputs
    gaps: Float[Tensor, " B"]
    generator: torch.Generator


@dataclass(frozen=True, eq=False)
class Pass:
    """One backward pass.

    Attributes:
        loss: scalar, float32.
        terms: the loss by its parts (detached or not), for the event and for the message when one is not finite.
        commit: combine the gradients since the last commit and step the optimizer.
        retain_graph: another pass of this batch goes backward through the same graph.
        loss_weight: (B,) factor on CE(fused), where it is not 1.
        coefficients: of this batch; their mean over the epoch goes into the event's `method`.
    """

    loss: Tensor
    terms: Mapping[str, Tensor]
    commit: bool = True
    retain_graph: bool = False
    loss_weight: Tensor | None = None
    coefficients: Mapping[str, Tensor] = field(default_factory=dict)


class Objective(Protocol):
    """A training method. A subclass overrides the hooks that it needs; none at all is joint training."""

    trains_heads: ClassVar[bool] = False
    """Whether the loss trains the unimodal heads; where not they are probes."""

    def setup(self, setup: Setup) -> None:
        """Checks that the method fits the run and prepares it.

        Raises:
            TrainingError: it does not fit.
        """

    def plan_epoch(self, view: EpochView) -> EpochPlan:
        """Returns what the epoch trains on. Not called again when a run resumes in mid-epoch: see `state`."""
        return EpochPlan("single", view.rows)

    def features(self, step: StepView, features: Features) -> Features:
        """Returns the features that the loss is computed from, masked or scaled, rows kept. In training alone."""
        return features

    def passes(self, step: StepView) -> Iterator[Pass]:
        """Yields backward passes, lazily: each goes backward (and steps, if it commits) before the next is made."""
        fused = F.cross_entropy(step.output.fused_logits, step.labels)
        yield Pass(fused, {"fused": fused})

    def combine(self, step: StepView, gradients: Sequence[Gradients]) -> Gradients:
        """Returns the gradients to step with, from those of the passes since the last commit: their sum."""
        if len(gradients) == 1:
            return gradients[0]
        total: Gradients = {}
        for part in gradients:
            for parameter, gradient in part.items():
                total[parameter] = total[parameter] + gradient if parameter in total else gradient
        return total

    def state(self) -> dict[str, Tensor | Scalar]:
        """Returns all that the method needs to go on in the middle of this epoch, by name."""
        return {}

    def restore(self, saved: Mapping[str, Tensor | Scalar]) -> None:
        """Takes back what `state` gave."""
