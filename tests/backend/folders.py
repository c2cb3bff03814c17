"""Writes homes as a worker leaves them: datasets, runs with real Parquet tables, events and trajectories."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from worker.contract.events import (
    ByModality,
    ChosenTest,
    Component,
    Correctness,
    EpochFinished,
    Event,
    GradientShare,
    Histogram,
    Mixture,
    Probes,
    RunFinished,
    RunResult,
    RunStarted,
    SplitReport,
    TestAt,
)
from worker.contract.layout import SAMPLE_COLUMNS, Home, RunFolder, new_id, write_json
from worker.contract.record import Outcome
from worker.contract.spec import Folder, RunSpec, apply_preset
from worker.contract.spec.preprocess import PreprocessSpec

STORE_SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()), ("label", pa.dictionary(pa.int32(), pa.string())), ("label_index", pa.int32()),
        ("split", pa.dictionary(pa.int8(), pa.string())), ("group", pa.string()), ("row", pa.int64()),
        ("path", pa.string()), ("audio_path", pa.string()), ("has_audio", pa.bool_()), ("has_visual", pa.bool_()),
        ("duration_s", pa.float32()), ("start_s", pa.float32()), ("padded", pa.bool_()), ("width", pa.int32()),
        ("height", pa.int32()), ("frames_per_s", pa.float32()), ("sample_rate_hz", pa.int32()),
        ("notes", pa.string()),
    ]
)  # fmt: skip
"""Columns of worker.datasets.store, spelt again: the API must read what lies on the disk."""

CLASSES = ("cat", "dog", "=emu")
START = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)


def sample_ids(count: int) -> list[str]:
    """Returns the ids of the dataset's clips, in the store's order."""
    return [f"clip-{index:06d}" for index in range(count)]


def splits_of(count: int) -> list[str]:
    """Returns the split of each clip: half train, a quarter validation, a quarter test."""
    return [("train", "train", "validation", "test")[index % 4] for index in range(count)]


def sample_table(count: int, epoch: int, seed: int = 0, only: str | None = None) -> pa.Table:
    """Returns one epoch's table: probabilities drawn, all else computed from them; no gap every 50th clip.

    Of a run on one modality (`only`) gaps and the columns of the other modality are null, as its worker writes them.
    """
    random = np.random.default_rng([seed, epoch])
    labels = np.array(CLASSES)[np.arange(count) % 3]
    p_true = {name: random.random(count).astype(np.float32) for name in ("fused", "audio", "visual")}
    gap = p_true["audio"] - p_true["visual"]
    no_gap = (np.arange(count) % 50 == 49) | (only is not None)
    columns: dict[str, Any] = {
        "sample_id": pa.array(sample_ids(count)),
        "split": pa.array(splits_of(count)).dictionary_encode(),
        "label": pa.array(labels).dictionary_encode(),
        "gap": pa.array(gap, mask=no_gap),
        "posterior_imbalanced": pa.array(np.abs(gap), mask=no_gap),
        "loss_weight": pa.array(np.ones(count, np.float32)),
    }
    if only is not None:
        p_true["fused"] = p_true[only]
    for name, values in p_true.items():
        if only not in (None, name) and name != "fused":
            columns[f"p_true_{name}"] = pa.nulls(count, pa.float32())
            columns[f"predicted_{name}"] = pa.nulls(count, pa.dictionary(pa.int32(), pa.string()))
            columns[f"{name}_correct"] = pa.nulls(count, pa.bool_())
            continue
        columns[f"p_true_{name}"] = pa.array(values)
        wrong = np.array(CLASSES)[(np.arange(count) + 1) % 3]
        columns[f"predicted_{name}"] = pa.array(np.where(values > 0.5, labels, wrong)).dictionary_encode()
        columns[f"{name}_correct"] = pa.array(values > 0.5)
    return pa.table({name: columns[name] for name in SAMPLE_COLUMNS})


def report(table: pa.Table, split: str, only: str | None = None) -> SplitReport:
    """Returns a split's report, counted from the table; of a run on one modality (`only`) what needs gaps is null."""
    rows = [row for row in table.to_pylist() if row["split"] == split]
    if only is not None:
        right = float(np.mean([row["fused_correct"] for row in rows]))
        figures = ByModality(**{"fused": right, "audio": None, "visual": None, only: right})
        gapless = ("mean_gap", "mean_abs_gap", "histogram", "correctness", "mixture", "signed_mixture")
        return SplitReport(
            num_samples=len(rows),
            unimodal_source="solo",
            accuracy=figures,
            macro_f1=figures,
            expected_calibration_error=figures,
            cross_entropy=figures,
            **dict.fromkeys(gapless),
        )
    gaps = np.array([row["gap"] for row in rows if row["gap"] is not None])
    counts, edges = np.histogram(gaps, bins=80, range=(-1, 1))
    means = {name: float(np.mean([row[f"{name}_correct"] for row in rows])) for name in ("fused", "audio", "visual")}
    dominant = np.abs(gaps) >= 0.5
    by_modality = ByModality(**means)
    mixture = Mixture(
        components=[
            Component(role="balanced", weight=0.6, mean=0.0, variance=0.04),
            Component(role="imbalanced", weight=0.4, mean=-0.7, variance=0.02),
        ],
        bic={"1": 30.0, "2": 10.0, "3": 12.0},
        ashman_d=4.0,
        num_modes=2,
        bimodal=True,
        converged=True,
        verdict="bimodal",
    )
    return SplitReport(
        num_samples=len(rows),
        unimodal_source="head",
        accuracy=by_modality,
        macro_f1=by_modality,
        expected_calibration_error=by_modality,
        mean_gap=float(gaps.mean()),
        mean_abs_gap=float(np.abs(gaps).mean()),
        histogram=Histogram(edges=edges.tolist(), counts=counts.tolist()),
        correctness=Correctness(
            similar_right=int((~dominant).sum()),
            similar_wrong=0,
            audio_dominant=int((dominant & (gaps > 0)).sum()),
            visual_dominant=int((dominant & (gaps < 0)).sum()),
        ),
        mixture=mixture,
        signed_mixture=None,
    )


def demo_spec(**changes: Any) -> RunSpec:
    """Returns a small run's spec."""
    return RunSpec.model_validate(apply_preset({"preset": "demo", "epochs": 3, **changes}))


def write_run(
    home: Home,
    *,
    count: int = 200,
    epochs: int = 3,
    seed: int = 0,
    minute: int = 0,
    only: str | None = None,
    **changes: Any,
) -> str:
    """Writes the folder of a finished run, of one modality alone where `only` names it; returns its id."""
    run_id = new_id("run")
    folder = home.run(run_id)
    folder.samples.mkdir(parents=True)
    folder.checkpoints.mkdir()
    (folder.checkpoints / f"epoch-{epochs:05d}.safetensors").write_bytes(checkpoint_bytes())
    spec = demo_spec(epochs=epochs, seed=seed, **changes)
    created = START + timedelta(minutes=minute)
    document = {"format": 1, "id": run_id, "created_at": created.isoformat(), "spec": spec.model_dump(mode="json")}
    write_json(folder.spec, document)
    events: list[Event] = [
        RunStarted(
            epochs=epochs,
            num_train=count // 2,
            num_validation=count // 4,
            num_test=count // 4,
            classes=list(CLASSES),
            device="cpu",
        )
    ]
    for epoch in range(1, epochs + 1):
        events.append(_write_epoch(folder, count, epoch, seed, only))
    last = report(pq.read_table(folder.sample_table(epochs)), "test", only)
    result = RunResult(
        last=TestAt(epoch=epochs, test=last),
        chosen=ChosenTest(epoch=epochs, test=last, by="validation"),
        probes=Probes(audio=None if only == "visual" else 0.5, visual=None if only == "audio" else 0.6),
    )
    events.append(RunFinished(result=result))
    write_events(folder, run_id, events, created)
    folder.log.write_text("".join(f"line {number}\n" for number in range(1, 1_001)))
    Outcome.now("finished").write(folder.outcome)
    return run_id


def _write_epoch(folder: RunFolder, count: int, epoch: int, seed: int, only: str | None) -> EpochFinished:
    table = sample_table(count, epoch, seed, only)
    pq.write_table(table, folder.sample_table(epoch), compression="zstd")
    for path, column in ((folder.gaps, "gap"), (folder.posteriors, "posterior_imbalanced")):
        with path.open("ab") as file:
            file.write(np.array(table[column].to_pylist(), dtype="<f4").tobytes())  # None becomes NaN
    return EpochFinished(
        epoch=epoch,
        stage="single" if only else "warm-up" if epoch == 1 else "adaptive",
        seconds=1.0,
        samples_per_s=100.0,
        learning_rate=0.002,
        loss_terms={"fused": 1.0 / epoch},
        gradient_share=GradientShare(audio=0.2, visual=0.5, fusion=0.3),
        method={} if only else {"posterior": "paper"},
        train=report(table, "train", only),
        validation=report(table, "validation", only),
    )


def write_events(folder: RunFolder, run_id: str, events: list[Event], created: datetime) -> None:
    """Writes events.jsonl as the journal does: stamped and numbered from 1."""
    lines = []
    for seq, event in enumerate(events, start=1):
        stamped = event.model_copy(
            update={"seq": seq, "run_id": run_id, "attempt": 1, "time": created + timedelta(seconds=seq)}
        )
        lines.append(stamped.model_dump_json() + "\n")
    folder.events.write_text("".join(lines))


def write_dataset(
    home: Home, *, count: int = 200, dataset_id: str = "clips", measures: dict[str, list[Any]] | None = None
) -> str:
    """Writes the folder of a prepared dataset: clips, store.json, samples.parquet, skipped.jsonl.

    Without `measures` (metrics and content_hash by name) it is a store of format 1, with them one of format 2.
    """
    folder = home.dataset(dataset_id)
    folder.store.mkdir(parents=True)
    folder.clips.mkdir()
    spec = Folder(path=str(folder.clips)).model_dump(mode="json")
    write_json(folder.spec, {"format": 1, "id": dataset_id, "created_at": START.isoformat(), "spec": spec})
    (folder.clips / "a.mp4").write_bytes(media_bytes())
    (folder.clips / "a.wav").write_bytes(b"RIFF\x00\x00\x00\x00WAVE" + bytes(100))
    ids, splits, labels = sample_ids(count), splits_of(count), [CLASSES[index % 3] for index in range(count)]
    columns: dict[str, Any] = {
        "sample_id": ids, "label": labels, "label_index": [index % 3 for index in range(count)], "split": splits,
        "group": [None] * count, "row": list(range(count)), "path": [str(folder.clips / "a.mp4")] * count,
        "audio_path": [str(folder.clips / "a.wav") if index == 0 else None for index in range(count)],
        "has_audio": [True] * count, "has_visual": [True] * count, "duration_s": [0.5] * count,
        "start_s": [0.0] * count, "padded": [False] * count, "width": [32] * count, "height": [32] * count,
        "frames_per_s": [10.0] * count, "sample_rate_hz": [8_000] * count,
        "notes": [json.dumps({"corrupted": "audio"} if index % 10 == 0 else {}) for index in range(count)],
    }  # fmt: skip
    clips = pa.table(columns, schema=STORE_SCHEMA)
    for name, values in (measures or {}).items():
        clips = clips.append_column(name, pa.array(values, pa.string() if name == "content_hash" else pa.float32()))
    pq.write_table(clips, folder.store / "samples.parquet")
    skipped = [
        {"sample_id": f"bad-{number}", "path": f"bad-{number}.mp4", "code": "media-not-decodable", "reason": "no film"}
        for number in range(120)
    ]
    (folder.store / "skipped.jsonl").write_text("".join(json.dumps(clip) + "\n" for clip in skipped))
    counts = {name: splits.count(name) for name in ("train", "validation", "test")}
    by_class = {
        name: dict(Counter(CLASSES[index % 3] for index, split in enumerate(splits) if split == name))
        for name in counts
    }
    write_json(
        folder.store / "store.json",
        {"format": 2 if measures else 1, "kind": "folder", "digest": "0" * 16, "classes": list(CLASSES),
         "num_samples": count,
         "splits": counts, "class_counts": by_class, "num_skipped": 120, "skipped": skipped[:100],
         "warnings": ["120 of 320 clips lack their picture file."]},
    )  # fmt: skip
    Outcome.now("finished").write(folder.outcome)
    return dataset_id


def write_arrays(home: Home, dataset_id: str, spec: PreprocessSpec) -> tuple[np.ndarray, np.ndarray]:
    """Adds frames and sound to a dataset of `write_dataset`; returns them, a clip a row."""
    store, random = home.dataset(dataset_id).store, np.random.default_rng(7)
    record = json.loads((store / "store.json").read_text())
    count = record["num_samples"]
    frames = random.integers(0, 256, (count, spec.num_frames, spec.frame_size, spec.frame_size, 3), dtype=np.uint8)
    is_waveform = spec.audio_storage == "waveform"
    audio = random.normal(-5, 2, (count, *spec.stored_audio_shape))
    audio = (audio * 2_000).astype(np.int16) if is_waveform else audio.astype(np.float16)
    frames.tofile(store / "frames.u8")
    audio.tofile(store / ("audio.i16" if is_waveform else "audio.f16"))
    shapes = {"frames_shape": frames.shape[1:], "audio_shape": audio.shape[1:], "audio_dtype": audio.dtype.name}
    write_json(store / "store.json", {**record, **shapes, "preprocess": spec.model_dump(mode="json")})
    return frames, audio


def checkpoint_bytes(size: int = 1_000) -> bytes:
    """Returns a safetensors file of one tensor of zeroes."""
    header = json.dumps({"weight": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(size)


def media_bytes(size: int = 5_000) -> bytes:
    """Returns what begins like an mp4 file."""
    return b"\x00\x00\x00\x20ftypisom" + bytes(index % 251 for index in range(size - 12))


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Returns the documents of a JSON-lines file."""
    return [json.loads(line) for line in path.read_text().splitlines()]
