"""The Python client: one method for each thing that the API does, typed as the contract is."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, cast
from urllib.parse import quote

from frontend.client.addresses import discover, known_key
from frontend.client.annotations import AnnotationCalls
from frontend.client.batches import BatchCalls
from frontend.client.comparing import CompareCalls
from frontend.client.datasets import DatasetCalls
from frontend.client.files import save
from frontend.client.follow import ENDED, Follower, OnProgress, wait_until_ended
from frontend.client.pages import Page
from frontend.client.run_labels import LabelCalls
from frontend.client.subsets import SubsetCalls
from frontend.client.transport import Transport, body_of, typed, typed_page
from frontend.client.uploads import OnUpload, opened
from worker.contract.errors import GapscopeError
from worker.contract.events import EVENT, Event
from worker.contract.resources import ExportSize, Run, RunEstimate
from worker.contract.scores import SampleRow, Score, ScoreSummary
from worker.contract.spec import Spec

if TYPE_CHECKING:
    import pandas

Report = Literal["classes", "confusion", "cube", "flow", "heatmap", "map", "diagnosis"]
PAGE_SIZE = 500


class GapscopeClient(AnnotationCalls, BatchCalls, CompareCalls, DatasetCalls, LabelCalls, SubsetCalls):
    """A client of one Gapscope API. Safe to share between threads; use it as a context manager, or close it."""

    def __init__(self, base_url: str | None = None, *, timeout_s: float = 30.0, api_key: str | None = None) -> None:
        """Connects to nothing yet.

        Args:
            base_url: the API's address, such as http://127.0.0.1:8000. By default GAPSCOPE_API_URL, else the stack
                that serves GAPSCOPE_HOME (or ./home), else http://127.0.0.1:8000.
            timeout_s: longest silence of the API, seconds.
            api_key: for an API that asks for keys. By default GAPSCOPE_API_KEY, else, where the address is that of
                the stack that serves the home, the key which that stack keeps there for its own user.
        """
        address = base_url or discover()
        self._transport = Transport(address, timeout_s, api_key=api_key or known_key(address))

    @property
    def base_url(self) -> str:
        """The API's address."""
        return self._transport.base_url

    def close(self) -> None:
        """Closes the connections."""
        self._transport.close()

    def __enter__(self) -> Self:
        """Returns the client."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the connections."""
        self.close()

    def me(self) -> dict[str, Any]:
        """Returns who the API takes this client for: name, role, needs_key."""
        return cast(dict[str, Any], self._transport.get("/access/me"))

    def ticket(self, path: str, method: Literal["GET", "POST"] = "GET") -> str:
        """Returns an address, path and query, that a browser may open for a while without a key.

        Args:
            path: of the API, prefix included, without a query.
            method: of the browser's request.
        """
        answer = self._transport.post("/access/tickets", {"path": path, "method": method})
        return str(answer["address"])

    # --- runs ---

    def create_run(self, spec: Mapping[str, Any] | Spec, *, key: str | None = None) -> Run:
        """Returns a new run.

        Args:
            spec: a RunSpec, or its fields; may name a `preset`, whose top-level fields the others replace.
            key: of this launch: the same spec sent again under it within a day gives the same run. None: a new run.
        """
        return typed(Run, self._transport.post("/runs", body_of(spec), key=key))

    def estimate_run(self, spec: Mapping[str, Any] | Spec) -> RunEstimate:
        """Returns what a run would take (time, memory, disk), or raises what its launch would; launches nothing."""
        return typed(RunEstimate, self._transport.post("/runs/estimate", body_of(spec)))

    def runs(
        self,
        *,
        state: str | None = None,
        dataset: str | None = None,
        objective: str | None = None,
        tag: str | None = None,
        text: str | None = None,
        series: bool | None = None,
        sort: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[Run]:
        """Returns a page of runs, newest first unless `sort` says otherwise; with `series` they have thinned curves."""
        filters = {"state": state, "dataset": dataset, "objective": objective, "tag": tag, "text": text}
        filters["series"] = None if series is None else str(series).lower()
        return typed_page(Run, self._transport.get("/runs", **filters, sort=sort, limit=limit, cursor=cursor))

    def run(self, run_id: str) -> Run:
        """Returns a run as it is now."""
        return typed(Run, self._transport.get(f"/runs/{run_id}"))

    def cancel(self, run_id: str) -> Run:
        """Asks a run to end, and returns it; it may still be `cancelling`."""
        return typed(Run, self._transport.post(f"/runs/{run_id}/cancel"))

    def resume(self, run_id: str) -> Run:
        """Queues a failed or cancelled run again; it goes on after its last finished epoch."""
        return typed(Run, self._transport.post(f"/runs/{run_id}/resume"))

    def clone(self, run_id: str) -> Run:
        """Returns a new run with the spec of another."""
        return typed(Run, self._transport.post(f"/runs/{run_id}/clone"))

    def delete(self, run_id: str, *, purge: bool = False) -> dict[str, int]:
        """Moves a run to the trash, or deletes it for good.

        Args:
            run_id: the run; must have ended.
            purge: free its disk space now; it cannot be brought back.

        Returns:
            {reclaimable_bytes, freed_bytes}.
        """
        parameters = {"purge": True} if purge else None
        return dict(self._transport.decoded(self._transport.send("DELETE", f"/runs/{run_id}", parameters=parameters)))

    def wait(self, run_id: str, timeout_s: float | None = None) -> Run:
        """Returns a run once it is finished, failed or cancelled."""
        return wait_until_ended(lambda: self.run(run_id), timeout_s)

    def events(self, run_id: str, after: int = 0, limit: int = PAGE_SIZE) -> list[Event]:
        """Returns at most `limit` events of a run after the event number `after`."""
        page = self._transport.get(f"/runs/{run_id}/events", after=after, limit=limit)
        return [EVENT.validate_python(event) for event in page["events"]]

    def follow(self, run_id: str, after: int = 0, on_progress: OnProgress | None = None) -> Iterator[Event]:
        """Yields each event of a run once and in order, waits for the next, and ends when the run has ended.

        A broken line or a restarted API is bridged: it goes on after the last event.

        Args:
            run_id: the run.
            after: number of the event to begin after; 0 for the first.
            on_progress: told how far the run is, about once a second.
        """
        return Follower(self._transport, run_id, after, on_progress).events()

    def log(self, run_id: str, tail: int | None = None) -> str:
        """Returns a run's log, or its last `tail` lines."""
        return self._transport.send("GET", f"/runs/{run_id}/log", parameters={"tail": tail}).text

    # --- samples ---

    def sample_rows(self, run_id: str, **filters: Any) -> Page[SampleRow]:
        """Returns a page of samples.

        Args:
            run_id: the run.
            filters: epoch, split, min_gap, max_gap, min_posterior, label, fused_correct, audio_correct,
                visual_correct, sort, limit, cursor.
        """
        return typed_page(SampleRow, self._transport.get(f"/runs/{run_id}/samples", **filters))

    def samples(self, run_id: str, *, limit: int | None = None, **filters: Any) -> pandas.DataFrame:
        """Returns samples as a data frame, one row each; nested fields become columns such as `p_true.audio`.

        Args:
            run_id: the run.
            limit: most rows; all by default.
            filters: as for `sample_rows`, without the cursor.
        """
        import pandas

        rows: list[dict[str, Any]] = []
        cursor: str | None = None
        while limit is None or len(rows) < limit:
            size = PAGE_SIZE if limit is None else min(PAGE_SIZE, limit - len(rows))
            page = self._transport.get(f"/runs/{run_id}/samples", **filters, limit=size, cursor=cursor)
            rows += page["items"]
            cursor = page["next"]
            if cursor is None:
                break
        return pandas.json_normalize(rows)

    def sample(self, run_id: str, sample_id: str, *, epoch: int | None = None) -> dict[str, Any]:
        """Returns one sample of a run: its gap over all epochs, rows of up to 50, and the addresses of its media.

        Args:
            run_id: the run.
            sample_id: the sample.
            epoch: one that the rows must reach; else they are of the newest epochs.
        """
        return dict(self._transport.get(f"/runs/{run_id}/samples/{quote(sample_id)}", epoch=epoch))

    def report(self, run_id: str, name: Report, **parameters: Any) -> dict[str, Any]:
        """Returns one of a run's tables that do not fit into an event, such as the confusion matrix."""
        return dict(self._transport.get(f"/runs/{run_id}/{name}", **parameters))

    def export(
        self,
        run_id: str,
        path: str | os.PathLike[str],
        *,
        table: Literal["samples", "epochs"] = "samples",
        format: Literal["csv", "parquet"] = "csv",
    ) -> int:
        """Writes a run's table into a file; returns its bytes. The file appears once it is complete."""
        with self._transport.stream(f"/runs/{run_id}/export", {}, 120.0, table=table, format=format) as response:
            return save(response.iter_bytes(), Path(path))

    def export_size(
        self, run_id: str, *, table: Literal["samples", "epochs"] = "samples", **filters: Any
    ) -> ExportSize:
        """Returns rows and bytes of a run's table as a file; the filters are those of `samples`."""
        return typed(ExportSize, self._transport.get(f"/runs/{run_id}/export/size", table=table, **filters))

    # --- scores ---

    def score(
        self,
        path: str | os.PathLike[str],
        run_id: str,
        *,
        label: str | None = None,
        audio_path: str | os.PathLike[str] | None = None,
        window_hop_s: float | None = None,
        wait: bool = True,
        timeout_s: float = 300.0,
        on_upload: OnUpload | None = None,
    ) -> Score:
        """Uploads a clip and returns what a run's model says of it.

        Args:
            path: the clip.
            run_id: the run whose model scores it.
            label: its true class, if known: the gap is then that of this class.
            audio_path: its sound, if that is another file.
            window_hop_s: seconds from one window over time to the next; half a window by default.
            wait: wait for the scores; else the score returned is still queued.
            timeout_s: how long to wait, seconds.
            on_upload: told how many bytes of how many were sent.
        """
        files = {"file": Path(path)} | ({"audio_file": Path(audio_path)} if audio_path is not None else {})
        asked = {"run_id": run_id, "label": label, "window_hop_s": window_hop_s}
        fields = {name: str(value) for name, value in asked.items() if value is not None}
        deadline = time.monotonic() + timeout_s
        with opened(files, on_upload) as parts:
            parameters = {"wait": 10} if wait else None
            response = self._transport.send(
                "POST", "/scores", parameters=parameters, data=fields, files=cast("Any", parts), timeout=120.0
            )
        score = typed(Score, self._transport.decoded(response))
        while wait and score.state not in ENDED:
            if time.monotonic() > deadline:
                raise GapscopeError(
                    f"The clip should have been scored within {timeout_s:.0f} s; the score {score.id} is still "
                    f"{score.state}. Ask again with get_score({score.id!r}).",
                    code="timeout",
                )
            time.sleep(0.2)
            score = self.get_score(score.id)
        return score

    def score_sample(
        self,
        run_id: str,
        dataset_id: str,
        sample_id: str,
        *,
        label: str | None = None,
        window_hop_s: float | None = None,
    ) -> Score:
        """Scores a clip of a dataset; nothing is uploaded. Returns at once: get_score has the scores in time.

        Args:
            run_id: the run whose model scores it.
            dataset_id: the prepared dataset.
            sample_id: its clip.
            label: the class whose gap is wanted; by default the clip's own, where the run knows it.
            window_hop_s: seconds from one window over time to the next; half a window by default.
        """
        asked = {"run_id": run_id, "dataset_id": dataset_id, "sample_id": sample_id}
        options = {"label": label, "window_hop_s": window_hop_s}
        known = {name: value for name, value in options.items() if value is not None}
        return typed(Score, self._transport.post("/scores", asked | known))

    def scores(
        self, *, run_id: str | None = None, limit: int | None = None, cursor: str | None = None
    ) -> Page[ScoreSummary]:
        """Returns a page of scores in short, newest first."""
        return typed_page(ScoreSummary, self._transport.get("/scores", run_id=run_id, limit=limit, cursor=cursor))

    def get_score(self, score_id: str) -> Score:
        """Returns a score as it is now."""
        return typed(Score, self._transport.get(f"/scores/{score_id}"))

    def delete_score(self, score_id: str) -> int:
        """Deletes an ended score and its uploaded clip; returns the bytes that this freed."""
        return int(self._transport.decoded(self._transport.send("DELETE", f"/scores/{score_id}"))["freed_bytes"])

    # --- the machine ---

    def catalog(self) -> dict[str, Any]:
        """Returns what can be chosen: {datasets, encoders, fusions, objectives, ..., presets}."""
        return dict(self._transport.get("/catalog"))

    def system(self) -> dict[str, Any]:
        """Returns workers, devices, queues, Redis and disk."""
        return dict(self._transport.get("/system"))

    def ready(self) -> bool:
        """Returns whether the API can accept jobs and workers are there to do them."""
        try:
            self._transport.send("GET", "/health/ready", idempotent=False)
        except GapscopeError as error:
            if error.status == 503:
                return False
            raise
        return True
