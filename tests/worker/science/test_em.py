import numpy as np
import pytest
from sklearn.mixture import GaussianMixture

from worker.science import em


def _values(count: int = 4_000) -> em.FloatArray:
    generator = np.random.default_rng(3)
    is_tail = generator.random(count) < 0.35
    gaps = np.where(is_tail, generator.normal(0.6, 0.15, count), generator.normal(0.05, 0.2, count))
    return gaps.clip(-1, 1)


def _sklearn(start: em.Components, tolerance: float, max_steps: int) -> GaussianMixture:
    return GaussianMixture(
        len(start.means),
        reg_covar=em.REG_COVAR,
        tol=tolerance,
        max_iter=max_steps,
        weights_init=start.weights,
        means_init=start.means[:, None],
        precisions_init=1 / start.variances[:, None, None],
    )


STARTS = [
    em.Components(np.array([0.5, 0.5]), np.array([-0.3, 0.4]), np.array([0.1, 0.1])),
    em.Components(np.array([0.2, 0.5, 0.3]), np.array([-0.5, 0.0, 0.5]), np.array([0.1, 0.05, 0.02])),
]


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("tolerance", [1e-3, 1e-5])
def test_em_equals_scikit_learn_from_the_same_start_step_by_step(start: em.Components, tolerance: float) -> None:
    values = _values()
    ours = em.run_em(em.exact_points(values), start, max_steps=2_000, tolerance=tolerance)
    theirs = _sklearn(start, tolerance, 2_000).fit(values[:, None])
    assert ours.num_steps == theirs.n_iter_
    assert ours.converged
    np.testing.assert_allclose(ours.components.weights, theirs.weights_, atol=1e-9)
    np.testing.assert_allclose(ours.components.means, theirs.means_[:, 0], atol=1e-9)
    np.testing.assert_allclose(ours.components.variances, theirs.covariances_[:, 0, 0], atol=1e-9)
    assert ours.mean_log_likelihood == pytest.approx(theirs.score(values[:, None]), abs=1e-12)


@pytest.mark.parametrize("num_components", [2, 3])
def test_a_fit_through_bins_is_where_scikit_learn_would_stay(num_components: int) -> None:
    values = _values(20_000)
    fit = em.fit_components(values, em.binned_points(values), num_components=num_components, seed=0, warm_start=None)
    stayed = _sklearn(fit.components, em.TOLERANCE, 100).fit(values[:, None])
    assert stayed.n_iter_ == 2  # the fewest that its stopping rule allows
    np.testing.assert_allclose(stayed.means_[:, 0], fit.components.means, atol=2e-3)
    np.testing.assert_allclose(stayed.covariances_[:, 0, 0], fit.components.variances, atol=2e-3)
    np.testing.assert_allclose(stayed.weights_, fit.components.weights, atol=2e-3)


def test_a_two_component_fit_is_as_likely_as_scikit_learns_own() -> None:
    values = _values(20_000)
    fit = em.fit_components(values, em.binned_points(values), num_components=2, seed=0, warm_start=None)
    theirs = GaussianMixture(2, reg_covar=em.REG_COVAR, random_state=0, tol=1e-6, max_iter=1_000, n_init=3)
    assert fit.mean_log_likelihood >= theirs.fit(values[:, None]).score(values[:, None]) - 1e-5


def test_likelihood_never_falls_as_far_as_the_regularisation_allows() -> None:
    points = em.exact_points(_values())
    likelihoods = [
        em.run_em(points, STARTS[1], max_steps=steps, tolerance=0.0).mean_log_likelihood for steps in range(1, 30)
    ]
    assert min(np.diff(likelihoods)) > -1e-6


def test_bins_keep_count_sum_and_sum_of_squares() -> None:
    values = _values()
    points = em.binned_points(values)
    assert len(points.places) <= em.NUM_BINS
    np.testing.assert_allclose(points.moments.sum(axis=0), [len(values), values.sum(), (values**2).sum()])


def test_the_likelier_of_warm_and_cold_is_kept() -> None:
    values = _values()
    binned = em.binned_points(values)
    cold = em.fit_components(values, binned, num_components=2, seed=0, warm_start=None)
    trap = em.Components(np.array([0.999, 0.001]), np.array([0.25, 0.25]), np.array([0.1, 0.1]))
    both = em.fit_components(values, binned, num_components=2, seed=0, warm_start=trap)
    assert both.mean_log_likelihood == pytest.approx(cold.mean_log_likelihood, abs=1e-6)


def test_equal_seeds_give_equal_fits() -> None:
    values = _values()
    first, second = (
        em.fit_components(values, em.binned_points(values), num_components=3, seed=7, warm_start=None) for _ in range(2)
    )
    assert np.array_equal(first.components.means, second.components.means)


def test_values_on_two_atoms_fit_without_warning() -> None:
    values = np.repeat([0.0, 1.0], [30, 20]).astype(np.float64)
    fit = em.fit_components(values, em.binned_points(values), num_components=3, seed=0, warm_start=None)
    assert np.isfinite(fit.mean_log_likelihood)
    assert (fit.components.variances >= em.REG_COVAR).all()


def test_regularisation_is_that_of_the_method() -> None:
    assert em.REG_COVAR == 1e-4
