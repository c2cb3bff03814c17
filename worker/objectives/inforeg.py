"""InfoReg: adaptive unimodal regulation (Huang et al., CVPR 2025).

Multi-head training. Tr_m(e) is the sum over an epoch of the squared gradients of encoder m's weights, A_m the mean of
its last n traces, A'_m that of the window one epoch before (missing traces count 0), K_m = (A_m - A'_m) / A_m: near 1
while the encoder still takes in much. While K_m > threshold, encoder m gets, in each batch in which it leads
(s_m > s_other, the sums of the true classes' probabilities), the extra gradient beta_m (theta - theta of the epoch's
start), beta_m = strength_m exp(tanh(s_m - s_other)).

Followed: the official code (939b2ed; 41d887f has a threshold of .04), with its faults repaired: it takes K from the
audio encoder alone (and 41d887f's test for a visual lead can never be true); here each has its own K and its own pull.
Kept: its strengths differ by modality (.95 audio, .1 visual); its trace takes the mean over each weight tensor, of
gradients that hold the pull; the tanh of a batch's sum is 1 as soon as the lead is a few clips. Without a trace K is 1.
Under AdamW a lasting pull is divided by its own size.

Shapes: n epochs of the window, E epochs with a trace.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worker.objectives.base import (
    MODALITIES,
    EpochPlan,
    EpochView,
    Gradients,
    Modality,
    Objective,
    Pass,
    Scalar,
    Setup,
    StepView,
)
from worker.objectives.multi_head import multi_head_pass
from worker.objectives.scores import true_class_score
from worker.objectives.window import Window


def growth(traces: Sequence[float], window_epochs: int) -> float:
    """Returns K, the growth of the averaged trace as a share of it.

    Args:
        traces: (E,) of the epochs so far, at least 0.
        window_epochs: n.

    Returns:
        At most 1; 1 without a trace, 0 where all are 0.

    Source: Huang et al. 2025; official code.
    """
    if not traces:
        return 1.0
    now, before = sum(traces[-window_epochs:]), sum(traces[-window_epochs - 1 : -1])
    return 0.0 if now <= 0 else (now - before) / now


def pull_strength(lead: Float[Tensor, ""], strength: float) -> Float[Tensor, ""]:
    """Returns beta, 0 for a modality that does not lead.

    Args:
        lead: s_m - s_other of the batch.
        strength: of this modality.

    Source: Huang et al. 2025; official code.
    """
    return torch.where(lead > 0, strength * torch.exp(torch.tanh(lead)), torch.zeros_like(lead))


class InfoReg(Objective):
    """Multi-head training with the leading encoder pulled back to the epoch's start."""

    trains_heads: ClassVar[bool] = True

    def __init__(
        self,
        *,
        audio_strength: float,
        visual_strength: float,
        threshold: float,
        window_epochs: int,
        first_epoch: int,
        last_epoch: int | None,
    ) -> None:
        """Takes the fields of the spec by their names there."""
        self._strengths: dict[Modality, float] = {"audio": audio_strength, "visual": visual_strength}
        self._threshold, self._window_epochs = threshold, window_epochs
        self._window = Window(first_epoch, last_epoch)
        self._encoders: dict[Modality, list[nn.Parameter]] = {}
        self._starts: dict[Modality, list[Tensor]] = {}
        self._traces: dict[Modality, list[float]] = {modality: [] for modality in MODALITIES}
        self._running: dict[Modality, Tensor] = {}
        self._growths: dict[Modality, float] = {}
        self._betas: dict[Modality, Tensor] = {}

    def setup(self, setup: Setup) -> None:
        """Learns which parameters are the encoders'."""
        self._encoders = {modality: list(setup.branches[modality]) for modality in MODALITIES}

    def plan_epoch(self, view: EpochView) -> EpochPlan:
        """Closes the last epoch's traces and takes the weights that the encoders may be pulled back to."""
        for modality, running in self._running.items():
            kept = [*self._traces[modality], float(running)]
            self._traces[modality] = kept[-self._window_epochs - 1 :]
        self._running, self._starts = {}, {}
        if not self._window.holds(view.epoch):
            return EpochPlan("single", view.rows)
        for modality, parameters in self._encoders.items():
            self._growths[modality] = growth(self._traces[modality], self._window_epochs)
            self._starts[modality] = [p.detach().clone() for p in parameters]
            self._running[modality] = torch.zeros((), dtype=torch.float64)
        return EpochPlan("single", view.rows, {f"{m}_trace_growth": value for m, value in self._growths.items()})

    def passes(self, step: StepView) -> Iterator[Pass]:
        """Yields multi-head's pass, with the pulls of this batch."""
        each = multi_head_pass(step)
        if not self._window.holds(step.epoch):
            yield each
            return
        audio = true_class_score(step.output.audio_logits, step.labels)
        visual = true_class_score(step.output.visual_logits, step.labels)
        leads: dict[Modality, Tensor] = {"audio": audio - visual, "visual": visual - audio}
        for modality, lead in leads.items():
            taking_in = self._growths[modality] > self._threshold
            beta = pull_strength(lead, self._strengths[modality])
            self._betas[modality] = beta if taking_in else torch.zeros_like(beta)
        coefficients = {f"{modality}_beta": beta for modality, beta in self._betas.items()}
        yield Pass(each.loss, each.terms, coefficients=coefficients)

    def combine(self, step: StepView, gradients: Sequence[Gradients]) -> Gradients:
        """Returns the gradients with the pull of the leading encoder, and adds them to the traces."""
        found = super().combine(step, gradients)
        if not self._window.holds(step.epoch):
            return found
        for modality, parameters in self._encoders.items():
            beta = float(self._betas[modality])
            squares = []
            for parameter, start in zip(parameters, self._starts[modality], strict=True):
                if parameter not in found:
                    continue
                if beta > 0:
                    found[parameter] = found[parameter] + beta * (parameter.detach() - start)
                if parameter.dim() > 1:
                    squares.append(torch.linalg.vector_norm(found[parameter]).square() / parameter.numel())
            self._running[modality] = self._running[modality].to(step.labels.device) + torch.stack(squares).sum()
        return found

    def state(self) -> dict[str, Tensor | Scalar]:
        """Returns the traces, the epoch's growths and its start weights."""
        saved: dict[str, Tensor | Scalar] = {}
        for modality in MODALITIES:
            saved[f"{modality}_traces"] = torch.tensor(self._traces[modality], dtype=torch.float64)
            if modality in self._running:
                saved[f"{modality}_running"] = self._running[modality]
                saved[f"{modality}_growth"] = self._growths[modality]
            saved |= {f"{modality}_start.{i}": start for i, start in enumerate(self._starts.get(modality, []))}
        return saved

    def restore(self, saved: Mapping[str, Tensor | Scalar]) -> None:
        """Takes back what `state` gave."""
        for modality, parameters in self._encoders.items():
            self._traces[modality] = cast(Tensor, saved[f"{modality}_traces"]).tolist()
            if f"{modality}_running" not in saved:
                continue
            self._running[modality] = cast(Tensor, saved[f"{modality}_running"])
            self._growths[modality] = float(cast(float, saved[f"{modality}_growth"]))
            starts = (cast(Tensor, saved[f"{modality}_start.{i}"]) for i in range(len(parameters)))
            self._starts[modality] = [start.to(p.device) for start, p in zip(starts, parameters, strict=True)]
