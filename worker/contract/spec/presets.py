"""Ready-made run specs, offered by the catalog, the launch form and the command line."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from worker.contract.spec.augment import AugmentSpec
from worker.contract.spec.corpora import Ave, CremaD
from worker.contract.spec.datasets import AvDigits
from worker.contract.spec.model import ResNet18
from worker.contract.spec.objectives import GmmAdaptive, Joint
from worker.contract.spec.preprocess import PREPROCESS_PRESETS, PreprocessSpec
from worker.contract.spec.run import RunSpec
from worker.contract.spec.training import AdamW, Sgd, Step

_AVE_PREPROCESS = PreprocessSpec.model_validate({"preset": "kaldi-fbank", "num_frames": 4})
"""The imbalance papers print no preprocessing for AVE: that of Kinetics-Sounds, with four frames (ours)."""


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


def _paper(dataset: CremaD | Ave) -> RunSpec:
    """Returns the training that the imbalance papers share. Source: public code of OGM-GE (Peng et al. 2022)."""
    return RunSpec(
        dataset=dataset,
        encoder=ResNet18(),
        optimizer=Sgd(learning_rate=1e-3, momentum=0.9, weight_decay=1e-4),
        schedule=Step(step_epochs=70, factor=0.1),
        epochs=100,
        batch_size=64,
        augmentation=AugmentSpec(crop="resized", horizontal_flip=True, time_shift=False),
    )


PRESETS: tuple[Preset, ...] = (
    Preset(id="demo", title="Demo: GMM-guided adaptive loss, a minute on a CPU", spec=_demo(GmmAdaptive())),
    Preset(id="demo-joint", title="Demo: plain joint training, a minute on a CPU", spec=_demo(Joint())),
    Preset(
        id="paper-crema-d",
        title="Paper: CREMA-D (give dataset.path)",
        spec=_paper(CremaD(path="/path/to/CREMA-D", protocol="paper", preprocess=PREPROCESS_PRESETS["ogm-ge-crema-d"])),
    ),
    Preset(
        id="paper-ave",
        title="Paper: AVE (give dataset.path)",
        spec=_paper(Ave(path="/path/to/AVE_Dataset", protocol="paper", preprocess=_AVE_PREPROCESS)),
    ),
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
