"""The way from a page to the API: one client a process, addresses for browsers, and what to show when it is down.

Server-side calls go to GAPSCOPE_API_URL; media and uploads go from the browser to GAPSCOPE_PUBLIC_URL.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import wraps
from typing import Any, Final, Literal
from urllib.parse import unquote, urljoin, urlsplit

import streamlit as st

from frontend.client import GapscopeClient, UnreachableError, discover
from frontend.ui import sessions, words
from worker.contract.errors import GapscopeError

TIMEOUT_S: Final = 10.0
AGAIN_S: Final = 4.0
"""How often a page that got no answer asks again."""
ASKED_AT: Final = "api_asked_at"
TICKET_LIFE_S: Final = 1_800
"""Half of what the API gives a ticket."""


def api_url() -> str:
    """Returns the API's address for calls of this process."""
    return discover()


def public_url() -> str:
    """Returns the API's address as browsers see it."""
    return os.environ.get("GAPSCOPE_PUBLIC_URL", api_url()).rstrip("/")


def api_key() -> str | None:
    """Returns the key with which the person at this browser calls the API; None where none is needed."""
    return sessions.key_of(st.context.cookies.get(sessions.COOKIE)) if sessions.needs_login() else None


def browser_address(address: str, method: Literal["GET", "POST"] = "GET") -> str:
    """Returns an address of the API (media, exports, uploads) that a browser can open.

    Args:
        address: path and query, or all of it.
        method: of the browser's request.
    """
    key, parts = api_key(), urlsplit(address)
    if key is not None and "signature=" not in parts.query:
        ticket = urlsplit(_ticket(key, unquote(parts.path), method)).query
        parts = parts._replace(query=f"{parts.query}&{ticket}" if parts.query else ticket)
    return urljoin(f"{public_url()}/", parts.geturl())


@st.cache_data(ttl=TICKET_LIFE_S, max_entries=4_096, show_spinner=False)
def _ticket(key: str, path: str, method: Literal["GET", "POST"]) -> str:
    return _client(api_url(), key).ticket(path, method)


@st.cache_resource(max_entries=256, show_spinner=False)
def _client(url: str, key: str | None) -> GapscopeClient:
    return GapscopeClient(url, timeout_s=TIMEOUT_S, api_key=key)


def client() -> GapscopeClient:
    """Returns the client with this browser's key; sessions with the same key share it."""
    return _client(api_url(), api_key())


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
        if page:
            st.session_state[ASKED_AT] = time.monotonic()
            st.fragment(run_every=AGAIN_S, key="api_down_tick")(_come_back)()
        return
    st.error(f"**{words.plain(error.title)}**  \n{words.message(error.detail)}", icon=":material/error:")
    for problem in error.errors or ():
        if problem.sentence == error.detail:
            st.caption(words.message(problem.remedy))
        else:
            said = f"{problem.field}: expected {problem.expected}, got {problem.got}. {problem.remedy}"
            st.caption(words.message(said))
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
        st.caption(words.message(error.detail))
        st.button("Try again", key="try_again", icon=":material/refresh:", type="primary")


def _come_back() -> None:
    """Draws the whole page again once the API answers."""
    st.caption("Asked again every few seconds: the page comes back by itself.")
    if time.monotonic() - st.session_state[ASKED_AT] < AGAIN_S / 2:
        return  # the page itself has just asked
    try:
        client().runs(limit=1)
    except GapscopeError as error:
        if isinstance(error, UnreachableError):
            return
    st.rerun()  # whatever it answers, the page shows


def catalog() -> dict[str, Any]:
    """Returns the catalog, asked for once a minute."""
    return _catalog(api_url(), api_key())


@st.cache_data(ttl=60, show_spinner=False)
def _catalog(url: str, key: str | None) -> dict[str, Any]:
    return _client(url, key).catalog()


def method_title(kind: str) -> str:
    """Returns the title of a training method as the catalog has it."""
    entry = catalog()["objectives"].get(kind)
    return str(entry["title"]) if entry else kind
