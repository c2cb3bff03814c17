"""`gapscope tag`."""

from __future__ import annotations

import click

from frontend.cli.connection import api_option, json_option, print_json
from frontend.client import GapscopeClient


@click.command()
@click.argument("dataset_id")
@click.argument("sample_ids", nargs=-1)
@click.option("--add", "add_tags", multiple=True, metavar="TAG", help="A tag to add; may be given often.")
@click.option("--remove", "remove_tags", multiple=True, metavar="TAG", help="A tag to take away; may be given often.")
@click.option("--note", help="The note from now on; empty for none.")
@json_option
@api_option
def tag(
    client: GapscopeClient,
    dataset_id: str,
    sample_ids: tuple[str, ...],
    add_tags: tuple[str, ...],
    remove_tags: tuple[str, ...],
    note: str | None,
    as_json: bool,
) -> None:
    """Tag or annotate clips of a dataset; without clips list its tags with their counts."""
    if not sample_ids:
        if add_tags or remove_tags or note is not None:
            raise click.UsageError("Name the clips to tag or annotate: gapscope tag DATASET CLIP... --add TAG")
        summary = client.annotation_summary(dataset_id)
        if as_json:
            print_json(summary)
        else:
            for one in summary.tags:
                click.echo(f"{one.num_samples:>8}  {one.tag}")
        return
    if not (add_tags or remove_tags or note is not None):
        raise click.UsageError("Say what to change: --add TAG, --remove TAG or --note TEXT.")
    changed = client.annotate_many(
        dataset_id, sample_ids=sample_ids, add_tags=add_tags, remove_tags=remove_tags, note=note
    )
    if as_json:
        print_json(changed)
    else:
        click.echo(f"{changed.num_changed} of {changed.num_samples} clips changed.")
