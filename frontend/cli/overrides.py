"""`-o key=value`: dotted overrides of a run spec."""

from __future__ import annotations

import copy
import json
from typing import Any

import click


def parse(text: str) -> tuple[list[str], Any]:
    """Returns the path and the value of an override such as `objective.kind=joint`.

    The value is read as JSON where it is JSON (numbers, true, null, lists), else as text.

    Raises:
        click.UsageError: when there is no `=`, or a part of the key is empty.
    """
    key, equals, value = text.partition("=")
    path = key.strip().split(".")
    if not equals or not all(path):
        raise click.UsageError(f"-o expects key=value such as epochs=10 or objective.kind=joint, got {text!r}.")
    try:
        return path, json.loads(value)
    except ValueError:
        return path, value


def apply(base: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    """Returns the top-level fields that the overrides touch, each complete.

    Another `kind` begins anew: the fields of the old kind mean nothing to it.

    Args:
        base: the spec that is overridden; not changed.
        overrides: texts such as `objective.kind=joint`; a later one wins.
    """
    changes: dict[str, Any] = {}
    parsed = [parse(text) for text in overrides]
    for path, value in sorted(parsed, key=lambda item: item[0][-1] != "kind"):  # kinds first, else as given
        field = path[0]
        if len(path) == 1:
            changes[field] = value
            continue
        target = changes.setdefault(field, copy.deepcopy(base.get(field)))
        if not isinstance(target, dict):
            target = changes[field] = {}
        for name in path[1:-1]:
            inner = target.get(name)
            target[name] = inner if isinstance(inner, dict) else {}
            target = target[name]
        if path[-1] == "kind" and target.get("kind") != value:
            target.clear()
        target[path[-1]] = value
    return changes
