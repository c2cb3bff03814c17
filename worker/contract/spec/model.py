"""Encoder and fusion specs: what turns the two modalities into logits."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from worker.contract.spec.base import Component


class EncoderSpec(Component):
    """A pair of encoders, one a modality."""


class SmallCnn(EncoderSpec):
    """A small convolutional pair, made for CPUs."""

    kind: Literal["small-cnn"] = "small-cnn"
    title: ClassVar[str] = "Small CNN pair"
    summary: ClassVar[str] = "Three convolution blocks a modality with group norm; a CPU trains it in seconds an epoch."
    implementation: ClassVar[str] = "worker.encoders.small_cnn:SmallCnnPair"

    width: int = Field(16, ge=4, le=128, description="Channels of the first block; each block doubles them.")
    num_features: int = Field(64, ge=8, le=1_024, description="Features a modality.")


class ResNet18(EncoderSpec):
    """The papers' pair: ResNet-18 on the spectrogram and ResNet-18 on the frames, mean over time."""

    kind: Literal["resnet18"] = "resnet18"
    title: ClassVar[str] = "ResNet-18 pair"
    summary: ClassVar[str] = (
        "torchvision's ResNet-18 for both modalities, trained from scratch; the first convolution fits the modality's "
        "channels; frames share one network and are averaged over time."
    )
    implementation: ClassVar[str] = "worker.encoders.resnet:ResNet18Pair"


class FusionSpec(Component):
    """How the two feature vectors become fused logits."""


class Concat(FusionSpec):
    """One linear layer on both feature vectors side by side."""

    kind: Literal["concat"] = "concat"
    title: ClassVar[str] = "Concatenation"
    summary: ClassVar[str] = (
        "A linear layer on both feature vectors side by side. Its logits split exactly into an audio and a visual part."
    )
    implementation: ClassVar[str] = "worker.fusion.concat:ConcatFusion"
