"""What the model sees of a clip: poster, frames, spectrogram, waveform."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from backend.access.roots import require_still_open
from backend.clip_contents import Contents, contents_of
from backend.dependencies import DatasetId, SampleId, Uses
from backend.media import PictureName
from backend.problems import documented
from worker.contract.clip_contents import ClipContents, WaveformView

router = APIRouter(prefix="/datasets", tags=["datasets"])
KEPT_S = 3_600
_PICTURE: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}},
    304: {"description": "As the one that the browser has"},
    **documented(403, 404),
}


class PictureAccess(BaseModel):
    """The signature that allows a picture."""

    model_config = ConfigDict(extra="forbid")

    track: PictureName | None = Field(None, description="From the address.")
    expires: int | None = Field(None, ge=0, le=2**53, description="From the address.")
    signature: str | None = Field(None, pattern=r"^[0-9a-f]{64}$", description="From the address.")


Access = Annotated[PictureAccess, Query()]


@router.get(
    "/{dataset_id}/samples/{sample_id:path}/poster",
    summary="A clip's poster",
    response_class=Response,
    responses=_PICTURE,
)
def read_poster(
    dataset_id: DatasetId, sample_id: SampleId, access: Access, request: Request, services: Uses
) -> Response:
    """The middle frame that the model sees, as PNG; of a clip without picture its spectrogram. Nothing is decoded."""
    services.media.check_picture(dataset_id, sample_id, "poster", access.expires, access.signature, request)
    contents = contents_of(services.stores, dataset_id, sample_id)
    return _unchanged(contents, request) or _picture(contents, contents.poster())


@router.get(
    "/{dataset_id}/samples/{sample_id:path}/frames",
    summary="The frames that the model sees of a clip",
    response_class=Response,
    responses=_PICTURE,
)
def read_frames(
    dataset_id: DatasetId, sample_id: SampleId, access: Access, request: Request, services: Uses
) -> Response:
    """At most 12 frames beside each other, as PNG, whole as stored; `contents` has their times."""
    services.media.check_picture(dataset_id, sample_id, "frames", access.expires, access.signature, request)
    contents = contents_of(services.stores, dataset_id, sample_id)
    return _unchanged(contents, request) or _picture(contents, contents.strip())


@router.get(
    "/{dataset_id}/samples/{sample_id:path}/contents",
    summary="What the model sees of a clip, as numbers",
    responses=documented(404),
)
def read_contents(dataset_id: DatasetId, sample_id: SampleId, services: Uses) -> ClipContents:
    """The window, the times of its frames, spectrogram in dB and, where the store keeps it, the waveform; binned."""
    services.tools.record("dataset", dataset_id)
    return contents_of(services.stores, dataset_id, sample_id).view()


@router.get(
    "/{dataset_id}/samples/{sample_id:path}/waveform",
    summary="The waveform of what the model hears of a clip",
    responses=documented(404, 422, 503),
)
async def read_waveform(dataset_id: DatasetId, sample_id: SampleId, services: Uses) -> WaveformView:
    """Extremes over at most 320 stretches of the window. Where the store keeps spectrograms, the clip is decoded."""
    await run_in_threadpool(services.tools.record, "dataset", dataset_id)
    contents = await run_in_threadpool(contents_of, services.stores, dataset_id, sample_id)
    if (path := contents.clip.audio or contents.clip.video) is not None:
        require_still_open(services.settings, path, services.home.dataset(dataset_id).clips)
    return await contents.waveform(services.derivatives)


def _headers(contents: Contents) -> dict[str, str]:
    return {
        "ETag": contents.tag,
        "Cache-Control": f"private, max-age={KEPT_S}",
        "X-Content-Type-Options": "nosniff",
    }


def _unchanged(contents: Contents, request: Request) -> Response | None:
    if request.headers.get("if-none-match") != contents.tag:
        return None
    return Response(status_code=304, headers=_headers(contents))


def _picture(contents: Contents, data: bytes) -> Response:
    return Response(data, media_type="image/png", headers=_headers(contents))
