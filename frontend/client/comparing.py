"""Comparisons in the Python client: runs side by side, McNemar's tests, samples that changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from frontend.client.transport import Transport


class CompareCalls:
    """The part of the client that compares runs."""

    _transport: Transport

    def compare(self, runs: Sequence[str], *, split: str = "validation", epoch: int | None = None) -> dict[str, Any]:
        """Returns runs side by side at one epoch: curves, reports, differing settings, spread over seeds.

        Args:
            runs: ids of 1 to 50 runs.
            split: train, validation or test.
            epoch: of every run; None means the last that all have.
        """
        return dict(self._transport.get("/compare", runs=",".join(runs), split=split, epoch=epoch))

    def compare_pairs(
        self, runs: Sequence[str], *, split: str = "validation", epoch: int | None = None
    ) -> dict[str, Any]:
        """Returns McNemar's tests of the first run against each other one, corrected by Holm's method."""
        return dict(self._transport.get("/compare/pairs", runs=",".join(runs), split=split, epoch=epoch))

    def compare_changes(self, first: str, second: str, **filters: Any) -> dict[str, Any]:
        """Returns a page of the samples that two runs judge differently, widest change of gap first.

        Args:
            first: a run's id.
            second: another's.
            filters: split, epoch, change (any, group, fused, audio, visual), limit, cursor.
        """
        return dict(self._transport.get("/compare/changes", first=first, second=second, **filters))
