"""Scores as jobs: take an upload in, read what became of it, keep no more than the settings allow."""

from __future__ import annotations

import logging
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from backend.archive import read_json
from backend.disk import freeable_bytes
from backend.event_log import EventLog
from backend.jobs import JobTools
from backend.media import MediaAddresses
from backend.presenting import shown_state
from backend.problems import invalid_field
from backend.retention import Freed, Retention
from backend.run_jobs import RunJobs
from backend.score_samples import read_asked, take
from backend.stores import Stores
from backend.upload_slots import UploadSlots
from backend.uploads import FormReader, Incoming, StoredForm, check_clip
from worker.contract.errors import ConflictError, CorruptRecordError
from worker.contract.layout import checked_id, new_id, sync_folder, write_atomically
from worker.contract.record import Change, JobFacts, JobRecord, ScoreOutcome, read_score_outcome
from worker.contract.scores import (
    MAX_HOP_S,
    MIN_HOP_S,
    ProbabilityByModality,
    SampleToScore,
    Score,
    ScoreRequest,
    ScoreResult,
    ScoreSummary,
    require_clips,
)

log = logging.getLogger(__name__)
FIELDS = {"run_id", "label", "window_hop_s"}
FILES = {"file", "audio_file"}


class ScoreJobs:
    """Accepts uploads and shows their scores."""

    def __init__(
        self,
        tools: JobTools,
        runs: RunJobs,
        events: EventLog,
        stores: Stores,
        media: MediaAddresses,
        slots: UploadSlots,
    ) -> None:
        self._tools = tools
        self._runs = runs
        self._events = events
        self._stores = stores
        self._media = media
        self._slots = slots

    async def accept(self, incoming: Incoming, *, owner: str) -> str:
        """Takes an upload (a form), or a dataset's clip (JSON), in; files and request are on the disk then.

        Gives the score's id.

        Nothing is left on the disk when the upload is refused or cut off.

        Raises:
            GapscopeError: when the form, the run, the label or a file cannot be used, or there is no room.
        """
        expected = self._tools.settings.max_upload_bytes if incoming.num_bytes is None else incoming.num_bytes
        async with self._slots.admitted(self._tools, "score", owner, expected):
            return await self._take_in(incoming, owner)

    async def _take_in(self, incoming: Incoming, owner: str) -> str:
        score_id = new_id("score")
        folder = self._tools.home.scores / f".{score_id}.partial"
        folder.mkdir()
        try:
            if incoming.content_type.split(";")[0].strip().lower() == "application/json":
                await run_in_threadpool(self._admit_sample, score_id, folder, await read_asked(incoming.stream), owner)
            else:
                limit = self._tools.settings.max_upload_bytes
                reader = FormReader(incoming.content_type, folder, fields=FIELDS, files=FILES, max_file=limit)
                await run_in_threadpool(self._admit, score_id, folder, await reader.read(incoming.stream), owner)
        except BaseException:
            await run_in_threadpool(shutil.rmtree, folder, ignore_errors=True)
            raise
        return score_id

    def _admit(self, score_id: str, folder: Path, form: StoredForm, owner: str) -> None:
        run_id, label = form.fields.get("run_id"), form.fields.get("label") or None
        if run_id is None:
            raise _missing("run_id", "the id of a run with a finished epoch")
        if "file" not in form.files:
            raise _missing("file", "a clip")
        run = self._scoring_run(run_id)
        if label is not None:
            self._require_label(run, label)
        hop_s = _hop_s(form.fields.get("window_hop_s"))
        names = {}
        for name, stored in form.files.items():
            suffix = check_clip(stored)
            stored.path.rename(stored.path.with_name(f"{name}{suffix}"))
            names[name] = f"{name}{suffix}"
        request = ScoreRequest(
            id=score_id,
            run_id=run.id,
            filename=form.files["file"].filename,
            file=names["file"],
            audio_file=names.get("audio_file"),
            label=label,
            window_hop_s=hop_s,
            created_at=datetime.now(UTC),
            owner=owner,
        )
        self._queue(request, folder)

    def _admit_sample(self, score_id: str, folder: Path, asked: SampleToScore, owner: str) -> None:
        run, label = self._scoring_run(asked.run_id), asked.label
        if label is not None:
            self._require_label(run, label)
        taken = take(asked, folder, self._tools.home, self._stores, self._tools.settings.max_upload_bytes)
        own = taken.clip.sample.label
        request = ScoreRequest(
            id=score_id,
            run_id=run.id,
            filename=asked.sample_id,
            file=taken.file,
            audio_file=taken.audio_file,
            label=label or (own if own in self._classes(run) else None),
            window_hop_s=asked.window_hop_s,
            **taken.request_fields(),
            dataset_id=asked.dataset_id,
            sample_id=asked.sample_id,
            created_at=datetime.now(UTC),
            owner=owner,
        )
        self._queue(request, folder)

    def _queue(self, request: ScoreRequest, folder: Path) -> None:
        """Makes a complete folder a score and sends it to the workers."""
        write_atomically(folder / "request.json", request.model_dump_json(indent=1).encode())
        there = self._tools.home.score(request.id).path
        folder.rename(there)
        sync_folder(self._tools.home.scores)
        facts = JobFacts(run_id=request.run_id, filename=request.filename, label=request.label)
        created_ms = int(request.created_at.timestamp() * 1_000)
        self._tools.admit("score", request.id, created_ms=created_ms, facts=facts, owner=request.owner, folder=there)
        self._tools.dispatcher.send("score", request.id)

    def _scoring_run(self, run_id: str) -> JobRecord:
        run = self._runs.require_checkpoint(checked_id(run_id, "run"))
        require_clips(run.facts.encoder)
        return run

    def _classes(self, run: JobRecord) -> list[str]:
        facts = self._stores.facts(run.facts.dataset_id)
        return list(facts.classes) if facts is not None else self._events.classes(run.id)

    def _require_label(self, run: JobRecord, label: str) -> None:
        classes = self._classes(run)
        if label not in classes:
            some = ", ".join(classes[:20]) + (", ..." if len(classes) > 20 else "")
            raise invalid_field(
                "label", expected=f"a class of the run: {some}", got=repr(label[:80]), remedy="Choose one, or none.",
                code="label-unknown",
            )  # fmt: skip

    def shown(self, record: JobRecord) -> Score:
        """Returns a score as the API shows it."""
        request, outcome = self._read(record)
        return Score(
            **self._common(record, request, outcome),
            media=self._media.of_score(record.id, has_audio_file=request.audio_file is not None),
            result=outcome.result if outcome else None,
        )

    def summary(self, record: JobRecord) -> ScoreSummary:
        """Returns a score as a list shows it: no windows, no distributions."""
        request, outcome = self._read(record)
        seen = _at_a_glance(outcome.result) if outcome and outcome.result else {}
        return ScoreSummary(**self._common(record, request, outcome), **seen)

    def _read(self, record: JobRecord) -> tuple[ScoreRequest, ScoreOutcome | None]:
        folder = self._tools.home.score(record.id)
        try:
            request = ScoreRequest.model_validate(read_json(folder.request))
        except ValidationError as error:
            first = error.errors()[0]["msg"]
            raise CorruptRecordError(f"{folder.path} cannot be read: {first}. Upload the clip again.") from None
        return request, read_score_outcome(folder.result) if record.ended else None

    def _common(self, record: JobRecord, request: ScoreRequest, outcome: ScoreOutcome | None) -> dict[str, Any]:
        return {
            "id": record.id,
            "state": shown_state(record, self._tools.watch),
            "run_id": request.run_id,
            "epoch": outcome.epoch if outcome else None,
            "label": request.label,
            "filename": request.filename,
            "dataset_id": request.dataset_id,
            "sample_id": request.sample_id,
            "created_at": request.created_at,
            "finished_at": record.finished_at,
            "error": record.error or (outcome.error if outcome else None),
        }

    def media_file(self, score_id: str, track: str) -> Path | None:
        """Returns an uploaded file, or None when the upload has no such track."""
        folder = self._tools.home.score(score_id)
        request = ScoreRequest.model_validate(read_json(folder.request) or {})
        name = request.file if track == "video" else request.audio_file
        return None if name is None else folder.path / Path(name).name

    def delete(self, score_id: str) -> int:
        """Deletes an ended score's folder for good and returns the bytes that this freed.

        Raises:
            NotFoundError: when there is no such score.
            ConflictError: code `score-active`, while it waits or runs.
        """
        tools = self._tools
        record = tools.record("score", score_id)
        path = tools.home.score(score_id).path
        freed = freeable_bytes(path)
        if not record.ended or tools.ledger.delete("score", score_id) is Change.REFUSED:
            raise ConflictError(
                f"The score {score_id} is {record.state}; wait until it has ended.", code="score-active"
            )
        tools.archive.purge(path)
        return freed

    def expire(self) -> Freed:
        """Deletes ended scores that are too old, too many or too large together; returns what that freed."""
        settings = self._tools.settings
        retention = Retention(settings.score_days * 86_400, settings.max_scores, settings.max_scores_bytes)
        return self._tools.expire("score", retention, self._tools.home.scores)


def _at_a_glance(result: ScoreResult) -> dict[str, Any]:
    """Returns what a summary has of a result."""
    chances = {}
    for name in ("fused", "audio", "visual"):
        probabilities, predicted = getattr(result.probabilities, name), getattr(result.predicted, name)
        chances[name] = None if probabilities is None or predicted is None else probabilities[predicted]
    return {
        "predicted": result.predicted,
        "p_predicted": ProbabilityByModality(**chances),
        "gap": result.gap,
        "gap_of": result.gap_of,
        "posterior_imbalanced": result.posterior_imbalanced,
        "outside_training": None if result.gap_in_training is None else result.gap_in_training.outside,
        "modalities_present": result.modalities_present,
    }


def _missing(field: str, expected: str) -> Exception:
    return invalid_field(field, expected=expected, got="nothing", remedy="Add the field.")


def _hop_s(text: str | None) -> float | None:
    """Returns the seconds from one window to the next that a form asks for, if it does."""
    if not text:
        return None
    try:
        hop_s = float(text)
    except ValueError:
        hop_s = float("nan")
    if MIN_HOP_S <= hop_s <= MAX_HOP_S:
        return hop_s
    raise invalid_field(
        "window_hop_s",
        expected=f"seconds from one window to the next, {MIN_HOP_S:g} to {MAX_HOP_S:g}",
        got=repr(text[:80]),
        remedy="Leave it out for half a window.",
    )
