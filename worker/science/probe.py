"""The neutral probe: what a frozen encoder's features are worth, whatever loss trained them.

Logistic regression on features alone, the same for every method. This module must not know encoders or splits.

Shapes: N training samples, M evaluated samples, F features.
"""

import warnings
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from worker.science.metrics import accuracy

INVERSE_REGULARISATION = 1.0
"""C of scikit-learn, its default, never tuned: a tuned probe would not be neutral."""
MAX_ITERATIONS = 200


@dataclass(frozen=True)
class ProbeResult:
    """What the probe reached.

    Attributes:
        accuracy: on the evaluated samples, 0 to 1.
        train_accuracy: on the training samples, 0 to 1; far above `accuracy` means that the probe overfits.
        converged: False where MAX_ITERATIONS stopped the solver, so that the accuracy is a lower bound.
        num_iterations: of the solver.
    """

    accuracy: float
    train_accuracy: float
    converged: bool
    num_iterations: int


def neutral_probe(
    train_features: Float[np.ndarray, "N F"],
    train_labels: Int[np.ndarray, " N"],
    evaluated_features: Float[np.ndarray, "M F"],
    evaluated_labels: Int[np.ndarray, " M"],
    *,
    max_iterations: int = MAX_ITERATIONS,
) -> ProbeResult:
    """Return the accuracy of a logistic regression on frozen features.

    Features are standardised by the training samples' mean and deviation; L2, C = 1, L-BFGS from zero: no
    randomness. A class that training never saw counts as wrong.

    Args:
        train_features: (N, F), float, finite.
        train_labels: (N,), integer, at least two classes.
        evaluated_features: (M, F), float, finite.
        evaluated_labels: (M,), integer.
        max_iterations: bound on the solver's iterations, at least 1.

    Raises:
        ValueError: features are not finite, shapes do not belong together, or training has one class only.

    Source: ours; linear probes: Alain and Bengio 2016.
    """
    # Imported here: scikit-learn is a third of a training process's start, and only a run's end needs it.
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    if not (np.isfinite(train_features).all() and np.isfinite(evaluated_features).all()):
        raise ValueError("expected finite features, got NaN or infinity: the encoder has diverged")
    if len(np.unique(train_labels)) < 2:
        raise ValueError("expected training labels of at least two classes, got fewer: nothing to tell apart")
    scaler = StandardScaler().fit(train_features)
    model = LogisticRegression(C=INVERSE_REGULARISATION, max_iter=max_iterations)
    standardised = scaler.transform(train_features)
    with warnings.catch_warnings():
        # The one warning that is an answer: it is reported as `converged`, from the iterations taken.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(standardised, train_labels)
    num_iterations = int(model.n_iter_.max())
    return ProbeResult(
        accuracy=accuracy(model.predict(scaler.transform(evaluated_features)), evaluated_labels),
        train_accuracy=accuracy(model.predict(standardised), train_labels),
        converged=num_iterations < max_iterations,
        num_iterations=num_iterations,
    )
