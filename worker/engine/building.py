"""From a spec to a model: the only place that imports what specs name, used by training, scoring and teachers alike.

Shapes: C classes.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import torch
import torch._functorch.config as functorch_config
from torch import Tensor, nn

from worker.contract.errors import CorruptRecordError, TrainingError
from worker.contract.spec import RunSpec
from worker.contract.spec.base import Component
from worker.engine.seeds import derive_seed
from worker.engine.steps import Snapshot
from worker.model import AudioVisualModel, EncoderPair
from worker.objectives.base import Objective

COMPILER = "inductor"


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


def build_model(spec: RunSpec, num_classes: int, objective: Objective | None = None) -> AudioVisualModel:
    """Returns the model of a spec with its first weights, on the CPU.

    Encoders, fusion and heads draw from streams of their own, so that none depends on the others.

    Args:
        spec: the run's.
        num_classes: C.
        objective: the run's, where it was made already; it may replace parts of the model.
    """
    objective = objective or cast(Objective, built(spec.objective))
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
    model = AudioVisualModel(encoders, fusion, heads, heads_are_probes=not objective.trains_heads)
    with _random_stream(spec.seed, "objective"):
        objective.adapt(model)
    return model


def branches(model: AudioVisualModel) -> dict[str, list[nn.Parameter]]:
    """Returns the parameters of a model by what they belong to; shared ones stand under each of their owners."""
    pair = cast(EncoderPair, model.encoders)
    parts = {"audio": pair.audio, "visual": pair.visual, "fusion": model.fusion, "heads": model.heads}
    return {name: list(part.parameters()) for name, part in parts.items()}


def compile_encoders(model: AudioVisualModel) -> None:
    """Lets torch compile both encoders at their first call, in place: names and weights stay as they are.

    Args:
        model: on its device, in its memory format.
    """
    # Several passes go backward through one forward (retain_graph), so what it kept may not be written over.
    functorch_config.donated_buffer = False
    pair = cast(EncoderPair, model.encoders)
    for encoder in (pair.audio, pair.visual):
        encoder.compile(backend=COMPILER)


@contextmanager
def _random_stream(seed: int, purpose: str) -> Iterator[None]:
    """Seeds torch's CPU generator for one purpose and gives it back as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "weights", purpose))
        yield


def rebuilt_model(snapshot: Snapshot, device: torch.device) -> AudioVisualModel:
    """Returns the model of a snapshot with its weights, in evaluation mode and float32.

    Args:
        snapshot: of an epoch.
        device: where to put it.

    Raises:
        CorruptRecordError: the snapshot is incomplete.
    """
    record = cast(Mapping[str, Any], snapshot.record)
    try:
        model = build_model(RunSpec.model_validate(record["spec"]), len(record["classes"]))
        weights: dict[str, Tensor] = {
            name.removeprefix("model."): value for name, value in snapshot.tensors.items() if name.startswith("model.")
        }
        model.load_state_dict(weights)
    except (KeyError, RuntimeError, ValueError) as error:
        raise CorruptRecordError(f"The checkpoint cannot be used ({error}): use another one.") from error
    return model.to(device).eval()
