"""A chart made ready for browsers once: its specification, and its tables in Arrow's form.

Streamlit's own way makes both for each browser at each tick, under a lock of the whole process: 15 to 30 ms a chart.
"""

from __future__ import annotations

import json
from typing import Any, Final

import altair as alt
import pandas as pd
import pyarrow as pa

alt.theme.enable("none")  # Streamlit brings its own
alt.data_transformers.disable_max_rows()

TABLE: Final = "table-{}"
"""Name of the n-th table: always the same, so a browser that shows the chart takes new rows in and draws on."""


class Prepared:
    """A chart as it is sent to browsers. Make it where the chart is cached.

    Args:
        chart: of Altair.
    """

    def __init__(self, chart: Any) -> None:
        spec: dict[str, Any] = chart.to_dict(validate=False)  # tests validate every chart
        tables: dict[str, list[dict[str, Any]]] = spec.pop("datasets", {})
        names = {old: TABLE.format(number) for number, old in enumerate(tables)}
        self._spec = _renamed(spec, names)
        # As text: hundreds of charts are kept, and rows as objects take five times as much.
        self._rows = json.dumps({names[old]: rows for old, rows in tables.items()})
        self._arrow = {names[old]: in_arrow(rows) for old, rows in tables.items()}

    def for_browsers(self) -> dict[str, Any]:
        """Returns the specification for `st.vega_lite_chart`, which may change its first level."""
        return {**self._spec, "datasets": dict(self._arrow)}

    def to_dict(self) -> dict[str, Any]:
        """Returns the specification with its rows, as Altair gives it."""
        return {**self._spec, "datasets": json.loads(self._rows)}


def in_arrow(rows: list[dict[str, Any]]) -> bytes:
    """Returns rows as a stream of Arrow's IPC format."""
    table = pa.Table.from_pandas(pd.DataFrame(rows))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _renamed(part: Any, names: dict[str, str]) -> Any:
    """Returns a part of a specification in which every table has its new name."""
    if isinstance(part, list):
        return [_renamed(one, names) for one in part]
    if not isinstance(part, dict):
        return part
    made = {key: _renamed(value, names) for key, value in part.items()}
    data = made.get("data")
    if isinstance(data, dict) and data.get("name") in names:
        made["data"] = {**data, "name": names[data["name"]]}
    return made
