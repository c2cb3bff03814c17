"""Gaussian mixtures of the modality gaps, and whether to believe them.

Two components (paper): balanced and imbalanced. Three components (signed, ours): the imbalanced one has a
tail on either side. A verdict says only how well Gaussians describe the gaps ("two fit better than one, with two
modes"), never that there are two kinds of sample. This module must not know epochs, splits or files.

Shapes: N samples, K components, M grid points.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from jaxtyping import Float, Float64

from worker.science import em
from worker.science.gap import NonFiniteGapError

FloatArray = npt.NDArray[np.float64]
Role = Literal["balanced", "imbalanced", "audio_dominant", "visual_dominant"]
Verdict = Literal["bimodal", "unimodal", "three components", "degenerate"]

MIN_SAMPLES = 10
MIN_VARIANCE = 1e-6
MEAN_TIE = 0.02
"""|mean|s closer than this are a tie, which goes to the smaller variance. Ours."""
CLEAR_BIC = 10.0
"""A BIC lower by more than this is clear evidence (Kass and Raftery 1995: "very strong")."""
CLEAR_ASHMAN_D = 2.0
"""Two Gaussians are cleanly apart above this (Ashman, Bird and Zepf 1994)."""
MIN_WEIGHT = 0.05
NUM_GRID_POINTS = 2_001


@dataclass(frozen=True, eq=False)
class MixtureParameters:
    """A mixture of K Gaussians over the gap, each component with its role.

    Two components: roles (balanced, imbalanced). Three: by falling mean, as a rule (audio_dominant, balanced,
    visual_dominant); a role on one side stands twice where both tails lie on that side of balanced.

    Attributes:
        weights: (K,), float64, in (0, 1], sum 1.
        means: (K,), float64, gap units, -1 to 1.
        variances: (K,), float64, squared gap units, at least REG_COVAR.
        roles: K roles, "balanced" exactly once.

    Raises:
        ValueError: the arrays disagree in length, a variance or weight is not positive, or roles are wrong.
    """

    weights: FloatArray
    means: FloatArray
    variances: FloatArray
    roles: tuple[Role, ...]

    def __post_init__(self) -> None:
        num_components = len(self.roles)
        for name in ("weights", "means", "variances"):
            array = np.array(getattr(self, name), dtype=np.float64)
            if array.shape != (num_components,) or not np.isfinite(array).all():
                raise ValueError(f"expected {num_components} finite {name}, one a role, got {array}")
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        if (self.weights <= 0).any() or (self.variances <= 0).any():
            raise ValueError(f"expected positive weights and variances, got {self.weights}, {self.variances}")
        if self.roles.count("balanced") != 1:
            raise ValueError(f"expected exactly one balanced component, got roles {self.roles}")

    @property
    def balanced(self) -> int:
        """Row of the balanced component."""
        return self.roles.index("balanced")

    @property
    def signed(self) -> bool:
        """True for the signed mixture, whose tails have sides; False for the paper's."""
        return "imbalanced" not in self.roles


@dataclass(frozen=True, eq=False)
class MixtureFit:
    """A mixture, and whether to believe it.

    Attributes:
        parameters: the mixture, or None where the verdict is "degenerate".
        bic: Bayesian information criterion of 1, 2 and 3 components, smaller is better; empty if degenerate.
        ashman_d: Ashman's D of balanced and imbalanced; signed: of balanced and the less separate tail (of weight
            MIN_WEIGHT or more).
        num_modes: local maxima of the density over [-1, 1].
        smaller_weight: of the two components that `ashman_d` compares, 0 to 0.5.
        converged: EM stopped by its tolerance, not by its limit of steps.
        bimodal: see `is_bimodal`; what `when_not_bimodal` asks.
        verdict: "three components" where three Gaussians are clearly better than two and all three are apart, else
            "bimodal" or "unimodal" by `bimodal`; "degenerate" where there is nothing to fit.
        identity_swapped: most samples changed between balanced and not balanced against the previous mixture.
    """

    parameters: MixtureParameters | None
    bic: Mapping[int, float]
    ashman_d: float
    num_modes: int
    smaller_weight: float
    converged: bool
    bimodal: bool
    verdict: Verdict
    identity_swapped: bool


DEGENERATE = MixtureFit(None, {}, 0.0, 0, 0.0, False, False, "degenerate", False)
"""The fit of fewer than MIN_SAMPLES gaps or of gaps that hardly vary: no mixture, posterior 0."""


@dataclass(frozen=True, eq=False)
class MixturePair:
    """The paper's mixture and the signed one, of the same gaps."""

    paper: MixtureFit
    signed: MixtureFit


def fit_mixtures(
    gaps: Float[np.ndarray, " N"],
    *,
    seed: int,
    previous_paper: MixtureParameters | None = None,
    previous_signed: MixtureParameters | None = None,
) -> MixturePair:
    """Return both mixtures of the gaps, at the price of one analysis.

    Args:
        gaps: (N,), float, gap units, -1 to 1.
        seed: of the cold starts.
        previous_paper: the last epoch's two-component mixture, for the warm start.
        previous_signed: the last epoch's signed mixture, for the warm start.

    Raises:
        NonFiniteGapError: a gap is NaN or infinite.
        ValueError: `gaps` has another shape, or a previous mixture has the wrong number of components.

    Source: two components: paper; signed, warm and cold, validity: ours.
    """
    for previous, expected in ((previous_paper, 2), (previous_signed, 3)):
        if previous is not None and len(previous.roles) != expected:
            raise ValueError(f"expected a previous mixture of {expected} components, got {previous.roles}")
    values = _checked(gaps)
    if len(values) < MIN_SAMPLES or float(values.var()) < MIN_VARIANCE:
        return MixturePair(DEGENERATE, DEGENERATE)
    binned = em.binned_points(values)
    results = {
        count: em.fit_components(values, binned, num_components=count, seed=seed, warm_start=_components(previous))
        for count, previous in ((1, None), (2, previous_paper), (3, previous_signed))
    }
    bic = {count: _bic(result, count, len(values)) for count, result in results.items()}
    paper = _with_roles(results[2].components)
    signed = _with_roles(results[3].components)
    three = _three_apart(signed, bic)
    return MixturePair(
        _fit(paper, bic, results[2].converged, three, _is_swapped(binned, paper, previous_paper)),
        _fit(signed, bic, results[3].converged, three, _is_swapped(binned, signed, previous_signed)),
    )


def fit_mixture(
    gaps: Float[np.ndarray, " N"],
    *,
    num_components: Literal[2, 3],
    seed: int,
    previous: MixtureParameters | None = None,
) -> MixtureFit:
    """Return one mixture of the gaps. `fit_mixtures` gives both for the same time.

    Args:
        gaps: (N,), float, gap units, -1 to 1.
        num_components: 2 (paper) or 3 (signed).
        seed: of the cold starts.
        previous: the last epoch's mixture of as many components, for the warm start.

    Raises:
        NonFiniteGapError: a gap is NaN or infinite.
        ValueError: `gaps` has another shape, or `previous` another number of components.

    Source: two components: paper; signed, warm and cold, validity: ours.
    """
    if num_components == 2:
        return fit_mixtures(gaps, seed=seed, previous_paper=previous).paper
    if num_components == 3:
        return fit_mixtures(gaps, seed=seed, previous_signed=previous).signed
    raise ValueError(f"expected 2 components (paper) or 3 (signed), got {num_components}")


def density(x: Float[np.ndarray, " M"], parameters: MixtureParameters) -> Float64[np.ndarray, " M"]:
    """Return the density of the mixture at each x.

    Args:
        x: (M,), float, gap units.
        parameters: the mixture.

    Returns:
        (M,), float64, per gap unit, at least 0.

    Source: textbook.
    """
    joint = em.log_joint(np.asarray(x, dtype=np.float64), _as_components(parameters))
    total: FloatArray = np.exp(joint).sum(axis=0)
    return total


def num_modes(parameters: MixtureParameters) -> int:
    """Return the number of local maxima of the density on 2,001 points over [-1, 1], its ends included.

    Source: ours.
    """
    heights = density(np.linspace(-1.0, 1.0, NUM_GRID_POINTS), parameters)
    padded = np.concatenate([[-np.inf], heights, [-np.inf]])
    # Strictly up, then not up: a plateau counts once. (Rounding cannot fake one: REG_COVAR bounds the curvature.)
    return int(((padded[1:-1] > padded[:-2]) & (padded[1:-1] >= padded[2:]) & (heights > 0)).sum())


def ashman_d(mean_1: float, variance_1: float, mean_2: float, variance_2: float) -> float:
    """Return Ashman's D of two Gaussians, at least 0: above 2 they are cleanly apart.

    Args:
        mean_1: gap units.
        variance_1: squared gap units, above 0.
        mean_2: gap units.
        variance_2: squared gap units, above 0.

    Source: Ashman, Bird and Zepf 1994: D = sqrt(2) |m1 - m2| / sqrt(s1^2 + s2^2).
    """
    return float(np.sqrt(2.0) * abs(mean_1 - mean_2) / np.sqrt(variance_1 + variance_2))


def is_bimodal(bic: Mapping[int, float], separation: float, smaller_weight: float, modes: int) -> bool:
    """Return whether more than one Gaussian is clearly better, and the components are apart, real and modes.

    Args:
        bic: of 1, 2 and 3 components.
        separation: Ashman's D.
        smaller_weight: weight of the smaller component, 0 to 0.5.
        modes: local maxima of the density.

    Source: ours. BIC and D alone would pass skewed data with one mode.
    """
    return (
        bic[1] - min(bic[2], bic[3]) > CLEAR_BIC
        and separation > CLEAR_ASHMAN_D
        and smaller_weight >= MIN_WEIGHT
        and modes >= 2
    )


def _checked(gaps: Float[np.ndarray, " N"]) -> FloatArray:
    """Return the gaps as float64, or raise."""
    values = np.ascontiguousarray(gaps, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(f"expected gaps of shape (N,), got {values.shape}")
    broken = np.flatnonzero(~np.isfinite(values))
    if len(broken):
        raise NonFiniteGapError(len(broken), len(values), int(broken[0]))
    return values


def _bic(result: em.EmResult, num_components: int, num_samples: int) -> float:
    """Return scikit-learn's BIC: -2 ln L + (3 K - 1) ln N."""
    penalty = (3 * num_components - 1) * np.log(num_samples)
    return float(penalty - 2.0 * num_samples * result.mean_log_likelihood)


def _balanced_row(components: em.Components) -> int:
    """Return the row with the smallest |mean|; among ties (MEAN_TIE), the one with the smallest variance."""
    distance = np.abs(components.means)
    tied = distance - distance.min() < MEAN_TIE
    return int(np.where(tied, components.variances, np.inf).argmin())


def _with_roles(components: em.Components) -> MixtureParameters:
    """Return the components in the order of their roles: balanced first of two, by falling mean of three."""
    balanced = _balanced_row(components)
    num_components = len(components.means)
    order = [balanced, 1 - balanced] if num_components == 2 else list(np.argsort(-components.means, kind="stable"))

    def role(row: int) -> Role:
        if row == balanced:
            return "balanced"
        if num_components == 2:
            return "imbalanced"
        return "audio_dominant" if components.means[row] > components.means[balanced] else "visual_dominant"

    return MixtureParameters(
        components.weights[order],
        components.means[order],
        components.variances[order],
        tuple(role(int(row)) for row in order),
    )


def _as_components(parameters: MixtureParameters) -> em.Components:
    """Return the parameters without their roles."""
    return em.Components(parameters.weights, parameters.means, parameters.variances)


def _components(previous: MixtureParameters | None) -> em.Components | None:
    """Return the warm start that a previous mixture is."""
    return None if previous is None else _as_components(previous)


def _separations(parameters: MixtureParameters) -> list[tuple[float, float]]:
    """Return (Ashman's D, smaller weight) of balanced and each other component."""
    rows = list(zip(parameters.weights, parameters.means, parameters.variances, strict=True))
    weight, mean, variance = rows.pop(parameters.balanced)
    return [(ashman_d(mean, variance, m, v), float(min(weight, w))) for w, m, v in rows]


def _three_apart(signed: MixtureParameters, bic: Mapping[int, float]) -> bool:
    """Return whether three Gaussians are clearly better than two, and all three are apart, real and modes."""
    return (
        bic[2] - bic[3] > CLEAR_BIC
        and all(d > CLEAR_ASHMAN_D and weight >= MIN_WEIGHT for d, weight in _separations(signed))
        and num_modes(signed) >= 3
    )


def _fit(
    parameters: MixtureParameters, bic: Mapping[int, float], converged: bool, three: bool, swapped: bool
) -> MixtureFit:
    """Return the fit with its validity."""
    real = [pair for pair in _separations(parameters) if pair[1] >= MIN_WEIGHT]
    separation, smaller_weight = min(real or _separations(parameters))
    modes = num_modes(parameters)
    bimodal = is_bimodal(bic, separation, smaller_weight, modes)
    verdict: Verdict = "three components" if three else "bimodal" if bimodal else "unimodal"
    return MixtureFit(parameters, bic, separation, modes, smaller_weight, converged, bimodal, verdict, swapped)


def _is_swapped(points: em.Points, new: MixtureParameters, previous: MixtureParameters | None) -> bool:
    """Return whether most of today's gaps changed between balanced and not balanced."""
    if previous is None:
        return False
    is_balanced, was_balanced = (
        em.responsibilities(points.places, _as_components(mixture))[0][mixture.balanced] for mixture in (new, previous)
    )
    agreement = is_balanced * was_balanced + (1 - is_balanced) * (1 - was_balanced)
    return float(agreement @ points.moments[:, 0]) < 0.5 * points.num_values
