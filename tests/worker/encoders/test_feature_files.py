"""Features from files: read safely, averaged over time, refused by name where they cannot be used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from worker.contract.errors import TrainingError
from worker.encoders.feature_files import find_files, num_features, read_features
from worker.encoders.precomputed import PrecomputedPair, Projection


def written(root: Path, modality: str, **clips: np.ndarray) -> Path:
    (root / modality).mkdir(parents=True, exist_ok=True)
    for name, values in clips.items():
        np.save(root / modality / f"{name}.npy", values)
    return root


def test_steps_are_averaged_over_time(tmp_path) -> None:
    steps = np.arange(6, dtype=np.float16).reshape(3, 2)
    written(tmp_path, "audio", a=steps, b=steps.mean(axis=0))
    for name in ("a", "b"):
        found = read_features(tmp_path / "audio" / f"{name}.npy")
        assert found.dtype == np.float32
        assert found.tolist() == [2.0, 3.0]


def test_safetensors_hold_one_tensor_or_one_named_features(tmp_path) -> None:
    values = np.array([1.0, 2.0], np.float32)
    save_file({"anything": values}, tmp_path / "one.safetensors")
    save_file({"features": values, "more": values + 1}, tmp_path / "two.safetensors")
    save_file({"a": values, "b": values}, tmp_path / "unclear.safetensors")
    for name in ("one", "two"):
        assert read_features(tmp_path / f"{name}.safetensors").tolist() == [1.0, 2.0]
    with pytest.raises(TrainingError, match=r"unclear\.safetensors"):
        read_features(tmp_path / "unclear.safetensors")


@pytest.mark.parametrize(
    "values",
    [np.zeros((2, 2, 2)), np.zeros(0), np.array("text"), np.array([1.0, np.nan]), np.array([1e300]), np.float32(3)],
    ids=["three axes", "empty", "text", "nan", "too large", "scalar"],
)
@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_values_that_are_no_features_are_refused_by_file(values, tmp_path) -> None:
    np.save(tmp_path / "bad.npy", values)
    with pytest.raises(TrainingError, match=r"bad\.npy") as caught:
        read_features(tmp_path / "bad.npy")
    assert caught.value.code == "features-unusable"


def test_nothing_is_ever_unpickled(tmp_path) -> None:
    np.save(tmp_path / "code.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    (tmp_path / "torn.npy").write_bytes(b"\x93NUMPY")
    (tmp_path / "empty.npy").write_bytes(b"")
    for name in ("code", "torn", "empty"):
        with pytest.raises(TrainingError, match=f"{name}.npy"):
            read_features(tmp_path / f"{name}.npy")


def test_missing_files_are_counted_and_named(tmp_path) -> None:
    written(tmp_path, "audio", a=np.zeros(2))
    with pytest.raises(TrainingError, match=r"6 of 7 clips have no audio features.*b\.npy.* \.\.\.") as caught:
        find_files(tmp_path, "audio", list("abcdefg"))
    assert caught.value.code == "features-missing"
    with pytest.raises(TrainingError, match="1 of 1 clips have no visual features"):
        find_files(tmp_path, "visual", ["a"])
    with pytest.raises(TrainingError, match="no visual features"):
        num_features(tmp_path, "visual")


def test_a_pair_takes_its_sizes_from_the_files(tmp_path) -> None:
    written(tmp_path, "audio", a=np.zeros(5))
    written(tmp_path, "visual", a=np.zeros((4, 7)))
    plain, projected = (PrecomputedPair(features_root=str(tmp_path), num_hidden=size) for size in (0, 3))
    assert (plain.num_audio_features, plain.num_visual_features) == (5, 7)
    assert list(plain.parameters()) == []
    assert (projected.num_audio_features, projected.num_visual_features) == (3, 3)
    assert projected.audio(torch.zeros(2, 5)).shape == (2, 3)


def test_no_hidden_features_leave_the_features_as_they_are() -> None:
    features = torch.randn(3, 4)
    assert torch.equal(Projection(4, 0)(features), features)
