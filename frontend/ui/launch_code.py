"""A launch as code: command line, REST, Python. Pure: this module must not know Streamlit."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

Specs = Sequence[Mapping[str, Any]]


def as_command(specs: Specs) -> str:
    """Returns the command lines that launch runs."""
    lines = []
    for number, spec in enumerate(specs, 1):
        file = f"run-{number}.json"
        lines.append(f"cat > {file} <<'SPEC'\n{json.dumps(spec, indent=1)}\nSPEC\ngapscope launch --spec {file}")
    return "\n".join(lines)


def as_request(specs: Specs, url: str, *, needs_key: bool) -> str:
    """Returns the requests that launch runs.

    Args:
        specs: of the runs.
        url: of the API.
        needs_key: the API asks for a key.
    """
    key = ' -H "Authorization: Bearer $GAPSCOPE_API_KEY"' if needs_key else ""
    return "\n".join(
        f"curl -X POST {shlex.quote(f'{url}/api/v1/runs')}{key} -H 'Content-Type: application/json' \\\n"
        f"  -d {shlex.quote(json.dumps(spec))}"
        for spec in specs
    )


def as_python(specs: Specs, url: str) -> str:
    """Returns the Python that launches runs."""
    listed = ",\n    ".join(repr(dict(spec)) for spec in specs)
    return (
        f"from frontend.client import GapscopeClient\n\nclient = GapscopeClient({url!r})\nspecs = [\n    {listed},\n]\n"
        "runs = [client.create_run(spec) for spec in specs]\n"
    )
