"""Features that other models computed, from files: one for each clip and modality.

    <features_root>/audio/<sample_id>.npy     or .safetensors (one tensor, or the one named "features")
    <features_root>/visual/<sample_id>.npy    the same

(F,), or (T, F) which is averaged over time. This module must not know datasets, labels or models.

Shapes: T steps or frames, F features.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from worker.contract.errors import TrainingError

MODALITIES = ("audio", "visual")
SUFFIXES = (".npy", ".safetensors")
NUM_NAMED = 5


def find_files(root: Path, modality: str, sample_ids: Sequence[str]) -> list[Path]:
    """Returns the file of each clip, `.npy` first.

    Args:
        root: the features' folder.
        modality: "audio" or "visual".
        sample_ids: N ids, as the dataset has them.

    Raises:
        TrainingError: clips have none (code features-missing), with their number and the first names.
    """
    folder = root / modality
    present = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    names = [next((f"{clip}{end}" for end in SUFFIXES if f"{clip}{end}" in present), None) for clip in sample_ids]
    missing = [clip for clip, name in zip(sample_ids, names, strict=True) if name is None]
    if missing:
        shown = ", ".join(f"{clip}.npy" for clip in missing[:NUM_NAMED])
        raise TrainingError(
            f"{len(missing)} of {len(sample_ids)} clips have no {modality} features in {folder}: {shown}"
            f"{' ...' if len(missing) > NUM_NAMED else ''}. Expected one .npy or .safetensors file a clip, named by "
            "its sample id, as this worker sees the folder.",
            code="features-missing",
        )
    return [folder / name for name in names if name is not None]


def num_features(root: Path, modality: str) -> int:
    """Returns F of a modality, from its first file; that the others agree is checked when they are read.

    Args:
        root: the features' folder.
        modality: "audio" or "visual".

    Raises:
        TrainingError: there is no file, or it cannot be read.
    """
    folder = root / modality
    found = (
        min((path for path in folder.iterdir() if path.suffix in SUFFIXES), default=None) if folder.is_dir() else None
    )
    if found is None:
        raise TrainingError(
            f"There are no {modality} features in {folder}: expected one .npy or .safetensors file a clip, as this "
            "worker sees the folder.",
            code="features-missing",
        )
    return len(read_features(found))


def read_features(path: Path) -> Float32[NDArray[np.float32], " F"]:
    """Returns the features in a file, averaged over time where it has several steps.

    Args:
        path: .npy (never unpickled) or .safetensors.

    Returns:
        (F,) float32, finite.

    Raises:
        TrainingError: it cannot be read, has another shape or type, or holds values that are not finite.
    """
    try:
        values = _tensor(path) if path.suffix == ".safetensors" else np.load(path, allow_pickle=False)
    except (ValueError, EOFError, KeyError, SafetensorError) as error:
        raise _unusable(path, f"it cannot be read ({error})") from error
    if values.ndim not in (1, 2) or 0 in values.shape or values.dtype.kind not in "fiu":
        raise _unusable(path, f"got {values.dtype} of the shape {values.shape}")
    features: NDArray[np.float32] = values.astype(np.float32)
    features = features if features.ndim == 1 else features.mean(axis=0)
    if not np.isfinite(features).all():
        raise _unusable(path, "it holds values that are not finite")
    return features


def _tensor(path: Path) -> NDArray[np.generic]:
    """Returns the one tensor of a safetensors file, or the one named "features"."""
    with safe_open(path, framework="numpy") as file:
        names = list(file.keys())
        tensor: NDArray[np.generic] = file.get_tensor(names[0] if len(names) == 1 else "features")
    return tensor


def _unusable(path: Path, what: str) -> TrainingError:
    return TrainingError(
        f"The features in {path} cannot be used: {what}; expected finite numbers of the shape (features,) or "
        "(steps, features). Write the file anew.",
        code="features-unusable",
    )
