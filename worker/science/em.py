"""Expectation maximisation for one-dimensional Gaussian mixtures, fast enough to run after each epoch.

The updates, `reg_covar` and the stopping rule are those of scikit-learn's GaussianMixture (a test holds
them equal, step by step). scikit-learn itself takes seconds for 100,000 values; here EM first runs on a
histogram, whose bins carry their exact count, sum and sum of squares, and then on the values themselves until
it stops again. This module must not know what the values are or what a component is called.

Shapes: N values, M points (values or bins), K components.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

REG_COVAR = 1e-4
"""Added to each variance at each step. Source: paper's choice of library, our choice of value."""
TOLERANCE = 1e-6
"""EM on the values stops when the mean log-likelihood changes by less (scikit-learn's `tol`). Ours."""
BIC_TOLERANCE = 2e-4
"""EM on the bins stops when a step changes the BIC, 2 N times the mean log-likelihood, by less. Tight, since
overlapping components creep; not tighter, since 10 is what counts in a BIC. Ours."""
NUM_BINS = 1_024
MAX_BINNED_STEPS = 4_000
MAX_EXACT_STEPS = 50
NUM_COLD_STARTS = 8
NUM_LLOYD_STEPS = 10
SHORT_RUN_STEPS = 40
"""Steps that each cold start gets before only the likeliest goes on (short-run EM, Biernacki et al. 2003)."""


@dataclass(frozen=True, eq=False)
class Components:
    """Weights, means and variances of K Gaussians, each (K,) float64, in no particular order."""

    weights: FloatArray
    means: FloatArray
    variances: FloatArray


@dataclass(frozen=True, eq=False)
class Points:
    """What EM runs on: M places and the moments that each stands for.

    Attributes:
        places: (M,), where a point's densities are evaluated (a bin's mean).
        moments: (M, 3), count, sum and sum of squares of the values that a point stands for.
    """

    places: FloatArray
    moments: FloatArray

    @property
    def num_values(self) -> float:
        """Number of values that all points stand for."""
        return float(self.moments[:, 0].sum())


@dataclass(frozen=True, eq=False)
class EmResult:
    """Where EM stopped.

    Attributes:
        components: the parameters after the last step.
        mean_log_likelihood: of those parameters, per value, natural logarithm.
        converged: the last step changed the mean log-likelihood by less than the tolerance.
        num_steps: steps taken.
    """

    components: Components
    mean_log_likelihood: float
    converged: bool
    num_steps: int


def exact_points(values: FloatArray) -> Points:
    """Return one point for each value. Source: ours."""
    return Points(values, np.stack([np.ones_like(values), values, values * values], axis=1))


def binned_points(values: FloatArray, num_bins: int = NUM_BINS) -> Points:
    """Return one point for each occupied bin of equal width between the smallest and the largest value.

    Args:
        values: (N,), float64, finite, not all equal.
        num_bins: number of bins.

    Source: ours.
    """
    low, high = float(values.min()), float(values.max())
    rows = np.minimum(((values - low) * (num_bins / (high - low))).astype(np.int64), num_bins - 1)
    powers = (np.ones_like(values), values, values * values)
    moments = np.stack([np.bincount(rows, power, num_bins).astype(np.float64) for power in powers], axis=1)
    moments = moments[moments[:, 0] > 0]
    return Points(moments[:, 1] / moments[:, 0], moments)


def log_joint(places: FloatArray, components: Components) -> FloatArray:
    """Return ln(weight_k N(x | mean_k, variance_k)), shape (K, M). Source: textbook."""
    variances = components.variances[:, None]
    constant = np.log(components.weights)[:, None] - 0.5 * np.log(2 * np.pi * variances)
    return constant - (places - components.means[:, None]) ** 2 / (2 * variances)


def responsibilities(places: FloatArray, components: Components) -> tuple[FloatArray, FloatArray]:
    """Return the responsibilities (K, M), in [0, 1], and the log-density (M,). Source: textbook."""
    joint = log_joint(places, components)
    largest = joint.max(axis=0)
    joint -= largest
    np.exp(joint, out=joint)
    total = joint.sum(axis=0)
    joint /= total
    return joint, largest + np.log(total)


def maximise(points: Points, shares: FloatArray) -> Components:
    """Return the components that responsibilities (K, M) call for. Source: scikit-learn's M step."""
    sums = shares @ points.moments
    counts = sums[:, 0] + 10 * np.finfo(np.float64).eps
    means = sums[:, 1] / counts
    variances = np.maximum(sums[:, 2] / counts - means * means, 0.0) + REG_COVAR
    return Components(counts / counts.sum(), means, variances)


def run_em(points: Points, start: Components, *, max_steps: int, tolerance: float = TOLERANCE) -> EmResult:
    """Return where EM from `start` stops, by scikit-learn's updates and its stopping rule.

    Args:
        points: the data.
        start: the first parameters.
        max_steps: most steps to take, at least 1.
        tolerance: stop when the mean log-likelihood changes by less.

    Source: scikit-learn, GaussianMixture.fit_predict.
    """
    counts, num_values = points.moments[:, 0], points.num_values
    components, previous, converged, num_steps = start, -np.inf, False, 0
    while num_steps < max_steps and not converged:
        shares, log_density = responsibilities(points.places, components)
        components = maximise(points, shares)
        likelihood = float(log_density @ counts) / num_values
        converged = abs(likelihood - previous) < tolerance
        previous = likelihood
        num_steps += 1
    _, log_density = responsibilities(points.places, components)
    return EmResult(components, float(log_density @ counts) / num_values, converged, num_steps)


def cold_starts(points: Points, num_components: int, seed: int) -> list[Components]:
    """Return NUM_COLD_STARTS first guesses: groups of equal size, then k-means++ with and without k-means.

    Source: ours.
    """
    generator = np.random.default_rng(seed)
    order = np.argsort(points.places, kind="stable")
    before = np.cumsum(points.moments[order, 0]) - points.moments[order, 0]
    groups = np.empty(len(order), dtype=np.int64)
    groups[order] = np.minimum(before * num_components / points.num_values, num_components - 1).astype(np.int64)
    starts = [_from_groups(points, groups, num_components)]
    while len(starts) < NUM_COLD_STARTS:
        centres = _spread_centres(points, num_components, generator)
        # Every second start goes on to k-means, scikit-learn's own; the others stay wilder.
        for _ in range(1 + NUM_LLOYD_STEPS * (len(starts) % 2)):
            groups = np.abs(points.places[None, :] - centres[:, None]).argmin(axis=0)
            start = _from_groups(points, groups, num_components)
            centres = start.means
        starts.append(start)
    return starts


def _from_groups(points: Points, groups: npt.NDArray[np.int64], num_components: int) -> Components:
    """Return the components of a hard assignment of each point."""
    shares = (groups[None, :] == np.arange(num_components)[:, None]).astype(np.float64)
    return maximise(points, shares)


def _spread_centres(points: Points, num_components: int, generator: np.random.Generator) -> FloatArray:
    """Return k-means++ centres (K,): each next one is drawn in proportion to its squared distance."""
    counts = points.moments[:, 0]
    chosen = [generator.choice(points.places, p=counts / counts.sum())]
    while len(chosen) < num_components:
        distance = ((points.places[None, :] - np.array(chosen)[:, None]) ** 2).min(axis=0) * counts
        total = distance.sum()
        chances = distance / total if total > 0 else counts / counts.sum()
        chosen.append(generator.choice(points.places, p=chances))
    return np.array(chosen)


def fit_components(
    values: FloatArray, binned: Points, *, num_components: int, seed: int, warm_start: Components | None
) -> EmResult:
    """Return the likelier of the fit from `warm_start` and the best seeded cold fit.

    Args:
        values: (N,), float64, finite.
        binned: the same values as `binned_points`.
        num_components: K; 1 has a closed form.
        seed: of the cold starts.
        warm_start: the last epoch's components, or None.

    Source: warm and cold, the likelier kept: ours. EM: scikit-learn.
    """
    exact = exact_points(values)
    if num_components == 1:
        only = maximise(exact, np.ones((1, len(values))))
        return run_em(exact, only, max_steps=2, tolerance=np.inf)
    points = exact if len(values) <= NUM_BINS else binned
    cold = cold_starts(points, num_components, seed)
    short = [run_em(points, start, max_steps=SHORT_RUN_STEPS) for start in cold]
    starts = [max(short, key=lambda result: result.mean_log_likelihood).components]
    if warm_start is not None:
        starts.insert(0, warm_start)  # first, so that a tie keeps the order of the last epoch
    tolerance = BIC_TOLERANCE / (2 * len(values))
    fits = [run_em(points, s, max_steps=MAX_BINNED_STEPS, tolerance=tolerance) for s in starts]
    best = max(fits, key=lambda result: result.mean_log_likelihood)
    return run_em(exact, best.components, max_steps=MAX_EXACT_STEPS)
