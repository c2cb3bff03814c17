from __future__ import annotations

import numpy as np
import pytest
import torch

from worker.contract.spec.preprocess import PREPROCESS_PRESETS, PreprocessSpec, PresetName
from worker.media.preprocess import Preprocessor


def noise(spec: PreprocessSpec, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, spec.num_samples).astype(np.float32)


def log_stft_by_hand(waveform: np.ndarray, fft: int, hop: int) -> np.ndarray:
    """np.log(np.abs(librosa.stft(waveform, n_fft=fft, hop_length=hop)) + 1e-7), written out."""
    padded = np.pad(waveform.astype(np.float64), fft // 2)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(fft) / fft)
    starts = range(0, len(padded) - fft + 1, hop)
    return np.log(np.abs(np.stack([np.fft.rfft(padded[s : s + fft] * window) for s in starts], axis=1)) + 1e-7)


@pytest.mark.parametrize(
    ("preset", "shape"),
    [
        ("ogm-ge-crema-d", (257, 188)),
        ("ogm-ge-vggsound", (129, 626)),
        ("kaldi-fbank", (128, 1_024)),
        ("gapscope", (128, 188)),
    ],
)
def test_every_preset_gives_the_published_size(preset: PresetName, shape: tuple[int, int]) -> None:
    spec = PREPROCESS_PRESETS[preset]
    preprocessor = Preprocessor(spec)
    stored = preprocessor.store_audio(noise(spec))
    assert stored.shape == spec.stored_audio_shape
    assert stored.nbytes + np.prod(preprocessor.frames_shape) == spec.stored_bytes
    assert preprocessor.audio_tensor(stored[None]).shape == (1, 1, *shape) == (1, 1, spec.num_bins, spec.num_steps)


def test_ogm_ge_on_crema_d_is_the_log_of_the_stft_as_it_is() -> None:
    spec = PREPROCESS_PRESETS["ogm-ge-crema-d"]
    preprocessor = Preprocessor(spec)
    waveform = noise(spec) * np.linspace(0, 1, spec.num_samples, dtype=np.float32)
    tensor = preprocessor.audio_tensor(preprocessor.store_audio(waveform)[None])[0, 0].numpy()
    assert np.abs(tensor - log_stft_by_hand(waveform, 512, 353)).max() < 0.01  # half precision


def test_ogm_ge_on_vggsound_sees_five_seconds_the_middle_in_evaluation() -> None:
    spec = PREPROCESS_PRESETS["ogm-ge-vggsound"]
    preprocessor = Preprocessor(spec)
    waveform = noise(spec)
    tensor = preprocessor.audio_tensor(preprocessor.store_audio(waveform)[None])[0, 0].numpy()
    apart = np.abs(tensor - log_stft_by_hand(waveform[40_000:120_000], 256, 128))
    assert np.quantile(apart, 0.999) < 0.01  # int16; more only where |S| is nearly 0


@pytest.mark.parametrize("storage", ["waveform", "log-mel"])
def test_training_draws_another_stretch_each_epoch(storage: str) -> None:
    spec = PreprocessSpec(
        preset="ogm-ge-vggsound", audio_storage=storage, num_frames=1, frame_size=16, crop_size=16, duration_s=2.0,
        audio_crop_s=1.0,
    )  # fmt: skip
    preprocessor = Preprocessor(spec)
    stored = np.stack([preprocessor.store_audio(noise(spec, seed)) for seed in range(3)])
    frames = np.zeros((3, *preprocessor.frames_shape), np.uint8)
    first, again, other = (
        preprocessor.audio_tensor(preprocessor.augmented(frames, stored, list("abc"), seed=0, epoch=epoch)[1])
        for epoch in (1, 1, 2)
    )
    assert first.shape == other.shape == (3, 1, 129, 126)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_kaldis_filter_bank_is_padded_before_it_is_standardised() -> None:
    spec = PREPROCESS_PRESETS["kaldi-fbank"]
    preprocessor = Preprocessor(spec)
    tensor = preprocessor.audio_tensor(preprocessor.store_audio(noise(spec) + 0.2)[None])[0, 0]
    assert torch.allclose(tensor[:, 998:], torch.tensor(4.503877 / (2 * 5.141276)), atol=1e-6)
    assert tensor[:, :998].std() > 0.01
    assert torch.allclose(  # the mean is removed: an offset changes nothing
        tensor, preprocessor.audio_tensor(preprocessor.store_audio(noise(spec))[None])[0, 0], atol=0.01
    )


@pytest.mark.parametrize("preset", list(PREPROCESS_PRESETS))
def test_both_storages_of_a_preset_agree(preset: PresetName) -> None:
    waveform = noise(PREPROCESS_PRESETS[preset])
    tensors = []
    for storage in ("log-mel", "waveform"):
        preprocessor = Preprocessor(PreprocessSpec(preset=preset, audio_storage=storage))
        tensors.append(preprocessor.audio_tensor(preprocessor.store_audio(waveform)[None]))
    assert tensors[0].shape == tensors[1].shape
    if preset != "ogm-ge-vggsound":  # whose middle begins between two steps of the whole
        assert np.quantile((tensors[0] - tensors[1]).abs().numpy(), 0.999) < 0.02
