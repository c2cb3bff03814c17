"""Writes a home with one finished run of any size: `python -m tests.bench.big_run HOME --samples 100000 --epochs 200`.

The clips are invented, all else is as a worker leaves it: the product's own reports, tables, trajectories and journal.
Serve it with `gapscope up --home HOME`; Redis must know nothing of the home yet, then the API reads the run from disk.
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tests.bench.big_store import big_store
from worker.contract.events import ChosenTest, EpochFinished, GradientShare, Probes, RunFinished, RunResult, RunStarted
from worker.contract.events import TestAt as SplitAt
from worker.contract.journal import Journal
from worker.contract.layout import Home, new_id, write_json
from worker.contract.record import Outcome
from worker.contract.spec import Folder, RunSpec, apply_preset
from worker.contract.spec.preprocess import PreprocessSpec
from worker.datasets.store import PreparedStore
from worker.engine.evaluate import sample_columns, split_mixtures, split_report
from worker.runtime.tables import SampleFiles
from worker.runtime.thinning import thin_tables

GIB = 1 << 30
FITTED = 2_000
"""Gaps that a mixture is fitted to: the run is to be large, not exact."""
WARM_UP_SHARE = 0.25
SMALL_CLIP = PreprocessSpec(frame_size=32, crop_size=32, num_frames=1, duration_s=0.5)


def write_big_run(
    home: Home, num_samples: int, epochs: int, *, max_bytes: int = 2 * GIB, seed: int = 0, dataset_id: str = ""
) -> str:
    """Writes a finished run, and its dataset where the home lacks it; returns the run's id.

    Args:
        home: where; made where it is missing.
        num_samples: N clips: 60 % train, 20 % validation, 20 % test.
        epochs: finished epochs.
        max_bytes: of the per-epoch tables; older ones are thinned out beyond it, as in training.
        seed: of the scores.
        dataset_id: by default named after the size.
    """
    home.create()
    dataset_id = dataset_id or f"big-{num_samples}"
    store = _dataset(home, dataset_id, num_samples)
    run_id = new_id("run")
    folder = home.run(run_id)
    for path in (folder.samples, folder.checkpoints):
        path.mkdir(parents=True)
    spec = RunSpec.model_validate(
        apply_preset(
            {"preset": "demo", "epochs": epochs, "seed": seed, "name": dataset_id, "dataset": {"id": dataset_id}}
        )
    )
    created = datetime.now(UTC).isoformat()
    write_json(folder.spec, {"format": 1, "id": run_id, "created_at": created, "spec": spec.model_dump(mode="json")})
    journal = Journal.open(folder, run_id=run_id, token=1, attempt=1, ledger=None)
    split = _places(store)
    journal.append(
        RunStarted(
            epochs=epochs,
            num_train=len(split["train"]),
            num_validation=len(split["validation"]),
            num_test=len(split["test"]),
            classes=list(store.classes),
            device="cpu",
        )
    )
    files, scores = SampleFiles(folder, store), InventedScores(store.labels, len(store.classes), seed)
    for epoch in range(1, epochs + 1):
        event, last = _epoch(files, scores, split, epoch, epochs)
        journal.append(event)
        if epoch % 20 == 0 or epoch == epochs:
            thin_tables(folder, newest=epoch, chosen=None, max_bytes=max_bytes)
    test = SplitAt(epoch=epochs, test=last)
    chosen = ChosenTest(epoch=epochs, test=last, by="last")
    journal.append(RunFinished(result=RunResult(last=test, chosen=chosen, probes=Probes(audio=0.5, visual=0.6))))
    journal.close()
    Outcome.now("finished").write(folder.outcome)
    return run_id


def _dataset(home: Home, dataset_id: str, num_samples: int) -> PreparedStore:
    folder = home.dataset(dataset_id)
    if folder.outcome.exists():
        return PreparedStore.open(folder.store)
    folder.clips.mkdir(parents=True)
    store = big_store(folder.store, num_samples, SMALL_CLIP)
    spec = Folder(path=str(folder.clips)).model_dump(mode="json")
    write_json(folder.spec, {"format": 1, "id": dataset_id, "created_at": datetime.now(UTC).isoformat(), "spec": spec})
    Outcome.now("finished").write(folder.outcome)
    return store


def _places(store: PreparedStore) -> dict[str, NDArray[np.int64]]:
    names = np.asarray(store.splits())
    return {name: np.flatnonzero(names == name) for name in ("train", "validation", "test")}


class InventedScores:
    """Scores of N clips that change over the epochs: most learn, some lean on one modality, a few stay wrong."""

    def __init__(self, labels: NDArray[np.int64], num_classes: int, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self.labels, self.num_classes = labels, num_classes
        count = len(labels)
        kinds = self._random.choice(4, count, p=(0.45, 0.25, 0.2, 0.1))  # both, visual leads, audio leads, neither
        goal = np.array([[2.5, 2.2], [-2.0, 3.0], [3.0, -1.5], [-2.0, -2.0]], np.float32)[kinds]
        self._goal = goal + self._random.normal(0, 0.8, (count, 2)).astype(np.float32)
        self._pace = self._random.uniform(0.03, 0.3, (count, 1)).astype(np.float32)
        self._restless = self._random.gamma(1.5, 0.35, (count, 1)).astype(np.float32)

    def at(self, epoch: int) -> dict[str, NDArray[np.generic]]:
        """Returns the columns of all N clips at an epoch, as a RowTable gives them."""
        count = len(self.labels)
        learnt = 1 - np.exp(-self._pace * epoch)
        noise = self._random.standard_normal((count, 2), np.float32) * self._restless
        logits = -2 + (self._goal + 2) * learnt + noise
        both = np.concatenate([logits.max(axis=1, keepdims=True) + 0.3, logits], axis=1)
        p_true = (1 / (1 + np.exp(-both))).astype(np.float32)
        wrong = (self.labels + 1 + self._random.integers(0, self.num_classes - 1, count)) % self.num_classes
        predicted = np.where(p_true > 0.5, self.labels[:, None], wrong[:, None]).astype(np.int32)
        return {
            "p_true": p_true,
            "confidence": np.maximum(p_true, 1 - p_true),
            "predicted": predicted,
            "gap": p_true[:, 1] - p_true[:, 2],
            "loss_weight": np.ones(count, np.float32),
        }


def _epoch(
    files: SampleFiles, scores: InventedScores, split: dict[str, NDArray[np.int64]], epoch: int, epochs: int
) -> tuple[EpochFinished, Any]:
    """Writes an epoch; returns its event and the report of the test split, which only the last epoch has."""
    columns = scores.at(epoch)
    labels, classes = scores.labels, scores.num_classes
    names = ["train", "validation", "test"] if epoch == epochs else ["train", "validation"]
    reports, mixture = {}, None
    for name in names:
        mine = {key: values[split[name]] for key, values in columns.items()}
        fits = split_mixtures(mine["gap"][:FITTED], seed=0, previous=None, where=name)
        mixture = fits.paper.parameters if name == "train" else mixture
        reports[name] = split_report(mine, labels[split[name]], classes, source="head", mixtures=fits)
    rows = np.sort(np.concatenate([split[name] for name in names]))
    here = {key: values[rows] for key, values in columns.items()}
    table = sample_columns(here, labels[rows], mixture)
    whole = {name: np.full(len(labels), np.nan, np.float32) for name in ("gap", "posterior_imbalanced")}
    for name, values in whole.items():
        values[rows] = table[name]
    files.write_epoch(epoch, rows, table, whole["gap"], whole["posterior_imbalanced"])
    stage: Literal["warm-up", "adaptive"] = "warm-up" if epoch <= WARM_UP_SHARE * epochs else "adaptive"
    event = EpochFinished(
        epoch=epoch,
        stage=stage,
        seconds=10.0,
        samples_per_s=len(split["train"]) / 10,
        learning_rate=0.002,
        loss_terms={"fused": 1.0 / epoch},
        gradient_share=GradientShare(audio=0.2, visual=0.5, fusion=0.3),
        method={"posterior": "paper"},
        train=reports["train"],
        validation=reports["validation"],
    )
    return event, reports.get("test")


def main() -> None:
    """Writes the run that the command line asks for and prints its id."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("home", type=Path)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--max-bytes", type=int, default=2 * GIB, help="of the tables, which are thinned beyond it")
    asked = parser.parse_args()
    made = write_big_run(Home(asked.home.resolve()), asked.samples, asked.epochs, max_bytes=asked.max_bytes)
    print(made)  # noqa: T201


if __name__ == "__main__":
    main()
