"""Planted corruption (method.md): does the signed gap find it, on the test split, by stage and seed; is r calibrated?

Under protocol paper the test split is evaluated each epoch, so both stages can be read; the training is that of the
demo's preset. The posterior is that of the training mixture at the same epoch.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from frontend.leaderboard.planted import PlantedReport, PlantedSample, planted_report, pooled
from tests.bench.figure import Figure
from worker.contract.spec import PRESETS
from worker.datasets.prepare import prepare
from worker.datasets.store import PreparedStore
from worker.engine.assembly import assemble
from worker.engine.resolve import resolve
from worker.engine.steps import EpochDone
from worker.engine.train import Trainer

SEEDS = range(5)
TARGET = 0.7
STAGES = {"warm-up": "stage 1", "adaptive": "stage 2"}


def measure() -> list[Figure]:
    """Returns the AUCs of each stage and seed, and the reliability of the posterior over all seeds."""
    figures: list[Figure] = []
    by_stage: dict[str, list[PlantedReport]] = {stage: [] for stage in STAGES}
    with tempfile.TemporaryDirectory() as folder:
        dataset = PRESETS[0].spec.dataset
        prepare(dataset, Path(folder), num_processes=2)
        store = PreparedStore.open(Path(folder) / "store")
        for seed in SEEDS:
            for stage, report in _run(store, seed).items():
                by_stage[stage].append(report)
                figures.append(_figure(f"{STAGES[stage]}, seed {seed}", report))
    for stage, reports in by_stage.items():
        bins = [one for one in pooled(reports) if one.num_samples]
        words = "; ".join(
            f"{one.low:.1f} to {one.high:.1f}: {one.share_corrupted:.1%} of {one.num_samples}" for one in bins
        )
        figures.append(Figure(f"{STAGES[stage]}: share corrupted by r, all seeds", words))
    return figures


def _run(store: PreparedStore, seed: int) -> dict[str, PlantedReport]:
    """Returns what the last epoch of each stage shows on the test split."""
    preset = PRESETS[0].spec
    dataset = preset.dataset.model_copy(update={"protocol": "paper"})
    spec = preset.model_copy(update={"seed": seed, "dataset": dataset})
    resolved = resolve(spec, dataset_id="bench", store_digest=store.digest, preprocess=store.spec)
    rows = store.indices("test")
    corrupted = [store.notes(int(row))["corrupted"] for row in rows]
    found: dict[str, PlantedReport] = {}
    for step in Trainer(assemble(spec, resolved, store)).run():
        if isinstance(step, EpochDone):
            pairs = zip(corrupted, step.gaps[rows], step.posteriors[rows], strict=True)
            report = planted_report(PlantedSample(kind, _known(gap), _known(r)) for kind, gap, r in pairs)
            assert report is not None, "the built-in data has corrupted clips"
            found[step.event.stage] = report
    return found


def _known(value: np.float32) -> float | None:
    return None if np.isnan(value) else float(value)


def _figure(what: str, report: PlantedReport) -> Figure:
    assert report.auc_audio is not None
    assert report.auc_visual is not None
    groups = ", ".join(
        f"{name} r {report.mean_posterior[name]:.2f} abs. gap {report.mean_abs_gap[name]:.2f}"
        for name in ("none", "audio", "visual")
    )
    aucs = f"AUC of -g, audio-corrupted: {report.auc_audio:.2f}; of +g, visual-corrupted: {report.auc_visual:.2f}"
    reached = min(report.auc_audio, report.auc_visual) > TARGET
    return Figure(what, f"{aucs}; {groups}", f"both > {TARGET}", reached)
