"""`python -m backend.stack`: the command line of one machine's stack. `gapscope up` and `gapscope doctor` call it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

MISSING = (
    "Gapscope's backend is not installed here ({error}). Install it with `pip install 'gapscope[all]'`; to work "
    "with a Gapscope on another machine, set GAPSCOPE_API_URL instead."
)

try:
    import click

    from backend.stack import doctor as checks
    from backend.stack.up import up as run_stack
    from worker.contract.errors import GapscopeError
    from worker.contract.settings import Settings, load_settings
except ModuleNotFoundError as error:
    sys.exit(f"Error: {MISSING.format(error=error)}")

DEFAULT_API_PORT, DEFAULT_UI_PORT = 8000, 8501
PORT = click.IntRange(0, 65535)
HOME_HELP = "Folder of datasets, runs and scores.  [default: $GAPSCOPE_HOME, else ./home]"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Runs Gapscope on one machine."""


@cli.command()
@click.option("--home", type=click.Path(path_type=Path, file_okay=False), help=HOME_HELP)
@click.option("--host", default="127.0.0.1", show_default=True, help="Loopback address to listen on.")
@click.option("--api-port", default=DEFAULT_API_PORT, show_default=True, type=PORT, help="0: a free one.")
@click.option("--ui-port", default=DEFAULT_UI_PORT, show_default=True, type=PORT, help="0: a free one.")
@click.option("--with-parent", is_flag=True, hidden=True, help="Stop when the calling process ends.")
def up(home: Path | None, host: str, api_port: int, ui_port: int, with_parent: bool) -> None:
    """Start everything on this machine; Ctrl-C stops it.

    Starts the embedded Redis-compatible server (or uses the one that GAPSCOPE_REDIS_URL names), the API, the workers
    and the pages; starts again what dies; ends all of it when it ends.
    """
    run_stack(settings_for(home), host, api_port, ui_port, parent=os.getppid() if with_parent else None)


@cli.command()
@click.option("--home", type=click.Path(path_type=Path, file_okay=False), help=HOME_HELP)
@click.option("--api-port", default=DEFAULT_API_PORT, show_default=True, type=click.IntRange(1, 65535))
@click.option("--ui-port", default=DEFAULT_UI_PORT, show_default=True, type=click.IntRange(1, 65535))
@click.option("--fix", is_flag=True, help="Repair what can be repaired: damaged files of the embedded server.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")
def doctor(home: Path | None, api_port: int, ui_port: int, fix: bool, as_json: bool) -> None:
    """Check home, server, ports, codecs, devices, disk, versions, unfinished runs.

    Each finding comes with what to do about it. Exit status: 0 when Gapscope can start, 1 when something is in the way.
    """
    sys.exit(checks.doctor(settings_for(home), api_port, ui_port, fix=fix, as_json=as_json))


def settings_for(home: Path | None) -> Settings:
    """Returns the settings from the environment, with `home` before GAPSCOPE_HOME."""
    settings = load_settings()
    return settings if home is None else settings.model_copy(update={"home": home})


def main() -> None:
    """Runs the command line; an error that a person can act on becomes one line and exit status 1."""
    try:
        cli(prog_name=os.environ.get("GAPSCOPE_PROGRAM", "python -m backend.stack"))
    except GapscopeError as error:
        click.echo(f"Error: {error.detail}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
