from __future__ import annotations

import numpy as np
import pytest
import torch

from worker.contract.spec.augment import AugmentSpec
from worker.contract.spec.preprocess import PreprocessSpec
from worker.media.augment import draws, mirrored, resized, resized_crop
from worker.media.masking import spec_augment
from worker.media.preprocess import Preprocessor

IDS = [f"clip-{index}" for index in range(40)]


def pictures(number: int = 40, side: int = 32) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (number, 2, side, side, 3), dtype=np.uint8)


def test_a_resized_crop_covers_between_eight_percent_and_all() -> None:
    ramp = np.arange(224, dtype=np.uint8)[:, None]  # from left to right
    frames = np.ascontiguousarray(np.broadcast_to(ramp, (400, 1, 224, 224, 3)))
    cut = resized_crop(frames, 64, draws(0, 1, [str(k) for k in range(400)])).astype(int)
    widths = (cut[:, 0, 0, -1, 0] - cut[:, 0, 0, 0, 0]) / 224
    assert cut.shape == (400, 1, 64, 64, 3)
    assert 0.2 < widths.min() < 0.4
    assert widths.max() > 0.9
    assert 0.6 < widths.mean() < 0.8  # sqrt of 8 to 100 % of the area


def test_all_frames_of_a_clip_get_one_box() -> None:
    still = np.repeat(pictures()[:, :1], 2, axis=1)
    cut = resized_crop(still, 16, draws(0, 1, IDS))
    assert np.array_equal(cut[:, 0], cut[:, 1])
    assert not np.array_equal(cut[0], cut[1])


def test_resizing_keeps_a_plain_colour_and_the_size_it_has() -> None:
    frames = np.full((2, 20, 30, 3), (10, 200, 60), np.uint8)
    assert np.array_equal(resized(frames, 16), np.full((2, 16, 16, 3), (10, 200, 60), np.uint8))
    same = pictures(1, 16)[0]
    assert np.array_equal(resized(same, 16), same)


def test_half_of_the_clips_are_mirrored() -> None:
    flipped = mirrored(pictures(), draws(0, 1, IDS))
    changed = [not np.array_equal(a, b) for a, b in zip(flipped, pictures(), strict=True)]
    assert 10 <= sum(changed) <= 30
    assert all(
        np.array_equal(a, b[:, :, ::-1]) for a, b, is_new in zip(flipped, pictures(), changed, strict=True) if is_new
    )


def test_masks_hide_bands_and_stretches_of_at_most_their_widths() -> None:
    choice = AugmentSpec(num_frequency_masks=1, frequency_mask_bins=8, num_time_masks=1, time_mask_steps=10)
    whole = torch.rand(40, 1, 64, 80, generator=torch.Generator().manual_seed(0)) + 1
    masked = spec_augment(whole, draws(0, 1, IDS), choice)
    hidden = masked != whole
    bands, stretches = hidden.all(dim=3).sum(dim=2), hidden.all(dim=2).sum(dim=2)
    assert 0 < bands.max() <= 8
    assert 0 < stretches.max() <= 10
    assert torch.equal(masked[~hidden], whole[~hidden])
    assert float(masked[0][hidden[0]].std()) < 1e-6  # all of them the clip's mean
    assert float(masked[0][hidden[0]].mean()) == pytest.approx(float(whole[0].mean()))


def test_masks_are_those_of_the_clip_whatever_its_batch() -> None:
    choice = AugmentSpec(num_frequency_masks=2, num_time_masks=2)
    whole = torch.rand(40, 1, 64, 80)
    together = spec_augment(whole, draws(3, 2, IDS), choice)
    alone = spec_augment(whole[7:8], draws(3, 2, IDS[7:8]), choice)
    assert torch.equal(together[7:8], alone)
    assert not torch.equal(together, spec_augment(whole, draws(3, 4, IDS), choice))


def test_no_augmentation_is_what_evaluation_sees() -> None:
    spec = PreprocessSpec(duration_s=1.0, sample_rate_hz=8_000, num_frames=2, frame_size=32, crop_size=24)
    preprocessor = Preprocessor(spec)
    audio = np.random.default_rng(0).normal(size=(40, 64, spec.num_steps)).astype(np.float16)
    off = AugmentSpec(crop="none", time_shift=False)
    cut, moved = preprocessor.augmented(pictures(), audio, IDS, seed=0, epoch=1, augmentation=off)
    assert np.array_equal(cut, preprocessor.crop(pictures()))
    assert np.array_equal(moved, audio)


def test_a_squeezed_picture_is_evaluated_whole() -> None:
    spec = PreprocessSpec(duration_s=1.0, num_frames=2, frame_size=32, crop_size=16, frame_fit="squeeze")
    frames = np.zeros((1, 2, 32, 32, 3), np.uint8)
    frames[:, :, :4] = 255  # a border that a centre crop would lose
    assert Preprocessor(spec).crop(frames)[0, 0, :2].min() > 200
