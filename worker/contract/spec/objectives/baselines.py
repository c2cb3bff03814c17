"""Specs of the baselines, without which no claim on imbalance can be tested."""

from __future__ import annotations

from typing import ClassVar, Literal

from worker.contract.spec.objectives.base import ObjectiveSpec


class Joint(ObjectiveSpec):
    """Cross-entropy of the fused logits alone: the baseline."""

    kind: Literal["joint"] = "joint"
    title: ClassVar[str] = "Joint training"
    summary: ClassVar[str] = (
        "Plain training on the fused prediction. Probes beside it read what each modality has learnt, nothing more."
    )
    implementation: ClassVar[str] = "worker.objectives.joint:Joint"


class MultiHead(ObjectiveSpec):
    """Adds the cross-entropy of each modality's own head: a strong baseline."""

    kind: Literal["multi-head"] = "multi-head"
    title: ClassVar[str] = "Multi-head"
    summary: ClassVar[str] = "Each modality also has a head and a loss of its own; all three losses are added."
    implementation: ClassVar[str] = "worker.objectives.multi_head:MultiHead"


class AudioOnly(ObjectiveSpec):
    """The audio branch alone."""

    kind: Literal["audio-only"] = "audio-only"
    title: ClassVar[str] = "Audio only"
    summary: ClassVar[str] = (
        "The sound alone, with its encoder and head: what this modality reaches by itself. A modality is called "
        "suppressed where it does worse in fusion than here."
    )
    implementation: ClassVar[str] = "worker.objectives.single_modality:AudioOnly"
    modalities: ClassVar[tuple[str, ...]] = ("audio",)
    replaces_fusion: ClassVar[bool] = True


class VisualOnly(ObjectiveSpec):
    """The visual branch alone."""

    kind: Literal["visual-only"] = "visual-only"
    title: ClassVar[str] = "Visual only"
    summary: ClassVar[str] = (
        "The picture alone, with its encoder and head: what this modality reaches by itself. A modality is called "
        "suppressed where it does worse in fusion than here."
    )
    implementation: ClassVar[str] = "worker.objectives.single_modality:VisualOnly"
    modalities: ClassVar[tuple[str, ...]] = ("visual",)
    replaces_fusion: ClassVar[bool] = True


SPECS: tuple[type[ObjectiveSpec], ...] = (Joint, MultiHead, AudioOnly, VisualOnly)
