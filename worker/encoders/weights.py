"""First weights of an encoder from a file or from torchvision's cache: checked before training, never downloaded.

This module must not know labels, losses or what the network is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Protocol
from urllib.parse import urlparse

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from worker.contract.errors import TrainingError

TORCHVISION_CACHE = "torchvision-cache"
CACHED_WEIGHTS = "IMAGENET1K_V1"
MAX_NAMED_KEYS = 5
_UNREADABLE = (
    UnpicklingError,
    OSError,
    RuntimeError,
    EOFError,
    ValueError,
    KeyError,
    SafetensorError,
    ModuleNotFoundError,
)
_OLD_DENSENET_KEY = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")
"""torchvision's DenseNet files still have `norm.1.weight` where its networks have `norm1.weight`."""


class FirstWeights(Protocol):
    """What an encoder implementation offers that can begin from other weights than random ones."""

    def load_first_weights(self) -> None:
        """Loads them; called once, when a run begins, never when it resumes or is scored.

        Raises:
            TrainingError: a file is missing, cannot be read or does not fit.
        """


def weights_file(source: str, model_name: str) -> Path:
    """Returns the file that holds the weights.

    Args:
        source: an absolute path, or "torchvision-cache".
        model_name: torchvision's name of the network.

    Raises:
        TrainingError: it is not there (code weights-missing), or torchvision offers no such weights.
    """
    if source != TORCHVISION_CACHE:
        path, remedy = Path(source), "Give a path as this worker sees it, or none to train from scratch."
    else:
        # Half of a training process's start to import: only where its cache is asked for.
        from torchvision.models import get_model_weights

        offered = get_model_weights(model_name).__members__
        if CACHED_WEIGHTS not in offered:
            raise TrainingError(
                f"torchvision offers no {CACHED_WEIGHTS} weights of {model_name!r} (it has {', '.join(offered)}): "
                "give the path of a file instead.",
                code="weights-missing",
            )
        url = offered[CACHED_WEIGHTS].url
        path = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name
        remedy = (
            f"Nothing is downloaded in training: get {url} and put it there (TORCH_HOME moves the cache), or choose no "
            "weights to train from scratch."
        )
    if not path.is_file():
        raise TrainingError(
            f"The weights of {model_name} are expected in {path}, no such file. {remedy}", code="weights-missing"
        )
    return path


def load_weights(network: nn.Module, path: Path, *, modality: str, dropped: tuple[str, ...]) -> None:
    """Fills a network with the weights of a file; a first convolution on colours is summed for one-channel sound.

    The sum over the colours answers to a spectrogram as the convolution answers to a grey picture.

    Args:
        network: without its classifier.
        path: safetensors, or a state dict of torch (read without running code of the file).
        modality: "audio" or "visual".
        dropped: beginnings of the keys that the network left behind (its classifier).

    Raises:
        TrainingError: the file cannot be read (code weights-unreadable) or does not fit (code weights-unfit).
    """
    own = network.state_dict()
    given = {key: value for key, value in _without_prefix(_read(path), modality).items() if not key.startswith(dropped)}
    fitted = {key: _fit_channels(value, own[key]) for key, value in given.items() if key in own}
    faults = [
        *(f"{key} is missing" for key in own if key not in given and not key.endswith("num_batches_tracked")),
        *(f"{key} is unknown" for key in given if key not in own),
        *(
            f"{key} has the shape {tuple(value.shape)}, expected {tuple(own[key].shape)}"
            for key, value in fitted.items()
            if value.shape != own[key].shape
        ),
    ]
    if faults:
        more = f"; and {len(faults) - MAX_NAMED_KEYS} more" if len(faults) > MAX_NAMED_KEYS else ""
        raise TrainingError(
            f"The weights in {path} do not fit the {modality} encoder: {'; '.join(faults[:MAX_NAMED_KEYS])}{more}. "
            "Give the weights of the same architecture.",
            code="weights-unfit",
        )
    network.load_state_dict(fitted, strict=False)


def _read(path: Path) -> Mapping[str, Tensor]:
    """Returns the tensors of a file by key."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
        for container in ("state_dict", "model"):
            found = found[container] if isinstance(found.get(container), Mapping) else found
        return {
            _OLD_DENSENET_KEY.sub(r"\1\2", str(key)): value for key, value in found.items() if isinstance(value, Tensor)
        }
    except (*_UNREADABLE, AttributeError) as error:
        raise TrainingError(
            f"The weights in {path} cannot be read ({type(error).__name__}): expected safetensors, or a state dict "
            "that torch.load reads with weights_only.",
            code="weights-unreadable",
        ) from error


def _without_prefix(state: Mapping[str, Tensor], modality: str) -> Mapping[str, Tensor]:
    """Returns one network's tensors where a file holds a whole model: Gapscope's checkpoint, OGM-GE's, or a wrapper."""
    prefixes = (
        f"model.encoders.{modality}.network.network.",
        f"model.encoders.{modality}.network.",
        f"model.encoders.{modality}.",
        f"module.{modality}_net.",
        f"{modality}_net.",
        "module.",
    )
    for prefix in prefixes:
        if any(key.startswith(prefix) for key in state):
            return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    return state


def _fit_channels(value: Tensor, own: Tensor) -> Tensor:
    """Returns a convolution on three colours summed over them where the network has one channel, else the value."""
    colours_to_one = value.ndim == 4 and value.shape[1] == 3 and own.shape[1:2] == (1,)
    return value.sum(dim=1, keepdim=True) if colours_to_one else value
