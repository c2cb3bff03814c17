"""Another process of a run: `python -m worker.runtime.peer RUN_ID RANK SIZE MEETING CHECKPOINT PARENT_PID`.

It computes what the first one (worker.runtime.child) computes, in step with it, and writes nothing: no event, no file,
no line to Redis. It never leaves by itself: the first process ends it, and any other end means that it was lost.
"""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path
from typing import NoReturn

from worker.contract.errors import CorruptRecordError, GapscopeError
from worker.contract.layout import Home
from worker.contract.settings import load_settings
from worker.engine import checkpoint
from worker.engine.assembly import device_of
from worker.engine.steps import RunDone
from worker.engine.world import World
from worker.runtime import exits
from worker.runtime.agreement import agreed
from worker.runtime.lifetime import StopRequest, exit_at_once
from worker.runtime.run_parts import make_trainer, read_inputs, read_resolved
from worker.runtime.specs import run_spec

log = logging.getLogger("gapscope.train.peer")


def train(run_id: str, rank: int, size: int, meeting: Path, checkpoint_name: str, stop: StopRequest) -> None:
    """Trains in step with the others, to the end or until all leave.

    Args:
        run_id: of the run.
        rank: of this process, from 1.
        size: processes of the run.
        meeting: the file by which they find each other.
        checkpoint_name: to go on from; empty: the run begins.
        stop: of this process.
    """
    home = Home(load_settings().home)
    folder = home.run(run_id)
    spec, resolved = run_spec(folder, run_id), read_resolved(folder)
    if resolved is None:
        raise CorruptRecordError(f"The run {run_id} has no resolved spec.")
    world = World.join(rank, size, meeting, device_of(resolved, rank))
    snapshot = checkpoint.load(folder.checkpoints / checkpoint_name) if checkpoint_name else None
    inputs = read_inputs(home, folder, spec, lambda: None)
    trainer = make_trainer(home, spec, resolved, inputs, snapshot=snapshot, world=world, alive=lambda: None)
    for step in trainer.run():
        if isinstance(step, RunDone) or agreed(step, world, asked=stop.asked, due=False).leaves:
            return


def main(argv: list[str]) -> NoReturn:
    """Trains, and waits for the end that the first process brings; ends by itself where something fails."""
    run_id, rank, size, meeting, checkpoint_name, parent = argv
    stop = StopRequest.install(int(parent), grace_s=0.0)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    try:
        train(run_id, int(rank), int(size), Path(meeting), checkpoint_name, stop)
    except GapscopeError as error:  # a loss that is not finite, say: the first process says so too
        log.info("process %d: %s", int(rank) + 1, error.detail)
        exit_at_once(exits.FAILED)
    except Exception:
        log.exception("process %d ends", int(rank) + 1)
        exit_at_once(exits.AGAIN)
    while True:
        time.sleep(60.0)


if __name__ == "__main__":
    main(sys.argv[1:])
