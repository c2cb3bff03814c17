"""The upload of a zip of clips as a Python function: the file goes straight from the browser to the API."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import streamlit as st

from worker.contract.errors import Problem

FOLDER: Final = Path(__file__).parent


@dataclass(frozen=True)
class ZipUpload:
    """What an upload came to in this script run: the dataset's id, or the API's refusal; mostly neither."""

    dataset_id: str | None = None
    refused: Problem | None = None


def _nothing() -> None:
    """Makes a trigger known to Streamlit; the value is read from the element's result."""


@st.cache_resource(show_spinner=False)
def _element() -> Any:
    names = ("zip.html", "zip.js", "upload.css", "zip.css")
    html, script, *styles = ((FOLDER / name).read_text(encoding="utf-8") for name in names)
    return st.components.v2.component("gapscope_zip", html=html, css="\n".join(styles), js=script)


def zip_upload(url: str, settings: Mapping[str, Any], *, key: str) -> ZipUpload:
    """Draws the upload of a zip and returns what came of it in this script run.

    Args:
        url: address of POST /datasets/upload as the browser sees it.
        settings: fields of a folder's spec without kind and path.
        key: of the element.
    """
    data = {"url": url, "spec": json.dumps(dict(settings))}
    result = _element()(key=key, data=data, on_uploaded_change=_nothing, on_refused_change=_nothing)
    if result.uploaded:
        return ZipUpload(dataset_id=str(result.uploaded))
    if result.refused:
        return ZipUpload(refused=Problem.model_validate(dict(result.refused)))
    return ZipUpload()
