"""`make fuzz-api`: sends many odd requests to a real API and tells which answers its document does not allow.

A round is a fresh API process, a home and a seed: first the boundaries of every parameter, then drawn requests and
chains of requests along the document's links. A failure is sent again by the printed round, or by its curl command.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema

from tests.faults.api_target import ApiTarget, api_target
from tests.faults.wire import wire_faults

PHASES = ("coverage", "fuzzing", "stateful")
# Some rules are no JSON schema (the sum of clips, a cursor that is ours, bytes that are a clip): such a request is
# valid by the document and still refused.
ACCEPTED = ["2xx", "401", "403", "404", "409", "410", "413", "415", "422", "429"]
HALF = 0.5
"""Share of the requests that name what exists; the others draw their ids."""
DRAWN_PER_OPERATION = 25


@dataclass
class Told:
    """What became of the requests."""

    num_requests: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    faults: dict[str, str] = field(default_factory=dict)
    """What was not right -> how to see it again; each kind once."""
    harm: list[str] = field(default_factory=list)

    def add(self, other: Told) -> None:
        """Adds what another round told."""
        self.num_requests += other.num_requests
        self.statuses += other.statuses
        self.faults = other.faults | self.faults
        self.harm += other.harm


def run_round(
    folder: Path, seed: int, phases: Iterable[str], drawn: int = DRAWN_PER_OPERATION, num_wire: int = 0, **only: Any
) -> Told:
    """Sends one round of requests to an API of its own.

    Args:
        folder: an empty folder.
        seed: of all that is drawn.
        phases: of PHASES.
        drawn: requests to each operation, and chains along links.
        num_wire: broken requests that are sent byte by byte.
        only: filter of schemathesis, such as `path_regex`; by default every operation.
    """
    with api_target(folder) as target:
        told = _drawn(target, seed, set(phases), drawn, only)
        answers, faults = wire_faults(target, seed, num_wire)
        told.num_requests += num_wire
        told.statuses += answers
        told.faults |= faults
        told.harm = target.harm()
    return told


def _drawn(target: ApiTarget, seed: int, phases: set[str], drawn: int, only: dict[str, Any]) -> Told:
    config = SchemathesisConfig.from_dict(_config(target, seed, phases, drawn))
    schema = schemathesis.openapi.from_url(f"{target.url}/api/v1/openapi.json", config=config)
    schema = schema.exclude(path_regex="/events/stream")  # never ends
    told = Told()
    for event in from_schema(schema.include(**only) if only else schema).execute():
        if isinstance(event, events.ScenarioFinished):
            _read(event.recorder, told)
        elif isinstance(event, events.NonFatalError):
            told.faults[f"{event.label}: {event.value}"] = "(no request)"
        elif isinstance(event, events.FatalError):
            raise event.exception
    return told


def _config(target: ApiTarget, seed: int, phases: set[str], drawn: int) -> dict[str, Any]:
    existing = {"run_id": target.run_id, "dataset_id": target.dataset_id, "sample_id": target.sample_id}
    ready = {"expected-statuses": ["2xx", "4xx", "503"]}
    ready_checks = {"not_a_server_error": ready, "positive_data_acceptance": ready}
    return {
        "seed": seed,
        "checks": {"positive_data_acceptance": {"expected-statuses": ACCEPTED}},
        "generation": {"max-examples": drawn, "database": "none", "no-shrink": True},
        "phases": {name: {"enabled": name in phases} for name in ("examples", *PHASES)},
        "dictionaries": {name: {"values": [value]} for name, value in existing.items()},
        "parameters": {f"path.{name}": {"dictionary": name, "probability": HALF} for name in existing},
        "operations": [
            # Without workers it says 503 with what is missing, as its document does.
            {"include-path": "/api/v1/health/ready", "checks": ready_checks},
            # What is new has no samples, notes or epochs yet: 404 with a code of its own.
            {"include-path-regex": r"}/\w", "checks": {"ensure_resource_availability": {"enabled": False}}},
        ],
    }


def _read(recorder: Any, told: Told) -> None:
    for interaction in recorder.interactions.values():
        told.num_requests += 1
        if interaction.response is not None:
            told.statuses[interaction.response.status_code] += 1
    for case_id, checks in recorder.checks.items():
        for check in checks:
            if check.failure_info is not None:
                label = recorder.cases[case_id].value.operation.label
                told.faults.setdefault(f"{label}: {check.name}: {_line(check.failure_info.failure)}", _curl(check))


def _line(failure: Any) -> str:
    return " ".join(f"{failure.title} {failure.message}".split())[:200]


def _curl(check: Any) -> str:
    return str(check.failure_info.code_sample)[:2_000]


def main() -> None:
    """Prints the figures; exit status 1 when an answer was not as documented, or something was harmed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first round")
    parser.add_argument("--rounds", type=int, default=None, help="at most so many rounds")
    arguments = parser.parse_args()
    whole, number, begun = Told(), arguments.first, time.monotonic()
    while whole.num_requests < arguments.requests and number - arguments.first != arguments.rounds:
        seed = arguments.seed * 1_000_003 + number
        with tempfile.TemporaryDirectory(prefix="gapscope-fuzz-") as folder:
            told = run_round(Path(folder), seed, PHASES[:1] if number == 0 else PHASES[1:], num_wire=500)
        for fault, how in told.faults.items():
            if fault not in whole.faults:
                _say(f"\n{fault}\n  again: --seed {arguments.seed} --first {number} --rounds 1\n  {how}")
        whole.add(told)
        _say(f"round {number}: {whole.num_requests:,} requests in {time.monotonic() - begun:.0f} s")
        number += 1
    for status, count in sorted(whole.statuses.items()):
        _say(f"{count:>7,}  {status or 'closed without an answer'}")
    _say(f"{len(whole.faults)} kinds of answers that the document does not allow; harm: {whole.harm or 'none'}")
    sys.exit(1 if whole.faults or whole.harm else 0)


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
