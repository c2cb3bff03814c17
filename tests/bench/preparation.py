"""Preparation against decoding the same files and frames on one core, interleaved.

The target is a share of the cores: 0.8 x cores x the bare speed. Where others use the cores too, wall time says more of
them than of us, so the same share is also told in processor time: bare decoding's by all that preparation takes.
"""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from tests.bench.figure import Figure
from tests.bench.scoring import write_clip
from worker.contract.spec import Folder, PreprocessSpec
from worker.datasets.prepare import prepare
from worker.media.decode import decode_clip

NUM_CLIPS = 600
NUM_BARE = 100
REPEATS = 3
SPEC = PreprocessSpec(num_frames=3, frame_size=256, crop_size=224, num_mels=128)


def measure() -> list[Figure]:
    """Returns both speeds and their ratio."""
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="gapscope-bench-") as folder:
        clips = _corpus(Path(folder) / "clips")
        spec = Folder(path=str(Path(folder) / "clips"), preprocess=SPEC)
        bare, ours, shares = [], [], []
        for repeat in range(REPEATS):
            started, used = time.perf_counter(), _processor_s()
            for clip in clips[:NUM_BARE]:
                decode_clip(clip, SPEC)
            bare.append(NUM_BARE / (time.perf_counter() - started))
            bare_s = (_processor_s() - used) / NUM_BARE
            place = Path(folder) / f"home-{repeat}" / "dataset"  # side by side they would share one store
            place.mkdir(parents=True)
            started, used = time.perf_counter(), _processor_s()
            prepare(spec, place, num_processes=cores)
            ours.append(NUM_CLIPS / (time.perf_counter() - started))
            shares.append(bare_s * NUM_CLIPS / (_processor_s() - used))
    share = statistics.median(a / (cores * b) for a, b in zip(ours, bare, strict=True))
    processor = statistics.median(shares)
    return [
        Figure("bare decode / preparation, processor time of a clip", f"{processor:.2f}", "0.8", processor >= 0.8),
        Figure("preparation / (cores x bare decode on one core)", f"{share:.2f}", "0.8", share >= 0.8),
        Figure(
            f"preparation with {cores} processes, bare decode on one core",
            f"{statistics.median(ours):.0f} clips/s, {statistics.median(bare):.0f} clips/s",
        ),
    ]


def _corpus(folder: Path) -> list[Path]:
    """Returns clips of 3 s in a folder of two classes: one file under many names."""
    original = write_clip(folder.parent / "original.mp4")
    clips = []
    for index in range(NUM_CLIPS):
        clip = folder / ("train", "val", "test")[index % 3] / f"class-{index // 3 % 2}" / f"{index:04d}.mp4"
        clip.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(original, clip)
        clips.append(clip)
    return clips


def _processor_s() -> float:
    """Returns the processor time of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)
