"""A small zip of real clips with everything that a dataset's page has to tell."""

from __future__ import annotations

import zipfile
from pathlib import Path

import av
import numpy as np

SIZE, FRAMES_PER_S, SAMPLE_RATE_HZ = 64, 10, 8_000


def write_clip(path: Path, *, pitch_hz: float, grey: int, seconds: float = 0.6, sound: bool = True) -> Path:
    """Returns a clip of a tone and a moving grey square, H.264 and AAC."""
    random = np.random.default_rng(grey)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FRAMES_PER_S)
        video.width = video.height = SIZE
        video.pix_fmt = "yuv420p"
        audio = container.add_stream("aac", rate=SAMPLE_RATE_HZ) if sound else None
        for index in range(round(seconds * FRAMES_PER_S)):
            picture = np.full((SIZE, SIZE, 3), grey, np.uint8)
            picture[:, index * 4 : index * 4 + 16] = 255 - grey
            picture += random.integers(0, 6, picture.shape, np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode())
        if audio is not None:
            time_s = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
            wave = (0.3 * np.sin(2 * np.pi * pitch_hz * time_s)).astype(np.float32)[None]
            frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
            frame.sample_rate = SAMPLE_RATE_HZ
            container.mux(audio.encode(frame))
            container.mux(audio.encode())
    return path


def write_zip(path: Path, scratch: Path) -> Path:
    """Returns a zip of two classes: a test clip that training has too, one without sound, one that is broken."""
    files: dict[str, Path] = {}
    for split, number in (("train", 4), ("validation", 2), ("test", 2)):
        for place, label in enumerate(("dog", "Katze ä")):
            for index in range(number):
                grey = 20 + 12 * len(files)
                clip = write_clip(scratch / f"{grey}.mp4", pitch_hz=200.0 + 300 * place + 10 * index, grey=grey)
                files[f"clips/{split}/{label}/{index}.mp4"] = clip
    files["clips/test/dog/copy.mp4"] = files["clips/train/dog/0.mp4"]
    files["clips/train/dog/mute.mp4"] = write_clip(scratch / "mute.mp4", pitch_hz=1.0, grey=240, sound=False)
    broken = scratch / "broken.mp4"
    broken.write_bytes(files["clips/train/dog/1.mp4"].read_bytes()[:900])
    files["clips/train/dog/broken.mp4"] = broken
    with zipfile.ZipFile(path, "w") as archive:
        for name, source in files.items():
            archive.write(source, name)
    return path
