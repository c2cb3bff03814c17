from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from worker.contract.errors import TrainingError
from worker.contract.spec import GmmAdaptive as GmmAdaptiveSpec
from worker.objectives.base import EpochView, Setup, StepView
from worker.objectives.gmm_adaptive import GmmAdaptive
from worker.objectives.joint import Joint
from worker.objectives.multi_head import MultiHead
from worker.science.adaptive_loss import balanced_divergence
from worker.science.gap import modality_gap
from worker.science.mixture import fit_mixtures
from worker.science.posterior import posterior_tensor, rank_posterior, tail_posteriors_tensor

BRANCHES = ("fused", "audio", "visual")


@dataclass
class Logits:
    features: dict
    fused_logits: torch.Tensor
    audio_logits: torch.Tensor
    visual_logits: torch.Tensor
    split_logits: tuple = ()


def step(seed=0, size=32, *, swap=False):
    generator = torch.Generator().manual_seed(seed)
    fused, audio, visual = (torch.randn(size, 4, generator=generator).requires_grad_() for _ in range(3))
    labels = torch.randint(4, (size,), generator=generator)
    audio, visual = (visual, audio) if swap else (audio, visual)
    gaps = modality_gap(audio, visual, labels).detach()
    output = Logits({}, fused, audio, visual)
    return StepView(1, 0, 1, torch.arange(size), labels, output, gaps, torch.Generator())


def adaptive(**fields):
    spec = GmmAdaptiveSpec(**fields)
    objective = GmmAdaptive(**spec.model_dump(exclude={"kind", "gaps"}))
    objective.setup(Setup(8, 4, SimpleNamespace()))
    return objective


def bimodal_gaps(seed=0, size=400):
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(0, 0.05, size // 2), rng.normal(-0.7, 0.1, size // 2)]).astype(np.float32)


def view(epoch, gaps):
    return EpochView(epoch, np.arange(len(gaps)), gaps, fit_mixtures(gaps, seed=0))


def only_pass(objective, view_of_step):
    passes = list(objective.passes(view_of_step))
    assert len(passes) == 1
    return passes[0]


def gradients(objective, view_of_step):
    only_pass(objective, view_of_step).loss.backward()
    return {name: getattr(view_of_step.output, f"{name}_logits").grad for name in BRANCHES}


def test_joint_training_reaches_the_fused_logits_alone():
    found = gradients(Joint(), step())
    assert found["fused"].abs().sum() > 0
    assert found["audio"] is None
    assert found["visual"] is None


@pytest.mark.parametrize("posterior", ["paper", "signed"])
def test_every_term_of_the_adaptive_loss_has_gradient_where_it_is_meant_to(posterior):
    objective = adaptive(posterior=posterior)
    objective.plan_epoch(view(3, bimodal_gaps()))
    terms = only_pass(objective, batch := step()).terms
    reaches = {"fused": {"fused"}, "audio": {"audio"}, "visual": {"visual"}, "gap": {"audio", "visual"}}
    reaches["kl"] = reaches["gap"]
    for name, term in terms.items():
        leaves = {branch: getattr(batch.output, f"{branch}_logits") for branch in BRANCHES}
        found = torch.autograd.grad(term, list(leaves.values()), retain_graph=True, allow_unused=True)
        touched = {b for b, g in zip(leaves, found, strict=True) if g is not None and g.abs().sum() > 0}
        assert touched == reaches[name], name


def test_the_loss_is_the_sum_of_its_terms():
    objective = adaptive()
    objective.plan_epoch(view(3, bimodal_gaps()))
    for each in (only_pass(objective, step()), only_pass(MultiHead(), step())):
        torch.testing.assert_close(sum(each.terms.values()), each.loss)


def test_swapping_the_modalities_swaps_the_gradients():
    gaps = bimodal_gaps()
    found = []
    for swap, sign in ((False, 1), (True, -1)):
        objective = adaptive()
        objective.plan_epoch(view(3, sign * gaps))
        found.append(gradients(objective, step(swap=swap)))
    torch.testing.assert_close(found[0]["audio"], found[1]["visual"])
    torch.testing.assert_close(found[0]["visual"], found[1]["audio"])
    torch.testing.assert_close(found[0]["fused"], found[1]["fused"])


def test_the_posterior_is_that_of_the_current_gap_under_the_last_mixture():
    objective = adaptive(alpha=2.0)
    last = view(3, bimodal_gaps())
    plan = objective.plan_epoch(last)
    batch = step()
    expected = posterior_tensor(batch.gaps, last.mixtures.paper.parameters)
    each = only_pass(objective, batch)
    torch.testing.assert_close(each.loss_weight, 1 + 2.0 * (1 - expected))
    torch.testing.assert_close(each.coefficients["mean_posterior"], expected.mean())
    assert (plan.stage, plan.method["posterior"]) == ("adaptive", "paper")


@pytest.mark.parametrize(("choice", "used"), [("posterior", "paper"), ("rank", "rank")])
def test_when_the_mixture_is_not_bimodal_the_choice_is_used_and_reported(choice, used):
    gaps = np.random.default_rng(0).normal(0, 0.2, 400).clip(-1, 1).astype(np.float32)
    objective = adaptive(when_not_bimodal=choice)
    plan = objective.plan_epoch(view(3, gaps))
    assert plan.method["posterior"] == used
    assert plan.method["mixture_bimodal"] is False
    if used == "rank":
        batch = step()
        together = np.concatenate([gaps])
        weight = only_pass(objective, batch).loss_weight
        largest = int(batch.gaps.abs().argmax())
        assert weight.argmin() == largest
        assert rank_posterior(together).max() <= 1


def test_without_a_mixture_the_posterior_is_zero():
    objective = adaptive(warm_up_epochs=0)
    plan = objective.plan_epoch(EpochView(1, np.arange(4), None, None))
    each = only_pass(objective, step())
    assert (plan.stage, plan.method["posterior"]) == ("adaptive", "none")
    assert (each.loss_weight == 2).all()
    assert each.terms["kl"] == 0


def test_the_warm_up_is_multi_head():
    objective = adaptive(warm_up_epochs=3)
    assert objective.plan_epoch(view(3, bimodal_gaps())).stage == "warm-up"
    torch.testing.assert_close(only_pass(objective, step()).loss, only_pass(MultiHead(), step()).loss, rtol=0, atol=0)
    assert objective.plan_epoch(view(4, bimodal_gaps())).stage == "adaptive"


@pytest.mark.parametrize("fields", [{}, {"posterior": "signed"}, {"when_not_bimodal": "rank"}])
@pytest.mark.parametrize("spread", [0.05, 0.6])
def test_its_state_brings_back_the_same_loss(fields, spread):
    gaps = (bimodal_gaps() * spread).astype(np.float32)
    objective, other = adaptive(**fields), adaptive(**fields)
    objective.plan_epoch(view(3, gaps))
    other.restore(objective.state())
    assert torch.equal(only_pass(objective, step()).loss, only_pass(other, step()).loss)


def test_more_warm_up_than_epochs_is_refused():
    with pytest.raises(TrainingError, match="lower warm_up_epochs"):
        adaptive(warm_up_epochs=9)


def test_class_weights_reach_all_three_cross_entropies_of_the_adaptive_loss():
    objective = adaptive()
    objective.plan_epoch(view(3, bimodal_gaps()))
    plain = only_pass(objective, step()).terms
    weighted = only_pass(objective, replace(step(), class_weights=torch.tensor([4.0, 1.0, 0.5, 0.1]))).terms
    for name in BRANCHES:
        assert not torch.equal(plain[name], weighted[name]), name
    assert torch.equal(plain["gap"], weighted["gap"])


def test_each_coefficient_of_the_adaptive_loss_weighs_its_own_term():
    def terms(**fields):
        objective = adaptive(**{"alpha": 1.0, "lambda_gap": 1.0, "kappa": 1.0, "beta": 1.0, **fields})
        objective.plan_epoch(view(3, bimodal_gaps()))
        return only_pass(objective, step()).terms

    plain = terms()
    moved_by = {"alpha": "fused", "lambda_gap": "gap", "kappa": "gap", "beta": "kl"}
    for field, moved in moved_by.items():
        found = terms(**{field: 2.0})
        assert {name for name in found if not torch.equal(found[name], plain[name])} == {moved}, field


def test_with_the_signed_posterior_each_tail_has_its_own_divergence():
    gaps = np.concatenate([bimodal_gaps(), -bimodal_gaps(1)])
    objective, last = adaptive(posterior="signed", beta=1.0), view(3, gaps)
    objective.plan_epoch(last)
    batch, signed = step(), last.mixtures.signed.parameters
    row = signed.balanced
    balanced = float(signed.means[row]), float(signed.variances[row])
    leaves = modality_gap(batch.output.audio_logits, batch.output.visual_logits, batch.labels)
    tails = tail_posteriors_tensor(batch.gaps, signed).unbind(dim=1)
    expected = sum(balanced_divergence(leaves, tail, *balanced, variance_floor=0.04) for tail in tails)
    together = balanced_divergence(leaves, sum(tails), *balanced, variance_floor=0.04)
    assert not torch.allclose(expected, together)
    torch.testing.assert_close(only_pass(objective, batch).terms["kl"], expected)
