"""The weights of another run as the first ones of this run: taken from its snapshot, checked, loaded.

This module must not know files: who gives the snapshot reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, cast

from torch import Tensor, nn

from worker.contract.errors import TrainingError
from worker.contract.spec import RunSpec
from worker.engine.batches import Store
from worker.engine.steps import Snapshot


def start_of(snapshot: Snapshot, run_id: str, which: Literal["last", "chosen"]) -> Snapshot:
    """Returns what a run that starts from another one needs of its last snapshot: weights, and what they belong to.

    Args:
        snapshot: of the other run's last epoch.
        run_id: of the other run.
        which: its last epoch's weights, or those of the epoch that it chose by validation.

    Raises:
        TrainingError: it has not kept the weights of its chosen epoch.
    """
    record = cast(Mapping[str, Any], snapshot.record)
    chosen = record["chosen"]
    epoch, prefix = snapshot.epoch, "model."
    if which == "chosen" and chosen is not None and chosen["epoch"] != snapshot.epoch:
        epoch, prefix = int(chosen["epoch"]), "chosen."
    weights = {
        f"model.{name.removeprefix(prefix)}": value
        for name, value in snapshot.tensors.items()
        if name.startswith(prefix)
    }
    if not weights:
        raise TrainingError(
            f"The run {run_id} chose epoch {epoch}, whose weights it has not kept (protocol paper, or no test split): "
            "set start_weights to last.",
            code="start-run-unfit",
        )
    kept = {name: record[name] for name in ("spec", "classes", "preprocess")}
    return Snapshot(epoch, 0, weights, {"run_id": run_id, **kept})


def load_start(model: nn.Module, start: Snapshot | None, spec: RunSpec, store: Store) -> None:
    """Gives a new model the weights that its run starts from.

    Args:
        model: of the run, with other weights.
        start: see `start_of`; None only where the spec names no run.
        spec: of the run.
        store: its data.

    Raises:
        TrainingError: they are missing, or of another encoder, fusion, method's model, classes or preprocessing.
    """
    if spec.start_from is None:
        return
    if start is None:
        raise TrainingError(f"The weights of the run {spec.start_from} were not given.", code="start-run-missing")
    record = cast(Mapping[str, Any], start.record)
    other = RunSpec.model_validate(record["spec"])
    differs = [
        name
        for name, same in (
            ("encoder", other.encoder == spec.encoder),
            ("fusion", other.fusion == spec.fusion),
            ("classes", tuple(record["classes"]) == tuple(store.classes)),
            ("preprocessing", record["preprocess"] == store.spec.model_dump(mode="json")),
        )
        if not same
    ]
    if differs:
        raise TrainingError(
            f"This run starts from {spec.start_from}, which has another {' and another '.join(differs)}: use the same, "
            "or start from another run.",
            code="start-run-unfit",
        )
    weights: dict[str, Tensor] = {name.removeprefix("model."): value for name, value in start.tensors.items()}
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise TrainingError(
            f"The weights of {spec.start_from} (method {other.objective.kind!r}) do not fit the model of the method "
            f"{spec.objective.kind!r} ({error}): choose a method whose model is the same.",
            code="start-run-unfit",
        ) from error
