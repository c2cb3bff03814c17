"""`gapscope score-batch`."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from frontend.cli.connection import api_option, json_option, print_json
from frontend.client import GapscopeClient
from worker.contract.score_batches import ScoreBatch, TableFormat

OUTPUT = click.Path(dir_okay=False, path_type=Path)


@click.command("score-batch")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--run", "run_id", required=True, help="The run whose model scores the clips.")
@click.option("--epoch", type=int, help="The epoch whose checkpoint to use.  [default: the chosen one]")
@click.option("-o", "--output", type=OUTPUT, help="Where the table goes, .csv or .parquet.  [default: PATH-scores.csv]")
@click.option("--no-wait", is_flag=True, help="Print the batch's id and do not wait.")
@json_option
@api_option
def score_batch(
    client: GapscopeClient,
    path: Path,
    run_id: str,
    epoch: int | None,
    output: Path | None,
    no_wait: bool,
    as_json: bool,
) -> None:
    """Score a folder or a manifest of clips into a table (CSV or Parquet), with a run's model.

    PATH is read by the server; nothing is uploaded. One that is there on this machine is made absolute. A clip that
    cannot be scored has a row that says why.
    """
    target = output or Path(f"{path.stem or 'clips'}-scores.csv")
    form: TableFormat = "parquet" if target.suffix == ".parquet" else "csv"
    errors = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as progress:
        task = progress.add_task("Waiting", total=None)

        def told(batch: ScoreBatch) -> None:
            now = batch.progress
            progress.update(task, completed=now.done, total=now.total or None, description=batch.state.capitalize())

        place = path.resolve() if path.exists() else path
        batch = client.score_batch(place, run_id, epoch=epoch, format=form, wait=not no_wait, on_progress=told)
    if batch.table is not None:
        client.save_batch(batch.id, target, format=form)
    _print(batch, target, as_json=as_json)
    if batch.state in ("failed", "cancelled"):
        sys.exit(1)


def _print(batch: ScoreBatch, target: Path, *, as_json: bool) -> None:
    if as_json:
        print_json(batch)
    elif batch.error is not None:
        click.echo(f"Error: {batch.error.detail}", err=True)
    elif batch.table is None:
        click.echo(f"{batch.id} {batch.state}")
    else:
        now = batch.progress
        failed = f", {now.failed:,} could not be scored: see the column error" if now.failed else ""
        click.echo(f"{target} ({now.done:,} of {now.total:,} clips by {batch.run_id} at epoch {batch.epoch}{failed})")
