"""What an epoch has gathered so far: all of it goes into a mid-epoch snapshot and comes back from one.

This module must not know the model or the loop.

Shapes: N samples of the store.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.contract.events import Cost, GradientShare
from worker.engine.rows import RowTable
from worker.objectives.base import EpochPlan, Scalar, Stage

NUM_BRANCHES = 3
"""audio, visual, fusion."""


@dataclass(eq=False)
class EpochProgress:
    """An epoch in the making.

    Attributes:
        plan: what it trains on.
        rows: scores of each sample.
        gradient_squares: (3,) float64, squared gradient norms of audio, visual and fusion, added over the steps.
        term_sums: loss terms, each times its batch size, float64 scalars.
        coefficient_sums: the passes' coefficients, likewise.
        step: batches that are done.
        num_samples: clips that were trained on.
        cost: what the epoch took: see events.Cost.
        seconds: of training.
    """

    plan: EpochPlan
    rows: RowTable
    gradient_squares: Tensor
    term_sums: dict[str, Tensor] = field(default_factory=dict)
    coefficient_sums: dict[str, Tensor] = field(default_factory=dict)
    step: int = 0
    num_samples: int = 0
    cost: dict[str, int] = field(default_factory=lambda: dict.fromkeys(Cost.model_fields, 0))
    seconds: float = 0.0

    @classmethod
    def begin(cls, plan: EpochPlan, num_samples: int, device: torch.device) -> EpochProgress:
        """Returns the progress of an epoch that has not begun.

        Args:
            plan: what it trains on.
            num_samples: N.
            device: where sums are kept, so that no step waits for them.
        """
        squares = torch.zeros(NUM_BRANCHES, dtype=torch.float64, device=device)
        return cls(plan, RowTable(num_samples, device), squares)

    def add(self, sums: dict[str, Tensor], values: Mapping[str, Tensor], batch_size: int) -> None:
        """Adds a batch's means to one of the sums."""
        for name, value in values.items():
            weighted = value.detach().double() * batch_size
            sums[name] = sums[name] + weighted if name in sums else weighted

    def loss_terms(self) -> dict[str, float]:
        """Returns the mean of each loss term over the clips trained on."""
        return {name: float(total) / self.num_samples for name, total in self.term_sums.items()}

    def method(self) -> dict[str, Scalar]:
        """Returns what the method used, with the mean of each coefficient."""
        means = {name: float(total) / self.num_samples for name, total in self.coefficient_sums.items()}
        return {**self.plan.method, **means}

    def gradient_share(self) -> GradientShare:
        """Returns each branch's share of the squared gradient norm over the epoch; equal shares where all are 0."""
        audio, visual, fusion = self.gradient_squares.tolist()
        total = audio + visual + fusion
        if total <= 0:
            return GradientShare(audio=1 / 3, visual=1 / 3, fusion=1 / 3)
        return GradientShare(audio=audio / total, visual=visual / total, fusion=fusion / total)

    def tensors(self) -> dict[str, Tensor]:
        """Returns all tensors by dotted name (not copies)."""
        return {
            "gradient_squares": self.gradient_squares,
            **{f"plan.{name}": torch.from_numpy(values) for name, values in _arrays(self.plan).items()},
            **{f"rows.{name}": column for name, column in self.rows.tensors().items()},
            **{f"terms.{name}": total for name, total in self.term_sums.items()},
            **{f"coefficients.{name}": total for name, total in self.coefficient_sums.items()},
        }

    def record(self) -> dict[str, Any]:
        """Returns the rest, as JSON."""
        return {
            "stage": self.plan.stage,
            "method": self.plan.method,
            "learning_rate_factor": self.plan.learning_rate_factor,
            "cost": self.cost,
            "step": self.step,
            "num_samples": self.num_samples,
            "seconds": self.seconds,
        }

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], record: Mapping[str, Any], device: torch.device) -> EpochProgress:
        """Returns the progress that `tensors` and `record` hold.

        Args:
            tensors: as `tensors` gave them.
            record: as `record` gave it.
            device: where the run goes on.
        """
        plan = EpochPlan(
            cast(Stage, record["stage"]),
            method=record["method"],
            learning_rate_factor=float(record["learning_rate_factor"]),
            **{name: values.numpy() for name, values in _below(tensors, "plan.").items()},  # type: ignore[arg-type]
        )
        progress = cls.begin(plan, len(tensors["rows.gap"]), device)
        progress.rows.restore(_below(tensors, "rows."))
        progress.gradient_squares.copy_(tensors["gradient_squares"])
        progress.term_sums = {name: total.to(device) for name, total in _below(tensors, "terms.").items()}
        progress.coefficient_sums = {name: total.to(device) for name, total in _below(tensors, "coefficients.").items()}
        progress.step, progress.num_samples = int(record["step"]), int(record["num_samples"])
        progress.seconds, progress.cost = float(record["seconds"]), dict(record["cost"])
        return progress


def _arrays(plan: EpochPlan) -> dict[str, NDArray[Any]]:
    """Returns the arrays of a plan by their names there; its `fresh_optimizer` has been obeyed when it began."""
    found = {"rows": plan.rows, "present": plan.present, "groups": plan.groups}
    return {name: values for name, values in found.items() if values is not None}


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Returns the tensors whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
