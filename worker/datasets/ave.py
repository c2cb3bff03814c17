"""AVE: AVE_Dataset with AVE/<video id>.mp4, Annotations.txt, trainSet.txt, valSet.txt and testSet.txt.

Lines of category&video id&quality&start&end; Annotations.txt alone has a header. A video may hold several events, so a
clip's id is its video with the seconds of the event.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from worker.contract.spec.corpora import Ave
from worker.datasets.corpus import Row, corpus_listing, require_places, unlisted_warnings
from worker.datasets.lists import ListLine, first_of, read_lines, refuse_lines
from worker.datasets.source import ClipEntry, DatasetListing

FOLDER = "AVE_Dataset"
SET_FILES = {"train": "trainSet.txt", "validation": "valSet.txt", "test": "testSet.txt"}
_FORM = "category&video id&quality&start&end"


class AveDataset:
    """AVE in its official layout."""

    def __init__(self, spec: Ave) -> None:
        """Keeps the spec; its path may be AVE_Dataset or the folder around it."""
        self._spec = spec
        root = Path(spec.path)
        self._root = root / FOLDER if (root / FOLDER).is_dir() else root
        self._clips = self._root / "AVE"

    def list(self, clips_folder: Path) -> DatasetListing:
        """Returns the events of the three sets, in the sets' order.

        Args:
            clips_folder: not used: the clips stay where they are.

        Raises:
            DatasetError: dataset-not-found, dataset-layout-incomplete, dataset-bad-list, dataset-unknown-label, and
                those of corpus_listing.
        """
        annotations = self._root / "Annotations.txt"
        places = [
            (self._clips, "folder of <video id>.mp4"),
            (annotations, f"a header, then lines of {_FORM}"),
            *((self._root / name, f"{split} set, lines of {_FORM}") for split, name in SET_FILES.items()),
        ]
        require_places(self._root, places)
        annotated = read_lines(annotations, "&", _FORM, has_header=True)
        categories = sorted({line.fields[0] for line in annotated})
        lines = {split: read_lines(self._root / name, "&", _FORM) for split, name in SET_FILES.items()}
        for split, listed in lines.items():
            _check_lines(self._root / SET_FILES[split], listed, set(categories))
        rows = _told_apart(
            [
                Row(self._entry(line, split), f"{SET_FILES[split]}, line {line.number}")
                for split, listed in lines.items()
                for line in listed
            ]
        )
        videos = [line.fields[1] for listed in lines.values() for line in listed]
        warnings = [*unlisted_warnings(self._clips, ".mp4", videos), *_not_annotated(annotated, lines)]
        return corpus_listing(self._spec, categories, rows, group_word="video", warnings=warnings)

    def _entry(self, line: ListLine, split: str) -> ClipEntry:
        category, video, quality, start, end = line.fields
        is_event = self._spec.part == "event"
        return ClipEntry(
            sample_id=f"{video}@{float(start):g}-{float(end):g}",
            path=self._clips / f"{video}.mp4",
            label=category,
            split=split,
            group=video,
            start_s=float(start) if is_event else None,
            end_s=float(end) if is_event else None,
            notes={"quality": quality, "event_start_s": start, "event_end_s": end},
        )


def _check_lines(path: Path, lines: list[ListLine], categories: set[str]) -> None:
    """Refuses seconds that are no stretch, and categories that Annotations.txt does not know."""
    faults = [f"line {line.number} has {' to '.join(line.fields[3:])}" for line in lines if not _is_stretch(line)]
    if faults:
        refuse_lines(path, "start and end in seconds, the end after the start", faults)
    unknown = [f"line {line.number} has {line.fields[0]!r}" for line in lines if line.fields[0] not in categories]
    if unknown:
        refuse_lines(path, "a category of Annotations.txt", unknown, code="dataset-unknown-label")


def _is_stretch(line: ListLine) -> bool:
    try:
        start_s, end_s = float(line.fields[3]), float(line.fields[4])
    except ValueError:
        return False
    return 0 <= start_s < end_s and math.isfinite(end_s)


def _told_apart(rows: list[Row]) -> list[Row]:
    """Returns the rows; where the same seconds hold two categories, the category becomes part of the id."""
    labels = defaultdict(set)
    for row in rows:
        labels[row.entry.sample_id].add(row.entry.label)
    return [
        row
        if len(labels[row.entry.sample_id]) == 1
        else Row(replace(row.entry, sample_id=f"{row.entry.sample_id} {row.entry.label}"), row.where)
        for row in rows
    ]


def _not_annotated(annotated: list[ListLine], lines: dict[str, list[ListLine]]) -> list[str]:
    """Returns a warning where sets and annotations do not hold the same events."""
    known = {line.fields[:2] for line in annotated}
    strange = [
        " ".join(line.fields[:2]) for listed in lines.values() for line in listed if line.fields[:2] not in known
    ]
    if not strange:
        return []
    return [f"{len(strange):,} events of the sets are not in Annotations.txt: {first_of(strange[:3])}."]
