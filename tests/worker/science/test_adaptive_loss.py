from typing import Any

import pytest
import torch
import torch.nn.functional as F
from jaxtyping import jaxtyped
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from worker.science.adaptive_loss import AdaptiveLossTerms, adaptive_loss, balanced_divergence, fusion_weight
from worker.science.gap import modality_gap

BALANCED: dict[str, float] = {"balanced_mean": 0.05, "balanced_variance": 0.06}


def _batch(count: int = 12, classes: int = 4, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = [2 * torch.randn(count, classes, dtype=torch.float64, generator=generator) for _ in range(3)]
    labels = torch.randint(classes, (count,), generator=generator)
    posterior = torch.rand(count, dtype=torch.float64, generator=generator)
    return logits[0], logits[1], logits[2], labels, posterior


def _loss(batch: tuple[Tensor, ...], **options: Any) -> AdaptiveLossTerms:
    return adaptive_loss(*batch, **(BALANCED | options))  # type: ignore[arg-type]


def test_loss_equals_the_formula_written_out_in_plain_python() -> None:
    fused, audio, visual, labels, r = _batch()
    terms = _loss((fused, audio, visual, labels, r), alpha=0.7, lambda_=0.9, kappa=1.3, beta=0.2)
    gaps = modality_gap(audio, visual, labels).tolist()
    losses = [F.cross_entropy(logits, labels, reduction="none").tolist() for logits in (fused, audio, visual)]
    count, weights = len(gaps), r.tolist()
    expected = 0.0
    for i in range(count):
        expected += (1 + 0.7 * (1 - weights[i])) * losses[0][i] + losses[1][i] + losses[2][i]
        expected += 0.9 * (1 + 1.3 * weights[i]) * abs(gaps[i])
    mean = sum(w * g for w, g in zip(weights, gaps, strict=True)) / sum(weights)
    variance = sum(w * (g - mean) ** 2 for w, g in zip(weights, gaps, strict=True)) / sum(weights)
    assert variance > 0.04
    ratio = torch.tensor(0.06 / variance).log().item()
    kl = 0.5 * (ratio + (variance + (mean - 0.05) ** 2) / 0.06 - 1)
    assert terms.total.item() == pytest.approx(expected / count + 0.2 * kl, abs=1e-7)


def test_terms_sum_to_the_total() -> None:
    terms = _loss(_batch())
    parts = (terms.fused, terms.audio, terms.visual, terms.gap, terms.kl)
    torch.testing.assert_close(terms.total, torch.stack(parts).sum())
    assert all(part.item() > 0 for part in parts)


def test_without_coefficients_the_loss_is_the_sum_of_cross_entropies() -> None:
    fused, audio, visual, labels, r = _batch()
    terms = _loss((fused, audio, visual, labels, r), alpha=0.0, lambda_=0.0, beta=0.0)
    expected = F.cross_entropy(fused, labels) + F.cross_entropy(audio, labels) + F.cross_entropy(visual, labels)
    assert terms.total.item() == pytest.approx(expected.item(), abs=1e-12)


def test_the_order_of_the_batch_changes_nothing() -> None:
    batch = _batch(64)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(1))
    shuffled = tuple(part[order] for part in batch)
    assert _loss(shuffled).total.item() == pytest.approx(_loss(batch).total.item(), abs=1e-6)


def test_gradients_are_those_of_finite_differences_away_from_gap_zero() -> None:
    fused, audio, visual, labels, r = _batch(6, 3)
    assert modality_gap(audio, visual, labels).abs().min() > 1e-3
    inputs = tuple(logits.clone().requires_grad_() for logits in (fused, audio, visual))
    tails = torch.stack([0.6 * r, 0.4 * r], dim=1) * 4
    for options in ({}, {"tails": tails.clamp(max=1)}, {"variance_floor": 1e-3, "beta": 2.0}):
        assert torch.autograd.gradcheck(
            lambda f, a, v, o=options: _loss((f, a, v, labels, r), **o).total, inputs, atol=1e-7
        )


def test_posterior_and_tails_receive_no_gradient() -> None:
    fused, audio, visual, labels, r = _batch()
    r.requires_grad_()
    tails = torch.stack([r, 1 - r], dim=1).detach().requires_grad_()
    audio.requires_grad_()
    _loss((fused, audio, visual, labels, r), tails=tails).total.backward()
    assert r.grad is None
    assert tails.grad is None
    assert audio.grad is not None


def _alone(term: str, gap_gradient: str) -> tuple[Tensor, Tensor]:
    """Gradients of one term with respect to (audio, visual) logits, one row a sample."""
    fused, audio, visual, labels, r = _batch()
    inputs = (audio.requires_grad_(), visual.requires_grad_())
    terms = _loss((fused, *inputs, labels, r), gap_gradient=gap_gradient)
    gradients = torch.autograd.grad(getattr(terms, term), inputs)
    return gradients[0].abs().sum(dim=1), gradients[1].abs().sum(dim=1)


@pytest.mark.parametrize("term", ["gap", "kl"])
def test_weaker_gives_the_leading_branch_no_gradient_and_both_gives_it_some(term: str) -> None:
    _, audio, visual, labels, _ = _batch()
    audio_leads = modality_gap(audio, visual, labels) > 0
    assert 0 < int(audio_leads.sum()) < len(labels)
    audio_gradient, visual_gradient = _alone(term, "weaker")
    assert torch.equal(audio_gradient == 0, audio_leads)
    assert torch.equal(visual_gradient == 0, ~audio_leads)
    for gradient in _alone(term, "both"):
        assert bool((gradient > 0).all())


def test_weaker_changes_no_value() -> None:
    assert _loss(_batch(), gap_gradient="weaker").total.item() == _loss(_batch()).total.item()


def test_divergence_equals_that_of_torch_above_the_floor() -> None:
    gaps = torch.linspace(-0.9, 0.8, 20, dtype=torch.float64)
    r = torch.linspace(0.1, 1.0, 20, dtype=torch.float64)
    mean = (r * gaps).sum() / r.sum()
    variance = (r * (gaps - mean) ** 2).sum() / r.sum()
    assert variance > 0.04
    expected = kl_divergence(Normal(mean, variance.sqrt()), Normal(torch.tensor(-0.1), torch.tensor(0.3)))
    actual = balanced_divergence(gaps, r, -0.1, 0.09, variance_floor=0.04)
    assert actual.item() == pytest.approx(expected.item(), abs=1e-7)


def test_both_variances_are_floored() -> None:
    gaps = torch.full((8,), 0.5, dtype=torch.float64)
    actual = balanced_divergence(gaps, torch.ones(8, dtype=torch.float64), 0.1, 1e-4, variance_floor=0.04)
    assert actual.item() == pytest.approx(0.5 * 0.4**2 / 0.04)


def test_divergence_is_never_clamped_so_its_gradient_lives_far_away() -> None:
    gaps = torch.full((8,), 0.99, dtype=torch.float64, requires_grad=True)
    far = balanced_divergence(gaps, torch.ones(8, dtype=torch.float64), -0.9, 0.001, variance_floor=0.001)
    far.backward()
    assert far.item() > 1_000
    assert gaps.grad is not None
    assert bool((gaps.grad > 1).all())


@pytest.mark.parametrize("each", [0.0, 0.249])
def test_divergence_and_its_gradient_are_zero_where_fewer_than_two_are_expected(each: float) -> None:
    gaps = torch.linspace(-0.5, 0.9, 8, requires_grad=True)
    term = balanced_divergence(gaps, torch.full((8,), each), 0.0, 0.05, variance_floor=0.04)
    term.backward()
    assert term.item() == 0
    assert gaps.grad is not None
    assert torch.equal(gaps.grad, torch.zeros(8))


def test_tails_are_apart_and_added_so_that_they_do_not_cancel() -> None:
    audio = torch.tensor([[3.0, 0.0]] * 4 + [[-3.0, 0.0]] * 4, dtype=torch.float64)
    labels = torch.zeros(8, dtype=torch.int64)
    r = torch.ones(8, dtype=torch.float64)
    is_audio = torch.tensor([1.0] * 4 + [0.0] * 4, dtype=torch.float64)
    tails = torch.stack([is_audio, 1 - is_audio], dim=1)
    batch = (audio, audio, -audio, labels, r)
    apart = _loss(batch, tails=tails, beta=1.0)
    gaps = modality_gap(audio, -audio, labels)
    expected = sum(balanced_divergence(gaps, tail, 0.05, 0.06, variance_floor=0.04).item() for tail in tails.unbind(1))
    assert apart.kl.item() == pytest.approx(expected)
    assert balanced_divergence(gaps, r, 0.05, 0.06, variance_floor=10.0).item() < 0.01  # together: means cancel


def test_balanced_samples_weigh_more_in_the_fusion_loss() -> None:
    r = torch.tensor([0.0, 0.5, 1.0], requires_grad=True)
    weights = fusion_weight(r, 2.0)
    assert weights.tolist() == [3.0, 2.0, 1.0]
    assert not weights.requires_grad


def test_a_float64_posterior_fits_float32_logits() -> None:
    fused, audio, visual, labels, r = _batch()
    terms = _loss((fused.float(), audio.float(), visual.float(), labels, r))
    assert terms.total.dtype == torch.float32


@pytest.mark.parametrize("options", [
    {"alpha": -0.1}, {"lambda_": -1.0}, {"kappa": float("nan")}, {"beta": -1e-9}, {"variance_floor": 0.0},
])  # fmt: skip
def test_coefficients_out_of_bounds_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected"):
        _loss(_batch(), **options)


def test_an_empty_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        _loss(tuple(part[:0] for part in _batch()))


def test_annotations_of_shape_are_checked_in_tests() -> None:
    from beartype import beartype
    from beartype.roar import BeartypeCallHintViolation
    from jaxtyping import TypeCheckError

    unchecked = balanced_divergence
    while hasattr(unchecked, "__wrapped__"):
        unchecked = unchecked.__wrapped__
    checked = jaxtyped(typechecker=beartype)(unchecked)
    with pytest.raises((TypeCheckError, BeartypeCallHintViolation)):
        checked(torch.zeros(4), torch.zeros(5), 0.0, 0.1, variance_floor=0.04)
