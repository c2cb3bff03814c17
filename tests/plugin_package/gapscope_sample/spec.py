"""What users choose. Backend and frontend import this module: no torch here."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from worker.contract.spec.datasets import DatasetSpec
from worker.contract.spec.model import EncoderSpec, FusionSpec
from worker.contract.spec.objectives import ObjectiveSpec
from worker.contract.spec.preprocess import PreprocessSpec


class WeightedHeads(ObjectiveSpec):
    """Multi-head training with one weight on both unimodal losses."""

    kind: Literal["weighted-heads"] = "weighted-heads"
    title: ClassVar[str] = "Weighted heads"
    summary: ClassVar[str] = "CE(fused) + weight (CE(audio) + CE(visual))."
    implementation: ClassVar[str] = "gapscope_sample.method:WeightedHeadsObjective"

    weight: float = Field(0.5, ge=0.0, le=10.0, description="Weight of each modality's own loss.")


class MeanPair(EncoderSpec):
    """A linear layer on coarse means of spectrogram and picture."""

    kind: Literal["mean-pair"] = "mean-pair"
    title: ClassVar[str] = "Mean pair"
    summary: ClassVar[str] = "Means over time, then a linear layer: the smallest encoders there are."
    implementation: ClassVar[str] = "gapscope_sample.encoder:MeanEncoders"

    num_features: int = Field(16, ge=2, le=256, description="Features of a modality.")
    max_clips: int | None = Field(None, ge=1, description="Clips a training step that its pretended device holds.")


class Product(FusionSpec):
    """A linear layer on the product of the features."""

    kind: Literal["product"] = "product"
    title: ClassVar[str] = "Product"
    summary: ClassVar[str] = "A linear layer on both feature vectors and on their product; both need the same size."
    implementation: ClassVar[str] = "gapscope_sample.fusion:ProductFusion"


class TwoTones(DatasetSpec):
    """Two classes, made when they are prepared."""

    kind: Literal["two-tones"] = "two-tones"
    title: ClassVar[str] = "Two tones"
    summary: ClassVar[str] = "A low tone with ink on the left, a high tone with ink on the right."
    implementation: ClassVar[str] = "gapscope_sample.dataset:TwoTonesDataset"

    num_train: int = Field(40, ge=4, le=1_000, description="Training clips.")
    num_other: int = Field(10, ge=2, le=1_000, description="Validation clips, and as many test clips.")
    preprocess: PreprocessSpec = Field(
        default_factory=lambda: PreprocessSpec(
            duration_s=0.5, sample_rate_hz=8_000, num_mels=32, fft_samples=256, hop_samples=128,
            num_frames=2, frame_size=32, crop_size=32,
        ),
        description="From a file to tensors.",
    )  # fmt: skip
