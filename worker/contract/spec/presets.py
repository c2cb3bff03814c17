"""Ready-made run specs, offered by the catalog, the launch form and the command line."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from worker.contract.spec.datasets import AvDigits
from worker.contract.spec.objectives import GmmAdaptive, Joint
from worker.contract.spec.run import RunSpec
from worker.contract.spec.training import AdamW


class Preset(BaseModel):
    """A named run spec to start from."""

    id: str
    title: str
    spec: RunSpec


def _demo(objective: Joint | GmmAdaptive) -> RunSpec:
    # Precision and threads are pinned, so that the same preset gives the same numbers on every two-core machine.
    return RunSpec(
        dataset=AvDigits(),
        objective=objective,
        optimizer=AdamW(learning_rate=2e-3),
        epochs=20,
        batch_size=50,
        precision="fp32",
        device="cpu",
        threads=1,
    )


PRESETS: tuple[Preset, ...] = (
    Preset(id="demo", title="Demo: GMM-guided adaptive loss, a minute on a CPU", spec=_demo(GmmAdaptive())),
    Preset(id="demo-joint", title="Demo: plain joint training, a minute on a CPU", spec=_demo(Joint())),
)


def apply_preset(body: dict[str, Any]) -> dict[str, Any]:
    """Returns a run spec's fields: those of the preset that `body` names, each replaced whole by `body`'s own.

    Args:
        body: a request for a run; may have the key `preset`.

    Raises:
        KeyError: with the preset's id, when there is none of that name.
    """
    fields = dict(body)
    preset_id = fields.pop("preset", None)
    if preset_id is None:
        return fields
    for preset in PRESETS:
        if preset.id == preset_id:
            return {**preset.spec.model_dump(mode="json"), **fields}
    raise KeyError(str(preset_id))
