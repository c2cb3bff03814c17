import pytest
import torch

from tests.worker.objectives.stepping import step_on, tiny_model
from worker.objectives.mmcosine import MmCosine, cosines


def cosine_model(scale=10.0):
    """A cosine head that reads class c from feature c."""
    model = tiny_model(objective := MmCosine(scale=scale))
    with torch.no_grad():
        model.fusion.audio.weight.copy_(torch.eye(4))
        model.fusion.visual.weight.copy_(torch.eye(4))
    return objective, model


def coefficients(strengths, **fields):
    objective, model = cosine_model()
    (each,) = objective.passes(step_on(model, audio=strengths[0], visual=strengths[1], **fields))
    return {name: float(value) for name, value in each.coefficients.items()}


def test_cosines_by_hand():
    features, weight = torch.tensor([[3.0, 4.0], [0.0, 0.0]]), torch.tensor([[2.0, 0.0], [0.0, 5.0]])
    torch.testing.assert_close(cosines(features, weight), torch.tensor([[0.6, 0.8], [0.0, 0.0]]))


def test_the_length_of_one_modalitys_features_changes_nothing():
    _, model = cosine_model()
    step = step_on(model)
    longer = {**step.output.features, "audio": 50 * step.output.features["audio"]}
    torch.testing.assert_close(step.outputs(longer).fused_logits, step.output.fused_logits)


def test_the_parts_are_scaled_cosines_and_add_up():
    _, model = cosine_model(scale=3.0)
    output = step_on(model, audio=5.0).output
    torch.testing.assert_close(sum(output.split_logits), output.fused_logits)
    torch.testing.assert_close(output.split_logits[0], 3 * cosines(output.features["audio"], torch.eye(4)))


@pytest.mark.parametrize(("strengths", "ahead", "behind"), [((3, 0), "audio", "visual"), ((0, 3), "visual", "audio")])
def test_a_planted_advantage_shows_in_the_cosine_with_the_true_class(strengths, ahead, behind):
    found = coefficients(strengths)
    assert found[f"{ahead}_cosine"] > 0.9
    assert abs(found[f"{behind}_cosine"]) < 0.5


def test_swapping_the_modalities_swaps_the_cosines():
    first, second = coefficients((3, 0.5)), coefficients((0.5, 3), swap_noise=True)
    assert first["audio_cosine"] == pytest.approx(second["visual_cosine"])
    assert first["visual_cosine"] == pytest.approx(second["audio_cosine"])


def test_absent_features_give_finite_gradients():
    _, model = cosine_model()
    step = step_on(model)
    features = {**step.output.features, "audio": torch.zeros(16, 4, requires_grad=True)}
    step.cross_entropy(step.outputs(features).fused_logits).backward()
    assert torch.isfinite(features["audio"].grad).all()
