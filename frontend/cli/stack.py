"""`gapscope up`, `keys`, `backup`, `restore`, `doctor`: this process becomes `python -m backend.stack`."""

from __future__ import annotations

import importlib.util
import os
import sys
from typing import NoReturn

import click

PASS_ON = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": list[str]()}


def command_line(command: str, *arguments: str) -> list[str]:
    """Returns the command line of the stack's own program.

    Raises:
        click.ClickException: when the backend is not installed here.
    """
    if importlib.util.find_spec("backend") is None:
        raise click.ClickException(
            "Gapscope's backend is not installed here. Install it with `pip install 'gapscope[all]'`; to use a "
            "Gapscope on another machine, set GAPSCOPE_API_URL instead."
        )
    return [sys.executable, "-m", "backend.stack", command, *arguments]


def environment() -> dict[str, str]:
    """Returns the environment in which the program shows our name in its help."""
    return {**os.environ, "GAPSCOPE_PROGRAM": "gapscope", "PYTHONSAFEPATH": "1"}


def _become(command: str, arguments: list[str]) -> NoReturn:
    line = command_line(command, *arguments)
    sys.stdout.flush()
    os.execve(line[0], line, environment())


@click.command(context_settings=PASS_ON)
@click.pass_context
def up(context: click.Context) -> None:
    """Start everything on this machine; Ctrl-C stops it."""
    _become("up", context.args)


@click.command(context_settings=PASS_ON)
@click.pass_context
def doctor(context: click.Context) -> None:
    """Check this machine and say what is in the way."""
    _become("doctor", context.args)


@click.command(context_settings=PASS_ON)
@click.pass_context
def keys(context: click.Context) -> None:
    """Make, list and revoke API keys."""
    _become("keys", context.args)


@click.command(context_settings=PASS_ON)
@click.pass_context
def backup(context: click.Context) -> None:
    """Write a home into a file, while its runs go on."""
    _become("backup", context.args)


@click.command(context_settings=PASS_ON)
@click.pass_context
def restore(context: click.Context) -> None:
    """Make a home from a backup."""
    _become("restore", context.args)
