"""Runs of any registered method on a tiny store in memory, through the real loop."""

from __future__ import annotations

import functools
from typing import Any

import torch

from tests.worker.memory_store import MemoryStore, resolved_spec, run_spec
from worker.contract.spec import AudioOnly, Joint, RunSpec, Sgd, VisualOnly
from worker.contract.spec.objectives import ObjectiveSpec
from worker.contract.spec.objectives.base import SOURCE_KEY
from worker.contract.spec.registry import OBJECTIVES
from worker.engine.assembly import Assembly, assemble
from worker.engine.sources import EarlierRun
from worker.engine.steps import EpochDone, RunDone, Snapshot, StepDone
from worker.engine.train import Trainer

ACTIVE: dict[str, dict[str, Any]] = {
    "gmm-adaptive": {"warm_up_epochs": 1, "purification": True, "purification_threshold": 0.9},
    "arl": {"warm_up_epochs": 1},
    "reconboost": {"stage_epochs": 1, "rectify_epochs": 1},
    "gmm-experts": {"warm_up_epochs": 1},
    "gmm-masking": {"warm_up_epochs": 1},
    "modality-dropout": {"warm_up_epochs": 0},
    "opm": {"first_epoch": 1},
    "sample-valuation": {"first_epoch": 1},
    "modality-valuation": {"first_epoch": 2, "strength": 5.0},
    "relearning": {"every_epochs": 1},
    "data-remix": {"warm_up_epochs": 1},
}
"""Fields with which a method acts by `ACTS_FROM` at the latest, where its defaults begin later."""
ACTS_FROM: dict[str, int] = {
    "data-remix": 2,
    "gmm-adaptive": 2,
    "gmm-experts": 2,
    "gmm-masking": 2,
    "modality-valuation": 2,
    "relearning": 2,
}
"""The first epoch in which a method trains otherwise than the one that it extends; else 1."""
NUM_EPOCHS = 3
SOURCES = {"audio-only": AudioOnly(), "visual-only": VisualOnly(), "joint": Joint()}


@functools.cache
def store() -> MemoryStore:
    return MemoryStore({"train": 65, "validation": 24, "test": 20})


@functools.cache
def earlier_run(kind: str) -> EarlierRun:
    """A finished run of a method that others build on."""
    parts = assemble(run_spec(objective=SOURCES[kind], epochs=NUM_EPOCHS), resolved_spec(), store())
    epochs = [step for step in Trainer(parts).run() if isinstance(step, EpochDone)]
    return EarlierRun(source_id(kind), epochs[-1].snapshot, [epoch.event for epoch in epochs])


def source_id(kind: str) -> str:
    return f"run-{kind.replace('-', '')}-1"


def source_fields(cls: type[ObjectiveSpec]) -> dict[str, str]:
    """Fields of a spec that name earlier runs -> the method of such a run."""
    return {
        name: str(field.json_schema_extra[SOURCE_KEY])
        for name, field in cls.model_fields.items()
        if isinstance(field.json_schema_extra, dict) and SOURCE_KEY in field.json_schema_extra
    }


def objective_spec(kind: str, **fields: Any) -> ObjectiveSpec:
    """The spec of a method, active early, with the earlier runs that it needs."""
    cls = OBJECTIVES[kind]
    named = {name: source_id(source) for name, source in source_fields(cls).items()}
    return cls(**{**ACTIVE.get(kind, {}), **named, **fields})


def parts_of(objective: ObjectiveSpec, on: MemoryStore | None = None, **fields: Any) -> Assembly:
    """A run's objects. SGD, under which scaled gradients are not divided away again."""
    spec: RunSpec = run_spec(**{"objective": objective, "epochs": NUM_EPOCHS, "optimizer": Sgd(), **fields})
    named = source_fields(type(objective))
    sources = {name: earlier_run(named[name]) for name in objective.source_runs()}
    return assemble(spec, resolved_spec(), on or store(), sources)


def finish(trainer: Trainer) -> tuple[list[EpochDone], RunDone]:
    steps = list(trainer.run())
    return [s for s in steps if isinstance(s, EpochDone)], next(s for s in steps if isinstance(s, RunDone))


@functools.cache
def undisturbed(kind: str) -> tuple[list[EpochDone], RunDone]:
    """The whole run of a method, computed once."""
    return finish(Trainer(parts_of(objective_spec(kind))))


def snapshot_at(parts: Assembly, epoch: int, step: int) -> Snapshot:
    """The state after some steps of an epoch, from 1."""
    trainer = Trainer(parts)
    run = trainer.run()
    for each in run:
        if isinstance(each, StepDone) and (each.epoch, each.step) == (epoch, step):
            snapshot = trainer.snapshot()
            run.close()
            return snapshot
    raise AssertionError(f"the run never came to step {step} of epoch {epoch}")


def weights(snapshot: Snapshot) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in snapshot.tensors.items() if name.startswith("model.")}


def trained_weights(snapshot: Snapshot) -> torch.Tensor:
    """The encoders' weights in one row: what a method is there to train."""
    return torch.cat([t.flatten().float() for name, t in weights(snapshot).items() if ".encoders." in f".{name}"])
