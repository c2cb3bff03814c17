"""Every random choice of a run, derived from its seed and a purpose: nothing draws from a shared generator.

So the sample order and the augmentation are functions of (seed, epoch, sample id): neither a restart nor the number of
loader threads nor the order of the store changes them.

Shapes: N samples.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int64, UInt64
from numpy.typing import NDArray


def derive_seed(seed: int, *purpose: str | int) -> int:
    """Returns a seed for one purpose, 0 to 2^31 - 1.

    Args:
        seed: the run's.
        purpose: words and numbers that tell this use from all others.

    Source: ours.
    """
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "little") >> 1


def sample_keys(sample_ids: Sequence[str]) -> UInt64[np.ndarray, " N"]:
    """Returns a 64-bit key of each sample id, the same in every process and store.

    Args:
        sample_ids: N ids.

    Source: ours.
    """
    digests = b"".join(hashlib.blake2b(sample_id.encode(), digest_size=8).digest() for sample_id in sample_ids)
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


def epoch_permutation(
    rows: Int64[np.ndarray, " N"], keys: UInt64[np.ndarray, " N"], *, seed: int, epoch: int
) -> Int64[np.ndarray, " N"]:
    """Returns the order in which an epoch visits rows, as positions in `rows`.

    Args:
        rows: (N,) store indices; one may stand in it more than once.
        keys: (N,) of these rows, see `sample_keys`.
        seed: the run's.
        epoch: from 1.

    Returns:
        (N,) positions 0 to N - 1, sorted by a hash of (seed, epoch, sample id, occurrence).

    Source: ours.
    """
    stable = np.lexsort((rows, keys))
    keys = keys[stable]
    first = np.concatenate([[True], keys[1:] != keys[:-1]]) if len(keys) else np.zeros(0, dtype=bool)
    starts = np.flatnonzero(first)
    occurrence = np.arange(len(keys)) - np.repeat(starts, np.diff([*starts, len(keys)]))
    salt = np.uint64(derive_seed(seed, "order", epoch))
    mixed = _mix(_mix(keys ^ salt) + occurrence.astype(np.uint64))
    order: NDArray[np.int64] = stable[np.lexsort((keys, mixed))].astype(np.int64)
    return order


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Returns the finaliser of splitmix64 (Steele et al. 2014): each bit of the input moves every bit of the output."""
    mixed = values + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
