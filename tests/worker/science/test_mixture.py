import time

import numpy as np
import pytest
from sklearn.mixture import GaussianMixture

from worker.science import mixture
from worker.science.em import REG_COVAR, Components, FloatArray
from worker.science.gap import NonFiniteGapError
from worker.science.mixture import MixtureParameters, ashman_d, density, fit_mixture, fit_mixtures, num_modes
from worker.science.posterior import posterior

PAPER = ("balanced", "imbalanced")
SIGNED = ("audio_dominant", "balanced", "visual_dominant")


def _planted(seed: int, *groups: tuple[int, float, float]) -> FloatArray:
    generator = np.random.default_rng(seed)
    return np.concatenate([generator.normal(mean, deviation, count) for count, mean, deviation in groups])


def _three_groups(seed: int, count: int = 2_000) -> FloatArray:
    tail = count * 3 // 10
    return _planted(seed, (count - 2 * tail, 0.0, 0.15), (tail, 0.7, 0.12), (tail, -0.7, 0.12)).clip(-1, 1)


def test_planted_parameters_are_recovered_with_their_roles() -> None:
    fit = fit_mixture(_planted(0, (14_000, 0.05, 0.15), (6_000, 0.7, 0.1)), num_components=2, seed=0)
    assert fit.parameters is not None
    assert fit.parameters.roles == PAPER
    np.testing.assert_allclose(fit.parameters.weights, [0.7, 0.3], atol=0.01)
    np.testing.assert_allclose(fit.parameters.means, [0.05, 0.7], atol=0.01)
    np.testing.assert_allclose(np.sqrt(fit.parameters.variances - REG_COVAR), [0.15, 0.1], atol=0.01)
    assert fit.converged
    assert fit.bimodal
    assert fit.verdict == "bimodal"
    assert fit.num_modes == 2
    assert fit.smaller_weight == pytest.approx(0.3, abs=0.01)
    assert fit.ashman_d == pytest.approx(np.sqrt(2) * 0.65 / np.hypot(0.15, 0.1), rel=0.03)


def test_signed_mixture_recovers_both_tails() -> None:
    fit = fit_mixture(_three_groups(0, 20_000), num_components=3, seed=0)
    assert fit.parameters is not None
    assert fit.parameters.roles == SIGNED
    np.testing.assert_allclose(fit.parameters.means, [0.7, 0.0, -0.7], atol=0.02)
    np.testing.assert_allclose(fit.parameters.weights, [0.3, 0.4, 0.3], atol=0.02)
    assert fit.verdict == "three components"
    assert fit.num_modes == 3


def test_mixture_equals_scikit_learn_on_the_same_data() -> None:
    gaps = _planted(1, (3_000, 0.0, 0.15), (2_000, -0.65, 0.12))
    pair = fit_mixtures(gaps, seed=0)
    assert pair.paper.parameters is not None
    theirs = GaussianMixture(2, reg_covar=REG_COVAR, random_state=0, tol=1e-9, max_iter=1_000).fit(gaps[:, None])
    order = np.argsort(np.abs(theirs.means_[:, 0]))
    np.testing.assert_allclose(pair.paper.parameters.means, theirs.means_[order, 0], atol=1e-3)
    np.testing.assert_allclose(pair.paper.parameters.variances, theirs.covariances_[order, 0, 0], atol=1e-3)
    np.testing.assert_allclose(pair.paper.parameters.weights, theirs.weights_[order], atol=1e-3)
    assert pair.paper.bic[2] == pytest.approx(theirs.bic(gaps[:, None]), abs=0.1)
    one = GaussianMixture(1, reg_covar=REG_COVAR).fit(gaps[:, None])
    assert pair.paper.bic[1] == pytest.approx(one.bic(gaps[:, None]), abs=1e-6)
    assert pair.signed.bic == pair.paper.bic


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("a", "b"), [(2, 5), (2, 8), (5, 2), (1, 3)])
def test_skewed_beta_data_of_one_mode_are_not_bimodal(seed: int, a: float, b: float) -> None:
    gaps = np.random.default_rng(seed).beta(a, b, 5_000) * 2 - 1
    fit = fit_mixture(gaps, num_components=2, seed=seed)
    assert not fit.bimodal
    assert fit.verdict == "unimodal"


@pytest.mark.parametrize("seed", range(3))
def test_the_signed_mixture_does_not_call_beta_data_bimodal_either(seed: int) -> None:
    gaps = np.random.default_rng(seed).beta(2, 5, 50_000) * 2 - 1
    fit = fit_mixture(gaps, num_components=3, seed=seed)
    assert not fit.bimodal
    assert fit.verdict == "unimodal"


@pytest.mark.parametrize("seed", range(4))
def test_laplace_data_are_not_bimodal(seed: int) -> None:
    gaps = np.random.default_rng(seed).laplace(0.0, 0.15, 5_000).clip(-1, 1)
    pair = fit_mixtures(gaps, seed=seed)
    assert not pair.paper.bimodal
    assert not pair.signed.bimodal
    assert pair.paper.verdict == pair.signed.verdict == "unimodal"


def test_two_components_swallow_a_tail_where_the_signed_mixture_keeps_both() -> None:
    swallowed = 0
    for seed in range(6):
        gaps = _three_groups(seed)
        pair = fit_mixtures(gaps, seed=seed)
        paper, signed = pair.paper.parameters, pair.signed.parameters
        tail_shares = [posterior(gaps[gaps > 0.5], paper).mean(), posterior(gaps[gaps < -0.5], paper).mean()]
        swallowed += min(tail_shares) < 0.5
        assert min(posterior(gaps[gaps > 0.5], signed).mean(), posterior(gaps[gaps < -0.5], signed).mean()) > 0.95
        assert posterior(gaps[np.abs(gaps) < 0.2], signed).mean() < 0.05
        assert pair.paper.verdict == "three components"
    assert swallowed >= 4  # in our simulations 5 of 6


@pytest.mark.parametrize(
    "gaps", [np.linspace(-1, 1, 9), np.zeros(100), np.full(50, 0.3) + 1e-4 * np.arange(50) / 50, np.array([])]
)
def test_few_or_constant_gaps_are_degenerate_and_have_posterior_zero(gaps: FloatArray) -> None:
    pair = fit_mixtures(gaps, seed=0)
    assert pair.paper.verdict == pair.signed.verdict == "degenerate"
    assert pair.paper.parameters is None
    assert not pair.paper.bimodal
    assert np.array_equal(posterior(gaps, None), np.zeros(len(gaps)))


def test_ten_samples_are_enough_to_fit() -> None:
    assert fit_mixture(np.linspace(-1, 1, 10), num_components=2, seed=0).parameters is not None


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_gap_that_is_not_finite_is_an_error(bad: float) -> None:
    gaps = np.linspace(-1, 1, 20)
    gaps[7] = bad
    with pytest.raises(NonFiniteGapError, match="first at row 7"):
        fit_mixture(gaps, num_components=2, seed=0)


@pytest.mark.parametrize(("means", "variances", "expected"), [
    ((0.5, -0.1), (0.01, 0.02), -0.1),
    ((0.110, -0.100), (0.01, 0.02), 0.110),  # a tie: the smaller variance
    ((0.110, -0.100), (0.02, 0.01), -0.100),
    ((0.130, -0.100), (0.01, 0.02), -0.100),  # no tie
])  # fmt: skip
def test_balanced_is_the_smaller_mean_and_a_tie_goes_to_the_smaller_variance(
    means: tuple[float, float], variances: tuple[float, float], expected: float
) -> None:
    named = mixture._with_roles(Components(np.array([0.5, 0.5]), np.array(means), np.array(variances)))
    assert named.roles == PAPER
    assert named.means[0] == expected


def test_two_tails_on_one_side_share_a_role_rather_than_calling_a_small_gap_dominant() -> None:
    gaps = _planted(0, (2_000, -0.02, 0.05), (2_000, -0.5, 0.06), (2_000, -0.9, 0.04))
    fit = fit_mixture(gaps, num_components=3, seed=0)
    assert fit.parameters is not None
    assert fit.parameters.roles == ("balanced", "visual_dominant", "visual_dominant")


def test_a_swap_of_identity_is_reported() -> None:
    # Nothing moved much, but the other component has the smaller |mean| now.
    before = fit_mixture(_planted(0, (2_000, -0.28, 0.05), (2_000, 0.32, 0.05)), num_components=2, seed=0)
    after_gaps = _planted(1, (2_000, -0.32, 0.05), (2_000, 0.28, 0.05))
    after = fit_mixture(after_gaps, num_components=2, seed=1, previous=before.parameters)
    assert not before.identity_swapped
    assert after.identity_swapped


def test_no_swap_is_reported_where_roles_stay() -> None:
    before = fit_mixture(_planted(0, (2_000, 0.0, 0.1), (2_000, 0.6, 0.1)), num_components=2, seed=0)
    gaps = _planted(1, (2_500, 0.0, 0.1), (1_500, 0.5, 0.1))
    assert not fit_mixture(gaps, num_components=2, seed=5, previous=before.parameters).identity_swapped


def test_a_warm_fit_is_never_less_likely_than_a_cold_one() -> None:
    gaps = _three_groups(3)
    cold = fit_mixture(gaps, num_components=2, seed=0)
    trap = MixtureParameters(np.array([0.5, 0.5]), np.array([0.0, 0.0]), np.array([0.3, 0.3]), PAPER)
    warm = fit_mixture(gaps, num_components=2, seed=0, previous=trap)
    assert warm.bic[2] <= cold.bic[2] + 0.01


def test_a_previous_mixture_of_another_size_is_refused() -> None:
    signed = fit_mixture(_three_groups(0), num_components=3, seed=0).parameters
    with pytest.raises(ValueError, match="expected a previous mixture of 2 components"):
        fit_mixture(_three_groups(0), num_components=2, seed=0, previous=signed)


def test_density_integrates_to_one_and_its_modes_are_counted() -> None:
    two = MixtureParameters(np.array([0.5, 0.5]), np.array([-0.4, 0.4]), np.array([0.01, 0.01]), PAPER)
    grid = np.linspace(-3, 3, 60_001)
    assert np.trapezoid(density(grid, two), grid) == pytest.approx(1.0, abs=1e-9)
    assert num_modes(two) == 2
    one = MixtureParameters(np.array([0.5, 0.5]), np.array([-0.05, 0.05]), np.array([0.01, 0.01]), PAPER)
    assert num_modes(one) == 1


def test_a_mode_at_the_end_of_the_range_counts() -> None:
    ends = MixtureParameters(np.array([0.5, 0.5]), np.array([0.0, 1.0]), np.array([0.0002, 0.0002]), PAPER)
    assert num_modes(ends) == 2


def test_ashman_d_equals_a_case_computed_by_hand() -> None:
    assert ashman_d(0.0, 0.01, 0.4, 0.01) == pytest.approx(4.0)  # sqrt(2) 0.4 / sqrt(0.02)


@pytest.mark.parametrize(("bic", "separation", "weight", "modes", "expected"), [
    ({1: 100.0, 2: 89.0, 3: 95.0}, 2.1, 0.05, 2, True),
    ({1: 100.0, 2: 95.0, 3: 89.0}, 2.1, 0.05, 2, True),
    ({1: 100.0, 2: 90.0, 3: 95.0}, 2.1, 0.05, 2, False),
    ({1: 100.0, 2: 80.0, 3: 95.0}, 2.0, 0.05, 2, False),
    ({1: 100.0, 2: 80.0, 3: 95.0}, 2.1, 0.049, 2, False),
    ({1: 100.0, 2: 80.0, 3: 95.0}, 2.1, 0.05, 1, False),
])  # fmt: skip
def test_bimodal_needs_all_four_signs(
    bic: dict[int, float], separation: float, weight: float, modes: int, expected: bool
) -> None:
    assert mixture.is_bimodal(bic, separation, weight, modes) is expected


@pytest.mark.parametrize(("weights", "variances", "roles", "message"), [
    ([0.5, 0.5], [0.1], PAPER, "finite variances"),
    ([0.5, np.nan], [0.1, 0.1], PAPER, "finite weights"),
    ([0.5, 0.5], [0.1, 0.0], PAPER, "positive"),
    ([0.5, 0.5], [0.1, 0.1], ("imbalanced", "imbalanced"), "exactly one balanced"),
])  # fmt: skip
def test_impossible_parameters_are_refused(
    weights: list[float], variances: list[float], roles: tuple[mixture.Role, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        MixtureParameters(np.array(weights), np.array([0.0, 0.5]), np.array(variances), roles)


def test_parameters_cannot_be_changed_in_place() -> None:
    parameters = MixtureParameters(np.array([0.5, 0.5]), np.array([0.0, 0.5]), np.array([0.1, 0.1]), PAPER)
    with pytest.raises(ValueError, match="read-only"):
        parameters.means[0] = 1.0


def test_float32_gaps_from_a_read_only_file_are_taken() -> None:
    gaps = _three_groups(0).astype(np.float32)
    gaps.setflags(write=False)
    assert fit_mixtures(gaps, seed=0).paper.verdict == "three components"


def test_both_mixtures_of_a_hundred_thousand_gaps_take_less_than_half_a_second() -> None:
    gaps = _three_groups(0, 100_000)
    first = fit_mixtures(gaps, seed=0)
    seconds = []
    for seed in range(3):
        start = time.perf_counter()
        fit_mixtures(gaps, seed=seed, previous_paper=first.paper.parameters, previous_signed=first.signed.parameters)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.5
