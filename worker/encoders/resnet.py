"""The papers' pair: ResNet-18 on the spectrogram and ResNet-18 on the frames, from scratch or from given weights.

This module must not know labels, losses or files.

Shapes: B clips, T frames, M mel bins, S time steps, H x W pixels, F = 512 features.
"""

from __future__ import annotations

from torch import nn
from torchvision.models import resnet18

from worker.encoders.frames import FrameEncoder
from worker.encoders.weights import load_weights, weights_file

NUM_FEATURES = 512


def headless_resnet18(in_channels: int) -> nn.Module:
    """Returns torchvision's ResNet-18, its first convolution fitted to the channels, without its classifier.

    Args:
        in_channels: 1 for spectrograms, 3 for frames.

    Returns:
        A network from (B, in_channels, H, W) to (B, 512), with random weights from torch's generator.

    Source: He et al. 2016; the pair of OGM-GE and most imbalance papers.
    """
    network: nn.Module = resnet18(weights=None)
    if in_channels != 3:
        network.conv1 = nn.Conv2d(in_channels, 64, kernel_size=7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
    network.fc = nn.Identity()
    return network


class ResNet18Pair(nn.Module):
    """ResNet-18 twice: `audio` on spectrograms (B, 1, M, S), `visual` on frames (B, T, 3, H, W), mean over time."""

    def __init__(self, *, audio_weights: str | None = None, visual_weights: str | None = None) -> None:
        """Builds both encoders with random weights from torch's generator.

        Args:
            audio_weights: path or "torchvision-cache", for `load_first_weights`; None: random.
            visual_weights: the same.
        """
        super().__init__()
        self._sources = {"audio": audio_weights, "visual": visual_weights}
        self.num_audio_features = NUM_FEATURES
        self.num_visual_features = NUM_FEATURES
        self.audio = headless_resnet18(1)
        self.visual = FrameEncoder(headless_resnet18(3))

    def load_first_weights(self) -> None:
        """Loads the weights that the spec names, if any.

        Raises:
            TrainingError: a file is missing, cannot be read or does not fit.
        """
        for modality, network in (("audio", self.audio), ("visual", self.visual.network)):
            source = self._sources[modality]
            if source is not None:
                path = weights_file(source, "resnet18")
                load_weights(network, path, modality=modality, dropped=("fc.",))
