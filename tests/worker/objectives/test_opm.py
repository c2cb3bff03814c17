import math

import numpy as np
import pytest
import torch

from tests.worker.objectives.stepping import step_on, tiny_model
from worker.objectives.base import EpochView
from worker.objectives.opm import Opm, drop_rates


def opm(probability=1.0):
    objective = Opm(first_epoch=1, last_epoch=None, probability=probability, base_rate=0.4, gain=0.5)
    objective.plan_epoch(EpochView(1, np.arange(16), None, None))
    return objective, tiny_model(objective)


def rates(objective):
    return objective._rates.tolist()


def test_the_rate_of_the_leading_modality_by_hand():
    found = drop_rates(torch.tensor(6.0), torch.tensor(3.0), base_rate=0.4, gain=0.5)
    assert found.tolist() == pytest.approx([0.4 * (1 + 0.5 * math.tanh(1.0)), 0.0])
    assert drop_rates(torch.tensor(3.0), torch.tensor(3.0), base_rate=0.4, gain=0.5).tolist() == [0, 0]
    assert drop_rates(torch.tensor(9.0), torch.tensor(1.0), base_rate=0.9, gain=5.0).tolist() == [1, 0]


def test_swapping_the_modalities_swaps_the_rates():
    objective, model = opm()
    objective.features(first := step_on(model, audio=3.0, visual=0.5), first.output.features)
    before = rates(objective)
    model.fusion.linear.weight.data = model.fusion.linear.weight.data.roll(4, dims=1)
    objective.features(second := step_on(model, audio=0.5, visual=3.0, swap_noise=True), second.output.features)
    assert rates(objective) == pytest.approx(before[::-1], rel=1e-5)
    assert before[0] > 0.4
    assert before[1] == 0


@pytest.mark.parametrize(("strengths", "dropped"), [((4.0, 0.0), "audio"), ((0.0, 4.0), "visual")])
def test_a_planted_advantage_drops_the_modality_that_has_it_and_no_other(strengths, dropped):
    objective, model = opm()
    step = step_on(model, audio=strengths[0], visual=strengths[1], size=400)
    found = objective.features(step, step.output.features)
    gone = {name: float((values == 0).all(dim=1).float().mean()) for name, values in found.items()}
    other = {"audio": "visual", "visual": "audio"}[dropped]
    rate = max(rates(objective))
    assert gone[dropped] == pytest.approx(rate, abs=0.08)
    assert gone[other] == 0
    # Both modalities are scaled up by the share that is kept.
    scale = found[other] / step.output.features[other]
    torch.testing.assert_close(scale, torch.full_like(scale, 1 / (1 - rate / 2)))


def test_nothing_is_dropped_in_the_other_batches_but_the_rates_are_reported():
    objective, model = opm(probability=0.0)
    step = step_on(model, audio=4.0)
    assert objective.features(step, step.output.features) is step.output.features
    (each,) = objective.passes(step)
    assert each.coefficients["audio_drop_rate"] > 0.4
