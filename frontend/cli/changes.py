"""`gapscope cancel`, `resume` and `delete`."""

from __future__ import annotations

import click

from frontend.cli.connection import api_option
from frontend.client import GapscopeClient

RUN_IDS = click.argument("run_ids", nargs=-1, required=True, metavar="RUN...")


@click.command()
@RUN_IDS
@api_option
def cancel(client: GapscopeClient, run_ids: tuple[str, ...]) -> None:
    """Cancel runs; what is finished of them stays, and they can be resumed."""
    for run_id in run_ids:
        click.echo(f"{run_id} {client.cancel(run_id).state}")


@click.command()
@RUN_IDS
@api_option
def resume(client: GapscopeClient, run_ids: tuple[str, ...]) -> None:
    """Resume failed or cancelled runs after their last finished epoch."""
    for run_id in run_ids:
        click.echo(f"{run_id} {client.resume(run_id).state}")


@click.command()
@RUN_IDS
@click.option("--purge", is_flag=True, help="Free the disk space now: such a run cannot be brought back.")
@api_option
def delete(client: GapscopeClient, run_ids: tuple[str, ...], purge: bool) -> None:
    """Delete runs: to the trash for a day, or for good with --purge."""
    for run_id in run_ids:
        sizes = client.delete(run_id, purge=purge)
        freed = (
            f"{sizes['freed_bytes']:,} bytes freed" if purge else f"in the trash ({sizes['reclaimable_bytes']:,} bytes)"
        )
        click.echo(f"{run_id} {freed}")
