"""Kinetics-Sounds: <split>/<class>/<ytid>_<start>_<end>.mp4, or frames as visual/<clip>/*.jpg beside audio/<clip>.wav.

Splits are the folders, or lists whose lines differ by author: label,clip; clip,10,classid; clip ... int.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from worker.contract.errors import DatasetError
from worker.contract.spec.corpora import KineticsSounds
from worker.datasets.corpus import Row, corpus_listing, names_in, require_places, unlisted_warnings
from worker.datasets.folder import SPLIT_NAMES, VIDEO_SUFFIXES
from worker.datasets.lists import ListLine, first_of, read_lines, read_text, refuse_lines
from worker.datasets.source import ClipEntry, DatasetListing

SPLIT_FOLDERS = {**SPLIT_NAMES, "validate": "validation"}
_NAME = re.compile(r"(?P<video>.{11})_\d+_\d+")


@dataclass(frozen=True, slots=True)
class _Listed:
    clip: str
    label: str
    split: str
    where: str


class KineticsSoundsDataset:
    """Kinetics-Sounds, split by folder or by lists."""

    def __init__(self, spec: KineticsSounds) -> None:
        """Keeps the spec."""
        self._spec = spec
        self._root = Path(spec.path)
        chosen = {"train": spec.train_list, "validation": spec.validation_list, "test": spec.test_list}
        self._lists = {split: self._root / name for split, name in chosen.items() if name}

    def list(self, clips_folder: Path) -> DatasetListing:
        """Returns the clips, in the order of the lists or sorted by folder.

        Args:
            clips_folder: not used: the clips stay where they are.

        Raises:
            DatasetError: dataset-not-found, dataset-layout-incomplete, dataset-bad-list, and those of corpus_listing.
        """
        frames = self._spec.layout == "frames"
        visual, audio = self._root / self._spec.visual_folder, self._root / self._spec.audio_folder
        places = [(path, f"{split} list") for split, path in self._lists.items()]
        if frames:
            places += [(visual, "folder of <clip>/frame_0000N.jpg"), (audio, "folder of <clip>.wav")]
        require_places(self._root, places)
        listed = [one for split, path in self._lists.items() for one in _listed(split, path)]
        rows: Sequence[Row]
        warnings: Sequence[str]
        if frames:
            rows = [Row(_entry(one, visual / one.clip, audio / f"{one.clip}.wav"), one.where) for one in listed]
            warnings = unlisted_warnings(visual, "", (one.clip for one in listed))
        else:
            rows, warnings = self._official(listed)
        classes = sorted({row.entry.label for row in rows}, key=_in_order)
        return corpus_listing(self._spec, classes, rows, group_word="video", warnings=warnings)

    def _official(self, listed: Sequence[_Listed]) -> tuple[Sequence[Row], Sequence[str]]:
        """Returns the clips in the folders, split by folder, or as the lists say."""
        found = self._found()
        if not self._lists:
            return [Row(_entry(one, path), one.where) for one, path in found], []
        paths = {one.clip: path for one, path in found}
        named = _class_names(listed, {one.clip: one.label for one, _ in found})
        somewhere = self._root / "<split>" / "<class>"
        rows = [Row(_entry(one, paths.get(one.clip, somewhere / f"{one.clip}.mp4")), one.where) for one in named]
        known = {one.clip for one in listed}
        unlisted = [one.clip for one, _ in found if one.clip not in known]
        if not unlisted:
            return rows, []
        return rows, [f"{len(unlisted):,} clips stand in no list and are not used: {first_of(unlisted[:3])}."]

    def _found(self) -> Sequence[tuple[_Listed, Path]]:
        folders = [self._root / name for name in names_in(self._root, "") if name.lower() in SPLIT_FOLDERS]
        if not folders:
            raise DatasetError(
                f"Expected the folders train, test (and val) with a folder a class in {self._root}; found none.",
                code="dataset-layout-incomplete",
            )
        return [
            (_Listed(path.stem, label, SPLIT_FOLDERS[folder.name.lower()], f"{folder.name}/{label}"), path)
            for folder in folders
            for label in names_in(folder, "")
            for path in sorted((folder / label).iterdir())
            if path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith(".")
        ]


def _listed(split: str, path: Path) -> Sequence[_Listed]:
    """Returns the clips of a list, in whichever of the three forms its first line has."""
    first = next((line for line in read_text(path).splitlines() if line.strip()), "")
    if "," not in first:
        return _listed_by_spaces(split, path)
    number = first.count(",") + 1
    if number not in (2, 3):
        refuse_lines(path, "lines of label,clip or clip,10,classid or clip ... int", [f"line 1 has {first[:80]!r}"])
    lines = read_lines(path, ",", "label,clip" if number == 2 else "clip,10,classid")
    if number == 2:
        return [
            _Listed(_stem(line.fields[1]), line.fields[0], split, f"{path.name}, line {line.number}") for line in lines
        ]
    return _numbered(split, path, lines)


def _listed_by_spaces(split: str, path: Path) -> Sequence[_Listed]:
    words = [(number, line.split()) for number, line in enumerate(read_text(path).splitlines(), 1) if line.strip()]
    faults = [f"line {number} has {' '.join(fields)[:80]!r}" for number, fields in words if len(fields) < 2]
    if faults or not words:
        refuse_lines(path, "lines of label,clip or clip,10,classid or clip ... int", faults or ["nothing"])
    return _numbered(split, path, [ListLine(number, tuple(fields)) for number, fields in words])


def _numbered(split: str, path: Path, lines: Sequence[ListLine]) -> Sequence[_Listed]:
    faults = [f"line {line.number} has {line.fields[-1]!r}" for line in lines if not line.fields[-1].isdecimal()]
    if faults:
        refuse_lines(path, "a class number at the end of each line, and no header", faults)
    return [
        _Listed(_stem(line.fields[0]), str(int(line.fields[-1])), split, f"{path.name}, line {line.number}")
        for line in lines
    ]


def _class_names(listed: Sequence[_Listed], folder_of: dict[str, str]) -> Sequence[_Listed]:
    """Returns the clips with the names of the class folders instead of numbers, where lists have numbers.

    Raises:
        DatasetError: dataset-label-conflict, when a number stands for two folders or two numbers for one.
    """
    if not all(one.label.isdecimal() for one in listed):
        return listed
    folders: dict[str, set[str]] = defaultdict(set)
    for one in listed:
        if one.clip in folder_of:
            folders[one.label].add(folder_of[one.clip])
    wrong = [
        f"class {number} is in {' and '.join(sorted(names))}" for number, names in folders.items() if len(names) > 1
    ]
    names = {number: min(names) for number, names in folders.items()}
    if wrong or len(set(names.values())) < len(names):
        raise DatasetError(
            f"The lists' class numbers do not fit the class folders: {first_of(wrong) or 'two numbers, one folder'}. "
            "Are the lists those of this tree?",
            code="dataset-label-conflict",
        )
    return [_Listed(one.clip, names.get(one.label, one.label), one.split, one.where) for one in listed]


def _entry(one: _Listed, path: Path, audio_path: Path | None = None) -> ClipEntry:
    match = _NAME.fullmatch(one.clip)
    return ClipEntry(
        sample_id=one.clip,
        path=path,
        label=one.label,
        split=one.split,
        audio_path=audio_path,
        group=match["video"] if match else one.clip,
    )


def _stem(name: str) -> str:
    """Returns the clip's name: lists write it with or without folders and the suffix of a video."""
    path = PurePosixPath(name)
    return path.stem if path.suffix.lower() in VIDEO_SUFFIXES else path.name


def _in_order(label: str) -> tuple[int, str]:
    """Sorts class numbers by value, names by text."""
    return (int(label), "") if label.isdecimal() else (1 << 31, label)
