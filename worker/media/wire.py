"""What passes between a parent and its decoder process: one JSON line each way, arrays through a shared file.

Torch-free. Nothing here is ever unpickled; the parent checks every size against what it asked for before it reads.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from worker.contract.errors import MediaError
from worker.contract.quality import METRICS, ClipQuality
from worker.media.container import DecodeLimits
from worker.media.decode import DecodedClip, MediaInfo, WindowSpec


@dataclass(frozen=True)
class Window:
    """The part of a PreprocessSpec that decoding needs, as plain numbers."""

    duration_s: float
    sample_rate_hz: int
    num_samples: int
    num_frames: int
    frame_size: int
    window: Literal["middle", "start"] = "middle"
    frame_choice: Literal["spread", "one-fps"] = "spread"
    frame_fit: Literal["cut", "squeeze"] = "cut"

    @classmethod
    def of(cls, spec: WindowSpec) -> Window:
        """Returns the window of a spec."""
        return cls(
            spec.duration_s,
            spec.sample_rate_hz,
            spec.num_samples,
            spec.num_frames,
            spec.frame_size,
            spec.window,
            spec.frame_choice,
            spec.frame_fit,
        )


@dataclass(frozen=True)
class DecodeJob:
    """One clip to decode; made first, if it has a maker and the file is missing."""

    path: str
    window: Window
    limits: DecodeLimits
    audio_path: str | None = None
    start_s: float | None = None
    end_s: float | None = None
    max_windows: int = 0
    hop_s: float | None = None
    maker: str | None = None
    """`package.module:function`, called as function(path, recipe) in the decoder process when the file is missing."""
    recipe: str = ""
    measure: bool = False
    """Whether to measure the quality of each window."""
    cpu_s: int = 120
    """Processor time that the process may use for this clip before it is ended by SIGXCPU."""

    def line(self) -> bytes:
        """Returns the job as one line of JSON."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def parse(cls, line: bytes) -> DecodeJob:
        """Returns the job that `line` wrote."""
        fields = json.loads(line)
        fields["window"] = Window(**fields["window"])
        fields["limits"] = DecodeLimits(**fields["limits"])
        return cls(**fields)


def reply_line(clips: list[DecodedClip], descriptor: int) -> bytes:
    """Writes the arrays of `clips` into the shared file in turn and returns the line that tells of them."""
    position = 0
    described = []
    for clip in clips:
        for array in (clip.waveform, clip.frames):
            if array is not None:
                position += _write(descriptor, np.ascontiguousarray(array), position)
        described.append(
            {
                "start_s": clip.start_s,
                "padded": clip.padded,
                "waveform": clip.waveform is not None,
                "frames": clip.frames is not None,
                "quality": asdict(clip.quality) if clip.quality is not None else None,
            }
        )
    reply = {"clips": described, "info": asdict(clips[0].info), "notes": list(clips[0].notes)}
    return json.dumps(reply).encode() + b"\n"


def error_line(error: MediaError) -> bytes:
    """Returns the line that tells of an error."""
    return json.dumps({"error": {"code": error.code, "detail": error.detail}}).encode() + b"\n"


def parse_reply(line: bytes, descriptor: int, job: DecodeJob) -> list[DecodedClip]:
    """Returns the clips that a decoder process told of.

    Raises:
        MediaError: the one that the process told of; media-crashed when the reply does not fit the job.
    """
    try:
        reply = json.loads(line)
        if "error" in reply:
            raise MediaError(str(reply["error"]["detail"])[:1_000], code=str(reply["error"]["code"])[:64])
        described = reply["clips"]
        if not 1 <= len(described) <= 1 + job.max_windows:
            raise ValueError(f"{len(described)} clips")
        info = MediaInfo(**reply["info"])
        notes = tuple(str(note)[:500] for note in reply["notes"][:20])
        reader = _Reader(descriptor, job.window)
        return [
            DecodedClip(
                waveform=reader.waveform() if one["waveform"] else None,
                frames=reader.frames() if one["frames"] else None,
                start_s=float(one["start_s"]),
                padded=bool(one["padded"]),
                info=info,
                notes=notes,
                quality=_quality(one["quality"]) if job.measure else None,
            )
            for one in described
        ]
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise MediaError(f"The decoder's answer is damaged ({error}).", code="media-crashed") from None


def _quality(told: dict[str, object]) -> ClipQuality:
    """Returns what was measured, if it has the shape that it must have."""
    values, content_hash = told["values"], told["content_hash"]
    if not isinstance(values, list) or len(values) != len(METRICS):
        raise ValueError("the number of metrics")
    if not isinstance(content_hash, str) or len(content_hash) > 64:
        raise ValueError("the content's hash")
    numbers = (float(value) if value is not None else None for value in values)
    return ClipQuality(tuple(n if n is not None and math.isfinite(n) else None for n in numbers), content_hash)


class _Reader:
    """Reads arrays of known shape one after the other; never maps the file, which the child could cut off."""

    def __init__(self, descriptor: int, window: Window) -> None:
        self._descriptor = descriptor
        self._window = window
        self._position = 0

    def waveform(self) -> NDArray[np.float32]:
        """Returns (S,) float32."""
        array = np.empty(self._window.num_samples, np.float32)
        self._fill(array.view(np.uint8).data)
        return array

    def frames(self) -> NDArray[np.uint8]:
        """Returns (T, H, H, 3) uint8."""
        size = self._window.frame_size
        array = np.empty((self._window.num_frames, size, size, 3), np.uint8)
        self._fill(array.reshape(-1).data)
        return array

    def _fill(self, view: memoryview) -> None:
        done = 0
        while done < len(view):
            count = os.preadv(self._descriptor, [view[done:]], self._position + done)
            if count == 0:
                raise ValueError(f"{done} of {len(view)} bytes")
            done += count
        self._position += done


def _write(descriptor: int, array: NDArray[np.generic], position: int) -> int:
    view = array.reshape(-1).view(np.uint8).data
    done = 0
    while done < len(view):
        done += os.pwrite(descriptor, view[done:], position + done)
    return done


def job_for(path: Path, spec: WindowSpec, limits: DecodeLimits, *, audio_path: Path | None = None) -> DecodeJob:
    """Returns the job to decode one clip."""
    return DecodeJob(str(path), Window.of(spec), limits, audio_path=str(audio_path) if audio_path else None)
