"""Miniature corpora with real media files, laid out as docs/corpora.md and the corpora's own authors say.

Written from the description of the layouts alone: it imports nothing of worker.datasets.
"""

from __future__ import annotations

import atexit
import shutil
from fractions import Fraction
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import av
import numpy as np

from tests.worker.media.clips import make_clip

EMOTIONS = ("NEU", "HAP", "SAD", "FEA", "DIS", "ANG")
SPEAKERS = tuple(str(1001 + index) for index in range(5))


@cache
def _templates() -> Path:
    folder = Path(mkdtemp(prefix="gapscope-corpora-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def template(suffix: str, variant: int, video: str | None, audio: str | None, seconds: float) -> Path:
    """Returns a clip that is encoded once and copied to wherever a tree needs one."""
    path = _templates() / f"{variant}-{video}-{audio}-{seconds}{suffix}"
    return make_clip(path, seconds=seconds, video=video, audio=audio, tone_hz=300.0 + 150.0 * variant, size=(60, 44))


def place(
    path: Path,
    variant: int = 0,
    *,
    video: str | None = "libx264",
    audio: str | None = "aac",
    seconds: float = 1.0,
) -> Path:
    """Puts a clip at a path; the suffix decides the container."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(template(path.suffix, variant % 6, video, audio, seconds), path)
    return path


def write_lines(path: Path, lines: list[str]) -> Path:
    """Writes a list, one line each, no header of its own."""
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def crema_d_clips(sentences: tuple[str, ...] = ("DFA",)) -> list[str]:
    """Returns the names of all clips of a tree: <speaker>_<sentence>_<emotion>_<level>."""
    return [
        f"{speaker}_{sentence}_{emotion}_XX" for speaker in SPEAKERS for sentence in sentences for emotion in EMOTIONS
    ]


def crema_d(root: Path) -> Path:
    """AudioWAV/<clip>.wav, VideoFlash/<clip>.flv, train.csv and test.csv of clip,LABEL.

    The videos are Sorenson without sound, or H.264 with another tone than the WAV file. As in the split in circulation,
    all test speakers are in train: the lists are cut by sentence here.
    """
    for name in crema_d_clips(("DFA", "IEO")):
        variant = EMOTIONS.index(name.split("_")[2])
        place(root / "AudioWAV" / f"{name}.wav", variant, video=None, audio="pcm_s16le")
        is_old = int(name[:4]) % 2 == 0
        video, sound = ("flv", None) if is_old else ("libx264", "aac")
        place(root / "VideoFlash" / f"{name}.flv", variant + 1, video=video, audio=sound)
    for file, sentence in (("train.csv", "DFA"), ("test.csv", "IEO")):
        write_lines(root / file, [f"{name},{name.split('_')[2]}" for name in crema_d_clips((sentence,))])
    return root


def jpeg_folder(folder: Path, names: list[str], greys: list[int]) -> Path:
    """Writes one JPEG a name, in that order, each of one grey level."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, grey in zip(names, greys, strict=True):
        codec = av.CodecContext.create("mjpeg", "w")
        codec.width, codec.height, codec.pix_fmt = 60, 44, "yuvj420p"
        codec.time_base = Fraction(1, 25)
        frame = av.VideoFrame.from_ndarray(np.full((44, 60, 3), grey, np.uint8), format="rgb24")
        packets = [*codec.encode(frame.reformat(format="yuvj420p")), *codec.encode(None)]
        (folder / name).write_bytes(b"".join(bytes(packet) for packet in packets))
    return folder


def crema_d_frames(root: Path) -> Path:
    """The same without VideoFlash: Image-01-FPS/<clip>/*.jpg beside AudioWAV/<clip>.wav."""
    crema_d(root)
    for path in sorted((root / "VideoFlash").iterdir()):
        jpeg_folder(root / "Image-01-FPS" / path.stem, ["frame_00010.jpg", "frame_00002.jpg"], [200, 40])
        path.unlink()
    (root / "VideoFlash").rmdir()
    return root


AVE_CATEGORIES = ("Church bell", "Race car, auto racing", "Frying (food)")


def ave_line(category: str, video: str, quality: str = "good", start: int = 0, end: int = 2) -> str:
    """Returns category&video id&quality&start&end."""
    return f"{category}&{video}&{quality}&{start}&{end}"


def ave(root: Path) -> Path:
    """AVE_Dataset with AVE/<video id>.mp4, Annotations.txt with a header, and the three sets without."""
    home = root / "AVE_Dataset"
    home.mkdir(parents=True)
    every = []
    for name, number in (("trainSet.txt", 4), ("valSet.txt", 1), ("testSet.txt", 2)):
        lines = []
        for index, category in enumerate(AVE_CATEGORIES):
            for take in range(number):
                video = f"{name[:2]}-{index}_{take}vidid"[:11]
                place(home / "AVE" / f"{video}.mp4", index, seconds=3.0)
                lines.append(ave_line(category, video, "good" if take % 2 == 0 else "Bad", take % 2, 2 + take % 2))
        write_lines(home / name, lines)
        every += lines
    write_lines(home / "Annotations.txt", ["Category&VideoID&Quality&StartTime&EndTime", *every])
    return root


KS_CLASSES = ("playing guitar", "tap dancing", "ripping paper")


def ks_clips(split: str, label: str) -> list[str]:
    """Returns the clips of a class in a split: <ytid>_<start>_<end>."""
    numbers = {"train": range(4), "test": range(4, 6)}[split]
    return [
        f"{'gtr'[KS_CLASSES.index(label)]}_-abcdef{take:02d}_{10 * take:06d}_{10 * take + 10:06d}" for take in numbers
    ]


def kinetics_sounds(root: Path) -> Path:
    """<split>/<class>/<ytid>_<start>_<end>.mp4."""
    for split in ("train", "test"):
        for index, label in enumerate(KS_CLASSES):
            for clip in ks_clips(split, label):
                place(root / split / label / f"{clip}.mp4", index)
    return root


def ks_lists(root: Path, form: str) -> None:
    """Writes train.txt and test.txt in the form of one of the authors."""
    for split in ("train", "test"):
        lines = []
        for index, label in enumerate(KS_CLASSES):
            for clip in ks_clips(split, label):
                lines.append(
                    {
                        "label,clip": f"{label},{clip}",
                        "clip,10,classid": f"{clip},10,{index}",
                        "clip ... int": f"/home/author/data/{split}/{clip}.mp4 300 {index}",
                    }[form]
                )
        write_lines(root / f"{split}.txt", lines)


def ks_frames(root: Path) -> Path:
    """visual/<clip>/frame_0000N.jpg, darker to brighter, beside audio/<clip>.wav; files are written last one first."""
    for split in ("train", "test"):
        for index, label in enumerate(KS_CLASSES):
            for clip in ks_clips(split, label):
                place(root / "audio" / f"{clip}.wav", index, video=None, audio="pcm_s16le")
                names = [f"frame_{number:05d}.jpg" for number in range(12, 0, -1)]
                jpeg_folder(root / "visual" / clip, names, [20 * number for number in range(12, 0, -1)])
    ks_lists(root, "clip,10,classid")
    return root


VGG_LABELS = ("playing bass guitar", "dog barking", "people eating noodle, slurping")


def vgg_line(video: str, start: int, label: str, split: str) -> str:
    """Returns ytid,start,label,split; a label with a comma stands in double quotes."""
    shown = f'"{label}"' if "," in label else label
    return f"{video},{start},{shown},{split}"


def vggsound(root: Path) -> Path:
    """<ytid>_<start, 6 digits>.mp4 and vggsound.csv without a header."""
    lines = []
    for split, number in (("train", 4), ("test", 2)):
        for index, label in enumerate(VGG_LABELS):
            for take in range(number):
                video, start = f"-{split}_{index}{take}xyz"[:11], 30 * take
                place(root / f"{video}_{start:06d}.mp4", index)
                lines.append(vgg_line(video, start, label, split))
    write_lines(root / "vggsound.csv", lines)
    return root
