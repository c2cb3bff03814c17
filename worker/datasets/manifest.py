"""A CSV file that lists clips: path, label, split; optional audio_path, id, group, start_s, end_s; else notes."""

from __future__ import annotations

import csv
import difflib
import io
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from worker.contract.errors import DatasetError
from worker.contract.resources import SkippedClip
from worker.contract.spec.datasets import Manifest
from worker.datasets.folder import CUT_WARNING, NO_TEST_WARNING, SPLIT_NAMES
from worker.datasets.lists import read_regular_file
from worker.datasets.source import ClipEntry, DatasetListing
from worker.datasets.splits import DEFAULT_SHARES, assign_splits, with_validation

REQUIRED = ("path", "label")
OPTIONAL = ("split", "audio_path", "id", "group", "start_s", "end_s")
_MAX_REPORTED = 10
_MAX_ID = 200
_MAX_LABEL = 200


class ManifestDataset:
    """Clips listed in a CSV file."""

    def __init__(self, spec: Manifest) -> None:
        """Keeps the spec."""
        self._spec = spec

    def list(self, clips_folder: Path) -> DatasetListing:
        """Returns the clips in the file's order; rows whose file is missing are listed as skipped.

        Args:
            clips_folder: not used: the clips stay where they are.

        Raises:
            DatasetError: dataset-not-found, dataset-bad-manifest (naming the first ten faults by row),
                dataset-duplicate-ids.
        """
        header, entries, warnings = read_entries(Path(self._spec.path))
        usable, skipped = present(entries)
        return _listing(usable, skipped, warnings, with_splits="split" in header, seed=self._spec.seed)


def read_entries(path: Path, *, required: Sequence[str] = REQUIRED) -> tuple[list[str], list[ClipEntry], list[str]]:
    """Returns the header, the clips in the file's order, whether or not their files are there, and warnings.

    Args:
        path: the CSV file.
        required: columns that must be there and filled; a label that need not be is empty where it is missing.

    Raises:
        DatasetError: dataset-not-found, dataset-bad-manifest (naming the first ten faults by row),
            dataset-duplicate-ids.
    """
    header, rows = _read(path)
    warnings = _check_header(path, header, required)
    faults: list[str] = []
    entries: list[ClipEntry] = []
    for number, row in rows:
        try:
            entries.append(_entry(path.parent, row, required))
        except ValueError as error:
            faults.append(f"row {number}: {error}")
    if faults:
        more = f" ... and {len(faults) - _MAX_REPORTED} more" if len(faults) > _MAX_REPORTED else ""
        raise DatasetError(
            f"{path.name} has rows that cannot be used: {'; '.join(faults[:_MAX_REPORTED])}{more}.",
            code="dataset-bad-manifest",
        )
    _check_ids(path, entries)
    return header, entries, warnings


def _listing(
    entries: list[ClipEntry], skipped: list[SkippedClip], warnings: list[str], *, with_splits: bool, seed: int
) -> DatasetListing:
    if with_splits:
        entries, cut = with_validation(entries, seed)
        warnings += [CUT_WARNING] * cut
        if all(entry.split != "test" for entry in entries):
            warnings.append(NO_TEST_WARNING)
    else:
        entries = assign_splits(entries, DEFAULT_SHARES, seed)
        warnings.append("There is no column 'split': the clips were split 70/15/15 by group.")
    return DatasetListing(tuple(sorted({entry.label for entry in entries})), entries, skipped, tuple(warnings))


def _read(path: Path) -> tuple[list[str], list[tuple[int, Mapping[str, str | None]]]]:
    """Returns the header and the non-empty rows with their line numbers."""
    try:
        text = read_regular_file(path, what="CSV file", code="dataset-bad-manifest").decode("utf-8-sig")
    except OSError as error:
        raise DatasetError(
            f"Expected a CSV file at {path}: {error.strerror}. Give its path as the server sees it.",
            code="dataset-not-found",
        ) from None
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"{path.name} is no UTF-8 text (byte {error.start}). Save it as CSV UTF-8.", code="dataset-bad-manifest"
        ) from None
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True, strict=True)
        header = [name.strip() for name in reader.fieldnames or []]
        reader.fieldnames = header
        return header, list(_rows(reader))
    except csv.Error as error:
        raise DatasetError(f"{path.name} is no valid CSV: {error}.", code="dataset-bad-manifest") from None


def _rows(reader: csv.DictReader[str]) -> Iterator[tuple[int, Mapping[str, str | None]]]:
    for row in reader:
        if any(isinstance(value, str) and value.strip() for value in row.values()):
            yield reader.line_num, row


def _check_header(path: Path, header: list[str], required: Sequence[str]) -> list[str]:
    missing = [name for name in required if name not in header]
    if missing:
        raise DatasetError(
            f"{path.name} needs the columns {', '.join(required)} in its first line; it lacks {', '.join(missing)}. "
            f"It has {', '.join(map(repr, header[:20])) or 'none'}.",
            code="dataset-bad-manifest",
        )
    repeated = [name for name, count in Counter(header).items() if count > 1]
    if repeated:
        raise DatasetError(f"{path.name} has the column {repeated[0]!r} twice.", code="dataset-bad-manifest")
    warnings = []
    for name in header:
        if name not in REQUIRED and name not in OPTIONAL:
            close = difflib.get_close_matches(name.lower(), OPTIONAL, 1, 0.75)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            warnings.append(f"The column {name!r} is kept as a note.{hint}")
    return warnings


def _entry(root: Path, row: Mapping[str, str | None], required: Sequence[str]) -> ClipEntry:
    """Returns the clip of one row.

    Raises:
        ValueError: saying what was expected and what was got.
    """
    if None in row:
        raise ValueError("it has more fields than the header")
    values = {name: (value or "").strip() for name, value in row.items()}
    for name in required:
        if not values[name]:
            raise ValueError(f"expected a {name}, got nothing")
    label = values.get("label", "")
    if len(label) > _MAX_LABEL or not label.isprintable():
        raise ValueError(f"expected a label of at most {_MAX_LABEL} printable characters, got {label[:60]!r}")
    split = values.get("split", "train")
    if split.lower() not in SPLIT_NAMES:
        raise ValueError(f"expected the split train, validation (or val) or test, got {split!r}")
    start_s, end_s = _seconds(values, "start_s"), _seconds(values, "end_s")
    if start_s is not None and end_s is not None and end_s <= start_s:
        raise ValueError(f"expected end_s after start_s, got {start_s:g} to {end_s:g}")
    sample_id = values.get("id") or _derived_id(values["path"], start_s, end_s)
    if len(sample_id) > _MAX_ID or not sample_id.isprintable() or "/" in sample_id:
        raise ValueError(f"expected an id of at most {_MAX_ID} printable characters without /, got {sample_id[:60]!r}")
    return ClipEntry(
        sample_id=sample_id,
        path=_inside(root, values["path"]),
        label=label,
        split=SPLIT_NAMES[split.lower()],
        audio_path=_inside(root, values["audio_path"]) if values.get("audio_path") else None,
        group=values.get("group") or None,
        start_s=start_s,
        end_s=end_s,
        notes={name: value for name, value in values.items() if name not in REQUIRED and name not in OPTIONAL},
    )


def _inside(root: Path, place: str) -> Path:
    if "\0" in place:
        raise ValueError("a path holds a zero character")
    return root / place


def _seconds(values: Mapping[str, str], name: str) -> float | None:
    text = values.get(name, "")
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        raise ValueError(f"expected {name} in seconds, got {text!r}") from None
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError(f"expected {name} in seconds, at least 0, got {text!r}")
    return seconds


def _derived_id(place: str, start_s: float | None, end_s: float | None) -> str:
    name = "__".join(part for part in Path(place).parts if part not in ("/", "..", "."))
    if start_s is None and end_s is None:
        return name[-_MAX_ID:]
    return f"{name[-_MAX_ID + 40 :]}@{start_s or 0:g}-{'' if end_s is None else f'{end_s:g}'}"


def _check_ids(path: Path, entries: list[ClipEntry]) -> None:
    repeated = [name for name, count in Counter(entry.sample_id for entry in entries).items() if count > 1]
    if repeated:
        raise DatasetError(
            f"Every row of {path.name} needs an id of its own (by default the path with start and end); "
            f"{len(repeated)} come more than once: {', '.join(map(repr, repeated[:5]))}.",
            code="dataset-duplicate-ids",
        )


def present(entries: Sequence[ClipEntry]) -> tuple[list[ClipEntry], list[SkippedClip]]:
    """Returns the clips whose files are there, and the others with what is missing."""
    usable: list[ClipEntry] = []
    skipped: list[SkippedClip] = []
    for entry in entries:
        reasons = [_absence(place) for place in (entry.path, entry.audio_path) if place is not None]
        reason = next(filter(None, reasons), None)
        if reason is None:
            usable.append(entry)
            continue
        skipped.append(
            SkippedClip(sample_id=entry.sample_id, path=str(entry.path), code="media-not-found", reason=reason)
        )
    return usable, skipped


def _absence(place: Path) -> str | None:
    """Returns why a file cannot be read, or None where it is there."""
    try:
        return None if place.is_file() else f"There is no file {place}."
    except OSError as error:  # a name that is too long, a folder that may not be entered
        return f"The file {str(place)[:_MAX_ID]} cannot be reached: {error.strerror}."
