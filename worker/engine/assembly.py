"""From a spec to the objects of a run.

Every check that can be made before the first step is made here, with what to do about it.

Shapes: C classes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import torch

from worker.contract.errors import DatasetError, TrainingError
from worker.contract.resources import ResolvedSpec
from worker.contract.spec import RunSpec
from worker.engine.batches import BatchSource, Store
from worker.engine.building import branches, build_model, built, compile_encoders
from worker.engine.features import FeatureTable
from worker.engine.inputs import prepare_encoders
from worker.engine.optimization import Schedule
from worker.engine.seeds import derive_seed
from worker.engine.sources import EarlierRun
from worker.engine.starting import load_start
from worker.engine.steps import Snapshot
from worker.engine.world import ALONE, World
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
        teachers: models of earlier runs, by the objective's field that names the run.
        class_weights: (C,) of the cross-entropies, or None.
        world: the processes of the run.
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
    teachers: Mapping[str, AudioVisualModel] = field(default_factory=dict)
    class_weights: torch.Tensor | None = None
    world: World = ALONE


def assemble(
    spec: RunSpec,
    resolved: ResolvedSpec,
    store: Store,
    sources: Mapping[str, EarlierRun] | None = None,
    *,
    features: FeatureTable | None = None,
    begins: bool = True,
    world: World = ALONE,
    start: Snapshot | None = None,
) -> Assembly:
    """Returns the objects of a run, ready for its first step.

    Args:
        spec: what was chosen.
        resolved: see worker.engine.resolve.
        store: the prepared data.
        sources: the earlier runs that the objective names, by its fields.
        features: precomputed ones, where the encoder reads such.
        begins: whether the run begins; one that resumes has its weights from a checkpoint.
        world: the processes of the run; all assemble the same.
        start: the weights of the run that the spec starts from, of a run that resumes too: methods keep first weights.

    Raises:
        DatasetError: the data cannot be trained on (one class, a split missing).
        TrainingError: the combination cannot be trained (device, implementation or weights missing).
    """
    check_data(store)
    check_fit(spec, resolved, store)
    check_world(spec, world)
    check_features(spec, resolved, features)
    fix_determinism(resolved)
    torch.manual_seed(derive_seed(spec.seed, "layers"))  # dropout and the like draw from torch's own generators
    device = device_of(resolved, world.rank)
    objective = cast(Objective, built(spec.objective))
    model = build_model(spec, len(store.classes), objective)
    earlier = dict(sources or {})
    check_sources(spec, earlier, store)
    memory_format = torch.channels_last if resolved.memory_format == "channels_last" else torch.contiguous_format
    prepare_encoders(spec.encoder, cast(EncoderPair, model.encoders), store.spec, begins=begins)
    load_start(model, start, spec, store)
    model.to(device=device, memory_format=memory_format)  # type: ignore[call-overload]
    if resolved.compiled:
        compile_encoders(model)
    world.copy_from_first([*model.parameters(), *model.buffers()])
    by_branch = branches(model)
    objective.setup(
        Setup(
            spec.epochs,
            len(store.classes),
            model,
            branches=by_branch,
            labels=np.asarray(store.labels, dtype=np.int64),
            fusion_splits=model.fusion_splits,
            num_train=len(store.indices("train")),
            sources=earlier,
            batch_size=spec.batch_size,
        )
    )
    heads = by_branch["heads"]
    head_ids = {id(parameter) for parameter in heads}
    trained = [p for p in model.parameters() if objective.trains_heads or id(p) not in head_ids]
    return Assembly(
        spec=spec,
        resolved=resolved,
        store=store,
        source=BatchSource(
            store,
            Preprocessor(store.spec),
            seed=spec.seed,
            augment=spec.augmentation if spec.augment else None,
            device=device,
            features=features,
            world=world,
        ),
        model=model,
        objective=objective,
        optimizer=built(spec.optimizer, trained),
        probe_optimizer=None if objective.trains_heads else built(spec.optimizer, heads),
        schedule=built(spec.schedule),
        device=device,
        teachers={name: run.model(device) for name, run in earlier.items()},
        class_weights=class_weights(spec, store, device),
        world=world,
    )


def device_of(resolved: ResolvedSpec, rank: int) -> torch.device:
    """Returns the device of a process of a run: the first one's is the resolved spec's, the others follow.

    Args:
        resolved: the run's.
        rank: of the process.
    """
    device = torch.device(resolved.device)
    return device if device.type == "cpu" else torch.device(device.type, (device.index or 0) + rank)


def class_weights(spec: RunSpec, store: Store, device: torch.device) -> torch.Tensor | None:
    """Returns the weights of the classes in every cross-entropy: inverse to their training clips, 1 on average.

    Args:
        spec: the run's.
        store: the prepared data.
        device: where to put them.

    Returns:
        (C,) float32; 0 for a class without training clips; None where all weigh the same.
    """
    if spec.class_weights == "none":
        return None
    counts = np.bincount(np.asarray(store.labels)[store.indices("train")], minlength=len(store.classes))
    weights = np.divide(counts.sum(), len(counts) * counts, out=np.zeros(len(counts)), where=counts > 0)
    return torch.from_numpy(weights).float().to(device)


def check_sources(spec: RunSpec, sources: Mapping[str, EarlierRun], store: Store) -> None:
    """Returns nothing where the earlier runs that an objective builds on are there and fit its data.

    Raises:
        TrainingError: one is missing, knows other classes or reads clips in another way.
    """
    for name, run_id in spec.objective.source_runs().items():
        run = sources.get(name)
        if run is None:
            raise TrainingError(f"The earlier run {run_id} ({name}) was not given.", code="source-run-missing")
        if run.classes != tuple(store.classes) or run.preprocess != store.spec:
            raise TrainingError(
                f"The earlier run {run_id} ({name}) was trained on other classes or with another preprocessing; "
                "name a run on the same dataset.",
                code="source-run-unfit",
            )
        if not run.reads_like(spec.encoder):
            raise TrainingError(
                f"The earlier run {run_id} ({name}) reads {run.encoder.reads} by its encoder {run.encoder.kind!r}, "
                f"this one reads {spec.encoder.reads}: both must read clips, or the same precomputed features.",
                code="source-run-unfit",
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
    if resolved.device.startswith("cuda") and not torch.cuda.is_available():
        raise TrainingError(
            f"The run is resolved to the device {resolved.device!r}, this worker has none: "
            "start a worker with a GPU, or launch the run anew with device cpu.",
            code="device-missing",
        )
    num_gpus = torch.cuda.device_count() if resolved.device.startswith("cuda") else None
    if num_gpus is not None and device_of(resolved, spec.num_processes - 1).index >= num_gpus:
        raise TrainingError(
            f"num_processes is {spec.num_processes}, each on a GPU of its own, and this worker has {num_gpus}: lower "
            "num_processes, start a worker with more GPUs (GAPSCOPE_DEVICES), or choose device cpu.",
            code="device-missing",
        )
    if store.digest != resolved.store_digest:
        raise TrainingError(
            f"The run was begun on a store with the digest {resolved.store_digest}, the store now has {store.digest}: "
            "launch it anew to train on the new data.",
            code="store-changed",
        )


def check_world(spec: RunSpec, world: World) -> None:
    """Returns nothing where as many processes came together as the spec asks for.

    Raises:
        TrainingError: more or fewer did.
    """
    if spec.num_processes != world.size:
        raise TrainingError(
            f"num_processes is {spec.num_processes}, and {world.size} came together: set it to {world.size}.",
            code="several-processes",
        )


def check_features(spec: RunSpec, resolved: ResolvedSpec, features: FeatureTable | None) -> None:
    """Returns nothing where the precomputed features are those that the run was begun on, or it reads none.

    Raises:
        TrainingError: they were not given, or are others.
    """
    if spec.encoder.reads != "features":
        return
    if features is None:
        raise TrainingError(
            f"The encoder {spec.encoder.kind!r} reads precomputed features, none were given.", code="features-missing"
        )
    if features.digest != resolved.features_digest:
        raise TrainingError(
            f"The run was begun on features with the digest {resolved.features_digest}, the files now give "
            f"{features.digest}: launch it anew to train on the new features.",
            code="features-changed",
        )


def fix_determinism(resolved: ResolvedSpec) -> None:
    """Fixes threads and algorithms of this process, so that the same steps give the same bits.

    Args:
        resolved: the run's.
    """
    torch.set_num_threads(max(1, resolved.threads // resolved.num_processes))
    on_gpu = resolved.device.startswith("cuda")
    if on_gpu:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when it starts
    # To the bit on a CPU; on a GPU an operation without a deterministic form warns and runs.
    torch.use_deterministic_algorithms(resolved.deterministic, warn_only=on_gpu)
    # Else every new tensor is filled with NaN first, a twelfth of a small network's step; nothing here reads such.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = not resolved.deterministic
