"""Clips that browsers cannot play: made anew once, within limits, and nothing half made is left."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import psutil
import pytest

from backend.derivatives import FOLDER, Derivatives, is_playable
from tests.backend.conftest import run_apart
from tests.worker.media.clips import make_clip
from worker.contract.errors import MediaError, UnavailableError
from worker.contract.settings import Settings

UNPLAYABLE: dict[str, tuple[str, str, int]] = {
    "a.flv": ("flv", "pcm_s16le", 44_100),
    "a.avi": ("mpeg4", "pcm_s16le", 16_000),
    "mpeg-4 part 2.mp4": ("mpeg4", "aac", 16_000),
    "a.ts": ("mpeg2video", "mp2", 48_000),
}


def clip(folder: Path, name: str, seconds: float = 0.6) -> Path:
    video, audio, rate = UNPLAYABLE[name]
    return make_clip(folder / name, seconds=seconds, video=video, audio=audio, rate=rate, size=(66, 50))


def settings(folder: Path, **changes: Any) -> Settings:
    (folder / "home").mkdir(exist_ok=True)
    return Settings(home=folder / "home", **changes)


def processes() -> list[psutil.Process]:
    return [
        child
        for child in psutil.Process().children(recursive=True)
        if "worker.media.derive" in " ".join(child.cmdline())
    ]


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "home" / FOLDER).iterdir())


@pytest.mark.parametrize("name", UNPLAYABLE)
def test_a_clip_becomes_h264_and_aac_of_the_same_length(tmp_path: Path, name: str) -> None:
    source = clip(tmp_path, name)
    assert not is_playable(source)
    made = run_apart(Derivatives(settings(tmp_path)).playable(source))
    assert is_playable(made)
    with av.open(str(made)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, audio.codec_context.name) == ("h264", "aac")
        assert (video.codec_context.width, video.codec_context.height) == (66, 50)
        assert container.duration is not None
        assert container.duration / av.time_base == pytest.approx(0.6, abs=0.12)
        assert sum(1 for _ in container.decode(video=0)) >= 14
    head = made.read_bytes()
    assert head.index(b"moov") < head.index(b"mdat")  # it plays while it loads


@pytest.mark.parametrize(("name", "video", "audio"), [("a.mp4", "libx264", "aac"), ("a.webm", "libvpx-vp9", "libopus")])
def test_what_browsers_play_is_served_as_it_is(tmp_path: Path, name: str, video: str, audio: str) -> None:
    source = make_clip(tmp_path / name, video=video, audio=audio, rate=48_000, seconds=0.3)
    assert run_apart(Derivatives(settings(tmp_path)).playable(source)) == source
    assert not (tmp_path / "home" / FOLDER).exists()


def test_many_who_ask_at_once_get_one_and_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = clip(tmp_path, "a.avi")
    derivatives, runs = Derivatives(settings(tmp_path)), []
    make: Callable[..., Any] = derivatives._run

    async def counted(*arguments: Path) -> None:
        runs.append(arguments)
        await make(*arguments)

    monkeypatch.setattr(derivatives, "_run", counted)

    async def ask() -> list[Path]:
        return await asyncio.gather(*(derivatives.playable(source) for _ in range(20)))

    assert len(set(run_apart(ask()))) == 1
    assert len(runs) == 1
    run_apart(ask())
    assert len(runs) == 1


def test_a_broken_clip_is_told_by_its_code(tmp_path: Path) -> None:
    broken = tmp_path / "letter.flv"
    broken.write_text("Dear browser, this is no film.")
    with pytest.raises(MediaError) as caught:
        run_apart(Derivatives(settings(tmp_path)).playable(broken))
    assert caught.value.code == "media-not-decodable"
    assert left(tmp_path) == []


def test_a_killed_process_leaves_no_half_file_and_the_next_try_succeeds(tmp_path: Path) -> None:
    source, derivatives = clip(tmp_path, "a.avi", seconds=20.0), Derivatives(settings(tmp_path))

    async def killed() -> None:
        task = asyncio.create_task(derivatives.playable(source))
        deadline = time.monotonic() + 20
        while not (found := processes()) and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        os.kill(found[0].pid, signal.SIGKILL)
        await task

    with pytest.raises(UnavailableError) as caught:
        run_apart(killed())
    assert caught.value.code == "not-derived"
    assert left(tmp_path) == []
    assert run_apart(Derivatives(settings(tmp_path)).playable(source)).exists()


def test_the_longest_unseen_go_when_there_are_too_many(tmp_path: Path) -> None:
    derivatives = Derivatives(settings(tmp_path, max_derived_bytes=1))
    first = run_apart(derivatives.playable(clip(tmp_path, "a.avi")))
    second = run_apart(derivatives.playable(clip(tmp_path, "a.flv")))
    assert not first.exists()
    assert second.exists()
