"""One batch on a tiny real model whose features are given, for tests of single methods."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from worker.fusion.concat import ConcatFusion
from worker.model import AudioVisualModel
from worker.objectives.base import Objective, Setup, StepView
from worker.science.gap import modality_gap

NUM_CLASSES = 4
NUM_FEATURES = 4


class IdentityEncoders(nn.Module):
    """Features are the input times a weight, so that gradients reach an encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.num_audio_features = self.num_visual_features = NUM_FEATURES
        self.audio = nn.Linear(NUM_FEATURES, NUM_FEATURES, bias=False)
        self.visual = nn.Linear(NUM_FEATURES, NUM_FEATURES, bias=False)
        nn.init.eye_(self.audio.weight)
        nn.init.eye_(self.visual.weight)


def tiny_model(objective: Objective, seed: int = 0) -> AudioVisualModel:
    """A model whose fusion and heads read class c from feature c, with small noise from the seed."""
    generator = torch.Generator().manual_seed(seed)
    fusion = ConcatFusion(NUM_FEATURES, NUM_FEATURES, NUM_CLASSES)
    heads = nn.ModuleDict({name: nn.Linear(NUM_FEATURES, NUM_CLASSES) for name in ("audio", "visual")})
    with torch.no_grad():
        fusion.linear.weight.copy_(torch.eye(4).repeat(1, 2) + 0.01 * torch.randn(4, 8, generator=generator))
        fusion.linear.bias.zero_()
        for head in heads.values():
            head.weight.copy_(torch.eye(4))
            head.bias.zero_()
    model = AudioVisualModel(IdentityEncoders(), fusion, heads, heads_are_probes=not objective.trains_heads)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        objective.adapt(model)
    return model


def set_up(objective: Objective, model: AudioVisualModel, *, epochs: int = 10, **fields: Any) -> None:
    pair = model.encoders
    parts = {"audio": pair.audio, "visual": pair.visual, "fusion": model.fusion, "heads": model.heads}
    branches = {name: list(part.parameters()) for name, part in parts.items()}
    objective.setup(Setup(epochs, NUM_CLASSES, model, branches=branches, num_train=32, **fields))


def one_hot_features(labels: torch.Tensor, strength: float, seed: int, noise: float = 0.1) -> torch.Tensor:
    """Features that show the class by `strength`."""
    generator = torch.Generator().manual_seed(seed)
    shown = nn.functional.one_hot(labels, NUM_FEATURES).float()
    return strength * shown + noise * torch.randn(len(labels), NUM_FEATURES, generator=generator)


def step_on(
    model: AudioVisualModel,
    *,
    audio: float = 1.0,
    visual: float = 1.0,
    size: int = 16,
    epoch: int = 1,
    index: int = 0,
    num_steps: int = 4,
    seed: int = 0,
    swap_noise: bool = False,
    **fields: Any,
) -> StepView:
    """A batch in which audio and visual show the class by the given strengths (a planted advantage).

    `swap_noise` gives each modality the other's noise: with strengths swapped too, the modalities are swapped exactly.
    """
    labels = torch.arange(size) % NUM_CLASSES
    seeds = (2 * seed + 1, 2 * seed + 2)
    seeds = seeds[::-1] if swap_noise else seeds
    inputs = {
        "audio": one_hot_features(labels, audio, seeds[0]),
        "visual": one_hot_features(labels, visual, seeds[1]),
    }
    features = {name: getattr(model.encoders, name)(values) for name, values in inputs.items()}
    output = model.classify(features)
    gaps = modality_gap(output.audio_logits, output.visual_logits, labels).detach()
    given = {"clean": output, "classify": model.classify, **fields}
    generator = torch.Generator().manual_seed(seed)
    return StepView(epoch, index, num_steps, torch.arange(size), labels, output, gaps, generator, **given)
