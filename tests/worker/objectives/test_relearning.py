import math

import numpy as np
import pytest
import torch

from tests.worker.objectives.looking import NUM_TRAIN, NUM_VALIDATION, view_of
from tests.worker.objectives.stepping import set_up, tiny_model
from worker.objectives.relearning import Relearning, pull, purity


def relearning(epochs=10, **fields):
    objective = Relearning(**{"every_epochs": 2, "max_times": 3, "strength": 3.0, **fields})
    model = tiny_model(objective)
    set_up(objective, model, epochs=epochs)
    with torch.no_grad():
        for encoder in (model.encoders.audio, model.encoders.visual):
            encoder.weight.add_(1.0)
    return objective, model


def features(*, audio_overfits):
    """Features that separate the classes in training; one modality's do not in validation."""
    labels = np.arange(NUM_TRAIN + NUM_VALIDATION) % 4
    rng = np.random.default_rng(0)
    clean = 10 * np.eye(4)[labels] + 0.1 * rng.normal(size=(len(labels), 4))
    lost = clean.copy()
    lost[NUM_TRAIN:] = rng.normal(size=(NUM_VALIDATION, 4))
    names = ("audio", "visual") if audio_overfits else ("visual", "audio")
    return dict(zip(names, (lost.astype("f4"), clean.astype("f4")), strict=True))


def test_purity_by_hand():
    clusters = np.repeat([[0.0, 0.0], [10.0, 10.0]], 4, axis=0) + 0.01 * np.arange(16).reshape(8, 2)
    assert purity(clusters, np.array([0, 0, 0, 1, 1, 1, 1, 1]), 2) == 7 / 8
    assert purity(clusters, np.array([0, 0, 0, 0, 1, 1, 1, 1]), 2) == 1
    assert purity(np.zeros((3, 2)), np.array([0, 0, 1]), 2) == pytest.approx(2 / 3)


def test_the_pull_by_hand_and_symmetric():
    assert pull(0.9, 0.7, 3.0) == pytest.approx(math.tanh(0.6))
    assert pull(0.7, 0.9, 3.0) == pull(0.9, 0.7, 3.0)
    assert pull(0.5, 0.5, 3.0) == 0


@pytest.mark.parametrize("audio_overfits", [True, False])
def test_the_encoder_that_overfits_goes_back_by_its_pull(audio_overfits):
    objective, model = relearning()
    plan = objective.plan_epoch(view_of(3, audio=1, visual=1, features=features(audio_overfits=audio_overfits)))
    pulled, other = ("audio", "visual") if audio_overfits else ("visual", "audio")
    share = plan.method[f"{pulled}_pull"]
    assert share > 0.5
    assert plan.method[f"{other}_pull"] < 1e-6
    encoders = {"audio": model.encoders.audio, "visual": model.encoders.visual}
    # The first weights are the identity, those of the moment one more: by hand (1 - w) of the way is left.
    torch.testing.assert_close(encoders[pulled].weight.detach(), torch.eye(4) + (1 - share))
    torch.testing.assert_close(encoders[other].weight.detach(), torch.eye(4) + 1)


def test_it_steps_back_every_so_many_epochs_and_so_often_at_most():
    objective, _ = relearning(max_times=2)
    acted = []
    for epoch in range(1, 10):
        view = view_of(epoch, audio=1, visual=1, features=features(audio_overfits=True))
        acted.append(objective.plan_epoch(view).method["audio_pull"] > 0)
    assert [epoch for epoch, acts in enumerate(acted, start=1) if acts] == [3, 5]


def test_without_a_number_it_is_a_fifth_of_the_run():
    objective, _ = relearning(epochs=100, every_epochs=None)
    assert objective._every == 20


def test_its_state_remembers_how_often_it_stepped_back():
    objective, _ = relearning(max_times=1)
    objective.plan_epoch(view_of(3, audio=1, visual=1, features=features(audio_overfits=True)))
    other, model = relearning(max_times=1)
    other.restore(objective.state())
    before = model.encoders.audio.weight.detach().clone()
    other.plan_epoch(view_of(5, audio=1, visual=1, features=features(audio_overfits=True)))
    assert torch.equal(before, model.encoders.audio.weight)


def test_its_state_brings_back_the_first_weights_whatever_a_resumed_run_begins_from():
    objective, _ = relearning()
    other, model = relearning()
    for own in other._first.values():
        own[0].fill_(9.0)  # as where the file of first weights is not read again
    other.restore(objective.state())
    plan = other.plan_epoch(view_of(3, audio=1, visual=1, features=features(audio_overfits=True)))
    share = plan.method["audio_pull"]
    torch.testing.assert_close(model.encoders.audio.weight.detach(), torch.eye(4) + (1 - share))
