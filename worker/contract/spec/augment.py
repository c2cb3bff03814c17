"""How training clips are moved about: choices of the augmentation, which is a function of (seed, epoch, sample id)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from worker.contract.spec.base import Spec


class AugmentSpec(Spec):
    """Random changes of training clips, drawn anew each epoch; evaluation and scores never see them."""

    crop: Literal["place", "resized", "none"] = Field(
        "place",
        description="place: a crop at a random place (a shift where the crop is as large as the frame); resized: 8 to "
        "100 % of the area, 3:4 to 4:3, resized to the crop; none: as in evaluation. All frames of a clip alike.",
    )
    horizontal_flip: bool = Field(False, description="Mirror half of the clips. Not for digits or letters.")
    time_shift: bool = Field(True, description="Rotate the sound in time by up to a tenth of the window, either way.")
    num_frequency_masks: int = Field(0, ge=0, le=8, description="SpecAugment: bands of the spectrogram blotted out.")
    frequency_mask_bins: int = Field(16, ge=1, le=512, description="Widest such band, bins.")
    num_time_masks: int = Field(0, ge=0, le=8, description="SpecAugment: stretches of the spectrogram blotted out.")
    time_mask_steps: int = Field(32, ge=1, le=2_048, description="Longest such stretch, time steps.")

    @property
    def masks(self) -> bool:
        """Whether anything is blotted out."""
        return self.num_frequency_masks + self.num_time_masks > 0
