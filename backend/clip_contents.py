"""What the model sees of a clip, read from the prepared store: frames and sound. Only waveforms may be decoded."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from backend.archive import read_json
from backend.derivatives import Derivatives
from backend.png import png
from backend.spectra import spectrogram_view, waveform_view
from backend.stores import FRAMES_FILE, RECORD_FILE, ClipRow, Stores
from worker.contract.clip_contents import ClipContents, WaveformView
from worker.contract.errors import CorruptRecordError, NotFoundError
from worker.contract.spec.preprocess import PreprocessSpec

POSTER_SIDE = 160
STRIP_FRAMES, STRIP_SIDE = 12, 128
"""Frames of a strip at most, and their side, pixels."""
QUIET_DB, LOUD_DB = -60.0, 10.0
"""Levels that are black and white on the poster of a clip without picture."""


class _Record(BaseModel):
    """What of store.json says how its arrays are to be read."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    digest: str
    preprocess: PreprocessSpec
    frames_shape: tuple[int, int, int, int]
    audio_shape: tuple[int, ...]
    audio_dtype: Literal["float16", "int16"]


@lru_cache(maxsize=64)
def _record(path: Path, stamp: int) -> _Record:
    try:
        return _Record.model_validate(read_json(path))
    except ValidationError as error:
        raise CorruptRecordError(
            f"{path} cannot be read: {error.errors()[0]['msg']}. Prepare the dataset anew."
        ) from None


@dataclass(frozen=True)
class Contents:
    """One clip in its store."""

    clip: ClipRow
    store: Path
    record: _Record

    @property
    def tag(self) -> str:
        """Changes when what is read here could change."""
        return f'"{self.record.digest}-{self.clip.row}"'

    @property
    def start_s(self) -> float:
        """Where the window begins in the clip, seconds."""
        return self.clip.quality["start_s"] or 0.0

    def view(self) -> ClipContents:
        """Returns window, times and sound as numbers."""
        spec, audio = self.record.preprocess, self._audio() if self.clip.has_audio else None
        return ClipContents(
            sample_id=self.clip.sample.sample_id,
            start_s=self.start_s,
            duration_s=spec.duration_s,
            has_audio=self.clip.has_audio,
            has_visual=self.clip.has_visual,
            frame_times_s=self._frame_times_s() if self.clip.has_visual else [],
            spectrogram=None if audio is None else spectrogram_view(audio, spec, self.start_s),
            waveform=(
                waveform_view(audio, spec, self.start_s) if audio is not None and audio.dtype == np.int16 else None
            ),
        )

    async def waveform(self, derivatives: Derivatives) -> WaveformView:
        """Returns the waveform of what the model hears: of the store, or where that keeps spectrograms, of the clip.

        Args:
            derivatives: makes the sound of a clip, once.

        Raises:
            NotFoundError: code `media-no-audio`, when the clip has no sound.
            MediaError: when its sound cannot be decoded.
        """
        if not self.clip.has_audio:
            raise NotFoundError(f"The sample {self.clip.sample.sample_id!r} has no sound.", code="media-no-audio")
        spec = self.record.preprocess
        if self.record.audio_dtype == "int16":
            return waveform_view(await asyncio.to_thread(self._audio), spec, self.start_s)
        path = self.clip.audio or self.clip.video
        if path is None:
            raise NotFoundError(f"The sample {self.clip.sample.sample_id!r} has no media file.", code="media-not-found")
        duration_s = self.clip.quality["duration_s"]
        covered_s = spec.duration_s if duration_s is None else min(spec.duration_s, duration_s - self.start_s)
        sound = await derivatives.sound(path, self.start_s, covered_s, spec)
        return waveform_view(await asyncio.to_thread(np.fromfile, sound, np.int16), spec, self.start_s)

    def poster(self) -> bytes:
        """Returns a PNG: the middle frame, or the spectrogram of a clip without picture."""
        if self.clip.has_visual:
            return png(_reduced(self._frames(self.record.frames_shape[0] // 2, 1)[0], POSTER_SIDE))
        view = spectrogram_view(self._audio(), self.record.preprocess, self.start_s)
        share = (np.array(view.levels_db)[::-1] - QUIET_DB) / (LOUD_DB - QUIET_DB)
        return png((np.clip(share, 0, 1) * 255).astype(np.uint8))

    def strip(self) -> bytes:
        """Returns a PNG with the frames that the model sees beside each other.

        Raises:
            NotFoundError: code `media-no-visual`, when the clip has no picture.
        """
        if not self.clip.has_visual:
            raise NotFoundError(
                f"The sample {self.clip.sample.sample_id!r} has no picture, so there are no frames.",
                code="media-no-visual",
            )
        frames = self._frames(0, self.record.frames_shape[0])[_spread(self.record.frames_shape[0])]
        return png(np.concatenate([_reduced(frame, STRIP_SIDE) for frame in frames], axis=1))

    def _frame_times_s(self) -> list[float]:
        spec = self.record.preprocess
        every_s = 1.0 if spec.frame_choice == "one-fps" else spec.duration_s / spec.num_frames
        return [round(self.start_s + (index + 0.5) * every_s, 3) for index in _spread(spec.num_frames)]

    def _frames(self, first: int, count: int) -> NDArray[np.uint8]:
        """Returns frames of the clip: (count, side, side, 3)."""
        total, *shape = self.record.frames_shape
        size = int(np.prod(shape))
        data = self._read(FRAMES_FILE, (self.clip.row * total + first) * size, count * size)
        return np.frombuffer(data, np.uint8).reshape(count, *shape)

    def _audio(self) -> NDArray[np.generic]:
        """Returns the clip's sound as stored."""
        name = "audio.i16" if self.record.audio_dtype == "int16" else "audio.f16"
        dtype = np.dtype(self.record.audio_dtype)
        size = int(np.prod(self.record.audio_shape)) * dtype.itemsize
        return np.frombuffer(self._read(name, self.clip.row * size, size), dtype).reshape(self.record.audio_shape)

    def _read(self, name: str, offset: int, size: int) -> bytes:
        path = self.store / name
        try:
            with path.open("rb") as file:
                data = os.pread(file.fileno(), size, offset)
        except OSError as error:
            raise CorruptRecordError(f"{path} cannot be read: {error.strerror}. Prepare the dataset anew.") from error
        if len(data) != size:
            raise CorruptRecordError(
                f"Expected {size:,} bytes of clip {self.clip.sample.sample_id!r} in {path}; got {len(data):,}. "
                "Prepare the dataset anew."
            )
        return data


def contents_of(stores: Stores, dataset_id: str, sample_id: str) -> Contents:
    """Returns a clip's contents, opened.

    Raises:
        NotFoundError: when the dataset is not prepared or has no such clip.
        CorruptRecordError: when the store's record cannot be read.
    """
    clip = stores.clip(dataset_id, sample_id)
    record = stores.require(dataset_id).with_name(RECORD_FILE)
    return Contents(clip, record.parent, _record(record, record.stat().st_mtime_ns))


def _spread(count: int) -> list[int]:
    """Returns which of so many frames stand on a strip: all, or evenly spread ones."""
    shown = min(count, STRIP_FRAMES)
    return [int((index + 0.5) * count / shown) for index in range(shown)]


def _reduced(frame: NDArray[np.uint8], most: int) -> NDArray[np.uint8]:
    """Returns a frame of at most that side: means over squares of a whole number of pixels."""
    factor = -(-frame.shape[0] // most)
    if factor == 1:
        return frame
    side = frame.shape[0] // factor * factor
    squares = frame[:side, :side].reshape(side // factor, factor, side // factor, factor, 3)
    reduced: NDArray[np.uint8] = squares.mean(axis=(1, 3)).round().astype(np.uint8)
    return reduced
