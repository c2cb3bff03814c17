"""Rows of a batch's table: what a run's model says of each clip, or why it says nothing.

One clip that cannot be scored costs its own row alone. Shapes: C classes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from worker.contract.layout import replacing
from worker.contract.resources import SkippedClip
from worker.contract.score_batches import BATCH_COLUMNS, BatchRow
from worker.datasets.source import ClipEntry
from worker.engine.infer import Probabilities, Scorer, tracks
from worker.media.decode import DecodedClip

_TYPES = {"string": pa.string(), "float32": pa.float32(), "bool": pa.bool_()}
SCHEMA = pa.schema([(name, _TYPES[kind]) for name, kind in BATCH_COLUMNS.items()])


def scored_rows(scorer: Scorer, clips: Sequence[tuple[ClipEntry, DecodedClip]]) -> list[BatchRow]:
    """Returns the rows of clips that were decoded, in their order; clips with the same tracks share a pass.

    Args:
        scorer: of the run.
        clips: each with its entry in the list.
    """
    alike: dict[tuple[str, ...], list[int]] = defaultdict(list)
    rows: dict[int, BatchRow] = {}
    for place, (entry, clip) in enumerate(clips):
        unusable = scorer.unusable(clip)
        if unusable is None:
            alike[tuple(tracks(clip))].append(place)
        else:
            rows[place] = failed_row(entry, unusable.code, unusable.detail)
    for places in alike.values():
        for place, found in zip(places, scorer.probabilities([clips[k][1] for k in places]), strict=True):
            rows[place] = _scored(scorer, *clips[place], found)
    return [rows[place] for place in range(len(clips))]


def failed_row(entry: ClipEntry, code: str, reason: str) -> BatchRow:
    """Returns the row of a clip that cannot be decoded."""
    return _row(sample_id=entry.sample_id, path=str(entry.path), label=entry.label, error_code=code, error=reason)


def skipped_row(clip: SkippedClip) -> BatchRow:
    """Returns the row of a file that cannot be a clip."""
    return _row(sample_id=clip.sample_id, path=clip.path, error_code=clip.code, error=clip.reason)


def write_table(path: Path, rows: Iterable[BatchRow]) -> None:
    """Writes rows durably as Parquet with the columns of BATCH_COLUMNS: the outcome that follows relies on them."""
    with replacing(path) as partial:
        pq.write_table(pa.Table.from_pylist(list(rows), schema=SCHEMA), partial, compression="zstd")


def _row(**values: object) -> BatchRow:
    return {name: values.get(name) or None if name == "label" else values.get(name) for name in BATCH_COLUMNS}


def _scored(scorer: Scorer, entry: ClipEntry, clip: DecodedClip, found: Probabilities) -> BatchRow:
    if not all(values is None or bool(np.isfinite(values).all()) for values in found.values()):
        return failed_row(entry, "score-not-finite", "The model gives no finite probabilities for this clip.")
    notes = list(clip.notes)
    label = scorer.classes.index(entry.label) if entry.label in scorer.classes else None
    if entry.label and label is None:
        notes.append(f"label-unknown: the run does not know {entry.label!r}")
    reading = scorer.read(found, label)
    place = reading.in_training
    values: BatchRow = {
        f"predicted_{name}": predicted for name, predicted in scorer.predicted(found).model_dump().items()
    }
    for name, p in found.items():
        values[f"p_predicted_{name}"] = None if p is None else float(p.max())
        values[f"p_true_{name}"] = None if p is None or label is None else float(p[label])
    return _row(
        sample_id=entry.sample_id,
        path=str(entry.path),
        label=entry.label,
        gap=reading.gap,
        gap_of=None if reading.gap is None else "fused prediction" if label is None else "label",
        posterior_imbalanced=reading.posterior_imbalanced,
        opposite_tail=reading.opposite_tail,
        outside_training=None if place is None else place.outside,
        gap_quantile=None if place is None else place.quantile,
        modalities_present="+".join(tracks(clip)),
        padded=clip.padded,
        notes="; ".join(notes) or None,
        **values,
    )
