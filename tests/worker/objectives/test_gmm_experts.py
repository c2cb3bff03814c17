import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.worker.objectives.stepping import set_up, step_on, tiny_model
from tests.worker.objectives.test_masking import two_tails, view
from worker.objectives.experts import certainty_weights
from worker.objectives.gmm_experts import GmmExperts
from worker.objectives.masking import GmmMasking


def made(cls=GmmExperts):
    objective = cls(warm_up_epochs=1, strength=1.0, guidance="posterior")
    model = tiny_model(objective)
    set_up(objective, model)
    return objective, model


@pytest.mark.parametrize("epoch", [1, 2])
def test_its_loss_is_that_of_gmm_masking(epoch):
    losses = []
    for cls in (GmmExperts, GmmMasking):
        objective, model = made(cls)
        objective.plan_epoch(view(epoch, two_tails()))
        (each,) = objective.passes(step_on(model, audio=4.0, visual=0.5))
        losses.append({name: float(term.detach()) for name, term in each.terms.items()})
    assert losses[0] == pytest.approx(losses[1])


def test_its_prediction_is_the_mixture_of_its_heads():
    _, model = made()
    output = step_on(model, audio=2.0, visual=0.5).output
    weights = certainty_weights(output.audio_logits, output.visual_logits)
    mixed = weights[:, [0]] * output.audio_logits.softmax(dim=1) + weights[:, [1]] * output.visual_logits.softmax(dim=1)
    torch.testing.assert_close(output.fused_logits.exp(), mixed)


def test_its_fused_term_reaches_the_joint_layer_and_not_the_heads():
    objective, model = made()
    objective.plan_epoch(view(1, np.zeros(600, np.float32)))
    step = step_on(model)
    (each,) = objective.passes(step)
    joint = model.fusion.joint
    assert torch.autograd.grad(each.terms["fused"], [joint.linear.weight], retain_graph=True)[0].abs().sum() > 0
    heads = list(model.heads.parameters())
    assert torch.autograd.grad(each.terms["fused"], heads, allow_unused=True, retain_graph=True) == (None,) * len(heads)
    by_hand = F.cross_entropy(joint(step.output.features["audio"], step.output.features["visual"]), step.labels)
    torch.testing.assert_close(each.terms["fused"], by_hand)
