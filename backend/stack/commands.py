"""The command lines of Gapscope's processes: the only place where they are written.

The process table starts them on one machine; the compose file in docker/ starts the very same (a test compares them).
"""

from __future__ import annotations

from typing import Literal

Queue = Literal["train", "prepare", "score"]
QUEUES: tuple[Queue, ...] = ("train", "prepare", "score")
UI_SCRIPT = "frontend/ui/app.py"


def backend(host: str, port: int) -> list[str]:
    """Returns the API's command line.

    Args:
        host: the address to listen on.
        port: the port to listen on.
    """
    return [
        *("python", "-m", "uvicorn", "backend.main:create_app", "--factory"),
        *("--host", host, "--port", str(port)),
        # Open event streams never end by themselves; without a limit they would hold up every stop.
        *("--timeout-graceful-shutdown", "1"),
        *("--no-server-header", "--no-access-log", "--log-level", "info"),
    ]


def worker(queue: Queue) -> list[str]:
    """Returns the command line of the worker of one queue (see worker/runtime/celery_app.py for the reasons)."""
    return [
        *("python", "-m", "celery", "--app", "worker.runtime.celery_app", "worker"),
        *("--queues", queue, "--hostname", f"{queue}@%h"),
        *("--pool", "prefork", "--concurrency", "1"),
        *("--without-gossip", "--without-mingle", "--loglevel", "INFO"),
    ]


def ui(host: str, port: int, script: str = UI_SCRIPT) -> list[str]:
    """Returns the command line of the pages.

    Args:
        host: the address to listen on.
        port: the port to listen on.
        script: path of frontend/ui/app.py as the process sees it.
    """
    return [
        *("python", "-m", "streamlit", "run", script),
        *("--server.address", host, "--server.port", str(port)),
        *("--server.headless", "true", "--server.fileWatcherType", "none"),
        *("--browser.gatherUsageStats", "false"),
        *("--runner.magicEnabled", "false"),
        *("--client.toolbarMode", "minimal"),
    ]
