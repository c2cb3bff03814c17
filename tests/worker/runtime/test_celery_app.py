"""The workers' Celery application: what Celery's main process may load, and the settings that a kill depends on."""

from __future__ import annotations

import subprocess
import sys

from worker.contract import keys
from worker.contract.settings import Settings
from worker.runtime.celery_app import configuration


def test_the_main_process_loads_no_torch() -> None:
    program = (
        "import sys, worker.runtime.celery_app, worker.runtime.tasks, worker.runtime.beat\n"
        "bad = {'torch', 'numpy', 'sklearn', 'av'} & set(sys.modules)\n"
        "assert not bad, bad\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_importing_reads_no_environment() -> None:
    program = (
        "import os, worker.runtime.celery_app as module\n"
        "os.environ['GAPSCOPE_REDIS_URL'] = 'redis://127.0.0.1:1/3'\n"
        "assert module.app.conf.broker_url == 'redis://127.0.0.1:1/3'\n"
        "assert module.app.conf.worker_disable_prefetch\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_messages_are_acknowledged_early_and_nothing_is_prefetched_or_kept() -> None:
    found = configuration(Settings())
    assert (found["task_acks_late"], found["worker_disable_prefetch"], found["task_ignore_result"]) == (
        False,
        True,
        True,
    )
    assert (found["result_backend"], found["accept_content"]) == (None, ["json"])
    assert found["broker_connection_max_retries"] is None
    assert found["task_routes"] == {keys.TASKS[kind]: {"queue": keys.QUEUES[kind]} for kind in keys.QUEUES}
