import numpy as np
import pytest

from tests.worker.objectives.looking import NUM_TRAIN, view_of
from worker.objectives.valuation import ModalityValuation, SampleValuation, contributions, num_added, num_copies


def sample_valuation():
    return SampleValuation(first_epoch=1, last_epoch=None)


def modality_valuation(**fields):
    return ModalityValuation(
        **{"first_epoch": 1, "last_epoch": None, "valued_share": 0.5, "strength": 1.0, "shape": "linear", **fields}
    )


def test_contributions_by_hand():
    right = np.array([True, True, True, False, False])
    audio = np.array([True, False, False, True, False])
    visual = np.array([True, True, False, False, False])
    found = contributions(right, audio, visual)
    assert found.tolist() == [[1, 1], [0.5, 1.5], [1, 1], [0.5, -0.5], [0, 0]]
    # A Shapley value shares out what both together are worth.
    np.testing.assert_array_equal(found.sum(axis=1), 2.0 * right)


def test_copies_by_hand():
    found = num_copies(np.array([[-0.5, 0.0], [0.5, 1.0], [1.5, 0.4]]))
    assert found.tolist() == [[3, 2], [1, 0], [0, 1]]


def test_added_samples_by_hand():
    assert num_added(0.9, 0.3, 300, strength=1.0, shape="linear") == 120
    assert num_added(0.3, 0.9, 300, strength=0.5, shape="linear") == 60
    assert num_added(0.9, 0.3, 300, strength=1.0, shape="tanh") == int(200 * np.tanh(0.6))
    assert num_added(0.9, 0.3, 300, strength=1.0, shape="power") == int(200 * 0.6**1.5)


@pytest.mark.parametrize(("strengths", "weak"), [((0.0, 6.0), "audio"), ((6.0, 0.0), "visual")])
def test_a_planted_advantage_repeats_the_other_modality_alone(strengths, weak):
    plan = sample_valuation().plan_epoch(view_of(1, audio=strengths[0], visual=strengths[1]))
    strong = {"audio": "visual", "visual": "audio"}[weak]
    assert plan.method[f"{weak}_contribution"] < plan.method[f"{strong}_contribution"]
    assert plan.method[f"{weak}_copies"] > NUM_TRAIN / 2
    assert plan.method[f"{strong}_copies"] == 0
    column = ("audio", "visual").index(weak)
    extra = plan.present[NUM_TRAIN:]
    assert extra[:, column].all()
    assert not extra[:, 1 - column].any()
    assert plan.present[:NUM_TRAIN].all()
    assert set(plan.rows) == set(range(NUM_TRAIN))


def test_swapping_the_modalities_swaps_the_copies():
    first = sample_valuation().plan_epoch(view_of(1, audio=1.0, visual=3.0))
    second = sample_valuation().plan_epoch(view_of(1, audio=3.0, visual=1.0, swap_noise=True))
    for name, other in (("audio", "visual"), ("visual", "audio")):
        for figure in ("contribution", "copies"):
            assert first.method[f"{name}_{figure}"] == second.method[f"{other}_{figure}"]
    order = np.lexsort((first.rows, first.present[:, 0], first.present[:, 1]))
    other = np.lexsort((second.rows, second.present[:, 1], second.present[:, 0]))
    np.testing.assert_array_equal(first.rows[order], second.rows[other])


@pytest.mark.parametrize(("strengths", "weak"), [((0.0, 6.0), "audio"), ((6.0, 0.0), "visual")])
def test_by_modality_random_samples_are_added_for_the_one_that_contributes_less(strengths, weak):
    plan = modality_valuation().plan_epoch(view_of(1, audio=strengths[0], visual=strengths[1]))
    strong = {"audio": "visual", "visual": "audio"}[weak]
    difference = plan.method[f"{strong}_contribution"] - plan.method[f"{weak}_contribution"]
    assert plan.method[f"{weak}_added"] == int(2 / 3 * difference * NUM_TRAIN) > 0
    assert plan.method[f"{strong}_added"] == 0
    column = ("audio", "visual").index(weak)
    assert plan.present[NUM_TRAIN:, column].all()
    assert not plan.present[NUM_TRAIN:, 1 - column].any()


def test_every_epoch_starts_from_the_original_samples():
    objective = sample_valuation()
    first, second = (objective.plan_epoch(view_of(epoch, audio=0.0, visual=6.0)) for epoch in (1, 2))
    np.testing.assert_array_equal(first.rows, second.rows)


@pytest.mark.parametrize("make", [sample_valuation, modality_valuation])
def test_outside_the_window_nothing_is_looked_at(make):
    objective = make()
    objective._window = type(objective._window)(5, 6)
    view = view_of(1, audio=0.0, visual=6.0)
    object.__setattr__(view, "look", None)
    assert objective.plan_epoch(view).present is None


@pytest.mark.parametrize(("share", "number"), [(0.5, 20), (0.1, 4), (0.001, 1)])
def test_by_modality_its_share_of_the_samples_is_valued(share, number):
    view = view_of(1, audio=0.0, visual=6.0)
    looked = []
    look = view.look
    object.__setattr__(view, "look", lambda rows, drops: looked.append(rows) or look(rows, drops))
    modality_valuation(valued_share=share).plan_epoch(view)
    assert [len(set(rows.tolist())) for rows in looked] == [number]
