"""From a spec to the objects of a run: the only place that imports what specs name.

Every check that can be made before the first step is made here, with what to do about it.

Shapes: C classes.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from worker.contract.errors import DatasetError, TrainingError
from worker.contract.resources import ResolvedSpec
from worker.contract.spec import RunSpec
from worker.contract.spec.base import Component
from worker.engine.batches import BatchSource, Store
from worker.engine.optimization import Schedule
from worker.engine.seeds import derive_seed
from worker.media.preprocess import Preprocessor
from worker.model import AudioVisualModel, EncoderPair
from worker.objectives.base import Objective, Setup


@dataclass(frozen=True, eq=False)
class Assembly:
    """The objects of a run.

    Attributes:
        spec: what was chosen.
        resolved: what is really used.
        store: the prepared data.
        source: batches of it.
        model: on its device, in its memory format.
        objective: set up.
        optimizer: of all that the loss trains.
        probe_optimizer: of the heads where they are probes, else None.
        schedule: of both.
        device: where all lies.
    """

    spec: RunSpec
    resolved: ResolvedSpec
    store: Store
    source: BatchSource
    model: AudioVisualModel
    objective: Objective
    optimizer: torch.optim.Optimizer
    probe_optimizer: torch.optim.Optimizer | None
    schedule: Schedule
    device: torch.device


def implementation(component: Component) -> Callable[..., Any]:
    """Returns what a spec names as its implementation.

    Args:
        component: a spec with `implementation` "package.module:Name".

    Raises:
        TrainingError: it cannot be imported.
    """
    module, _, name = component.implementation.partition(":")
    try:
        return cast(Callable[..., Any], getattr(importlib.import_module(module), name))
    except (ImportError, AttributeError) as error:
        raise TrainingError(
            f"The implementation {component.implementation!r} of kind {component.kind!r} cannot be imported ({error}): "
            "install or repair the package that provides it on this worker.",
            code="implementation-missing",
        ) from error


def built(component: Component, *arguments: object) -> Any:
    """Returns the implementation of a spec, made from its fields as plain keyword values.

    Args:
        component: the spec; `kind` is left out, and so are the fields that the loop itself reads (`gaps`).
        arguments: positional ones, first.
    """
    return implementation(component)(*arguments, **component.model_dump(exclude={"kind", "gaps"}))


def build_model(spec: RunSpec, num_classes: int, *, heads_are_probes: bool) -> AudioVisualModel:
    """Returns the model of a spec with its first weights, on the CPU.

    Encoders, fusion and heads draw from streams of their own, so that none depends on the others.

    Args:
        spec: the run's.
        num_classes: C.
        heads_are_probes: whether no loss reaches the features through the heads.
    """
    with _random_stream(spec.seed, "encoders"):
        encoders = built(spec.encoder)
    pair = cast(EncoderPair, encoders)
    with _random_stream(spec.seed, "fusion"):
        fusion = built(spec.fusion, pair.num_audio_features, pair.num_visual_features, num_classes)
    with _random_stream(spec.seed, "heads"):
        heads = nn.ModuleDict(
            {
                "audio": nn.Linear(pair.num_audio_features, num_classes),
                "visual": nn.Linear(pair.num_visual_features, num_classes),
            }
        )
    return AudioVisualModel(encoders, fusion, heads, heads_are_probes=heads_are_probes)


@contextmanager
def _random_stream(seed: int, purpose: str) -> Iterator[None]:
    """Seeds torch's CPU generator for one purpose and gives it back as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "weights", purpose))
        yield


def assemble(spec: RunSpec, resolved: ResolvedSpec, store: Store) -> Assembly:
    """Returns the objects of a run, ready for its first step.

    Args:
        spec: what was chosen.
        resolved: see worker.engine.resolve.
        store: the prepared data.

    Raises:
        DatasetError: the data cannot be trained on (one class, a split missing).
        TrainingError: the combination cannot be trained (device or implementation missing, several processes).
    """
    check_data(store)
    check_fit(spec, resolved, store)
    fix_determinism(resolved)
    device = torch.device(resolved.device)
    objective = cast(Objective, built(spec.objective))
    model = build_model(spec, len(store.classes), heads_are_probes=not objective.trains_heads)
    memory_format = torch.channels_last if resolved.memory_format == "channels_last" else torch.contiguous_format
    model.to(device=device, memory_format=memory_format)  # type: ignore[call-overload]
    objective.setup(Setup(spec.epochs, len(store.classes), model))
    heads = list(model.heads.parameters())
    head_ids = {id(parameter) for parameter in heads}
    trained = [p for p in model.parameters() if objective.trains_heads or id(p) not in head_ids]
    return Assembly(
        spec=spec,
        resolved=resolved,
        store=store,
        source=BatchSource(store, Preprocessor(store.spec), seed=spec.seed, augment=spec.augment, device=device),
        model=model,
        objective=objective,
        optimizer=built(spec.optimizer, trained),
        probe_optimizer=None if objective.trains_heads else built(spec.optimizer, heads),
        schedule=built(spec.schedule),
        device=device,
    )


def check_data(store: Store) -> None:
    """Returns nothing where a store can be trained on.

    Raises:
        DatasetError: with what is missing.
    """
    for split in ("train", "validation"):
        if len(store.indices(split)) == 0:
            raise DatasetError(
                f"The dataset has no clips in its {split} split, at least one is needed: "
                "check the manifest or the folders, and the list of skipped clips.",
                code=f"dataset-no-{split}",
            )
    num_classes = len(np.unique(store.labels[store.indices("train")]))
    if num_classes < 2:
        raise DatasetError(
            f"The training split has {num_classes} class, at least two are needed to tell anything apart: "
            "add clips of another class.",
            code="dataset-one-class",
        )


def check_fit(spec: RunSpec, resolved: ResolvedSpec, store: Store) -> None:
    """Returns nothing where a spec fits its data and its machine.

    Raises:
        TrainingError: with what does not fit.
    """
    if spec.num_processes > 1:
        raise TrainingError(
            f"num_processes is {spec.num_processes}, this version trains a run in one process: set num_processes to 1.",
            code="several-processes",
        )
    if resolved.device.startswith("cuda") and not torch.cuda.is_available():
        raise TrainingError(
            f"The run is resolved to the device {resolved.device!r}, this worker has none: "
            "start a worker with a GPU, or launch the run anew with device cpu.",
            code="device-missing",
        )
    if store.digest != resolved.store_digest:
        raise TrainingError(
            f"The run was begun on a store with the digest {resolved.store_digest}, the store now has {store.digest}: "
            "launch it anew to train on the new data.",
            code="store-changed",
        )


def fix_determinism(resolved: ResolvedSpec) -> None:
    """Fixes threads and algorithms of this process, so that the same steps give the same bits.

    Args:
        resolved: the run's.
    """
    torch.set_num_threads(resolved.threads)
    on_gpu = resolved.device.startswith("cuda")
    if on_gpu:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when it starts
    # To the bit on a CPU; on a GPU an operation without a deterministic form warns and runs.
    torch.use_deterministic_algorithms(resolved.deterministic, warn_only=on_gpu)
    torch.backends.cudnn.benchmark = not resolved.deterministic
