"""`python -m frontend.ui.charts.drawing svg|pdf`: draws the Vega-Lite specification of standard input."""

from __future__ import annotations

import json
import sys

import altair
import vl_convert


def main() -> None:
    """Writes the drawing to standard output."""
    spec = json.load(sys.stdin)
    version = ".".join(altair.SCHEMA_VERSION.lstrip("v").split(".")[:2])
    # No address is allowed: nothing of a specification is fetched from anywhere.
    nowhere: list[str] = []
    if sys.argv[1] == "svg":
        svg = vl_convert.vegalite_to_svg(spec, vl_version=version, allowed_base_urls=nowhere)
        sys.stdout.buffer.write(svg.encode())
    else:
        sys.stdout.buffer.write(vl_convert.vegalite_to_pdf(spec, vl_version=version, allowed_base_urls=nowhere))


if __name__ == "__main__":
    main()
