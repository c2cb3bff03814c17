"""A folder of clips: `<split>/<class>/*` or `<class>/*`.

A sound file beside a video of the same name is that video's sound. Folders inside a class folder are groups (a
speaker, a source video): the clips of a group are kept in one split. Hidden files are ignored, other files are listed
as skipped.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from worker.contract.errors import DatasetError
from worker.contract.resources import SkippedClip
from worker.contract.spec.datasets import Folder
from worker.datasets.source import ClipEntry, DatasetListing
from worker.datasets.splits import DEFAULT_SHARES, assign_splits, with_validation

VIDEO_SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".flv", ".ts", ".mts", ".m2ts", ".3gp"})
AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".mp3", ".m4a", ".ogg", ".oga", ".opus", ".aac"})
SPLIT_NAMES = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}
NO_TEST_WARNING = "There is no test split: runs have no test report."
CUT_WARNING = "There was no validation split: 15 % of the training clips became one, by group."


class FolderDataset:
    """A folder of clips."""

    def __init__(self, spec: Folder) -> None:
        """Keeps the spec."""
        self._spec = spec

    def list(self, clips_folder: Path) -> DatasetListing:
        """Returns the clips, sorted by split and path.

        Args:
            clips_folder: not used: the clips stay where they are.

        Raises:
            DatasetError: dataset-not-found, dataset-empty.
        """
        root = Path(self._spec.path)
        tops = _folders(root)
        if not tops:
            raise DatasetError(
                f"Expected folders named by class (or train, validation, test) in {root}; found none.",
                code="dataset-empty",
            )
        with_splits = all(top.name.lower() in SPLIT_NAMES for top in tops)
        skipped: list[SkippedClip] = []
        entries: list[ClipEntry] = []
        for top in tops:
            split = SPLIT_NAMES[top.name.lower()] if with_splits else ""
            for class_folder in _folders(top) if with_splits else [top]:
                entries += class_entries(root, class_folder, split, skipped)
        return _listing(entries, skipped, with_splits=with_splits, seed=self._spec.seed)


def _listing(entries: list[ClipEntry], skipped: list[SkippedClip], *, with_splits: bool, seed: int) -> DatasetListing:
    warnings: list[str] = []
    if with_splits:
        entries, cut = with_validation(entries, seed)
        warnings += [CUT_WARNING] * cut
        if all(entry.split != "test" for entry in entries):
            warnings.append(NO_TEST_WARNING)
    else:
        entries = assign_splits(entries, DEFAULT_SHARES, seed)
    return DatasetListing(tuple(sorted({entry.label for entry in entries})), entries, skipped, tuple(warnings))


def _folders(root: Path) -> list[Path]:
    """Returns the visible sub-folders, sorted by name.

    Raises:
        DatasetError: when `root` is no readable folder.
    """
    try:
        children = sorted(root.iterdir())
    except OSError as error:
        raise DatasetError(
            f"Expected a readable folder at {root}: {error.strerror}. Give its path as the server sees it.",
            code="dataset-not-found",
        ) from None
    return [child for child in children if not child.name.startswith(".") and child.is_dir()]


def class_entries(root: Path, folder: Path, split: str, skipped: list[SkippedClip]) -> Iterator[ClipEntry]:
    """Yields the clips below a class's folder; files that are none are added to `skipped`.

    Args:
        root: of the dataset: ids are paths below it.
        folder: of the class, whose name is the label.
        split: of the clips.
        skipped: takes what is left out, and why.
    """
    for place, _, names in sorted(os.walk(folder)):
        here = Path(place)
        inside = here.relative_to(folder)
        if any(part.startswith(".") for part in inside.parts):
            continue
        visible = sorted(name for name in names if not name.startswith("."))
        sounds = {Path(name).stem: here / name for name in visible if Path(name).suffix.lower() in AUDIO_SUFFIXES}
        stems = {Path(name).stem for name in visible if Path(name).suffix.lower() in VIDEO_SUFFIXES}
        for name in visible:
            path = here / name
            suffix = path.suffix.lower()
            if not _is_text(path):
                skipped.append(_unnameable(root, path))
            elif suffix in VIDEO_SUFFIXES:
                yield ClipEntry(
                    sample_id=_sample_id(root, path),
                    path=path,
                    label=folder.name,
                    split=split,
                    audio_path=sounds.get(path.stem),
                    group=str(Path(folder.name) / inside) if inside.parts else None,
                )
            elif suffix not in AUDIO_SUFFIXES or path.stem not in stems:
                skipped.append(_left_out(root, path, is_audio=suffix in AUDIO_SUFFIXES))


def _left_out(root: Path, path: Path, *, is_audio: bool) -> SkippedClip:
    code, reason = ("not-a-clip", f"{path.suffix or 'A file without suffix'} is no video format that is read.")
    if is_audio:
        code, reason = "media-no-visual", "A sound file without a video of the same name."
    return SkippedClip(sample_id=_sample_id(root, path), path=str(path), code=code, reason=reason)


def _is_text(path: Path) -> bool:
    """Returns whether a path is UTF-8, as the tables and the API need it; Linux allows any bytes."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _unnameable(root: Path, path: Path) -> SkippedClip:
    # Escaped, not replaced: names that differ in such a byte alone must stay two.
    shown = Path(os.fsencode(path).decode("utf-8", "backslashreplace"))
    inside = Path(os.fsencode(path.relative_to(root)).decode("utf-8", "backslashreplace"))
    reason = "Its path is no UTF-8 text. Rename it."
    return SkippedClip(sample_id="__".join(inside.parts), path=str(shown), code="bad-name", reason=reason)


def _sample_id(root: Path, path: Path) -> str:
    """Returns the path inside the dataset without slashes, so that it can stand in an address."""
    return "__".join(path.relative_to(root).parts)
