"""The runs that a run derives from, read from its spec and its folder."""

from __future__ import annotations

from functools import lru_cache

from worker.contract.layout import RunFolder, SubsetFolder
from worker.contract.spec import RunSpec
from worker.contract.subset_files import read_subset
from worker.contract.subsets import Origin, Subset


@lru_cache(maxsize=1_024)
def _head(folder: SubsetFolder, stamp: int) -> Subset | None:
    del stamp  # part of the cache's key
    return read_subset(folder)


def head_of(folder: SubsetFolder) -> Subset | None:
    """Returns what a subset (or a run's copy of one) is, or None where there is none.

    Raises:
        CorruptRecordError: when the file is damaged.
    """
    try:
        return _head(folder, folder.head.stat().st_mtime_ns)
    except (FileNotFoundError, NotADirectoryError):
        return None


def origins(spec: RunSpec, folder: RunFolder, start_epoch: int | None = None) -> list[Origin]:
    """Returns the runs that a run derives from.

    Args:
        spec: the run's.
        folder: the run's.
        start_epoch: whose weights it starts from, once that is resolved.
    """
    found = []
    if spec.start_from is not None:
        found.append(Origin(run_id=spec.start_from, through="start_from", epoch=start_epoch))
    subset = None if spec.subset is None else head_of(folder.subset)
    if subset is not None:
        found.append(
            Origin(
                run_id=subset.run_id,
                through="subset",
                epoch=subset.epoch,
                subset_id=subset.id,
                subset_name=subset.name,
            )
        )
    named = spec.objective.source_runs().items()
    return [*found, *(Origin(run_id=run_id, through=f"objective.{name}") for name, run_id in named)]


def sources_of(spec: RunSpec, folder: RunFolder) -> tuple[str, ...]:
    """Returns the ids of the runs that a run derives from, each once."""
    return tuple(dict.fromkeys(origin.run_id for origin in origins(spec, folder)))
