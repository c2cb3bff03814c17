"""Labels and trash in the Python client: rename, tag and annotate runs, list what was deleted, bring it back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from frontend.client.pages import Page
from frontend.client.transport import Transport, typed, typed_page
from worker.contract.resources import DamagedFolder, Run, RunFacets, TrashedRun, Webhook


class LabelCalls:
    """The part of the client that labels runs and looks after the trash."""

    _transport: Transport

    def label(
        self,
        run_id: str,
        *,
        name: str | None = None,
        notes: str | None = None,
        tags: Sequence[str] | None = None,
        add_tags: Sequence[str] = (),
        remove_tags: Sequence[str] = (),
    ) -> Run:
        """Returns a run with other labels; what is not given stays.

        Args:
            run_id: the run.
            name: for people.
            notes: free text.
            tags: all tags from now on.
            add_tags: tags to add.
            remove_tags: tags to take away.
        """
        body: dict[str, Any] = {"add_tags": list(add_tags), "remove_tags": list(remove_tags)}
        body |= {name: value for name, value in (("name", name), ("notes", notes)) if value is not None}
        if tags is not None:
            body["tags"] = list(tags)
        return typed(Run, self._transport.decoded(self._transport.send("PATCH", f"/runs/{run_id}", json=body)))

    def facets(self) -> RunFacets:
        """Returns the states, datasets, methods and tags that runs have, with counts."""
        return typed(RunFacets, self._transport.get("/runs/facets"))

    def restore(self, run_id: str) -> Run:
        """Brings a deleted run back from the trash, and returns it."""
        return typed(Run, self._transport.post(f"/runs/{run_id}/restore"))

    def trash(self, *, limit: int | None = None, cursor: str | None = None) -> Page[TrashedRun]:
        """Returns a page of deleted runs, the last deleted first."""
        return typed_page(TrashedRun, self._transport.get("/trash", limit=limit, cursor=cursor))

    def purge(self, run_id: str) -> int:
        """Deletes a deleted run for good; returns the bytes that this freed."""
        return int(self._transport.decoded(self._transport.send("DELETE", f"/trash/{run_id}"))["freed_bytes"])

    def damaged_folders(self, *, limit: int | None = None, cursor: str | None = None) -> Page[DamagedFolder]:
        """Returns a page of the folders of the home that are set apart, with reason and remedy."""
        return typed_page(DamagedFolder, self._transport.get("/system/damaged-folders", limit=limit, cursor=cursor))

    def test_webhooks(self) -> list[Webhook]:
        """Sends a test message to each webhook, and returns what became of it."""
        items = self._transport.post("/system/webhooks/test")["items"]
        return [Webhook.model_validate(item) for item in items]

    def empty_trash(self) -> int:
        """Deletes all deleted runs for good; returns the bytes that this freed."""
        answer = self._transport.send("DELETE", "/trash", parameters={"confirm": "true"})
        return int(self._transport.decoded(answer)["freed_bytes"])
