"""The Celery application of the workers: one worker a queue.

Each is started as (one line)

    python -m celery --app worker.runtime.celery_app worker --queues train --hostname train@%h
        --pool prefork --concurrency 1 --without-gossip --without-mingle --loglevel INFO

and likewise with `prepare` and `score`, in a session of its own (setsid). The environment gives the settings
(GAPSCOPE_HOME, GAPSCOPE_REDIS_URL, ...). Several workers may serve a queue under different host names.

- prefork: the task runs in a process of its own, which may die without the worker. One process: one job a device group.
- no gossip, no mingle: they fail or delay when the broker comes back, and nothing here needs them.
- To stop: SIGTERM (the job is saved and queued again within 6 s), then SIGQUIT after 8 s, then SIGKILL. Whatever is
  killed instead is taken up again as well.

A message only says "look at job X" (keys.TASKS); whether it is done is decided in the ledger. So it is acknowledged
before the task begins, nothing is prefetched, and no result is kept.
"""

from __future__ import annotations

from typing import Any

from celery import Celery

from worker.contract import keys
from worker.contract.settings import Settings, load_settings
from worker.runtime.lifecycle import connect_signals


def configuration(settings: Settings) -> dict[str, Any]:
    """Returns Celery's settings."""
    return {
        "broker_url": settings.redis_url,
        "result_backend": None,
        "imports": ("worker.runtime.tasks",),
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_ignore_result": True,
        "task_acks_late": False,
        "task_reject_on_worker_lost": False,
        "task_default_queue": keys.QUEUES["run"],
        "task_routes": {keys.TASKS[kind]: {"queue": queue} for kind, queue in keys.QUEUES.items()},
        "worker_prefetch_multiplier": 1,
        "worker_disable_prefetch": True,  # else a killed worker keeps its next message for the visibility timeout
        "worker_enable_remote_control": False,
        "worker_send_task_events": False,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_proc_alive_timeout": 120.0,  # the score queue's process imports torch first
        "broker_connection_timeout": 4.0,
        "broker_connection_retry": True,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,  # for ever
        "broker_transport_options": {
            "socket_connect_timeout": 4.0,
            "socket_keepalive": True,
            "health_check_interval": 10,
        },
        "enable_utc": True,
    }


def create_app() -> Celery:
    """Returns the application; the environment is read when it is first configured, not at import."""
    celery = Celery("gapscope")

    def configure(sender: Celery, **_: object) -> None:
        sender.config_from_object(configuration(load_settings()))

    celery.on_configure.connect(configure, weak=False)
    connect_signals()
    return celery


app = create_app()
