"""`gapscope bench`: benchmarks of a running Gapscope, over its REST API alone."""

from __future__ import annotations

import csv
import io
import json
import shlex
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from frontend.cells import safe_cell
from frontend.cli import overrides
from frontend.cli.connection import api_option
from frontend.client import GapscopeClient
from frontend.leaderboard.document import Facts, markdown, update
from frontend.leaderboard.figures import FIGURES, Entry, entry_of
from frontend.leaderboard.plan import cells_of, methods_of
from frontend.leaderboard.running import Bench
from frontend.leaderboard.summary import Board, board_of

DEFAULT_OUTPUT = Path("docs/leaderboard.md")
INTERRUPTED = 130
_NOT_IN_BASE = ("objective", "seed", "name", "tags")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def bench() -> None:
    """Run benchmarks on a running Gapscope."""


@bench.command()
@click.option("--dataset", help="Id of a registered dataset, or a kind such as av-digits.")
@click.option("--preset", help="A preset whose settings the runs take, but for its method.")
@click.option("-o", "--override", "changes", multiple=True, metavar="KEY=VALUE", help="Change a field of every run.")
@click.option("--methods", help="Methods of the catalog, with commas.  [default: all]")
@click.option("--seeds", default=5, show_default=True, type=click.IntRange(1, 1000), help="Seeds 0 to N - 1.")
@click.option("--epochs", type=click.IntRange(1), help="Epochs of every run.")
@click.option("--name", help="Name of the section, and a tag of the runs.  [default: the dataset]")
@click.option("--in-flight", default=8, show_default=True, type=click.IntRange(1, 100), help="Most runs at a time.")
@click.option(
    "--output", default=DEFAULT_OUTPUT, show_default=True, type=click.Path(dir_okay=False, path_type=Path),
    help="Markdown file; only this dataset's section in it is written.",
)  # fmt: skip
@click.option("--json", "json_path", type=click.Path(dir_okay=False, path_type=Path), help="Write all of it as JSON.")
@click.option("--csv", "csv_path", type=click.Path(dir_okay=False, path_type=Path), help="Write a line a run as CSV.")
@api_option
def methods(
    client: GapscopeClient,
    dataset: str | None,
    preset: str | None,
    changes: tuple[str, ...],
    methods: str | None,
    seeds: int,
    epochs: int | None,
    name: str | None,
    in_flight: int,
    output: Path,
    json_path: Path | None,
    csv_path: Path | None,
) -> None:
    """Compare the training methods on one dataset over seeds, and write the table.

    Every cell is an ordinary run. A finished run of the same spec is used again, so an interrupted call goes on where
    it was. Methods that need earlier runs (teachers) get those of the same seed. Exit status 1 when a run failed.

    \b
    gapscope bench methods --preset demo --seeds 5
    gapscope bench methods --dataset folder -o dataset.path=/data/clips --methods joint,multi-head
    """  # noqa: D301  # click reads the \\b: the lines after it are not to be wrapped
    catalog = client.catalog()
    base = compose(catalog, dataset, preset, [*changes, *([f"epochs={epochs}"] if epochs else [])])
    wanted = [word.strip() for word in methods.split(",") if word.strip()] if methods else []
    cells = cells_of(methods_of(catalog["objectives"], wanted), range(seeds))
    runner = Bench(
        client, base, cells, tags=[name] if name else [], most_in_flight=in_flight,
        say=lambda line: click.echo(line, err=True),
    )  # fmt: skip
    try:
        runner.run()
    except KeyboardInterrupt:
        click.echo("Stopped. Runs in flight go on by themselves; the same command takes them up again.", err=True)
        sys.exit(INTERRUPTED)
    board = board_of([entry_of(client, cell) for cell in cells])
    title = name or base["dataset"].get("id") or base["dataset"]["kind"]
    resolved = [cell.run.resolved_spec for cell in cells if cell.finished and cell.run and cell.run.resolved_spec]
    command = shlex.join(["gapscope", *sys.argv[1:]])
    facts = Facts(title, base, resolved, datetime.now(UTC).date().isoformat(), command)
    update(output, title, markdown(board, facts))
    if json_path is not None:
        json_path.write_text(json.dumps(as_document(board, facts), indent=1))
    if csv_path is not None:
        csv_path.write_text(as_csv(board))
    failed = sum(entry.failure is not None for entry in board.entries)
    click.echo(f"{output}: {len(board.entries) - failed} runs, {failed} failed")
    sys.exit(1 if failed else 0)


def compose(catalog: dict[str, Any], dataset: str | None, preset: str | None, changes: list[str]) -> dict[str, Any]:
    """Returns the spec of all runs, without objective and seed.

    Args:
        catalog: of the API.
        dataset: an id or a kind.
        preset: a preset's id.
        changes: overrides such as `epochs=10`; they win.

    Raises:
        click.UsageError: something is unknown, or there is no dataset.
    """
    presets = {entry["id"]: entry["spec"] for entry in catalog["presets"]}
    if preset is not None and preset not in presets:
        raise click.UsageError(f"--preset expects one of {', '.join(sorted(presets))}, got {preset!r}.")
    base = {name: value for name, value in presets.get(preset or "", {}).items() if name not in _NOT_IN_BASE}
    if dataset is not None:
        base["dataset"] = {"kind": dataset} if dataset in catalog["datasets"] else {"id": dataset}
    base |= overrides.apply(base, changes)
    for name in _NOT_IN_BASE:
        if name in base:
            raise click.UsageError(f"-o {name} cannot be given: the benchmark sets it for each run.")
    if not isinstance(base.get("dataset"), dict) or not {"id", "kind"} & set(base["dataset"]):
        raise click.UsageError("No dataset: give --dataset ID, --dataset KIND, --preset or -o dataset.kind=...")
    return base


def as_document(board: Board, facts: Facts) -> dict[str, Any]:
    """Returns all of a board as plain values."""
    return {
        "title": facts.title,
        "date": facts.date,
        "command": facts.command,
        "spec": facts.base,
        "resolved": [one.model_dump(mode="json") for one in facts.resolved],
        "exploratory": board.exploratory,
        **asdict(board),
    }


def as_csv(board: Board) -> str:
    """Returns a line a run."""
    text = io.StringIO()
    columns = ["method", "seed", "run_id", "reused", "split", "num_samples", *FIGURES, "seconds", "backward_passes"]
    columns += ["auc_audio", "auc_visual", "calibration_error", "failure"]
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_flat(entry, columns) for entry in board.entries)
    return text.getvalue()


def _flat(entry: Entry, columns: list[str]) -> dict[str, object]:
    values = asdict(entry)
    values = {**(values["planted"] or {}), **(values["cost"] or {}), **values, **values["metrics"]}
    return {name: safe_cell(values.get(name)) for name in columns}
