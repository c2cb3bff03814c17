"""Features that other models computed, in place of encoders: as they are, or through a small network a modality.

This module must not know labels or losses.

Shapes: B clips, F features of a file, H hidden features.
"""

from __future__ import annotations

from pathlib import Path

from jaxtyping import Float
from torch import Tensor, nn

from worker.encoders.feature_files import num_features


class Projection(nn.Module):
    """W_2 relu(W_1 x + b_1) + b_2 with H outputs; the features as they are where H is 0."""

    def __init__(self, num_inputs: int, num_hidden: int) -> None:
        """Builds the layers with random weights from torch's generator.

        Args:
            num_inputs: F.
            num_hidden: H, of the hidden layer and of the outputs; 0: no layers.
        """
        super().__init__()
        layers = [nn.Linear(num_inputs, num_hidden), nn.ReLU(), nn.Linear(num_hidden, num_hidden)] if num_hidden else []
        self.layers = nn.Sequential(*layers)
        self.num_outputs = num_hidden or num_inputs

    def forward(self, features: Float[Tensor, "B F"]) -> Float[Tensor, "B H"]:
        """Returns the features of each clip.

        Args:
            features: (B, F), float.

        Source: textbook.
        """
        projected: Tensor = self.layers(features)
        return projected


class PrecomputedPair(nn.Module):
    """Reads features (B, F) where other pairs read clips: batches are made of the files."""

    def __init__(self, *, features_root: str, num_hidden: int) -> None:
        """Builds both networks with random weights from torch's generator; their inputs come from the files.

        Args:
            features_root: the folder of the files (see worker.encoders.feature_files).
            num_hidden: H; 0: the features as they are.

        Raises:
            TrainingError: there are no features.
        """
        super().__init__()
        root = Path(features_root)
        self.audio = Projection(num_features(root, "audio"), num_hidden)
        self.visual = Projection(num_features(root, "visual"), num_hidden)
        self.num_audio_features = self.audio.num_outputs
        self.num_visual_features = self.visual.num_outputs
