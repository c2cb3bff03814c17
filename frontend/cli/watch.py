"""`gapscope watch`: a progress bar, and a line for each epoch."""

from __future__ import annotations

import sys

import click
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from frontend.cli.connection import api_option, json_option
from frontend.cli.showing import console, duration, event_line
from frontend.client import GapscopeClient
from worker.contract.resources import Run, RunProgress


@click.command()
@click.argument("run_id")
@click.option("--after", default=0, show_default=True, help="Number of the event to begin after.")
@json_option
@api_option
def watch(client: GapscopeClient, run_id: str, after: int, as_json: bool) -> None:
    """Follow a run until it ends: a progress bar and the accuracies of each epoch.

    With --json, each event is one line. Exit status: 0 when the run finished, 1 when it failed or was cancelled.
    """
    follow(client, run_id, after=after, as_json=as_json)


def follow(client: GapscopeClient, run_id: str, *, after: int = 0, as_json: bool = False) -> None:
    """Shows a run's events until it ends; ends the program with status 1 unless the run finished."""
    if as_json:
        for event in client.follow(run_id, after=after):
            click.echo(event.model_dump_json())
    else:
        _show(client, run_id, after)
    if client.run(run_id).state != "finished":
        sys.exit(1)


def _show(client: GapscopeClient, run_id: str, after: int) -> None:
    output = console()
    run = client.run(run_id)
    output.print(Text(heading(run)))
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %  {task.fields[eta]}"),
    )
    with Progress(*columns, console=output, transient=True, disable=not output.is_terminal) as progress:
        task = progress.add_task(run.state, total=1.0, eta="")
        for event in client.follow(run_id, after, lambda now: _advance(progress, task, now)):
            progress.console.print(Text(event_line(event)))


def heading(run: Run) -> str:
    """Returns what a run is, in one line."""
    waiting = f", waits for {run.waiting_for}" if run.waiting_for else ""
    return f"{run.id}  {run.name}: {run.spec.objective.kind}, {run.progress.epochs} epochs, {run.state}{waiting}"


def _advance(progress: Progress, task: TaskID, now: RunProgress) -> None:
    eta = f"{duration(now.eta_s)} left" if now.eta_s is not None else ""
    where = f"epoch {now.epoch}/{now.epochs} {now.phase}"
    progress.update(task, completed=now.fraction, description=where, eta=eta)
