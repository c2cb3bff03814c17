"""A small convolutional pair that one CPU core trains in seconds an epoch.

Group norm, not batch norm: a sample's features do not depend on its neighbours in the batch, so a score is the same
alone and in a batch. This module must not know labels, losses or files.

Shapes: B clips (or clips x frames), T frames, M mel bins, S time steps, H x W pixels, F features, K input channels,
R x Q cells of a grid.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from worker.encoders.frames import FrameEncoder
from worker.encoders.pooling import max_pool_2x2

NUM_BLOCKS = 3
AUDIO_GRID = (8, 1)
"""Frequency is kept, time is averaged: sound means the same a little later. Ours."""
VISUAL_GRID = (4, 4)


class ConvStack(nn.Module):
    """Blocks of convolution, pooling and group norm, then the means over a coarse grid, then features.

    The grid keeps where something is (which frequency, which part of the picture), which a mean over the whole plane
    would throw away.
    """

    def __init__(self, in_channels: int, width: int, num_features: int, grid: tuple[int, int]) -> None:
        """Builds the blocks.

        Args:
            in_channels: K.
            width: channels of the first block; each block doubles them.
            num_features: F.
            grid: rows and columns of the grid.
        """
        super().__init__()
        channels = [in_channels, *(width * 2**block for block in range(NUM_BLOCKS))]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, kernel_size=3, padding=1, bias=False) for before, after in pairwise(channels)
        )
        self.norms = nn.ModuleList(nn.GroupNorm(_num_groups(after), after) for after in channels[1:])
        self.grid = grid
        self.to_features = nn.Linear(channels[-1] * grid[0] * grid[1], num_features)

    def forward(self, planes: Float[Tensor, "B K H W"]) -> Float[Tensor, "B F"]:
        """Returns features of each plane.

        Args:
            planes: (B, K, H, W), float, any H and W.

        Source: ours.
        """
        hidden = planes
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            # Pooling before the norm: a quarter of the elements to normalise.
            hidden = F.relu(norm(max_pool_2x2(convolution(hidden))))
        # No ReLU on the features: where a modality starts slowly it died for good (all features 0), and the imbalance
        # would be one of the encoder, not of the data.
        features: Tensor = self.to_features(grid_means(hidden, self.grid).flatten(1))
        return features


def grid_means(planes: Float[Tensor, "B K H W"], grid: tuple[int, int]) -> Float[Tensor, "B K R Q"]:
    """Returns the means over the cells of a grid: adaptive average pooling, whose own gradient on CUDA is random.

    Args:
        planes: (B, K, H, W), float.
        grid: R rows and Q columns; cells overlap where they do not divide the plane.

    Source: textbook.
    """
    rows, columns = (_averages(size, cells).to(planes) for size, cells in zip(planes.shape[2:], grid, strict=True))
    return rows @ planes @ columns.T


def _averages(size: int, cells: int) -> Float[Tensor, "C S"]:
    """Returns the matrix that averages `size` places into `cells` cells, the bounds of adaptive average pooling."""
    matrix = torch.zeros(cells, size)
    for cell in range(cells):
        first, last = cell * size // cells, -(-(cell + 1) * size // cells)
        matrix[cell, first:last] = 1 / (last - first)
    return matrix


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
        self.audio = ConvStack(1, width, num_features, AUDIO_GRID)
        self.visual = FrameEncoder(ConvStack(3, width, num_features, VISUAL_GRID))
