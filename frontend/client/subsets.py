"""Subsets in the Python client: save training samples of a run under a name, list, read, delete."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from frontend.client.pages import Page
from frontend.client.transport import Transport, typed, typed_page
from worker.contract.subsets import Subset

PAGE_SIZE = 500


class SubsetCalls:
    """The part of the client that keeps subsets."""

    _transport: Transport

    def save_subset(
        self,
        name: str,
        run_id: str,
        *,
        filter: Mapping[str, Any] | None = None,
        sample_ids: Sequence[str] | None = None,
        epoch: int | None = None,
    ) -> Subset:
        """Saves training samples of a run; give a filter or a list.

        Args:
            name: for people; used again, it makes the next version.
            run_id: the run whose samples are chosen.
            filter: as for `sample_rows`, without split, sort and limit.
            sample_ids: samples one by one.
            epoch: of the run; by default its newest.

        Raises:
            InvalidRequestError: a sample is of the test or validation split (codes `subset-test-samples`,
                `subset-validation-samples`), or none is chosen.
        """
        body: dict[str, Any] = {"name": name, "run_id": run_id, "epoch": epoch}
        if filter is not None:
            body["filter"] = dict(filter)
        if sample_ids is not None:
            body["sample_ids"] = list(sample_ids)
        return typed(Subset, self._transport.post("/subsets", body))

    def subsets(
        self,
        *,
        dataset: str | None = None,
        run: str | None = None,
        sort: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[Subset]:
        """Returns a page of subsets, newest first unless `sort` says otherwise."""
        asked = {"dataset": dataset, "run": run, "sort": sort, "limit": limit, "cursor": cursor}
        return typed_page(Subset, self._transport.get("/subsets", **asked))

    def subset(self, subset_id: str) -> Subset:
        """Returns a subset with the runs that train on it."""
        return typed(Subset, self._transport.get(f"/subsets/{subset_id}"))

    def subset_samples(self, subset_id: str) -> Iterator[str]:
        """Yields the ids of a subset's samples, in the store's order."""
        cursor: str | None = None
        while True:
            page = self._transport.get(f"/subsets/{subset_id}/samples", limit=PAGE_SIZE, cursor=cursor)
            yield from page["items"]
            cursor = page["next"]
            if cursor is None:
                return

    def delete_subset(self, subset_id: str) -> None:
        """Deletes a subset; runs on it have copies of their own."""
        self._transport.send("DELETE", f"/subsets/{subset_id}")
