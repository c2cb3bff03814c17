"""The papers' pair: ResNet-18 on the spectrogram and ResNet-18 on the frames, from random weights.

This module must not know labels, losses or files.

Shapes: B clips, T frames, M mel bins, S time steps, H x W pixels, F = 512 features.
"""

from __future__ import annotations

from torch import nn
from torchvision.models import resnet18

from worker.encoders.frames import FrameEncoder

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

    def __init__(self) -> None:
        """Builds both encoders with random weights from torch's generator."""
        super().__init__()
        self.num_audio_features = NUM_FEATURES
        self.num_visual_features = NUM_FEATURES
        self.audio = headless_resnet18(1)
        self.visual = FrameEncoder(headless_resnet18(3))
