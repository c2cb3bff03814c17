"""Loading what the first clip of a process needs: codec tables, scaler, resampler.

Torch-free. A fresh process takes 12 ms for a clip that the same process then decodes in 6.
"""

from __future__ import annotations

import os
from pathlib import Path

import av
import numpy as np

from worker.media.decode import decode_clip
from worker.media.wire import Window

_SIDE = 64
_RATE_HZ = 16_000
_NUM_FRAMES = 4


def warm_up(descriptor: int) -> None:
    """Makes a tiny H.264/AAC clip in an open file without a name (so that a kill leaves nothing) and decodes it."""
    path = Path(f"/proc/self/fd/{descriptor}")
    if path.exists():  # Linux
        _make(path)
        decode_clip(path, Window(0.2, 8_000, 1_600, 2, 32))
        os.ftruncate(descriptor, 0)


def _make(path: Path) -> None:
    with av.open(str(path), "w", format="mp4") as container:
        video = container.add_stream("libx264", rate=10)
        video.width = video.height = _SIDE
        video.options = {"preset": "ultrafast", "tune": "zerolatency"}
        audio = container.add_stream("aac", rate=_RATE_HZ, layout="mono")
        for index in range(_NUM_FRAMES):
            pixels = np.full((_SIDE, _SIDE, 3), 60 * index, np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = index
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        samples = np.zeros((1, _RATE_HZ * _NUM_FRAMES // 10), np.float32)
        piece = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        piece.sample_rate, piece.pts = _RATE_HZ, 0
        container.mux(audio.encode(piece))
        container.mux(audio.encode(None))
