"""How runs, reports and scores look in a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from worker.contract.events import ByModality, EpochFinished, Event, RunFailed, RunFinished, RunInterrupted, RunStarted
from worker.contract.resources import Run

MISSING = "-"


def console() -> Console:
    """Returns a console for standard output that is wide enough for a table when the output goes into a file."""
    plain = Console()
    return plain if plain.is_terminal else Console(width=160)


def share(value: float | None) -> str:
    """Returns a fraction in percent."""
    return MISSING if value is None else f"{value:.1%}"


def figure(value: float | None, digits: int = 3) -> str:
    """Returns a number, signed."""
    return MISSING if value is None else f"{value:+.{digits}f}"


def duration(seconds: float | None) -> str:
    """Returns a duration in words."""
    if seconds is None:
        return MISSING
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def accuracies(accuracy: ByModality) -> str:
    """Returns the accuracies of the three predictions."""
    return f"fused {share(accuracy.fused)}  audio {share(accuracy.audio)}  visual {share(accuracy.visual)}"


def event_line(event: Event) -> str:
    """Returns an event in one line."""
    if isinstance(event, EpochFinished):
        report = event.validation
        gap = "" if report.mean_abs_gap is None else f"  mean |gap| {report.mean_abs_gap:.3f}"
        verdict = "" if event.train.mixture is None else f"  {event.train.mixture.verdict}"
        figures = f"{accuracies(report.accuracy)}{gap}{verdict}"
        return f"epoch {event.epoch:>3}  {event.stage:<12} {figures}  {event.seconds:.1f} s"
    if isinstance(event, RunStarted):
        counts = f"{event.num_train} training, {event.num_validation} validation, {event.num_test} test clips"
        return f"started on {event.device}: {counts}, {len(event.classes)} classes, {event.epochs} epochs"
    if isinstance(event, RunFinished):
        chosen = event.result.chosen
        where = f"epoch {chosen.epoch}, chosen by {chosen.by}"
        return "finished" if chosen.test is None else f"finished; test at {where}: {accuracies(chosen.test.accuracy)}"
    if isinstance(event, RunFailed):
        return f"failed: {event.error.detail} [{event.error.code}]"
    if isinstance(event, RunInterrupted):
        return f"interrupted after epoch {event.epoch} ({event.reason}); it goes on by itself"
    return f"{event.type.removeprefix('run_')} after epoch {event.epoch}"


def run_table(runs: list[Run]) -> Table:
    """Returns runs as a table."""
    table = Table(box=None, padding=(0, 2), header_style="bold")
    for column in ("Run", "State", "Name", "Dataset", "Method", "Epoch", "ETA", "Fused", "Mean |gap|", "Tags"):
        table.add_column(column, overflow="fold", no_wrap=column == "Run")
    for run in runs:
        progress = run.progress
        table.add_row(
            run.id,
            run.state if run.waiting_for is None else f"{run.state} (waits for {run.waiting_for})",
            run.name,
            getattr(run.spec.dataset, "id", None) or getattr(run.spec.dataset, "kind", MISSING),
            run.spec.objective.kind,
            f"{progress.epoch}/{progress.epochs}",
            duration(progress.eta_s) if run.state == "running" else MISSING,
            share(run.summary.accuracy.fused) if run.summary else MISSING,
            MISSING if run.summary is None or run.summary.mean_abs_gap is None else f"{run.summary.mean_abs_gap:.3f}",
            ", ".join(run.tags),
        )
    return table
