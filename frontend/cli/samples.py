"""`gapscope samples`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click
from rich.table import Table

from frontend.cli.connection import api_option, json_option, print_json
from frontend.cli.showing import MISSING, console, figure, share
from frontend.client import GapscopeClient
from worker.contract.quality import FLAGS
from worker.contract.scores import SampleRow

F = TypeVar("F", bound=Callable[..., Any])
FILTERS = (
    click.option("--epoch", type=click.IntRange(1), help="An epoch; the newest by default."),
    click.option("--min-gap", type=float, help="Least score gap (audio - visual)."),
    click.option("--max-gap", type=float, help="Largest score gap."),
    click.option("--min-posterior", type=float, help="Least probability of the dominant group."),
    click.option("--max-posterior", type=float, help="Largest probability of the dominant group."),
    click.option("--label", help="A class."),
    click.option("--fused-correct/--fused-wrong", default=None, help="By the fused prediction."),
    click.option("--audio-correct/--audio-wrong", default=None, help="By the audio prediction."),
    click.option("--visual-correct/--visual-wrong", default=None, help="By the visual prediction."),
    click.option("--flag", type=click.Choice([flag.name for flag in FLAGS]), help="Only clips with this fault."),
    click.option("--noted", help="Only clips with this note of the dataset: corrupted, or corrupted=audio."),
    click.option("--tag", help="Only clips that people gave this tag (gapscope tag)."),
    click.option("--without-tag", help="Only clips without this tag."),
    click.option("--since", type=click.IntRange(1), help="An earlier epoch, for --changed and --sort gap_change."),
    click.option(
        "--changed",
        type=click.Choice(["any", "became_right", "became_wrong"]),
        help="By the fused prediction, since that epoch.",
    ),
    click.option(
        "--region",
        type=click.Choice(["steady_audio", "steady_visual", "similar", "changing"]),
        help="By mean and spread of the gap over the epochs.",
    ),
    click.option("--quality", help='Conditions on measures of the clips, such as "silence_share>0.5,motion<=0.01".'),
)


def filter_options(command: F) -> F:
    """Adds the options that choose samples of an epoch."""
    for option in reversed(FILTERS):
        command = option(command)
    return command


@click.command()
@click.argument("run_id")
@filter_options
@click.option("--split", help="train, validation or test.")
@click.option("--sort", default="-gap", show_default=True, help="A field; a leading - for descending.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1), help="Most samples.")
@json_option
@api_option
def samples(client: GapscopeClient, run_id: str, limit: int, as_json: bool, **filters: object) -> None:
    """List samples of a run with their score gaps, the most audio-dominant first."""
    found: list[SampleRow] = []
    cursor: str | None = None
    while len(found) < limit:
        page = client.sample_rows(run_id, **filters, limit=min(500, limit - len(found)), cursor=cursor)
        found += page.items
        cursor = page.next
        if cursor is None:
            break
    if as_json:
        print_json(found)
    elif found:
        console().print(_table(found))
    else:
        click.echo("No samples match. Loosen the filters, or wait for the first epoch.", err=True)


def _table(rows: list[SampleRow]) -> Table:
    table = Table(box=None, padding=(0, 2), header_style="bold", title=f"epoch {rows[0].epoch}", title_justify="left")
    columns = ("Sample", "Split", "Class", "Gap", "p(audio)", "p(visual)", "Audio says", "Visual says", "Fused says")
    for column in (*columns, "p(dominant)"):
        table.add_column(column, overflow="fold", justify="right" if column.startswith(("Gap", "p(")) else "left")
    for row in rows:
        table.add_row(
            row.sample_id,
            row.split,
            row.label,
            figure(row.gap),
            share(row.p_true.audio),
            share(row.p_true.visual),
            row.predicted.audio or MISSING,
            row.predicted.visual or MISSING,
            row.predicted.fused or MISSING,
            share(row.posterior_imbalanced),
        )
    return table
