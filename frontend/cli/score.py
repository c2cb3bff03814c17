"""`gapscope score`."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from frontend.cli.connection import api_option, json_option, print_json
from frontend.cli.showing import MISSING, console, figure, share
from frontend.client import GapscopeClient
from worker.contract.scores import Score, ScoreResult

MOST_CLASSES = 10
CLIP = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("clip", type=CLIP)
@click.option("--run", "run_id", required=True, help="The run whose model scores the clip.")
@click.option("--label", help="The clip's true class, if known.")
@click.option("--audio", "audio_path", type=CLIP, help="The clip's sound, if it is another file.")
@click.option("--hop", "window_hop_s", type=float, help="Seconds between windows over time.  [default: half a window]")
@click.option("--no-wait", is_flag=True, help="Print the score's id and do not wait.")
@json_option
@api_option
def score(
    client: GapscopeClient,
    clip: Path,
    run_id: str,
    label: str | None,
    audio_path: Path | None,
    window_hop_s: float | None,
    no_wait: bool,
    as_json: bool,
) -> None:
    """Score a clip with a run's model: upload it and print what each modality says."""
    errors = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as progress:
        task = progress.add_task("Uploading", total=None)

        def sent(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total, description="Uploading" if done < total else "Scoring")

        result = client.score(
            clip,
            run_id,
            label=label,
            audio_path=audio_path,
            window_hop_s=window_hop_s,
            wait=not no_wait,
            on_upload=sent,
        )
    _print(result, as_json=as_json)
    if result.state in ("failed", "cancelled"):
        sys.exit(1)


def _print(score: Score, *, as_json: bool) -> None:
    if as_json:
        print_json(score)
    elif score.error is not None:
        click.echo(f"Error: {score.error.detail}", err=True)
    elif score.result is None:
        click.echo(f"{score.id} {score.state}")
    else:
        output = console()
        output.print(_table(score.result))
        for line in _remarks(score, score.result):
            output.print(Text(line))


def _table(result: ScoreResult) -> Table:
    table = Table("Class", box=None, padding=(0, 2), header_style="bold")
    columns = {
        "fused": result.probabilities.fused,
        "audio": result.probabilities.audio,
        "visual": result.probabilities.visual,
    }
    for name in columns:
        table.add_column(name, justify="right")
    classes = {label for values in columns.values() for label in values or {}}

    def strongest(label: str) -> float:
        return max((values or {}).get(label, 0.0) for values in columns.values())

    for label in sorted(classes, key=strongest, reverse=True)[:MOST_CLASSES]:
        table.add_row(label, *(share(values.get(label)) if values else MISSING for values in columns.values()))
    return table


def _remarks(score: Score, result: ScoreResult) -> list[str]:
    said = result.predicted
    lines = [
        f"Predicted: fused {said.fused or MISSING}, audio {said.audio or MISSING}, visual {said.visual or MISSING}"
    ]
    if result.gap is not None:
        lines.append(f"Score gap (audio - visual) of the {result.gap_of}: {figure(result.gap)}")
    if result.posterior_imbalanced is not None:
        lines.append(f"Probability of the dominant group (model-based): {share(result.posterior_imbalanced)}")
    elif result.posterior_reason:
        lines.append(f"No probability of the dominant group: {result.posterior_reason}")
    place = result.gap_in_training
    if place is not None and place.outside:
        lines.append(f"Outside of the training gaps ({figure(place.min)} to {figure(place.max)}): read it with care")
    if result.opposite_tail:
        lines.append("Wider than the imbalanced group's mean, on the other side: the opposite tail")
    if len(result.modalities_present) < 2:
        lines.append(f"The clip has only: {', '.join(result.modalities_present)}")
    if result.padded:
        lines.append("Shorter than the model's window: sound repeated, frames spread")
    return [*lines, *result.notes, f"Scored by {score.run_id} at epoch {score.epoch}"]
