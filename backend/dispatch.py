"""Sends messages to the workers' queues. A message only says "look at job X": one too many harms nobody."""

from __future__ import annotations

import logging
from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError

from worker.contract import keys
from worker.contract.keys import JobKind

log = logging.getLogger(__name__)


class Dispatcher:
    """Sends messages by task name, with no wait for a broker that is down: the reaper sends again."""

    def __init__(self, redis_url: str) -> None:
        self._celery = Celery("gapscope-backend", broker=redis_url)
        self._celery.conf.update(
            task_ignore_result=True,
            broker_connection_retry=False,
            broker_transport_options={"socket_connect_timeout": 1.0, "socket_timeout": 5.0},
        )

    def send(self, kind: JobKind, job_id: str) -> bool:
        """Puts a message into the queue of the job's kind; returns whether the broker took it."""
        try:
            self._celery.send_task(
                keys.TASKS[kind], args=[job_id], queue=keys.QUEUES[kind], ignore_result=True, retry=False
            )
        except (OperationalError, OSError) as error:
            log.warning("%s %s: no message could be sent, the reaper will: %s", kind, job_id, error)
            return False
        return True

    def close(self) -> None:
        """Closes the connections to the broker."""
        self._celery.close()


def names_job(message: str | bytes, job_id: str) -> bool:
    """Returns whether a message that waits in a queue is about a job."""
    text: Any = message.decode("utf-8", "replace") if isinstance(message, bytes) else message
    return job_id in text
