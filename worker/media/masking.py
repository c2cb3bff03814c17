"""SpecAugment: bands and stretches of a spectrogram blotted out, as a pure function of (seed, epoch, sample id).

B batch, M bins, S time steps.
"""

from __future__ import annotations

import torch
from torch import Tensor

from worker.contract.spec.augment import AugmentSpec
from worker.media.augment import Draws


def spec_augment(spectrograms: Tensor, drawn: Draws, augmentation: AugmentSpec) -> Tensor:
    """Returns the spectrograms with random bands and stretches set to each clip's own mean.

    Widths are uniform from 0 to the widest, places uniform over where the width fits.

    Args:
        spectrograms: (B, 1, M, S) float32.
        drawn: the batch's random numbers.
        augmentation: how many masks, how wide.

    Source: SpecAugment (Park et al. 2019), policy without time warping.
    """
    if not augmentation.masks:
        return spectrograms
    num_bands, num_stretches = augmentation.num_frequency_masks, augmentation.num_time_masks
    uniform = torch.from_numpy(drawn.more("masks", 2 * (num_bands + num_stretches))).to(spectrograms.device)
    hidden = _hidden(uniform[:, : 2 * num_bands], spectrograms.shape[2], augmentation.frequency_mask_bins)[:, :, None]
    hidden = hidden | _hidden(uniform[:, 2 * num_bands :], spectrograms.shape[3], augmentation.time_mask_steps)[:, None]
    return torch.where(hidden[:, None], spectrograms.mean(dim=(1, 2, 3), keepdim=True), spectrograms)


def _hidden(uniform: Tensor, length: int, widest: int) -> Tensor:
    """Returns which of `length` places are hidden: (B, 2 x masks) in [0, 1) -> (B, length) bool."""
    widths = (uniform[:, 0::2] * (min(widest, length) + 1)).floor()
    begins = (uniform[:, 1::2] * (length - widths + 1)).floor()
    places = torch.arange(length, device=uniform.device)
    inside = (places >= begins[..., None]) & (places < (begins + widths)[..., None])
    return inside.any(dim=1)
