"""The compose file and the images: the same commands as on one machine, nothing more open than needed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from backend.stack import commands, ports
from tests.stack.driving import wait_for

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
COMPOSE: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = {
    "backend": commands.backend("0.0.0.0", 8000),
    "ui": commands.ui("0.0.0.0", 8501),
    **{f"worker-{queue}": commands.worker(queue) for queue in commands.QUEUES},
}
IMAGES = ("backend", "worker", "frontend")


def test_services_are_the_processes_of_the_table_with_the_same_commands() -> None:
    assert {name: service["command"] for name, service in SERVICES.items() if name != "redis"} == OURS


@pytest.mark.parametrize("name", SERVICES)
def test_service_is_hardened_limited_and_watched(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] == "unless-stopped"
    assert service["init"] is True
    assert int(service["user"].partition(":")[0]) > 0
    assert service["ulimits"]["core"] == 0
    assert {"max-size", "max-file"} <= set(service["logging"]["options"])
    assert not {"privileged", "pid", "network_mode", "ipc", "devices", "cap_add"} & set(service)
    (tmp,) = service["tmpfs"]
    assert tmp.startswith("/tmp:size=")
    assert {"nosuid", "nodev"} <= set(tmp.split(","))
    assert ("exec" if name.startswith("worker-") else "noexec") in tmp.split(",")
    assert all(volume.split(":")[0] in COMPOSE["volumes"] for volume in service.get("volumes", []))  # no host path
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}
    assert service["healthcheck"]["test"][0] == "CMD"
    for port in service.get("ports", []):
        assert port.startswith("127.0.0.1:")


def test_server_keeps_every_write_and_evicts_nothing() -> None:
    options = SERVICES["redis"]["command"]
    given = dict(zip(options[1::2], options[2::2], strict=True))
    assert given["--appendfsync"] == "always"
    assert given["--maxmemory-policy"] == "noeviction"
    assert "ports" not in SERVICES["redis"]


def test_pages_cannot_reach_the_server() -> None:
    assert "inside" not in SERVICES["ui"]["networks"]
    assert COMPOSE["networks"]["inside"]["internal"] is True
    assert not any("REDIS" in key for key in SERVICES["ui"]["environment"])


def test_backend_and_workers_share_the_home() -> None:
    for name in OURS:
        assert ("home:/data" in SERVICES[name].get("volumes", [])) == (name != "ui")


@pytest.mark.parametrize("image", IMAGES)
def test_image_copies_what_is_there_installs_its_extra_and_is_not_root(image: str) -> None:
    text = (DOCKER / f"Dockerfile.{image}").read_text()
    ignore = (DOCKER / f"Dockerfile.{image}.dockerignore").read_text().split()
    for line in re.findall(r"^COPY (.+)$", text, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert f"!{source}" in ignore, f"{source} is not sent to the builder"
    extra = re.search(r"'\.\[(\w+)\]'", text)
    assert extra is not None
    assert extra[1] == image
    assert extra[1] in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert re.findall(r"^USER (.+)$", text, re.MULTILINE) == [SERVICES["backend"]["user"]]
    service = {"backend": "backend", "worker": "worker-train", "frontend": "ui"}[image]
    assert re.findall(r'"([^"]*)"', text[text.index("CMD [") :]) == OURS[service]


SECRET = re.compile(r"password|passwd|secret|token|api_?key|://[^/\s]*:[^/\s]*@", re.IGNORECASE)


@pytest.mark.parametrize("image", IMAGES)
def test_no_secret_stands_in_an_image(image: str) -> None:
    text = (DOCKER / f"Dockerfile.{image}").read_text()
    instructions = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    assert not SECRET.search(instructions)
    assert not re.search(r"^(ADD|ARG (?!PYTHON))", instructions, re.MULTILINE)


@pytest.mark.parametrize("name", SERVICES)
def test_no_secret_stands_in_the_environment_of_a_service(name: str) -> None:
    environment = SERVICES[name].get("environment", {})
    assert isinstance(environment, dict)
    assert [key for key, value in environment.items() if SECRET.search(f"{key}={value}")] == []


def packages_of(image: str) -> set[str]:
    text = (DOCKER / f"Dockerfile.{image}").read_text()
    return {line.split()[0] for line in re.findall(r"^COPY (.+)$", text, re.MULTILINE)}


def test_only_the_worker_image_has_the_worker() -> None:
    assert "worker" in packages_of("worker")
    for image in ("backend", "frontend"):
        assert packages_of(image) & {"worker", "worker/contract"} == {"worker/contract"}


@pytest.fixture(scope="module")
def services(valkey_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The very commands of the compose file, running against a real server, on free ports of the loopback."""
    home, logs = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("logs")
    api_port, ui_port = ports.free_ports("127.0.0.1", 2)
    swapped = {"0.0.0.0": "127.0.0.1", "8000": str(api_port), "8501": str(ui_port), "python": sys.executable}
    tmp = tmp_path_factory.mktemp("tmp")
    addresses = {"api": f"http://127.0.0.1:{api_port}", "ui": f"http://127.0.0.1:{ui_port}"}
    database = valkey_server.url.removesuffix("/0") + "/1"  # the other tests empty database 0
    environment = {
        **os.environ,
        "GAPSCOPE_HOME": str(home),
        "HOME": str(tmp),
        "TMPDIR": str(tmp),
        "GAPSCOPE_REDIS_URL": database,
        "GAPSCOPE_API_URL": addresses["api"],
        "GAPSCOPE_PUBLIC_URL": addresses["api"],
        "GAPSCOPE_UI_ORIGIN": addresses["ui"],
    }
    started = {}
    for name in OURS:
        argv = [swapped.get(word, word) for word in SERVICES[name]["command"]]
        with (logs / name).open("wb") as log:
            started[name] = subprocess.Popen(
                argv, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
    yield {"processes": started, "environment": environment, "logs": logs, "home": home, "tmp": tmp, **addresses}
    for process in started.values():
        process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + 10
    for process in started.values():
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def test_commands_start_and_everything_becomes_ready(services: dict[str, Any]) -> None:
    def ready() -> bool:
        for name, process in services["processes"].items():
            assert process.poll() is None, f"{name}: {(services['logs'] / name).read_text()[-2000:]}"
        try:
            pages = httpx.get(f"{services['ui']}/_stcore/health", timeout=2).status_code
            return pages == httpx.get(f"{services['api']}/api/v1/health/ready", timeout=2).status_code == 200
        except httpx.TransportError:
            return False

    wait_for(ready, "the services are ready", 60)


def test_services_have_no_file_open_for_writing_but_in_the_home_and_in_tmp(services: dict[str, Any]) -> None:
    allowed = tuple(str(services[name]) for name in ("home", "tmp", "logs"))
    seen = 0
    for process in services["processes"].values():
        family = psutil.Process(process.pid)
        for member in (family, *family.children(recursive=True)):
            written = [opened.path for opened in member.open_files() if opened.mode not in ("r",)]
            seen += len(written)
            assert [path for path in written if not path.startswith(allowed)] == []
    assert seen, "the logs at least are open"


def test_health_check_of_the_workers_tells_a_worker_from_none(services: dict[str, Any]) -> None:
    checks = {queue: SERVICES[f"worker-{queue}"]["healthcheck"]["test"] for queue in commands.QUEUES}
    assert all(check[:2] == ["CMD", "python"] for check in checks.values())
    check_commands = [[sys.executable, *check[2:]] for check in checks.values()]
    elsewhere = services["environment"]["GAPSCOPE_REDIS_URL"].removesuffix("1") + "2"
    asked = [subprocess.Popen(command, cwd=ROOT, env=services["environment"]) for command in check_commands]
    asked.append(
        subprocess.Popen(check_commands[0], cwd=ROOT, env=services["environment"] | {"GAPSCOPE_REDIS_URL": elsewhere})
    )
    assert [process.wait(30) for process in asked] == [0, 0, 0, 1]


@pytest.mark.parametrize("name", ["backend", "ui"])
def test_health_check_of_the_servers_asks_the_right_path(name: str, services: dict[str, Any]) -> None:
    kind, address = {"backend": ("8000", services["api"]), "ui": ("8501", services["ui"])}[name]
    check = [word.replace(f"http://127.0.0.1:{kind}", address) for word in SERVICES[name]["healthcheck"]["test"]]
    assert subprocess.run([sys.executable, *check[2:]], timeout=30).returncode == 0
