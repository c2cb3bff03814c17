"""How far the preparation of a dataset is, in words."""

from __future__ import annotations

from frontend.ui import words
from worker.contract.resources import Dataset


def preparation_words(item: Dataset) -> str:
    """Returns how far a preparation is, in words."""
    progress = item.progress
    if item.state == "queued":
        return "Waiting for a worker that prepares clips."
    if not progress.total:
        return "Listing the clips."
    rate = f", {progress.clips_per_s:.0f} a second" if progress.clips_per_s else ""
    left = f", {words.duration(progress.eta_s)} left" if progress.eta_s is not None else ""
    skipped = f"; {words.count(progress.skipped, 'clip')} left out" if progress.skipped else ""
    return f"{progress.done:,} of {words.count(progress.total, 'clip')}{rate}{left}{skipped}."
