"""The training loop of every method: a generator of typed steps, without I/O, callbacks or Redis.

Whoever drives it writes files and publishes. At each `StepDone` that says `resumable`, `snapshot()` holds all that is
needed to go on, and a run that goes on from it equals one that was never stopped, to the bit (same processor, versions,
threads).

Shapes: N samples of the store.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from typing import cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from worker.contract.errors import TrainingError
from worker.contract.events import ChosenTest, Cost, EpochFinished, Probes, RunResult, SplitReport, TestAt
from worker.engine.assembly import Assembly, fix_determinism
from worker.engine.batches import grouped
from worker.engine.evaluate import posteriors, sample_columns, split_mixtures, split_report
from worker.engine.learner import Learner, Place
from worker.engine.progress import EpochProgress
from worker.engine.rows import RowTable
from worker.engine.seeds import derive_seed
from worker.engine.snapshots import restore, take, unimodal_source
from worker.engine.state import Chosen, RunState
from worker.engine.steps import EpochDone, PhaseChanged, RunDone, Snapshot, StepDone, TrainingStep
from worker.objectives.base import EpochView, Stage
from worker.science.mixture import MixtureParameters
from worker.science.probe import neutral_probe


class Trainer:
    """Trains one run."""

    def __init__(self, parts: Assembly, alive: Callable[[], None] = lambda: None) -> None:
        """Begins at the first epoch.

        Args:
            parts: see worker.engine.assembly.assemble.
            alive: called now and then while an objective looks at samples between two steps.
        """
        self.parts = parts
        self.learner = Learner(parts, alive)
        self.state = RunState()
        self._labels = np.asarray(parts.store.labels, dtype=np.int64)
        self._rows = {split: parts.store.indices(split) for split in ("train", "validation", "test")}
        self._paper = parts.spec.dataset.protocol == "paper"
        self._two_modalities = len(parts.model.modalities) == 2

    @classmethod
    def from_snapshot(cls, parts: Assembly, snapshot: Snapshot, alive: Callable[[], None] = lambda: None) -> Trainer:
        """Returns a trainer that goes on where a snapshot was taken.

        Args:
            parts: a new assembly of the same spec and resolved spec.
            snapshot: of a trainer.
            alive: as in the constructor.

        Raises:
            CorruptRecordError: the snapshot does not belong to the assembly.
        """
        trainer = cls(parts, alive)
        restore(parts, trainer.state, trainer.learner.generator, snapshot)
        return trainer

    def snapshot(self) -> Snapshot:
        """Returns CPU copies of all that is needed to go on; to be called while `run` waits at a resumable step."""
        return take(self.parts, self.state, self.learner.generator)

    def run(self) -> Iterator[TrainingStep]:
        """Yields the steps of the run, from where it stands to its end.

        Raises:
            TrainingError: a loss or a gap is not finite, or the objective refuses.
        """
        fix_determinism(self.parts.resolved)
        while self.state.finished < self.parts.spec.epochs and not self._is_stale():
            yield from self._train_epoch(self.state.finished + 1)
            yield from self._close_epoch(self.state.finished + 1)
        yield from self._finish()

    def _train_epoch(self, epoch: int) -> Iterator[TrainingStep]:
        """Trains on what is left of an epoch."""
        parts, state = self.parts, self.state
        if state.progress is None:
            state.progress = self._begin_epoch(epoch)
        progress, plan = state.progress, state.progress.plan
        visits = parts.source.visits(plan, epoch, parts.spec.batch_size)
        yield PhaseChanged(epoch, plan.stage, "training")
        parts.model.train()
        left = visits[progress.step :]
        batches = parts.source.stream([plan.rows[positions] for positions in left], epoch=epoch)
        started = time.perf_counter()
        for positions, batch in zip(left, batches, strict=True):
            present = None if plan.present is None else plan.present[positions]
            self.learner.learn(batch, Place(epoch, progress.step, len(visits)), progress, present)
            progress.seconds += time.perf_counter() - started
            pending = self.learner.pending
            yield StepDone(epoch, progress.step, len(visits), len(batch.labels), resumable=not pending, pending=pending)
            started = time.perf_counter()

    def _begin_epoch(self, epoch: int) -> EpochProgress:
        """Asks the objective for its plan and returns the progress of an epoch that has not begun."""
        parts, state, started = self.parts, self.state, time.perf_counter()
        looks_before = self.learner.num_looks
        plan = parts.objective.plan_epoch(
            EpochView(
                epoch,
                self._rows["train"],
                state.train_gaps,
                state.mixtures.get("train"),
                labels=self._labels,
                validation=self._rows["validation"],
                correct=state.train_correct,
                look=self.learner.look,
                generator=self.learner.generator,
            )
        )
        if plan.fresh_optimizer:
            parts.optimizer.state.clear()
        progress = EpochProgress.begin(plan, len(self._labels), parts.device)
        progress.cost["forward_passes"] = self.learner.num_looks - looks_before
        progress.seconds = time.perf_counter() - started
        return progress

    def _close_epoch(self, epoch: int) -> Iterator[TrainingStep]:
        """Evaluates, analyses and hands over a trained epoch."""
        state, progress = self.state, cast(EpochProgress, self.state.progress)
        stage = progress.plan.stage
        yield PhaseChanged(epoch, stage, "evaluating")
        started = time.perf_counter()
        splits = ["train", "validation", *(["test"] if self._paper and len(self._rows["test"]) else [])]
        rows = np.concatenate([self._unseen_train_rows(progress), *(self._rows[split] for split in splits[1:])])
        yield from self._evaluate(epoch, rows, progress.rows, resumable=True)
        yield PhaseChanged(epoch, stage, "analysing")
        reports = {split: self._analyse(split, epoch, progress.rows) for split in splits}
        state.finished = epoch
        self._remember_training_rows(progress.rows)
        self._choose(epoch, reports)
        self._watch(stage, reports["validation"])
        state.event = EpochFinished(
            epoch=epoch,
            stage=stage,
            seconds=progress.seconds + time.perf_counter() - started,
            samples_per_s=progress.num_samples / max(progress.seconds, 1e-9),
            learning_rate=self.learner.learning_rate(epoch, 0.0) * progress.plan.learning_rate_factor,
            loss_terms=progress.loss_terms(),
            gradient_share=progress.gradient_share(),
            method=progress.method(),
            cost=Cost(**progress.cost),
            train=reports["train"],
            validation=reports["validation"],
            test=reports.get("test"),
        )
        state.progress = None
        yield PhaseChanged(epoch, stage, "saving")
        yield self._epoch_done(state.event, progress.rows, splits)

    def _remember_training_rows(self, table: RowTable) -> None:
        """Keeps what the next epoch's plan may look at."""
        train = self._rows["train"]
        columns = table.numpy(train)
        predicted = cast(NDArray[np.int32], columns["predicted"])
        self.state.train_correct = predicted[:, 0] == self._labels[train]
        if self._two_modalities:
            self.state.train_gaps = cast(NDArray[np.float32], columns["gap"])

    def _unseen_train_rows(self, progress: EpochProgress) -> NDArray[np.int64]:
        """Returns the training rows to evaluate: all where gaps are clean, else those that no batch visited."""
        train = self._rows["train"]
        if self.parts.spec.objective.gaps == "clean":
            return train
        unseen: NDArray[np.int64] = train[~progress.rows.numpy(train)["visited"].astype(bool)]
        return unseen

    def _evaluate(
        self, epoch: int, rows: NDArray[np.int64], table: RowTable, *, resumable: bool
    ) -> Iterator[TrainingStep]:
        """Fills rows of a table from clean passes."""
        groups = grouped(rows, self.learner.evaluation_batch)
        for index, num_samples in enumerate(self.learner.evaluate(groups, table)):
            yield StepDone(epoch, index + 1, len(groups), num_samples, resumable=resumable)

    def _analyse(self, split: str, epoch: int, table: RowTable) -> SplitReport:
        """Returns a split's report and keeps its mixtures."""
        columns = table.numpy(self._rows[split])
        mixtures = None
        if self._two_modalities:
            mixtures = self.state.mixtures[split] = split_mixtures(
                cast(NDArray[np.float32], columns["gap"]),
                seed=derive_seed(self.parts.spec.seed, "mixture", split, epoch),
                previous=self.state.mixtures.get(split),
                where=f"Split {split} in epoch {epoch}",
            )
        return split_report(
            columns,
            self._labels[self._rows[split]],
            len(self.parts.store.classes),
            source=unimodal_source(self.parts),
            mixtures=mixtures,
            modalities=self.parts.model.modalities,
        )

    def _choose(self, epoch: int, reports: dict[str, SplitReport]) -> None:
        """Keeps the epoch if it is the best so far: by validation, under protocol paper by test."""
        report = reports.get("test")
        accuracy = (report or reports["validation"]).accuracy.fused
        assert accuracy is not None
        if self.state.chosen is not None and accuracy <= self.state.chosen.accuracy:
            return
        weights = None
        if report is None and len(self._rows["test"]):
            weights = {name: value.detach().clone() for name, value in self.parts.model.state_dict().items()}
        self.state.chosen = Chosen(epoch, accuracy, report, weights)

    def _watch(self, stage: Stage, validation: SplitReport) -> None:
        """Counts the epochs since validation got better; a method's warm-up stage counts for nothing."""
        rule, state = self.parts.spec.early_stopping, self.state
        if rule is None or stage == "warm-up":
            return
        figures = validation.accuracy if rule.figure == "accuracy" else validation.cross_entropy
        assert figures is not None
        assert figures.fused is not None
        figure = figures.fused if rule.figure == "accuracy" else -figures.fused
        if state.best_figure is None or figure > state.best_figure + rule.min_change:
            state.best_figure, state.stale_epochs = figure, 0
        else:
            state.stale_epochs += 1

    def _is_stale(self) -> bool:
        """Returns whether the run ends early."""
        rule = self.parts.spec.early_stopping
        return rule is not None and self.state.stale_epochs >= rule.patience

    def _columns(self, table: RowTable, rows: NDArray[np.int64]) -> dict[str, NDArray[np.generic]]:
        """Returns sample columns of some rows, with posteriors by the training mixture."""
        return sample_columns(
            table.numpy(rows), self._labels[rows], self._mixture(), modalities=self.parts.model.modalities
        )

    def _mixture(self) -> MixtureParameters | None:
        """Returns the paper's mixture of the training split, that of all posteriors; None where there is none."""
        pair = self.state.mixtures.get("train")
        return None if pair is None else pair.paper.parameters

    def _epoch_done(self, event: EpochFinished, table: RowTable, splits: list[str]) -> EpochDone:
        """Returns the epoch with its sample table and its snapshot."""
        rows = np.sort(np.concatenate([self._rows[split] for split in splits]))
        columns = self._columns(table, rows)
        gaps = np.full(len(self._labels), np.nan, dtype=np.float32)
        gaps[rows] = columns["gap"]
        all_posteriors = np.full(len(self._labels), np.nan, dtype=np.float32)
        all_posteriors[rows] = posteriors(gaps[rows], self._mixture())
        return EpochDone(event, columns, rows, gaps, all_posteriors, self.snapshot())

    def _finish(self) -> Iterator[TrainingStep]:
        """Looks at the test split, for the first time under protocol honest, and at the encoders' features."""
        state, epoch = self.state, self.state.finished
        chosen, event = state.chosen, state.event
        assert chosen is not None
        assert event is not None
        yield PhaseChanged(epoch, event.stage, "evaluating")
        last, chosen_report, rows = event.test, chosen.report, self._rows["test"]
        columns: dict[str, NDArray[np.generic]] | None = None
        if len(rows) and not self._paper:
            table = RowTable(len(self._labels), self.parts.device)
            yield from self._evaluate(epoch, rows, table, resumable=False)
            last = chosen_report = self._analyse("test", epoch, table)
            columns = self._columns(table, rows)
        probes = self._probes()
        if chosen.weights is not None and chosen.epoch != epoch:
            chosen_report = yield from self._test_at(chosen)
        result = RunResult(
            last=TestAt(epoch=epoch, test=last),
            chosen=ChosenTest(
                epoch=chosen.epoch,
                test=chosen_report,
                by="validation" if chosen.report is None else "test (optimistic)",
            ),
            probes=probes,
            stopped_early=epoch < self.parts.spec.epochs,
        )
        yield RunDone(result, test_columns=columns, test_rows=None if columns is None else rows)

    def _test_at(self, chosen: Chosen) -> Generator[TrainingStep, None, SplitReport]:
        """Returns the test report of the chosen epoch's weights; the model has its own again afterwards."""
        own = {name: value.detach().clone() for name, value in self.parts.model.state_dict().items()}
        self.parts.model.load_state_dict(cast(dict[str, Tensor], chosen.weights))
        self.state.mixtures.pop("test", None)
        table = RowTable(len(self._labels), self.parts.device)
        yield from self._evaluate(chosen.epoch, self._rows["test"], table, resumable=False)
        report = self._analyse("test", chosen.epoch, table)
        self.parts.model.load_state_dict(own)
        return report

    def _probes(self) -> Probes:
        """Returns what the encoders' frozen features are worth: training to validation."""
        size = self.learner.evaluation_batch
        train, validation = self._rows["train"], self._rows["validation"]
        seen = self.learner.features(grouped(train, size))
        held_out = self.learner.features(grouped(validation, size))
        try:
            found = {
                modality: neutral_probe(
                    seen[modality], self._labels[train], held_out[modality], self._labels[validation]
                ).accuracy
                for modality in self.parts.model.modalities
            }
        except ValueError as error:
            raise TrainingError(f"The features cannot be probed: {error}.", code="features-unusable") from error
        return Probes(audio=found.get("audio"), visual=found.get("visual"))
