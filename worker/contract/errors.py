"""One tree of domain errors, each with a stable code, and the problem document that carries them over the wire.

An error says what was expected, what was got and what the remedy is. The API turns it into application/problem+json in
one place; a worker stores it in the run, dataset or score that it ended.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

MAX_DETAIL = 3_000
"""Characters of a detail; messages of libraries that stand in it know no bound, an event has 16 KiB."""


class FieldProblem(BaseModel):
    """What is wrong with one field of a request."""

    field: str = Field(description="Dotted path of the field, such as `objective.alpha`.")
    expected: str
    got: str
    remedy: str

    @property
    def sentence(self) -> str:
        """What is wrong, in a sentence; settings that do not go together say it without the whole document."""
        if self.got.startswith("{"):
            return self.expected[:1].upper() + self.expected[1:].rstrip(".") + "."
        return f"{self.field}: expected {self.expected}; got {self.got}."


class Problem(BaseModel):
    """RFC 9457 problem details with a stable code."""

    model_config = ConfigDict(json_schema_extra={"description": "application/problem+json"})

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str
    errors: list[FieldProblem] | None = None


class GapscopeError(Exception):
    """Something that a person can act on."""

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Something went wrong"
    default_code: ClassVar[str] = "internal-error"

    def __init__(self, detail: str, *, code: str | None = None, errors: list[FieldProblem] | None = None) -> None:
        """Keeps the sentence for people and the stable code for programs.

        Args:
            detail: one or two sentences: what was expected, what was got, what to do.
            code: a stable code in kebab case; the class's own by default.
            errors: the fields at fault, if the mistake lies in fields.
        """
        super().__init__(detail)
        self.detail = detail
        self.code = code or self.default_code
        self.errors = errors

    def problem(self) -> Problem:
        """Returns the error as a problem document, short enough for an event."""
        detail = self.detail if len(self.detail) <= MAX_DETAIL else f"{self.detail[:MAX_DETAIL]} ..."
        return Problem(title=self.title, status=self.status, detail=detail, code=self.code, errors=self.errors)


class InvalidRequestError(GapscopeError):
    """A field of the request is missing, unknown or out of its bounds."""

    status = 422
    title = "The request is not valid"
    default_code = "invalid-request"


class NotFoundError(GapscopeError):
    """There is no such run, dataset, sample, score or epoch."""

    status = 404
    title = "Not found"
    default_code = "not-found"


class GoneError(GapscopeError):
    """What was asked for was there and has been removed to save space."""

    status = 410
    title = "Not kept"
    default_code = "gone"


class ConflictError(GapscopeError):
    """The thing is in a state in which this cannot be done."""

    status = 409
    title = "Not possible in this state"
    default_code = "conflict"


class TooLargeError(GapscopeError):
    """A body, file or clip is over its limit."""

    status = 413
    title = "Too large"
    default_code = "too-large"


class TooManyError(GapscopeError):
    """A queue or a rate limit is full."""

    status = 429
    title = "Too many"
    default_code = "too-many"

    def __init__(
        self,
        detail: str,
        *,
        code: str | None = None,
        errors: list[FieldProblem] | None = None,
        retry_after_s: int = 5,
    ) -> None:
        """Keeps the sentence, the code and when to try again.

        Args:
            detail: one or two sentences.
            code: a stable code in kebab case.
            errors: the fields at fault, if any.
            retry_after_s: seconds after which trying again makes sense.
        """
        super().__init__(detail, code=code, errors=errors)
        self.retry_after_s = retry_after_s


class UnavailableError(GapscopeError):
    """Redis or a worker that is needed does not answer."""

    status = 503
    title = "Not available now"
    default_code = "unavailable"


class InsufficientStorageError(GapscopeError):
    """The disk is too full to begin new work."""

    status = 507
    title = "Not enough disk space"
    default_code = "disk-full"


class HomeFullError(InsufficientStorageError):
    """The home holds as much as it may, whatever the disk has left."""

    title = "The home is full"
    default_code = "home-full"


class MediaError(GapscopeError):
    """A clip cannot be decoded, or is no clip."""

    status = 422
    title = "The clip cannot be used"
    default_code = "media-not-decodable"


class DatasetError(GapscopeError):
    """A dataset cannot be listed, prepared or trained on."""

    status = 422
    title = "The dataset cannot be used"
    default_code = "dataset-unusable"


class TrainingError(GapscopeError):
    """Training cannot go on, and would fail in the same way again (a non-finite loss, a wrong combination)."""

    status = 422
    title = "The run cannot go on"
    default_code = "training-failed"


class LostLeaseError(GapscopeError):
    """Another holder has the job now: whatever this one still does is refused."""

    status = 409
    title = "The job belongs to another worker"
    default_code = "lease-lost"


class CorruptRecordError(GapscopeError):
    """A file of the record cannot be read: damaged, or of a format that this version does not know."""

    status = 500
    title = "A record is damaged"
    default_code = "record-corrupt"
