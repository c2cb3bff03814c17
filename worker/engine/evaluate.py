"""From the scores of a split to its report, and to its rows of the sample table.

The formulas are those of worker.science; this module puts them together. It must not know the model or the loop.

Shapes: N samples of the split.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, cast

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from worker.contract import events
from worker.contract.errors import TrainingError
from worker.contract.events import ByModality, SplitReport, UnimodalSource
from worker.engine.rows import BRANCHES
from worker.science import metrics
from worker.science.gap import NonFiniteGapError
from worker.science.mixture import MixtureFit, MixturePair, MixtureParameters, fit_mixtures
from worker.science.posterior import posterior

Columns = Mapping[str, NDArray[np.generic]]
"""Columns of a RowTable, for the rows of one split."""


def split_mixtures(
    gaps: Float[np.ndarray, " N"], *, seed: int, previous: MixturePair | None, where: str
) -> MixturePair:
    """Returns both mixtures of a split's gaps.

    Args:
        gaps: (N,), float.
        seed: of the cold starts.
        previous: of the same split, an epoch before.
        where: split and epoch, for the message.

    Raises:
        TrainingError: a gap is not finite.
    """
    try:
        return fit_mixtures(
            gaps,
            seed=seed,
            previous_paper=None if previous is None else previous.paper.parameters,
            previous_signed=None if previous is None else previous.signed.parameters,
        )
    except NonFiniteGapError as error:
        raise TrainingError(f"{where}: {error}.", code="non-finite-gap") from error


def split_report(
    columns: Columns,
    labels: Int[np.ndarray, " N"],
    num_classes: int,
    *,
    source: UnimodalSource,
    mixtures: MixturePair | None,
    modalities: Sequence[str] = ("audio", "visual"),
) -> SplitReport:
    """Returns the report of a split: every row counts. A run of one modality has no gaps: what needs them is null.

    Args:
        columns: of the split's N rows.
        labels: (N,) true classes.
        num_classes: C.
        source: what the unimodal scores come from.
        mixtures: this split's own fits; None in a run of one modality.
        modalities: that the run has.
    """
    correct = cast(NDArray[np.int32], columns["predicted"]) == labels[:, None]
    figures = {
        "num_samples": len(labels),
        "unimodal_source": source,
        **_figures(columns, labels, num_classes, correct, ("fused", *modalities)),
    }
    if mixtures is None:
        gaps_are_missing = ("mean_gap", "mean_abs_gap", "histogram", "correctness", "mixture", "signed_mixture")
        return SplitReport(**figures, **dict.fromkeys(gaps_are_missing))
    gaps = cast(NDArray[np.float32], columns["gap"])
    histogram = metrics.gap_histogram(gaps)
    groups = metrics.correctness(gaps, metrics.is_dominant(gaps), correct[:, 0])
    return SplitReport(
        **figures,
        mean_gap=float(gaps.mean(dtype=np.float64)),
        mean_abs_gap=float(np.abs(gaps).mean(dtype=np.float64)),
        histogram=events.Histogram(edges=histogram.edges.tolist(), counts=histogram.counts.tolist()),
        correctness=events.Correctness(**vars(groups)),
        mixture=mixture_record(mixtures.paper),
        signed_mixture=mixture_record(mixtures.signed),
    )


def _figures(
    columns: Columns,
    labels: Int[np.ndarray, " N"],
    num_classes: int,
    correct: NDArray[np.bool_],
    branches: Sequence[str],
) -> dict[str, Any]:
    """Returns accuracy, macro F1, calibration error and cross-entropy of the branches; null where one is missing."""
    predicted = cast(NDArray[np.int32], columns["predicted"])
    confidence = cast(NDArray[np.float32], columns["confidence"])
    p_true = cast(NDArray[np.float32], columns["p_true"])
    by_figure: dict[str, Callable[[int], float]] = {
        "accuracy": lambda k: metrics.accuracy(predicted[:, k], labels),
        "macro_f1": lambda k: metrics.macro_f1(predicted[:, k], labels, num_classes),
        "expected_calibration_error": lambda k: metrics.expected_calibration_error(confidence[:, k], correct[:, k]),
        "cross_entropy": lambda k: metrics.cross_entropy(p_true[:, k]),
    }
    return {
        figure: ByModality(**{name: of(k) if name in branches else None for k, name in enumerate(BRANCHES)})
        for figure, of in by_figure.items()
    }


def sample_columns(
    columns: Columns,
    labels: Int[np.ndarray, " N"],
    mixture: MixtureParameters | None,
    *,
    modalities: Sequence[str] = ("audio", "visual"),
) -> dict[str, NDArray[np.generic]]:
    """Returns the columns of layout.SAMPLE_COLUMNS that training knows; `predicted_*` are rows of the store's classes.

    Args:
        columns: of N rows.
        labels: (N,) true classes.
        mixture: the training split's, by which posteriors are meant; None where its fit was degenerate.
        modalities: that the run has; the columns of another are left out, and its gaps are NaN.
    """
    gaps = cast(NDArray[np.float32], columns["gap"])
    if len(modalities) < 2:
        gaps = np.full_like(gaps, np.nan)
    result: dict[str, NDArray[np.generic]] = {
        "gap": gaps,
        "posterior_imbalanced": posteriors(gaps, mixture),
        "loss_weight": columns["loss_weight"],
    }
    for branch, name in enumerate(BRANCHES):
        if name in ("fused", *modalities):
            result[f"p_true_{name}"] = columns["p_true"][:, branch]
            result[f"predicted_{name}"] = columns["predicted"][:, branch]
            result[f"{name}_correct"] = columns["predicted"][:, branch] == labels
    return result


def posteriors(gaps: Float[np.ndarray, " N"], mixture: MixtureParameters | None) -> Float[np.ndarray, " N"]:
    """Returns P(imbalanced | gap) as float32; NaN everywhere where there is no mixture.

    Args:
        gaps: (N,), float.
        mixture: the paper's, of the training split, or None.
    """
    if mixture is None:
        return np.full(len(gaps), np.nan, dtype=np.float32)
    return posterior(gaps, mixture).astype(np.float32)


def mixture_record(fit: MixtureFit) -> events.Mixture:
    """Returns a fit as events carry it; a degenerate one has no components.

    Args:
        fit: of worker.science.
    """
    parameters = fit.parameters
    rows = (
        []
        if parameters is None
        else list(zip(parameters.roles, parameters.weights, parameters.means, parameters.variances, strict=True))
    )
    return events.Mixture(
        components=[
            events.Component(role=role, weight=float(weight), mean=float(mean), variance=float(variance))
            for role, weight, mean, variance in rows
        ],
        bic={cast(Literal["1", "2", "3"], str(count)): float(value) for count, value in fit.bic.items()},
        ashman_d=fit.ashman_d,
        num_modes=fit.num_modes,
        bimodal=fit.bimodal,
        converged=fit.converged,
        identity_swapped=fit.identity_swapped,
        verdict=fit.verdict,
    )


def mixture_fit(record: events.Mixture, smaller_weight: float) -> MixtureFit:
    """Returns the fit that `mixture_record` recorded.

    Args:
        record: as events carry it.
        smaller_weight: the one figure that events leave out.
    """
    parameters = parameters_of(record)
    return MixtureFit(
        parameters,
        {int(count): value for count, value in record.bic.items()},
        record.ashman_d,
        record.num_modes,
        smaller_weight,
        record.converged,
        record.bimodal,
        record.verdict,
        record.identity_swapped,
    )


def parameters_of(record: events.Mixture) -> MixtureParameters | None:
    """Returns the parameters of a recorded mixture, exactly; None where it was degenerate.

    Args:
        record: as events carry it.
    """
    if not record.components:
        return None
    return MixtureParameters(
        np.array([component.weight for component in record.components]),
        np.array([component.mean for component in record.components]),
        np.array([component.variance for component in record.components]),
        tuple(component.role for component in record.components),
    )
