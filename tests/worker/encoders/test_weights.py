"""First weights from files: read safely, fitted to one channel, refused by name where they do not fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import get_model, resnet18

from worker.contract.errors import TrainingError
from worker.contract.spec.model import ResNet18
from worker.encoders.backbones import TorchvisionPair
from worker.encoders.resnet import ResNet18Pair

CACHED_RESNET18 = "resnet18-f37072fd.pth"


@pytest.fixture(scope="module")
def classifier() -> dict[str, torch.Tensor]:
    """A whole ResNet-18 with its classifier, as files in circulation hold it."""
    torch.manual_seed(5)
    return resnet18(weights=None).state_dict()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def same(network: torch.nn.Module, state: dict[str, torch.Tensor], *, skip: str = "") -> bool:
    return all(torch.equal(value, state[key]) for key, value in network.state_dict().items() if key != skip)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_both_kinds_of_file_are_loaded_and_the_classifier_is_left_out(suffix, tmp_path, classifier) -> None:
    path = tmp_path / f"weights{suffix}"
    save_file(classifier, path) if suffix == ".safetensors" else torch.save(classifier, path)
    pair = ResNet18Pair(audio_weights=str(path), visual_weights=str(path))
    assert not same(pair.visual.network, classifier)
    pair.load_first_weights()
    assert same(pair.visual.network, classifier)
    assert same(pair.audio, classifier, skip="conv1.weight")
    assert torch.equal(pair.audio.conv1.weight, classifier["conv1.weight"].sum(dim=1, keepdim=True))


def test_each_modality_has_an_option_of_its_own(tmp_path, classifier) -> None:
    torch.save(classifier, tmp_path / "weights.pth")
    torch.manual_seed(0)
    untouched = ResNet18Pair()
    torch.manual_seed(0)
    pair = ResNet18Pair(visual_weights=str(tmp_path / "weights.pth"))
    pair.load_first_weights()
    assert same(pair.audio, untouched.audio.state_dict())
    assert same(pair.visual.network, classifier)


def test_weights_in_torchvisions_cache_are_used(cache, classifier) -> None:
    torch.save(classifier, cache / CACHED_RESNET18)
    pair = ResNet18Pair(visual_weights="torchvision-cache")
    pair.load_first_weights()
    assert same(pair.visual.network, classifier)


def test_weights_missing_from_the_cache_are_named_with_place_and_remedy_and_nothing_is_downloaded(cache) -> None:
    pair = ResNet18Pair(audio_weights="torchvision-cache")
    with pytest.raises(TrainingError, match="Nothing is downloaded") as caught:
        pair.load_first_weights()
    assert caught.value.code == "weights-missing"
    assert str(cache / CACHED_RESNET18) in caught.value.detail
    assert list(cache.iterdir()) == []


def test_a_missing_file_is_named(tmp_path) -> None:
    with pytest.raises(TrainingError, match=r"gone\.pth") as caught:
        ResNet18Pair(audio_weights=str(tmp_path / "gone.pth")).load_first_weights()
    assert caught.value.code == "weights-missing"


def test_weights_of_another_architecture_are_refused_by_their_keys(tmp_path, classifier) -> None:
    other = {key: value for key, value in classifier.items() if key != "bn1.weight"}
    other["conv1.weight"] = torch.zeros(32, 3, 7, 7)
    other["extra.weight"] = torch.zeros(1)
    torch.save(other, tmp_path / "other.pth")
    with pytest.raises(TrainingError) as caught:
        ResNet18Pair(visual_weights=str(tmp_path / "other.pth")).load_first_weights()
    assert caught.value.code == "weights-unfit"
    for part in ("bn1.weight is missing", "extra.weight is unknown", "conv1.weight has the shape (32, 3, 7, 7)"):
        assert part in caught.value.detail


def test_a_damaged_file_and_one_that_would_run_code_are_refused(tmp_path) -> None:
    (tmp_path / "damaged.pth").write_bytes(b"no weights")
    (tmp_path / "damaged.safetensors").write_bytes(b"no weights")
    torch.save({"fc.weight": Path("/tmp")}, tmp_path / "code.pth")  # weights_only refuses the class
    torch.save([1], tmp_path / "list.pth")
    for name in ("damaged.pth", "damaged.safetensors", "code.pth", "list.pth"):
        with pytest.raises(TrainingError, match=name) as caught:
            ResNet18Pair(audio_weights=str(tmp_path / name)).load_first_weights()
        assert caught.value.code == "weights-unreadable"


def test_an_encoder_of_an_earlier_checkpoint_can_begin_another_run(tmp_path) -> None:
    torch.manual_seed(3)
    earlier = ResNet18Pair()
    save_file(
        {f"model.encoders.{key}": value for key, value in earlier.state_dict().items()}, tmp_path / "e.safetensors"
    )
    path = str(tmp_path / "e.safetensors")
    pair = ResNet18Pair(audio_weights=path, visual_weights=path)
    pair.load_first_weights()
    assert same(pair, earlier.state_dict())


def test_any_backbone_is_loaded_the_same_way(tmp_path) -> None:
    torch.manual_seed(7)
    state = get_model("squeezenet1_1", weights=None).state_dict()
    torch.save({"state_dict": {f"module.{key}": value for key, value in state.items()}}, tmp_path / "s.pth")
    pair = TorchvisionPair(name="squeezenet1_1", visual_weights=str(tmp_path / "s.pth"))
    pair.load_first_weights()
    assert same(pair.visual.network.network, state)


def test_torchvisions_old_densenet_keys_are_understood(tmp_path) -> None:
    state = get_model("densenet121", weights=None).state_dict()
    old = {key.replace(".norm1.", ".norm.1.").replace(".conv2.", ".conv.2."): value for key, value in state.items()}
    assert old.keys() != state.keys()
    torch.save(old, tmp_path / "d.pth")
    pair = TorchvisionPair(name="densenet121", visual_weights=str(tmp_path / "d.pth"))
    pair.load_first_weights()
    assert same(pair.visual.network.network, state)


@pytest.mark.parametrize("source", ["relative.pth", "http://x/y", "torchvision", "/a\x00b", ""])
def test_sources_that_are_none_are_refused_by_the_spec(source: str) -> None:
    with pytest.raises(ValueError, match="pattern"):
        ResNet18(audio_weights=source)
