"""Tags and notes on clips in the Python client, and the dataset's own notes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from frontend.client.pages import Page
from frontend.client.transport import Transport, typed, typed_page
from worker.contract.annotations import Annotation, AnnotationsChanged, AnnotationSummary


class AnnotationCalls:
    """The part of the client that tags clips of datasets."""

    _transport: Transport

    def annotation(self, dataset_id: str, sample_id: str) -> Annotation:
        """Returns what people said of one clip."""
        return typed(Annotation, self._transport.get(_path(dataset_id, sample_id)))

    def annotate(self, dataset_id: str, sample_id: str, *, tags: Sequence[str], note: str = "") -> Annotation:
        """Sets all tags and the note of one clip, and returns them."""
        body = {"tags": list(tags), "note": note}
        answer = self._transport.send("PUT", _path(dataset_id, sample_id), json=body, idempotent=True)
        return typed(Annotation, self._transport.decoded(answer))

    def annotate_many(
        self,
        dataset_id: str,
        *,
        sample_ids: Sequence[str] | None = None,
        run_id: str | None = None,
        filter: Mapping[str, Any] | None = None,
        add_tags: Sequence[str] = (),
        remove_tags: Sequence[str] = (),
        note: str | None = None,
    ) -> AnnotationsChanged:
        """Tags or annotates many clips at once: listed, or by a filter of a run's samples.

        Args:
            dataset_id: the dataset.
            sample_ids: clips one by one.
            run_id: the run of the filter.
            filter: as for `sample_rows`, its epoch included, without sort, limit and cursor.
            add_tags: tags to add.
            remove_tags: tags to take away.
            note: the note of each from now on, empty for none; by default notes stay.
        """
        body: dict[str, Any] = {"add_tags": list(add_tags), "remove_tags": list(remove_tags), "note": note}
        if sample_ids is not None:
            body["sample_ids"] = list(sample_ids)
        if filter is not None:
            body |= {"run_id": run_id, "filter": dict(filter)}
        return typed(AnnotationsChanged, self._transport.post(f"/datasets/{dataset_id}/annotations", body))

    def annotations(
        self, dataset_id: str, *, tag: str | None = None, limit: int | None = None, cursor: str | None = None
    ) -> Page[Annotation]:
        """Returns a page of annotated clips, by id."""
        asked = {"tag": tag, "limit": limit, "cursor": cursor}
        return typed_page(Annotation, self._transport.get(f"/datasets/{dataset_id}/annotations", **asked))

    def annotation_summary(self, dataset_id: str) -> AnnotationSummary:
        """Returns the tags of a dataset with their counts."""
        return typed(AnnotationSummary, self._transport.get(f"/datasets/{dataset_id}/annotations/summary"))

    def dataset_notes(self, dataset_id: str) -> dict[str, dict[str, int]]:
        """Returns the notes that came with a dataset: name -> value -> clips."""
        return dict(self._transport.get(f"/datasets/{dataset_id}/notes")["notes"])


def _path(dataset_id: str, sample_id: str) -> str:
    return f"/datasets/{dataset_id}/samples/{quote(sample_id)}/annotations"
