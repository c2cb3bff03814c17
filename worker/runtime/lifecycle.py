"""Celery's signals that matter here: beat while the worker lives, and let pool processes know when it is to stop.

A plain SIGTERM makes Celery wait for its task however long that takes. The main process therefore writes a byte into a
pipe that every pool process has; the supervisor there sees it and makes its child leave.
"""

from __future__ import annotations

import os
import select
from dataclasses import dataclass, field
from typing import Any

from celery import signals
from celery.worker import state as worker_state

from worker.contract.settings import load_settings
from worker.runtime.beat import WorkerBeat


@dataclass
class _Worker:
    """This worker, in its main process and, as it was when they were forked, in its pool processes."""

    name: str = ""
    queues: tuple[str, ...] = ()
    stop_read: int | None = None
    stop_write: int | None = None
    beat: WorkerBeat | None = field(default=None, repr=False)


_worker = _Worker()


def stopping() -> bool:
    """Returns whether this worker was asked to stop."""
    if _worker.stop_read is None:
        return False
    readable, _, _ = select.select([_worker.stop_read], [], [], 0)
    return bool(readable)


def worker_name() -> str:
    """Returns the worker's name, such as train@host."""
    return _worker.name


def connect_signals() -> None:
    """Connects the handlers; the receivers are module functions, which Celery holds weakly."""
    signals.celeryd_after_setup.connect(_after_setup)
    signals.worker_ready.connect(_ready)
    signals.worker_shutting_down.connect(_shutting_down)
    signals.worker_shutdown.connect(_shutdown)
    signals.worker_process_init.connect(_process_init)


def _after_setup(sender: str, instance: Any, **_: object) -> None:
    _worker.name = sender
    _worker.queues = tuple(instance.app.amqp.queues.consume_from)
    _worker.stop_read, _worker.stop_write = os.pipe()


def _ready(**_: object) -> None:
    _worker.beat = WorkerBeat(load_settings(), _worker.name, ",".join(_worker.queues), _busy_with)
    _worker.beat.start()


def _shutting_down(**_: object) -> None:
    # Called from the signal's handler: nothing here may block or take a lock.
    if _worker.stop_write is not None:
        os.write(_worker.stop_write, b"s")


def _shutdown(**_: object) -> None:
    if _worker.beat is not None:
        _worker.beat.stop()


def _process_init(**_: object) -> None:
    """Makes a pool process of the score queue ready before its first clip: torch takes seconds to import."""
    if "score" in _worker.queues:
        from worker.runtime.score import warm_up

        warm_up()


def _busy_with() -> str | None:
    """Returns the job that the pool works on."""
    for request in tuple(worker_state.active_requests):
        arguments = request.args
        if arguments:
            return str(arguments[0])
    return None
