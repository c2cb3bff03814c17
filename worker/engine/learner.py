"""One batch: forward, the objective's passes, checks, steps. The same for every method.

This module must not know epochs' order, reports or snapshots.

Shapes: B clips of a batch, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from worker.contract.errors import TrainingError
from worker.engine.assembly import Assembly
from worker.engine.batches import Batch
from worker.engine.optimization import set_learning_rate
from worker.engine.progress import EpochProgress
from worker.engine.rows import RowTable
from worker.engine.seeds import derive_seed
from worker.model import EncoderPair, ModelOutput
from worker.objectives.base import Gradients, Pass, StepView


@dataclass(frozen=True)
class Place:
    """Where in the run a batch stands: epoch from 1, index in the epoch from 0."""

    epoch: int
    index: int
    num_steps: int


class Learner:
    """Trains on and evaluates batches."""

    def __init__(self, parts: Assembly) -> None:
        """Sorts the model's parameters by what they belong to."""
        self._parts = parts
        pair = cast(EncoderPair, parts.model.encoders)
        self._branches = [list(module.parameters()) for module in (pair.audio, pair.visual, parts.model.fusion)]
        self._trained = [p for group in parts.optimizer.param_groups for p in group["params"]]
        self.generator = torch.Generator(device="cpu")
        self.generator.manual_seed(derive_seed(parts.spec.seed, "objective"))

    def learning_rate(self, epoch: int, done: float) -> float:
        """Returns the learning rate.

        Args:
            epoch: from 1.
            done: share of the epoch, 0 to 1.
        """
        return self._parts.spec.optimizer.learning_rate * self._parts.schedule(epoch, self._parts.spec.epochs, done)

    def learn(self, batch: Batch, place: Place, progress: EpochProgress) -> None:
        """Trains on one batch and writes what it showed into `progress`.

        Args:
            batch: on the device.
            place: where it stands.
            progress: of the epoch.

        Raises:
            TrainingError: a loss term is not finite; no optimizer has stepped on it.
        """
        parts = self._parts
        self._set_learning_rate(self.learning_rate(place.epoch, place.index / place.num_steps))
        clean = self._forward(batch)
        gaps = progress.rows.write(batch.rows, _logits(clean), batch.labels)
        view = StepView(
            place.epoch, place.index, place.num_steps, batch.rows, batch.labels, clean, gaps, self.generator
        )
        masked = parts.objective.features(view, clean.features)
        if masked is not clean.features:
            view = replace(view, output=parts.model.classify(masked))
        gathered: list[Gradients] = []
        for each in parts.objective.passes(view):
            _require_finite(each, place)
            each.loss.backward(retain_graph=each.retain_graph)  # type: ignore[no-untyped-call]
            gathered.append(self._take_gradients())
            progress.add(progress.term_sums, each.terms, len(batch.labels))
            progress.add(progress.coefficient_sums, each.coefficients, len(batch.labels))
            if each.loss_weight is not None:
                progress.rows.loss_weight[batch.rows] = each.loss_weight.detach().to(progress.rows.loss_weight)
            if each.commit:
                self._commit(parts.objective.combine(view, gathered), progress)
                gathered = []
        self._train_probes(clean, batch, place)
        progress.num_samples += len(batch.labels)
        progress.step = place.index + 1

    def evaluate(self, groups: Sequence[NDArray[np.int64]], rows: RowTable) -> Iterator[int]:
        """Fills rows from a clean evaluation pass, and yields the number of clips after each batch.

        Args:
            groups: store indices of each batch.
            rows: what to fill.
        """
        self._parts.model.eval()
        for batch in self._parts.source.stream(groups, epoch=None):
            with torch.no_grad():
                rows.write(batch.rows, _logits(self._forward(batch)), batch.labels)
            yield len(batch.labels)

    def features(self, groups: Sequence[NDArray[np.int64]]) -> dict[str, NDArray[np.float32]]:
        """Returns the clean features of clips by modality, (N, A) and (N, V), in the order of the groups.

        Args:
            groups: store indices of each batch.
        """
        self._parts.model.eval()
        found: dict[str, list[NDArray[np.float32]]] = {"audio": [], "visual": []}
        for batch in self._parts.source.stream(groups, epoch=None):
            with torch.no_grad():
                features = self._forward(batch).features
            for modality, values in found.items():
                values.append(features[modality].cpu().numpy())
        return {modality: np.concatenate(values) for modality, values in found.items()}

    def _forward(self, batch: Batch) -> ModelOutput:
        """Returns what the model makes of a batch: encoders in the run's precision, logits in float32."""
        parts = self._parts
        with torch.autocast(parts.device.type, torch.bfloat16, enabled=parts.resolved.precision == "bf16"):
            features = parts.model.encode(batch.audio, batch.frames)
        return parts.model.classify(features)

    def _set_learning_rate(self, learning_rate: float) -> None:
        """Sets the learning rate of all optimizers."""
        set_learning_rate(self._parts.optimizer, learning_rate)
        if self._parts.probe_optimizer is not None:
            set_learning_rate(self._parts.probe_optimizer, learning_rate)

    def _take_gradients(self) -> Gradients:
        """Returns the gradients of one pass and clears them. With several processes they would be averaged here."""
        taken: Gradients = {}
        for parameter in self._trained:
            if parameter.grad is not None:
                taken[parameter] = parameter.grad
                parameter.grad = None
        return taken

    def _commit(self, gradients: Gradients, progress: EpochProgress) -> None:
        """Steps the optimizer with the gradients, and adds up their squared norms by branch."""
        for parameter, gradient in gradients.items():
            parameter.grad = gradient
        progress.gradient_squares += torch.stack([_squared_norm(branch) for branch in self._branches])
        self._parts.optimizer.step()
        self._parts.optimizer.zero_grad(set_to_none=True)

    def _train_probes(self, clean: ModelOutput, batch: Batch, place: Place) -> None:
        """Trains the heads where they are probes, with their own optimizer: nothing of it reaches the model."""
        optimizer = self._parts.probe_optimizer
        if optimizer is None:
            return
        terms = {
            "audio probe": F.cross_entropy(clean.audio_logits, batch.labels),
            "visual probe": F.cross_entropy(clean.visual_logits, batch.labels),
        }
        loss = terms["audio probe"] + terms["visual probe"]
        _require_finite(Pass(loss, terms), place)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def _logits(output: ModelOutput) -> tuple[Tensor, Tensor, Tensor]:
    """Returns fused, audio and visual logits."""
    return output.fused_logits, output.audio_logits, output.visual_logits


def _squared_norm(parameters: list[nn.Parameter]) -> Tensor:
    """Returns the squared norm of the gradients of some parameters, a float64 scalar."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if not gradients:
        return torch.zeros((), dtype=torch.float64, device=parameters[0].device)
    return nn.utils.get_total_norm(gradients, foreach=True).double().square()


def _require_finite(each: Pass, place: Place) -> None:
    """Raises TrainingError where a term of a pass, or its sum, is not finite."""
    names = [*each.terms, "the sum"]
    values = torch.stack([*(term.detach().float() for term in each.terms.values()), each.loss.detach().float()])
    finite = torch.isfinite(values)
    if bool(finite.all()):
        return
    first = int((~finite).nonzero()[0, 0])
    raise TrainingError(
        f"The loss is not finite: term {names[first]!r} is {float(values[first])} in epoch {place.epoch}, batch "
        f"{place.index + 1} of {place.num_steps}. The weights are as they were before that batch. Lower the learning "
        "rate, or train in fp32.",
        code="non-finite-loss",
    )
