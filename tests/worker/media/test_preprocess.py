from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
import torchaudio

from worker.contract.spec.preprocess import PreprocessSpec
from worker.media.preprocess import Preprocessor
from worker.media.spectrogram import AUDIO_CENTRE, AUDIO_SCALE

SPEC = PreprocessSpec(duration_s=1.0, sample_rate_hz=8_000, num_mels=32, frame_size=40, crop_size=32, num_frames=3)


def tone(frequency: float = 700.0, amplitude: float = 0.5) -> np.ndarray:
    time = np.arange(SPEC.num_samples) / SPEC.sample_rate_hz
    return (amplitude * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


def noise(number: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, (number, SPEC.num_samples)).astype(np.float32)


def frames(number: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (number, 3, 40, 40, 3), dtype=np.uint8)


def test_the_spectrogram_is_torchaudios() -> None:
    stored = Preprocessor(SPEC).store_audio(noise(1)[0])
    transform = torchaudio.transforms.MelSpectrogram(
        sample_rate=8_000, n_fft=512, hop_length=256, n_mels=32, normalized="window"
    )
    expected = transform(torch.from_numpy(noise(1)[0])).clamp_min(1e-6).log()
    assert stored.shape == tuple(expected.shape) == (32, SPEC.num_steps)
    assert stored.dtype == np.float16
    assert np.allclose(stored, expected.numpy(), atol=0.01)


def test_a_tone_is_brightest_at_its_mel_bin() -> None:
    low, high = (Preprocessor(SPEC).store_audio(tone(f)).mean(axis=1).argmax() for f in (300.0, 2_500.0))
    assert low < high


def test_both_storages_give_nearly_the_same_tensor() -> None:
    spectrogram = Preprocessor(SPEC)
    waveform = Preprocessor(SPEC.model_copy(update={"audio_storage": "waveform"}))
    assert waveform.audio_dtype == np.int16
    assert waveform.audio_shape == (8_000,)
    one = spectrogram.audio_tensor(spectrogram.store_audio(noise(1)[0])[None])
    other = waveform.audio_tensor(waveform.store_audio(noise(1)[0])[None])
    assert one.shape == other.shape == (1, 1, 32, SPEC.num_steps)
    assert torch.allclose(one, other, atol=0.02)


@pytest.mark.parametrize("storage", ["log-mel", "waveform"])
def test_a_clip_gives_the_same_alone_and_in_a_batch(storage: str) -> None:
    preprocessor = Preprocessor(SPEC.model_copy(update={"audio_storage": storage}))
    stored = np.stack([preprocessor.store_audio(row) for row in noise(7)])
    batch = preprocessor.audio_tensor(stored)
    alone = torch.cat([preprocessor.audio_tensor(row[None]) for row in stored])
    assert torch.allclose(batch, alone, atol=1e-5)


def test_loudness_is_kept_and_silence_is_finite() -> None:
    preprocessor = Preprocessor(SPEC)
    loud, soft = (preprocessor.audio_tensor(preprocessor.store_audio(tone(amplitude=a))[None]) for a in (0.5, 0.05))
    assert float(loud.max() - soft.max()) == pytest.approx(np.log(100) / AUDIO_SCALE, abs=0.02)
    silence = preprocessor.audio_tensor(preprocessor.store_audio(np.zeros(8_000, np.float32))[None])
    assert torch.allclose(silence, torch.tensor((np.log(1e-6) - AUDIO_CENTRE) / AUDIO_SCALE).float(), atol=0.01)


def test_refuses_a_waveform_of_another_length() -> None:
    with pytest.raises(ValueError, match="8000 samples"):
        Preprocessor(SPEC).store_audio(np.zeros(100, np.float32))


def test_frames_become_normalised_channels_first() -> None:
    preprocessor = Preprocessor(SPEC)
    cut = preprocessor.crop(frames(2))
    tensor = preprocessor.frame_tensor(cut)
    assert cut.shape == (2, 3, 32, 32, 3)
    assert tensor.shape == (2, 3, 3, 32, 32)
    assert tensor.dtype == torch.float32
    pixel = frames(2)[1, 2, 4 + 5, 4 + 6]
    expected = (pixel / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    assert np.allclose(tensor[1, 2, :, 5, 6].numpy(), expected, atol=1e-5)


def test_augmentation_depends_on_seed_epoch_and_id_alone() -> None:
    preprocessor = Preprocessor(SPEC)
    audio = np.stack([preprocessor.store_audio(row) for row in noise(8)])
    ids = [f"clip-{index}" for index in range(8)]
    cut, moved = preprocessor.augmented(frames(8), audio, ids, seed=3, epoch=2)
    order = [5, 0, 7]
    some, some_moved = preprocessor.augmented(frames(8)[order], audio[order], [ids[i] for i in order], seed=3, epoch=2)
    assert np.array_equal(cut[order], some)
    assert np.array_equal(moved[order], some_moved)
    for other in ({"seed": 4, "epoch": 2}, {"seed": 3, "epoch": 3}):
        assert not np.array_equal(cut, preprocessor.augmented(frames(8), audio, ids, **other)[0])


def test_all_frames_of_a_clip_are_cut_at_one_place() -> None:
    still = np.repeat(frames(6)[:, :1], 3, axis=1)
    audio = np.zeros((6, 32, SPEC.num_steps), np.float16)
    cut, _ = Preprocessor(SPEC).augmented(still, audio, list("abcdef"), seed=0, epoch=1)
    assert cut.shape == (6, 3, 32, 32, 3)
    assert np.array_equal(cut[:, 0], cut[:, 2])


def test_a_crop_as_large_as_the_frame_becomes_a_shift() -> None:
    spec = SPEC.model_copy(update={"frame_size": 32})
    pictures = frames(20)[:, :, :32, :32]
    audio = np.zeros((20, 32, SPEC.num_steps), np.float16)
    cut, _ = Preprocessor(spec).augmented(pictures, audio, [str(k) for k in range(20)], seed=0, epoch=1)
    assert cut.shape == pictures.shape
    assert not np.array_equal(cut, pictures)
    assert np.array_equal(Preprocessor(spec).crop(pictures), pictures)


def test_time_shift_only_rotates() -> None:
    audio = np.random.default_rng(0).normal(size=(5, 32, SPEC.num_steps)).astype(np.float16)
    _, moved = Preprocessor(SPEC).augmented(frames(5), audio, list("abcde"), seed=0, epoch=1)
    assert np.array_equal(np.sort(moved, axis=-1), np.sort(audio, axis=-1))
    assert not np.array_equal(moved, audio)


def test_augmentation_is_the_same_in_another_process() -> None:
    code = "from worker.media.augment import draws; print(*draws(1, 2, ['a', 'ü']).top.tolist())"
    out = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout] * 2
    assert out[0] == out[1]
    assert all(0 <= float(value) < 1 for value in out[0].split())
