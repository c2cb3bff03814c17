"""Encoder and fusion specs: what turns the two modalities into logits."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from worker.contract.spec.base import Component

WeightsSource = Annotated[str, StringConstraints(pattern=r"^(torchvision-cache|/[^\x00]+)$", max_length=4_096)]
WEIGHTS_HELP = (
    "Empty: from scratch. An absolute path as the worker sees it: safetensors, or a state dict of torch. "
    "torchvision-cache: ImageNet's (IMAGENET1K_V1) from torch's cache; nothing is ever downloaded."
)
AudioWeights = Annotated[
    WeightsSource | None,
    Field(description=f"Of the audio encoder. {WEIGHTS_HELP} A first convolution on colours is summed over them."),
]
VisualWeights = Annotated[WeightsSource | None, Field(description=f"Of the visual encoder. {WEIGHTS_HELP}")]
TESTED_BACKBONES = (
    "alexnet",
    "convnext_tiny",
    "densenet121",
    "efficientnet_b0",
    "mobilenet_v3_small",
    "regnet_x_400mf",
    "resnet50",
    "shufflenet_v2_x0_5",
    "squeezenet1_1",
    "swin_t",
    "vit_b_16",
)
"""Of torchvision's image classifiers those that the tests build; the others follow the same rule."""


class EncoderSpec(Component):
    """A pair of encoders, one a modality."""

    reads: ClassVar[Literal["clips", "features"]] = "clips"
    """What batches are made of. A model that reads features cannot score an uploaded clip: it has none."""

    @property
    def learns(self) -> bool:
        """Whether the encoders have weights that are trained."""
        return True


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
        "torchvision's ResNet-18 for both modalities, from scratch or from given weights; the first convolution fits "
        "the modality's channels; frames share one network and are averaged over time."
    )
    implementation: ClassVar[str] = "worker.encoders.resnet:ResNet18Pair"

    audio_weights: AudioWeights = None
    visual_weights: VisualWeights = None


class Torchvision(EncoderSpec):
    """Any image classifier of torchvision for both modalities, mean over time."""

    kind: Literal["torchvision"] = "torchvision"
    title: ClassVar[str] = "torchvision backbone pair"
    summary: ClassVar[str] = (
        "Any image classifier of torchvision by name, for both modalities, without its last layer; the first "
        "convolution fits the modality's channels; frames share one network and are averaged over time."
    )
    implementation: ClassVar[str] = "worker.encoders.backbones:TorchvisionPair"

    name: str = Field(
        "mobilenet_v3_small",
        pattern=r"^[a-z][a-z0-9_]{0,63}$",
        description=f"torchvision's name of the network; tested: {', '.join(TESTED_BACKBONES)}.",
    )
    resize_to: int | None = Field(
        None,
        ge=32,
        le=1_024,
        description="Side in pixels that spectrograms and frames are resized to, for networks of a fixed input size "
        "(ViT and MaxViT: 224); empty: as they are.",
    )
    audio_weights: AudioWeights = None
    visual_weights: VisualWeights = None


class Precomputed(EncoderSpec):
    """Features that other models computed, in place of encoders."""

    kind: Literal["precomputed"] = "precomputed"
    title: ClassVar[str] = "Precomputed features"
    summary: ClassVar[str] = (
        "Features of any frozen model, a file for each clip and modality, as they are or through a small network. "
        "Augmentation does not reach them, and an uploaded clip, which has none, cannot be scored."
    )
    implementation: ClassVar[str] = "worker.encoders.precomputed:PrecomputedPair"
    reads: ClassVar[Literal["clips", "features"]] = "features"

    features_root: str = Field(
        min_length=1,
        max_length=4_096,
        pattern=r"^/[^\x00]*$",
        description="Folder as the worker sees it (absolute), with audio/<sample id>.npy and visual/<sample id>.npy "
        "(or .safetensors), each (features,) or (steps, features), which is averaged.",
    )
    num_hidden: int = Field(
        256,
        ge=0,
        le=8_192,
        description="Width of a two-layer network on each modality's features; 0: the features as they are, and no "
        "encoder learns.",
    )

    @property
    def learns(self) -> bool:
        """Whether there is a network on the features."""
        return self.num_hidden > 0


class FusionSpec(Component):
    """How the two feature vectors become fused logits."""

    splits: ClassVar[bool] = False
    """Whether the fused logits are exactly an audio plus a visual part, which the implementation's `split` gives."""


class Concat(FusionSpec):
    """One linear layer on both feature vectors side by side."""

    kind: Literal["concat"] = "concat"
    title: ClassVar[str] = "Concatenation"
    summary: ClassVar[str] = (
        "A linear layer on both feature vectors side by side. Its logits split exactly into an audio and a visual part."
    )
    implementation: ClassVar[str] = "worker.fusion.concat:ConcatFusion"
    splits: ClassVar[bool] = True


class Sum(FusionSpec):
    """One linear layer a modality, their logits added."""

    kind: Literal["sum"] = "sum"
    title: ClassVar[str] = "Sum"
    summary: ClassVar[str] = (
        "A linear layer with its own bias for each modality, their logits added. Its logits split exactly into an "
        "audio and a visual part."
    )
    implementation: ClassVar[str] = "worker.fusion.sum:SumFusion"
    splits: ClassVar[bool] = True


class Gated(FusionSpec):
    """One modality opens and closes the gates that the other passes."""

    kind: Literal["gated"] = "gated"
    title: ClassVar[str] = "Gated"
    summary: ClassVar[str] = (
        "The sigmoid of one modality's hidden features gates the other's, then a linear layer (Kiela et al. 2018). "
        "Its logits do not split into an audio and a visual part."
    )
    implementation: ClassVar[str] = "worker.fusion.gated:GatedFusion"

    gate_by: Literal["audio", "visual"] = Field(
        "audio", description="The modality that makes the gates (x_gate in OGM-GE's code, where audio is x)."
    )
    num_hidden: int = Field(512, ge=8, le=4_096, description="Hidden features of a modality; OGM-GE's code has 512.")


class Film(FusionSpec):
    """One modality scales and shifts the features of the other."""

    kind: Literal["film"] = "film"
    title: ClassVar[str] = "FiLM"
    summary: ClassVar[str] = (
        "One modality scales and shifts each feature of the other, then a linear layer (Perez et al. 2018). "
        "Its logits do not split into an audio and a visual part."
    )
    implementation: ClassVar[str] = "worker.fusion.film:FilmFusion"

    film_by: Literal["audio", "visual"] = Field(
        "audio",
        description="The modality that scales and shifts the other (x_film in OGM-GE's code, where audio is x).",
    )
