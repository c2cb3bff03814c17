"""Media files over HTTP, with ranges."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse

from backend.access.guard import caller_of
from backend.security import MediaSigner
from backend.stores import ClipRow
from worker.contract.errors import NotFoundError

Track = Literal["video", "audio"]
PictureName = Literal["poster", "frames"]
"""Pictures of a clip that are made from the store."""


class MediaAccess(BaseModel):
    """What of a clip is asked for, and the signature that allows it."""

    model_config = ConfigDict(extra="forbid")

    track: Track = Field("video", description="The clip itself, or its separate sound file where it has one.")
    original: bool = Field(False, description="The file as it is, even where browsers cannot play it.")
    expires: int | None = Field(None, ge=0, le=2**53, description="From the address.")
    signature: str | None = Field(None, pattern=r"^[0-9a-f]{64}$", description="From the address.")


MEDIA_TYPES = {
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".mov": "video/quicktime",
    ".webm": "video/webm",
    ".mkv": "video/x-matroska",
    ".avi": "video/x-msvideo",
    ".flv": "video/x-flv",
    ".ts": "video/mp2t",
    ".wav": "audio/wav",
    ".mp3": "audio/mpeg",
    ".m4a": "audio/mp4",
    ".ogg": "audio/ogg",
    ".flac": "audio/flac",
}
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})\Z")
_HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "private, max-age=3600"}


def serve(path: Path, request: Request) -> FileResponse:
    """Returns a media file as an answer that honours a Range header with one range.

    Raises:
        NotFoundError: code `media-not-found`, when the file is gone.
        HTTPException: 416, when the range lies outside the file.
    """
    try:
        status = path.stat()
    except OSError:
        raise NotFoundError(
            f"The file {path.name} is gone. Prepare the dataset anew.", code="media-not-found"
        ) from None
    if not path.is_file():
        raise NotFoundError(f"{path.name} is no regular file.", code="media-not-found")
    _settle_range(request, status.st_size)
    media_type = MEDIA_TYPES.get(path.suffix.lower(), "application/octet-stream")
    return FileResponse(path, media_type=media_type, headers=_HEADERS, stat_result=status)


def _settle_range(request: Request, size: int) -> None:
    """Removes a Range header that is not one well-formed range: it is ignored then, as RFC 9110 allows."""
    header = request.headers.get("range")
    if header is None:
        return
    match = _RANGE.match(header.strip())
    first, last = match.groups() if match else ("", "")
    if (not first and not last) or (first and last and int(first) > int(last)):
        request.scope["headers"] = [item for item in request.scope["headers"] if item[0].lower() != b"range"]
        return
    beyond = int(first) >= size if first else int(last) == 0 or size == 0
    if beyond:
        detail = f"Expected a range within the file's {size:,} bytes; got {header[:80]!r}."
        raise HTTPException(416, detail, headers={"Content-Range": f"bytes */{size}"})


class MediaAddresses:
    """Signed addresses of the files behind clips and uploads, and their check."""

    def __init__(self, signer: MediaSigner, prefix: str) -> None:
        self._signer = signer
        self._prefix = prefix

    def of_clip(self, dataset_id: str, clip: ClipRow) -> dict[str, str]:
        """Returns the addresses of a dataset's clip."""
        path = self._clip(dataset_id, clip.sample.sample_id)
        is_folder = clip.video is not None and clip.video.is_dir()  # frames as pictures: nothing that a player plays
        files = self._addresses(path, has_video_file=not is_folder, has_audio_file=clip.audio is not None)
        pictures: tuple[PictureName, ...] = ("poster", "frames") if clip.has_visual else ("poster",)
        of_sample = path.removesuffix("/media")
        return {**files, **{name: self._signer.address(f"{of_sample}/{name}", name) for name in pictures}}

    def of_score(self, score_id: str, *, has_audio_file: bool) -> dict[str, str]:
        """Returns the addresses of an upload."""
        return self._addresses(self._score(score_id), has_audio_file=has_audio_file)

    def check_clip(self, dataset_id: str, sample_id: str, track: Track, access: MediaAccess, request: Request) -> None:
        """Passes a request that may see a clip (by its signature, or as a known caller)."""
        self._check(self._clip(dataset_id, sample_id), track, access, request)

    def check_score(self, score_id: str, track: Track, access: MediaAccess, request: Request) -> None:
        """Passes a request that may see an upload (by its signature, or as a known caller)."""
        self._check(self._score(score_id), track, access, request)

    def check_picture(
        self,
        dataset_id: str,
        sample_id: str,
        name: PictureName,
        expires: int | None,
        signature: str | None,
        request: Request,
    ) -> None:
        """Passes a request that may see a clip's poster or frames (by its signature, or as a known caller)."""
        if signature is None and expires is None and caller_of(request) is not None:
            return
        path = f"{self._clip(dataset_id, sample_id).removesuffix('/media')}/{name}"
        self._signer.check(path, name, expires, signature)

    def _addresses(self, path: str, *, has_audio_file: bool, has_video_file: bool = True) -> dict[str, str]:
        tracks: dict[Track, bool] = {"video": has_video_file, "audio": has_audio_file}
        return {track: self._signer.address(path, track) for track, is_there in tracks.items() if is_there}

    def _check(self, path: str, track: Track, access: MediaAccess, request: Request) -> None:
        if access.signature is None and access.expires is None and caller_of(request) is not None:
            return
        self._signer.check(path, track, access.expires, access.signature)

    def _clip(self, dataset_id: str, sample_id: str) -> str:
        return f"{self._prefix}/datasets/{dataset_id}/samples/{sample_id}/media"

    def _score(self, score_id: str) -> str:
        return f"{self._prefix}/scores/{score_id}/media"
