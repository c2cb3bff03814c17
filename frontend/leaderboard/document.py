"""A leaderboard as Markdown, and the file in which each data set has a section of its own between two comments."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frontend.leaderboard.figures import CHOSEN, METRICS, Entry
from frontend.leaderboard.plan import BASELINE
from frontend.leaderboard.planted import AUDIO, CLEAN, VISUAL
from frontend.leaderboard.statistics import PairedDifference
from frontend.leaderboard.summary import FEW_SEEDS, TESTED, TIME_BASELINE, Board, Row
from worker.contract.resources import ResolvedSpec

MISSING = "-"
NEW_FILE = "# Leaderboard\n\nWritten by `gapscope bench methods`.\n"
_NO_PERCENT = {"mean_abs_gap", "chosen_mean_abs_gap"}


@dataclass(frozen=True)
class Facts:
    """What a board was made with.

    Attributes:
        title: of the section.
        base: the runs' spec without objective and seed, as sent.
        resolved: of every finished run.
        date: ISO, of the day.
        command: the command line that makes it again.
    """

    title: str
    base: dict[str, Any]
    resolved: Sequence[ResolvedSpec]
    date: str
    command: str


def markdown(board: Board, facts: Facts) -> str:
    """Returns the section of a board."""
    parts = [
        f"## {facts.title}\n",
        *_head(board, facts),
        _means(board),
        _chosen(board),
        _differences(board),
        *_seeds(board),
    ]
    return "\n".join([*parts, *_planted(board)]).rstrip() + "\n"


def with_section(text: str, name: str, section: str) -> str:
    """Returns a document in which the section `name` was put in place of its earlier text, or at the end.

    Args:
        text: the document.
        name: of the section; stands in the comments around it.
        section: Markdown.
    """
    begin, end = f"<!-- leaderboard {name} begin -->", f"<!-- leaderboard {name} end -->"
    block = f"{begin}\n{section}{end}"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if pattern.search(text):
        return pattern.sub(lambda _: block, text, count=1)
    return f"{text.rstrip()}\n\n{block}\n"


def update(path: Path, name: str, section: str) -> None:
    """Writes a section into a file, which is made if it is not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    before = path.read_text() if path.exists() else NEW_FILE
    path.write_text(with_section(before, name, section))


def _head(board: Board, facts: Facts) -> list[str]:
    finished = [entry for entry in board.entries if entry.failure is None]
    splits = sorted({f"{entry.split}, n = {entry.num_samples}" for entry in finished})
    chosen = sorted({str(entry.chosen_by) for entry in finished})
    failed = len(board.entries) - len(finished)
    lines = [
        f"{len(board.rows)} methods, seeds {_listed(sorted({entry.seed for entry in board.entries}))}, "
        f"{len(finished)} finished runs, {failed} failed. Split: {'; '.join(splits) or MISSING}. Figures are of the "
        f"**last epoch**; the column *{METRICS['chosen_fused']}* and the second table are of the one chosen by "
        f"{', '.join(chosen) or MISSING}.",
    ]
    if board.exploratory:
        lines.append(f"**Exploratory: under {FEW_SEEDS} seeds.** Nothing here is a claim.")
    lines += [
        f"Differences are paired over seeds, method minus `{BASELINE}`, with the 95 % t interval; p of the fused "
        f"accuracy by the paired t test, Holm over the shown family of {board.family}. The interval says how a "
        "difference varies over seeds on this data and this split, not over other data.",
        f"Passes: backward passes in those of `{BASELINE}`; time: training seconds in those of `{TIME_BASELINE}` on "
        "this machine, other runs beside it; earlier runs that a method needs are not in either. mean abs. gap is "
        "what some methods minimise: it does not show that one is better.",
        *_provenance(facts),
    ]
    return ["\n\n".join(lines), ""]


def _provenance(facts: Facts) -> list[str]:
    resolved = facts.resolved
    versions = {f"{name} {version}" for one in resolved for name, version in one.versions.items()}
    devices = {f"{one.device}, {one.precision}, {one.threads} threads" for one in resolved}
    commits = {one.git_revision or "unknown" for one in resolved}
    stores = {one.store_digest for one in resolved}
    lines = [
        f"Measured until {facts.date}; machine: {_listed({one.processor for one in resolved})} ({_listed(devices)}); "
        f"versions: {_listed(versions)}; commit: {_listed(commits)}; data: store {_listed(stores)}.",
    ]
    if len(stores) > 1:
        lines.append("**The data changed between these runs: they are not comparable.**")
    if len(commits) > 1:
        lines.append("**The runs are of several commits**; delete those that a change concerns and run it again.")
    lines.append(f"Spec of all runs: `{json.dumps(facts.base, sort_keys=True)}`. Made by `{facts.command}`.")
    return lines


def _means(board: Board) -> str:
    head = ["method", "seeds", *METRICS.values(), "fused - joint", "p (Holm)", "passes", "time", "seconds"]
    rows = []
    for row in board.rows:
        figures = [_spread(name, row.means[name], row.deviations[name]) for name in METRICS]
        rows.append(
            [
                f"`{row.method}`",
                str(len(row.seeds)),
                *figures,
                _difference(TESTED, row.differences.get(TESTED)),
                _p(row.holm_p),
                _number(row.passes, 2),
                _number(row.time, 2),
                _number(row.seconds, 1),
            ]
        )
    return f"### Means over seeds, ± standard deviation\n\n{_table(head, rows)}"


def _chosen(board: Board) -> str:
    rows = [
        [
            f"`{row.method}`",
            *(_spread(name, row.means[name], row.deviations[name]) for name in CHOSEN),
            _difference("chosen_fused", row.differences.get("chosen_fused")),
        ]
        for row in board.rows
    ]
    return f"### The same at the chosen epoch\n\n{_table(['method', *CHOSEN.values(), 'fused - joint'], rows)}"


def _differences(board: Board) -> str:
    rows = [
        [f"`{row.method}`", *(_difference(name, row.differences.get(name)) for name in METRICS)]
        for row in board.rows
        if row.method != BASELINE
    ]
    head = ["method", *METRICS.values()]
    return f"### Paired differences from `{BASELINE}`, 95 % t interval\n\n{_table(head, rows)}"


def _seeds(board: Board) -> list[str]:
    order = {row.method: place for place, row in enumerate(board.rows)}
    entries = sorted(board.entries, key=lambda entry: (order[entry.method], entry.seed))
    shown = [_seed_row(entry) for entry in entries if entry.failure is None]
    parts = [f"### Every seed\n\n{_table(['method', 'seed', *METRICS.values(), 'seconds', 'run'], shown)}"]
    failures = [
        [f"`{entry.method}`", str(entry.seed), entry.run_id or MISSING, _cell(entry.failure)]
        for entry in entries
        if entry.failure is not None
    ]
    if failures:
        parts.append(f"### Failed\n\n{_table(['method', 'seed', 'run', 'reason'], failures)}")
    return parts


def _seed_row(entry: Entry) -> list[str]:
    figures = [_value(name, entry.metrics.get(name)) for name in METRICS]
    seconds = _number(entry.cost.seconds if entry.cost else None, 1)
    return [f"`{entry.method}`", str(entry.seed), *figures, seconds, entry.run_id or MISSING]


def _planted(board: Board) -> list[str]:
    known = [entry for entry in board.entries if entry.planted is not None]
    if not known:
        return []
    order = {row.method: place for place, row in enumerate(board.rows)}
    rows = []
    for entry in sorted(known, key=lambda entry: (order[entry.method], entry.seed)):
        report = entry.planted
        assert report is not None
        rows.append(
            [
                f"`{entry.method}`",
                str(entry.seed),
                _number(report.auc_audio),
                _number(report.auc_visual),
                _triple(report.mean_posterior),
                _triple(report.mean_abs_gap),
                _number(report.calibration_error),
            ]
        )
    first = known[0].planted
    assert first is not None
    head = ["method", "seed", "AUC of -g, audio", "AUC of +g, visual", "mean r", "mean abs. gap", "calibration error"]
    words = (
        f"### Planted corruption\n\n{first.num_audio} clips lost their sound's content, {first.num_visual} their "
        f"picture's, {first.num_clean} are clean; the truth is known. AUC: audio-corrupted against clean by -g, "
        "visual-corrupted against clean by +g; 0.5 is chance. Mean r (posterior) and mean abs. gap: clean / audio / "
        "visual. Calibration error: mean distance of r from the share corrupted, over bins of r; r is the probability "
        "of the *dominant group of gaps*, which the planted clips are only a part of, so it need not be small.\n"
    )
    return [f"{words}\n{_table(head, rows)}", _reliability(board.rows)]


def _reliability(rows: Iterable[Row]) -> str:
    known = [row for row in rows if row.bins]
    if not known:
        return ""
    head = ["method", *(f"r in {one.low:.1f} to {one.high:.1f}" for one in known[0].bins)]
    cells = [
        [
            f"`{row.method}`",
            *(
                f"{_percent(one.share_corrupted)} ({one.num_samples}; r {_number(one.mean_posterior, 2)})"
                for one in row.bins
            ),
        ]
        for row in known
    ]
    return f"Share corrupted by posterior, seeds pooled (clips; mean r):\n\n{_table(head, cells)}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _cell(text: str | None) -> str:
    return " ".join((text or MISSING).split()).replace("|", "\\|")


def _triple(groups: dict[str, float | None]) -> str:
    return " / ".join(_number(groups[name], 2) for name in (CLEAN, AUDIO, VISUAL))


def _listed(values: Iterable[object]) -> str:
    return ", ".join(sorted({str(value) for value in values}, key=lambda text: (len(text), text))) or MISSING


def _number(value: float | None, digits: int = 3) -> str:
    return MISSING if value is None else f"{value:.{digits}f}"


def _percent(value: float | None) -> str:
    return MISSING if value is None else f"{value * 100:.1f}"


def _value(name: str, value: float | None) -> str:
    return _number(value) if name in _NO_PERCENT else _percent(value)


def _spread(name: str, mean: float | None, deviation: float | None) -> str:
    return _value(name, mean) if deviation is None else f"{_value(name, mean)} ± {_value(name, deviation)}"


def _difference(name: str, found: PairedDifference | None) -> str:
    if found is None:
        return MISSING
    scale, digits = (1, 3) if name in _NO_PERCENT else (100, 1)
    mean = f"{found.mean * scale:+.{digits}f}"
    if found.low is None or found.high is None:
        return mean
    return f"{mean} [{found.low * scale:+.{digits}f}, {found.high * scale:+.{digits}f}]"


def _p(value: float | None) -> str:
    return MISSING if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"
