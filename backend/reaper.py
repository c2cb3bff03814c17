"""What the backend does by itself: queue dead jobs again, send lost messages again, rebuild."""

from __future__ import annotations

import asyncio
import logging
import time

from redis.exceptions import RedisError

from backend.jobs import JobTools
from backend.labels import Labels
from backend.rebuild import Rebuilder
from backend.run_jobs import RunJobs
from worker.contract import keys
from worker.contract.keys import JobKind
from worker.contract.ledger import DATASET_PREFIX
from worker.contract.record import JobRecord, Moved, Outcome

log = logging.getLogger(__name__)
TICK_S = 1.0
LOST_MESSAGE_S = 3.0
"""A queued job that no message names for this long gets a new one; one too many harms nobody."""
OTHER_WAIT_S = 15.0
"""How often a worker looks again at a job that waits for something else than a dataset, such as a device."""


class Reaper:
    """A loop that never ends by itself; each turn works in a thread."""

    def __init__(
        self,
        tools: JobTools,
        runs: RunJobs,
        rebuilder: Rebuilder,
        labels: Labels,
    ) -> None:
        self._tools = tools
        self._runs = runs
        self._rebuilder = rebuilder
        self._labels = labels
        self._settled = False
        self._unsent: dict[tuple[JobKind, str], float] = {}

    async def run(self) -> None:
        """Takes a turn each second, whatever a turn runs into."""
        while True:
            try:
                await asyncio.to_thread(self.turn, time.monotonic())
            except RedisError as error:
                log.warning("the reaper waits for Redis: %s", error)
            except Exception:  # it must go on: without it no dead job is taken up again
                log.exception("a turn of the reaper failed")
            await asyncio.sleep(TICK_S)

    def turn(self, now: float) -> None:
        """Looks at everything once.

        Args:
            now: the monotonic clock.
        """
        self._rebuilder.run_if_emptied()
        if not self._settled:
            self._settle()
            self._settled = True
        active = {kind: self._tools.ledger.active(kind) for kind in keys.QUEUES}
        for record in self._tools.watch.look([record for found in active.values() for record in found], now):
            self._reap(record)
        for kind, records in active.items():
            self._send_lost(kind, [record for record in records if record.state == "queued"], now)

    def _settle(self) -> None:
        """Does what is due once; what one step runs into holds up neither the others nor the turns after."""
        for step in (self._rebuilder.bring_back_mended, self._labels.settle, self._tools.ledger.let_streams_go):
            try:
                step()
            except RedisError:  # all of it again in the next turn
                raise
            except Exception:
                log.exception("a step of the reaper at the start failed; the next start tries it again")

    def _reap(self, record: JobRecord) -> None:
        reason = f"its worker {record.holder or ''} gave no sign of life for {self._tools.settings.stale_beat_s:g} s"
        moved = self._tools.ledger.reap(record.kind, record.id, record, reason)
        if not isinstance(moved, Moved):
            return
        log.warning("%s %s: %s; now %s", record.kind, record.id, reason, moved.state)
        if moved.state == "queued":
            self._tools.dispatcher.send(record.kind, record.id)
        elif record.kind == "run":
            self._runs.close_cancelled(record.id, moved)
        elif record.kind == "dataset":
            Outcome.now("cancelled").write(self._tools.home.dataset(record.id).outcome)
        elif record.kind == "batch":
            Outcome.now("cancelled").write(self._tools.home.batch(record.id).outcome)

    def _send_lost(self, kind: JobKind, queued: list[JobRecord], now: float) -> None:
        """Sends a message for each queued job that none names, once it has been so for a while."""
        waiting = {(kind, record.id) for record in queued}
        self._unsent = {key: since for key, since in self._unsent.items() if key[0] != kind or key in waiting}
        if not queued:
            return
        messages = "\n".join(self._tools.live.messages(kind))
        for record in queued:
            self._check_dataset(record)
            if record.id in messages:
                self._unsent.pop((kind, record.id), None)
                continue
            since = self._unsent.setdefault((kind, record.id), now)
            patience = self._patience(record)
            if patience is not None and now - since >= patience and self._tools.dispatcher.send(kind, record.id):
                self._unsent.pop((kind, record.id))

    def _patience(self, record: JobRecord) -> float | None:
        if record.waiting_for is None:
            return LOST_MESSAGE_S
        return None if record.waiting_for.startswith(DATASET_PREFIX) else OTHER_WAIT_S

    def _check_dataset(self, record: JobRecord) -> None:
        """Wakes a run whose dataset has ended, well or badly: the worker that claims it starts or fails it."""
        if record.waiting_for is None or not record.waiting_for.startswith(DATASET_PREFIX):
            return
        dataset = self._tools.ledger.get("dataset", record.waiting_for.removeprefix(DATASET_PREFIX))
        if dataset is None or dataset.ended:
            self._tools.ledger.wait("run", record.id, None)
            self._tools.dispatcher.send("run", record.id)
