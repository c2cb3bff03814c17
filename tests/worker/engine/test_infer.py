import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from worker.contract.errors import CorruptRecordError, InvalidRequestError, MediaError
from worker.contract.spec import AudioOnly, GmmAdaptive
from worker.engine import checkpoint
from worker.engine.infer import Scorer
from worker.engine.steps import EpochDone, Snapshot
from worker.engine.train import Trainer


@pytest.fixture(scope="module")
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def clip(rng):
    waveform = (0.1 * rng.standard_normal(1_000)).astype(np.float32)
    frames = rng.integers(0, 255, (2, 16, 16, 3), dtype=np.uint8)
    return SimpleNamespace(waveform=waveform, frames=frames, start_s=0.5, padded=False, notes=())


@pytest.fixture(scope="module")
def trained(bench, store):
    parts = bench.assembly(store, objective=GmmAdaptive(warm_up_epochs=1), epochs=2)
    done = [step for step in Trainer(parts).run() if isinstance(step, EpochDone)]
    return parts, done[-1]


def test_a_checkpoint_alone_scores_as_evaluation_did(trained, store, tmp_path, monkeypatch):
    _parts, done = trained
    scorer = Scorer.load(checkpoint.save(done.snapshot, tmp_path))
    assert scorer.classes == store.classes
    rows = store.indices("validation")
    for place, row in enumerate(rows[:6]):
        # The stored sound is a spectrogram: it stands in for a waveform here.
        monkeypatch.setattr(scorer._preprocessor, "store_audio", lambda _, row=row: store.audio[row])
        sample = SimpleNamespace(waveform=np.zeros(1), frames=store.frames[row], start_s=0, padded=False, notes=())
        result = scorer.score([sample], label=store.classes[store.labels[row]])
        assert result.gap == pytest.approx(float(done.gaps[row]), abs=1e-5)
        assert result.posterior_imbalanced == pytest.approx(float(done.posteriors[row]), abs=1e-4)
        place = int(np.flatnonzero(done.rows == row)[0])
        assert result.predicted.fused == store.classes[done.columns["predicted_fused"][place]]
        assert sum(result.probabilities.fused.values()) == pytest.approx(1, abs=1e-5)


def test_without_a_label_the_gap_is_that_of_the_fused_prediction(trained, clip):
    result = Scorer.of(trained[1].snapshot).score([clip])
    name = result.predicted.fused
    assert result.gap_of == "fused prediction"
    assert result.gap == pytest.approx(result.probabilities.audio[name] - result.probabilities.visual[name], abs=1e-6)
    assert "fused prediction" in result.notes[-1]


@pytest.mark.parametrize(("missing", "present"), [("waveform", "visual"), ("frames", "audio")])
def test_a_clip_with_one_track_has_scores_for_it_alone(trained, clip, missing, present):
    setattr(clip, missing, None)
    result = Scorer.of(trained[1].snapshot).score([clip])
    assert result.modalities_present == [present]
    assert getattr(result.probabilities, present) is not None
    assert result.probabilities.fused is None
    assert (result.gap, result.gap_of, result.posterior_imbalanced) == (None, None, None)
    assert "one modality" in result.posterior_reason


def test_windows_after_the_first_are_scored_in_one_batch_and_alike(trained, clip):
    result = Scorer.of(trained[1].snapshot).score([clip] * 4, label="a")
    assert len(result.windows) == 3
    assert (result.windows[0].start_s, result.windows[0].end_s) == (0.5, 0.75)
    for window in result.windows:
        assert window.gap == pytest.approx(result.gap, abs=1e-5)


def test_each_window_has_its_own_gap_and_posterior(trained, clip):
    other = SimpleNamespace(**{**vars(clip), "frames": 255 - clip.frames, "start_s": 1.0})
    scorer = Scorer.of(trained[1].snapshot)
    _, window = scorer.score([clip, clip, other], label="a").windows
    alone = scorer.score([other], label="a")
    assert window.start_s == 1.0
    assert window.gap == pytest.approx(alone.gap, abs=1e-5)
    assert window.posterior_imbalanced == pytest.approx(alone.posterior_imbalanced, abs=1e-5)
    assert window.probabilities.visual["b"] == pytest.approx(alone.probabilities.visual["b"], abs=1e-5)


def test_a_clip_of_more_windows_than_a_batch_is_encoded_in_parts(trained, clip, monkeypatch):
    scorer = Scorer.of(trained[1].snapshot)
    whole = scorer.score([clip] * 70, knock_outs=True)
    sizes = []
    encode = scorer._model.encode_visual
    monkeypatch.setattr(scorer._model, "encode_visual", lambda frames: sizes.append(len(frames)) or encode(frames))
    assert scorer.score([clip] * 70, knock_outs=True).windows[-1] == whole.windows[-1]
    assert sizes == [32, 32, 8]  # 70 windows, and frozen and black


def test_a_knock_out_is_the_clip_with_that_content_gone(trained, clip):
    scorer = Scorer.of(trained[1].snapshot)
    result = scorer.score([clip, clip], knock_outs=True)
    changed = {
        "mute": {"waveform": np.zeros_like(clip.waveform)},
        "freeze": {"frames": np.stack([clip.frames[0]] * 2)},
        "black": {"frames": np.zeros_like(clip.frames)},
    }
    assert list(result.knock_outs) == list(changed)
    for name, fields in changed.items():
        alone = scorer.score([SimpleNamespace(**{**vars(clip), **fields})]).probabilities
        for branch in ("fused", "audio", "visual"):
            knocked = getattr(result.knock_outs[name], branch)
            assert knocked == pytest.approx(getattr(alone, branch), abs=1e-6)
            change = getattr(result.knock_out_changes[name], branch)
            whole = getattr(result.probabilities, branch)
            assert change == pytest.approx({label: knocked[label] - whole[label] for label in knocked}, abs=1e-6)
    assert set(result.knock_out_changes["mute"].visual.values()) == {0.0}
    assert max(map(abs, result.knock_out_changes["mute"].audio.values())) > 1e-4


def test_knock_outs_encode_each_sound_and_picture_once(trained, clip, monkeypatch):
    scorer = Scorer.of(trained[1].snapshot)
    sizes = {}
    for name in ("encode_audio", "encode_visual", "classify"):
        real = getattr(scorer._model, name)

        def counted(first, name=name, real=real):
            assert name not in sizes  # one call
            sizes[name] = len(first) if torch.is_tensor(first) else len(first["audio"])
            return real(first)

        monkeypatch.setattr(scorer._model, name, counted)
    scorer.score([clip], knock_outs=True)
    assert sizes == {"encode_audio": 2, "encode_visual": 3, "classify": 4}


def test_with_one_track_nothing_is_knocked_out(trained, clip):
    clip.waveform = None
    result = Scorer.of(trained[1].snapshot).score([clip], knock_outs=True)
    assert (result.knock_outs, result.knock_out_changes) == ({}, {})


@pytest.fixture(scope="module")
def audio_only(bench, store):
    parts = bench.assembly(store, objective=AudioOnly(), epochs=1)
    return Scorer.of(next(step for step in Trainer(parts).run() if isinstance(step, EpochDone)).snapshot)


def test_a_run_with_one_modality_scores_by_it_alone_and_says_why_there_is_no_gap(audio_only, clip):
    result = audio_only.score([clip, clip], label="a", knock_outs=True)
    assert result.modalities_present == ["audio", "visual"]  # what the clip has
    assert result.probabilities.visual is None
    assert result.probabilities.fused == result.probabilities.audio
    assert (result.gap, result.posterior_imbalanced, result.gap_in_training) == (None, None, None)
    assert "trained on audio alone" in result.posterior_reason
    assert result.windows[0].probabilities.fused is not None
    assert result.knock_outs == {}
    clip.frames = None
    assert audio_only.score([clip]).probabilities.fused is not None


def test_a_clip_without_the_track_that_a_run_needs_is_refused(audio_only, clip):
    clip.waveform = None
    with pytest.raises(MediaError) as caught:
        audio_only.score([clip])
    assert caught.value.code == "media-no-audio"


def test_a_degenerate_mixture_gives_no_posterior_and_says_why(trained, clip):
    snapshot = trained[1].snapshot
    record = json.loads(json.dumps(snapshot.record))
    record["mixtures"]["train"]["paper"]["mixture"].update(components=[], verdict="degenerate")
    result = Scorer.of(Snapshot(snapshot.epoch, 0, snapshot.tensors, record)).score([clip], label="a")
    assert result.gap is not None
    assert result.posterior_imbalanced is None
    assert "no mixture" in result.posterior_reason


def test_what_cannot_be_scored_is_refused(trained, clip):
    scorer = Scorer.of(trained[1].snapshot)
    with pytest.raises(InvalidRequestError, match="'z' is unknown"):
        scorer.score([clip], label="z")
    clip.waveform = clip.frames = None
    with pytest.raises(MediaError):
        scorer.score([clip])


def test_an_incomplete_checkpoint_is_refused(trained):
    snapshot = trained[1].snapshot
    tensors = {name: tensor for name, tensor in snapshot.tensors.items() if "fusion" not in name}
    with pytest.raises(CorruptRecordError, match="cannot be used"):
        Scorer.of(Snapshot(snapshot.epoch, 0, tensors, snapshot.record))
    assert torch.is_tensor(next(iter(tensors.values())))
