"""A folder of JPEG frames as a picture track: packed, not re-encoded, into a container in memory.

So there is one path from packets to frames, whether a corpus has videos or only the frames that someone drew from them.
Torch-free.
"""

from __future__ import annotations

import io
import re
from fractions import Fraction
from pathlib import Path

import av
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext

from worker.contract.errors import MediaError

PICTURE_SUFFIXES = (".jpg", ".jpeg")
MAX_FOLDER_BYTES = 256 * 1024 * 1024
"""Of all frames of a clip: they are packed in memory."""
_TICKS_PER_S = 1_000
"""Time base of the track."""


def packed_pictures(folder: Path, length_s: float | None) -> bytes:
    """Returns a QuickTime file of the JPEGs in a folder, spread evenly over the length of the clip.

    Args:
        folder: holds one JPEG a frame; frame 2 comes before frame 10, in whatever order the folder lists them.
        length_s: of the clip, seconds, as its sound tells; None: a frame a second.

    Raises:
        MediaError: media-not-found, media-not-decodable, media-too-large.
    """
    frames = [path.read_bytes() for path in in_frame_order(folder)]
    if not frames:
        raise MediaError(f"The folder {folder.name!r} holds no JPEG frame.", code="media-not-decodable")
    width, height = _size(frames[0], folder)
    step = round((length_s or float(len(frames))) * _TICKS_PER_S / len(frames)) or 1
    target = io.BytesIO()
    with av.open(target, "w", format="mov") as container:
        stream = container.add_mux_stream("mjpeg", width=width, height=height)
        stream.time_base = Fraction(1, _TICKS_PER_S)
        for index, frame in enumerate(frames):
            packet = Packet(frame)
            packet.stream = stream
            packet.time_base = Fraction(1, _TICKS_PER_S)
            packet.pts = packet.dts = index * step
            packet.duration = step
            packet.is_keyframe = True
            container.mux(packet)
    return target.getvalue()


def in_frame_order(folder: Path) -> list[Path]:
    """Returns the JPEGs of a folder by the numbers in their names.

    Raises:
        MediaError: media-not-found; media-too-large, when all together are.
    """
    try:
        paths = [path for path in folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file()]
        size_bytes = sum(path.stat().st_size for path in paths)
    except OSError as error:
        raise MediaError(
            f"The folder {folder.name!r} cannot be read: {error.strerror}.", code="media-not-found"
        ) from None
    if size_bytes > MAX_FOLDER_BYTES:
        raise MediaError(
            f"The frames in {folder.name!r} take {size_bytes >> 20:,} MiB, at most {MAX_FOLDER_BYTES >> 20} MiB are "
            "read. Take fewer or smaller ones.",
            code="media-too-large",
        )
    return sorted(paths, key=lambda path: [int(part) if part.isdecimal() else part for part in _parts(path.name)])


def _parts(name: str) -> list[str]:
    """Returns text and numbers in turn, text first, so that keys of two names can be compared."""
    return re.split(r"([0-9]+)", name)


def _size(frame: bytes, folder: Path) -> tuple[int, int]:
    codec = av.CodecContext.create("mjpeg", "r")
    assert isinstance(codec, VideoCodecContext)
    try:
        pictures = [*codec.decode(Packet(frame)), *codec.decode(None)]
    except av.FFmpegError:
        pictures = []
    if not pictures:
        raise MediaError(f"The first frame in {folder.name!r} is no JPEG.", code="media-not-decodable")
    return pictures[0].width, pictures[0].height
