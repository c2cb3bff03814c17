"""Specs: what users choose."""

from worker.contract.spec.augment import AugmentSpec
from worker.contract.spec.base import Component, Spec
from worker.contract.spec.datasets import (
    DATASET_ID_PATTERN,
    AvDigits,
    DatasetReference,
    DatasetSpec,
    Folder,
    Manifest,
)
from worker.contract.spec.model import Concat, EncoderSpec, FusionSpec, ResNet18, SmallCnn
from worker.contract.spec.objectives import AudioOnly, GmmAdaptive, Joint, MultiHead, ObjectiveSpec, VisualOnly
from worker.contract.spec.preprocess import PREPROCESS_PRESETS, PreprocessSpec
from worker.contract.spec.presets import PRESETS, Preset, apply_preset
from worker.contract.spec.run import RunSpec
from worker.contract.spec.training import AdamW, Constant, Cosine, OptimizerSpec, ScheduleSpec, Sgd, Step

__all__ = [
    "DATASET_ID_PATTERN",
    "PREPROCESS_PRESETS",
    "PRESETS",
    "AdamW",
    "AudioOnly",
    "AugmentSpec",
    "AvDigits",
    "Component",
    "Concat",
    "Constant",
    "Cosine",
    "DatasetReference",
    "DatasetSpec",
    "EncoderSpec",
    "Folder",
    "FusionSpec",
    "GmmAdaptive",
    "Joint",
    "Manifest",
    "MultiHead",
    "ObjectiveSpec",
    "OptimizerSpec",
    "PreprocessSpec",
    "Preset",
    "ResNet18",
    "RunSpec",
    "ScheduleSpec",
    "Sgd",
    "SmallCnn",
    "Spec",
    "Step",
    "VisualOnly",
    "apply_preset",
]
