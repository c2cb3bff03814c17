"""What the loaders of published corpora share: the import check, and the splits of the two protocols.

Everything here happens before a clip is decoded for the store. What makes the lists or the layout wrong as a whole is
refused (DatasetError); what concerns single clips is left out (SkippedClip) and counted in a warning.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from worker.contract.errors import DatasetError
from worker.contract.resources import SkippedClip
from worker.contract.spec.corpora import Corpus
from worker.datasets.folder import NO_TEST_WARNING
from worker.datasets.lists import MAX_REPORTED, first_of
from worker.datasets.source import ClipEntry, DatasetListing, check_listing
from worker.datasets.splits import DEFAULT_SHARES, assign_splits, with_validation
from worker.datasets.tracks import check_tracks

STRENGTH = {"train": 0, "validation": 1, "test": 2}
"""A clip or group in several splits stays in the strongest: the test split remains the published one."""
_MAX_ID = 200


@dataclass(frozen=True, slots=True)
class Row:
    """A clip as a list or folder names it, and where it is named."""

    entry: ClipEntry
    where: str


def require_places(root: Path, places: Iterable[tuple[Path, str]]) -> None:
    """Refuses a corpus that lacks folders or lists of its layout, naming all of them and what is there instead.

    Args:
        root: the corpus's folder.
        places: (path, what should be there); a path whose description begins with "folder" is a folder.

    Raises:
        DatasetError: dataset-not-found, dataset-layout-incomplete.
    """
    try:
        there = sorted(child.name for child in root.iterdir())
    except OSError as error:
        raise DatasetError(
            f"Expected a readable folder at {root}: {error.strerror}. Give its path as the server sees it.",
            code="dataset-not-found",
        ) from None
    missing = [
        f"{path} ({what})"
        for path, what in places
        if not (path.is_dir() if what.startswith("folder") else path.is_file())
    ]
    if missing:
        found = f"{', '.join(there[:MAX_REPORTED])}{' ...' if len(there) > MAX_REPORTED else ''}" or "nothing"
        raise DatasetError(
            f"The layout is incomplete; missing: {'; '.join(missing)}. There is {found} in {root}.",
            code="dataset-layout-incomplete",
        )


def corpus_listing(
    spec: Corpus,
    classes: Sequence[str],
    rows: Sequence[Row],
    *,
    group_word: str,
    skipped: Sequence[SkippedClip] = (),
    warnings: Sequence[str] = (),
    cut_anew: bool = False,
) -> DatasetListing:
    """Returns the checked listing of a corpus, split by its protocol.

    Args:
        spec: the corpus.
        classes: all class names, in the order of their indices.
        rows: what lists or folders name.
        group_word: what a group is, for people: "speaker" or "video".
        skipped: files that the loader left out already.
        warnings: what the loader has to say.
        cut_anew: the splits of the rows are replaced by 70/15/15 by group.

    Raises:
        DatasetError: dataset-bad-list, dataset-label-conflict, dataset-no-audio, dataset-no-visual,
            dataset-undecodable, and those of check_listing.
    """
    check = ImportCheck(list(skipped), list(warnings))
    entries = check.merged(rows)
    # Splits are cut before missing files are looked for: who lacks other clips has the same splits of the rest.
    if cut_anew:
        entries = assign_splits(entries, DEFAULT_SHARES, spec.seed)
    elif spec.protocol == "honest":
        entries = check.disjoint(entries, group_word)
    else:
        check.shared_groups(entries, group_word)
    entries = check.present(check.validated(entries, spec, group_word))
    listing = DatasetListing(tuple(classes), entries, check.skipped, tuple(check.warnings))
    check_listing(listing)
    check_tracks(entries)
    return listing


class ImportCheck:
    """The rules, one method each; gathers what is left out and what is to be said."""

    def __init__(self, skipped: list[SkippedClip], warnings: list[str]) -> None:
        self.skipped = skipped
        self.warnings = warnings

    def merged(self, rows: Sequence[Row]) -> list[ClipEntry]:
        """Returns every clip once: repeated lines count once, a clip in two splits stays in the strongest."""
        first: dict[str, Row] = {}
        repeated, moved, conflicts = [], [], []
        for row in rows:
            name = row.entry.sample_id
            _check_name(row)
            known = first.setdefault(name, row)
            if known is row:
                continue
            if known.entry.label != row.entry.label:
                conflicts.append(
                    f"{name} is {known.entry.label!r} in {known.where} and {row.entry.label!r} in {row.where}"
                )
            elif known.entry.split == row.entry.split:
                repeated.append(f"{name} in {row.where}")
            else:
                weak, strong = sorted((known, row), key=lambda one: STRENGTH[one.entry.split])
                first[name] = strong
                moved.append(f"{name} in {weak.where}")
                reason = f"It stands in {weak.where} and in {strong.where}; the second is used."
                self._skip(weak.entry, "clip-in-two-splits", reason)
        if conflicts:
            raise DatasetError(
                f"{len(conflicts)} lines give a clip a second label: {first_of(conflicts)}. Take one of each out.",
                code="dataset-label-conflict",
            )
        self._warn(repeated, "lines repeat another one and are not counted again")
        self._warn(moved, "lines name a clip of another split and are left out there (test before validation, train)")
        return [row.entry for row in first.values()]

    def present(self, entries: Sequence[ClipEntry]) -> list[ClipEntry]:
        """Returns the clips whose files are there.

        Raises:
            DatasetError: dataset-no-visual or dataset-no-audio, when one kind of file is missing for all clips.
        """
        absent_visual: list[str] = []
        absent_audio: list[str] = []
        there = []
        for entry in entries:
            visual = absence(entry.path)
            audio = absence(entry.audio_path) if entry.audio_path else None
            if visual:
                absent_visual.append(str(entry.path))
            if audio:
                absent_audio.append(str(entry.audio_path))
            if visual or audio:
                self._skip(entry, "media-not-found", visual or audio or "")
            else:
                there.append(entry)
        both = any(entry.audio_path for entry in entries)
        for code, absent, what in (
            ("dataset-no-visual", absent_visual, "picture" if both else "video"),
            ("dataset-no-audio", absent_audio, "sound"),
        ):
            if absent and len(absent) == len(entries):
                raise DatasetError(
                    f"The {what} of all {len(absent):,} clips is missing; expected at: {first_of(absent[:3])}.",
                    code=code,
                )
            self._warn(absent, f"of {len(entries):,} clips lack their {what} file and are left out; expected at")
        return there

    def disjoint(self, entries: Sequence[ClipEntry], group_word: str) -> list[ClipEntry]:
        """Returns the clips without those whose group stands in a stronger split too."""
        strongest = _strongest(entries)
        kept, dropped = [], []
        for entry in entries:
            strong = strongest.get(entry.group or "", entry.split)
            if entry.split == strong:
                kept.append(entry)
                continue
            dropped.append(entry.sample_id)
            self._skip(entry, "group-in-two-splits", f"Its {group_word} {entry.group} is also in {strong}.")
        self._warn(dropped, f"clips are left out, since another clip of their {group_word} is in a stronger split")
        return kept

    def shared_groups(self, entries: Sequence[ClipEntry], group_word: str) -> None:
        """Says how many groups of the test split are in train too, as they are in the published split."""
        tested, trained = ({e.group for e in entries if e.split == split and e.group} for split in ("test", "train"))
        shared = tested & trained
        if shared:
            self.warnings.append(
                f"Protocol paper: {len(shared):,} of {len(tested):,} {group_word}s of the test split are also "
                "in train, as in the published split."
            )

    def validated(self, entries: Sequence[ClipEntry], spec: Corpus, group_word: str) -> list[ClipEntry]:
        """Returns the clips with a validation split: by group under honest, clip by clip under paper."""
        by_group = spec.protocol == "honest"
        units = entries if by_group else [replace(entry, group=None) for entry in entries]
        cut, was_cut = with_validation(units, spec.seed, spec.validation_share)
        if was_cut:
            self.warnings.append(
                f"There was no validation split: {spec.validation_share:.0%} of the training clips became one, by "
                f"{group_word if by_group else 'clip'}. Published numbers are trained on all of them."
            )
        if not any(entry.split == "test" for entry in entries):
            self.warnings.append(NO_TEST_WARNING)
        return [replace(entry, split=unit.split) for entry, unit in zip(entries, cut, strict=True)]

    def _skip(self, entry: ClipEntry, code: str, reason: str) -> None:
        self.skipped.append(SkippedClip(sample_id=entry.sample_id, path=str(entry.path), code=code, reason=reason))

    def _warn(self, names: Sequence[str], what: str) -> None:
        if names:
            self.warnings.append(f"{len(names):,} {what}: {first_of(names[:3])}{', ...' if len(names) > 3 else ''}.")


def absence(place: Path) -> str | None:
    """Returns why a file, or a folder of pictures, cannot be read, or None where it is there."""
    try:
        if place.is_dir():
            with os.scandir(place) as children:
                return None if next(children, None) else f"The folder {place} is empty."
        return None if place.is_file() else f"There is no {place}."
    except OSError as error:  # a name that is too long, a folder that may not be entered
        return f"{str(place)[:_MAX_ID]} cannot be reached: {error.strerror}."


def unlisted_warnings(folder: Path, suffix: str, listed: Iterable[str]) -> list[str]:
    """Returns a warning on the files of a folder that no list names, if there are any.

    Args:
        folder: where clips lie.
        suffix: of a clip's file; "" for folders of pictures.
        listed: names of clips, without suffix.
    """
    known = set(listed)
    names = [name for name in names_in(folder, suffix) if name not in known]
    if not names:
        return []
    more = ", ..." if len(names) > 3 else ""
    return [f"{len(names):,} clips in {folder.name} stand in no list and are not used: {', '.join(names[:3])}{more}."]


def names_in(folder: Path, suffix: str) -> list[str]:
    """Returns the sorted names, without suffix, of the visible clips in a folder: files, or folders if suffix is ""."""
    with os.scandir(folder) as children:
        return sorted(
            child.name.removesuffix(suffix)
            for child in children
            if child.name.endswith(suffix) and not child.name.startswith(".") and child.is_dir() == (not suffix)
        )


def _strongest(entries: Sequence[ClipEntry]) -> dict[str, str]:
    strongest: dict[str, str] = {}
    for entry in entries:
        if entry.group and STRENGTH[entry.split] >= STRENGTH[strongest.get(entry.group, "train")]:
            strongest[entry.group] = entry.split
    return strongest


def _check_name(row: Row) -> None:
    name = row.entry.sample_id
    if "/" in name or not name.isprintable() or len(name) > _MAX_ID:
        raise DatasetError(
            f"{row.where}: expected a clip's name of at most {_MAX_ID} printable characters without /, got "
            f"{name[:60]!r}.",
            code="dataset-bad-list",
        )
