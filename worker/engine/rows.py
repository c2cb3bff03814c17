"""What an epoch learnt of each sample: one row a sample of the store, filled batch by batch on the device.

This module must not know how logits came about, nor epochs or files.

Shapes: N samples of the store, B of a batch, C classes; columns of the (N, 3) tables are fused, audio, visual.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from worker.science.gap import modality_gap, true_class_probability

BRANCHES = ("fused", "audio", "visual")


class RowTable:
    """Scores of each sample; a sample that was visited twice keeps its last visit."""

    def __init__(self, num_samples: int, device: torch.device) -> None:
        """Makes an empty table.

        Args:
            num_samples: N.
            device: where batches come from.
        """
        nan = float("nan")
        self.p_true = torch.full((num_samples, 3), nan, device=device)
        self.confidence = torch.full((num_samples, 3), nan, device=device)
        self.predicted = torch.full((num_samples, 3), -1, dtype=torch.int32, device=device)
        self.gap = torch.full((num_samples,), nan, device=device)
        self.loss_weight = torch.ones(num_samples, device=device)
        self.visited = torch.zeros(num_samples, dtype=torch.bool, device=device)

    @torch.no_grad()
    def write(
        self,
        rows: Int[Tensor, " B"],
        logits: tuple[Float[Tensor, "B C"], Float[Tensor, "B C"], Float[Tensor, "B C"]],
        labels: Int[Tensor, " B"],
    ) -> Float[Tensor, " B"]:
        """Fills the rows of a batch and returns its modality gaps.

        Args:
            rows: (B,) store indices.
            logits: fused, audio, visual: (B, C) each.
            labels: (B,) true classes.
        """
        stacked = torch.stack(logits, dim=1).detach()
        confidence, predicted = stacked.softmax(dim=2).max(dim=2)
        branches = [true_class_probability(stacked[:, branch], labels) for branch in range(3)]
        # A non-finite loss is the loop's to report; non-finite gaps are reported with their epoch by the analysis.
        gap = modality_gap(stacked[:, 1], stacked[:, 2], labels, check_finite=False)
        self.p_true[rows] = torch.stack(branches, dim=1)
        self.confidence[rows] = confidence
        self.predicted[rows] = predicted.int()
        self.gap[rows] = gap
        self.visited[rows] = True
        return gap

    def tensors(self) -> dict[str, Tensor]:
        """Returns the table by column name: the tensors themselves, not copies."""
        return dict(vars(self))

    def restore(self, saved: Mapping[str, Tensor]) -> None:
        """Takes back what `tensors` gave."""
        for name, column in self.tensors().items():
            column.copy_(saved[name])

    def numpy(self, rows: NDArray[np.int64]) -> dict[str, NDArray[np.generic]]:
        """Returns the columns of some rows.

        Args:
            rows: store indices.
        """
        chosen = torch.from_numpy(rows).to(self.gap.device)
        return {name: column[chosen].cpu().numpy() for name, column in self.tensors().items()}
