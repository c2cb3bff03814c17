"""On the Samples tab: the map of clips by mean gap and its spread over epochs; a dragged range or a region filters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from frontend.ui import words
from frontend.ui.charts import sample_map as charts
from frontend.ui.charts.saving import Caption
from frontend.ui.panels import chart
from frontend.ui.panels.header import run_title
from frontend.ui.panels.sample_filters import MAP_BOUNDS, put
from frontend.ui.service import client, show_error
from worker.contract.errors import GapscopeError
from worker.contract.resources import Run


def bounds(state: Any) -> dict[str, float] | None:
    """Returns the ranges that a brush holds as the API's parameters; None where it is empty."""
    held = (state or {}).get("selection", {}).get(charts.BRUSH, {})
    mean, spread = (next((v for k, v in held.items() if k.startswith(name)), None) for name in ("mean", "spread"))
    if not mean or not spread:
        return None
    values = (
        max(-1.0, min(mean)), min(1.0, max(mean)), max(0.0, min(spread)), min(1.0, max(0.0, *spread)),
    )  # fmt: skip
    return {name: round(value, 3) for name, value in zip(MAP_BOUNDS, values, strict=True)}


def draw(run: Run, filters: Mapping[str, Any]) -> None:
    """Draws the map, folded until it is opened; the address keeps it open."""
    active = filters["region"] is not None or any(filters[name] is not None for name in MAP_BOUNDS)
    more = st.expander(
        "Map: mean gap against its spread over epochs", active, key="map_open", on_change="rerun", icon=":material/map:"
    )
    if not more.open:
        return
    with more:
        try:
            shown = client().report(run.id, "map", epoch=filters["epoch"], split=filters["split"])
        except GapscopeError as error:
            show_error(error)
            return
        if not shown["num_samples"]:
            st.info("No clip of this split has a gap, so there is no map.", icon=":material/info:")
            return
        _regions(shown, filters["region"], active)
        key = f"map_{filters['epoch']}_{filters['split']}_{st.session_state.get('map_round', 0)}"
        rule = f"epochs {shown['from_epoch']} to {shown['to_epoch']}, {shown['num_epochs']} of them read"
        chart.draw(
            charts.sample_map(shown),
            key=key,
            title="Mean score gap and its spread",
            caption=Caption(run_title(run), None, words.SPLITS[filters["split"]], shown["num_samples"], rule),
            hint=words.GAP_HELP,
            level=6,
            note=f"{words.count(shown['num_samples'], 'clip')} by mean and standard deviation of the score gap over "
            f"{shown['num_epochs']} of the epochs {shown['from_epoch']} to {shown['to_epoch']}. Drag a rectangle to "
            "see its clips. Similar all along may also mean wrong all along: see right or wrong by modality.",
            on_select=lambda: _on_brush(key),
            selection_mode=charts.BRUSH,
        )


def _regions(shown: dict[str, Any], chosen: str | None, active: bool) -> None:
    with st.container(horizontal=True):
        for region in shown["regions"]:
            name = region["name"]
            st.button(
                f"{region['title']} ({region['num_samples']:,})", key=f"region_{name}", help=region["rule"],
                type="primary" if chosen == name else "secondary", disabled=not region["num_samples"],
                on_click=_choose, args=(None if chosen == name else name,),
            )  # fmt: skip
        st.button("Whole map", key="map_clear", icon=":material/close:", disabled=not active, on_click=_clear)


def _choose(name: str | None) -> None:
    _clear()
    put("region", name)


def _clear() -> None:
    st.session_state["map_round"] = st.session_state.get("map_round", 0) + 1
    for name in ("region", *MAP_BOUNDS):
        put(name, None)


def _on_brush(key: str) -> None:
    found = bounds(st.session_state.get(key))
    put("region", None)
    for name in MAP_BOUNDS:
        put(name, None if found is None else found[name])
