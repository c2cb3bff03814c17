"""The tasks: each looks at one job. Torch is not imported here: this module is loaded by Celery's main process too."""

from __future__ import annotations

import functools
import logging

from celery import shared_task
from kombu.exceptions import OperationalError

from worker.contract import keys
from worker.contract.keys import JobKind
from worker.contract.layout import Home
from worker.contract.ledger import Ledger
from worker.contract.settings import load_settings
from worker.runtime.celery_app import app
from worker.runtime.lifecycle import stopping, worker_name
from worker.runtime.redis_client import connect
from worker.runtime.supervisor import Surroundings, supervise

log = logging.getLogger(__name__)


@functools.cache
def surroundings() -> Surroundings:
    """Returns what jobs of this pool process work with, made at its first job."""
    settings = load_settings()
    home = Home(settings.home.resolve())
    return Surroundings(settings, home, Ledger(connect(settings.redis_url)), worker_name(), enqueue, stopping)


def enqueue(kind: JobKind, job_id: str) -> None:
    """Puts a message into the queue of a job's kind; one that is lost is sent again by the backend's reaper."""
    try:
        app.send_task(keys.TASKS[kind], args=[job_id], queue=keys.QUEUES[kind], ignore_result=True, retry=False)
    except (OperationalError, OSError) as error:
        log.warning("%s %s: no message could be sent: %s", kind, job_id, error)


@shared_task(name=keys.TASKS["run"])
def train(run_id: str) -> None:
    """Looks at a run."""
    supervise("run", run_id, surroundings())


@shared_task(name=keys.TASKS["dataset"])
def prepare(dataset_id: str) -> None:
    """Looks at a dataset."""
    supervise("dataset", dataset_id, surroundings())


@shared_task(name=keys.TASKS["batch"])
def batch(batch_id: str) -> None:
    """Looks at a batch of clips to score."""
    from worker.runtime.score_batch import score_batch  # brings torch, as below

    score_batch(batch_id, surroundings())


@shared_task(name=keys.TASKS["score"])
def score(score_id: str) -> None:
    """Looks at a score."""
    from worker.runtime.score import score_clip  # brings torch: pool processes of the score queue alone

    score_clip(score_id, surroundings())
