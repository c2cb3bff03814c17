"""How many epochs each training stage takes. This module must not know what a stage computes."""

import math


def num_warm_up_epochs(epochs: int, given: int | None = None, purification_epochs: int = 0) -> int:
    """Return E_w, the number of epochs of stage 1 (warm-up).

    Args:
        epochs: all epochs of the run, at least 1.
        given: the user's own number, 0 to `epochs` (less stage 3 and one adaptive epoch where there is a stage 3);
            None takes the default rule.
        purification_epochs: of stage 3, 0 or more.

    Returns:
        `given`, else 0 for a run of one epoch, else min(max(2, ceil(epochs / 4)), epochs - 1), so that at
        least one adaptive epoch follows; with a stage 3, one adaptive epoch and the stage.

    Raises:
        ValueError: `epochs` is below 1, `given` lies outside its bounds, or stage 3 leaves no adaptive epoch.

    Source: the stage is the paper's; the default number is ours.
    """
    if epochs < 1:
        raise ValueError(f"expected at least 1 epoch, got {epochs}")
    longest = epochs if not purification_epochs else epochs - 1 - purification_epochs
    if longest < 0:
        raise ValueError(
            f"expected more than {purification_epochs} epochs, of which stage 3 takes {purification_epochs} and stage "
            f"2 at least 1, got {epochs}"
        )
    if given is not None:
        if not 0 <= given <= longest:
            raise ValueError(f"expected 0 to {longest} warm-up epochs in {epochs} epochs, got {given}")
        return given
    return min(max(2, math.ceil(epochs / 4)), epochs - 1 - purification_epochs)
