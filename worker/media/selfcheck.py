"""`python -P -m worker.media.selfcheck`: does FFmpeg, as PyAV brings it, do what Gapscope asks of it? One JSON line.

Makes a tiny clip of each kind and reads it back through the same door as every upload; torch-free.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

SIDE = 64
FRAMES_PER_S = 10
NUM_FRAMES = 4


@dataclass(frozen=True)
class Kind:
    """A container with its codecs, as FFmpeg names them."""

    title: str
    suffix: str
    video: str
    audio: str
    rate_hz: int


KINDS = (
    Kind("H.264 and AAC in MP4", ".mp4", "libx264", "aac", 48_000),
    Kind("VP9 and Opus in WebM", ".webm", "libvpx-vp9", "libopus", 48_000),
    Kind("FLV1 and PCM in FLV", ".flv", "flv", "pcm_s16le", 44_100),
    Kind("MPEG-4 and MP3 in AVI", ".avi", "mpeg4", "libmp3lame", 44_100),
)
"""What the built-in data and the clips for browsers are made in, then what corpora and cameras come in."""


def check(kind: Kind, folder: Path) -> str | None:
    """Returns why clips of a kind cannot be made and read back here, or None when they can."""
    path = folder / f"clip{kind.suffix}"
    try:
        _make(kind, path)
        pictures, seconds = _read(path)
    except Exception as error:  # of any codec: it is what is asked here
        return f"{type(error).__name__}: {error}"[:300]
    if pictures < NUM_FRAMES - 1 or seconds < 0.5 * NUM_FRAMES / FRAMES_PER_S:
        return f"{pictures} of {NUM_FRAMES} pictures and {seconds:.2f} of {NUM_FRAMES / FRAMES_PER_S:.2f} s came back"
    return None


def _make(kind: Kind, path: Path) -> None:
    import av
    import numpy as np

    with av.open(str(path), "w") as container:
        video: Any = container.add_stream(kind.video, rate=FRAMES_PER_S)
        video.width = video.height = SIDE
        video.pix_fmt = "yuv420p"
        audio: Any = container.add_stream(kind.audio, rate=kind.rate_hz, layout="mono")
        for index in range(NUM_FRAMES):
            grey = np.full((SIDE, SIDE, 3), 60 * index, np.uint8)
            frame = av.VideoFrame.from_ndarray(grey, format="rgb24")
            frame.pts = index
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        length = round(kind.rate_hz * NUM_FRAMES / FRAMES_PER_S)
        tone = np.sin(np.arange(length, dtype=np.float32) * 0.1)[None] * 0.5
        sound = av.AudioFrame.from_ndarray(tone.astype(np.float32), format="fltp", layout="mono")
        sound.sample_rate, sound.pts, sound.time_base = kind.rate_hz, 0, Fraction(1, kind.rate_hz)
        resampler = av.AudioResampler(audio.format.name, "mono", kind.rate_hz, audio.codec_context.frame_size or 1_024)
        for piece in [*resampler.resample(sound), *resampler.resample(None)]:
            container.mux(audio.encode(piece))
        container.mux(audio.encode(None))


def _read(path: Path) -> tuple[int, float]:
    """Returns the pictures of a clip, and the seconds of its sound, as they are decoded."""
    from worker.media.container import open_container

    pictures, seconds = 0, 0.0
    with open_container(path) as container:
        for packet in container.demux():
            for frame in packet.decode():
                if packet.stream.type == "video":
                    pictures += 1
                else:
                    sound: Any = frame
                    seconds += sound.samples / sound.sample_rate
    return pictures, seconds


def main() -> int:
    """Prints what was found."""
    import av
    from av._core import library_meta

    with tempfile.TemporaryDirectory(prefix="gapscope-selfcheck-") as folder:
        failures = {kind.title: reason for kind in KINDS if (reason := check(kind, Path(folder))) is not None}
    ffmpeg = ".".join(str(part) for part in library_meta["libavcodec"]["version"])
    answer = {"pyav": av.__version__, "libavcodec": ffmpeg, "kinds": [kind.title for kind in KINDS], "failed": failures}
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
