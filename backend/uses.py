"""Which runs use which dataset, counted from the index of runs."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from backend.live import Live


@dataclass(frozen=True)
class DatasetUses:
    """The runs on each dataset at one moment."""

    _counts: Counter[str] = field(default_factory=Counter)
    _active: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def now(cls, live: Live) -> DatasetUses:
        """Returns the uses as Redis knows them now."""
        counts = Counter(facts.dataset_id for facts in live.fixed_facts("run").values())
        active: defaultdict[str, list[str]] = defaultdict(list)
        for record in live.active("run"):
            active[record.facts.dataset_id].append(record.id)
        return cls(counts, dict(active))

    def num_runs(self, dataset_id: str) -> int:
        """Returns how many runs name a dataset, ended ones too."""
        return self._counts[dataset_id]

    def datasets(self) -> set[str]:
        """Returns the datasets that runs name, ended ones too."""
        return set(self._counts)

    def active(self, dataset_id: str) -> list[str]:
        """Returns the runs that need a dataset now."""
        return self._active.get(dataset_id, [])
