"""The audio-visual model: two encoders, a fusion and two unimodal heads.

Every method gets the two heads. Where the loss trains them they are heads; otherwise they are probes: they read
detached features, so nothing they do reaches the rest of the model. This module must not know losses or optimizers.

Shapes: B clips, T frames, M mel bins, S time steps, H x W pixels, A / V features of a modality, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol, cast

from jaxtyping import Float
from torch import Tensor, nn

from worker.contract.errors import TrainingError

Modality = Literal["audio", "visual"]
Features = Mapping[str, Tensor]
"""{"audio": (B, A), "visual": (B, V)}, float32."""


class EncoderPair(Protocol):
    """What an encoder implementation offers: two modules and their numbers of features."""

    audio: nn.Module
    visual: nn.Module
    num_audio_features: int
    num_visual_features: int


class SplittingFusion(Protocol):
    """What a fusion offers whose logits split into an audio and a visual part."""

    def split(self, audio: Tensor, visual: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the two parts, which add up to the fused logits."""


@dataclass(frozen=True, eq=False)
class ModelOutput:
    """What the model makes of a batch of features. Unimodal logits are computed when first asked for.

    Attributes:
        features: what the logits were computed from.
        fused_logits: (B, C), float32.
        model: whose heads read the features.
    """

    features: Features
    fused_logits: Float[Tensor, "B C"]
    model: AudioVisualModel

    @cached_property
    def audio_logits(self) -> Float[Tensor, "B C"]:
        """Logits of the audio head: (B, C), float32; no gradient to the features where the heads are probes."""
        return self.model.head_logits("audio", self.features)

    @cached_property
    def visual_logits(self) -> Float[Tensor, "B C"]:
        """Logits of the visual head: (B, C), float32; no gradient to the features where the heads are probes."""
        return self.model.head_logits("visual", self.features)

    @cached_property
    def split_logits(self) -> tuple[Float[Tensor, "B C"], Float[Tensor, "B C"]]:
        """The audio and the visual part of the fused logits (`split_head`), which add up to them.

        Raises:
            TrainingError: the fusion's logits do not split.
        """
        if not hasattr(self.model.fusion, "split"):
            raise TrainingError(
                f"The logits of {type(self.model.fusion).__name__} do not split into an audio and a visual part: "
                "choose the fusion concat or sum, or a method that does not need the parts.",
                code="fusion-does-not-split",
            )
        return cast(SplittingFusion, self.model.fusion).split(self.features["audio"], self.features["visual"])


class AudioVisualModel(nn.Module):
    """Encoders, fusion and unimodal heads, by these names in `state_dict` too."""

    def __init__(self, encoders: nn.Module, fusion: nn.Module, heads: nn.ModuleDict, *, heads_are_probes: bool) -> None:
        """Joins the parts.

        Args:
            encoders: a module that is an EncoderPair.
            fusion: from (B, A) and (B, V) to (B, C).
            heads: {"audio": A to C, "visual": V to C}.
            heads_are_probes: detach the features before the heads.

        `modalities` is what the model uses: an objective may narrow it to one.
        """
        super().__init__()
        self.encoders = encoders
        self.fusion = fusion
        self.heads = heads
        self.heads_are_probes = heads_are_probes
        self.modalities: tuple[Modality, ...] = ("audio", "visual")

    @property
    def fusion_splits(self) -> bool:
        """Whether the fused logits split exactly into an audio and a visual part."""
        return hasattr(self.fusion, "split")

    def encode_audio(self, audio: Float[Tensor, "B ..."]) -> Float[Tensor, "B A"]:
        """Returns the audio features, float32 (encoders may compute in bf16 under autocast).

        Args:
            audio: (B, 1, M, S), float, normalised log-mel spectrograms; what else its encoder reads.
        """
        features: Tensor = cast(EncoderPair, self.encoders).audio(audio)
        return features.float()

    def encode_visual(self, frames: Float[Tensor, "B ..."]) -> Float[Tensor, "B V"]:
        """Returns the visual features, float32.

        Args:
            frames: (B, T, 3, H, W), float, normalised frames; what else its encoder reads.
        """
        features: Tensor = cast(EncoderPair, self.encoders).visual(frames)
        return features.float()

    def encode(self, audio: Float[Tensor, "B ..."], frames: Float[Tensor, "B ..."]) -> Features:
        """Returns the features of both modalities; those of one that the model does not use are zero, and cost nothing.

        Args:
            audio: (B, 1, M, S), float.
            frames: (B, T, 3, H, W), float.
        """
        pair = cast(EncoderPair, self.encoders)
        if "audio" not in self.modalities:
            return {
                "audio": frames.new_zeros(len(frames), pair.num_audio_features),
                "visual": self.encode_visual(frames),
            }
        if "visual" not in self.modalities:
            return {"audio": self.encode_audio(audio), "visual": audio.new_zeros(len(audio), pair.num_visual_features)}
        return {"audio": self.encode_audio(audio), "visual": self.encode_visual(frames)}

    def classify(self, features: Features) -> ModelOutput:
        """Returns the logits that belong to the features, in float32.

        Args:
            features: as `encode` gives them, perhaps masked or scaled by an objective.
        """
        return ModelOutput(features, self.fusion(features["audio"], features["visual"]), self)

    def head_logits(self, modality: str, features: Features) -> Float[Tensor, "B C"]:
        """Returns the logits of one modality's head.

        Args:
            modality: "audio" or "visual".
            features: at least that modality's.
        """
        values = features[modality]
        logits: Tensor = self.heads[modality](values.detach() if self.heads_are_probes else values)
        return logits

    def forward(self, audio: Float[Tensor, "B ..."], frames: Float[Tensor, "B ..."]) -> ModelOutput:
        """Returns what the model makes of a batch of clips.

        Args:
            audio: (B, 1, M, S), float.
            frames: (B, T, 3, H, W), float.
        """
        return self.classify(self.encode(audio, frames))
