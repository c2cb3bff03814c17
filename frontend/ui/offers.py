"""What the form of a run offers that its schema does not know: datasets, subsets and finished runs, by their names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import streamlit as st

from frontend.ui import words
from frontend.ui.form import SOURCE
from frontend.ui.panels.header import run_title
from frontend.ui.service import api_key, api_url, client
from worker.contract.resources import Beat

MOST: Final = 200
"""Items that a field offers; older ones have their page."""


def datasets() -> dict[str, str]:
    """Returns the registered datasets: id -> name."""
    found = client().datasets(limit=MOST).items
    return {item.id: f"{item.id} ({item.kind}, {words.state_words(item.state).lower()})" for item in found}


def device_fields(workers: Iterable[Beat]) -> tuple[str, ...]:
    """Returns the fields of a run that say where it trains, as far as there is a choice.

    Args:
        workers: by their beats.
    """
    gpus = max(
        (sum(name.startswith("cuda") for name in beat.devices) for beat in workers if beat.queue == "train"), default=0
    )
    return ("device", "num_processes")[: min(gpus, 2)]


def devices() -> tuple[str, ...]:
    """Returns `device_fields` of this server, asked for twice a minute; none where that is not known."""
    return _devices(api_url(), api_key())


@st.cache_data(ttl=30, show_spinner=False)
def _devices(url: str, key: str | None) -> tuple[str, ...]:
    del url, key  # part of the cache's key
    return device_fields(Beat.model_validate(beat) for beat in client().system()["workers"])


class Offers(Mapping[str, Mapping[str, str]]):
    """Path of a field -> value -> name. Runs and subsets of one dataset, asked for when a field is drawn."""

    def __init__(self, fixed: Mapping[str, Mapping[str, str]], dataset_id: str | None) -> None:
        """Asks for nothing yet.

        Args:
            fixed: what is known already.
            dataset_id: whose runs and subsets are offered; None: no dataset is chosen, so none.
        """
        self._known = dict(fixed)
        self._dataset_id = dataset_id

    def __contains__(self, name: object) -> bool:
        return name in self._known or name in ("subset", "start_from") or str(name).startswith(SOURCE)

    def __getitem__(self, name: str) -> Mapping[str, str]:
        if name not in self:
            raise KeyError(name)
        if name not in self._known:
            self._known[name] = self._asked(name)
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)

    def _asked(self, name: str) -> dict[str, str]:
        if self._dataset_id is None:
            return {}
        if name == "subset":
            return {
                item.id: f"{item.name}, version {item.version} ({words.count(item.num_samples, 'clip')})"
                for item in client().subsets(dataset=self._dataset_id, limit=MOST).items
            }
        method = name.removeprefix(SOURCE) if name.startswith(SOURCE) else None
        runs = client().runs(state="finished", dataset=self._dataset_id, objective=method, limit=MOST).items
        return {run.id: f"{run_title(run)} ({run.id})" for run in runs}
