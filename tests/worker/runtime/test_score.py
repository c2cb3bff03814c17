from __future__ import annotations

from pathlib import Path

import pytest

from worker.contract.errors import ConflictError
from worker.contract.spec import PreprocessSpec
from worker.runtime.score import MAX_WINDOW_BYTES, MAX_WINDOWS, checkpoint_of, window_limit


def test_large_frames_make_fewer_windows_so_that_a_long_clip_fits() -> None:
    assert window_limit(PreprocessSpec()) == MAX_WINDOWS
    large = PreprocessSpec(num_frames=16, frame_size=448, crop_size=448)
    limit = window_limit(large)
    one = 4 * large.num_samples + large.num_frames * large.frame_size**2 * 3
    assert 2 <= limit < MAX_WINDOWS
    assert limit * one <= MAX_WINDOW_BYTES < (limit + 1) * one


def test_a_wanted_epoch_must_be_kept(tmp_path: Path) -> None:
    for epoch in (2, 5):
        (tmp_path / f"epoch-{epoch:05d}.safetensors").touch()
    assert checkpoint_of(tmp_path, 2).name == "epoch-00002.safetensors"
    with pytest.raises(ConflictError, match=r"no checkpoint of epoch 3; it has those of 2, 5"):
        checkpoint_of(tmp_path, 3)
