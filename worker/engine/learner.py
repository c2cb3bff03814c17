"""One batch: forward, the objective's passes, checks, steps. The same for every method.

This module must not know epochs' order, reports or snapshots.

Shapes: B clips of a batch, C classes.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from worker.contract.errors import TrainingError
from worker.engine.assembly import Assembly
from worker.engine.batches import MIN_BATCH, Batch, free_memory, grouped
from worker.engine.building import branches
from worker.engine.optimization import set_learning_rate
from worker.engine.progress import EpochProgress
from worker.engine.rows import RowTable
from worker.engine.seeds import derive_seed
from worker.engine.stepping import Stepper
from worker.model import AudioVisualModel, EncoderPair, ModelOutput
from worker.objectives.base import MODALITIES, Evaluated, Features, Gradients, Modality, Pass, StepView

EVALUATION_BATCH = 64
"""Clips a batch and process without gradients; at least the training batch. Larger ones leave a CPU's cache."""


@dataclass(frozen=True)
class Place:
    """Where in the run a batch stands: epoch from 1, index in the epoch from 0."""

    epoch: int
    index: int
    num_steps: int


class Learner:
    """Trains on and evaluates batches."""

    def __init__(self, parts: Assembly, alive: Callable[[], None] = lambda: None) -> None:
        """Sorts the model's parameters by what they belong to.

        Args:
            parts: of the run.
            alive: called now and then during a long look.
        """
        self.alive = alive
        self.evaluation_batch = max(EVALUATION_BATCH * parts.world.size, parts.spec.batch_size)
        self._parts = parts
        by_branch = branches(parts.model)
        self._branches = [by_branch[name] for name in ("audio", "visual", "fusion")]
        self._world = parts.world
        self._encoders = {*by_branch["audio"], *by_branch["visual"]}
        self._trained = [p for group in parts.optimizer.param_groups for p in group["params"]]
        self._stepper = Stepper(parts.optimizer, parts.spec.clip_norm)
        self.generator = torch.Generator(device="cpu")
        self.generator.manual_seed(derive_seed(parts.spec.seed, "objective"))
        self._most_encoded = sys.maxsize
        self.num_looks = 0
        """Batches that `look` evaluated since the start."""

    def learning_rate(self, epoch: int, done: float) -> float:
        """Returns the learning rate.

        Args:
            epoch: from 1.
            done: share of the epoch, 0 to 1.
        """
        return self._parts.spec.optimizer.learning_rate * self._parts.schedule(epoch, self._parts.spec.epochs, done)

    def learn(
        self, batch: Batch, place: Place, progress: EpochProgress, present: NDArray[np.bool_] | None = None
    ) -> None:
        """Trains on one batch and writes what it showed into `progress`.

        Args:
            batch: on the device.
            place: where it stands.
            progress: of the epoch.
            present: (B, 2) whether audio and visual reach the loss; None: all do.

        Raises:
            TrainingError: a loss term is not finite; no optimizer has stepped on it.
        """
        parts = self._parts
        first = place.index - place.index % parts.spec.accumulate  # of the batches that make this optimizer step
        learning_rate = self.learning_rate(place.epoch, first / place.num_steps)
        self._set_learning_rate(learning_rate * progress.plan.learning_rate_factor)
        view = self._view(batch, place, progress, present)
        planned = view.output.features
        masked = parts.objective.features(view, planned)
        if masked is not planned:
            view = replace(view, output=parts.model.classify(masked))
        gathered: list[Gradients] = []
        for each in parts.objective.passes(view):
            _require_finite(each, place)
            each.loss.backward(retain_graph=each.retain_graph)  # type: ignore[no-untyped-call]
            gathered.append(self._take_gradients(self._trained, len(batch.labels)))
            progress.cost["backward_passes"] += 1
            progress.add(progress.term_sums, each.terms, len(batch.labels))
            if each.loss_weight is not None:
                progress.rows.loss_weight[batch.rows] = each.loss_weight.detach().to(progress.rows.loss_weight)
            if each.commit:
                self._stepper.gather(parts.objective.combine(view, gathered), len(batch.labels))
                gathered = []
                if (place.index + 1) % parts.spec.accumulate == 0 or place.index + 1 == place.num_steps:
                    self._step(progress)
            progress.add(progress.coefficient_sums, each.coefficients, len(batch.labels))
        self._train_probes(view, place)
        progress.num_samples += len(batch.labels)
        progress.cost["samples"] += len(batch.labels)
        progress.step = place.index + 1

    def _view(self, batch: Batch, place: Place, progress: EpochProgress, present: NDArray[np.bool_] | None) -> StepView:
        """Returns what the objective sees of a batch, and writes its rows: of the features before any mask."""
        parts = self._parts
        with self._own_randomness(place):
            features = self._features(batch)
        output = clean = parts.model.classify(features)
        progress.cost["forward_passes"] += 1
        gaps = progress.rows.write(batch.rows, _logits(clean), batch.labels)
        mask = None if present is None else torch.from_numpy(present).to(gaps.device)
        if mask is not None:
            audio, visual = (clean.features[name] * mask[:, column, None] for column, name in enumerate(MODALITIES))
            output = parts.model.classify({"audio": audio, "visual": visual})

        @functools.cache
        def teach(name: str) -> ModelOutput:
            progress.cost["forward_passes"] += 1
            with torch.no_grad():
                return self._forward(batch, parts.teachers[name])

        return StepView(
            place.epoch,
            place.index,
            place.num_steps,
            batch.rows,
            batch.labels,
            output,
            gaps,
            self.generator,
            present=mask,
            clean=clean,
            classify=parts.model.classify,
            teach=teach,
            class_weights=parts.class_weights,
        )

    def look(self, rows: NDArray[np.int64], drops: Sequence[Modality | None] = (None,)) -> Evaluated:
        """Returns clean figures of some rows with the weights as they are (see worker.objectives.base.Look).

        Args:
            rows: store indices.
            drops: what to zero before fusion.
        """
        model, size = self._parts.model, self.evaluation_batch
        was_training = model.training
        found: dict[str | None, list[NDArray[np.float32]]] = {}
        self._evaluation_mode()
        for batch in self._parts.source.stream(grouped(rows, size), epoch=None):
            self.num_looks += 1
            with torch.no_grad():
                output = self._forward(batch)
                parts: dict[str | None, Tensor] = {
                    **{f"{name} features": values for name, values in output.features.items()},
                    "audio logits": output.audio_logits,
                    "visual logits": output.visual_logits,
                    **{drop: model.classify(_without(output.features, drop)).fused_logits for drop in drops},
                }
            for name, values in parts.items():
                found.setdefault(name, []).append(values.cpu().numpy())
            self.alive()
        model.train(was_training)
        joined = {name: np.concatenate(values) for name, values in found.items()}
        return Evaluated(
            features={name: joined[f"{name} features"] for name in MODALITIES},
            audio_logits=joined["audio logits"],
            visual_logits=joined["visual logits"],
            fused_logits={drop: joined[drop] for drop in drops},
        )

    def evaluate(self, groups: Sequence[NDArray[np.int64]], rows: RowTable) -> Iterator[int]:
        """Fills rows from a clean evaluation pass, and yields the number of clips after each batch.

        Args:
            groups: store indices of each batch.
            rows: what to fill.
        """
        self._evaluation_mode()
        for batch in self._parts.source.stream(groups, epoch=None):
            with torch.no_grad():
                rows.write(batch.rows, _logits(self._forward(batch)), batch.labels)
            yield len(batch.labels)

    def features(self, groups: Sequence[NDArray[np.int64]]) -> dict[str, NDArray[np.float32]]:
        """Returns the clean features of clips by modality, (N, A) and (N, V), in the order of the groups.

        Args:
            groups: store indices of each batch.
        """
        self._evaluation_mode()
        found: dict[str, list[NDArray[np.float32]]] = {"audio": [], "visual": []}
        for batch in self._parts.source.stream(groups, epoch=None):
            with torch.no_grad():
                features = self._forward(batch).features
            for modality, values in found.items():
                values.append(features[modality].cpu().numpy())
        return {modality: np.concatenate(values) for modality, values in found.items()}

    def _forward(self, batch: Batch, model: AudioVisualModel | None = None) -> ModelOutput:
        """Returns what a model (the run's) makes of a batch."""
        model = model or self._parts.model
        return model.classify(self._features(batch, model))

    def _features(self, batch: Batch, model: AudioVisualModel | None = None) -> Features:
        """Returns a batch's features, each process's from its own clips: encoders in the run's precision."""
        parts = self._parts
        model = model or parts.model
        own = self._encoded(model, batch.audio, batch.frames) if len(batch.audio) else _no_features(model, parts.device)
        return {name: self._world.gather(values, len(batch.labels)) for name, values in own.items()}

    def _encoded(self, model: AudioVisualModel, audio: Tensor, frames: Tensor) -> Features:
        """Returns the features of clips; without gradients, in pieces where they do not fit into memory together."""
        parts, most = self._parts, self._most_encoded
        if not torch.is_grad_enabled() and len(audio) > most:
            pairs = zip(torch.split(audio, most), torch.split(frames, most), strict=True)
            pieces = [self._encoded(model, *pair) for pair in pairs]
            return {name: torch.cat([piece[name] for piece in pieces]) for name in pieces[0]}
        try:
            with torch.autocast(parts.device.type, torch.bfloat16, enabled=parts.resolved.precision == "bf16"):
                return model.encode(audio, frames)
        except torch.OutOfMemoryError:
            if torch.is_grad_enabled() or len(audio) < MIN_BATCH:
                raise
        self._most_encoded = len(audio) // 2
        free_memory(parts.device)  # only now: the error held what the failed pass had made
        return self._encoded(model, audio, frames)

    def _evaluation_mode(self) -> None:
        """Readies the model for clean figures, by the running statistics of the first process (see docs)."""
        self._parts.model.eval()
        self._world.copy_from_first(self._parts.model.buffers())

    @contextmanager
    def _own_randomness(self, place: Place) -> Iterator[None]:
        """Lets layers that draw (dropout) differ between processes here, and agree again after it.

        Both seeds are functions of the place, so that a resumed run needs no process's generator but the first's.
        """
        if self._world.size == 1:
            yield
            return
        purpose = (self._parts.spec.seed, "layers", place.epoch, place.index)
        torch.manual_seed(derive_seed(*purpose, self._world.rank))
        yield
        torch.manual_seed(derive_seed(*purpose, "fused"))

    def _set_learning_rate(self, learning_rate: float) -> None:
        """Sets the learning rate of all optimizers."""
        set_learning_rate(self._parts.optimizer, learning_rate)
        if self._parts.probe_optimizer is not None:
            set_learning_rate(self._parts.probe_optimizer, learning_rate)

    def _take_gradients(self, parameters: Sequence[nn.Parameter], num_samples: int) -> Gradients:
        """Returns the gradients of one pass over the whole batch, and clears them."""
        taken: Gradients = {}
        for parameter in parameters:
            if parameter.grad is not None:
                taken[parameter] = parameter.grad
                parameter.grad = None
        self._world.sum_gradients(taken, parameters, self._encoders, num_samples)
        return taken

    @property
    def pending(self) -> bool:
        """Whether gradients are gathered that no step was made with: no snapshot may be taken now."""
        return self._stepper.pending

    def _step(self, progress: EpochProgress) -> None:
        """Steps the optimizer with what is gathered, and adds up its squared norms by branch."""
        self._stepper.put()
        progress.gradient_squares += torch.stack(
            [_squared_norm(branch, self._parts.device) for branch in self._branches]
        )
        self._stepper.step()
        progress.cost["optimizer_steps"] += 1

    def _train_probes(self, view: StepView, place: Place) -> None:
        """Trains the heads where they are probes, with their own optimizer: nothing of it reaches the model."""
        optimizer = self._parts.probe_optimizer
        if optimizer is None:
            return
        clean = cast(ModelOutput, view.clean)
        terms = {
            "audio probe": view.cross_entropy(clean.audio_logits),
            "visual probe": view.cross_entropy(clean.visual_logits),
        }
        loss = terms["audio probe"] + terms["visual probe"]
        _require_finite(Pass(loss, terms), place)
        loss.backward()  # type: ignore[no-untyped-call]
        probes = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        for parameter, gradient in self._take_gradients(probes, len(view.labels)).items():
            parameter.grad = gradient
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def _no_features(model: AudioVisualModel, device: torch.device) -> Features:
    """Returns the features of no clip: what a process has of a batch too small to be shared among all."""
    pair = cast(EncoderPair, model.encoders)
    sizes = {"audio": pair.num_audio_features, "visual": pair.num_visual_features}
    return {
        name: torch.zeros(0, size, device=device, requires_grad=torch.is_grad_enabled()) for name, size in sizes.items()
    }


def _without(features: Features, modality: Modality | None) -> Features:
    """Returns features with one modality's zeroed; None: as they are."""
    if modality is None:
        return features
    return {**features, modality: torch.zeros_like(features[modality])}


def _logits(output: ModelOutput) -> tuple[Tensor, Tensor, Tensor]:
    """Returns fused, audio and visual logits."""
    return output.fused_logits, output.audio_logits, output.visual_logits


def _squared_norm(parameters: list[nn.Parameter], device: torch.device) -> Tensor:
    """Returns the squared norm of the gradients of some parameters, a float64 scalar."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if not gradients:
        return torch.zeros((), dtype=torch.float64, device=device)
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
