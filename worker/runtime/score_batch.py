"""Scores the clips of a folder or a manifest in the pool process of the score queue, beside the loaded models.

A batch gives way: when an uploaded clip waits, it goes back to the end of the queue. Rows that are written are never
computed again, whoever goes on, and after however many kills.
"""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import redis
from pydantic import ValidationError

from worker.contract.errors import ConflictError, CorruptRecordError, GapscopeError, LostLeaseError, MediaError
from worker.contract.full_disk import is_full
from worker.contract.layout import BatchFolder, write_json
from worker.contract.lock import FolderBusyError, FolderLock
from worker.contract.record import Change, Claim, Outcome, Refusal, Renewal, read_outcome, read_spec
from worker.contract.score_batches import BatchProgress, ScoreBatchRequest
from worker.datasets.clip_list import list_clips
from worker.datasets.roots import divide
from worker.datasets.source import ClipEntry
from worker.engine.infer import Scorer
from worker.engine.machine import num_cores
from worker.engine.score_table import failed_row, scored_rows, skipped_row, write_table
from worker.media.container import DecodeLimits
from worker.media.decode import DecodedClip
from worker.media.sandbox import DecodePool
from worker.media.wire import DecodeJob, Window
from worker.runtime.beating import Beating
from worker.runtime.row_file import Key, RowFile
from worker.runtime.score import checkpoint_of, models
from worker.runtime.supervisor import HELD, Surroundings

log = logging.getLogger(__name__)
MAX_PASS = 16
"""Clips of one pass."""
EVERY_S = 1.0
"""How often rows are written and progress is told, at the latest."""


def score_batch(batch_id: str, around: Surroundings) -> None:
    """Works on a batch if it is there to be done; a message too many ends here without harm."""
    if around.stopping():
        return  # it stays queued; the reaper sends another message
    folder = around.home.batch(batch_id)
    try:
        claim = around.ledger.claim("batch", batch_id, around.holder())
        if isinstance(claim, Refusal):
            log.info("batch %s: not claimed: %s", batch_id, claim.value)
            return
        with Beating(around.ledger, claim) as beating:
            try:
                outcome = read_outcome(folder.outcome) or _outcome(folder, claim, around, beating)
            except OSError as error:
                if not is_full(error):
                    raise
                log.warning("batch %s: %s", batch_id, error)
                around.ledger.yield_("batch", batch_id, claim.token, str(error), waiting_for=f"disk space ({error})")
                return
        if outcome is None:
            change = around.ledger.yield_(
                "batch", batch_id, claim.token, "uploaded clips, or the worker's end, go first"
            )
            if change is Change.OK:
                around.send("batch", batch_id)
            if change is not Change.REFUSED:
                return
            outcome = Outcome.now("cancelled")  # someone asked for that in between
            outcome.write(folder.outcome)
        around.ledger.transition("batch", batch_id, claim.token, HELD, outcome.state, error=outcome.error)
    except (LostLeaseError, FolderBusyError) as error:
        log.warning("batch %s: %s", batch_id, error.detail)
    except redis.RedisError as error:  # the reaper sends it again; rows that are written are kept
        log.warning("batch %s: Redis does not answer: %s", batch_id, error)


def _outcome(folder: BatchFolder, claim: Claim, around: Surroundings, beating: Beating) -> Outcome | None:
    """Returns how the batch ended, written to outcome.json; None when it is to go on later.

    Raises:
        LostLeaseError: when another holder has it.
        FolderBusyError: when another process writes there.
    """
    lock = FolderLock.acquire(folder.lock, token=claim.token)
    try:
        try:
            if claim.exhausted:
                raise CorruptRecordError(f"The batch ended its process {claim.deaths} times.", code="process-died")
            outcome = _Work(folder, claim, around, beating).run()
        except (LostLeaseError, redis.RedisError):
            raise
        except GapscopeError as error:
            outcome = Outcome.now("failed", error.problem())
        except Exception as error:
            if is_full(error):
                raise
            log.exception("batch %s", claim.id)
            problem = GapscopeError(f"An unexpected error ended the batch: {error!r}.").problem()
            outcome = Outcome.now("failed", problem)
        if outcome is not None:
            outcome.write(folder.outcome)
        return outcome
    finally:
        lock.release()


class _Work:
    """One claim of a batch, from here to its end or until something else goes first."""

    def __init__(self, folder: BatchFolder, claim: Claim, around: Surroundings, beating: Beating) -> None:
        self._folder = folder
        self._claim = claim
        self._around = around
        self._beating = beating
        self._begun = time.monotonic()
        self._flushed = self._begun
        self._num_before = 0
        self._wanted: dict[Key, None] = {}
        self._gives_way = False
        self._waiting: list[tuple[ClipEntry, DecodedClip]] = []

    def run(self) -> Outcome | None:
        """Returns how the batch ended; None when it is to go on later."""
        asked = self._asked()
        scorer = self._scorer(asked)
        entries, skipped = list_clips(Path(asked.path))
        entries, outside = divide(entries, self._around.settings.data_roots)
        clips = {(entry.sample_id, str(entry.path)): entry for entry in entries}
        left_out = {(clip.sample_id, clip.path): clip for clip in (*skipped, *outside)}
        for key in left_out.keys() & clips.keys():  # a name that is no text, escaped as another file is named
            log.warning("batch %s: %s stands for two files; one is left out: rename it", self._claim.id, key[1])
            del left_out[key]
        self._wanted = dict.fromkeys((*clips, *left_out))
        with RowFile(self._folder.rows) as rows:
            self._num_before = self._done(rows)
            rows.write([skipped_row(clip) for key, clip in left_out.items() if not rows.has(*key)])
            todo = [entry for key, entry in clips.items() if not rows.has(*key)]
            self._tell(rows)
            if todo and not self._should_stop():
                self._score(scorer, todo, rows)
            self._tell(rows)
            if self._beating.answer is Renewal.LOST:
                raise LostLeaseError(f"The batch {self._claim.id} belongs to another worker now.")
            cancelled, is_whole = self._cancelled(), self._done(rows) == len(self._wanted)
            if not is_whole and not cancelled:
                return None
            write_table(self._folder.table, rows.in_order(self._wanted))
        return Outcome.now("finished" if is_whole else "cancelled")

    def _asked(self) -> ScoreBatchRequest:
        record = read_spec(self._folder.spec)
        if record is None:
            raise CorruptRecordError(f"{self._folder.spec} is gone. Ask for the batch again.")
        try:
            return ScoreBatchRequest.model_validate(record.spec)
        except ValidationError as error:
            raise CorruptRecordError(f"{self._folder.spec} cannot be read: {error.errors()[0]['msg']}.") from error

    def _scorer(self, asked: ScoreBatchRequest) -> Scorer:
        """Returns the model: that of the first claim, so that all rows are by the same weights."""
        checkpoints = self._around.home.run(asked.run_id).checkpoints
        epoch = asked.epoch
        if self._folder.plan.exists():
            epoch = int(json.loads(self._folder.plan.read_bytes())["epoch"])
        try:
            scorer = models().scorer(checkpoint_of(checkpoints, epoch))
        except FileNotFoundError as error:
            raise ConflictError(f"The checkpoint is gone: {error}. Ask again.", code="no-checkpoint") from None
        if not self._folder.plan.exists():
            write_json(self._folder.plan, {"epoch": scorer.epoch})
        return scorer

    def _score(self, scorer: Scorer, todo: list[ClipEntry], rows: RowFile) -> None:
        num_processes = min(self._around.settings.prepare_processes or num_cores(), len(todo))
        with DecodePool(num_processes) as pool:
            for place, answer in pool.run(_jobs(scorer, todo), should_stop=self._should_stop):
                if isinstance(answer, MediaError):
                    rows.write([failed_row(todo[place], answer.code, answer.detail)])
                else:
                    self._waiting.append((todo[place], answer[0]))
                if len(self._waiting) >= MAX_PASS or time.monotonic() - self._flushed >= EVERY_S:
                    self._flush(scorer, rows)
            self._flush(scorer, rows)

    def _flush(self, scorer: Scorer, rows: RowFile) -> None:
        """Scores and writes what was decoded, tells how far it is, and sees whether something else goes first."""
        rows.write(scored_rows(scorer, self._waiting))
        rows.sync()
        self._waiting = []
        if time.monotonic() - self._flushed >= EVERY_S:
            self._flushed = time.monotonic()
            self._tell(rows)
            with contextlib.suppress(redis.RedisError):
                self._gives_way = any(job.state == "queued" for job in self._around.ledger.active("score"))

    def _cancelled(self) -> bool:
        return self._beating.answer is Renewal.CANCEL or self._folder.cancel.exists()

    def _should_stop(self) -> bool:
        lost = self._beating.answer is Renewal.LOST
        return lost or self._gives_way or self._around.stopping() or self._cancelled()

    def _done(self, rows: RowFile) -> int:
        return rows.count(self._wanted.keys())

    def _tell(self, rows: RowFile) -> None:
        done, total = self._done(rows), len(self._wanted)
        gained = (done - self._num_before) / max(time.monotonic() - self._begun, 1e-3)
        progress = BatchProgress(
            done=done,
            total=total,
            failed=rows.count_failed(self._wanted.keys()),
            fraction=done / max(total, 1),
            eta_s=(total - done) / gained if gained > 0 else None,
            clips_per_s=gained or None,
        )
        with contextlib.suppress(redis.RedisError):  # an outage stops nobody
            self._around.ledger.set_progress(
                "batch", self._claim.id, self._claim.token, progress.model_dump_json(), done=done
            )


def _jobs(scorer: Scorer, todo: list[ClipEntry]) -> Iterator[tuple[int, DecodeJob]]:
    window, limits = Window.of(scorer.preprocess), DecodeLimits()
    for place, entry in enumerate(todo):
        audio_path = str(entry.audio_path) if entry.audio_path else None
        job = DecodeJob(
            str(entry.path), window, limits, audio_path=audio_path, start_s=entry.start_s, end_s=entry.end_s
        )
        yield place, job
