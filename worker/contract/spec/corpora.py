"""Specs of published corpora in their official layouts: where they lie, which lists, which protocol.

Here the protocol also cuts the splits: paper takes those of the lists in circulation, honest keeps speakers or videos
apart. So it is part of the identity of the prepared dataset.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from worker.contract.spec.base import MisfitError
from worker.contract.spec.datasets import PATH_PATTERN, DatasetSpec, Protocol
from worker.contract.spec.preprocess import PreprocessSpec

CREMA_D_EMOTIONS = ("NEU", "HAP", "SAD", "FEA", "DIS", "ANG")
"""Class 0 to 5, in the order of the imbalance papers."""

Place = Annotated[str, StringConstraints(min_length=1, max_length=4_096, pattern=PATH_PATTERN)]
"""A file or folder: absolute, or relative to the corpus's root."""

_LOOKED_AT = "The test split is looked at once under honest, each epoch under paper."
VIDEO_PROTOCOL_HELP = (
    "paper: the splits as published. honest: the same, but a video that stands in several splits stays in one alone: "
    f"in test before validation before train. {_LOOKED_AT}"
)
_RELATIVE = "absolute, or relative to the root folder"


class Corpus(DatasetSpec):
    """A published corpus on the server's disk."""

    protocol_cuts_splits: ClassVar[bool] = True

    path: Place = Field(description="The corpus's root folder, as the server sees it (absolute).")
    validation_share: float = Field(
        0.1,
        ge=0.01,
        le=0.5,
        description="Share of the training clips that becomes the validation split, where there is none.",
    )
    seed: int = Field(0, ge=0, le=2**31 - 1, description="Of the splits that we cut: same seed, same splits.")


class CremaD(Corpus):
    """CREMA-D: 91 actors say 12 sentences in six emotions."""

    kind: Literal["crema-d"] = "crema-d"
    title: ClassVar[str] = "CREMA-D"
    summary: ClassVar[str] = (
        "7,442 clips of 91 actors in 6 emotions: AudioWAV/<clip>.wav and VideoFlash/<clip>.flv. paper: the lists "
        "train.csv and test.csv (clip,LABEL) of the imbalance papers. honest: no actor stands in two splits."
    )
    implementation: ClassVar[str] = "worker.datasets.crema_d:CremaDDataset"

    protocol: Protocol = Field(
        "honest",
        description=(
            "honest: no speaker stands in two splits (70/15/15 by seed; lists are not read). paper: the lists, in "
            f"which all 91 test speakers are also in train. {_LOOKED_AT}"
        ),
    )
    layout: Literal["official", "frames"] = Field(
        "official", description="Pictures as VideoFlash/<clip>.flv, or as Image-01-FPS/<clip>/*.jpg."
    )
    audio_folder: Place = Field("AudioWAV", description=f"Folder of <clip>.wav: {_RELATIVE}.")
    visual_folder: Place | None = Field(
        None, description="Folder of the pictures; empty: VideoFlash, in the layout frames Image-01-FPS."
    )
    train_list: Place = Field("train.csv", description=f"Under paper, lines of clip,LABEL: {_RELATIVE}.")
    validation_list: Place | None = Field(None, description="Under paper, if there is one: lines of clip,LABEL.")
    test_list: Place = Field("test.csv", description=f"Under paper, lines of clip,LABEL: {_RELATIVE}.")
    preprocess: PreprocessSpec = Field(
        default_factory=lambda: PreprocessSpec(duration_s=3.0, num_mels=128, num_frames=3),
        description="From a file to tensors.",
    )


class Ave(Corpus):
    """AVE: audio-visual events in 28 classes, a stretch of a ten-second video each."""

    kind: Literal["ave"] = "ave"
    title: ClassVar[str] = "AVE"
    summary: ClassVar[str] = (
        "4,143 audio-visual events in 28 classes: AVE_Dataset with AVE/<video id>.mp4, Annotations.txt, trainSet.txt, "
        "valSet.txt and testSet.txt."
    )
    implementation: ClassVar[str] = "worker.datasets.ave:AveDataset"

    protocol: Protocol = Field("honest", description=VIDEO_PROTOCOL_HELP)
    part: Literal["event", "clip"] = Field(
        "event", description="What the model sees: the annotated seconds of the event, or the whole video."
    )
    preprocess: PreprocessSpec = Field(
        default_factory=lambda: PreprocessSpec(duration_s=10.0, num_mels=128, num_frames=4),
        description="From a file to tensors.",
    )


class KineticsSounds(Corpus):
    """Kinetics-Sounds: the classes of Kinetics-400 that can be seen and heard."""

    kind: Literal["kinetics-sounds"] = "kinetics-sounds"
    title: ClassVar[str] = "Kinetics-Sounds"
    summary: ClassVar[str] = (
        "31 classes of Kinetics-400 (34 in the first version): <split>/<class>/<ytid>_<start>_<end>.mp4, split by "
        "folder or by lists (label,clip; clip,10,classid; clip ... int); or frames as visual/<clip>/frame_0000N.jpg "
        "beside audio/<clip>.wav."
    )
    implementation: ClassVar[str] = "worker.datasets.kinetics_sounds:KineticsSoundsDataset"

    protocol: Protocol = Field("honest", description=VIDEO_PROTOCOL_HELP)
    layout: Literal["official", "frames"] = Field(
        "official", description="<split>/<class>/<clip>.mp4, or visual/<clip>/*.jpg beside audio/<clip>.wav with lists."
    )
    audio_folder: Place = Field("audio", description="In the layout frames: folder of <clip>.wav.")
    visual_folder: Place = Field("visual", description="In the layout frames: folder of <clip>/frame_0000N.jpg.")
    train_list: Place | None = Field(None, description=f"Training list: {_RELATIVE}; empty: split by folder.")
    validation_list: Place | None = Field(None, description=f"Validation list, if there is one: {_RELATIVE}.")
    test_list: Place | None = Field(None, description=f"Test list: {_RELATIVE}; empty: split by folder.")
    preprocess: PreprocessSpec = Field(
        default_factory=lambda: PreprocessSpec(duration_s=10.0, num_mels=128, num_frames=3),
        description="From a file to tensors.",
    )

    @model_validator(mode="after")
    def _check_lists(self) -> Self:
        if (self.train_list is None) != (self.test_list is None):
            raise MisfitError("train_list", "give both train_list and test_list, or neither")
        if self.validation_list is not None and self.train_list is None:
            raise MisfitError("validation_list", "a validation_list needs a train_list and a test_list")
        if self.layout == "frames" and self.train_list is None:
            raise MisfitError("train_list", "the layout frames has no folders by split: give train_list and test_list")
        return self


class VggSound(Corpus):
    """VGGSound: 309 classes of sounds whose source is in the picture."""

    kind: Literal["vggsound"] = "vggsound"
    title: ClassVar[str] = "VGGSound"
    summary: ClassVar[str] = (
        "309 classes, ten seconds a clip: <ytid>_<start, 6 digits>.mp4 and vggsound.csv (ytid,start,label,split; a "
        "label may hold commas, quoted)."
    )
    implementation: ClassVar[str] = "worker.datasets.vggsound:VggSoundDataset"

    protocol: Protocol = Field("honest", description=VIDEO_PROTOCOL_HELP)
    clips_folder: Place = Field(".", description=f"Folder of <ytid>_<start>.mp4: {_RELATIVE}.")
    split_list: Place = Field("vggsound.csv", description=f"The list ytid,start,label,split: {_RELATIVE}.")
    preprocess: PreprocessSpec = Field(
        default_factory=lambda: PreprocessSpec(duration_s=10.0, num_mels=128, num_frames=3),
        description="From a file to tensors.",
    )
