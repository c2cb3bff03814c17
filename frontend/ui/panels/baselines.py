"""The baselines of a run: finished runs on one modality of the same data, with the same encoders."""

from __future__ import annotations

from typing import Final

import streamlit as st

from frontend.ui.diagnosis import Solo
from frontend.ui.panels.header import run_title
from frontend.ui.service import client
from worker.contract.errors import GapscopeError
from worker.contract.resources import Run

SOLO_KINDS: Final[dict[str, str]] = {"audio": "audio-only", "visual": "visual-only"}
ASK_AGAIN_S: Final = 30
MOST_ASKED: Final = 50


def solo_of(run: Run) -> dict[str, Solo]:
    """Returns the baseline of each modality that has one; nothing while the API does not answer."""
    if run.resolved_spec is None:
        return {}
    try:
        return _solo_of(run.id, run.resolved_spec.dataset_id, _run=run)
    except GapscopeError:
        return {}


@st.cache_data(ttl=ASK_AGAIN_S, max_entries=128, show_spinner=False)
def _solo_of(run_id: str, dataset_id: str, _run: Run) -> dict[str, Solo]:
    found = {}
    for name, kind in SOLO_KINDS.items():
        runs = client().runs(state="finished", objective=kind, dataset=dataset_id, limit=MOST_ASKED).items
        best = chosen(_run, [run for run in runs if run.id != run_id], name)
        if best is not None:
            found[name] = best
    return found


def chosen(run: Run, candidates: list[Run], modality: str) -> Solo | None:
    """Returns the baseline to compare with: the same data, protocol and encoders; the same seed first, then the newest.

    Args:
        run: the run in question.
        candidates: finished runs on one modality, newest first.
        modality: audio or visual.
    """
    fit = [one for one in candidates if _comparable(run, one) and one.spec.objective.kind == SOLO_KINDS[modality]]
    for one in sorted(fit, key=lambda other: other.spec.seed != run.spec.seed):
        accuracy = getattr(one.summary.accuracy, modality) if one.summary else None
        if one.summary is not None and accuracy is not None:
            return Solo(run_title(one), accuracy, one.summary.num_samples)
    return None


def _comparable(run: Run, other: Run) -> bool:
    mine, its = run.resolved_spec, other.resolved_spec
    return (
        mine is not None
        and its is not None
        and mine.store_digest == its.store_digest
        and run.spec.encoder == other.spec.encoder
        and run.spec.dataset.protocol == other.spec.dataset.protocol
    )
