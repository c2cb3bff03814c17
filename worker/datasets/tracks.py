"""A look at a few clips before all are decoded: does the corpus have sound and picture at all?"""

from __future__ import annotations

from collections.abc import Sequence

from worker.contract.errors import DatasetError, MediaError
from worker.datasets.source import ClipEntry
from worker.media.container import DecodeLimits
from worker.media.sandbox import DecodePool
from worker.media.wire import DecodeJob, Window

NUM_LOOKED_AT = 8
_WINDOW = Window(duration_s=0.2, sample_rate_hz=8_000, num_samples=1_600, num_frames=1, frame_size=16)


def check_tracks(entries: Sequence[ClipEntry]) -> None:
    """Decodes a moment of eight clips, spread over the listing, and refuses what preparation would skip for hours.

    Args:
        entries: clips whose files are there.

    Raises:
        DatasetError: dataset-undecodable, when none can be decoded; dataset-no-audio or dataset-no-visual, when none
            has that track.
    """
    number = min(NUM_LOOKED_AT, len(entries))
    chosen = [entries[index * len(entries) // number] for index in range(number)]
    jobs = [
        DecodeJob(
            str(entry.path),
            _WINDOW,
            DecodeLimits(),
            audio_path=str(entry.audio_path) if entry.audio_path else None,
            start_s=entry.start_s,
            end_s=entry.end_s,
        )
        for entry in chosen
    ]
    with DecodePool(1) as pool:
        answers = [answer for _, answer in pool.run(enumerate(jobs))]
    clips = [answer[0] for answer in answers if not isinstance(answer, MediaError)]
    first = chosen[0].path
    if not clips:
        reasons = [answer.detail for answer in answers if isinstance(answer, MediaError)]
        raise DatasetError(
            f"None of {number} clips that were looked at can be decoded; the first: {first}: {reasons[0]} "
            "Are the files complete (no Git LFS pointers)?",
            code="dataset-undecodable",
        )
    for code, what, arrays in (
        ("dataset-no-audio", "sound", [clip.waveform for clip in clips]),
        ("dataset-no-visual", "picture", [clip.frames for clip in clips]),
    ):
        if all(array is None for array in arrays):
            raise DatasetError(
                f"None of {len(clips)} clips that were looked at has a {what}, such as {first}. An audio-visual model "
                "needs both.",
                code=code,
            )
