"""How sure a modality is of the true classes of a batch: the score by which many methods compare modalities.

Shapes: B clips of a batch, C classes.
"""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor

SMALLEST_SCORE = 1e-8
"""Floor of a score that something is divided by."""


def true_class_score(logits: Float[Tensor, "B C"], labels: Int[Tensor, " B"]) -> Float[Tensor, ""]:
    """Returns s = sum_i softmax(logits_i)[y_i], without gradient.

    Args:
        logits: (B, C), float.
        labels: (B,) true classes.

    Returns:
        Scalar, 0 to B.

    Source: Peng et al. 2022 (OGM-GE), score_a and score_v of the official code.
    """
    probabilities = logits.detach().softmax(dim=1)
    return probabilities.gather(1, labels[:, None]).sum()
