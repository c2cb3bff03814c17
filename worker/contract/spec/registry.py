"""Every choosable component by category and kind: the built-in ones and those of other packages.

Another package adds its own through the entry-point group `gapscope.specs`: each entry point names a spec class. A
plug-in that cannot be loaded is remembered in `BROKEN_PLUGINS` with its reason and harms nothing else.
"""

from __future__ import annotations

import re
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated, Any, TypeVar, Union, cast, get_args

from pydantic import Field, GetCoreSchemaHandler, TypeAdapter
from pydantic_core import CoreSchema

from worker.contract.spec.base import Component
from worker.contract.spec.corpora import Ave, CremaD, KineticsSounds, VggSound
from worker.contract.spec.datasets import AvDigits, DatasetSpec, Folder, Manifest
from worker.contract.spec.model import (
    Concat,
    EncoderSpec,
    Film,
    FusionSpec,
    Gated,
    Precomputed,
    ResNet18,
    SmallCnn,
    Sum,
    Torchvision,
)
from worker.contract.spec.objectives import OBJECTIVE_SPECS, ObjectiveSpec
from worker.contract.spec.training import AdamW, Constant, Cosine, OptimizerSpec, ScheduleSpec, Sgd, Step

C = TypeVar("C", bound=Component)

DATASETS: dict[str, type[DatasetSpec]] = {
    "av-digits": AvDigits,
    "folder": Folder,
    "manifest": Manifest,
    "crema-d": CremaD,
    "ave": Ave,
    "kinetics-sounds": KineticsSounds,
    "vggsound": VggSound,
}
ENCODERS: dict[str, type[EncoderSpec]] = {
    "small-cnn": SmallCnn,
    "resnet18": ResNet18,
    "torchvision": Torchvision,
    "precomputed": Precomputed,
}
FUSIONS: dict[str, type[FusionSpec]] = {"concat": Concat, "sum": Sum, "gated": Gated, "film": Film}
OBJECTIVES: dict[str, type[ObjectiveSpec]] = {spec.model_fields["kind"].default: spec for spec in OBJECTIVE_SPECS}
OPTIMIZERS: dict[str, type[OptimizerSpec]] = {"sgd": Sgd, "adamw": AdamW}
SCHEDULES: dict[str, type[ScheduleSpec]] = {"constant": Constant, "cosine": Cosine, "step": Step}

PLUGIN_GROUP = "gapscope.specs"
BROKEN_PLUGINS: dict[str, str] = {}
"""Name of the entry point and its package -> why it could not be used."""
MAX_REASON = 1_000
_KIND = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_IMPLEMENTATION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")

_CATEGORIES: list[tuple[type[Component], dict[str, Any]]] = [
    (DatasetSpec, DATASETS),
    (EncoderSpec, ENCODERS),
    (FusionSpec, FUSIONS),
    (ObjectiveSpec, OBJECTIVES),
    (OptimizerSpec, OPTIMIZERS),
    (ScheduleSpec, SCHEDULES),
]


def register(spec: object) -> None:
    """Adds a component to the registry of its category; where it does not fit, the registry stays as it was.

    Args:
        spec: a subclass of one of the category specs, with a default for `kind`.

    Raises:
        TypeError: it is no class of a category, or lacks what the catalog shows.
        ValueError: its kind is taken by another class, or no kind.
        Exception: what pydantic raises when it can build no schema of it.
    """
    for base, registry in _CATEGORIES:
        if isinstance(spec, type) and issubclass(spec, base) and spec is not base:
            kind = _checked_kind(spec)
            if registry.get(kind, spec) is not spec:
                raise ValueError(f"kind {kind!r} is taken by {registry[kind].__module__}")
            before = dict(registry)
            registry[kind] = spec
            try:
                _build(spec, base, registry)
            except Exception:
                registry.clear()
                registry.update(before)
                raise
            return
    raise TypeError(f"{spec!r} is no dataset, encoder, fusion, objective, optimizer or schedule spec")


def _checked_kind(spec: type[Component]) -> str:
    for name in ("title", "summary", "implementation"):
        if not isinstance(getattr(spec, name, None), str):
            raise TypeError(f"{spec.__name__} needs a class variable {name!r} with a text")
    if not _IMPLEMENTATION.fullmatch(spec.implementation):
        raise ValueError(f"expected an implementation 'package.module:Name', got {spec.implementation!r}")
    field = spec.model_fields["kind"]
    if not isinstance(field.default, str) or get_args(field.annotation) != (field.default,):
        raise TypeError(f'{spec.__name__} needs a field kind: Literal["its-kind"] = "its-kind"')
    if not _KIND.fullmatch(field.default):
        raise ValueError(f"expected a kind of lower-case letters, digits and hyphens, got {field.default!r}")
    return field.default


def _build(spec: type[Component], base: type[Component], registry: dict[str, Any]) -> None:
    """Builds the schemas that the API builds; one member that pydantic cannot build would take all with it."""
    adapter: TypeAdapter[Any] = TypeAdapter(cast("Any", Annotated)[base, OneOf(registry)])
    for mode in ("validation", "serialization"):
        spec.model_json_schema(mode=mode)  # alone, too: a union leaves out what JSON cannot say
        adapter.json_schema(mode=mode)


def _load_plugins() -> None:
    for point in entry_points(group=PLUGIN_GROUP):
        try:
            register(point.load())
        except (Exception, SystemExit) as error:  # whatever another package does wrong stops nobody
            BROKEN_PLUGINS[_name_of(point)] = f"{type(error).__name__}: {error}"[:MAX_REASON]


def _name_of(point: EntryPoint) -> str:
    """Returns the name under which a broken plug-in is reported; two packages may use the same."""
    package = f"{point.dist.name} {point.dist.version}" if point.dist else "unknown package"
    return f"{point.name} ({package})"


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
