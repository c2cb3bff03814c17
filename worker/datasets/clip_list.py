"""The clips to score in a folder or a manifest: listed as a dataset's, but labels are optional and nothing is split.

In a folder the first folder below it that is no split names the label; clips that lie in the folder itself have none. A
sound file without a video is a clip too.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from worker.contract.errors import DatasetError
from worker.contract.resources import SkippedClip
from worker.datasets.folder import SPLIT_NAMES, class_entries
from worker.datasets.manifest import present, read_entries
from worker.datasets.source import ClipEntry

Listed = tuple[list[ClipEntry], list[SkippedClip]]


def list_clips(path: Path) -> Listed:
    """Returns the clips, in the order of the manifest or of their paths, and the files that cannot be clips.

    Args:
        path: a folder, or a manifest whose column `label` may be missing.

    Raises:
        DatasetError: dataset-not-found, dataset-empty, dataset-bad-manifest, dataset-duplicate-ids.
    """
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
    except OSError as error:
        raise _not_found(path, str(error.strerror)) from None
    if not is_folder and not is_file:
        raise _not_found(path, "there is none")
    entries, skipped = _in_folder(path) if is_folder else _in_manifest(path)
    if not entries and not skipped:
        raise DatasetError(f"{path} holds no clip.", code="dataset-empty")
    return entries, skipped


def _not_found(path: Path, why: str) -> DatasetError:
    return DatasetError(
        f"Expected a folder or a CSV file at {str(path)[:500]}: {why}. Give its path as the server sees it.",
        code="dataset-not-found",
    )


def _in_manifest(path: Path) -> Listed:
    _, entries, _ = read_entries(path, required=("path",))
    return present(entries)


def _in_folder(root: Path) -> Listed:
    left_out: list[SkippedClip] = []
    entries = list(class_entries(root, root, "", left_out))
    # Training needs both modalities; scoring does not.
    sounds = [clip for clip in left_out if clip.code == "media-no-visual"]
    entries += [ClipEntry(clip.sample_id, Path(clip.path), "", "") for clip in sounds]
    labelled = [replace(entry, label=_label(root, entry.path), group=None) for entry in entries]
    return sorted(labelled, key=lambda entry: entry.path), [clip for clip in left_out if clip not in sounds]


def _label(root: Path, path: Path) -> str:
    """Returns the name of the first folder between that is no split; empty where there is none."""
    between = path.relative_to(root).parts[:-1]
    if between and between[0].lower() in SPLIT_NAMES:
        between = between[1:]
    return between[0] if between else ""
