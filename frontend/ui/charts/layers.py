"""Layers of charts, typed."""

from __future__ import annotations

from typing import Any

import altair as alt


def layered(*layers: Any, height: int) -> alt.LayerChart:
    """Returns charts drawn over each other.

    Args:
        layers: charts with the same axes, the lowest first.
        height: pixels.
    """
    made = alt.layer(*layers).properties(height=height)
    assert isinstance(made, alt.LayerChart)
    return made
