"""What a run will really use, decided once: device, precision, memory format, threads, and what they ran on.

Only `precision: auto` measures anything; a spec that names its precision gets the memory format that goes with it (fp32
contiguous, bf16 channels_last), so that a pinned preset computes the same on every machine of a kind.

Shapes: B clips, T frames, M mel bins, S time steps, W side of the crop.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import torch

from worker.contract.errors import TrainingError
from worker.contract.layout import write_json
from worker.contract.resources import ResolvedSpec
from worker.contract.spec import PreprocessSpec, RunSpec
from worker.engine.assembly import build_model
from worker.science.stages import num_warm_up_epochs

Precision = Literal["fp32", "bf16"]
MemoryFormat = Literal["contiguous", "channels_last"]

PACKAGES = ("gapscope", "torch", "torchvision", "torchaudio", "numpy", "scikit-learn")
MEASURED_BATCH = 8
NUM_REPEATS = 3
CLEAR_GAIN = 1.2
"""bf16 is chosen where a step takes less than 1 / 1.2 of fp32's time: less is not worth the bits. Ours."""
FORMAT_OF: dict[Precision, MemoryFormat] = {"fp32": "contiguous", "bf16": "channels_last"}


def resolve(
    spec: RunSpec,
    *,
    dataset_id: str,
    store_digest: str,
    preprocess: PreprocessSpec,
    devices: Sequence[str] = (),
    cache: Path | None = None,
) -> ResolvedSpec:
    """Returns what a run uses, to be written at its first claim and used by every resume.

    Args:
        spec: what was chosen.
        dataset_id: of the prepared dataset.
        store_digest: of its content.
        preprocess: of its store, for the shape of the inputs.
        devices: that the worker owns ("cuda:0", ...); empty: what torch sees.
        cache: a JSON file that keeps measurements for the next run of the same shape.

    Raises:
        TrainingError: the device that the spec asks for is not there.
    """
    device = _device(spec, devices)
    threads = spec.threads or num_cores()
    precision: Precision = "fp32"
    if spec.precision == "auto":
        precision = _measured_precision(spec, preprocess, device, threads, cache)
    else:
        precision = spec.precision
    return ResolvedSpec(
        dataset_id=dataset_id,
        store_digest=store_digest,
        device=device,
        precision=precision,
        memory_format=FORMAT_OF[precision],
        threads=threads,
        deterministic=True,
        warm_up_epochs=_warm_up_epochs(spec),
        versions={"python": platform.python_version(), **_versions()},
        processor=processor_name() if device == "cpu" else torch.cuda.get_device_name(device),
        git_revision=git_revision(),
    )


def _warm_up_epochs(spec: RunSpec) -> int | None:
    """Returns the warm-up epochs of an objective that has them; None where it asks for too many (setup refuses it)."""
    fields = spec.objective.model_dump()
    if "warm_up_epochs" not in fields or (fields["warm_up_epochs"] or 0) > spec.epochs:
        return None
    return num_warm_up_epochs(spec.epochs, fields["warm_up_epochs"])


def _device(spec: RunSpec, devices: Sequence[str]) -> str:
    """Returns the device of a run."""
    available = list(devices) if devices else ["cuda:0"] if torch.cuda.is_available() else []
    gpus = [device for device in available if device.startswith("cuda")]
    if spec.device == "cuda" and not gpus:
        raise TrainingError(
            "The run asks for the device cuda, this worker has none: choose auto or cpu, or start a worker with a GPU.",
            code="device-missing",
        )
    return gpus[0] if gpus and spec.device != "cpu" else "cpu"


def _measured_precision(
    spec: RunSpec, preprocess: PreprocessSpec, device: str, threads: int, cache: Path | None
) -> Precision:
    """Returns bf16 where a training step of this model is clearly faster in it."""
    if not _has_fast_bf16(device):
        return "fp32"
    # torch's version and the processor belong to the key: both decide which kernels run.
    parts = (spec.encoder.canonical_json(), preprocess.canonical_json(), device, str(threads), processor_name())
    key = "|".join((*parts, torch.__version__))
    known = _read_cache(cache)
    if key not in known:
        torch.set_num_threads(threads)
        seconds = {name: _step_seconds(spec, preprocess, device, name) for name in FORMAT_OF}
        known[key] = "bf16" if seconds["bf16"] * CLEAR_GAIN < seconds["fp32"] else "fp32"
        if cache is not None:
            write_json(cache, known)
    return "bf16" if known[key] == "bf16" else "fp32"


def _has_fast_bf16(device: str) -> bool:
    """Returns whether the device computes in bf16 at all; emulation on a CPU is never faster."""
    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported())
    flags = _cpuinfo("flags") or _cpuinfo("Features") or ""
    return any(flag in flags.split() for flag in ("avx512_bf16", "amx_bf16", "bf16"))


def _step_seconds(spec: RunSpec, preprocess: PreprocessSpec, device: str, precision: Precision) -> float:
    """Returns the shortest of a few training steps on a small random batch."""
    memory_format = torch.channels_last if precision == "bf16" else torch.contiguous_format
    model = build_model(spec, num_classes=2, heads_are_probes=False)
    model.to(device=device, memory_format=memory_format)  # type: ignore[call-overload]
    audio = torch.zeros(MEASURED_BATCH, 1, preprocess.num_mels, preprocess.num_steps, device=device)
    side = preprocess.crop_size
    frames = torch.zeros(MEASURED_BATCH, preprocess.num_frames, 3, side, side, device=device)
    seconds = []
    for _ in range(NUM_REPEATS):
        started = time.perf_counter()
        with torch.autocast(device.partition(":")[0], torch.bfloat16, enabled=precision == "bf16"):
            features = model.encode(audio, frames)
        model.classify(features).fused_logits.sum().backward()  # type: ignore[no-untyped-call]
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def _read_cache(cache: Path | None) -> dict[str, str]:
    """Returns earlier measurements; a cache that cannot be read is measured anew."""
    if cache is None or not cache.exists():
        return {}
    try:
        known: dict[str, str] = json.loads(cache.read_text())
    except ValueError:
        return {}
    return known


def _versions() -> dict[str, str]:
    """Returns the versions of the packages that decide the numbers."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue  # run from a bare checkout
    return found


def num_cores() -> int:
    """Returns the processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # macOS


def processor_name() -> str:
    """Returns the processor's model, as Linux says it, or what Python knows."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _cpuinfo(field: str) -> str | None:
    """Returns a field of the first processor in /proc/cpuinfo, or None."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.split(":")[0].strip() == field), None)


def git_revision() -> str | None:
    """Returns the commit of the source tree, or None where it is no git checkout."""
    folder = Path(__file__).resolve().parents[2]
    if not (folder / ".git").exists():
        return None
    try:
        command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
