from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.worker.media.clips import make_clip
from worker.media import sound
from worker.media.container import DecodeLimits, open_container, read_media, read_region


class Watched(list[Any]):
    """Packets that know how many of them were taken."""

    taken = 0

    def __getitem__(self, which: Any) -> Any:
        return self._take(super().__getitem__(which)) if isinstance(which, slice) else super().__getitem__(which)

    def _take(self, packets: list[Any]) -> Any:
        for packet in packets:
            self.taken += 1
            yield packet


def test_sound_is_reduced_while_it_is_decoded_so_that_a_long_clip_costs_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_clip(tmp_path / "a.mp4", seconds=4.0, video=None)
    ahead: list[int] = []
    with open_container(path) as container:
        media = read_media(container, DecodeLimits(), size_bytes=path.stat().st_size)
        read_region(container, media, 0.0, 4.0)
        track = media.audio
        assert track is not None
        packets = Watched(track.packets)
        track.packets = packets
        real = av.AudioResampler

        class Resampler:
            def __init__(self, **options: Any) -> None:
                self._real = real(**options)

            def resample(self, frame: Any) -> Any:
                ahead.append(packets.taken)
                return self._real.resample(frame)

        monkeypatch.setattr(av, "AudioResampler", Resampler)
        found = sound.decode_sound(track, 0.0, 4.0, 8_000)
    assert found is not None
    assert len(found.samples) == pytest.approx(32_000, abs=2_048)
    assert np.abs(found.samples).max() > 0.05
    assert ahead[0] <= 3
    assert ahead[-1] == len(packets) > 50
