"""`gapscope launch`."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import click

from frontend.cli import overrides
from frontend.cli.connection import api_option, json_option, print_json
from frontend.cli.watch import follow
from frontend.client import GapscopeClient
from worker.contract.errors import GapscopeError


@click.command()
@click.option("--preset", help="A preset to start from, such as demo; an unknown one is answered with the list.")
@click.option("--spec", "spec_file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A JSON file.")
@click.option("-o", "--override", "changes", multiple=True, metavar="KEY=VALUE", help="Change a field of the spec.")
@click.option("--name", help="A name for people.")
@click.option("--tag", "tags", multiple=True, help="A word to find the run by; may be given more than once.")
@click.option("--wait", is_flag=True, help="Follow the run until it ends; exit status 1 unless it finished.")
@json_option
@api_option
def launch(
    client: GapscopeClient,
    preset: str | None,
    spec_file: Path | None,
    changes: tuple[str, ...],
    name: str | None,
    tags: tuple[str, ...],
    wait: bool,
    as_json: bool,
) -> None:
    """Launch a training run and print its id.

    \b
    gapscope launch --preset demo -o epochs=10 -o objective.warm_up_epochs=2
    gapscope launch --spec my-run.json --wait
    gapscope launch -o dataset.kind=folder -o dataset.path=/data/clips
    """  # noqa: D301  # click reads the \\b: the lines after it are not to be wrapped
    if not (preset or spec_file or changes):
        raise click.UsageError("Nothing to launch: give --preset demo, --spec FILE or -o dataset.kind=...")
    body = compose(client, preset, _read(spec_file), list(changes))
    body |= ({"name": name} if name else {}) | ({"tags": list(tags)} if tags else {})
    _tell_estimate(client, body)
    run = client.create_run(body)
    if not wait:
        if as_json:
            print_json(run)
        else:
            click.echo(run.id)
            click.echo(f"{run.state}; follow it with `gapscope watch {run.id}`", err=True)
        return
    click.echo(run.id, err=True)
    follow(client, run.id, as_json=as_json)


def _tell_estimate(client: GapscopeClient, body: dict[str, Any]) -> None:
    """Prints what the run will take on the disk; a spec that is refused says so at the launch itself."""
    with contextlib.suppress(GapscopeError):
        click.echo(client.estimate_run(body).line(), err=True)


def compose(client: GapscopeClient, preset: str | None, given: dict[str, Any], changes: list[str]) -> dict[str, Any]:
    """Returns the body of the request: the preset's name, and the top-level fields that differ from it."""
    base = dict(given)
    if preset is not None and any("." in text.partition("=")[0] for text in changes):
        presets = {entry["id"]: entry["spec"] for entry in client.catalog()["presets"]}
        if preset not in presets:
            raise click.UsageError(f"--preset expects one of {', '.join(sorted(presets))}, got {preset!r}.")
        base = {**presets[preset], **given}
    body = {**given, **overrides.apply(base, changes)}
    return {"preset": preset, **body} if preset is not None else body


def _read(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise click.UsageError(f"--spec expects a file with a JSON object; {path} cannot be read: {error}") from None
    if not isinstance(value, dict):
        raise click.UsageError(f"--spec expects a JSON object, got a {type(value).__name__} in {path}.")
    return value
