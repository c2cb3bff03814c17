"""Ways between pages: every place in the interface has an address."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlencode

import streamlit as st

PAGES_KEY: Final = "_pages"


def remember(pages: dict[str, Any]) -> None:
    """Keeps the pages of this script run, so that pages can link to each other without importing each other."""
    st.session_state[PAGES_KEY] = pages


def address(page: str, **parameters: str) -> str:
    """Returns the relative address of a page, such as `/run?run=run-1`."""
    query = urlencode({name: value for name, value in parameters.items() if value})
    return f"{page}?{query}" if query else page


def go(page: str, **parameters: str) -> None:
    """Opens a page with query parameters; ends this script run."""
    pages = st.session_state.get(PAGES_KEY, {})
    if page in pages:
        st.switch_page(pages[page], query_params=parameters)


def link(page: str, label: str, *, icon: str | None = None, **parameters: str) -> None:
    """Draws a link to a page with query parameters."""
    pages = st.session_state.get(PAGES_KEY, {})
    if page in pages:
        st.page_link(pages[page], label=label, icon=icon, query_params=parameters)
    else:
        st.markdown(f"[{label}]({address(page, **parameters)})")
