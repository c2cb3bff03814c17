"""What can be chosen: datasets, encoders, fusions, methods, optimizers, schedules and presets, with their schemas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from worker.contract.spec import PRESETS, Component, Preset, RunSpec
from worker.contract.spec.registry import (
    BROKEN_PLUGINS,
    DATASETS,
    ENCODERS,
    FUSIONS,
    OBJECTIVES,
    OPTIMIZERS,
    SCHEDULES,
)

router = APIRouter(tags=["catalog"])


class CatalogEntry(BaseModel):
    """A choosable part of a run."""

    title: str
    summary: str
    schema_: dict[str, Any] = Field(alias="schema", description="JSON schema of its spec.")
    evidence: str = Field(description='"formula tested" or "number reproduced".')


class Catalog(BaseModel):
    """Everything that can be chosen, by kind."""

    datasets: dict[str, CatalogEntry]
    encoders: dict[str, CatalogEntry]
    fusions: dict[str, CatalogEntry]
    objectives: dict[str, CatalogEntry]
    optimizers: dict[str, CatalogEntry]
    schedules: dict[str, CatalogEntry]
    presets: list[Preset]
    run_schema: dict[str, Any] = Field(description="JSON schema of a run's spec.")
    broken_plugins: dict[str, str] = Field(description="Plug-ins that could not be loaded, and why.")


def _entries(registry: Mapping[str, type[Component]]) -> dict[str, CatalogEntry]:
    return {
        kind: CatalogEntry(
            title=spec.title, summary=spec.summary, schema=spec.model_json_schema(), evidence=spec.evidence
        )
        for kind, spec in registry.items()
    }


@router.get("/catalog", summary="Everything that can be chosen, with JSON schemas")
def read_catalog() -> Catalog:
    """Datasets, encoders, fusions, methods, optimizers, schedules and presets."""
    return Catalog(
        datasets=_entries(DATASETS),
        encoders=_entries(ENCODERS),
        fusions=_entries(FUSIONS),
        objectives=_entries(OBJECTIVES),
        optimizers=_entries(OPTIMIZERS),
        schedules=_entries(SCHEDULES),
        presets=list(PRESETS),
        run_schema=RunSpec.model_json_schema(),
        broken_plugins=dict(BROKEN_PLUGINS),
    )
