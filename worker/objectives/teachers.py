"""What methods that learn from frozen unimodal teachers share: do the teachers fit, what do they say of a batch.

Shapes: B clips, C classes, D features of a modality.
"""

from __future__ import annotations

from typing import cast

from jaxtyping import Float
from torch import Tensor, nn

from worker.contract.errors import TrainingError
from worker.objectives.base import MODALITIES, Modality, Outputs, Setup, StepView


def teacher_field(modality: Modality) -> str:
    """Returns the field of the spec that names a modality's teacher."""
    return f"{modality}_teacher"


def require_teachers(setup: Setup) -> None:
    """Passes when each modality has a teacher that knows it, with as many features as the model to be taught.

    Args:
        setup: of the run.

    Raises:
        TrainingError: code `source-run-unfit`, when one does not fit.
    """
    for modality in MODALITIES:
        run = setup.sources[teacher_field(modality)]
        if modality not in run.modalities:
            raise TrainingError(
                f"The earlier run {run.run_id} ({teacher_field(modality)}) does not use {modality}, so its "
                f"{modality} features are zero: name another run.",
                code="source-run-unfit",
            )
        own = cast(nn.Linear, setup.model.get_submodule(f"heads.{modality}")).in_features
        theirs = run.num_audio_features if modality == "audio" else run.num_visual_features
        if own != theirs:
            raise TrainingError(
                f"The earlier run {run.run_id} ({teacher_field(modality)}) has {theirs} {modality} features, this run "
                f"has {own}: give both the same encoder, or the same number of features.",
                code="source-run-unfit",
            )


def teacher_features(step: StepView, modality: Modality) -> Float[Tensor, "B D"]:
    """Returns the features of a modality's teacher, without gradient.

    Args:
        step: the batch.
        modality: whose.
    """
    return _teach(step, modality).features[modality]


def teacher_logits(step: StepView, modality: Modality) -> Float[Tensor, "B C"]:
    """Returns the logits of a teacher's head of its modality, without gradient.

    Args:
        step: the batch.
        modality: whose.
    """
    output = _teach(step, modality)
    return output.audio_logits if modality == "audio" else output.visual_logits


def _teach(step: StepView, modality: Modality) -> Outputs:
    assert step.teach is not None, "this view was made without teachers"
    return step.teach(teacher_field(modality))
