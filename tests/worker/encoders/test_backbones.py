"""Backbones of torchvision by name: classifier removed, first convolution fitted, odd names explained."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from worker.contract.errors import TrainingError
from worker.contract.spec.model import TESTED_BACKBONES, Torchvision
from worker.encoders.backbones import Backbone, TorchvisionPair

SMALL = ("mobilenet_v3_small", "shufflenet_v2_x0_5", "squeezenet1_1")
BUILT_ON_DATA = ("regnet_x_400mf",)
"""Their builders compute with tensors, so they cannot be built on shapes alone."""


@pytest.mark.parametrize("name", SMALL)
def test_a_pair_gives_features_of_both_modalities_and_learns(name: str) -> None:
    torch.manual_seed(0)
    pair = TorchvisionPair(name=name)
    audio = pair.audio(torch.randn(2, 1, 40, 33))
    visual = pair.visual(torch.randn(2, 2, 3, 32, 32))
    assert audio.shape == (2, pair.num_audio_features)
    assert visual.shape == (2, pair.num_visual_features)
    (audio.square().sum() + visual.square().sum()).backward()
    assert all(parameter.grad is not None for parameter in pair.parameters())


@pytest.mark.parametrize("name", TESTED_BACKBONES)
def test_tested_backbones_lose_their_classifier_and_read_one_channel(name: str) -> None:
    with torch.device("cpu" if name in BUILT_ON_DATA else "meta"):
        backbone = Backbone(name, 1, resize_to=224).eval()
        planes = torch.empty(1, 1, 64, 50)
        with torch.no_grad():
            assert backbone(planes).shape == (1, backbone.num_features)
    layers = [module for module in backbone.modules() if isinstance(module, nn.Linear)]
    assert all(layer.out_features != 1_000 for layer in layers)


def test_the_sound_networks_first_convolution_answers_as_to_a_grey_picture() -> None:
    torch.manual_seed(0)
    colours = Backbone("squeezenet1_1", 3)
    torch.manual_seed(0)
    sound = Backbone("squeezenet1_1", 1)
    plane = torch.randn(2, 1, 40, 40)
    grey = plane.expand(-1, 3, -1, -1)
    torch.testing.assert_close(sound.network.features[0](plane), colours.network.features[0](grey))


def test_an_unknown_name_is_refused_with_close_ones() -> None:
    with pytest.raises(TrainingError, match="efficientnet_b0") as caught:
        TorchvisionPair(name="efficientnetb0")
    assert caught.value.code == "encoder-unknown"


@pytest.mark.parametrize("name", ["ResNet18", "../x", ""])
def test_a_name_that_none_has_is_refused_by_the_spec(name: str) -> None:
    with pytest.raises(ValueError, match="pattern"):
        Torchvision(name=name)


def test_networks_of_a_fixed_input_size_get_it_by_resizing() -> None:
    with torch.device("meta"):
        with pytest.raises(AssertionError, match="height"):
            Backbone("vit_b_16", 1)(torch.empty(1, 1, 128, 101))
        assert Backbone("vit_b_16", 1, resize_to=224)(torch.empty(1, 1, 128, 101)).shape == (1, 768)
