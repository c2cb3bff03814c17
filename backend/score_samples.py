"""Clips of prepared datasets as something to score: their files are copied beside the request, as an upload's are."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from backend.problems import invalid
from backend.stores import ClipRow, Stores
from worker.contract.errors import GapscopeError, InvalidRequestError, NotFoundError, TooLargeError
from worker.contract.layout import Home
from worker.contract.record import read_spec
from worker.contract.scores import SampleToScore

MAX_BODY_BYTES = 16_384
SAME_WINDOW_S = 0.05
"""Of two windows that begin this close, both are the middle of the clip."""


@dataclass(frozen=True)
class TakenClip:
    """A dataset's clip whose files lie in a score's folder: names by track, and the part that the dataset uses."""

    clip: ClipRow
    file: str
    audio_file: str | None
    part_s: tuple[float, float] | None

    def request_fields(self) -> dict[str, Any]:
        """Returns what the request says of the part that is used."""
        start_s, end_s = self.part_s or (None, None)
        return {"start_s": start_s, "end_s": end_s}


async def read_asked(stream: AsyncIterator[bytes]) -> SampleToScore:
    """Returns which sample a JSON body asks for.

    Raises:
        GapscopeError: when the body is too long or not valid.
    """
    body = bytearray()
    async for chunk in stream:
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise TooLargeError(f"Expected a body of at most {MAX_BODY_BYTES:,} bytes.", code="body-too-large")
    try:
        return SampleToScore.model_validate_json(bytes(body))
    except ValidationError as error:
        raise invalid(error) from None


def take(asked: SampleToScore, folder: Path, home: Home, stores: Stores, max_bytes: int) -> TakenClip:
    """Copies the files of a dataset's clip into a score's folder.

    Args:
        asked: which clip.
        folder: where the files go; must exist.
        home: the home.
        stores: its prepared datasets.
        max_bytes: of one file.

    Raises:
        NotFoundError: when there is no such clip, or its file is gone.
        InvalidRequestError: code `sample-has-no-file`, when it is no file that can be scored.
        TooLargeError: when a file is over the limit.
    """
    clip = stores.clip(asked.dataset_id, asked.sample_id)
    main, sound = clip.video or clip.audio, clip.audio if clip.video else None
    if main is None or main.is_dir():
        raise InvalidRequestError(
            f"sample_id: {asked.sample_id!r} has no media file (its picture is a folder of frames, or it is made of "
            "features). Choose another sample, or score its dataset by POST /scores/batch.",
            code="sample-has-no-file",
        )
    file = _copied(main, folder, "file", max_bytes)
    audio_file = None if sound is None else _copied(sound, folder, "audio_file", max_bytes)
    return TakenClip(clip, file, audio_file, _part_s(clip, _window_s(home, asked.dataset_id)))


def _copied(source: Path, folder: Path, name: str, max_bytes: int) -> str:
    try:
        size = source.stat().st_size
        if size > max_bytes:
            raise TooLargeError(f"Expected a clip of at most {max_bytes:,} bytes; {source.name} has {size:,}.")
        target = f"{name}{source.suffix.lower()}"
        shutil.copyfile(source, folder / target)
    except FileNotFoundError:
        raise NotFoundError(
            f"The file {source.name} is gone. Prepare the dataset anew.", code="media-not-found"
        ) from None
    except OSError as error:
        raise GapscopeError(f"{source.name} cannot be read: {error.strerror}. Check its permissions.") from None
    return target


def _window_s(home: Home, dataset_id: str) -> float | None:
    """Returns the seconds of a dataset's window, None where it has none."""
    stored = read_spec(home.dataset(dataset_id).spec)
    seconds = ((stored.spec.get("preprocess") if stored else None) or {}).get("duration_s")
    return None if seconds is None else float(seconds)


def _part_s(clip: ClipRow, window_s: float | None) -> tuple[float, float] | None:
    """Returns start and end of the part that the dataset uses, seconds; None where that is the middle of the clip."""
    start_s, duration_s = clip.quality.get("start_s"), clip.quality.get("duration_s")
    if start_s is None or duration_s is None or window_s is None:
        return None
    middle_s = max(0.0, (duration_s - window_s) / 2)
    return None if abs(start_s - middle_s) < SAME_WINDOW_S else (start_s, start_s + window_s)
