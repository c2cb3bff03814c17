"""The run that fine-tunes another one on selected samples. Pure: this module must not know Streamlit."""

from __future__ import annotations

from typing import Any, Final

from worker.contract.resources import Run
from worker.contract.spec.objectives.paper import PURIFICATION_RATE_FACTOR, num_purification_epochs
from worker.contract.subsets import Subset

LONGEST_NAME: Final = 120


def fine_tuning_spec(run: Run, subset: Subset) -> dict[str, Any]:
    """Returns the spec of stage 3 of the paper's method as a run of its own.

    It begins with the last weights of the run, trains the fused prediction alone (method `joint`) on the subset, for a
    tenth of the run's epochs and at a tenth of its learning rate. A run whose model `joint` does not have (one
    modality, a fusion of the method's own) keeps its method.

    Args:
        run: a finished run.
        subset: of its training samples.
    """
    spec = run.spec.model_dump(mode="json")
    alone = run.summary is not None and run.summary.unimodal_source == "solo"
    if not alone and not run.spec.objective.replaces_fusion:
        spec["objective"] = {"kind": "joint"}
    optimizer = {**spec["optimizer"]}
    optimizer["learning_rate"] = optimizer["learning_rate"] * PURIFICATION_RATE_FACTOR
    return {
        **spec,
        "name": f"{run.name}, fine-tuned on {subset.name}"[:LONGEST_NAME],
        "optimizer": optimizer,
        "epochs": num_purification_epochs(run.spec.epochs, None),
        "early_stopping": None,
        "subset": subset.id,
        "start_from": run.id,
        "start_weights": "last",
    }
