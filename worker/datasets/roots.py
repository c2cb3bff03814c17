"""Leaves out clips whose files lie outside the data roots, be it by their path or through a link."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from worker.contract.resources import SkippedClip
from worker.contract.roots import is_within
from worker.datasets.source import ClipEntry, DatasetListing

CODE = "media-outside-roots"


def keep_within(listing: DatasetListing, roots: Sequence[Path]) -> DatasetListing:
    """Returns a listing without the clips outside; clips that the product makes itself stay."""
    if not roots:
        return listing
    inside, outside = divide(listing.entries, roots)
    return replace(listing, entries=inside, skipped=[*listing.skipped, *outside]) if outside else listing


def divide(entries: Sequence[ClipEntry], roots: Sequence[Path]) -> tuple[list[ClipEntry], list[SkippedClip]]:
    """Returns the clips whose files all lie under the roots, and the others with the reason."""
    inside: list[ClipEntry] = []
    outside: list[SkippedClip] = []
    for entry in entries:
        files = [path for path in (entry.path, entry.audio_path) if path is not None]
        if entry.maker is not None or all(is_within(path, roots) for path in files):
            inside.append(entry)
        else:
            reason = "The file lies outside the folders that this server opens (GAPSCOPE_DATA_ROOTS)."
            outside.append(SkippedClip(sample_id=entry.sample_id, path=str(entry.path), code=CODE, reason=reason))
    return inside, outside
