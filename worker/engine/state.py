"""What a run remembers from epoch to epoch. This module must not know how it is computed or saved."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from worker.contract.events import EpochFinished, SplitReport
from worker.engine.progress import EpochProgress
from worker.science.mixture import MixturePair


@dataclass(eq=False)
class Chosen:
    """The best epoch so far.

    Attributes:
        epoch: from 1; ties stay with the earlier one.
        accuracy: fused, by which it was chosen.
        report: of the test split, under protocol paper.
        weights: of that epoch, under protocol honest where there is a test split to look at in the end.
    """

    epoch: int
    accuracy: float
    report: SplitReport | None = None
    weights: dict[str, Tensor] | None = None


@dataclass(eq=False)
class RunState:
    """What stays from epoch to epoch.

    Attributes:
        finished: epochs that are done.
        mixtures: by split, of the last epoch.
        train_gaps: of the last epoch, in the order of the training rows; None in a run of one modality.
        train_correct: whether the fused prediction was right, likewise.
        chosen: the best epoch.
        best_figure: of validation so far, higher is better, where the run may end early.
        stale_epochs: since it.
        event: of the last epoch.
        progress: of the epoch in the making.
    """

    finished: int = 0
    mixtures: dict[str, MixturePair] = field(default_factory=dict)
    train_gaps: NDArray[np.float32] | None = None
    train_correct: NDArray[np.bool_] | None = None
    chosen: Chosen | None = None
    best_figure: float | None = None
    stale_epochs: int = 0
    event: EpochFinished | None = None
    progress: EpochProgress | None = None
