"""How every chart is drawn: title, chart, and a menu that saves it. The menu makes nothing until it is opened."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from frontend.ui import words
from frontend.ui.charts import saving
from frontend.ui.charts.prepared import Prepared
from frontend.ui.charts.saving import Caption


def draw(
    chart: Any,
    *,
    key: str,
    title: str,
    caption: Caption,
    hint: str | None = None,
    level: int = 5,
    note: str | None = None,
    **options: Any,
) -> None:
    """Draws a chart; its browser elements stay the same ones from tick to tick, since their keys do.

    Args:
        chart: of Altair, or prepared where the same one is drawn again and again.
        key: of the chart; the elements around it derive theirs.
        title: over it, as text.
        caption: what it shows, for the files.
        hint: help at the title.
        level: of the heading, 3 to 6.
        note: a line below.
        options: further arguments of st.vega_lite_chart.
    """
    made = chart if isinstance(chart, Prepared) else Prepared(chart)
    with st.container(
        horizontal=True, vertical_alignment="center", horizontal_alignment="distribute", key=f"head_{key}"
    ):
        st.markdown(f"{'#' * level} {words.plain(title)}", help=hint, anchors=False)
        _menu(made, key, title, caption)
    st.vega_lite_chart(spec=made.for_browsers(), key=key, width="stretch", alt=f"{title}. {caption}", **options)
    if note:
        st.caption(note)


def _menu(chart: Prepared, key: str, title: str, caption: Caption) -> None:
    menu = st.popover(
        "",
        icon=":material/download:",
        key=f"save_{key}",
        type="tertiary",
        on_change="rerun",
        help=f"Save this chart or its numbers: {title}",
    )
    if not menu.open:
        return
    with menu:
        st.caption(words.plain(caption))
        for kind, label in (("svg", "SVG"), ("pdf", "PDF"), ("csv", "CSV (the numbers)")):
            st.download_button(
                label,
                _maker(chart, title, caption, kind),
                file_name=saving.file_name(title, caption, kind),
                key=f"save_{key}_{kind}",
                on_click="ignore",
                width="stretch",
            )


def _maker(chart: Prepared, title: str, caption: Caption, kind: str) -> Callable[[], bytes]:
    def make() -> bytes:
        spec = chart.to_dict()
        if kind == "csv":
            return saving.table(spec, caption).encode()
        return saving.drawn(saving.captioned(spec, title, caption), "svg" if kind == "svg" else "pdf")

    return make
