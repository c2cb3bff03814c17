"""How many epochs each training stage takes. This module must not know what a stage computes."""

import math


def num_warm_up_epochs(epochs: int, given: int | None = None) -> int:
    """Return E_w, the number of epochs of stage 1 (warm-up).

    Args:
        epochs: all epochs of the run, at least 1.
        given: the user's own number, 0 to `epochs`; None takes the default rule.

    Returns:
        `given`, else 0 for a run of one epoch, else min(max(2, ceil(epochs / 4)), epochs - 1), so that at
        least one adaptive epoch follows.

    Raises:
        ValueError: `epochs` is below 1, or `given` lies outside 0 to `epochs`.

    Source: the stage is the paper's; the default number is ours.
    """
    if epochs < 1:
        raise ValueError(f"expected at least 1 epoch, got {epochs}")
    if given is not None:
        if not 0 <= given <= epochs:
            raise ValueError(f"expected 0 to {epochs} warm-up epochs (all epochs of the run), got {given}")
        return given
    if epochs == 1:
        return 0
    return min(max(2, math.ceil(epochs / 4)), epochs - 1)
