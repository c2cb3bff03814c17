"""Dataset specs: which clips, with which labels and splits, prepared how."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from worker.contract.spec.base import Component, MisfitError, Spec
from worker.contract.spec.preprocess import PreprocessSpec

Protocol = Literal["honest", "paper"]

PROTOCOL_HELP = (
    "honest: validation chooses the epoch, the test split is looked at once, at the end. "
    "paper: the test split is evaluated each epoch, and the best is marked optimistic."
)
PATH_PATTERN = r"^[^\x00]+$"
"""No path holds a zero character: the system calls refuse it."""
DATASET_ID_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,63}$"


class DatasetSpec(Component):
    """A dataset to register and prepare; identical specs share one prepared store."""

    protocol_cuts_splits: ClassVar[bool] = False
    """The protocol decides which clip stands in which split; else it only says which split is looked at when."""

    protocol: Protocol = Field("honest", description=PROTOCOL_HELP)
    preprocess: PreprocessSpec = Field(default_factory=PreprocessSpec, description="From a file to tensors.")

    def identity(self) -> str:
        """Returns the digest of what a prepared store depends on: with the protocol only where it cuts the splits."""
        return self.digest(exclude=frozenset() if self.protocol_cuts_splits else frozenset({"protocol"}))

    def dataset_id(self) -> str:
        """Returns the id under which the dataset is registered when the user gives none."""
        return f"{self.kind}-{self.identity()}"


class DatasetReference(Spec):
    """A dataset that is registered already, by its id."""

    id: str = Field(pattern=DATASET_ID_PATTERN, description="The id that GET /datasets lists.")
    protocol: Protocol = Field("honest", description=PROTOCOL_HELP)


NUM_DIGIT_IMAGES = 1_797
"""Images in scikit-learn's load_digits."""

Share = Annotated[float, Field(ge=0.0, le=0.5)]


class AvDigits(DatasetSpec):
    """Spoken-by-keypad digits: handwritten digits as H.264 video, each with its DTMF tone as AAC sound."""

    kind: Literal["av-digits"] = "av-digits"
    title: ClassVar[str] = "av-digits (built in)"
    summary: ClassVar[str] = (
        "Handwritten digits (scikit-learn's) drawn into short H.264/AAC clips, each with its telephone keypad tone in "
        "noise; a known share of clips has its sound or its picture corrupted, and the truth is kept."
    )
    implementation: ClassVar[str] = "worker.datasets.av_digits:AvDigitsDataset"

    num_train: int = Field(1_000, ge=50, le=1_200, description="Training clips.")
    num_validation: int = Field(150, ge=20, le=400, description="Validation clips.")
    num_test: int = Field(600, ge=20, le=600, description="Test clips. The digits have 1,797 images in all.")
    audio_noise: float = Field(
        5.5, ge=0.0, le=50.0, description="Standard deviation of the sound's noise, relative to the tone's."
    )
    visual_noise: float = Field(
        0.25, ge=0.0, le=5.0, description="Standard deviation of the picture's noise, relative to the ink's."
    )
    corrupted_audio: Share = Field(0.05, description="Share of clips whose tone is replaced by noise.")
    corrupted_visual: Share = Field(0.08, description="Share of clips whose digit is replaced by noise.")
    seed: int = Field(0, ge=0, le=2**31 - 1, description="Same seed: same labels, same tensors.")
    preprocess: PreprocessSpec = Field(
        default_factory=lambda: PreprocessSpec(
            duration_s=0.5,
            sample_rate_hz=8_000,
            num_mels=32,
            fft_samples=256,
            hop_samples=128,
            num_frames=2,
            frame_size=32,
            crop_size=32,
        ),
        description="From a file to tensors.",
    )

    @model_validator(mode="after")
    def _check_sizes(self) -> Self:
        total = self.num_train + self.num_validation + self.num_test
        if total > NUM_DIGIT_IMAGES:
            raise MisfitError(
                "num_train",
                f"num_train + num_validation + num_test is {total}; there are {NUM_DIGIT_IMAGES} digit images, "
                "and none may stand in two splits: lower one of the three",
            )
        return self


class Folder(DatasetSpec):
    """Own clips, one folder a class: `<split>/<class>/*` or `<class>/*`."""

    kind: Literal["folder"] = "folder"
    title: ClassVar[str] = "Folder of clips"
    summary: ClassVar[str] = (
        "Your own clips: <split>/<class>/* with splits train, validation (or val) and test; or <class>/*, split "
        "70/15/15 by seed."
    )
    implementation: ClassVar[str] = "worker.datasets.folder:FolderDataset"

    path: str = Field(
        min_length=1,
        max_length=4_096,
        pattern=PATH_PATTERN,
        description="The folder, as the server sees it (absolute).",
    )
    seed: int = Field(0, ge=0, le=2**31 - 1, description="Seed of the split where the folder has none.")


class Manifest(DatasetSpec):
    """Own clips, listed in a CSV file."""

    kind: Literal["manifest"] = "manifest"
    title: ClassVar[str] = "Manifest (CSV)"
    summary: ClassVar[str] = (
        "Your own clips listed in a CSV file with a header: path, label, split; optional audio_path, id, group, "
        "start_s, end_s. Paths are relative to the file's folder; other columns are kept as notes."
    )
    implementation: ClassVar[str] = "worker.datasets.manifest:ManifestDataset"

    path: str = Field(
        min_length=1,
        max_length=4_096,
        pattern=PATH_PATTERN,
        description="The CSV file, as the server sees it (absolute).",
    )
    seed: int = Field(0, ge=0, le=2**31 - 1, description="Seed of the validation split where the file has none.")
