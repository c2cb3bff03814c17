import numpy as np
import pytest
import torch
from scipy.stats import norm, rankdata

from worker.science.mixture import MixtureParameters
from worker.science.posterior import (
    component_posteriors,
    component_posteriors_tensor,
    posterior,
    posterior_tensor,
    rank_posterior,
    rank_posterior_tensor,
    tail_posteriors_tensor,
)

PAPER = MixtureParameters(
    np.array([0.5, 0.5]), np.array([0.05, 0.8]), np.array([0.35**2, 0.1**2]), ("balanced", "imbalanced")
)
SIGNED = MixtureParameters(
    np.array([0.3, 0.4, 0.3]),
    np.array([0.7, 0.0, -0.7]),
    np.array([0.02, 0.03, 0.02]),
    ("audio_dominant", "balanced", "visual_dominant"),
)
GAPS = np.linspace(-1, 1, 101)


def test_posterior_is_bayes_theorem() -> None:
    balanced, imbalanced = norm.pdf(GAPS, 0.05, 0.35), norm.pdf(GAPS, 0.8, 0.1)
    np.testing.assert_allclose(posterior(GAPS, PAPER), imbalanced / (balanced + imbalanced), atol=1e-12)


def test_posterior_is_not_monotone_so_the_opposite_tail_counts_as_balanced() -> None:
    r = posterior(np.array([-0.95, 0.8]), PAPER)
    assert r[0] < 1e-12
    assert r[1] > 0.8


def test_components_sum_to_one_and_the_signed_posterior_is_all_but_balanced() -> None:
    shares = component_posteriors(GAPS, SIGNED)
    np.testing.assert_allclose(shares.sum(axis=1), 1.0, atol=1e-12)
    np.testing.assert_allclose(posterior(GAPS, SIGNED), 1 - shares[:, 1], atol=1e-12)


def test_far_from_every_component_nothing_underflows() -> None:
    narrow = MixtureParameters(np.array([0.5, 0.5]), np.array([0.0, 0.1]), np.full(2, 1e-4), PAPER.roles)
    assert posterior(np.array([1.0, -1.0]), narrow).tolist() == [1.0, 0.0]


def test_tails_are_audio_then_visual_and_sum_to_the_posterior() -> None:
    gaps = torch.tensor(GAPS)
    tails = tail_posteriors_tensor(gaps, SIGNED)
    torch.testing.assert_close(tails.sum(dim=1), posterior_tensor(gaps, SIGNED))
    assert tails[-1, 0] > 0.99
    assert tails[0, 1] > 0.99


def test_a_side_without_component_has_an_empty_tail() -> None:
    one_sided = MixtureParameters(
        SIGNED.weights, np.array([0.0, -0.5, -0.9]), SIGNED.variances, ("balanced", *(["visual_dominant"] * 2))
    )
    tails = tail_posteriors_tensor(torch.tensor([-0.9, 0.9]), one_sided)
    assert tails[:, 0].tolist() == [0.0, 0.0]
    assert tails[0, 1] > 0.99


def test_a_mixture_without_sides_has_no_tails() -> None:
    with pytest.raises(ValueError, match="expected a signed mixture"):
        tail_posteriors_tensor(torch.tensor([0.0]), PAPER)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_posterior_carries_no_gradient_and_keeps_the_dtype(dtype: torch.dtype) -> None:
    gaps = torch.tensor(GAPS, dtype=dtype, requires_grad=True)
    for r in (posterior_tensor(gaps, PAPER), component_posteriors_tensor(gaps, SIGNED)):
        assert not r.requires_grad
        assert r.dtype == dtype
        assert bool(((r >= 0) & (r <= 1)).all())


def test_rank_is_that_of_scipy_as_a_share() -> None:
    gaps = np.array([0.3, -0.3, 0.1, 0.9, -0.5])
    np.testing.assert_allclose(rank_posterior(gaps), rankdata(np.abs(gaps)) / 5)


def test_rank_against_last_epochs_gaps_stays_within_bounds() -> None:
    reference = torch.linspace(0.1, 0.5, 5)
    ranks = rank_posterior_tensor(torch.tensor([0.0, -0.9]), reference)
    torch.testing.assert_close(ranks, torch.tensor([0.1, 1.0]))


def test_rank_without_reference_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one reference gap"):
        rank_posterior(np.array([]))
