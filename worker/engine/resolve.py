"""What a run will really use, decided once: device, precision, memory format, threads, and what they ran on.

Only `precision: auto` measures anything; a spec that names its precision gets the memory format that goes with it (fp32
contiguous, bf16 channels_last), so that a pinned preset computes the same on every machine of a kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from worker.contract.errors import TrainingError
from worker.contract.resources import ResolvedSpec
from worker.contract.spec import PreprocessSpec, RunSpec
from worker.contract.spec.objectives.paper import num_purification_epochs
from worker.engine.assembly import fix_determinism
from worker.engine.machine import git_is_changed, git_revision, num_cores, platform_facts, processor_of, versions
from worker.engine.measuring import FORMAT_OF, PLAIN, Candidate, Measurement, measured
from worker.science.stages import num_warm_up_epochs


def resolve(
    spec: RunSpec,
    *,
    dataset_id: str,
    store_digest: str,
    preprocess: PreprocessSpec,
    features_digest: str | None = None,
    devices: Sequence[str] = (),
    cache: Path | None = None,
    num_train: int | None = None,
) -> ResolvedSpec:
    """Returns what a run uses, to be written at its first claim and used by every resume.

    Args:
        spec: what was chosen.
        dataset_id: of the prepared dataset.
        store_digest: of its content.
        preprocess: of its store, for the shape of the inputs.
        features_digest: of the precomputed features, where the encoder reads such.
        devices: that the worker owns ("cuda:0", ...); empty: what torch sees.
        cache: a JSON file that keeps measurements for the next run of the same shape.
        num_train: clips an epoch, by which it is told whether a measurement is worth its time; None: it is.

    Raises:
        TrainingError: the device that the spec asks for is not there.
    """
    device = _device(spec, devices)
    threads = spec.threads or num_cores()
    resolved = ResolvedSpec(
        dataset_id=dataset_id,
        store_digest=store_digest,
        features_digest=features_digest,
        device=device,
        precision=PLAIN.precision,
        memory_format=PLAIN.memory_format,
        threads=threads,
        num_processes=spec.num_processes,
        deterministic=True,
        warm_up_epochs=_warm_up_epochs(spec),
        versions=versions(),
        processor=processor_of(device),
        git_revision=git_revision(),
        git_changed=git_is_changed(),
    )
    fix_determinism(resolved)  # before it is measured: it changes what is fast
    choice = _chosen(spec, preprocess, device, cache, num_train)
    return resolved.model_copy(
        update={
            **choice.candidate._asdict(),
            "measured_step_s": choice.seconds,
            "platform": platform_facts(device),
        }
    )


def differences(resolved: ResolvedSpec) -> list[str]:
    """Returns what is other here than where a run began, in words; then it need not go on to the same bits.

    Args:
        resolved: of the run.
    """
    now = {"processor": processor_of(resolved.device), "git revision": git_revision(), **versions()}
    then = {"processor": resolved.processor, "git revision": resolved.git_revision, **resolved.versions}
    if resolved.platform:
        fix_determinism(resolved)
        now |= platform_facts(resolved.device)
        then |= resolved.platform
    return [
        f"{name} {now.get(name, 'unknown')} (began with {value})"
        for name, value in then.items()
        if value is not None and now.get(name) != value  # an earlier version recorded less
    ]


def _chosen(
    spec: RunSpec, preprocess: PreprocessSpec, device: str, cache: Path | None, num_train: int | None
) -> Measurement:
    """Returns how the run computes: as its spec says, else as is fastest here."""
    compiled = spec.compile == "on"
    if spec.precision != "auto":
        return Measurement(Candidate(spec.precision, FORMAT_OF[spec.precision], compiled), {})
    # Features leave too little arithmetic for anything to be gained.
    if spec.encoder.reads != "clips":
        return Measurement(Candidate(PLAIN.precision, PLAIN.memory_format, compiled), {})
    return measured(spec, preprocess, device, cache=cache, num_train=num_train)


def _warm_up_epochs(spec: RunSpec) -> int | None:
    """Returns the warm-up epochs of an objective that has them; None where it asks for too many (setup refuses it)."""
    fields = spec.objective.model_dump()
    if "warm_up_epochs" not in fields or (fields["warm_up_epochs"] or 0) > spec.epochs:
        return None
    third = num_purification_epochs(spec.epochs, fields["purification_epochs"]) if fields.get("purification") else 0
    return num_warm_up_epochs(spec.epochs, fields["warm_up_epochs"], third)


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
