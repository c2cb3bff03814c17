"""What a process runs on: versions, processor, platform and the source tree, as a run records them."""

from __future__ import annotations

import functools
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

PACKAGES = ("gapscope", "torch", "torchvision", "torchaudio", "numpy", "scipy", "scikit-learn")


def versions() -> dict[str, str]:
    """Returns the versions of Python and of the packages that decide the numbers."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue  # run from a bare checkout
    return found


def platform_facts(device: str) -> dict[str, str]:
    """Returns what else decides bits, as torch tells it: kernels, CUDA, and what of it is made deterministic.

    Args:
        device: of the run, "cpu" or "cuda:0" and so on.
    """
    facts = {
        "system": f"{platform.system()} {platform.machine()}",
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "matmul_precision": torch.get_float32_matmul_precision(),
        "deterministic_algorithms": _deterministic_algorithms(),
    }
    if device.startswith("cuda"):
        properties = torch.cuda.get_device_properties(device)
        facts |= {
            "cuda": torch.version.cuda or "none",
            "cudnn": str(torch.backends.cudnn.version()),  # type: ignore[no-untyped-call]
            "cudnn_benchmark": str(torch.backends.cudnn.benchmark),
            "cublas_workspace": os.environ.get("CUBLAS_WORKSPACE_CONFIG", "unset"),
            "compute_capability": f"{properties.major}.{properties.minor}",
            "device_memory_gib": f"{properties.total_memory / 2**30:.1f}",
        }
    return facts


def _deterministic_algorithms() -> str:
    """Returns what torch does about an operation that has no deterministic form."""
    if not torch.are_deterministic_algorithms_enabled():
        return "off"
    return "on, others warn" if torch.is_deterministic_algorithms_warn_only_enabled() else "on, others fail"


def processor_of(device: str) -> str:
    """Returns the name of the processor or GPU that computes.

    Args:
        device: of the run.
    """
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else processor_name()


def num_cores() -> int:
    """Returns the processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # macOS


def processor_name() -> str:
    """Returns the processor's model, as Linux says it, or what Python knows."""
    return cpuinfo("model name") or platform.processor() or platform.machine()


def cpuinfo(field: str) -> str | None:
    """Returns a field of the first processor in /proc/cpuinfo, or None.

    Args:
        field: such as "model name".
    """
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.split(":")[0].strip() == field), None)


def git_revision() -> str | None:
    """Returns the commit of the source tree, or None where it is no git checkout."""
    return (_git("rev-parse", "HEAD") or "").strip() or None


def git_is_changed() -> bool | None:
    """Returns whether tracked files differ from that commit; None where it is no git checkout."""
    changes = _git("status", "--porcelain", "--untracked-files=no")
    return None if changes is None else bool(changes.strip())


@functools.cache
def _git(*arguments: str) -> str | None:
    """Returns what git says of the source tree, asked once a process: the modules were loaded when it began."""
    folder = Path(__file__).resolve().parents[2]
    if not (folder / ".git").exists():
        return None
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
