"""One launch of several runs: what is sent, under which keys, what it takes in all. Pure: must not know Streamlit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from frontend.ui import words
from frontend.ui.starting import LONGEST_NAME
from worker.contract.resources import RunEstimate


@dataclass(frozen=True)
class Launch:
    """Runs that are launched together.

    Attributes:
        token: of this launch; the same runs under the same token are launched once, whoever sends them again.
        specs: one a run.
    """

    token: str
    specs: tuple[dict[str, Any], ...]

    @property
    def group(self) -> str:
        """The tag that the runs share, where there are several."""
        return group_of(self.token)

    def key(self, index: int) -> str:
        """Returns the Idempotency-Key of a run."""
        text = json.dumps(self.specs[index], sort_keys=True)
        return hashlib.sha256(f"{self.token}\n{text}".encode()).hexdigest()[:40]


def group_of(token: str) -> str:
    """Returns the tag of the runs of a launch."""
    return f"set-{token[:8]}"


def launch_of(
    spec: Mapping[str, Any], objectives: Sequence[Mapping[str, Any]], seeds: Sequence[int], token: str
) -> Launch:
    """Returns a run for each method and seed.

    Where there are several, they share a tag, and a given name is told apart by method and seed.

    Args:
        spec: what they have in common.
        objectives: the methods with their settings.
        seeds: of each.
        token: of the launch.
    """
    made = [{**spec, "objective": dict(objective), "seed": seed} for objective in objectives for seed in seeds]
    if len(made) > 1:
        for one in made:
            one["tags"] = [*(spec.get("tags") or ()), group_of(token)]
            if spec.get("name"):
                own = f": {one['objective']['kind']}, seed {one['seed']}"
                one["name"] = str(spec["name"])[: LONGEST_NAME - len(own)] + own
    return Launch(token, tuple(made))


@dataclass(frozen=True)
class Outlook:
    """What runs will take, in sentences.

    Attributes:
        lines: time, memory, disk.
        warning: what may not go well, or None.
        obstacle: why they cannot be launched, or None.
    """

    lines: tuple[str, ...]
    warning: str | None = None
    obstacle: str | None = None


def outlook_of(estimates: Sequence[RunEstimate], num_seeds: int) -> Outlook | None:
    """Returns what runs will take; None where nothing is known.

    Args:
        estimates: one a method.
        num_seeds: runs of each method.
    """
    if not estimates:
        return None
    first = estimates[0]
    needed = (first.store_bytes or 0) + num_seeds * sum(one.run_bytes for one in estimates)
    lines = [_time(estimates, num_seeds)]
    memory, warning = max((one.least_memory_bytes or 0 for one in estimates), default=0), None
    if memory:
        there = "" if first.memory_bytes is None else f"; {words.size(first.memory_bytes)} are there"
        lines.append(
            f"Memory: {words.size(memory)} a run for weights, optimizer and a batch, what the layers keep comes on "
            f"top{there}."
        )
        if first.memory_bytes is not None and memory > first.memory_bytes:
            warning = (
                f"It does not fit into memory: {words.size(memory)} are needed at least, "
                f"{words.size(first.memory_bytes)} are there. Lower the batch size, or prepare smaller frames."
            )
    store = "is prepared" if first.is_prepared else "takes space of an unknown size"
    if not first.is_prepared and first.store_bytes is not None:
        store = f"is about {words.size(first.store_bytes)}"
    changed = " Its files changed since it was prepared." if first.changed else ""
    num_runs = num_seeds * len(estimates)
    lines.append(
        f"Disk: the dataset {store}, {'the run takes' if num_runs == 1 else f'the {num_runs} runs take'} up to "
        f"{words.size(needed - (first.store_bytes or 0))}; {words.size(first.free_bytes)} are free.{changed}"
    )
    obstacle = None
    if needed > first.free_bytes:
        obstacle = (
            f"The disk is too small: {words.size(needed)} are needed, {words.size(first.free_bytes)} are free. Take "
            "fewer runs or epochs, or delete unused runs and datasets."
        )
    return Outlook(tuple(lines), warning, obstacle)


def _time(estimates: Sequence[RunEstimate], num_seeds: int) -> str:
    known = [one for one in estimates if one.seconds is not None]
    if not known:
        return "Time: not known yet, since nothing like it has run here."
    total = num_seeds * sum(one.seconds or 0.0 for one in known)
    bases = "; ".join(dict.fromkeys(one.seconds_basis or "" for one in known))
    if num_seeds * len(estimates) == 1:
        return f"Time: about {words.duration(total)}, from {bases}."
    rest = "" if len(known) == len(estimates) else f", and what {len(estimates) - len(known)} of the methods take"
    return f"Time: about {words.duration(total)} for all, one after the other{rest}; from {bases}."
