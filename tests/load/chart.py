"""The chart of a soak: resident memory of each process and memory of Redis over time, as a small SVG."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import altair as alt
import vl_convert

from frontend.ui.charts.palette import OTHERS, RULE
from tests.load.watching import Look

EVERY_S = 30.0
WIDTH, HEIGHT = 560, 150


def draw(looks: list[Look], settle_s: float, path: Path) -> None:
    """Writes the chart of some samples.

    Args:
        looks: over time.
        settle_s: where the rule stands after which growth counts.
        path: of the SVG.
    """
    rows: list[dict[str, Any]] = []
    due = 0.0
    for look in looks:
        if look.at_s < due:
            continue
        due = look.at_s + EVERY_S
        minutes = round(look.at_s / 60, 2)
        rows += [
            {"minutes": minutes, "name": name, "mib": round(usage.resident_mib, 1)}
            for name, usage in look.usages.items()
        ]
        if look.redis_mib is not None:
            rows.append({"minutes": minutes, "name": "Redis, used", "mib": round(look.redis_mib, 2)})
    processes = [row for row in rows if row["name"] != "Redis, used"]
    redis = [row for row in rows if row["name"] == "Redis, used"]
    panels = alt.vconcat(
        _panel(processes, settle_s, "Resident memory, MiB", HEIGHT),
        _panel(redis, settle_s, "Redis's data, MiB", HEIGHT // 2),
    ).configure_view(strokeOpacity=0)
    path.parent.mkdir(parents=True, exist_ok=True)
    version = ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])
    path.write_text(vl_convert.vegalite_to_svg(panels.to_dict(), vl_version=version, allowed_base_urls=[]))


def _panel(rows: list[dict[str, Any]], settle_s: float, title: str, height: int) -> alt.LayerChart:
    names = sorted({row["name"] for row in rows})
    colours = alt.Scale(domain=names, range=[OTHERS[index % len(OTHERS)] for index in range(len(names))])
    lines = (
        alt.Chart(alt.Data(values=rows))
        .mark_line(interpolate="step-after")
        .encode(
            x=alt.X("minutes:Q", title="Minutes"),
            y=alt.Y("mib:Q", title=title, scale=alt.Scale(zero=True)),
            color=alt.Color("name:N", title=None, scale=colours),
            strokeDash=alt.StrokeDash("name:N", title=None, scale=alt.Scale(domain=names)),
        )
    )
    settled = alt.Chart(alt.Data(values=[{"minutes": settle_s / 60}])).mark_rule(color=RULE, strokeDash=[3, 3])
    return alt.layer(lines, settled.encode(x="minutes:Q")).properties(width=WIDTH, height=height)
