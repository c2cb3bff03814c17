"""`make fuzz`: decodes many broken clips and tells what became of them."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.mutants import mutants, originals
from worker.contract.errors import MediaError
from worker.contract.spec.preprocess import PreprocessSpec
from worker.media.sandbox import UPLOAD_LIMITS, DecodePool
from worker.media.wire import DecodeJob, job_for

SPEC = PreprocessSpec(duration_s=0.5, sample_rate_hz=8_000, num_frames=2, frame_size=32, crop_size=32)
TIMEOUT_S = 20.0
CODES = frozenset(
    {
        "media-not-decodable",
        "media-no-streams",
        "media-empty",
        "media-too-large",
        "media-too-long",
        "media-bad-range",
        "media-not-found",
        "media-timeout",
        "media-crashed",
    }
)
"""All that a broken clip may be answered with."""


@dataclass
class Answers:
    """What became of the clips."""

    codes: Counter[str] = field(default_factory=Counter)
    named: dict[str, list[str]] = field(default_factory=dict)
    """Names of the clips whose decoder died or hung: each can be made again from its name."""
    slowest_s: float = 0.0


def run(folder: Path, count: int, seed: int, num_processes: int = 2, timeout_s: float = TIMEOUT_S) -> Answers:
    """Decodes broken clips and returns what became of them.

    Args:
        folder: for the files; each is removed after its turn.
        count: how many.
        seed: of the mutations.
        num_processes: decoders at a time.
        timeout_s: for one clip.
    """
    answers, names, begun = Answers(), {}, {}
    clips = originals(folder)

    def jobs() -> Iterator[tuple[int, DecodeJob]]:
        for number, (name, container, data) in enumerate(mutants(clips, count, seed)):
            path = folder / f"{number}.{container}"
            path.write_bytes(data)
            names[number], begun[number] = name, time.monotonic()
            yield number, job_for(path, SPEC, UPLOAD_LIMITS)

    with DecodePool(num_processes, timeout_s=timeout_s) as pool:
        for number, answer in pool.run(jobs()):
            code = answer.code if isinstance(answer, MediaError) else "decoded"
            answers.codes[code] += 1
            answers.slowest_s = max(answers.slowest_s, time.monotonic() - begun.pop(number))
            if code in ("media-crashed", "media-timeout"):
                answers.named.setdefault(code, []).append(names[number])
            for path in folder.glob(f"{number}.*"):
                path.unlink()
            if sum(answers.codes.values()) % 1_000 == 0:
                print(dict(answers.codes), file=sys.stderr, flush=True)  # noqa: T201
    return answers


def main() -> None:
    """Prints the figures; exit status 1 when an answer is none of the stable codes, or a clip has none."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        answers = run(Path(folder), arguments.count, arguments.seed)
    for code, number in answers.codes.most_common():
        print(f"{number:>7,}  {code}")  # noqa: T201
    print(f"slowest {answers.slowest_s:.1f} s; decoders that died or hung: {answers.named or 'none'}")  # noqa: T201
    odd = set(answers.codes) - CODES - {"decoded"}
    sys.exit(1 if odd or sum(answers.codes.values()) != arguments.count else 0)


if __name__ == "__main__":
    main()
