"""What a training method is: six hooks, each with the default of plain joint training.

The loop (worker.engine.train) owns order, optimizer, precision, checks and reports; an objective only says what is
computed from a batch. It keeps its state in itself and gives it away in `state`, so that a run can be killed anywhere.
This module must not know the model's class, the optimizer, files or events.

Shapes: B clips of a batch, R rows of a plan, n rows that are looked at, N samples of the store, C classes, A / V
features of a modality.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
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
Modality = Literal["audio", "visual"]
MODALITIES: tuple[Modality, ...] = ("audio", "visual")
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


class Adaptable(Protocol):
    """The parts of the model that an objective may replace before the first weight is trained (see `adapt`)."""

    fusion: nn.Module
    heads: nn.ModuleDict
    modalities: tuple[Modality, ...]


@dataclass(frozen=True, eq=False)
class Setup:
    """What an objective learns once, before the first epoch.

    Attributes:
        epochs: of the whole run.
        num_classes: C.
        model: with its first weights, for initial copies.
        branches: parameters by what they belong to: "audio", "visual" (the encoders), "fusion", "heads". By identity,
            never by name.
        labels: (N,) true classes of all samples.
        fusion_splits: whether the fused logits split exactly into an audio and a visual part.
        num_train: training clips.
        sources: what earlier runs say, by the spec's field that names the run.
        batch_size: clips a step.
    """

    epochs: int
    num_classes: int
    model: nn.Module
    branches: Mapping[str, Sequence[nn.Parameter]] = field(default_factory=dict)
    labels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    fusion_splits: bool = True
    num_train: int = 0
    sources: Mapping[str, SourceRun] = field(default_factory=dict)
    batch_size: int = 2


class SourceRun(Protocol):
    """An earlier run that an objective builds on: its losses by epoch; as a teacher, see `StepView.teach`."""

    @property
    def run_id(self) -> str:
        """Of the earlier run."""

    @property
    def num_epochs(self) -> int:
        """Epochs that it has finished."""

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """What its model uses; features of the other modality are zero."""

    @property
    def num_audio_features(self) -> int:
        """A of its audio encoder."""

    @property
    def num_visual_features(self) -> int:
        """V of its visual encoder."""

    def cross_entropy(self, epoch: int, split: str) -> float:
        """Returns the fused mean cross-entropy of a split ("train", "validation") at the end of an epoch, from 1.

        Raises:
            TrainingError: the run has no such epoch.
        """


@dataclass(frozen=True, eq=False)
class Evaluated:
    """Clean figures of some rows, in evaluation mode and without gradient.

    Attributes:
        features: {"audio": (n, A), "visual": (n, V)}.
        audio_logits: (n, C), of the audio head.
        visual_logits: (n, C), of the visual head.
        fused_logits: (n, C) by the modality whose features were zeroed; None: none was.
    """

    features: Mapping[str, NDArray[np.float32]]
    audio_logits: NDArray[np.float32]
    visual_logits: NDArray[np.float32]
    fused_logits: Mapping[Modality | None, NDArray[np.float32]]


class Look(Protocol):
    """How an objective looks at samples between epochs; each look is one forward pass over its rows."""

    def __call__(self, rows: NDArray[np.int64], drops: Sequence[Modality | None] = (None,)) -> Evaluated:
        """Returns clean figures of rows.

        Args:
            rows: store indices.
            drops: what to zero before fusion; several cost one pass of the encoders.
        """


@dataclass(frozen=True, eq=False)
class EpochView:
    """What an objective may look at before an epoch.

    Attributes:
        epoch: the one that begins, from 1.
        rows: store indices of the training split, ascending.
        gaps: training gaps at the end of the last epoch, by row; None before the first.
        mixtures: fitted on them; None before the first epoch's end.
        labels: (N,) true classes of all samples of the store.
        validation: store indices of the validation split.
        correct: whether the fused prediction was right at the end of the last epoch, by training row; None before.
        look: evaluates samples with the weights as they are.
        generator: the method's own random stream.
    """

    epoch: int
    rows: NDArray[np.int64]
    gaps: NDArray[np.float32] | None
    mixtures: MixturePair | None
    labels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    validation: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    correct: NDArray[np.bool_] | None = None
    look: Look | None = None
    generator: torch.Generator = field(default_factory=torch.Generator)

    def evaluate(self, rows: NDArray[np.int64], drops: Sequence[Modality | None] = (None,)) -> Evaluated:
        """Returns clean figures of rows (see `Look`)."""
        assert self.look is not None, "this view was made without a way to evaluate"
        return self.look(rows, drops)


@dataclass(frozen=True, eq=False)
class EpochPlan:
    """What an epoch trains on.

    Attributes:
        stage: for progress and the event.
        rows: (R,) store indices to visit, in any order (the loop orders them), more than once if need be.
        method: what the method uses in this epoch, for the event; batch means of the passes' coefficients join it.
        present: (R, 2) whether audio and visual of a visit reach the loss; else the features are zeroed. None: all do.
        groups: (R,) a batch holds visits of one group alone, groups come in ascending order. None: one group.
        fresh_optimizer: forget momentum and the like before this epoch.
        learning_rate_factor: on the schedule's learning rate.
    """

    stage: Stage
    rows: NDArray[np.int64]
    method: dict[str, Scalar] = field(default_factory=dict)
    present: NDArray[np.bool_] | None = None
    groups: NDArray[np.int64] | None = None
    fresh_optimizer: bool = False
    learning_rate_factor: float = 1.0


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
        generator: the method's own random stream (CPU), apart from the data's.
        present: (B, 2) the plan's mask of this batch, applied already; None: nothing is masked.
        clean: of the features before any mask.
        classify: features -> outputs with the weights of this moment; what a method needs for other features, and
            after a commit, since logits made before it belong to weights that are gone.
        teach: field of the spec that names an earlier run -> what its model makes of this batch, without gradient.
        class_weights: (C,) of the cross-entropies, or None.
    """

    epoch: int
    index: int
    num_steps: int
    rows: Int[Tensor, " B"]
    labels: Int[Tensor, " B"]
    output: Outputs
    gaps: Float[Tensor, " B"]
    generator: torch.Generator
    present: Tensor | None = None
    clean: Outputs | None = None
    classify: Callable[[Features], Outputs] | None = None
    teach: Callable[[str], Outputs] | None = None
    class_weights: Float[Tensor, " C"] | None = None

    def cross_entropy(self, logits: Float[Tensor, "B C"]) -> Float[Tensor, ""]:
        """Returns the mean cross-entropy of logits against the labels, by class weight where the run has such.

        Args:
            logits: (B, C), float.
        """
        return F.cross_entropy(logits, self.labels, weight=self.class_weights)

    def cross_entropies(self, logits: Float[Tensor, "B C"]) -> Float[Tensor, " B"]:
        """Returns the cross-entropy of each sample, scaled so that its plain mean is `cross_entropy`.

        Args:
            logits: (B, C), float.
        """
        losses = F.cross_entropy(logits, self.labels, weight=self.class_weights, reduction="none")
        if self.class_weights is None:
            return losses
        return losses / self.class_weights[self.labels].mean()

    def outputs(self, features: Features) -> Outputs:
        """Returns the outputs of other features, with the weights of this moment.

        Args:
            features: {"audio": (B, A), "visual": (B, V)}.
        """
        assert self.classify is not None, "this view was made without a model"
        return self.classify(features)

    def without(self, modality: Modality) -> Outputs:
        """Returns the outputs with one modality's features zeroed: absence at the features, not at the raw input.

        Args:
            modality: which to zero.
        """
        features = dict(self.output.features)
        features[modality] = torch.zeros_like(features[modality])
        return self.outputs(features)


@dataclass(frozen=True, eq=False)
class Pass:
    """One backward pass.

    Attributes:
        loss: scalar, float32.
        terms: the loss by its parts (detached or not), for the event and for the message when one is not finite.
        commit: combine the gradients since the last commit and step the optimizer.
        retain_graph: another pass of this batch goes backward through the same graph.
        loss_weight: (B,) factor on CE(fused), where it is not 1.
        coefficients: of this batch; their mean over the epoch goes into the event's `method`. They are read after the
            commit, so `combine` may still fill them.
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

    def adapt(self, model: Adaptable) -> None:
        """Replaces parts of a new model (fusion, heads, modalities): in training and wherever the model is rebuilt.

        Called before weights are loaded, with torch's generator seeded for it. Most methods leave the model alone.
        """

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
        fused = step.cross_entropy(step.output.fused_logits)
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
