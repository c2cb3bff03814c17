"""The modality gap, and the only place where its sign is stated: **audio minus visual**.

A positive gap means that the audio branch gives the true class more probability than the visual branch.
This module must not know epochs, splits or files: a caller who meets `NonFiniteGapError` adds them.

Shapes: N samples, C classes.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor


class NonFiniteGapError(FloatingPointError):
    """A gap is NaN or infinite, so no mixture, posterior or chart made from it would mean anything."""

    def __init__(self, num_non_finite: int, num_samples: int, first_row: int) -> None:
        self.num_non_finite = num_non_finite
        self.num_samples = num_samples
        self.first_row = first_row
        super().__init__(
            f"expected finite modality gaps, got {num_non_finite} of {num_samples} not finite "
            f"(first at row {first_row}); the logits have diverged: lower the learning rate"
        )


def true_class_probability(logits: Float[Tensor, "N C"], labels: Int[Tensor, " N"]) -> Float[Tensor, " N"]:
    """Return the softmax probability of each sample's true class.

    Args:
        logits: (N, C), float16, bfloat16, float32 or float64; half precision is computed in float32.
        labels: (N,), integer, the true class, 0 to C - 1.

    Returns:
        (N,), float32 or float64, in [0, 1], with gradient to `logits`.

    Raises:
        ValueError: the shapes do not belong together.

    Source: paper, p_i^m = softmax(logits^m)_i[y_i].
    """
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise ValueError(f"expected logits (N, C) and labels (N,), got {tuple(logits.shape)} and {tuple(labels.shape)}")
    precise = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
    return precise.softmax(dim=1).gather(1, labels.long().unsqueeze(1)).squeeze(1)


def modality_gap(
    audio_logits: Float[Tensor, "N C"],
    visual_logits: Float[Tensor, "N C"],
    labels: Int[Tensor, " N"],
    *,
    check_finite: bool = True,
    detach_leader: bool = False,
) -> Float[Tensor, " N"]:
    """Return the modality gap g = p_audio - p_visual of each sample's true class.

    Args:
        audio_logits: (N, C), float, logits of the audio branch.
        visual_logits: (N, C), float, logits of the visual branch.
        labels: (N,), integer, the true class, 0 to C - 1.
        check_finite: refuse non-finite gaps. Only a caller who checks the loss itself turns it off:
            the check waits for the device.
        detach_leader: give gradient to the branch with the smaller probability alone (to visual at a tie), so
            that lowering |gap| cannot make the leading branch worse. The value stays the same.

    Returns:
        (N,), float32 or float64, in [-1, 1]; positive where audio dominates; with gradient to both branches.

    Raises:
        ValueError: the shapes do not belong together.
        NonFiniteGapError: a gap is NaN or infinite.

    Source: paper, modality gap; `detach_leader`: ours.
    """
    audio = true_class_probability(audio_logits, labels)
    visual = true_class_probability(visual_logits, labels)
    if detach_leader:
        visual_leads = visual > audio
        visual_following = torch.where(visual_leads, visual.detach(), visual)
        audio, visual = torch.where(visual_leads, audio, audio.detach()), visual_following
    gaps = audio - visual
    if check_finite:
        require_finite(gaps)
    return gaps


def require_finite(gaps: Float[Tensor, " N"]) -> None:
    """Return nothing where all gaps are finite.

    Args:
        gaps: (N,), float.

    Raises:
        NonFiniteGapError: a gap is NaN or infinite.

    Source: ours.
    """
    broken = ~torch.isfinite(gaps)
    if bool(broken.any()):
        rows = broken.nonzero()
        raise NonFiniteGapError(len(rows), len(gaps), int(rows[0, 0]))
