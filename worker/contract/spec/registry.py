"""Every choosable component by category and kind: the built-in ones and those of other packages.

Another package adds its own through the entry-point group `gapscope.specs`: each entry point names a spec class. A
plug-in that cannot be loaded is remembered in `BROKEN_PLUGINS` with its reason and harms nothing else.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Annotated, Any, TypeVar, Union

from pydantic import Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema

from worker.contract.spec.base import Component
from worker.contract.spec.datasets import AvDigits, DatasetSpec, Folder, Manifest
from worker.contract.spec.model import Concat, EncoderSpec, FusionSpec, ResNet18, SmallCnn
from worker.contract.spec.objectives import GmmAdaptive, Joint, MultiHead, ObjectiveSpec
from worker.contract.spec.training import AdamW, Constant, Cosine, OptimizerSpec, ScheduleSpec, Sgd, Step

C = TypeVar("C", bound=Component)

DATASETS: dict[str, type[DatasetSpec]] = {"av-digits": AvDigits, "folder": Folder, "manifest": Manifest}
ENCODERS: dict[str, type[EncoderSpec]] = {"small-cnn": SmallCnn, "resnet18": ResNet18}
FUSIONS: dict[str, type[FusionSpec]] = {"concat": Concat}
OBJECTIVES: dict[str, type[ObjectiveSpec]] = {
    "joint": Joint,
    "multi-head": MultiHead,
    "gmm-adaptive": GmmAdaptive,
}
OPTIMIZERS: dict[str, type[OptimizerSpec]] = {"sgd": Sgd, "adamw": AdamW}
SCHEDULES: dict[str, type[ScheduleSpec]] = {"constant": Constant, "cosine": Cosine, "step": Step}

PLUGIN_GROUP = "gapscope.specs"
BROKEN_PLUGINS: dict[str, str] = {}
"""Name of the entry point -> why it could not be used."""

_CATEGORIES: list[tuple[type[Component], dict[str, Any]]] = [
    (DatasetSpec, DATASETS),
    (EncoderSpec, ENCODERS),
    (FusionSpec, FUSIONS),
    (ObjectiveSpec, OBJECTIVES),
    (OptimizerSpec, OPTIMIZERS),
    (ScheduleSpec, SCHEDULES),
]


def register(spec: type[Component]) -> None:
    """Adds a component to the registry of its category.

    Args:
        spec: a subclass of one of the category specs, with a default for `kind`.

    Raises:
        TypeError: when the class belongs to no category.
        ValueError: when its kind is taken by another class.
    """
    for base, registry in _CATEGORIES:
        if issubclass(spec, base):
            kind = spec.model_fields["kind"].default
            if registry.get(kind, spec) is not spec:
                raise ValueError(f"kind {kind!r} is taken by {registry[kind].__module__}")
            registry[kind] = spec
            return
    raise TypeError(f"{spec!r} is no dataset, encoder, fusion, objective, optimizer or schedule spec")


def _load_plugins() -> None:
    for point in entry_points(group=PLUGIN_GROUP):
        try:
            register(point.load())
        except Exception as error:  # whatever another package does wrong is reported by name and stops nobody
            BROKEN_PLUGINS[point.name] = f"{type(error).__name__}: {error}"


class OneOf:
    """Annotates a field as "one of the registered specs, told apart by `kind`"."""

    def __init__(self, registry: dict[str, type[C]]) -> None:
        self._registry = registry

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Builds the union of what is registered at this moment."""
        members = tuple(self._registry.values())
        if len(members) == 1:
            return handler.generate_schema(members[0])
        return handler.generate_schema(Annotated[Union[members], Field(discriminator="kind")])  # noqa: UP007


_load_plugins()
