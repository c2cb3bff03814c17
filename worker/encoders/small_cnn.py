"""A small convolutional pair that one CPU core trains in seconds an epoch.

Group norm, not batch norm: a sample's features do not depend on its neighbours in the batch, so a score is the same
alone and in a batch. This module must not know labels, losses or files.

Shapes: B clips (or clips x frames), T frames, M mel bins, S time steps, H x W pixels, F features, K input channels.
"""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from worker.encoders.frames import FrameEncoder

NUM_BLOCKS = 3


class ConvStack(nn.Module):
    """Blocks of convolution, group norm and pooling, then the mean over what is left of the plane, then features."""

    def __init__(self, in_channels: int, width: int, num_features: int) -> None:
        """Builds the blocks.

        Args:
            in_channels: K.
            width: channels of the first block; each block doubles them.
            num_features: F.
        """
        super().__init__()
        channels = [in_channels, *(width * 2**block for block in range(NUM_BLOCKS))]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, kernel_size=3, padding=1, bias=False) for before, after in pairwise(channels)
        )
        self.norms = nn.ModuleList(nn.GroupNorm(_num_groups(after), after) for after in channels[1:])
        self.to_features = nn.Linear(channels[-1], num_features)

    def forward(self, planes: Float[Tensor, "B K H W"]) -> Float[Tensor, "B F"]:
        """Returns features of each plane.

        Args:
            planes: (B, K, H, W), float, any H and W of at least 2.

        Source: ours.
        """
        hidden = planes
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            # Pooling before the norm: a quarter of the elements to normalise.
            hidden = F.relu(norm(F.max_pool2d(convolution(hidden), kernel_size=2, ceil_mode=True)))
        features: Tensor = F.relu(self.to_features(hidden.mean(dim=(2, 3))))
        return features


def _num_groups(channels: int) -> int:
    """Returns the largest number of groups up to 8 that divides the channels."""
    return next(groups for groups in range(8, 0, -1) if channels % groups == 0)


class SmallCnnPair(nn.Module):
    """The small pair: `audio` on spectrograms (B, 1, M, S), `visual` on frames (B, T, 3, H, W)."""

    def __init__(self, *, width: int, num_features: int) -> None:
        """Builds both encoders with random weights from torch's generator.

        Args:
            width: channels of the first block, at least 4.
            num_features: F, of either modality.
        """
        super().__init__()
        self.num_audio_features = num_features
        self.num_visual_features = num_features
        self.audio = ConvStack(1, width, num_features)
        self.visual = FrameEncoder(ConvStack(3, width, num_features))
