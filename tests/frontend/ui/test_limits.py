"""What the page System says of limits and of what was deleted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from frontend.ui import words
from frontend.ui.panels.limits import full, limit_rows, swept_line
from worker.contract.upkeep import LimitUse, SweepFacts, SweptPart

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
RUNS = LimitUse(
    name="queued-run", title="Runs that wait", used=50, limit=100, unit="number", refuses=True, setting="GAPSCOPE_X"
)
TRASH = LimitUse(
    name="trash", title="The trash", used=2_500_000_000, limit=None, unit="bytes", refuses=False, setting="GAPSCOPE_Y"
)


def test_each_limit_is_told_with_its_use_and_its_setting() -> None:
    assert limit_rows([RUNS, TRASH]) == [
        ("Runs that wait", f"50 ({words.percent(0.5, 0)})", "100", "refused", "GAPSCOPE_X"),
        ("The trash", "2.5 GB", "the disk", "the oldest goes", "GAPSCOPE_Y"),
    ]


def test_what_is_full_is_warned_of_with_a_remedy_and_what_only_ages_is_not() -> None:
    (said,) = full([RUNS.model_copy(update={"used": 100}), TRASH.model_copy(update={"limit": 1})])
    assert said.startswith("**Runs that wait**: 100 of 100, so more is refused.")
    assert "`GAPSCOPE_X`" in said
    assert full([RUNS, TRASH]) == []


def test_what_was_deleted_is_told_in_words() -> None:
    nothing = SweepFacts(swept_at=None, freed_at=None, freed_bytes=0, parts=[])
    assert "not looked yet" in swept_line(nothing, NOW)
    looked = nothing.model_copy(update={"swept_at": NOW})
    assert swept_line(looked, NOW).endswith("just now. Nothing was deleted since the backend started.")
    parts = [
        SweptPart(name="scores", number=1, freed_bytes=10),
        SweptPart(name="batches", number=2, freed_bytes=10),
        SweptPart(name="trash", number=0, freed_bytes=1_999_980),
    ]
    freed = looked.model_copy(update={"freed_at": NOW - timedelta(hours=2), "freed_bytes": 2_000_000, "parts": parts})
    assert "2.0 MB were freed (1 score, 2 batches), the last of it 2 h ago." in swept_line(freed, NOW)
