"""`gapscope runs`."""

from __future__ import annotations

import click

from frontend.cli.connection import api_option, json_option, print_json
from frontend.cli.showing import console, run_table
from frontend.client import GapscopeClient
from worker.contract.resources import Run


@click.command()
@click.option("--state", help="queued, running, cancelling, cancelled, finished or failed.")
@click.option("--dataset", help="Id of a dataset.")
@click.option("--objective", help="Kind of training method.")
@click.option("--tag", help="A tag.")
@click.option("--sort", default="-created_at", show_default=True, help="A field; a leading - for descending.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1), help="Most runs.")
@json_option
@api_option
def runs(
    client: GapscopeClient,
    state: str | None,
    dataset: str | None,
    objective: str | None,
    tag: str | None,
    sort: str,
    limit: int,
    as_json: bool,
) -> None:
    """List runs, newest first."""
    found: list[Run] = []
    cursor: str | None = None
    while len(found) < limit:
        page = client.runs(
            state=state,
            dataset=dataset,
            objective=objective,
            tag=tag,
            sort=sort,
            limit=min(500, limit - len(found)),
            cursor=cursor,
        )
        found += page.items
        cursor = page.next
        if cursor is None:
            break
    if as_json:
        print_json(found)
    elif found:
        console().print(run_table(found))
    else:
        click.echo("No runs. Launch one with `gapscope launch --preset demo`.", err=True)
