"""From a trainer to a snapshot and back: everything as tensors by dotted name, and a JSON record.

Names: model.*, optimizer.<parameter>.<key>, probes.<parameter>.<key>, objective.*, progress.*, chosen.*, rng.*,
gaps.train.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from worker.contract import events
from worker.contract.errors import CorruptRecordError
from worker.contract.spec import RunSpec
from worker.engine.assembly import Assembly
from worker.engine.evaluate import mixture_fit, mixture_record
from worker.engine.progress import EpochProgress
from worker.engine.state import Chosen, RunState
from worker.engine.steps import Snapshot
from worker.science.mixture import MixtureFit, MixturePair


def take(parts: Assembly, state: RunState, generator: torch.Generator) -> Snapshot:
    """Returns a snapshot: CPU copies that training does not change.

    Args:
        parts: of the trainer.
        state: of the trainer, at a resumable step or at the end of an epoch.
        generator: the objective's random stream.
    """
    objective = parts.objective.state()
    tensors: dict[str, Tensor] = {f"model.{name}": value for name, value in parts.model.state_dict().items()}
    tensors |= _optimizer_tensors("optimizer", parts.optimizer, parts.model)
    if parts.probe_optimizer is not None:
        tensors |= _optimizer_tensors("probes", parts.probe_optimizer, parts.model)
    tensors |= {f"objective.{name}": value for name, value in objective.items() if isinstance(value, Tensor)}
    tensors["rng.torch"] = torch.get_rng_state()
    if parts.device.type == "cuda":  # dropout draws there
        tensors["rng.cuda"] = torch.cuda.get_rng_state(parts.device)
    tensors["rng.objective"] = generator.get_state()
    if state.train_gaps is not None:
        tensors["gaps.train"] = torch.from_numpy(state.train_gaps)
    if state.train_correct is not None:
        tensors["correct.train"] = torch.from_numpy(state.train_correct)
    if state.progress is not None:
        tensors |= {f"progress.{name}": value for name, value in state.progress.tensors().items()}
    chosen = state.chosen
    if chosen is not None and chosen.weights is not None and not _is_here(state):
        tensors |= {f"chosen.{name}": value for name, value in chosen.weights.items()}
    return Snapshot(
        epoch=state.finished,
        step=0 if state.progress is None else state.progress.step,
        tensors={name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()},
        record=_record(parts, state, objective),
    )


def unimodal_source(parts: Assembly) -> events.UnimodalSource:
    """Returns what the unimodal scores of a run come from."""
    if len(parts.model.modalities) == 1:
        return "solo"
    return "head" if parts.objective.trains_heads else "probe"


def _is_here(state: RunState) -> bool:
    """Returns whether the model's weights are those of the chosen epoch, so that they need not be kept twice."""
    return state.chosen is not None and state.progress is None and state.chosen.epoch == state.finished


def _record(parts: Assembly, state: RunState, objective: Mapping[str, object]) -> dict[str, object]:
    """Returns the JSON part: with it and the tensors alone a model can be rebuilt and used."""
    chosen = state.chosen
    record: dict[str, object] = {
        "spec": parts.spec.model_dump(mode="json"),
        "resolved_spec": parts.resolved.model_dump(mode="json"),
        "preprocess": parts.store.spec.model_dump(mode="json"),
        "classes": list(parts.store.classes),
        "unimodal_source": unimodal_source(parts),
        "mixtures": {split: _pair_record(pair) for split, pair in state.mixtures.items()},
        "event": None if state.event is None else state.event.model_dump(mode="json"),
        "objective": {name: value for name, value in objective.items() if not isinstance(value, Tensor)},
        "best_figure": state.best_figure,
        "stale_epochs": state.stale_epochs,
        "progress": None if state.progress is None else state.progress.record(),
        "chosen": None
        if chosen is None
        else {
            "epoch": chosen.epoch,
            "accuracy": chosen.accuracy,
            "report": None if chosen.report is None else chosen.report.model_dump(mode="json"),
            "weights": chosen.weights is not None,
        },
    }
    # A copy through JSON: nothing in it changes when training goes on, and what is no JSON fails here.
    copied: dict[str, object] = json.loads(json.dumps(record, allow_nan=False))
    return copied


def restore(parts: Assembly, state: RunState, generator: torch.Generator, snapshot: Snapshot) -> None:
    """Puts model, optimizers, objective and state where a snapshot was taken.

    Args:
        parts: a new assembly of the same spec.
        state: to fill.
        generator: the objective's random stream.
        snapshot: of the run.

    Raises:
        CorruptRecordError: something is missing, or belongs to another run.
    """
    try:
        _restore(parts, state, generator, snapshot)
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        raise CorruptRecordError(f"The snapshot does not fit the run ({error}): use an earlier one.") from error


def _restore(parts: Assembly, state: RunState, generator: torch.Generator, snapshot: Snapshot) -> None:
    """Does what `restore` says."""
    record = cast(dict[str, Any], snapshot.record)
    # As specs, not as their text: a field that a later version added has its default.
    if RunSpec.model_validate(record["spec"]) != parts.spec:
        raise ValueError("it was taken with another spec")
    parts.model.load_state_dict(_below(snapshot.tensors, "model."))
    _restore_optimizer(parts.optimizer, _below(snapshot.tensors, "optimizer."), parts.model)
    if parts.probe_optimizer is not None:
        _restore_optimizer(parts.probe_optimizer, _below(snapshot.tensors, "probes."), parts.model)
    parts.objective.restore({**record["objective"], **_below(snapshot.tensors, "objective.")})
    torch.set_rng_state(snapshot.tensors["rng.torch"])
    if parts.device.type == "cuda":
        torch.cuda.set_rng_state(snapshot.tensors["rng.cuda"], parts.device)
    generator.set_state(snapshot.tensors["rng.objective"])
    state.finished = snapshot.epoch
    state.best_figure, state.stale_epochs = record.get("best_figure"), record.get("stale_epochs", 0)
    state.mixtures = {split: _pair_of(pair) for split, pair in record["mixtures"].items()}
    gaps = snapshot.tensors.get("gaps.train")
    state.train_gaps = None if gaps is None else gaps.numpy()
    correct = snapshot.tensors.get("correct.train")
    state.train_correct = None if correct is None else correct.numpy()
    state.event = None if record["event"] is None else events.EpochFinished.model_validate(record["event"])
    if record["progress"] is not None:
        progress = _below(snapshot.tensors, "progress.")
        state.progress = EpochProgress.restore(progress, record["progress"], parts.device)
    if record["chosen"] is not None:
        saved = record["chosen"]
        weights = _below(snapshot.tensors, "chosen.") or _below(snapshot.tensors, "model.")
        state.chosen = Chosen(
            saved["epoch"],
            saved["accuracy"],
            None if saved["report"] is None else events.SplitReport.model_validate(saved["report"]),
            {name: value.to(parts.device) for name, value in weights.items()} if saved["weights"] else None,
        )


def _optimizer_tensors(prefix: str, optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """Returns an optimizer's state by parameter name. Built-in optimizers keep tensors alone."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        f"{prefix}.{names[id(parameter)]}.{key}": value
        for parameter, state in optimizer.state.items()
        for key, value in state.items()
        if isinstance(value, Tensor)
    }


def _restore_optimizer(optimizer: torch.optim.Optimizer, saved: Mapping[str, Tensor], model: nn.Module) -> None:
    """Takes back what `_optimizer_tensors` gave."""
    parameters = dict(model.named_parameters())
    # A fused optimizer counts its steps on the parameter's device, others on the CPU.
    fused = {id(p) for group in optimizer.param_groups if group.get("fused") for p in group["params"]}
    for dotted, value in saved.items():
        name, _, key = dotted.rpartition(".")
        parameter = parameters[name]
        # Not load_state_dict: it casts and copies by positions in groups, which names make needless.
        stays = key == "step" and id(parameter) not in fused
        own = value.clone() if stays else value.to(parameter.device).clone()
        if value.shape == parameter.shape:
            own = torch.empty_like(parameter).copy_(own)  # in the parameter's memory format
        optimizer.state[parameter][key] = own


def _pair_record(pair: MixturePair) -> dict[str, object]:
    """Returns both mixtures of a split as JSON, exactly."""
    return {name: _fit_record(fit) for name, fit in (("paper", pair.paper), ("signed", pair.signed))}


def _fit_record(fit: MixtureFit) -> dict[str, object]:
    """Returns a fit as JSON: the event's form and the one figure that it leaves out."""
    return {"mixture": mixture_record(fit).model_dump(mode="json"), "smaller_weight": float(fit.smaller_weight)}


def _pair_of(record: Mapping[str, Any]) -> MixturePair:
    """Returns what `_pair_record` recorded."""
    fits = [
        mixture_fit(events.Mixture.model_validate(record[name]["mixture"]), record[name]["smaller_weight"])
        for name in ("paper", "signed")
    ]
    return MixturePair(*fits)


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Returns copies of the tensors whose names begin with a prefix, by the rest of their names."""
    return {name.removeprefix(prefix): value.clone() for name, value in tensors.items() if name.startswith(prefix)}
