"""`python -m backend.stack`: the command line of one machine's stack. `gapscope up` and `gapscope doctor` call it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

MISSING = (
    "Gapscope's backend is not installed here ({error}). Install it with `pip install 'gapscope[all]'`; to work "
    "with a Gapscope on another machine, set GAPSCOPE_API_URL instead."
)

try:
    import click

    from backend.access.keys import ROLES, KeyStore, Role
    from backend.stack import backup as copies
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
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen on; off loopback with keys only."
)
@click.option("--api-port", default=DEFAULT_API_PORT, show_default=True, type=PORT, help="0: a free one.")
@click.option("--ui-port", default=DEFAULT_UI_PORT, show_default=True, type=PORT, help="0: a free one.")
@click.option(
    "--train-workers",
    default=1,
    show_default=True,
    type=click.IntRange(1, 64),
    help="Runs that are trained side by side; give each run its share of the cores (threads).",
)
@click.option("--auth", is_flag=True, help="Ask for API keys on loopback, too; prints an address that holds one.")
@click.option("--with-parent", is_flag=True, hidden=True, help="Stop when the calling process ends.")
def up(
    home: Path | None, host: str, api_port: int, ui_port: int, train_workers: int, auth: bool, with_parent: bool
) -> None:
    """Start everything on this machine; Ctrl-C stops it.

    Starts the embedded Redis-compatible server (or uses the one that GAPSCOPE_REDIS_URL names), the API, the workers
    and the pages; starts again what dies; ends all of it when it ends.
    """
    parent = os.getppid() if with_parent else None
    run_stack(settings_for(home), host, api_port, ui_port, parent=parent, train_workers=train_workers, auth=auth)


@cli.command()
@click.option("--home", type=click.Path(path_type=Path, file_okay=False), help=HOME_HELP)
@click.option("--api-port", default=DEFAULT_API_PORT, show_default=True, type=click.IntRange(1, 65535))
@click.option("--ui-port", default=DEFAULT_UI_PORT, show_default=True, type=click.IntRange(1, 65535))
@click.option("--fix", is_flag=True, help="Mend what is safe: rights, leftovers, damaged files of the embedded server.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")
def doctor(home: Path | None, api_port: int, ui_port: int, fix: bool, as_json: bool) -> None:
    """Check versions, home, rights, leftovers, server, ports, codecs, devices, disk, locks, folders, unfinished runs.

    Each finding comes with what to do about it. Exit status: 0 when Gapscope can start, 1 when something is in the way.
    """
    sys.exit(checks.doctor(settings_for(home), api_port, ui_port, fix=fix, as_json=as_json))


@cli.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--home", type=click.Path(path_type=Path, file_okay=False), help=HOME_HELP)
@click.option("--without-stores", is_flag=True, help="Leave out what preparation can make again from your files.")
def backup(file: Path, home: Path | None, without_stores: bool) -> None:
    """Write a home into FILE (a tar); its runs may go on meanwhile."""
    folder = settings_for(home).home.expanduser().resolve()
    made = copies.backup(
        folder, file.resolve(), stores=not without_stores, tell=lambda line: click.echo(line, err=True)
    )
    click.echo(f"{file}: {made}")


@cli.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--home", type=click.Path(path_type=Path, file_okay=False), required=True, help="Where nothing is yet.")
def restore(file: Path, home: Path) -> None:
    """Make a home from FILE; what was training goes on when `gapscope up` is started on it."""
    made = copies.restore(file.resolve(), home.expanduser().resolve(), tell=_on_standard_error)
    click.echo(f"{home}: {made}")


def _on_standard_error(line: str) -> None:
    click.echo(line, err=True)


@cli.group("keys")
def key_commands() -> None:
    """Make, list and revoke the API keys of a home."""


@key_commands.command("create")
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), default="runner", show_default=True, help="What the key may do.")
@click.option("--home", type=click.Path(path_type=Path, file_okay=False), help=HOME_HELP)
def create_key(name: str, role: Role, home: Path | None) -> None:
    """Make a key and print it: this once, it is kept nowhere.

    A reader looks at everything. A runner launches, cancels, tags, uploads, and deletes what can be brought back. An
    admin may do all.
    """
    _, secret = KeyStore(settings_for(home).home).create(name, role)
    click.echo(secret)
    click.echo(f"The key of {name} ({role}). Set it as GAPSCOPE_API_KEY, or log in with it in the browser.", err=True)


@key_commands.command("list")
@click.option("--home", type=click.Path(path_type=Path, file_okay=False), help=HOME_HELP)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")
def list_keys(home: Path | None, as_json: bool) -> None:
    """List the keys; the secrets are known to their owners alone."""
    keys = [key.model_dump(mode="json", exclude={"digest"}) for key in KeyStore(settings_for(home).home).all()]
    if as_json:
        click.echo(json.dumps(keys, indent=1))
        return
    for key in keys:
        state = f"revoked {key['revoked_at'][:16]}" if key["revoked_at"] else "valid"
        click.echo(f"{key['id']}  {key['role']:<6}  {key['created_at'][:16]}  {state:<24}  {key['name']}")
    if not keys:
        click.echo("No keys yet. Make one: gapscope keys create YOUR-NAME --role admin")


@key_commands.command("revoke")
@click.argument("name_or_id")
@click.option("--home", type=click.Path(path_type=Path, file_okay=False), help=HOME_HELP)
def revoke_key(name_or_id: str, home: Path | None) -> None:
    """End a key; a running Gapscope refuses it from the next request on."""
    key = KeyStore(settings_for(home).home).revoke(name_or_id)
    click.echo(f"Revoked: {key.name} ({key.id})")


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
