"""One of many clients of the API: looks around as a person with scripts does, follows a run, has clips scored."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final

import httpx

from frontend.client.transport import KEPT_S
from tests.load.scene import Scene
from tests.load.timing import Timings

POLL_S = 0.5
SCORED_WITHIN_S = 60.0
EVENT: Final = 'data: {"seq":'
TIME: Final = re.compile(r'"time":"([^"]+)"')
NEXT: Final = re.compile(r'"next":"([^"]+)"')
CURSOR: Final = re.compile(r'"cursor":"([0-9]+)"')
Step = Callable[[], Awaitable[None]]


class Client:
    """Makes one call after another, each drawn by weight, with pauses between them."""

    def __init__(self, scene: Scene, timings: Timings, number: int, pause_s: float) -> None:
        """Prepares a client with connections of its own.

        Args:
            scene: what there is to look at.
            timings: where it writes what it met.
            number: seed of what it does.
            pause_s: mean pause between two calls.
        """
        self.scene, self._timings, self._pause_s = scene, timings, pause_s
        self._random = random.Random(number)
        limits = httpx.Limits(keepalive_expiry=KEPT_S)
        self.http = httpx.AsyncClient(base_url=f"{scene.api_url}/api/v1", timeout=30, verify=False, limits=limits)
        self._cursors: dict[str, int] = {}
        self._steps: dict[Step, float] = {
            self._list_runs: 3,
            self._read_run: 3,
            self._read_events: 3,
            self._page_samples: 4,
            self._open_sample: 4,
            self._upload: 1,
        }

    async def work(self, until: float) -> None:
        """Calls until a time of the event loop's clock; what goes wrong is written down and the next call made."""
        await asyncio.sleep(self._random.uniform(0, self._pause_s))  # not all at once
        loop, steps, weights = asyncio.get_running_loop(), list(self._steps), list(self._steps.values())
        while loop.time() < until:
            (step,) = self._random.choices(steps, weights)
            try:
                await step()
            except (httpx.HTTPError, ValueError, KeyError) as error:
                self._timings.errors.append(f"{step.__name__}: {type(error).__name__}: {error}"[:300])
            await asyncio.sleep(self._random.expovariate(1 / self._pause_s))

    async def follow(self) -> None:
        """Follows the run of the scene, one after another, until cancelled; notes how late each event comes."""
        while True:
            run = self.scene.follows
            try:
                newest = await self._newest(run)
                async with self.http.stream(
                    "GET", f"/runs/{run}/events/stream", params={"after": newest}, timeout=httpx.Timeout(30)
                ) as response:
                    response.raise_for_status()
                    async for line in response.aiter_lines():
                        self._note(line)
            except httpx.HTTPError as error:
                self._timings.errors.append(f"stream: {type(error).__name__}: {error}"[:300])
            await asyncio.sleep(POLL_S)

    async def close(self) -> None:
        """Closes its connections."""
        await self.http.aclose()

    async def _newest(self, run: str) -> int:
        """Returns the number of a run's newest event: only what comes from now on can be late."""
        newest = 0
        while events := (await self.http.get(f"/runs/{run}/events", params={"after": newest})).json()["events"]:
            newest = events[-1]["seq"]
        return newest

    def _note(self, line: str) -> None:
        if line.startswith(EVENT):  # read as text: what the clients take of the processor is missing elsewhere
            found = TIME.search(line)
            assert found is not None
            self._timings.lags_s.append(time.time() - datetime.fromisoformat(found[1]).timestamp())

    @asynccontextmanager
    async def _timed(self, kind: str) -> AsyncIterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self._timings.calls_ms[kind].append((time.perf_counter() - started) * 1e3)

    async def _get(self, kind: str, path: str, **parameters: Any) -> httpx.Response:
        async with self._timed(kind):
            response = await self.http.get(path, params=parameters)
        if response.status_code != 200:
            raise ValueError(f"GET {path}: {response.status_code} {response.text[:200]}")
        return response

    async def _list_runs(self) -> None:
        page = await self._get("list runs", "/runs", limit=25, series=True)
        if (cursor := NEXT.search(page.text, max(0, len(page.text) - 1_500))) and self._random.random() < 0.5:
            await self._get("list runs, next page", "/runs", limit=25, series=True, cursor=cursor[1])

    async def _read_run(self) -> None:
        await self._get("read a run", f"/runs/{self.scene.follows}")

    async def _read_events(self) -> None:
        run = self.scene.follows
        page = await self._get("read events", f"/runs/{run}/events", after=self._cursors.get(run, 0))
        found = CURSOR.search(page.text, max(0, len(page.text) - 100))
        assert found is not None
        self._cursors[run] = int(found[1])

    async def _page_samples(self) -> None:
        run, low = self._random.choice(self.scene.with_samples), round(self._random.uniform(-1, 0.5), 3)
        asked = {"split": "train", "sort": "-abs_gap", "min_gap": low, "max_gap": round(low + 0.5, 3), "limit": 25}
        page = await self._get("page samples", f"/runs/{run}/samples", **asked)
        if (cursor := NEXT.search(page.text)) and self._random.random() < 0.5:
            await self._get("page samples, next page", f"/runs/{run}/samples", **asked, cursor=cursor[1])

    async def _open_sample(self) -> None:
        run = self._random.choice(self.scene.with_samples)
        sample = self._random.choice(self.scene.sample_ids[run])
        document = (await self._get("open a sample", f"/runs/{run}/samples/{sample}")).json()
        if run == self.scene.training and (address := document["media"].get("video")):
            async with self._timed("a clip's bytes"):
                response = await self.http.get(httpx.URL(self.scene.api_url).join(address))
            if response.status_code != 200:
                raise ValueError(f"GET {address}: {response.status_code}")

    async def _upload(self) -> None:
        started, run = time.perf_counter(), self.scene.training
        async with self._timed("upload a clip"):
            response = await self.http.post(
                "/scores", data={"run_id": run}, files={"file": ("clip.mp4", self.scene.clip)}
            )
        if response.status_code != 202:
            raise ValueError(f"POST /scores: {response.status_code} {response.text[:200]}")
        score = response.json()
        while score["state"] in ("queued", "running"):
            if time.perf_counter() - started > SCORED_WITHIN_S:
                raise ValueError(f"the score {score['id']} was {score['state']} after {SCORED_WITHIN_S:.0f} s")
            await asyncio.sleep(POLL_S)
            score = (await self._get("read a score", f"/scores/{score['id']}")).json()
        if score["state"] != "finished":
            raise ValueError(f"the score {score['id']} {score['state']}: {score['error']}")
        self._timings.scored_s.append(time.perf_counter() - started)
