"""A mixture as an objective keeps it in its state, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor

from worker.objectives.base import Scalar
from worker.science.mixture import MixtureParameters, Role

_ARRAYS = ("weights", "means", "variances")


def saved_mixture(mixture: MixtureParameters | None) -> dict[str, Tensor | Scalar]:
    """Returns a mixture as tensors and text, exactly; nothing where there is none.

    Args:
        mixture: of the last epoch, or None.
    """
    if mixture is None:
        return {}
    arrays = {name: torch.from_numpy(getattr(mixture, name).copy()) for name in _ARRAYS}
    return {"roles": ",".join(mixture.roles), **arrays}


def restored_mixture(saved: Mapping[str, Tensor | Scalar]) -> MixtureParameters | None:
    """Returns what `saved_mixture` gave.

    Args:
        saved: perhaps with other things beside it.
    """
    if "roles" not in saved:
        return None
    weights, means, variances = (cast(Tensor, saved[name]).numpy() for name in _ARRAYS)
    roles = tuple(cast(Role, role) for role in str(saved["roles"]).split(","))
    return MixtureParameters(weights, means, variances, roles)
