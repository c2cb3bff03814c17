"""Runs the cells of a leaderboard over the API: reuses what is there, keeps a few in flight, fills in earlier runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from frontend.client import GapscopeClient
from frontend.leaderboard.plan import Cell, dataset_id_of, identity, missing_source, objective_of, reusable
from worker.contract.errors import GapscopeError, InvalidRequestError, NotFoundError
from worker.contract.resources import Run
from worker.contract.spec import RunSpec

TAG = "leaderboard"
PAGE = 200
POLL_S = 0.5
_REFUSED = (400, 404, 409, 422)
"""Answers to a launch that another try would get again; the cell fails with them, the others go on."""
_QUEUE_FULL = 429


class Bench:
    """The cells of one leaderboard. Killed at any time, it goes on when it is made again: the runs are the record."""

    def __init__(
        self,
        client: GapscopeClient,
        base: Mapping[str, Any],
        cells: Sequence[Cell],
        *,
        tags: Sequence[str] = (),
        most_in_flight: int = 8,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        """Takes what is to be run.

        Args:
            client: of the API.
            base: a run's spec without objective and seed.
            cells: what is wanted.
            tags: of new runs, beside `leaderboard`.
            most_in_flight: runs queued or running at a time, at least 1.
            say: told of each run in one line.
        """
        self.cells = list(cells)
        self._client, self._base, self._tags = client, dict(base), [TAG, *tags]
        self._most_in_flight, self._say = most_in_flight, say
        self._known: dict[str, Run] = {}

    def run(self) -> None:
        """Returns when every cell has ended.

        Raises:
            InvalidRequestError: the base is no valid spec.
            GapscopeError: the API is not there, or cannot take runs at all. Runs in flight go on without us.
        """
        try:
            dataset = dataset_id_of(RunSpec.model_validate({**self._base, "tags": self._tags}))
        except ValidationError as error:
            raise InvalidRequestError(f"The spec of the runs is not valid: {_said(error)}.") from None
        self._known = reusable(self._all_runs(dataset))
        while not all(cell.ended for cell in self.cells):
            self._begin_what_can_begin()
            for cell in self.cells:
                if cell.in_flight:
                    self._look_at(cell)
            if not all(cell.ended for cell in self.cells):
                time.sleep(POLL_S)

    def _all_runs(self, dataset: str) -> list[Run]:
        found: list[Run] = []
        cursor: str | None = None
        while True:
            page = self._client.runs(dataset=dataset, limit=PAGE, cursor=cursor)
            found += page.items
            if page.next is None:
                return found
            cursor = page.next

    def _begin_what_can_begin(self) -> None:
        for cell in self.cells:
            if sum(one.in_flight for one in self.cells) >= self._most_in_flight:
                return
            if cell.run is not None or cell.ended:
                continue
            objective, missing = objective_of(cell, self.cells), missing_source(cell, self.cells)
            if missing is not None:
                self._end(cell, missing)
            elif objective is not None and not self._begin(cell, objective):
                return

    def _begin(self, cell: Cell, objective: Mapping[str, Any]) -> bool:
        """Finds or launches a cell's run; False when the server's queue is full."""
        fields = {**self._base, "objective": dict(objective), "seed": cell.seed, "tags": self._tags}
        try:
            spec = RunSpec.model_validate(fields)
        except ValidationError as error:
            self._end(cell, f"its spec is not valid: {_said(error)}")
            return True
        cell.run = self._known.get(identity(spec))
        if cell.run is not None:
            cell.reused = True
            self._tell(cell, "reused" if cell.finished else f"{cell.run.state} already")
            return True
        try:
            cell.run = self._client.create_run(fields)
        except GapscopeError as error:
            if error.status == _QUEUE_FULL:
                return False
            if error.status not in _REFUSED:
                raise
            self._end(cell, f"{error.detail} [{error.code}]")
        else:
            self._tell(cell, "launched")
        return True

    def _look_at(self, cell: Cell) -> None:
        assert cell.run is not None
        try:
            cell.run = self._client.run(cell.run.id)
        except NotFoundError:
            self._end(cell, f"the run {cell.run.id} was deleted")
            return
        if cell.run.state == "failed":
            error = cell.run.error
            self._end(cell, f"{error.detail} [{error.code}]" if error else "it failed without a reason")
        elif cell.run.state == "cancelled":
            self._end(cell, "it was cancelled")
        elif cell.finished:
            self._tell(cell, "finished")

    def _end(self, cell: Cell, failure: str) -> None:
        cell.failure = failure
        self._tell(cell, f"failed: {failure}")

    def _tell(self, cell: Cell, what: str) -> None:
        done = sum(one.ended for one in self.cells)
        run = f"{cell.run.id}  " if cell.run else ""
        self._say(f"{done:>3}/{len(self.cells)}  {cell.method}, seed {cell.seed}: {run}{what}")


def _said(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
