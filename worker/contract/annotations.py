"""Tags and notes of people on the clips of a dataset: what is kept, and what the API shows."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from worker.contract.events import Record

ANNOTATION_FORMAT: Final = 1
MAX_TAGS: Final = 32
MAX_NOTE: Final = 2_000
MAX_TAG: Final = 40
SUGGESTED_TAGS: Final = ("mislabelled", "off-screen sound", "exclude", "hard", "look again")
"""What the interface offers beside the tags that are there."""

ClipTag = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_TAG, pattern=r"^[^\x00-\x1f\x7f,]+$"),
]
Note = Annotated[str, StringConstraints(strip_whitespace=True, max_length=MAX_NOTE)]


class AnnotationChange(Record):
    """One line of a dataset's annotations.jsonl: one deed of one person on any number of clips."""

    format: int = ANNOTATION_FORMAT
    at: datetime
    by: str = Field(description="Name of the key that was used, or `local`.")
    sample_ids: list[str]
    add_tags: list[str] = Field(default_factory=list)
    remove_tags: list[str] = Field(default_factory=list)
    note: str | None = Field(None, description="The note from now on, empty for none; null: it stays.")


class Tagged(Record):
    """A tag on a clip, and who put it there when."""

    tag: str
    by: str
    at: datetime


class Annotation(Record):
    """What people said of one clip of a dataset."""

    sample_id: str
    tags: list[Tagged] = Field(default_factory=list, description="In alphabetical order.")
    note: str = ""
    note_by: str | None = None
    note_at: datetime | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is said."""
        return not self.tags and not self.note


class TagCount(Record):
    """A tag and the clips that have it."""

    tag: str
    num_samples: int


class AnnotationSummary(Record):
    """What a dataset's annotations hold."""

    tags: list[TagCount] = Field(description="The most frequent first, at most 1,000.")
    num_annotated: int = Field(description="Clips with a tag or a note.")
    num_noted: int = Field(description="Clips with a note.")


class AnnotationsChanged(Record):
    """What a change came to."""

    num_samples: int = Field(description="Clips that it was about.")
    num_changed: int = Field(description="Of them, those that are other than before.")


class AnnotationEdit(BaseModel):
    """All that people say of one clip from now on."""

    model_config = ConfigDict(extra="forbid")

    tags: list[ClipTag] = Field(default_factory=list, max_length=MAX_TAGS, description="All its tags; others go.")
    note: Note = Field("", description="Its note; empty: none.")
