"""One network for all frames of a clip, and the mean over time.

This module must not know what the network is.

Shapes: B clips, T frames, H x W pixels, F features.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn


class FrameEncoder(nn.Module):
    """Runs one network over all frames and takes the mean over time."""

    def __init__(self, network: nn.Module) -> None:
        """Wraps `network`, which takes (B * T, 3, H, W) and gives (B * T, F)."""
        super().__init__()
        self.network = network

    def forward(self, frames: Float[Tensor, "B T 3 H W"]) -> Float[Tensor, "B F"]:
        """Returns features of each clip: those of its frames, averaged.

        Args:
            frames: (B, T, 3, H, W), float.

        Source: as in OGM-GE's code; the frames share one network.
        """
        features: Tensor = self.network(frames.flatten(0, 1))
        return features.reshape(*frames.shape[:2], -1).mean(dim=1)
