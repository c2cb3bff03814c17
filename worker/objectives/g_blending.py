"""G-Blending: the three cross-entropies weighed by how much each generalises for how much it overfits.

Wang, Tran, Feiszli, "What Makes Training Multi-Modal Classification Networks Hard?", CVPR 2020. From epoch N to N + n
of a run k, with LT and LV its losses on training and validation clips: dG = LV(N) - LV(N + n), O = LV - LT,
dO = O(N + n) - O(N), w_k proportional to dG / dO^2, their sum 1. L = sum_k w_k CE_k for k in fused, audio, visual, each
unimodal one by a head of its own (the offline variant: weights are measured once). The three runs are ordinary ones
that finished before; nothing is trained inside of this one. Differs from BalanceBenchmark, which trains copies within
the epoch, measures its baseline after their first epoch, sums batch means of loaders of different length and takes
|dG|: a branch whose validation loss rises has weight 0 here; a fused weight of 0, which would leave the fusion
untrained, is refused. A small constant keeps dO near 0 from giving all weight to one. Training losses of runs with gaps
"online" are of the training pass; with "clean" ones they are measured later.

Shapes: B clips.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from worker.contract.errors import TrainingError
from worker.objectives.base import (
    MODALITIES,
    EpochPlan,
    EpochView,
    Objective,
    Pass,
    Scalar,
    Setup,
    SourceRun,
    StepView,
)
from worker.objectives.fixed_blend import blended_pass

BRANCHES = ("fused", "audio", "visual")


@dataclass(frozen=True)
class Losses:
    """Mean cross-entropies of a run at the end of an epoch, nats."""

    train: float
    validation: float


def blending_ratio(before: Losses, after: Losses, epsilon: float) -> float:
    """Returns dG / (dO^2 + eps), 0 where the validation loss has not fallen.

    Args:
        before: at epoch N.
        after: at epoch N + n.
        epsilon: nats squared, above 0.

    Source: Wang et al. 2020; epsilon and the floor: ours.
    """
    generalised = max(before.validation - after.validation, 0.0)
    overfitted = (after.validation - after.train) - (before.validation - before.train)
    return generalised / (overfitted**2 + epsilon)


class GBlending(Objective):
    """Multi-head training with measured weights."""

    trains_heads: ClassVar[bool] = True

    def __init__(
        self,
        *,
        fused_run: str | None,
        audio_run: str | None,
        visual_run: str | None,
        from_epoch: int,
        num_epochs: int | None,
        epsilon: float,
        fused_weight: float | None,
        audio_weight: float | None,
        visual_weight: float | None,
    ) -> None:
        """Takes the fields of the spec by their names there; either runs or weights are given."""
        del fused_run, audio_run, visual_run  # they come with the setup
        self._from_epoch, self._num_epochs, self._epsilon = from_epoch, num_epochs, epsilon
        given = {"fused": fused_weight, "audio": audio_weight, "visual": visual_weight}
        self._weights = {name: value for name, value in given.items() if value is not None}
        self._measured: dict[str, Scalar] = {}

    def setup(self, setup: Setup) -> None:
        """Computes the weights, where they are not given.

        Raises:
            TrainingError: a run is too short, or none generalised better in these epochs.
        """
        if self._weights:
            return
        runs = {name: setup.sources[f"{name}_run"] for name in BRANCHES}
        for name, run in runs.items():
            _require_modalities(name, run)
        last = self._last_epoch(list(runs.values()))
        ratios = {
            name: blending_ratio(_losses(run, self._from_epoch), _losses(run, last), self._epsilon)
            for name, run in runs.items()
        }
        total = sum(ratios.values())
        if total == 0:
            raise TrainingError(
                f"In none of the runs {', '.join(run.run_id for run in runs.values())} does the validation loss fall "
                f"from epoch {self._from_epoch} to {last}, so no weight can be measured: choose other epochs or runs.",
                code="source-run-unfit",
            )
        if ratios["fused"] == 0:
            raise TrainingError(
                f"The validation loss of {runs['fused'].run_id} (fused_run) does not fall from epoch "
                f"{self._from_epoch} to {last}, so the fused loss would weigh nothing and the fusion never be trained: "
                "choose other epochs or another run, or give the weights.",
                code="source-run-unfit",
            )
        self._weights = {name: ratio / total for name, ratio in ratios.items()}
        self._measured = {"measured_from_epoch": self._from_epoch, "measured_to_epoch": last}

    def _last_epoch(self, runs: list[SourceRun]) -> int:
        """Returns N + n, by default the end of the shortest run."""
        if self._num_epochs is not None:
            return self._from_epoch + self._num_epochs
        last = min(run.num_epochs for run in runs)
        if last <= self._from_epoch:
            shortest = min(runs, key=lambda run: run.num_epochs)
            raise TrainingError(
                f"The earlier run {shortest.run_id} has {last} epochs, measuring begins at epoch {self._from_epoch} "
                "and needs at least one more: lower from_epoch or name a longer run.",
                code="source-run-unfit",
            )
        return last

    def plan_epoch(self, view: EpochView) -> EpochPlan:
        """Reports the weights."""
        weights: dict[str, Scalar] = {f"{name}_weight": value for name, value in self._weights.items()}
        return EpochPlan("single", view.rows, weights | self._measured)

    def passes(self, step: StepView) -> Iterator[Pass]:
        """Yields one pass with all three losses."""
        yield blended_pass(step, self._weights)


def _require_modalities(branch: str, run: SourceRun) -> None:
    """Passes where a run was trained on what its loss is to stand for.

    Raises:
        TrainingError: it was not.
    """
    expected = MODALITIES if branch == "fused" else (branch,)
    if tuple(run.modalities) != expected:
        raise TrainingError(
            f"The earlier run {run.run_id} ({branch}_run) was trained on {' and '.join(run.modalities)}, its loss is "
            f"to be that of {' and '.join(expected)} alone: name another run.",
            code="source-run-unfit",
        )


def _losses(run: SourceRun, epoch: int) -> Losses:
    return Losses(run.cross_entropy(epoch, "train"), run.cross_entropy(epoch, "validation"))
