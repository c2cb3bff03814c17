"""Tables of a run that do not fit in an event: classes, confusion, correctness, flow, heat map, diagnosis."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from backend import analysis
from backend.analysis import ClassTable, Confusion, CorrectnessTable, Flow, Modality
from backend.dependencies import RunId, Services, Uses
from backend.diagnosis import Diagnosis, Evidence, diagnose
from backend.problems import documented
from backend.quality import fault_counts
from backend.run_jobs import require_folder
from backend.sample_map import SampleMap, sample_map
from backend.samples import SampleCondition, Split
from backend.spreads import spread
from worker.contract.errors import NotFoundError
from worker.contract.events import EpochFinished, SplitReport

router = APIRouter(prefix="/runs", tags=["samples"], responses=documented(404, 410))

Epoch = Annotated[int | None, Query(ge=1, le=10_000, description="Empty: the newest finished epoch.")]
InSplit = Annotated[Split, Query(description="The split whose samples count.")]


class HeatMap(BaseModel):
    """Histograms of the score gap, one row an epoch."""

    split: Split
    edges: list[float]
    epochs: list[int]
    counts: list[list[int]]


def _table(services: Services, run_id: str, epoch: int | None) -> tuple[int, Path]:
    return services.archive.table(run_id, epoch, services.tools.record("run", run_id).epoch)


def report_of(event: EpochFinished, split: Split) -> SplitReport | None:
    """Returns an epoch's report of one split; None where that split was not evaluated."""
    return {"train": event.train, "validation": event.validation, "test": event.test}[split]


@router.get("/{run_id}/classes", summary="Accuracy and gaps by class")
def read_classes(run_id: RunId, services: Uses, epoch: Epoch = None, split: InSplit = "validation") -> ClassTable:
    """Accuracy by modality, mean gap and dominant samples of each class."""
    chosen, table = _table(services, run_id, epoch)
    return analysis.class_table(services.tables, table, chosen, split)


@router.get("/{run_id}/confusion", summary="Confusion matrix")
def read_confusion(
    run_id: RunId,
    services: Uses,
    epoch: Epoch = None,
    split: InSplit = "validation",
    modality: Annotated[Modality, Query(description="Whose prediction.")] = "fused",
) -> Confusion:
    """True class (row) against predicted class (column)."""
    chosen, table = _table(services, run_id, epoch)
    return analysis.confusion(services.tables, table, chosen, split, modality)


class CubeFilter(SampleCondition):
    """Whose correctness is counted: by default the validation split's."""

    split: Split | None = Field("validation", description="The split whose samples count.")


@router.get("/{run_id}/cube", summary="Right and wrong by fused, audio and visual prediction")
def read_cube(run_id: RunId, wanted: Annotated[CubeFilter, Query()], services: Uses) -> CorrectnessTable:
    """The 2 x 2 x 2 table of correctness of the samples that pass a filter; empty cells are left out."""
    record = services.tools.record("run", run_id)
    epoch, table = services.archive.table(run_id, wanted.epoch, record.epoch)
    source, where = services.queries.query(record, epoch, table, wanted)
    return analysis.correctness_table(services.tables, source, where, epoch, wanted.split)


@router.get("/{run_id}/map", summary="Mean score gap against its spread over epochs")
def read_map(
    run_id: RunId,
    services: Uses,
    epoch: Epoch = None,
    over_from: Annotated[int, Query(ge=1, le=10_000, description="The first epoch that counts.")] = 1,
    split: InSplit = "validation",
) -> SampleMap:
    """Each clip by mean and standard deviation of its gap over the epochs `over_from` to `epoch`."""
    record = services.tools.record("run", run_id)
    last = record.epoch if epoch is None else epoch
    if not 1 <= last <= record.epoch:
        have = f"It has finished {record.epoch}." if record.epoch else "It has finished none yet."
        raise NotFoundError(f"Run {run_id} has no epoch {last}. {have}", code="epoch-not-found")
    clips = services.stores.require(record.facts.dataset_id)
    facts = services.stores.facts(record.facts.dataset_id)
    found = spread(services.home.run(run_id), facts.num_samples if facts else 0, over_from, last)
    return sample_map(services.tables, clips, found, split)


@router.get("/{run_id}/flow", summary="How samples moved between groups")
def read_flow(
    run_id: RunId,
    services: Uses,
    from_epoch: Annotated[int, Query(alias="from", ge=1, le=10_000, description="The earlier epoch.")] = 1,
    to_epoch: Annotated[
        int | None, Query(alias="to", ge=1, le=10_000, description="The later epoch; empty: the newest.")
    ] = None,
    split: InSplit = "train",
) -> Flow:
    """Samples that went from one group (similar, audio-dominant, visual-dominant) to another between two epochs."""
    return analysis.flow(
        services.tables, _table(services, run_id, from_epoch), _table(services, run_id, to_epoch), split
    )


@router.get("/{run_id}/heatmap", summary="Histograms of the gap over epochs")
def read_heatmap(run_id: RunId, services: Uses, split: InSplit = "validation") -> HeatMap:
    """One histogram of the score gap an epoch; epochs without one are left out."""
    require_folder(services.tools, run_id)
    found = []
    for event in services.events.epochs(run_id):
        report = report_of(event, split)
        if report is not None and report.histogram is not None:
            found.append((event.epoch, report.histogram))
    return HeatMap(
        split=split,
        edges=found[0][1].edges if found else [],
        epochs=[epoch for epoch, _ in found],
        counts=[histogram.counts for _, histogram in found],
    )


@router.get("/{run_id}/diagnosis", summary="What can be said of a run, in sentences with their counts")
def read_diagnosis(run_id: RunId, services: Uses, epoch: Epoch = None, split: InSplit = "validation") -> Diagnosis:
    """Sentences about one epoch, each with numerator, denominator and split; none says why."""
    chosen, table = _table(services, run_id, epoch)
    event = services.events.epoch(run_id, chosen)
    record = services.tools.record("run", run_id)
    result = record.run_result()
    report = report_of(event, split) if event is not None else None
    if split == "test" and report is None and result is not None and result.last.epoch == chosen:
        report = result.last.test
    if event is None or report is None:
        raise NotFoundError(f"Epoch {chosen} of run {run_id} has no report of its {split} split.", code="no-report")
    classes = analysis.class_table(services.tables, table, chosen, split)
    source = services.stores.with_quality(table, record.facts.dataset_id)
    evidence = Evidence(
        probes=result.probes if result else None,
        faults=fault_counts(services.tables, source, split),
        quality=services.stores.quality(record.facts.dataset_id),
    )
    return diagnose(event, report, split, classes, evidence)
