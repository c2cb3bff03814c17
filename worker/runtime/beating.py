"""Renewing a claim each second while a body works in this process."""

from __future__ import annotations

import threading
from typing import Self

import redis

from worker.contract.ledger import Ledger
from worker.contract.record import Claim, Renewal

BEAT_S = 1.0


class Beating:
    """Renews a claim each second while its body works, and keeps the ledger's last word."""

    def __init__(self, ledger: Ledger, claim: Claim) -> None:
        self.answer = Renewal.OK
        self._ledger = ledger
        self._claim = claim
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="score-beat", daemon=True)

    def _run(self) -> None:
        while not self._done.wait(BEAT_S):
            try:
                self.answer = self._ledger.renew(self._claim)
            except redis.RedisError:
                continue  # nobody took the job: go on

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
