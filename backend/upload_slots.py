"""Uploads at once: how many may come in, of everybody and of one user; and none that stands still keeps its place."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Final

from starlette.concurrency import run_in_threadpool

from backend.disk import require_space
from backend.jobs import JobTools
from backend.places import share_of
from worker.contract.errors import GapscopeError, TooManyError
from worker.contract.keys import JobKind
from worker.contract.settings import Settings

STALL_S: Final = 60.0
"""An upload of which nothing comes for this long is given up."""


class UploadStalledError(GapscopeError):
    """Nothing more of an upload came for a while."""

    status = 408
    title = "The upload stood still"
    default_code = "upload-stalled"


class UploadSlots:
    """Counts the uploads that come in now. To be used in one event loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._taken: Counter[str] = Counter()

    @property
    def taken(self) -> int:
        """How many come in now."""
        return self._taken.total()

    @contextmanager
    def slot(self, owner: str) -> Iterator[None]:
        """Takes a place until the block ends.

        Raises:
            TooManyError: code `uploads-full`, or `uploads-share-full` when only this user's places are taken.
        """
        most = self._settings.max_uploads
        share = share_of(self._settings, owner, most)
        if self.taken >= most:
            raise TooManyError(
                f"{most:,} uploads come in already, and no more may at once. Send it again in a moment; "
                "GAPSCOPE_MAX_UPLOADS sets how many.",
                code="uploads-full",
            )
        if self._taken[owner] >= share:
            raise TooManyError(
                f"{share:,} uploads of yours come in already, and no more of the {most:,} at once may be yours. Send "
                "it again in a moment; GAPSCOPE_USER_SHARE sets the share.",
                code="uploads-share-full",
            )
        self._taken[owner] += 1
        try:
            yield
        finally:
            self._taken[owner] -= 1
            if not self._taken[owner]:
                del self._taken[owner]

    @asynccontextmanager
    async def admitted(self, tools: JobTools, kind: JobKind, owner: str, num_bytes: int) -> AsyncIterator[None]:
        """Lets an upload in until the block ends: there is room, a place in the queue for its job, and one of ours.

        Args:
            tools: of the home.
            kind: of the job that it becomes.
            owner: who sends it.
            num_bytes: that may come.

        Raises:
            InsufficientStorageError: code `disk-full`, or `home-full`.
            TooManyError: when the queue, or what may come in at once, is full.
        """
        await run_in_threadpool(require_space, tools.settings)
        await run_in_threadpool(tools.require_place, kind, owner)
        with ExitStack() as held:
            held.enter_context(self.slot(owner))
            await run_in_threadpool(held.enter_context, tools.usage.promised(num_bytes))
            yield


async def steady(stream: AsyncIterator[bytes], patience_s: float = STALL_S) -> AsyncIterator[bytes]:
    """Yields what comes in.

    Args:
        stream: a request's body.
        patience_s: the longest wait for the next part of it.

    Raises:
        UploadStalledError: when nothing comes for longer.
    """
    while True:
        try:
            async with asyncio.timeout(patience_s):
                chunk = await anext(stream, None)
        except TimeoutError:
            raise UploadStalledError(
                f"Nothing of the upload came for {patience_s:g} s, so it was given up and nothing of it is kept. Send "
                "it again."
            ) from None
        if chunk is None:
            return
        yield chunk
