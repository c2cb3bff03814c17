"""What the commands that talk to the API share: the option --api, and JSON for scripts."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

import click
from pydantic import BaseModel

from frontend.client import GapscopeClient

F = TypeVar("F", bound=Callable[..., Any])


def api_option(command: F) -> F:
    """Adds --api, which becomes the argument `client`, closed when the command has ended."""
    return click.option(
        "--api",
        "client",
        metavar="URL",
        callback=lambda context, _, value: context.with_resource(GapscopeClient(value)),
        help="Address of the API.  [default: $GAPSCOPE_API_URL, else the stack of ./home]",
    )(command)


def json_option(command: F) -> F:
    """Adds --json, which becomes the argument `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")(command)


def print_json(value: Any) -> None:
    """Prints a value (models of the contract included) as JSON."""
    click.echo(json.dumps(value, indent=1, default=_plain))


def _plain(value: object) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise TypeError(f"no JSON for {type(value).__name__}")
