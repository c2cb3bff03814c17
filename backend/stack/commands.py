"""The command lines of Gapscope's processes: the only place where they are written.

The process table starts them on one machine; the compose file in docker/ starts the very same (a test compares them).
"""

from __future__ import annotations

from typing import Literal

Queue = Literal["train", "prepare", "score"]
QUEUES: tuple[Queue, ...] = ("train", "prepare", "score")
HTTP_PROTOCOL = "backend.connections:BoundedHttp"
UI_SCRIPT = "frontend/ui/server.py"


def backend(host: str, port: int) -> list[str]:
    """Returns the API's command line.

    Args:
        host: the address to listen on.
        port: the port to listen on.
    """
    return [
        *("python", "-m", "uvicorn", "backend.main:served_app", "--factory"),
        *("--host", host, "--port", str(port)),
        *("--http", HTTP_PROTOCOL, "--ws", "none"),
        # Open event streams never end by themselves; without a limit they would hold up every stop.
        *("--timeout-graceful-shutdown", "1"),
        *("--no-server-header", "--no-access-log", "--log-level", "info"),
    ]


def worker(queue: Queue, number: int = 1) -> list[str]:
    """Returns the command line of a worker of one queue (see worker/runtime/celery_app.py for the reasons).

    Args:
        queue: what it works on.
        number: 1 for the queue's first worker on this machine, 2 for the second; each needs a name of its own.
    """
    return [
        *("python", "-m", "celery", "--app", "worker.runtime.celery_app", "worker"),
        *("--queues", queue, "--hostname", f"{numbered(queue, number)}@%h"),
        *("--pool", "prefork", "--concurrency", "1"),
        *("--without-gossip", "--without-mingle", "--loglevel", "INFO"),
    ]


def numbered(name: str, number: int) -> str:
    """Returns the name of the `number`-th of several, the first without a number."""
    return name if number == 1 else f"{name}-{number}"


def ui(host: str, port: int, script: str = UI_SCRIPT) -> list[str]:
    """Returns the command line of the pages.

    Args:
        host: the address to listen on.
        port: the port to listen on.
        script: path of frontend/ui/server.py as the process sees it.
    """
    return [
        *("python", "-m", "streamlit", "run", script),
        *("--server.address", host, "--server.port", str(port)),
        *("--server.headless", "true", "--server.fileWatcherType", "none"),
        *("--browser.gatherUsageStats", "false"),
        *("--runner.magicEnabled", "false"),
        *("--client.toolbarMode", "minimal"),
    ]
