"""The way from a page to the API: one client a process, addresses for browsers, and what to show when it is down.

Server-side calls go to GAPSCOPE_API_URL; media and uploads go from the browser to GAPSCOPE_PUBLIC_URL.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from typing import Any, Final
from urllib.parse import urljoin

import streamlit as st

from frontend.client import GapscopeClient, UnreachableError, discover
from worker.contract.errors import GapscopeError

TIMEOUT_S: Final = 10.0


def api_url() -> str:
    """Returns the API's address for calls of this process."""
    return discover()


def public_url() -> str:
    """Returns the API's address as browsers see it."""
    return os.environ.get("GAPSCOPE_PUBLIC_URL", api_url()).rstrip("/")


def browser_address(address: str) -> str:
    """Returns an address of the API (media, uploads) that a browser can open."""
    return urljoin(f"{public_url()}/", address)


@st.cache_resource(show_spinner=False)
def _client(url: str) -> GapscopeClient:
    return GapscopeClient(url, timeout_s=TIMEOUT_S)


def client() -> GapscopeClient:
    """Returns the client that all sessions of this process share."""
    return _client(api_url())


def guarded(draw: Callable[[], None]) -> Callable[[], None]:
    """Wraps a page: an error of the API becomes a clear message with a remedy, never a traceback."""

    @wraps(draw)
    def page() -> None:
        try:
            draw()
        except GapscopeError as error:
            show_error(error, page=True)

    return page


def show_error(error: GapscopeError, *, page: bool = False) -> None:
    """Draws an error of the API.

    Args:
        error: what the client raised.
        page: the error took the whole page: offer to try again.
    """
    if isinstance(error, UnreachableError):
        _show_unreachable(error)
        return
    st.error(f"**{error.title}**  \n{error.detail}", icon=":material/error:")
    for problem in error.errors or ():
        st.caption(f"`{problem.field}`: expected {problem.expected}, got {problem.got}. {problem.remedy}")
    if page:
        st.button("Try again", key="try_again", icon=":material/refresh:")


def _show_unreachable(error: GapscopeError) -> None:
    with st.container(border=True, key="api_down"):
        st.subheader(":material/cloud_off: The API does not answer", anchor=False)
        st.markdown(
            f"This page asks **{api_url()}** and got no answer. Runs that are training go on by themselves; nothing "
            "is lost.\n\n"
            "- Started with `gapscope up`? See whether that terminal still runs, and what it says last.\n"
            "- `gapscope doctor` checks Redis, the workers, the disk and the ports.\n"
            "- Another address? Set `GAPSCOPE_API_URL` before the interface starts."
        )
        st.caption(error.detail)
        st.button("Try again", key="try_again", icon=":material/refresh:", type="primary")


def catalog() -> dict[str, Any]:
    """Returns the catalog, asked for once a minute."""
    return _catalog(api_url())


@st.cache_data(ttl=60, show_spinner=False)
def _catalog(url: str) -> dict[str, Any]:
    return _client(url).catalog()


def method_title(kind: str) -> str:
    """Returns the title of a training method as the catalog has it."""
    entry = catalog()["objectives"].get(kind)
    return str(entry["title"]) if entry else kind
