"""The training loop of every method: a generator of typed steps, without I/O, callbacks or Redis.

Whoever drives it writes files and publishes. At each `StepDone` that says `resumable`, `snapshot()` holds all that is
needed to go on, and a run that goes on from it equals one that was never stopped, to the bit (same processor, versions,
threads).

Shapes: N samples of the store.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from typing import cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from worker.contract.errors import TrainingError
from worker.contract.events import ChosenTest, EpochFinished, Probes, RunResult, SplitReport, TestAt
from worker.engine.assembly import Assembly, fix_determinism
from worker.engine.batches import grouped
from worker.engine.evaluate import posteriors, sample_columns, split_mixtures, split_report
from worker.engine.learner import Learner, Place
from worker.engine.progress import EpochProgress
from worker.engine.rows import RowTable
from worker.engine.seeds import derive_seed
from worker.engine.snapshots import restore, take
from worker.engine.state import Chosen, RunState
from worker.engine.steps import EpochDone, PhaseChanged, RunDone, Snapshot, StepDone, TrainingStep
from worker.objectives.base import EpochView
from worker.science.probe import neutral_probe

EVALUATION_BATCH = 64
"""Clips a batch without gradients; at least the training batch. Larger ones leave a CPU's cache."""


class Trainer:
    """Trains one run."""

    def __init__(self, parts: Assembly) -> None:
        """Begins at the first epoch.

        Args:
            parts: see worker.engine.assembly.assemble.
        """
        self.parts = parts
        self.learner = Learner(parts)
        self.state = RunState()
        self._labels = np.asarray(parts.store.labels, dtype=np.int64)
        self._rows = {split: parts.store.indices(split) for split in ("train", "validation", "test")}
        self._paper = parts.spec.dataset.protocol == "paper"

    @classmethod
    def from_snapshot(cls, parts: Assembly, snapshot: Snapshot) -> Trainer:
        """Returns a trainer that goes on where a snapshot was taken.

        Args:
            parts: a new assembly of the same spec and resolved spec.
            snapshot: of a trainer.

        Raises:
            CorruptRecordError: the snapshot does not belong to the assembly.
        """
        trainer = cls(parts)
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
        while self.state.finished < self.parts.spec.epochs:
            yield from self._train_epoch(self.state.finished + 1)
            yield from self._close_epoch(self.state.finished + 1)
        yield from self._finish()

    def _train_epoch(self, epoch: int) -> Iterator[TrainingStep]:
        """Trains on what is left of an epoch."""
        parts, state = self.parts, self.state
        if state.progress is None:
            view = EpochView(epoch, self._rows["train"], state.train_gaps, state.mixtures.get("train"))
            plan = parts.objective.plan_epoch(view)
            state.progress = EpochProgress.begin(plan, len(self._labels), parts.device)
        progress = state.progress
        groups = grouped(parts.source.ordered(progress.plan.rows, epoch), parts.spec.batch_size)
        yield PhaseChanged(epoch, progress.plan.stage, "training")
        parts.model.train()
        batches = parts.source.stream(groups[progress.step :], epoch=epoch)
        started = time.perf_counter()
        for batch in batches:
            self.learner.learn(batch, Place(epoch, progress.step, len(groups)), progress)
            progress.seconds += time.perf_counter() - started
            yield StepDone(epoch, progress.step, len(groups), len(batch.labels), resumable=True)
            started = time.perf_counter()

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
        state.train_gaps = cast(NDArray[np.float32], progress.rows.numpy(self._rows["train"])["gap"])
        self._choose(epoch, reports)
        state.event = EpochFinished(
            epoch=epoch,
            stage=stage,
            seconds=progress.seconds + time.perf_counter() - started,
            samples_per_s=progress.num_samples / max(progress.seconds, 1e-9),
            learning_rate=self.learner.learning_rate(epoch, 0.0),
            loss_terms=progress.loss_terms(),
            gradient_share=progress.gradient_share(),
            method=progress.method(),
            train=reports["train"],
            validation=reports["validation"],
            test=reports.get("test"),
        )
        state.progress = None
        yield PhaseChanged(epoch, stage, "saving")
        yield self._epoch_done(state.event, progress.rows, splits)

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
        groups = grouped(rows, max(EVALUATION_BATCH, self.parts.spec.batch_size))
        for index, num_samples in enumerate(self.learner.evaluate(groups, table)):
            yield StepDone(epoch, index + 1, len(groups), num_samples, resumable=resumable)

    def _analyse(self, split: str, epoch: int, table: RowTable) -> SplitReport:
        """Returns a split's report and keeps its mixtures."""
        columns = table.numpy(self._rows[split])
        mixtures = split_mixtures(
            columns["gap"],
            seed=derive_seed(self.parts.spec.seed, "mixture", split, epoch),
            previous=self.state.mixtures.get(split),
            where=f"Split {split} in epoch {epoch}",
        )
        self.state.mixtures[split] = mixtures
        return split_report(
            columns,
            self._labels[self._rows[split]],
            len(self.parts.store.classes),
            source="head" if self.parts.objective.trains_heads else "probe",
            mixtures=mixtures,
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

    def _columns(self, table: RowTable, rows: NDArray[np.int64]) -> dict[str, NDArray[np.generic]]:
        """Returns sample columns of some rows, with posteriors by the training mixture."""
        mixture = self.state.mixtures["train"].paper.parameters
        return sample_columns(table.numpy(rows), self._labels[rows], mixture)

    def _epoch_done(self, event: EpochFinished, table: RowTable, splits: list[str]) -> EpochDone:
        """Returns the epoch with its sample table and its snapshot."""
        rows = np.sort(np.concatenate([self._rows[split] for split in splits]))
        columns = self._columns(table, rows)
        gaps = np.full(len(self._labels), np.nan, dtype=np.float32)
        gaps[rows] = columns["gap"]
        all_posteriors = np.full(len(self._labels), np.nan, dtype=np.float32)
        all_posteriors[rows] = posteriors(gaps[rows], self.state.mixtures["train"].paper.parameters)
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
        size = max(EVALUATION_BATCH, self.parts.spec.batch_size)
        train, validation = self._rows["train"], self._rows["validation"]
        seen = self.learner.features(grouped(train, size))
        held_out = self.learner.features(grouped(validation, size))
        try:
            found = {
                modality: neutral_probe(
                    seen[modality], self._labels[train], held_out[modality], self._labels[validation]
                ).accuracy
                for modality in ("audio", "visual")
            }
        except ValueError as error:
            raise TrainingError(f"The features cannot be probed: {error}.", code="features-unusable") from error
        return Probes(**found)
