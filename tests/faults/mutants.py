"""Broken clips, made from real ones by changing their structure; the same seed makes the same clips."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.worker.media.clips import make_clip

EXTREMES = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF)
CONTAINERS = ("mp4", "webm", "mov", "avi", "flv", "wav")
MASTERS = (b"\x18\x53\x80\x67", b"\x16\x54\xae\x6b", b"\xae", b"\x1f\x43\xb6\x75")
"""Ids of Matroska's Segment, Tracks, TrackEntry and Cluster."""
Range = tuple[int, int]


def originals(folder: Path) -> dict[str, bytes]:
    """Returns a small real clip of each container."""
    codecs: dict[str, tuple[str | None, str | None]] = {
        "mp4": ("libx264", "aac"),
        "webm": ("libvpx-vp9", "libopus"),
        "mov": ("libx264", "pcm_s16le"),
        "avi": ("mpeg4", "pcm_s16le"),
        "flv": ("flv", "pcm_s16le"),
        "wav": (None, "pcm_s16le"),
    }
    made = {}
    for name, (video, audio) in codecs.items():
        rate = {"webm": 48_000, "flv": 44_100}.get(name, 16_000)
        path = make_clip(folder / f"original.{name}", seconds=0.5, video=video, audio=audio, fps=10, rate=rate)
        made[name] = path.read_bytes()
    return made


def mutants(clips: dict[str, bytes], count: int, seed: int = 0) -> Iterator[tuple[str, str, bytes]]:
    """Yields (name, container, bytes) of `count` broken clips.

    Args:
        clips: of `originals`.
        count: how many.
        seed: of the choices.
    """
    for number in range(count):
        chance = random.Random(f"{seed} {number}")
        container = CONTAINERS[number % len(CONTAINERS)]
        data = bytearray(clips[container])
        done = []
        for _ in range(chance.choice((1, 1, 1, 2, 3))):
            operation = chance.choice(OPERATIONS)
            data = operation(data, container, chance)
            done.append(operation.__name__.strip("_"))
        yield f"{seed}-{number}-{'-'.join(done)}.{container}", container, bytes(data)


def parts(data: bytes | bytearray, container: str) -> list[Range]:
    """Returns the ranges of a container's elements (boxes, chunks, tags), nested ones too; at most 400."""
    finders = {"mp4": _boxes, "mov": _boxes, "avi": _chunks, "wav": _chunks, "flv": _tags, "webm": _elements}
    return list(finders[container](bytes(data), 0, len(data), 0))[:400]


def _boxes(data: bytes, start: int, end: int, depth: int) -> Iterator[Range]:
    while start + 8 <= end:
        size = int.from_bytes(data[start : start + 4], "big")
        if size < 8 or start + size > end:
            return
        yield start, start + size
        if depth < 6 and data[start + 4 : start + 8] in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"dinf", b"udta"):
            yield from _boxes(data, start + 8, start + size, depth + 1)
        start += size


def _chunks(data: bytes, start: int, end: int, depth: int) -> Iterator[Range]:
    while start + 8 <= end:
        size = int.from_bytes(data[start + 4 : start + 8], "little")
        stop = start + 8 + size
        if stop > end:
            return
        yield start, stop
        if depth < 4 and data[start : start + 4] in (b"RIFF", b"LIST"):
            yield from _chunks(data, start + 12, stop, depth + 1)
        start = stop + size % 2


def _tags(data: bytes, start: int, end: int, depth: int) -> Iterator[Range]:
    del start, depth
    place = 13
    while place + 11 <= end:
        stop = place + 15 + int.from_bytes(data[place + 1 : place + 4], "big")
        if stop > end:
            return
        yield place, stop
        place = stop


def _elements(data: bytes, start: int, end: int, depth: int) -> Iterator[Range]:
    while start + 2 <= end and data[start]:
        id_length = 9 - data[start].bit_length()
        place = start + id_length
        if place >= end or not data[place]:
            return
        length = 9 - data[place].bit_length()
        size = int.from_bytes(data[place : place + length], "big") & ((1 << 7 * length) - 1)
        stop = min(end, place + length + size)
        yield start, stop
        if depth < 4 and data[start:place] in MASTERS:
            yield from _elements(data, place + length, stop, depth + 1)
        start = stop


def _truncated(data: bytearray, container: str, chance: random.Random) -> bytearray:
    del container
    return data[: chance.randrange(len(data) + 1)]


def _bits_flipped(data: bytearray, container: str, chance: random.Random) -> bytearray:
    del container
    for _ in range(chance.choice((1, 4, 32, 256))):
        if data:
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return data


def _header_flipped(data: bytearray, container: str, chance: random.Random) -> bytearray:
    del container
    for _ in range(chance.choice((1, 3, 10))):
        if data:
            data[chance.randrange(min(len(data), 600))] = chance.randrange(256)
    return data


def _extreme_number(data: bytearray, container: str, chance: random.Random) -> bytearray:
    """Writes an extreme number somewhere into an element: sizes, counts, offsets, times, pictures' sides."""
    found = parts(data, container)
    if not found:
        return data
    start, end = chance.choice(found)
    width = chance.choice((2, 4, 4, 8))
    place = chance.choice((start, start + 4, chance.randrange(start, max(start + 1, min(end, start + 120)))))
    value = chance.choice(EXTREMES) & ((1 << 8 * width) - 1)
    order = "little" if container in ("avi", "wav") else "big"
    data[place : place + width] = value.to_bytes(width, order)  # type: ignore[arg-type]
    return data


def _element_dropped(data: bytearray, container: str, chance: random.Random) -> bytearray:
    found = parts(data, container)
    if found:
        start, end = chance.choice(found)
        del data[start:end]
    return data


def _element_repeated(data: bytearray, container: str, chance: random.Random) -> bytearray:
    found = parts(data, container)
    if found:
        start, end = chance.choice(found)
        piece = bytes(data[start:end])[:20_000]
        data[end:end] = piece * chance.choice((1, 2, 50))
    return data


def _elements_swapped(data: bytearray, container: str, chance: random.Random) -> bytearray:
    found = parts(data, container)
    if len(found) < 2:
        return data
    (a, b), (c, d) = sorted(chance.sample(found, 2))
    if b <= c:
        data = bytearray(data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:])
    return data


def _zeroed(data: bytearray, container: str, chance: random.Random) -> bytearray:
    del container
    if data:
        start = chance.randrange(len(data))
        length = min(len(data) - start, chance.choice((8, 64, 1_024)))
        data[start : start + length] = bytes(length)
    return data


def _spliced(data: bytearray, container: str, chance: random.Random) -> bytearray:
    """Puts a piece of the file somewhere else in it."""
    del container
    if len(data) > 2:
        start = chance.randrange(len(data))
        piece = data[start : start + chance.choice((16, 256, 4_096))]
        place = chance.randrange(len(data))
        data[place:place] = piece
    return data


def _other_name(data: bytearray, container: str, chance: random.Random) -> bytearray:
    """Gives an element the name of another one."""
    found = parts(data, container)
    if len(found) >= 2:
        (a, _), (b, _) = chance.sample(found, 2)
        shift = 4 if container in ("mp4", "mov") else 0
        data[a + shift : a + shift + 4] = data[b + shift : b + shift + 4]
    return data


OPERATIONS: tuple[Callable[[bytearray, str, random.Random], bytearray], ...] = (
    _truncated,
    _bits_flipped,
    _header_flipped,
    _extreme_number,
    _extreme_number,
    _element_dropped,
    _element_repeated,
    _elements_swapped,
    _zeroed,
    _spliced,
    _other_name,
)


def bombs(folder: Path) -> dict[str, Path]:
    """Writes small files that claim, or unpack into, far more than they are."""
    made = {}

    def put(name: str, data: bytes) -> None:
        made[name] = folder / name
        made[name].write_bytes(data)

    clips = originals(folder)
    wide = bytearray(make_clip(folder / "raw.avi", seconds=0.2, video="rawvideo", audio=None, fps=10).read_bytes())
    header = wide.index(b"strf") + 8
    wide[header + 4 : header + 12] = struct.pack("<ii", 65_535, 65_535)
    put("4-gib-picture.avi", bytes(wide))
    flv = clips["flv"]
    video = next((a, b) for a, b in parts(flv, "flv") if flv[a] == 9)
    put("million-frames.flv", flv[:13] + flv[video[0] : video[1]] * 1_000_000)
    depth = 20_000
    put("deep.mp4", b"".join(struct.pack(">I4s", 8 * (depth - level), b"moov") for level in range(depth)))
    ebml = clips["webm"][:40]
    put("deep.webm", ebml + b"\x18\x53\x80\x67\x01\xff\xff\xff\xff\xff\xff\xff" * 20_000)
    sounds = [_flv_tag(8, time_ms, b"\x3e" + bytes(4)) for time_ms in range(0, 3_600_000, 10_000)]
    put("hour-of-silence.flv", b"FLV\x01\x04\x00\x00\x00\x09\x00\x00\x00\x00" + b"".join(sounds))
    return made


def _flv_tag(kind: int, time_ms: int, data: bytes) -> bytes:
    head = bytes([kind]) + len(data).to_bytes(3, "big") + (time_ms & 0xFFFFFF).to_bytes(3, "big")
    head += bytes([time_ms >> 24, 0, 0, 0])
    return head + data + (11 + len(data)).to_bytes(4, "big")
