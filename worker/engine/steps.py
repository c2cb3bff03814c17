"""What the training loop yields to whoever drives it: pure values, no I/O.

Only `EpochDone` and `RunDone` carry results; the others say that the loop lives and where it is.

Shapes: N samples of the store, in its order.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from worker.contract.events import EpochFinished, Phase, RunResult, Stage


@dataclass(frozen=True)
class PhaseChanged:
    """The loop entered another phase of an epoch (epochs count from 1)."""

    epoch: int
    stage: Stage
    phase: Phase


@dataclass(frozen=True)
class StepDone:
    """A batch was trained on or evaluated; a snapshot may be taken now if `resumable`."""

    epoch: int
    step: int
    num_steps: int
    num_samples: int
    resumable: bool
    pending: bool = False
    """Gradients are gathered that no step was made with: whoever wants to leave waits for a resumable step."""
    coefficients: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Snapshot:
    """All that is needed to rebuild, use and go on with a run: CPU copies that training does not change.

    `tensors` holds weights, buffers, optimizer state, RNG states and partial gap rows by dotted name; `record` is JSON
    (specs, classes, mixtures, epoch, step, the epoch's EpochFinished, objective state).
    `epoch` counts finished epochs; `step` is 0 at the end of one, else the batches done of the next.
    """

    epoch: int
    step: int
    tensors: dict[str, Tensor]
    record: dict[str, object]


@dataclass(frozen=True)
class EpochDone:
    """An epoch is computed: its event, its sample table and the state to go on from."""

    event: EpochFinished
    columns: dict[str, NDArray[np.generic]]
    """Columns of layout.SAMPLE_COLUMNS for the rows in `rows`, but sample_id, split and label, which the store has;
    predicted_* are int32 indices of the store's classes."""
    rows: NDArray[np.int64]
    """Store indices of the table's rows, ascending (test rows only where the test split was evaluated)."""
    gaps: NDArray[np.float32]
    """(N,) NaN where not evaluated."""
    posteriors: NDArray[np.float32]
    """(N,) NaN where not evaluated or without a mixture."""
    snapshot: Snapshot


@dataclass(frozen=True)
class RunDone:
    """Training is complete.

    Under protocol honest test rows stand in no epoch's table: they come here, of the last epoch's weights (posteriors
    by its training mixture). Under paper, and without a test split, both are None.
    """

    result: RunResult
    test_columns: dict[str, NDArray[np.generic]] | None = None
    """Columns of layout.SAMPLE_COLUMNS, as in EpochDone."""
    test_rows: NDArray[np.int64] | None = None
    """Store indices of the test split, ascending."""


TrainingStep = PhaseChanged | StepDone | EpochDone | RunDone
