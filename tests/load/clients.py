"""`make load`: many clients at once on a real stack while a run trains: latencies, errors, SSE lag, memory.

`python -m tests.load.clients`. The clients are one process of asyncio; each lists, pages, opens samples, follows the
run over server-sent events and has small clips scored, with a pause of a second between two calls on average.
Clients, servers and training share the machine. Writes artifacts/load.md; exit status 1 when a call failed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.bench.figure import Figure, table
from tests.load.client import Client
from tests.load.scene import Scene, open_scene
from tests.load.timing import Timings
from tests.load.watching import Look, Watch

TRAINING: Final[dict[str, Any]] = {"preset": "demo", "epochs": 2_000, "name": "trains under load"}
NUM_RUNS: Final = 100
TICK_S: Final = 0.05


@dataclass(frozen=True)
class Outcome:
    """What a load gave."""

    timings: Timings
    looks: list[Look]
    seconds: float


def put_under_load(scene: Scene, num_clients: int, seconds: float, pause_s: float, warm_up_s: float = 0.0) -> Outcome:
    """Runs clients on a scene for so long and returns what they met.

    Args:
        scene: what they look at.
        num_clients: at once.
        seconds: for how long calls are begun.
        pause_s: mean pause of a client between two calls.
        warm_up_s: what happens before is not measured; errors are.
    """
    timings, watch = Timings(), Watch(scene.stack.home, every_s=1.0)
    watch.start()
    asyncio.run(_all(scene, timings, num_clients, warm_up_s, seconds, pause_s))
    return Outcome(timings, watch.stop(), seconds)


async def _all(
    scene: Scene, timings: Timings, num_clients: int, warm_up_s: float, seconds: float, pause_s: float
) -> None:
    clients = [Client(scene, timings, number, pause_s) for number in range(num_clients)]
    loop = asyncio.get_running_loop()
    until = loop.time() + warm_up_s + seconds
    loop.call_later(warm_up_s, timings.forget)
    beside = [asyncio.create_task(client.follow()) for client in clients]
    beside.append(asyncio.create_task(_own_delay(timings)))
    await asyncio.gather(*(client.work(until) for client in clients))
    for task in beside:
        task.cancel()
    await asyncio.gather(*beside, return_exceptions=True)
    await asyncio.gather(*(client.close() for client in clients))


async def _own_delay(timings: Timings) -> None:
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + TICK_S
        await asyncio.sleep(TICK_S)
        timings.late_ms.append((loop.time() - due) * 1e3)


def usage_figures(looks: list[Look]) -> list[Figure]:
    """Returns what each process held: at first, at most, at last."""
    rows = []
    for name in looks[-1].usages:
        found = [look.usages[name] for look in looks if name in look.usages]
        memory = [one.resident_mib for one in found]
        handles = [one.descriptors for one in found]
        seconds = looks[-1].at_s - looks[0].at_s
        said = (
            f"{memory[0]:.0f}, {max(memory):.0f}, {memory[-1]:.0f} MiB; "
            f"{handles[0]}, {max(handles)}, {handles[-1]} descriptors; "
            f"{(found[-1].cpu_s - found[0].cpu_s) / seconds:.2f} of a core"
        )
        rows.append(Figure(f"{name}: at first, at most, at last", said))
    held = [look.redis_mib for look in looks if look.redis_mib is not None]
    rows.append(Figure("Redis, used memory", f"{held[0]:.1f}, {max(held):.1f}, {held[-1]:.1f} MiB"))
    return rows


def main() -> None:
    """Prints the figures and writes them down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--pause", type=float, default=1.0, help="mean seconds between two calls of a client")
    parser.add_argument("--warm-up", type=float, default=10.0, help="seconds before the measurement")
    parser.add_argument("--runs", type=int, default=NUM_RUNS, help="finished runs in the list")
    asked = parser.parse_args()
    with open_scene(TRAINING, asked.runs) as scene:
        before = os.getloadavg()[0]
        outcome = put_under_load(scene, asked.clients, asked.seconds, asked.pause, asked.warm_up)
    name = (
        f"{asked.clients} clients for {asked.seconds:.0f} s after {asked.warm_up:.0f} s, "
        f"pause {asked.pause:g} s, {asked.runs} runs; "
        f"load average {before:.1f} before, {os.getloadavg()[0]:.1f} after"
    )
    report = table(name, outcome.timings.figures(outcome.seconds) + usage_figures(outcome.looks))
    print(report)  # noqa: T201
    for error in outcome.timings.errors[:20]:
        print(error)  # noqa: T201
    path = Path("artifacts/load.md")
    path.parent.mkdir(exist_ok=True)
    path.write_text(report)
    sys.exit(1 if outcome.timings.errors or not outcome.timings.lags_s else 0)


if __name__ == "__main__":
    main()
