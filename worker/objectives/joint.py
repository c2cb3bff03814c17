"""Joint training: the cross-entropy of the fused logits alone. It overrides no hook."""

from __future__ import annotations

from worker.objectives.base import Objective


class Joint(Objective):
    """The baseline. The unimodal heads are probes beside it."""

    def __init__(self) -> None:
        """Takes no coefficients."""
