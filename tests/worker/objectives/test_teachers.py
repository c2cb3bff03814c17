import math
from types import SimpleNamespace

import pytest
import torch

from tests.worker.objectives.stepping import set_up, step_on, tiny_model
from worker.contract.errors import TrainingError
from worker.objectives.g2d import G2d, distillation
from worker.objectives.joint import Joint
from worker.objectives.umt import Umt


def umt(scaling=10.0):
    return Umt(first_epoch=1, last_epoch=None, audio_teacher="run-a-1", visual_teacher="run-b-1", scaling=scaling)


def g2d(priority_epochs=None, temperature=2.0):
    return G2d(
        audio_teacher="run-a-1",
        visual_teacher="run-b-1",
        fused_weight=0.5,
        logit_weight=2.0,
        feature_weight=3.0,
        temperature=temperature,
        priority_epochs=priority_epochs,
    )


def source(run_id, modalities=("audio", "visual"), size=4):
    return SimpleNamespace(run_id=run_id, modalities=modalities, num_audio_features=size, num_visual_features=size)


def sources(**changed):
    both = {"audio_teacher": source("run-a-1", ("audio",)), "visual_teacher": source("run-b-1", ("visual",))}
    return {**both, **changed}


def made(objective, audio=1.0, visual=1.0, taught=(0.5, 0.5), **fields):
    """A model, a batch and its only pass; teachers see the same clips with the given strengths."""
    model, swap = tiny_model(objective), fields.get("swap_noise", False)
    set_up(objective, model, sources=sources())
    teacher = step_on(tiny_model(Joint()).requires_grad_(False), audio=audio, visual=visual, swap_noise=swap).output
    step = step_on(model, audio=taught[0], visual=taught[1], teach=lambda name: teacher, **fields)
    (each,) = objective.passes(step)
    return model, step, each


@pytest.mark.parametrize("make", [umt, g2d])
def test_teachers_that_do_not_fit_are_refused_by_name(make):
    for changed, expected in (
        ({"audio_teacher": source("run-a-1", ("visual",))}, "run-a-1 .audio_teacher. does not use audio"),
        (
            {"visual_teacher": source("run-b-1", size=5)},
            "run-b-1 .visual_teacher. has 5 visual features, .* has 4",
        ),
    ):
        with pytest.raises(TrainingError, match=expected) as caught:
            set_up(objective := make(), tiny_model(objective), sources=sources(**changed))
        assert caught.value.code == "source-run-unfit"


def test_umt_adds_the_squared_distance_of_the_features_by_hand():
    _, step, each = made(umt(scaling=3.0), audio=2.0)
    teacher = step.teach("audio_teacher").features
    squares = sum((step.output.features[name] - teacher[name]).square().mean() for name in ("audio", "visual"))
    torch.testing.assert_close(each.loss, step.cross_entropy(step.output.fused_logits) + 3.0 * squares)


@pytest.mark.parametrize("make", [umt, g2d])
def test_feature_terms_reach_their_own_encoder_alone(make):
    _, step, each = made(make())
    for name, other in (("audio", "visual"), ("visual", "audio")):
        features = [step.output.features[name], step.output.features[other]]
        own, foreign = torch.autograd.grad(
            each.terms[f"{name}_features"], features, retain_graph=True, allow_unused=True
        )
        assert own.abs().sum() > 0
        assert foreign is None


@pytest.mark.parametrize(("strengths", "ahead", "behind"), [((4, 0), "audio", "visual"), ((0, 4), "visual", "audio")])
def test_umt_reports_a_greater_distance_where_the_teacher_has_an_advantage(strengths, ahead, behind):
    _, _, each = made(umt(), *strengths, taught=(0.0, 0.0))
    assert each.coefficients[f"{ahead}_distance"] > 5 * each.coefficients[f"{behind}_distance"]


def test_swapping_the_modalities_swaps_the_distances():
    first = made(umt(), 3.0, 1.0, taught=(0.5, 0.2))[2].coefficients
    second = made(umt(), 1.0, 3.0, taught=(0.2, 0.5), swap_noise=True)[2].coefficients
    assert float(first["audio_distance"]) == pytest.approx(float(second["visual_distance"]))


def test_distillation_by_hand():
    logits, teacher = torch.zeros(1, 2), torch.tensor([[2 * math.log(3.0), 0.0]])
    expected = 4 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    assert float(distillation(logits, teacher, 2.0)) == pytest.approx(expected)
    assert float(distillation(teacher, teacher, 2.0)) == pytest.approx(0)


def test_g2d_adds_up_its_terms_and_distillation_reaches_both_encoders():
    _, step, each = made(g2d(), audio=2.0)
    terms = each.terms
    expected = (
        0.5 * terms["fused"]
        + 2.0 * (terms["audio_logits"] + terms["visual_logits"])
        + 3.0 * (terms["audio_features"] + terms["visual_features"])
    )
    torch.testing.assert_close(each.loss, expected)
    for name in ("audio_logits", "visual_logits"):
        found = torch.autograd.grad(terms[name], list(step.output.features.values()), retain_graph=True)
        assert all(part.abs().sum() > 0 for part in found)


def combined(objective, model, step, each):
    each.loss.backward()
    gradients = {p: p.grad for p in model.parameters() if p.grad is not None}
    return objective.combine(step, [gradients])


@pytest.mark.parametrize(("strengths", "rests", "moves"), [((4, 0), "audio", "visual"), ((0, 4), "visual", "audio")])
def test_g2d_rests_the_encoder_whose_teacher_has_a_planted_advantage(strengths, rests, moves):
    objective = g2d()
    model, step, each = made(objective, *strengths)
    assert (each.coefficients[f"{rests}_scale"], each.coefficients[f"{moves}_scale"]) == (0, 1)
    found = combined(objective, model, step, each)
    assert getattr(model.encoders, rests).weight not in found
    assert found[getattr(model.encoders, moves).weight].abs().sum() > 0
    assert model.fusion.linear.weight in found


@pytest.mark.parametrize(("fields", "epoch"), [({}, 6), ({"priority_epochs": 0}, 1), ({"priority_epochs": 3}, 4)])
def test_g2d_rests_no_encoder_after_its_first_epochs(fields, epoch):
    objective = g2d(**fields)
    model, step, each = made(objective, audio=4.0, visual=0.0, epoch=epoch)
    found = combined(objective, model, step, each)
    assert {model.encoders.audio.weight, model.encoders.visual.weight} <= found.keys()


def test_g2d_rests_no_encoder_where_the_teachers_are_even():
    objective = g2d()
    model = tiny_model(objective)
    set_up(objective, model, sources=sources())
    even = SimpleNamespace(
        features={name: torch.zeros(16, 4) for name in ("audio", "visual")},
        audio_logits=torch.zeros(16, 4),
        visual_logits=torch.zeros(16, 4),
    )
    (each,) = objective.passes(step_on(model, teach=lambda name: even))
    assert (each.coefficients["audio_scale"], each.coefficients["visual_scale"]) == (1, 1)
