"""Pages of a list by the API's cursors: forth by the cursor that it gave, back by those already seen."""

from __future__ import annotations

from typing import Any

import streamlit as st


class Pager:
    """Where a list stands. Another filter begins again at the first page."""

    def __init__(self, name: str, filters: dict[str, Any]) -> None:
        """Finds the list's place in the session.

        Args:
            name: of the list; prefix of its keys.
            filters: what the cursors belong to.
        """
        self._name = name
        self._key = f"{name}_cursors"
        pinned = repr(sorted(filters.items(), key=str))
        if st.session_state.get(f"{name}_pinned") != pinned:
            st.session_state[f"{name}_pinned"] = pinned
            st.session_state[self._key] = []

    @property
    def _seen(self) -> list[str]:
        seen: list[str] = st.session_state[self._key]
        return seen

    @property
    def cursor(self) -> str | None:
        """The cursor of the page to fetch; None for the first."""
        return self._seen[-1] if self._seen else None

    @property
    def number(self) -> int:
        """Number of the page, from 1."""
        return len(self._seen) + 1

    def draw(self, following: str | None, names: tuple[str, str] = ("Previous", "Next")) -> None:
        """Draws the buttons; nothing where one page holds all.

        Args:
            following: the API's `next`.
            names: of the buttons back and forth.
        """
        if following is None and not self._seen:
            return
        with st.container(horizontal=True, horizontal_alignment="right", vertical_alignment="center"):
            st.caption(f"Page {self.number}", width="content")
            st.button(
                names[0],
                key=f"{self._name}_previous",
                icon=":material/chevron_left:",
                disabled=not self._seen,
                on_click=self._back,
            )
            st.button(
                names[1],
                key=f"{self._name}_next",
                icon=":material/chevron_right:",
                disabled=following is None,
                on_click=self._forth,
                args=(following,),
            )

    def _back(self) -> None:
        if self._seen:
            self._seen.pop()

    def _forth(self, following: str | None) -> None:
        if following is not None:
            self._seen.append(following)
