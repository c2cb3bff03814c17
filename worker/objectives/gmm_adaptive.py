"""The GMM-guided adaptive loss of arXiv 2510.21797: warm-up, the loss of worker.science.adaptive_loss, purification.

Each adaptive epoch uses the mixture fitted on the training gaps at the end of the epoch before; the posterior is that
of the sample's current gap. Stage 3 (optional) trains CE(fused) alone on the samples that
worker.objectives.purification selects; the others stay in every report, evaluated at the end of the epoch. This module
states no formula: it chooses which of the science's is used, and reports it.

Shapes: B clips of a batch, N training samples.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from worker.contract.errors import TrainingError
from worker.contract.spec.objectives.paper import PURIFICATION_RATE_FACTOR, num_purification_epochs
from worker.objectives.base import EpochPlan, EpochView, Objective, Pass, Scalar, Setup, StepView
from worker.objectives.mixture_state import restored_mixture, saved_mixture
from worker.objectives.multi_head import multi_head_pass
from worker.objectives.purification import Purification
from worker.science.adaptive_loss import GapGradient, adaptive_loss, fusion_weight
from worker.science.mixture import DEGENERATE, MixtureFit, MixtureParameters
from worker.science.posterior import posterior_tensor, rank_posterior_tensor, tail_posteriors_tensor
from worker.science.stages import num_warm_up_epochs

PosteriorKind = Literal["paper", "signed", "rank", "none"]


class GmmAdaptive(Objective):
    """Two stages and an optional third; see method.md for the symbols."""

    trains_heads: ClassVar[bool] = True

    def __init__(
        self,
        *,
        warm_up_epochs: int | None,
        alpha: float,
        lambda_gap: float,
        kappa: float,
        beta: float,
        variance_floor: float,
        posterior: Literal["paper", "signed"],
        when_not_bimodal: Literal["posterior", "rank"],
        gap_gradient: GapGradient,
        purification: bool = False,
        purification_epochs: int | None = None,
        purification_threshold: float = 0.5,
        purification_drop_wrong: bool = False,
    ) -> None:
        """Takes the coefficients of the spec by their names there."""
        self._given_warm_up = warm_up_epochs
        self._alpha, self._lambda, self._kappa, self._beta = alpha, lambda_gap, kappa, beta
        self._variance_floor = variance_floor
        self._posterior: Literal["paper", "signed"] = posterior
        self._when_not_bimodal = when_not_bimodal
        self._gap_gradient: GapGradient = gap_gradient
        self._purifies, self._given_purification = purification, purification_epochs
        self._threshold, self._drop_wrong = purification_threshold, purification_drop_wrong
        self.warm_up_epochs = 0
        self._adaptive_epochs = 0
        """The last epoch that is no purification, from 1."""
        self._batch_size = 0
        self._purification: Purification | None = None
        """Fixed when stage 3 begins."""
        self._adaptive = False
        self._used: PosteriorKind = "none"
        self._mixture: MixtureParameters | None = None
        self._sorted_sizes: Tensor | None = None

    def setup(self, setup: Setup) -> None:
        """Fixes the number of epochs of each stage.

        Raises:
            TrainingError: more warm-up epochs were asked for than the run has.
        """
        given = self._given_warm_up
        if given is not None and given > setup.epochs:
            raise TrainingError(
                f"warm_up_epochs is {given}, the run has {setup.epochs} epochs: lower warm_up_epochs or raise epochs.",
                code="warm-up-too-long",
            )
        third = num_purification_epochs(setup.epochs, self._given_purification) if self._purifies else 0
        self.warm_up_epochs = num_warm_up_epochs(setup.epochs, given, third)
        self._adaptive_epochs = setup.epochs - third
        self._batch_size = setup.batch_size

    def plan_epoch(self, view: EpochView) -> EpochPlan:
        """Chooses the stage and, in the adaptive one, the posterior and the mixture of the last epoch.

        Raises:
            TrainingError: stage 3 begins and selects too little to train on.
        """
        if view.epoch > self._adaptive_epochs:
            return self._plan_purification(view)
        self._adaptive = view.epoch > self.warm_up_epochs
        if not self._adaptive:
            return EpochPlan("warm-up", view.rows, {"posterior": "none"})
        fit = self._use(view)
        return EpochPlan("adaptive", view.rows, self._report(fit))

    def _use(self, view: EpochView) -> MixtureFit:
        """Takes the mixture of the last epoch, and the posterior that its validity allows."""
        self._used, self._mixture, self._sorted_sizes = "none", None, None
        fit = DEGENERATE  # without an epoch before this one (no warm-up) there is no mixture yet: r = 0
        if view.mixtures is not None:
            fit = view.mixtures.signed if self._posterior == "signed" else view.mixtures.paper
        self._mixture = fit.parameters
        if fit.parameters is not None and view.gaps is not None:
            self._used = self._posterior
            if not fit.bimodal and self._when_not_bimodal == "rank":
                self._used = "rank"
                self._sorted_sizes = torch.from_numpy(np.sort(np.abs(view.gaps))).float()
        return fit

    def _plan_purification(self, view: EpochView) -> EpochPlan:
        """Selects the samples of stage 3 when it begins, and keeps the selection."""
        if self._purification is None:
            assert view.gaps is not None, "an adaptive epoch comes before stage 3"
            assert view.correct is not None
            self._adaptive = False
            self._use(view)
            posterior = self._posteriors(torch.from_numpy(view.gaps).double()).numpy().astype(np.float32)
            self._purification = Purification(posterior, view.correct, self._threshold, self._drop_wrong)
            self._purification.require_trainable(view.labels[view.rows], self._batch_size)
        chosen = self._purification
        return EpochPlan(
            "purification",
            view.rows[chosen.selected],
            {"posterior": self._used, **chosen.report()},
            learning_rate_factor=PURIFICATION_RATE_FACTOR,
        )

    def _report(self, fit: MixtureFit) -> dict[str, Scalar]:
        """Returns what this epoch uses, for the event."""
        mean, variance = self._balanced() if fit.parameters is not None else (None, None)
        return {
            "posterior": self._used,
            "mixture_verdict": fit.verdict,
            "mixture_bimodal": fit.bimodal,
            "balanced_mean": mean,
            "balanced_variance": variance,
            "alpha": self._alpha,
            "lambda_gap": self._lambda,
            "kappa": self._kappa,
            "beta": self._beta,
            "variance_floor": self._variance_floor,
            "gap_gradient": self._gap_gradient,
        }

    def _balanced(self) -> tuple[float, float]:
        """Returns mean and variance of the balanced component; without a mixture r = 0 and neither has an effect."""
        if self._mixture is None:
            return 0.0, 1.0
        row = self._mixture.balanced
        return float(self._mixture.means[row]), float(self._mixture.variances[row])

    def passes(self, step: StepView) -> Iterator[Pass]:
        """Yields one pass: that of multi-head in the warm-up, then the adaptive loss, CE(fused) in stage 3."""
        if self._purification is not None:
            yield from super().passes(step)
            return
        if not self._adaptive:
            yield multi_head_pass(step)
            return
        posterior = self._posteriors(step.gaps)
        mixture = self._mixture
        loss = adaptive_loss(
            step.output.fused_logits,
            step.output.audio_logits,
            step.output.visual_logits,
            step.labels,
            posterior,
            *self._balanced(),
            alpha=self._alpha,
            lambda_=self._lambda,
            kappa=self._kappa,
            beta=self._beta,
            variance_floor=self._variance_floor,
            gap_gradient=self._gap_gradient,
            tails=None if self._used != "signed" or mixture is None else tail_posteriors_tensor(step.gaps, mixture),
            class_weights=step.class_weights,
        )
        terms = {name: getattr(loss, name) for name in ("fused", "audio", "visual", "gap", "kl")}
        yield Pass(
            loss.total,
            terms,
            loss_weight=fusion_weight(posterior, self._alpha),
            coefficients={"mean_posterior": posterior.mean()},
        )

    def _posteriors(self, gaps: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """Returns r at the current gaps, without gradient; 0 where there is no mixture."""
        if self._used == "rank" and self._sorted_sizes is not None:
            return rank_posterior_tensor(gaps, self._sorted_sizes.to(gaps))
        return posterior_tensor(gaps, self._mixture)

    def state(self) -> dict[str, Tensor | Scalar]:
        """Returns the stage, the posterior in use, the mixture and the selection of stage 3."""
        saved: dict[str, Tensor | Scalar] = {"adaptive": self._adaptive, "used": self._used}
        if self._sorted_sizes is not None:
            saved["sorted_sizes"] = self._sorted_sizes
        if self._purification is not None:
            saved |= self._purification.state()
        return {**saved, **saved_mixture(self._mixture)}

    def restore(self, saved: Mapping[str, Tensor | Scalar]) -> None:
        """Takes back what `state` gave."""
        self._adaptive = bool(saved["adaptive"])
        self._used = cast(PosteriorKind, saved["used"])
        sizes = saved.get("sorted_sizes")
        self._sorted_sizes = sizes if isinstance(sizes, Tensor) else None
        self._mixture = restored_mixture(saved)
        self._purification = Purification.restored(saved, self._threshold, self._drop_wrong)
