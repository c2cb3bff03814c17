"""Broken clips and bombs: each is answered with a stable code, within limits, and costs a decoder at most."""

from __future__ import annotations

import multiprocessing
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from tests.faults.fuzz import CODES, SPEC, run
from tests.faults.mutants import bombs, mutants, originals
from worker.contract.errors import MediaError
from worker.media.sandbox import SandboxedDecoder


def test_three_hundred_broken_clips_are_answered_with_stable_codes(tmp_path: Path) -> None:
    answers = run(tmp_path, 300, seed=7, timeout_s=10.0)
    assert sum(answers.codes.values()) == 300
    assert set(answers.codes) <= CODES | {"decoded"}
    assert answers.named == {}
    assert answers.codes["decoded"] >= 30  # they are broken in places, and not all to pieces
    assert answers.codes["media-not-decodable"] >= 30


def test_the_same_seed_makes_the_same_clips(tmp_path: Path) -> None:
    clips = originals(tmp_path)
    assert list(mutants(clips, 50, seed=3)) == list(mutants(clips, 50, seed=3))
    assert [data for *_, data in mutants(clips, 50, seed=3)] != [data for *_, data in mutants(clips, 50, seed=4)]


def _answers_and_peak(folder: Path) -> tuple[dict[str, str], int]:
    """Returns what was told of each bomb and the KiB of the largest decoder, if no other child of the process ran."""
    told = {}
    with SandboxedDecoder(timeout_s=20.0) as decoder:
        for name, path in bombs(folder).items():
            begun = time.monotonic()
            try:
                decoder.decode(path, SPEC, max_windows=4)
                told[name] = "decoded"
            except MediaError as error:
                told[name] = error.code
            assert time.monotonic() - begun < 22
    return told, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss


@pytest.mark.timeout(120)
def test_bombs_are_refused_or_decoded_within_limits(tmp_path: Path) -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as fresh:
        told, largest_kib = fresh.submit(_answers_and_peak, tmp_path).result()
    assert told["4-gib-picture.avi"] in ("media-too-large", "media-not-decodable")
    assert told["hour-of-silence.flv"] == "media-too-long"
    assert set(told.values()) <= CODES | {"decoded"}, told
    assert "media-crashed" not in told.values(), told
    assert 0 < largest_kib < 2 * 1024 * 1024


def test_sound_that_claims_an_absurd_rate_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "fast.wav"
    data = bytearray(originals(tmp_path)["wav"])
    data[24:28] = (536_886_912).to_bytes(4, "little")
    path.write_bytes(data)
    begun = time.monotonic()
    with SandboxedDecoder(timeout_s=20.0) as decoder, pytest.raises(MediaError) as caught:
        decoder.decode(path, SPEC)
    assert caught.value.code == "media-too-large"
    assert time.monotonic() - begun < 10
