import torch

from tests.worker.objectives.stepping import step_on, tiny_model
from worker.objectives.late_average import LateAverage


def test_the_fused_logits_are_the_mean_of_both_heads_and_split_into_their_halves():
    output = step_on(tiny_model(LateAverage()), audio=3.0).output
    torch.testing.assert_close(output.fused_logits, (output.audio_logits + output.visual_logits) / 2)
    torch.testing.assert_close(sum(output.split_logits), output.fused_logits)


def test_each_loss_reaches_its_own_encoder_and_head_alone():
    model = tiny_model(LateAverage())
    (each,) = LateAverage().passes(step := step_on(model))
    assert set(each.terms) == {"audio", "visual"}
    for name, other in (("audio", "visual"), ("visual", "audio")):
        own, foreign = torch.autograd.grad(
            each.terms[name],
            [step.output.features[name], step.output.features[other]],
            retain_graph=True,
            allow_unused=True,
        )
        assert own.abs().sum() > 0
        assert foreign is None
        assert torch.autograd.grad(each.terms[name], [model.heads[name].weight], retain_graph=True)[0].abs().sum() > 0
