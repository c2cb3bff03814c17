"""Two runs, sample by sample: McNemar's test of each prediction, and the samples that changed.

Only runs that judged the same samples of the same data can be paired; the others get the reason in words.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field

from backend.analysis import GROUP_SQL, Group, Modality
from backend.samples import Split
from backend.tables import Source, Tables, Where

EXACT_UP_TO = 1_000
"""Discordant pairs up to which McNemar's test is the exact binomial one."""
MODALITIES: tuple[Modality, ...] = ("fused", "audio", "visual")
Change = Literal["any", "group", "fused", "audio", "visual"]
TestName = Literal["exact binomial", "chi-squared"]
_COLUMNS = "sample_id, label, fused_correct, audio_correct, visual_correct"
CHANGES: dict[Change, str] = {
    "group": "(first_group <> second_group AND first_group <> 'unknown' AND second_group <> 'unknown')",
    **{name: f"(first_{name}_correct <> second_{name}_correct)" for name in MODALITIES},
}
CHANGES["any"] = f"coalesce({', false) OR coalesce('.join(CHANGES.values())}, false)"


class ModalityTest(BaseModel):
    """McNemar's test of one prediction of two runs."""

    modality: Modality
    both_right: int
    only_first_right: int
    only_second_right: int
    both_wrong: int
    p_value: float = Field(description="Two-sided, that both runs are right equally often.")
    p_holm: float = Field(description="The same, corrected for all tests of this answer by Holm's method.")
    test: TestName


class PairedTest(BaseModel):
    """Two runs on the samples that both have."""

    first: str
    second: str
    reason: str | None = Field(description="Why they cannot be paired; null where they can.")
    num_samples: int = Field(0, description="Samples of the split that both have.")
    tests: list[ModalityTest] = Field(default_factory=list, description="A prediction that a run lacks is left out.")


class PairedTests(BaseModel):
    """The first run against each other one."""

    split: Split
    epoch: int | None
    num_tests: int = Field(description="Tests that Holm's correction counts.")
    items: list[PairedTest]


class ChangedSide(BaseModel):
    """A sample in one of the two runs."""

    gap: float | None
    group: Group
    fused_correct: bool | None
    audio_correct: bool | None
    visual_correct: bool | None


class ChangedSample(BaseModel):
    """A sample that two runs judge differently."""

    sample_id: str
    label: str
    first: ChangedSide
    second: ChangedSide


class ChangedPage(BaseModel):
    """A page of samples that changed, widest change of gap first."""

    first: str
    second: str
    split: Split
    epoch: int
    total: int
    items: list[ChangedSample]
    next: str | None = None


@dataclass(frozen=True)
class Side:
    """What pairing needs to know of a run.

    Attributes:
        run_id: its id.
        dataset: digest of its prepared data, else the dataset's id; empty where it never started.
        dataset_id: for people.
        protocol: of its dataset.
        newest: finished epochs.
        table: of the compared epoch; None where there is none.
    """

    run_id: str
    dataset: str
    dataset_id: str
    protocol: str
    newest: int
    table: Path | None


def obstacle(first: Side, second: Side, epoch: int) -> str | None:
    """Returns why two runs cannot be paired at an epoch, in words; None where they can."""
    for side in (first, second):
        if side.newest == 0:
            return f"{side.run_id} has not finished an epoch."
        if side.newest < epoch:
            return f"{side.run_id} has finished {side.newest} epochs only: choose an epoch up to that."
    if first.dataset != second.dataset:
        if first.dataset_id != second.dataset_id:
            return f"They are on different data: {first.dataset_id} and {second.dataset_id}."
        return f"The clips of {first.dataset_id} were prepared anew between them: the samples are not the same."
    if first.protocol != second.protocol:
        return (
            f"They follow different protocols ({first.protocol} and {second.protocol}), so they chose and saw their "
            "test clips differently."
        )
    for side in (first, second):
        if side.table is None:
            return f"The samples of epoch {epoch} of {side.run_id} are not kept: choose another epoch."
    return None


def mcnemar(only_first: int, only_second: int) -> tuple[float, TestName]:
    """Returns the two-sided p-value that both runs are right equally often, and which test it is of.

    Exact (binomial) for up to 1,000 discordant pairs, else chi-squared with Edwards' continuity correction.

    Args:
        only_first: samples that only the first has right.
        only_second: samples that only the second has right.

    Source: McNemar 1947; Edwards 1948.
    """
    discordant = only_first + only_second
    if discordant == 0:
        return 1.0, "exact binomial"
    if discordant <= EXACT_UP_TO:
        tail = term = 1  # of the binomial sum, each coefficient from the one before: math.comb for each takes 10 ms
        for k in range(min(only_first, only_second)):
            term = term * (discordant - k) // (k + 1)
            tail += term
        return min(1.0, 2 * tail / 2**discordant), "exact binomial"
    statistic = max(0, abs(only_first - only_second) - 1) ** 2 / discordant
    return math.erfc(math.sqrt(statistic / 2)), "chi-squared"


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns p-values corrected for their number, in the order given. Source: Holm 1979."""
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for rank, position in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[position]))
        corrected[position] = highest
    return corrected


def paired_tests(tables: Tables, first: Side, others: Sequence[Side], split: Split, epoch: int | None) -> PairedTests:
    """Returns the first run tested against each other one, with Holm's correction over all tests.

    Args:
        tables: what reads.
        first: a run.
        others: runs to compare it with.
        split: where.
        epoch: of all of them; None where no run has one.
    """
    reasons = {
        side.run_id: "No run has finished an epoch." if epoch is None else obstacle(first, side, epoch)
        for side in others
    }
    able = [side for side in others if reasons[side.run_id] is None]
    counted = _counts(tables, first, able, split) if able else {}
    items = [_paired(first, side, reasons[side.run_id], counted.get(str(side.table)), split) for side in others]
    tests = [test for item in items for test in item.tests]
    for test, p_holm in zip(tests, holm([test.p_value for test in tests]), strict=True):
        test.p_holm = p_holm
    return PairedTests(split=split, epoch=epoch, num_tests=len(tests), items=items)


def _counts(tables: Tables, first: Side, others: Sequence[Side], split: Split) -> dict[str, dict[str, Any]]:
    """Returns the counts of each pair by the other's table: one query for all of them."""
    cells = ", ".join(
        f"count(*) FILTER ({'' if a else 'NOT '}a.{name}_correct AND {'' if b else 'NOT '}b.{name}_correct) "
        f"AS {name}_{int(a)}{int(b)}"
        for name in MODALITIES
        for a in (True, False)
        for b in (True, False)
    )
    sql = f"""SELECT b.filename AS file, count(*) AS n, {cells}
        FROM (SELECT {_COLUMNS} FROM read_parquet(?) WHERE split = ?) a
        JOIN (SELECT filename, {_COLUMNS} FROM read_parquet(?, filename = true, union_by_name = true)
              WHERE split = ?) b USING (sample_id, label) GROUP BY ALL"""
    files = list(dict.fromkeys(str(side.table) for side in others))
    return {row["file"]: row for row in tables.rows(sql, (str(first.table), split, files, split))}


def _paired(first: Side, second: Side, reason: str | None, row: dict[str, Any] | None, split: Split) -> PairedTest:
    if reason is None and row is None:
        reason = f"They share no clip of the {split} split at this epoch."
    if reason is not None or row is None:
        return PairedTest(first=first.run_id, second=second.run_id, reason=reason)
    tests = []
    for name in MODALITIES:
        cells = [row[f"{name}_{cell}"] for cell in ("11", "10", "01", "00")]
        if sum(cells):
            p_value, test = mcnemar(cells[1], cells[2])
            tests.append(
                ModalityTest(
                    modality=name,
                    both_right=cells[0],
                    only_first_right=cells[1],
                    only_second_right=cells[2],
                    both_wrong=cells[3],
                    p_value=p_value,
                    p_holm=p_value,
                    test=test,
                )
            )
    return PairedTest(first=first.run_id, second=second.run_id, reason=None, num_samples=row["n"], tests=tests)


def changed_source(first: Path, second: Path, split: Split) -> Source:
    """Returns the samples that both tables have in a split, side by side."""

    def side(name: str) -> str:
        corrects = ", ".join(f"{one}_correct AS {name}_{one}_correct" for one in MODALITIES)
        return (
            f"(SELECT sample_id, label, gap::DOUBLE AS {name}_gap, {GROUP_SQL} AS {name}_group, {corrects} "
            "FROM read_parquet(?) WHERE split = ?)"
        )

    sql = (
        f"(SELECT *, abs(first_gap - second_gap) AS gap_change FROM {side('first')} "
        f"JOIN {side('second')} USING (sample_id, label))"
    )
    return Source(sql, (str(first), split, str(second), split))


def changed_where(change: Change) -> Where:
    """Returns the condition on `changed_source` of samples that changed."""
    return Where().add(f"({CHANGES[change]})")


def changed_sample(row: dict[str, Any]) -> ChangedSample:
    """Returns a row of `changed_source` as the API shows it."""
    sides = [
        ChangedSide(**{name: row[f"{side}_{name}"] for name in ChangedSide.model_fields})
        for side in ("first", "second")
    ]
    return ChangedSample(sample_id=row["sample_id"], label=row["label"], first=sides[0], second=sides[1])
