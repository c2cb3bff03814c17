"""Objective specs: the training methods, one class each, one module a family."""

from worker.contract.spec.objectives import alternating, baselines, epochs, gradients, losses, masks, paper, teachers
from worker.contract.spec.objectives.base import ObjectiveSpec, WindowedSpec
from worker.contract.spec.objectives.baselines import AudioOnly, Joint, MultiHead, VisualOnly
from worker.contract.spec.objectives.paper import GmmAdaptive

FAMILIES = (baselines, paper, gradients, losses, masks, epochs, alternating, teachers)
OBJECTIVE_SPECS: tuple[type[ObjectiveSpec], ...] = tuple(spec for family in FAMILIES for spec in family.SPECS)

__all__ = [
    "OBJECTIVE_SPECS",
    "AudioOnly",
    "GmmAdaptive",
    "Joint",
    "MultiHead",
    "ObjectiveSpec",
    "VisualOnly",
    "WindowedSpec",
]
