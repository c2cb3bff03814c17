"""Any image classifier of torchvision as a pair of encoders: its classifier removed, its first convolution fitted.

This module must not know labels or losses.

Shapes: B clips, T frames, M mel bins, S time steps, H x W pixels, F features.
"""

from __future__ import annotations

import difflib
from typing import Any, cast

import torch.nn.functional as F
import torchvision
from jaxtyping import Float
from torch import Tensor, nn

from worker.contract.errors import TrainingError
from worker.encoders.frames import FrameEncoder
from worker.encoders.weights import load_weights, weights_file

NUM_IMAGENET_CLASSES = 1_000
AUXILIARY = ("aux", "AuxLogits")
"""Beginnings of the auxiliary classifiers' keys in GoogLeNet's and Inception's files."""
_OPTIONS: dict[str, dict[str, Any]] = {
    name: {"aux_logits": False, "init_weights": True} for name in ("googlenet", "inception_v3")
}


class Backbone(nn.Module):
    """A classifier of torchvision from planes (B, K, H, W) to its features before the last layer, (B, F)."""

    def __init__(self, name: str, in_channels: int, resize_to: int | None = None) -> None:
        """Builds the network with random weights from torch's generator.

        Args:
            name: torchvision's name of the network.
            in_channels: K; 1: the first convolution's weights are those of a colour picture, summed over the colours,
                which keeps the scale that their fan-in asks for.
            resize_to: side in pixels that planes are resized to first; None: as they are.

        Raises:
            TrainingError: torchvision has no image classifier of that name.
        """
        super().__init__()
        self.name = name
        self.resize_to = resize_to
        self.network = torchvision.models.get_model(known(name), weights=None, **_OPTIONS.get(name, {}))
        self.dropped, self.num_features = _remove_classifier(self.network)
        if in_channels == 1:
            _sum_colours(self.network)

    def forward(self, planes: Float[Tensor, "B K H W"]) -> Float[Tensor, "B F"]:
        """Returns features of each plane.

        Args:
            planes: (B, K, H, W), float.

        Source: the network's own paper; see torchvision.
        """
        if self.resize_to is not None:
            side = (self.resize_to, self.resize_to)
            planes = F.interpolate(planes, size=side, mode="bilinear", antialias=True)
        features: Tensor = self.network(planes)
        return features

    def load(self, source: str, modality: str) -> None:
        """Loads weights from a path or torchvision's cache (see worker.encoders.weights)."""
        path = weights_file(source, self.name)
        load_weights(self.network, path, modality=modality, dropped=(f"{self.dropped}.", *AUXILIARY))


class TorchvisionPair(nn.Module):
    """One backbone twice: `audio` on spectrograms (B, 1, M, S), `visual` on frames (B, T, 3, H, W), mean over time."""

    def __init__(
        self,
        *,
        name: str,
        audio_weights: str | None = None,
        visual_weights: str | None = None,
        resize_to: int | None = None,
    ) -> None:
        """Builds both encoders with random weights from torch's generator.

        Args:
            name: torchvision's name of the network.
            audio_weights: path or "torchvision-cache", for `load_first_weights`; None: random.
            visual_weights: the same.
            resize_to: side in pixels that spectrograms and frames are resized to; None: as they are.

        Raises:
            TrainingError: torchvision has no image classifier of that name.
        """
        super().__init__()
        self._sources = {"audio": audio_weights, "visual": visual_weights}
        audio, visual = Backbone(name, 1, resize_to), Backbone(name, 3, resize_to)
        self.num_audio_features = audio.num_features
        self.num_visual_features = visual.num_features
        self.audio = audio
        self.visual = FrameEncoder(visual)

    def load_first_weights(self) -> None:
        """Loads the weights that the spec names, if any.

        Raises:
            TrainingError: a file is missing, cannot be read or does not fit.
        """
        for modality, network in (("audio", self.audio), ("visual", self.visual.network)):
            source = self._sources[modality]
            if source is not None:
                cast(Backbone, network).load(source, modality)


def known(name: str) -> str:
    """Returns the name of an image classifier of torchvision.

    Args:
        name: to check.

    Raises:
        TrainingError: there is none of that name; the message lists close ones.
    """
    names = torchvision.models.list_models(module=torchvision.models)
    if name in names:
        return name
    close = difflib.get_close_matches(name, names, n=5, cutoff=0.5)
    hint = f"Close are {', '.join(close)}." if close else f"There are {', '.join(names)}."
    raise TrainingError(f"torchvision has no image classifier {name!r}. {hint}", code="encoder-unknown")


def _remove_classifier(network: nn.Module) -> tuple[str, int]:
    """Puts an identity in the place of the last layer with an output a class; returns its name and its inputs."""
    found: list[tuple[str, int]] = []
    for name, module in network.named_modules():
        if isinstance(module, nn.Linear) and module.out_features == NUM_IMAGENET_CLASSES:
            found.append((name, module.in_features))
        elif isinstance(module, nn.Conv2d) and module.out_channels == NUM_IMAGENET_CLASSES:  # SqueezeNet
            found.append((name, module.in_channels))
    name, num_features = found[-1]
    _replace(network, name, nn.Identity())
    return name, num_features


def _sum_colours(network: nn.Module) -> None:
    """Puts a convolution on one channel in the place of the first one, which reads three."""
    name, old = next((name, module) for name, module in network.named_modules() if isinstance(module, nn.Conv2d))
    new = nn.Conv2d(
        1,
        old.out_channels,
        kernel_size=old.kernel_size,  # type: ignore[arg-type]  # a pair in every built convolution
        stride=old.stride,  # type: ignore[arg-type]
        padding=old.padding,  # type: ignore[arg-type]
        dilation=old.dilation,  # type: ignore[arg-type]
        bias=old.bias is not None,
    )
    new.weight.data.copy_(old.weight.data.sum(dim=1, keepdim=True))
    if old.bias is not None and new.bias is not None:
        new.bias.data.copy_(old.bias.data)
    _replace(network, name, new)


def _replace(network: nn.Module, name: str, module: nn.Module) -> None:
    """Puts a module in the place that a dotted name says."""
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, module)
