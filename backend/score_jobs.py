"""Scores as jobs: take an upload in, read what became of it, keep no more than the settings allow."""

from __future__ import annotations

import logging
import shutil
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from backend.archive import read_json
from backend.disk import require_space
from backend.event_log import EventLog
from backend.jobs import JobTools
from backend.media import MediaAddresses
from backend.presenting import shown_state
from backend.problems import invalid_field
from backend.run_jobs import RunJobs
from backend.stores import Stores
from backend.uploads import FormReader, StoredForm, check_clip
from worker.contract.errors import CorruptRecordError
from worker.contract.layout import checked_id, new_id, sync_folder, write_atomically
from worker.contract.record import Change, JobFacts, JobRecord, read_score_outcome
from worker.contract.scores import Score, ScoreRequest

log = logging.getLogger(__name__)
MAX_QUEUED = 100
FIELDS = {"run_id", "label"}
FILES = {"file", "audio_file"}


class ScoreJobs:
    """Accepts uploads and shows their scores."""

    def __init__(self, tools: JobTools, runs: RunJobs, events: EventLog, stores: Stores, media: MediaAddresses) -> None:
        self._tools = tools
        self._runs = runs
        self._events = events
        self._stores = stores
        self._media = media

    async def accept(self, content_type: str, stream: AsyncIterator[bytes]) -> str:
        """Takes an upload in; the files and the request are on the disk when this returns. Gives the score's id.

        Nothing is left on the disk when the upload is refused or cut off.

        Raises:
            GapscopeError: when the form, the run, the label or a file cannot be used, or there is no room.
        """
        settings = self._tools.settings
        await run_in_threadpool(require_space, settings)
        await run_in_threadpool(self._tools.require_place, "score", MAX_QUEUED)
        score_id = new_id("score")
        folder = self._tools.home.scores / f".{score_id}.partial"
        folder.mkdir()
        try:
            reader = FormReader(content_type, folder, fields=FIELDS, files=FILES, max_file=settings.max_upload_bytes)
            form = await reader.read(stream)
            await run_in_threadpool(self._admit, score_id, folder, form)
        except BaseException:
            await run_in_threadpool(shutil.rmtree, folder, ignore_errors=True)
            raise
        return score_id

    def _admit(self, score_id: str, folder: Path, form: StoredForm) -> None:
        run_id, label = form.fields.get("run_id"), form.fields.get("label") or None
        if run_id is None:
            raise _missing("run_id", "the id of a run with a finished epoch")
        if "file" not in form.files:
            raise _missing("file", "a clip")
        run = self._runs.require_checkpoint(checked_id(run_id, "run"))
        if label is not None:
            self._require_label(run, label)
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
            created_at=datetime.now(UTC),
        )
        write_atomically(folder / "request.json", request.model_dump_json(indent=1).encode())
        folder.rename(self._tools.home.score(score_id).path)
        sync_folder(self._tools.home.scores)
        facts = JobFacts(run_id=run.id, filename=request.filename, label=label)
        created_ms = int(request.created_at.timestamp() * 1_000)
        self._tools.ledger.create("score", score_id, created_ms=created_ms, facts=facts)
        self._tools.dispatcher.send("score", score_id)

    def _require_label(self, run: JobRecord, label: str) -> None:
        facts = self._stores.facts(run.facts.dataset_id)
        classes = list(facts.classes) if facts is not None else self._events.classes(run.id)
        if label not in classes:
            some = ", ".join(classes[:20]) + (", ..." if len(classes) > 20 else "")
            raise invalid_field(
                "label", expected=f"a class of the run: {some}", got=repr(label[:80]), remedy="Choose one, or none.",
                code="label-unknown",
            )  # fmt: skip

    def shown(self, record: JobRecord) -> Score:
        """Returns a score as the API shows it."""
        folder = self._tools.home.score(record.id)
        try:
            request = ScoreRequest.model_validate(read_json(folder.request))
            outcome = read_score_outcome(folder.result) if record.ended else None
            return Score(
                id=record.id,
                state=shown_state(record, self._tools.watch),
                run_id=request.run_id,
                epoch=outcome.epoch if outcome else None,
                label=request.label,
                filename=request.filename,
                created_at=request.created_at,
                finished_at=record.finished_at,
                media=self._media.of_score(record.id, has_audio_file=request.audio_file is not None),
                result=outcome.result if outcome else None,
                error=record.error or (outcome.error if outcome else None),
            )
        except ValidationError as error:
            first = error.errors()[0]["msg"]
            raise CorruptRecordError(f"{folder.path} cannot be read: {first}. Upload the clip again.") from None

    def media_file(self, score_id: str, track: str) -> Path | None:
        """Returns an uploaded file, or None when the upload has no such track."""
        folder = self._tools.home.score(score_id)
        request = ScoreRequest.model_validate(read_json(folder.request) or {})
        name = request.file if track == "video" else request.audio_file
        return None if name is None else folder.path / Path(name).name

    def expire(self) -> int:
        """Deletes ended scores that are too old or too many; returns how many."""
        tools = self._tools
        ids = tools.ledger.ids("score")
        limit = datetime.now(UTC) - timedelta(days=tools.settings.score_days)
        gone = 0
        for place, record in enumerate(tools.ledger.get_many("score", ids)):
            too_many = place >= tools.settings.max_scores
            if not record.ended or not (too_many or record.created_at < limit):
                continue
            if tools.ledger.delete("score", record.id) is Change.OK:
                tools.archive.purge(tools.home.score(record.id).path)
                gone += 1
        return gone


def _missing(field: str, expected: str) -> Exception:
    return invalid_field(field, expected=expected, got="nothing", remedy="Add the field.")
