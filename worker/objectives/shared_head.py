"""One head that reads both modalities, for the methods that train it with one after the other.

Shapes: B clips, F features of either modality, C classes.
"""

from __future__ import annotations

from typing import cast

from torch import nn

from worker.contract.errors import TrainingError
from worker.objectives.base import Adaptable


def shared_sizes(model: Adaptable) -> tuple[int, int]:
    """Returns F and C of a head that both modalities share.

    Args:
        model: new, with a linear head for each modality.

    Raises:
        TrainingError: the encoders' feature sizes differ.
    """
    audio, visual = (cast(nn.Linear, model.heads[name]) for name in ("audio", "visual"))
    if audio.in_features != visual.in_features:
        raise TrainingError(
            f"A shared head needs as many audio as visual features, the encoders give {audio.in_features} and "
            f"{visual.in_features}: choose encoders of equal feature size, or a method without a shared head.",
            code="feature-sizes-differ",
        )
    return audio.in_features, audio.out_features


def share(model: Adaptable, head: nn.Module, fusion: nn.Module) -> None:
    """Puts one head in place of both, and a fusion that mixes its logits.

    Args:
        model: new.
        head: from (B, F) to (B, C).
        fusion: from (B, F) and (B, F) to (B, C), by the same head.
    """
    model.heads = nn.ModuleDict({"audio": head, "visual": head})
    model.fusion = fusion
