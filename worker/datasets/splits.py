"""Cutting clips into splits: by group, with each class in its share, as a pure function of seed and ids."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from worker.datasets.source import ClipEntry

DEFAULT_SHARES = {"train": 0.70, "validation": 0.15, "test": 0.15}
VALIDATION_SHARE = 0.15


def assign_splits(entries: Sequence[ClipEntry], shares: Mapping[str, float], seed: int) -> list[ClipEntry]:
    """Returns the clips, each with a split; clips of one group share a split; a clip without group is its own.

    Groups come in an order drawn from the seed, not from the order of the clips, and each goes where its classes are
    missing most. So shares hold for every class as well as groups allow, and of a class with few clips the largest
    share, training, gets the first.

    Args:
        entries: the clips, in any order; their splits are replaced.
        shares: split -> share; sums to 1.
        seed: another seed, another cut.
    """
    units: dict[str, list[int]] = defaultdict(list)
    for index, entry in enumerate(entries):
        units[f"g:{entry.group}" if entry.group is not None else f"s:{entry.sample_id}"].append(index)
    totals = Counter(entry.label for entry in entries)
    have: dict[str, Counter[str]] = {split: Counter() for split in shares}
    splits = [""] * len(entries)
    for unit in sorted(units, key=lambda name: hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=16).digest()):
        labels = Counter(entries[index].label for index in units[unit])
        chosen = max(shares, key=lambda split: _need(labels, totals, have[split], shares[split]))
        have[chosen].update(labels)
        for index in units[unit]:
            splits[index] = chosen
    return [replace(entry, split=split) for entry, split in zip(entries, splits, strict=True)]


def with_validation(
    entries: Sequence[ClipEntry], seed: int, share: float = VALIDATION_SHARE
) -> tuple[list[ClipEntry], bool]:
    """Returns the clips with a validation split cut from train by group where there was none, and whether it was cut.

    Args:
        entries: the clips.
        seed: of the cut.
        share: of the training clips, 0..1.
    """
    if any(entry.split == "validation" for entry in entries):
        return list(entries), False
    train = [entry for entry in entries if entry.split == "train"]
    cut = iter(assign_splits(train, {"train": 1 - share, "validation": share}, seed))
    return [next(cut) if entry.split == "train" else entry for entry in entries], bool(train)


def _need(labels: Counter[str], totals: Counter[str], have: Counter[str], share: float) -> float:
    """Returns how far a split is below its share of the unit's classes, relative to the share."""
    missing = sum(count * (1 - have[label] / (share * totals[label])) for label, count in labels.items())
    return missing
