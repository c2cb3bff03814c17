"""Batches in the Python client: score a folder or a manifest, follow it, read its table as a data frame."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from frontend.client.files import save
from frontend.client.follow import ENDED
from frontend.client.pages import Page
from frontend.client.transport import Transport, typed, typed_page
from worker.contract.errors import GapscopeError
from worker.contract.score_batches import ScoreBatch, TableFormat

if TYPE_CHECKING:
    import pandas

POLL_S = 0.5
TABLE_TIMEOUT_S = 120.0
OnBatch = Callable[[ScoreBatch], None]


class BatchCalls:
    """The part of the client that scores many clips at once."""

    _transport: Transport

    def score_batch(
        self,
        path: str | os.PathLike[str],
        run_id: str,
        *,
        epoch: int | None = None,
        format: TableFormat = "csv",
        wait: bool = True,
        timeout_s: float | None = None,
        on_progress: OnBatch | None = None,
    ) -> ScoreBatch:
        """Scores the clips of a folder or a manifest where the API runs; nothing is uploaded.

        Args:
            path: a folder, or a CSV file with a column `path`, as the server sees it.
            run_id: the run whose model scores.
            epoch: the epoch whose checkpoint to use; by default the chosen one.
            format: what the table's address gives by default.
            wait: wait until it has ended; else the batch returned is still queued.
            timeout_s: how long to wait, seconds; None: as long as it takes.
            on_progress: told how far it is.

        Raises:
            GapscopeError: with the code `timeout`, when it has not ended in time; it goes on all the same.
        """
        body = {"run_id": run_id, "path": str(path), "epoch": epoch, "format": format}
        batch = typed(ScoreBatch, self._transport.post("/scores/batch", body))
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while wait and batch.state not in ENDED:
            if deadline is not None and time.monotonic() > deadline:
                raise GapscopeError(
                    f"The batch {batch.id} should have ended within {timeout_s:.0f} s; it is {batch.state} with "
                    f"{batch.progress.done} of {batch.progress.total} clips. It goes on: get_batch({batch.id!r}).",
                    code="timeout",
                )
            time.sleep(POLL_S)
            batch = self.get_batch(batch.id)
            if on_progress is not None:
                on_progress(batch)
        return batch

    def get_batch(self, batch_id: str) -> ScoreBatch:
        """Returns a batch as it is now."""
        return typed(ScoreBatch, self._transport.get(f"/scores/batch/{batch_id}"))

    def batches(
        self, *, run_id: str | None = None, limit: int | None = None, cursor: str | None = None
    ) -> Page[ScoreBatch]:
        """Returns a page of batches, newest first."""
        return typed_page(ScoreBatch, self._transport.get("/scores/batch", run_id=run_id, limit=limit, cursor=cursor))

    def cancel_batch(self, batch_id: str) -> ScoreBatch:
        """Asks a batch to end; the rows so far become its table."""
        return typed(ScoreBatch, self._transport.post(f"/scores/batch/{batch_id}/cancel"))

    def resume_batch(self, batch_id: str) -> ScoreBatch:
        """Queues a failed or cancelled batch again; clips that have a row are not scored again."""
        return typed(ScoreBatch, self._transport.post(f"/scores/batch/{batch_id}/resume"))

    def delete_batch(self, batch_id: str) -> int:
        """Deletes an ended batch and its table; returns the bytes that this freed."""
        return int(self._transport.decoded(self._transport.send("DELETE", f"/scores/batch/{batch_id}"))["freed_bytes"])

    def batch_table(self, batch_id: str) -> pandas.DataFrame:
        """Returns a batch's table as a data frame, one row a clip."""
        import pandas

        address = f"/scores/batch/{batch_id}/table"
        response = self._transport.send("GET", address, parameters={"format": "parquet"}, timeout=TABLE_TIMEOUT_S)
        return pandas.read_parquet(io.BytesIO(response.content))

    def save_batch(
        self, batch_id: str, path: str | os.PathLike[str], *, format: Literal["csv", "parquet"] = "csv"
    ) -> int:
        """Writes a batch's table into a file; returns its bytes. The file appears once it is complete."""
        address = f"/scores/batch/{batch_id}/table"
        with self._transport.stream(address, {}, TABLE_TIMEOUT_S, format=format) as response:
            return save(response.iter_bytes(), Path(path))
