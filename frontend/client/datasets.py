"""Datasets in the Python client: register, upload, follow, read, delete."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

from frontend.client.pages import Page
from frontend.client.transport import Transport, body_of, typed, typed_page
from frontend.client.uploads import OnUpload, opened
from worker.contract.clip_contents import ClipContents, WaveformView
from worker.contract.resources import Dataset, DatasetCheck, DatasetSample, SkippedClip
from worker.contract.spec import Spec

CHECK_TIMEOUT_S = 60.0
UPLOAD_TIMEOUT_S = 600.0
"""Unpacking happens before the answer."""


class DatasetCalls:
    """The part of the client that keeps datasets."""

    _transport: Transport

    def datasets(
        self, *, unused: bool | None = None, limit: int | None = None, cursor: str | None = None
    ) -> Page[Dataset]:
        """Returns a page of datasets; with `unused` only those that no run names."""
        return typed_page(Dataset, self._transport.get("/datasets", unused=unused, limit=limit, cursor=cursor))

    def register_dataset(self, spec: Mapping[str, Any] | Spec) -> Dataset:
        """Registers a dataset and begins to prepare it.

        Args:
            spec: a dataset spec, or its fields: {kind, ..., id?}.
        """
        return typed(Dataset, self._transport.post("/datasets", body_of(spec)))

    def check_dataset(self, spec: Mapping[str, Any] | Spec) -> DatasetCheck:
        """Returns what a dataset would be made of, and what is missing; registers nothing.

        Args:
            spec: as for `register_dataset`.
        """
        response = self._transport.send(
            "POST", "/datasets/check", json=body_of(spec), idempotent=True, timeout=CHECK_TIMEOUT_S
        )
        return typed(DatasetCheck, self._transport.decoded(response))

    def dataset(self, dataset_id: str) -> Dataset:
        """Returns a dataset as it is now."""
        return typed(Dataset, self._transport.get(f"/datasets/{dataset_id}"))

    def prepare_dataset(self, dataset_id: str) -> Dataset:
        """Takes in what changed behind a dataset: its clips are listed again, and prepared if they differ."""
        return typed(Dataset, self._transport.post(f"/datasets/{dataset_id}/prepare"))

    def delete_dataset(self, dataset_id: str) -> int:
        """Deletes a dataset that no active run needs; returns the bytes that this freed."""
        return int(self._transport.decoded(self._transport.send("DELETE", f"/datasets/{dataset_id}"))["freed_bytes"])

    def dataset_samples(self, dataset_id: str, **filters: Any) -> Page[DatasetSample]:
        """Returns a page of a dataset's clips."""
        return typed_page(DatasetSample, self._transport.get(f"/datasets/{dataset_id}/samples", **filters))

    def clip_contents(self, dataset_id: str, sample_id: str) -> ClipContents:
        """Returns what the model sees of a clip: its window, spectrogram and, where it is stored, waveform; binned."""
        path = f"/datasets/{dataset_id}/samples/{quote(sample_id)}/contents"
        return typed(ClipContents, self._transport.get(path))

    def clip_waveform(self, dataset_id: str, sample_id: str) -> WaveformView:
        """Returns the waveform of what the model hears of a clip; decoded once where the store keeps spectrograms."""
        path = f"/datasets/{dataset_id}/samples/{quote(sample_id)}/waveform"
        return typed(WaveformView, self._transport.get(path))

    def skipped(self, dataset_id: str, **filters: Any) -> Page[SkippedClip]:
        """Returns a page of the clips that preparation left out."""
        return typed_page(SkippedClip, self._transport.get(f"/datasets/{dataset_id}/skipped", **filters))

    def upload_dataset(
        self,
        path: str | os.PathLike[str],
        *,
        dataset_id: str | None = None,
        settings: Mapping[str, Any] | None = None,
        on_upload: OnUpload | None = None,
    ) -> Dataset:
        """Uploads a zip of clips (a folder a class, or with one CSV file at the top) and begins to prepare it.

        Args:
            path: the zip.
            dataset_id: the id to register under; made from clips and settings by default.
            settings: fields of a folder's spec without kind and path, such as {"seed": 1}.
            on_upload: told how many bytes of how many were sent.
        """
        fields = {"id": dataset_id} if dataset_id else {}
        if settings:
            fields["spec"] = json.dumps(dict(settings))
        with opened({"file": Path(path)}, on_upload) as parts:
            response = self._transport.send(
                "POST", "/datasets/upload", data=fields, files=cast("Any", parts), timeout=UPLOAD_TIMEOUT_S
            )
        return typed(Dataset, self._transport.decoded(response))

    def cancel_dataset(self, dataset_id: str) -> Dataset:
        """Asks a preparation to end; what is done is kept."""
        return typed(Dataset, self._transport.post(f"/datasets/{dataset_id}/cancel"))
