from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.worker.media.clips import make_clip
from worker.contract.errors import MediaError
from worker.contract.spec.preprocess import PreprocessSpec
from worker.media.container import DecodeLimits
from worker.media.decode import DecodedClip, decode_clip, decode_windows
from worker.media.process import DecoderProcess
from worker.media.sandbox import DecodePool, SandboxedDecoder
from worker.media.wire import DecodeJob, job_for

SPEC = PreprocessSpec(duration_s=0.5, sample_rate_hz=8_000, num_frames=2, frame_size=32, crop_size=32)
MAKERS = "tests.worker.media.makers"


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return make_clip(tmp_path / "a.mp4", seconds=0.6)


def job(path: Path) -> DecodeJob:
    return job_for(path, SPEC, DecodeLimits())


def misbehaving(tmp_path: Path, maker: str, recipe: str = "") -> DecodeJob:
    return replace(job(tmp_path / f"{maker}.mp4"), maker=f"{MAKERS}:{maker}", recipe=recipe)


def code_of(answer: list[DecodedClip] | MediaError) -> str:
    return answer.code if isinstance(answer, MediaError) else "ok"


def test_gives_what_decoding_in_process_gives(clip: Path) -> None:
    with SandboxedDecoder() as decoder:
        for path, windows in ((clip, 0), (make_clip(clip.with_name("long.mp4"), seconds=3.0), 5)):
            expected = decode_windows(path, SPEC, max_windows=windows)
            got = decoder.decode(path, SPEC, max_windows=windows)
            assert len(got) == len(expected)
            for one, other in zip(got, expected, strict=True):
                assert np.array_equal(one.waveform, other.waveform)
                assert np.array_equal(one.frames, other.frames)
                assert (one.start_s, one.padded, one.info, one.notes) == (
                    other.start_s,
                    other.padded,
                    other.info,
                    other.notes,
                )


def test_missing_tracks_stay_missing(tmp_path: Path) -> None:
    with SandboxedDecoder() as decoder:
        (silent,) = decoder.decode(make_clip(tmp_path / "v.mp4", audio=None), SPEC)
        (blind,) = decoder.decode(make_clip(tmp_path / "a.m4a", video=None), SPEC)
    assert silent.waveform is None
    assert blind.frames is None


def test_each_upload_has_a_process_of_its_own(clip: Path) -> None:
    with SandboxedDecoder() as decoder:
        pids = []
        for _ in range(3):
            assert decoder._spare is not None
            pids.append(decoder._spare.pid)
            decoder.decode(clip, SPEC)
    assert len(set(pids)) == 3


def test_errors_keep_their_code(tmp_path: Path, clip: Path) -> None:
    text = tmp_path / "x.mp4"
    text.write_text("no clip at all")
    with SandboxedDecoder() as decoder:
        with pytest.raises(MediaError) as caught:
            decoder.decode(text, SPEC)
        assert caught.value.code == "media-not-decodable"
        assert decoder.decode(clip, SPEC)


def test_a_spare_that_died_while_waiting_is_replaced(clip: Path) -> None:
    with SandboxedDecoder() as decoder:
        assert decoder._spare is not None
        os.kill(decoder._spare.pid, signal.SIGKILL)
        time.sleep(0.2)
        assert decoder.decode(clip, SPEC)[0].frames is not None


def test_a_pool_answers_every_job_once(clip: Path) -> None:
    with DecodePool(2) as pool:
        answers = dict(pool.run((key, job(clip)) for key in range(20)))
        assert sorted(answers) == list(range(20))
        again = dict(pool.run((key, job(clip)) for key in range(3)))
    expected = decode_clip(clip, SPEC)
    for answer in [*answers.values(), *again.values()]:
        assert not isinstance(answer, MediaError)
        assert np.array_equal(answer[0].frames, expected.frames)


def test_a_pool_with_nothing_to_do_ends() -> None:
    with DecodePool(1) as pool:
        assert list(pool.run([])) == []


@pytest.mark.parametrize(
    ("maker", "code", "timeout_s"),
    [("die", "media-crashed", 60.0), ("hang", "media-timeout", 4.0), ("eat", "media-too-large", 60.0)],
)
def test_a_bad_clip_costs_itself_alone(tmp_path: Path, clip: Path, maker: str, code: str, timeout_s: float) -> None:
    jobs = [(key, misbehaving(tmp_path, maker) if key in (2, 5) else job(clip)) for key in range(9)]
    with DecodePool(2, timeout_s=timeout_s) as pool:
        codes = {key: code_of(answer) for key, answer in pool.run(jobs)}
    assert codes == {key: code if key in (2, 5) else "ok" for key in range(9)}


def test_a_process_killed_from_outside_blames_its_clip_alone(tmp_path: Path, clip: Path) -> None:
    jobs = [(0, misbehaving(tmp_path, "hang")), *((key, job(clip)) for key in range(1, 6))]
    with DecodePool(2, timeout_s=60.0) as pool:
        first = pool.pids[0]
        killer = threading.Timer(1.5, os.kill, (first, signal.SIGKILL))
        killer.start()
        codes = {key: code_of(answer) for key, answer in pool.run(jobs)}
        killer.join()
        assert first not in pool.pids
    assert codes == {0: "media-crashed", **dict.fromkeys(range(1, 6), "ok")}


def test_processor_time_is_limited(tmp_path: Path) -> None:
    process = DecoderProcess()
    try:
        process.send(replace(misbehaving(tmp_path, "burn"), cpu_s=1))
        answer = process.wait(60.0)
    finally:
        process.close()
    assert code_of(answer) == "media-timeout"


def test_files_cannot_fill_the_disk(tmp_path: Path) -> None:
    with DecodePool(1) as pool:
        ((_, answer),) = pool.run([(0, misbehaving(tmp_path, "fill_the_disk"))])
    assert code_of(answer) in {"media-crashed", "media-not-decodable"}
    path = tmp_path / "fill_the_disk.mp4"
    assert not path.exists() or path.stat().st_size == 0


def test_what_a_codec_prints_is_no_answer(tmp_path: Path) -> None:
    with DecodePool(1) as pool:
        ((_, answer),) = pool.run([(0, misbehaving(tmp_path, "print_noise"))])
    assert code_of(answer) == "media-not-found"


def test_secrets_do_not_reach_the_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAPSCOPE_REDIS_URL", "redis://:secret@localhost")
    seen = tmp_path / "environment"
    with DecodePool(1) as pool:
        list(pool.run([(0, misbehaving(tmp_path, "show_environment", str(seen)))]))
    assert "secret" not in seen.read_text()


def test_an_answer_that_does_not_fit_the_job_is_refused(clip: Path) -> None:
    process = DecoderProcess()
    try:
        process.send(job(clip))
        process.job = replace(job(clip), window=replace(job(clip).window, frame_size=512))
        assert code_of(process.wait(30.0)) == "media-crashed"
    finally:
        process.close()


def test_an_answer_without_the_measures_that_were_asked_for_is_refused(clip: Path) -> None:
    process = DecoderProcess()
    try:
        process.send(job(clip))
        process.job = replace(job(clip), measure=True)
        assert code_of(process.wait(30.0)) == "media-crashed"
    finally:
        process.close()


@pytest.mark.skipif(sys.platform != "linux", reason="PDEATHSIG is Linux")
def test_children_die_with_their_parent() -> None:
    code = (
        "from worker.media.sandbox import DecodePool; import time\n"
        "pool = DecodePool(2); print(*pool.pids, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        parent.kill()
    deadline = time.monotonic() + 5
    while any(_lives(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(_lives(pid) for pid in pids)


def test_children_survive_the_thread_that_started_them(clip: Path) -> None:
    # PDEATHSIG would kill them: they must not set it when they were not started by the main thread.
    made: list[DecodePool] = []
    starter = threading.Thread(target=lambda: made.append(DecodePool(1)))
    starter.start()
    starter.join()
    time.sleep(0.5)
    with made[0] as pool:
        ((_, answer),) = pool.run([(0, job(clip))])
    assert code_of(answer) == "ok"


def test_works_in_a_daemonic_process(clip: Path) -> None:
    code = (
        "import multiprocessing as m, sys; from pathlib import Path\n"
        "def work(queue):\n"
        "    from worker.contract.spec.preprocess import PreprocessSpec\n"
        "    from worker.media.sandbox import SandboxedDecoder\n"
        "    with SandboxedDecoder() as decoder:\n"
        f"        queue.put(len(decoder.decode(Path({str(clip)!r}), PreprocessSpec())))\n"
        "context = m.get_context('fork'); queue = context.Queue()\n"
        "process = context.Process(target=work, args=(queue,), daemon=True); process.start()\n"
        "sys.exit(0 if queue.get(timeout=60) == 1 else 1)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def _lives(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    return False
