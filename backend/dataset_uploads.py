"""Datasets that are uploaded as a zip: taken in, judged, unpacked beside the datasets and put in place by one rename.

An upload is the same dataset as an earlier one of equal clips and settings; equal clips under another id or with other
settings share their files (hard links). What a crash leaves behind is removed by the sweep once it is old: a start
cannot tell it from what another backend on the same home is taking in.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import threading
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from backend.dataset_jobs import DatasetJobs
from backend.disk import needed_free_bytes
from backend.jobs import JobTools
from backend.presenting import uploaded
from backend.problems import invalid, invalid_field
from backend.upload_slots import UploadSlots
from backend.uploads import FormReader, Incoming, StoredFile, StoredForm
from backend.zips import ZipEntry, ZipLimits, judged, top_files, unpack
from worker.contract.errors import ConflictError, CorruptRecordError, GapscopeError, InsufficientStorageError
from worker.contract.layout import DatasetFolder, checked_id, id_folders, new_id, sync_folder, write_atomically
from worker.contract.record import JobRecord
from worker.contract.resources import DatasetUpload
from worker.contract.settings import MIB
from worker.contract.spec import Folder, Manifest
from worker.contract.spec.datasets import DatasetSpec

log = logging.getLogger(__name__)
FIELDS, FILES = {"id", "spec"}, {"file"}
PREFIX = ".upload-"
_ZIP = b"PK"


class DatasetUploads:
    """Takes zips of clips in."""

    def __init__(self, tools: JobTools, datasets: DatasetJobs, slots: UploadSlots) -> None:
        self._tools = tools
        self._datasets = datasets
        self._slots = slots
        self._placing = threading.Lock()

    async def accept(self, incoming: Incoming, *, owner: str) -> JobRecord:
        """Takes an upload in and registers it; nothing of it is left on the disk when it is refused or cut off.

        Raises:
            GapscopeError: when the form, the zip or a setting cannot be used, or there is no room.
        """
        expected = self._tools.settings.max_zip_bytes if incoming.num_bytes is None else incoming.num_bytes
        async with self._slots.admitted(self._tools, "dataset", owner, expected):
            return await self._take_in(incoming, owner)

    async def _take_in(self, incoming: Incoming, owner: str) -> JobRecord:
        folder = self._tools.home.datasets / f"{PREFIX}{new_id('zip')}"
        folder.mkdir()
        limit = self._tools.settings.max_zip_bytes
        try:
            reader = FormReader(incoming.content_type, folder, fields=FIELDS, files=FILES, max_file=limit)
            form = await reader.read(incoming.stream)
            return await run_in_threadpool(self._admit, folder, form, owner)
        finally:
            await run_in_threadpool(shutil.rmtree, folder, ignore_errors=True)

    def _admit(self, folder: Path, form: StoredForm, owner: str) -> JobRecord:
        stored = form.files.get("file")
        if stored is None or not _is_zip(stored):
            raise invalid_field(
                "file", expected="a zip of clips", got=repr(stored.filename) if stored else "nothing",
                remedy="Pack the folder of clips as a zip.", code="not-a-zip",
            )  # fmt: skip
        wanted = _settings_of(form.fields.get("spec") or "{}")
        chosen = form.fields.get("id") or None
        if chosen is not None:
            _require_id(chosen)
        entries = judged(stored.path, ZipLimits.of(self._tools.settings))
        self._require_room(entries)
        with self._tools.usage.promised(sum(entry.info.file_size for entry in entries)):
            return self._take(folder, stored, entries, wanted, chosen, owner)

    def _take(
        self,
        folder: Path,
        stored: StoredFile,
        entries: list[ZipEntry],
        wanted: dict[str, Any],
        chosen: str | None,
        owner: str,
    ) -> JobRecord:
        whole = folder / "dataset"
        (whole / "clips").mkdir(parents=True)
        unpacked = unpack(stored.path, entries, whole / "clips")
        stored.path.unlink()
        upload = DatasetUpload(
            filename=stored.filename,
            digest=unpacked.digest,
            num_files=unpacked.num_files,
            num_bytes=unpacked.num_bytes,
        )
        write_atomically(whole / "upload.json", upload.model_dump_json(indent=1).encode())
        lists = [name for name in top_files(entries) if name.lower().endswith(".csv")]
        with self._placing:
            return self._place(whole, upload, chosen, wanted, lists[0] if len(lists) == 1 else None, owner)

    def _place(
        self,
        whole: Path,
        upload: DatasetUpload,
        chosen: str | None,
        wanted: dict[str, Any],
        manifest: str | None,
        owner: str,
    ) -> JobRecord:
        """Puts unpacked clips in place under their id and registers them; equal ones are there already."""
        home = self._tools.home
        identity = json.dumps([upload.digest, _spec(wanted, "/", manifest).model_dump(mode="json")], sort_keys=True)
        dataset_id = chosen or f"upload-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"
        target = home.dataset(dataset_id)
        spec = _spec(wanted, str(target.clips), manifest)
        if self._datasets.is_there(dataset_id):
            there = uploaded(target)
            if there is None or there.digest != upload.digest:
                raise ConflictError(
                    f"The id {dataset_id!r} belongs to a dataset of other clips. Choose another id.",
                    code="dataset-exists",
                )
            return self._datasets.register(spec, dataset_id, owner=owner, is_upload=True)
        self._share(whole / "clips", upload.digest)
        self._tools.archive.purge(target.path)  # of an upload that was put in place and never registered
        whole.rename(target.path)
        sync_folder(home.datasets)
        try:
            return self._datasets.register(spec, dataset_id, owner=owner, is_upload=True)
        except GapscopeError:
            if self._tools.ledger.get("dataset", dataset_id) is None:
                self._tools.archive.purge(target.path)
            raise

    def _share(self, clips: Path, digest: str) -> None:
        """Replaces unpacked files by links to those of an earlier upload of the same digest."""
        twin = next((other for other in self._uploads() if other[1].digest == digest), None)
        if twin is None:
            return
        for path in [path for path in clips.rglob("*") if path.is_file()]:
            same = twin[0] / path.relative_to(clips)
            linked = path.with_name(f".{path.name[:100]}.link")
            try:
                if same.stat().st_size == path.stat().st_size:
                    os.link(same, linked)
                    linked.replace(path)
            except OSError as error:  # a file system without links, or the other one is being deleted: kept twice
                log.info("%s is not shared: %s", path, error)

    def _uploads(self) -> list[tuple[Path, DatasetUpload]]:
        found = []
        for path in id_folders(self._tools.home.datasets):
            here = DatasetFolder(path)
            with contextlib.suppress(CorruptRecordError, OSError):  # one damaged folder must not stop an upload
                if (upload := uploaded(here)) is not None:
                    found.append((here.clips, upload))
        return found

    def _require_room(self, entries: list[ZipEntry]) -> None:
        settings = self._tools.settings
        needed = sum(entry.info.file_size for entry in entries)
        free = shutil.disk_usage(settings.home).free - needed_free_bytes(settings)
        if needed > free:
            raise InsufficientStorageError(
                f"The zip unpacks to {needed // MIB + 1:,} MiB; {max(0, free) // MIB:,} MiB are free for new work. "
                "Delete unused datasets or runs.",
                code="disk-too-small",
            )


def _is_zip(stored: StoredFile) -> bool:
    with stored.path.open("rb") as file:
        return file.read(len(_ZIP)) == _ZIP


def _require_id(chosen: str) -> None:
    try:
        checked_id(chosen, "dataset")
    except GapscopeError:
        raise invalid_field(
            "id", expected="lower-case letters, digits, '.', '_' and '-', at most 64", got=repr(chosen[:80]),
            remedy="Choose another id, or leave it out.",
        ) from None  # fmt: skip


def _settings_of(text: str) -> dict[str, Any]:
    """Returns the settings beside the clips: those of a folder's spec without kind and path."""
    try:
        settings = json.loads(text)
    except ValueError:
        settings = None
    if not isinstance(settings, dict) or {"kind", "path"} & set(settings):
        raise invalid_field(
            "spec", expected="a JSON object with seed, protocol or preprocess", got=repr(text[:80]),
            remedy="Leave kind and path out: they follow from the zip.",
        )  # fmt: skip
    return settings


def _spec(settings: dict[str, Any], clips: str, manifest: str | None) -> DatasetSpec:
    """Returns the spec of unpacked clips: a manifest where one CSV file lies at the top, else a folder."""
    kind: type[DatasetSpec] = Folder if manifest is None else Manifest
    path = clips if manifest is None else str(Path(clips) / manifest)
    try:
        return kind.model_validate_json(
            json.dumps({**settings, "kind": kind.model_fields["kind"].default, "path": path}), strict=True
        )
    except ValidationError as error:
        raise invalid(error, "spec") from None
