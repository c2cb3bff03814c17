"""`gapscope subsets`."""

from __future__ import annotations

from typing import Any

import click
from rich.table import Table

from frontend.cli.connection import api_option, json_option, print_json
from frontend.cli.samples import filter_options
from frontend.cli.showing import console
from frontend.client import GapscopeClient
from worker.contract.subsets import Subset

SHOWN = 50


@click.group(invoke_without_command=True)
@click.option("--dataset", help="Id of a dataset.")
@click.option("--run", "run_id", help="Only those chosen in this run.")
@json_option
@api_option
@click.pass_context
def subsets(
    context: click.Context, client: GapscopeClient, dataset: str | None, run_id: str | None, as_json: bool
) -> None:
    """List saved subsets of training samples, newest first; save, read and delete them.

    A run trains on one with `gapscope launch ... -o subset=SUBSET -o start_from=RUN`.
    """
    context.obj = client
    if context.invoked_subcommand is not None:
        return
    found = client.subsets(dataset=dataset, run=run_id, limit=SHOWN).items
    if as_json:
        print_json(found)
    elif found:
        console().print(_table(found))
    else:
        click.echo("No subsets. Save one with `gapscope subsets save RUN NAME`.", err=True)


@subsets.command()
@click.argument("run_id")
@click.argument("name")
@filter_options
@click.option("--sample", "sample_ids", multiple=True, help="A sample by its id, in place of filters; repeatable.")
@json_option
@click.pass_obj
def save(
    client: GapscopeClient,
    /,
    run_id: str,
    name: str,
    epoch: int | None,
    sample_ids: tuple[str, ...],
    as_json: bool,
    **filters: Any,
) -> None:
    """Save the training samples of RUN that pass the filters under NAME."""
    given = {key: value for key, value in filters.items() if value is not None}
    if sample_ids and given:
        raise click.UsageError("Give filters or --sample, not both.")
    chosen: dict[str, Any] = {"sample_ids": sample_ids} if sample_ids else {"filter": given}
    subset = client.save_subset(name, run_id, epoch=epoch, **chosen)
    if as_json:
        print_json(subset)
    else:
        click.echo(f"{subset.id} {subset.num_samples} samples of epoch {subset.epoch}")


@subsets.command()
@click.argument("subset_id")
@click.pass_obj
def samples(client: GapscopeClient, subset_id: str) -> None:
    """Print the ids of a subset's samples, one a line."""
    for sample_id in client.subset_samples(subset_id):
        click.echo(sample_id)


@subsets.command()
@click.argument("subset_ids", nargs=-1, required=True, metavar="SUBSET...")
@click.pass_obj
def delete(client: GapscopeClient, subset_ids: tuple[str, ...]) -> None:
    """Delete subsets; runs on them have copies of their own."""
    for subset_id in subset_ids:
        client.delete_subset(subset_id)
        click.echo(f"{subset_id} deleted")


def _table(found: list[Subset]) -> Table:
    table = Table(box=None, padding=(0, 2), header_style="bold")
    for column in ("Subset", "Name", "Version", "Samples", "Dataset", "Run", "Epoch"):
        table.add_column(column, overflow="fold", no_wrap=column == "Subset")
    for one in found:
        cells = (one.id, one.name, one.version, one.num_samples, one.dataset_id, one.run_id, one.epoch)
        table.add_row(*map(str, cells))
    return table
