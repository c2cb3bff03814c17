"""Batches of a real model of single linear layers, whose figures can be checked by hand, as the loop treats them."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import torch
from torch import nn

from worker.engine.building import branches
from worker.fusion.concat import ConcatFusion
from worker.model import AudioVisualModel
from worker.objectives.base import Gradients, Objective, Setup, StepView

NUM_CLASSES = 3
SIZE = 12


class LinearPair(nn.Module):
    """Encoders that begin as the identity."""

    def __init__(self) -> None:
        super().__init__()
        self.num_audio_features = self.num_visual_features = NUM_CLASSES
        self.audio, self.visual = nn.Linear(NUM_CLASSES, NUM_CLASSES), nn.Linear(NUM_CLASSES, NUM_CLASSES)


def linear_model(objective: Objective) -> AudioVisualModel:
    """A model in which both modalities are treated alike: identities everywhere, biases 0."""
    heads = nn.ModuleDict({name: nn.Linear(NUM_CLASSES, NUM_CLASSES) for name in ("audio", "visual")})
    fusion = ConcatFusion(NUM_CLASSES, NUM_CLASSES, NUM_CLASSES)
    model = AudioVisualModel(LinearPair(), fusion, heads, heads_are_probes=not objective.trains_heads)
    objective.adapt(model)
    identity = torch.eye(NUM_CLASSES)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.copy_(identity.repeat(1, parameter.shape[1] // NUM_CLASSES))
            elif parameter.dim() == 1:
                parameter.zero_()
    return model


class Batch:
    """One batch of a set-up objective. The leader's inputs are one-hot at the true class, the other's are noise."""

    def __init__(self, objective: Objective, leader: str = "audio", *, advantage: float = 4.0, epochs: int = 4) -> None:
        self.objective = objective
        self.model = linear_model(objective)
        generator = torch.Generator().manual_seed(1)
        self.labels = torch.randint(NUM_CLASSES, (SIZE,), generator=generator)
        good = advantage * nn.functional.one_hot(self.labels, NUM_CLASSES).float()
        poor = torch.randn(SIZE, NUM_CLASSES, generator=generator)
        self.inputs = {"audio": good, "visual": poor} if leader == "audio" else {"audio": poor, "visual": good}
        self.branches = branches(self.model)
        self.setup = Setup(epochs, NUM_CLASSES, self.model, branches=self.branches)
        objective.setup(self.setup)
        self.coefficients: dict[str, float] = {}
        self.terms: dict[str, float] = {}

    def features(self) -> dict[str, torch.Tensor]:
        pair = self.model.encoders
        return {"audio": pair.audio(self.inputs["audio"]), "visual": pair.visual(self.inputs["visual"])}

    def view(self, epoch: int = 1, seed: int = 0) -> StepView:
        output = self.model.classify(self.features())
        gaps = torch.zeros(SIZE)
        generator = torch.Generator().manual_seed(seed)
        rows = torch.arange(SIZE)
        fields = {"clean": output, "classify": self.model.classify}
        return StepView(epoch, 0, 4, rows, self.labels, output, gaps, generator, **fields)

    def commits(self, epoch: int = 1, seed: int = 0, learning_rate: float = 0.0) -> list[Gradients]:
        """The gradients of each commit; with a learning rate the weights step along them."""
        view = self.view(epoch, seed)
        masked = self.objective.features(view, view.output.features)
        view = replace(view, output=self.model.classify(masked))
        gathered: list[Gradients] = []
        found: list[Gradients] = []
        for each in self.objective.passes(view):
            each.loss.backward(retain_graph=each.retain_graph)
            gathered.append({p: p.grad for p in self.model.parameters() if p.grad is not None})
            for parameter in self.model.parameters():
                parameter.grad = None
            self.terms |= {name: float(value.detach()) for name, value in each.terms.items()}
            if each.commit:
                found.append(self.objective.combine(view, gathered))
                gathered = []
                with torch.no_grad():
                    for parameter, gradient in found[-1].items():
                        parameter -= learning_rate * gradient
            self.coefficients |= {name: float(value.detach()) for name, value in each.coefficients.items()}
        return found

    def gradients(self, epoch: int = 1, seed: int = 0) -> SimpleNamespace:
        """The gradients of the one commit: those of both encoders' weights, and all."""
        (found,) = self.commits(epoch, seed)
        pair = self.model.encoders
        return SimpleNamespace(audio=found[pair.audio.weight], visual=found[pair.visual.weight], all=found)
