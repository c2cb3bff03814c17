"""The table of precomputed features: all files of a dataset in one mapped array a modality, made once.

    <folder>/<key>/audio.npy, visual.npy    (N, F) float32, rows in the store's order
    <folder>/<key>/table.json               {format, digest}

The key holds names, sizes and times of all files: others or newer ones make another table. The digest is of the values,
so that a run that resumes never goes on with others.

Shapes: B clips of a batch, N samples of the store, F features.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from worker.contract.errors import TrainingError
from worker.contract.layout import sync_folder, write_json
from worker.encoders.feature_files import MODALITIES, find_files, read_features

TABLE_FORMAT = 1
TABLE_FILE = "table.json"
FILES_A_PULSE = 256


@dataclass(frozen=True, eq=False)
class FeatureTable:
    """Features of all clips.

    Attributes:
        audio: (N, F) float32, mapped.
        visual: (N, F) float32, mapped.
        digest: of the values.
    """

    audio: NDArray[np.float32]
    visual: NDArray[np.float32]
    digest: str

    def batch(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Returns copies of the audio and the visual features of some rows, twice (B, F).

        Args:
            rows: (B,) store indices.
        """
        return self.audio[rows], self.visual[rows]


def feature_table(
    root: Path, sample_ids: Sequence[str], folder: Path, alive: Callable[[], object] = lambda: None
) -> FeatureTable:
    """Returns the features of a dataset, from the table in `folder` or else from the files.

    Args:
        root: the features' folder (see worker.encoders.feature_files).
        sample_ids: N ids in the store's order.
        folder: where tables are kept.
        alive: called now and then while files are read.

    Raises:
        TrainingError: files are missing (all are named or counted before one is read), cannot be used or differ in
            their number of features.
    """
    files = {modality: find_files(root, modality, sample_ids) for modality in MODALITIES}
    place = folder / _key(files)
    if not (place / TABLE_FILE).is_file():
        _build(files, place, alive)
    audio, visual = (np.load(place / f"{modality}.npy", mmap_mode="r") for modality in MODALITIES)
    return FeatureTable(audio, visual, json.loads((place / TABLE_FILE).read_text())["digest"])


def _key(files: dict[str, list[Path]]) -> str:
    """Returns a name that is another one as soon as any file is another one."""
    digest = hashlib.sha256(str(TABLE_FORMAT).encode())
    for path in (path for paths in files.values() for path in paths):
        found = path.stat()
        digest.update(f"{path}\0{found.st_size}\0{found.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def _build(files: dict[str, list[Path]], place: Path, alive: Callable[[], object]) -> None:
    """Reads all files into a table that appears whole or not at all."""
    partial = place.with_name(f".{place.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        digest = hashlib.sha256()
        for modality, paths in files.items():
            _fill(paths, partial / f"{modality}.npy", digest, alive)
        write_json(partial / TABLE_FILE, {"format": TABLE_FORMAT, "digest": digest.hexdigest()[:16]})
        if not place.exists():  # else another run on the same files was faster
            partial.rename(place)
            sync_folder(place.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _fill(paths: list[Path], target: Path, digest: hashlib._Hash, alive: Callable[[], object]) -> None:
    """Reads the files of one modality into one array."""
    size = len(read_features(paths[0]))
    table = open_memmap(target, mode="w+", dtype=np.float32, shape=(len(paths), size))
    for row, path in enumerate(paths):
        features = read_features(path)
        if len(features) != size:
            raise TrainingError(
                f"The features in {path} are {len(features)}, those in {paths[0]} are {size}: all clips need the same "
                "number of features of a modality.",
                code="features-unusable",
            )
        table[row] = features
        digest.update(features.tobytes())
        if row % FILES_A_PULSE == 0:
            alive()
    table.flush()
