"""`gapscope export`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from frontend.cli.connection import api_option
from frontend.client import GapscopeClient


@click.command()
@click.argument("run_id")
@click.option("--table", type=click.Choice(["samples", "epochs"]), default="samples", show_default=True)
@click.option("--format", "form", type=click.Choice(["csv", "parquet"]), default="csv", show_default=True)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="[default: RUN-TABLE.FORMAT here]")
@api_option
def export(
    client: GapscopeClient,
    run_id: str,
    table: Literal["samples", "epochs"],
    form: Literal["csv", "parquet"],
    output: Path | None,
) -> None:
    """Write a run's table into a file: its samples or its epochs, as CSV or Parquet."""
    target = output or Path(f"{run_id}-{table}.{form}")
    size = client.export(run_id, target, table=table, format=form)
    click.echo(f"{target} ({size:,} bytes)")
