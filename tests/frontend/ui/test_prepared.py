"""Charts prepared once for many browsers: the same drawing and rows as Altair gives, under names that stay."""

from __future__ import annotations

import io

import altair as alt
import pandas as pd
import pyarrow as pa
from streamlit.elements.vega_charts import _stabilize_vega_json_spec

from frontend.ui.charts.prepared import Prepared


def layered(height: float) -> alt.LayerChart:
    bars = alt.Chart(pd.DataFrame({"low": [0.0, 1.0], "clips": [1, 2]})).mark_bar().encode(x="low:Q", y="clips:Q")
    line = alt.Chart(pd.DataFrame({"low": [0.5], "clips": [height]})).mark_line().encode(x="low:Q", y="clips:Q")
    return alt.layer(bars, line)


def test_rows_go_to_browsers_in_arrow_and_into_files_as_they_are() -> None:
    made = Prepared(layered(3.5))
    sent = made.for_browsers()
    names = [layer["data"]["name"] for layer in sent["layer"]]
    rows = [pa.ipc.open_stream(io.BytesIO(sent["datasets"][name])).read_all().to_pylist() for name in names]
    assert rows == [[{"low": 0.0, "clips": 1}, {"low": 1.0, "clips": 2}], [{"low": 0.5, "clips": 3.5}]]
    assert [made.to_dict()["datasets"][name] for name in names] == rows


def test_new_rows_change_nothing_else_so_browsers_draw_on() -> None:
    first, second = (Prepared(layered(height)).for_browsers() for height in (1.0, 2.0))
    assert list(first["datasets"]) == list(second["datasets"])
    assert first["datasets"] != second["datasets"]
    del first["datasets"], second["datasets"]
    assert _stabilize_vega_json_spec(str(first)) == _stabilize_vega_json_spec(str(second))


def test_what_streamlit_takes_out_of_a_specification_is_there_for_the_next_browser() -> None:
    made = Prepared(layered(1.0))
    made.for_browsers()["datasets"].clear()
    assert len(made.for_browsers()["datasets"]) == 2


def test_more_rows_than_altair_allows_by_itself_are_no_error() -> None:
    table = pd.DataFrame({"low": range(6_000), "clips": 1})
    assert Prepared(alt.Chart(table).mark_bar().encode(x="low:Q", y="clips:Q")).for_browsers()["datasets"]
