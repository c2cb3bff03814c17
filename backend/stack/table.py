"""The process table of one machine: which processes there are, with which environment, and how each is asked."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

from backend.stack import commands, probes
from backend.stack.errors import StackError
from backend.stack.ports import reachable, url
from backend.stack.processes import Supervised
from backend.stack.server import EmbeddedServer


@dataclass(frozen=True)
class Plan:
    """Everything that decides what is started."""

    home: Path
    host: str
    api_port: int
    ui_port: int
    server: EmbeddedServer | None
    """None: a server was given."""
    redis_url: str
    train_workers: int = 1
    """Runs that are trained side by side."""
    auth: bool = False
    """Whether API and pages ask for keys."""

    @property
    def api_url(self) -> str:
        """The API's address, from this machine."""
        return url(reachable(self.host), self.api_port)

    @property
    def ui_url(self) -> str:
        """The pages' address, from this machine."""
        return url(reachable(self.host), self.ui_port)

    @property
    def logs(self) -> Path:
        """Folder of the logs."""
        return self.home / "logs"


def ui_script() -> str:
    """Returns the path of the pages' script; the package is located, not imported.

    Raises:
        StackError: when the frontend is not installed.
    """
    found = importlib.util.find_spec("frontend")
    for folder in found.submodule_search_locations or () if found else ():
        script = Path(folder) / "ui" / "server.py"
        if script.exists():
            return str(script)
    raise StackError(
        "The pages (frontend/ui/server.py) should be installed beside the backend, and are not. Install all of "
        "Gapscope with `pip install 'gapscope[all]'`.",
        code="ui-missing",
    )


def environment(plan: Plan) -> dict[str, str]:
    """Returns the environment of backend and workers."""
    values = dict(os.environ)
    values |= {
        "GAPSCOPE_HOME": str(plan.home),
        "GAPSCOPE_REDIS_URL": plan.redis_url,
        "GAPSCOPE_API_URL": plan.api_url,
        "PYTHONUNBUFFERED": "1",
        # `python -m` would put the working folder first on the path, where anything may lie.
        "PYTHONSAFEPATH": "1",
    }
    if plan.auth:
        values["GAPSCOPE_AUTH"] = "on"
    values.setdefault("GAPSCOPE_PUBLIC_URL", plan.api_url)
    values.setdefault("GAPSCOPE_UI_ORIGIN", plan.ui_url)
    return values


def build(plan: Plan) -> list[Supervised]:
    """Returns the processes in the order in which they are started; stopping goes the other way round."""
    shared = environment(plan)
    # The pages talk to the API alone: they get no way to Redis.
    ui_environment = {key: value for key, value in shared.items() if key != "GAPSCOPE_REDIS_URL"}
    here = reachable(plan.host)
    table = []
    if plan.server is not None:
        probe = probes.redis_probe(plan.redis_url)
        table.append(_entry(plan, "server", plan.server.command(), dict(os.environ), probe))
    api_probe = probes.http_probe(here, plan.api_port, "/api/v1/health/live")
    table.append(_entry(plan, "backend", commands.backend(plan.host, plan.api_port), shared, api_probe))
    ui_probe = probes.http_probe(here, plan.ui_port, "/_stcore/health")
    ui_command = commands.ui(plan.host, plan.ui_port, ui_script())
    table.append(_entry(plan, "ui", ui_command, ui_environment, ui_probe))
    for queue in commands.QUEUES:
        for number in range(1, (plan.train_workers if queue == "train" else 1) + 1):
            name, argv = commands.numbered(f"worker-{queue}", number), commands.worker(queue, number)
            worker = _entry(plan, name, argv, shared, probes.worker_probe(plan.redis_url, queue))
            worker.restart_when_silent = False
            table.append(worker)
    return table


def _entry(plan: Plan, name: str, argv: list[str], values: dict[str, str], probe: probes.Probe) -> Supervised:
    return Supervised(name, argv, values, plan.logs, plan.logs / f"{name}.log", probe)
