"""The interface's main script: `python -m streamlit run frontend/ui/app.py`. Shell, theme and navigation only."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import streamlit as st

from frontend.ui import links, notices
from frontend.ui.service import guarded
from frontend.ui.views import compare, datasets, new_run, run, runs, system, test_clip

BRAND: Final = Path(__file__).parent / "brand"
STYLE: Final = """<style>
[data-stale=true] { opacity: 1 !important; transition: none !important; }
[data-testid=stMainBlockContainer] { padding-top: 4.6rem; padding-bottom: 3rem; padding-left: 2rem;
  padding-right: 2rem; max-width: 1760px; }
[data-testid=stMetricValue], [data-testid=stMetricLabel], td, th { font-variant-numeric: tabular-nums; }
[data-testid=stMetricLabel] p { font-size: 0.86rem; }
[data-testid=stMetricValue] { line-height: 1.35; }
[data-testid=stVegaLiteChart] + [data-testid=stElementToolbar],
[data-testid=stFullScreenFrame]:has([data-testid=stVegaLiteChart]) [data-testid=stElementToolbar] { display: none; }
[data-testid=stToastContainer] { top: auto; bottom: 1rem; }
[data-testid=stCaptionContainer] { color: color-mix(in srgb, currentcolor 74%, transparent) !important;
  opacity: 1 !important; }
button[kind=primary], button[kind=primaryFormSubmit], [data-tag] { background-color: #0F766E !important;
  border-color: #0F766E !important; }
a:focus-visible, button:focus-visible, [tabindex]:focus-visible, summary:focus-visible {
  outline: 2px solid light-dark(#0F766E, #4CC9B6) !important; outline-offset: 2px; }
</style>"""


def main() -> None:
    """Draws the page that the address names."""
    st.set_page_config(page_title="Gapscope", page_icon=str(BRAND / "icon.png"), layout="wide")
    st.html(STYLE)
    st.logo(str(BRAND / "logo.svg"), size="large", icon_image=str(BRAND / "logo.svg"))
    pages = {
        "runs": st.Page(guarded(runs.page), title="Runs", icon=":material/list_alt:", url_path="runs"),
        "new_run": st.Page(guarded(new_run.page), title="New run", icon=":material/add_circle:", url_path="new_run"),
        "run": st.Page(guarded(run.page), title="Run", url_path="run", visibility="hidden"),
        "compare": st.Page(
            guarded(compare.page), title="Compare", icon=":material/stacked_line_chart:", url_path="compare"
        ),
        "test_clip": st.Page(
            guarded(test_clip.page), title="Test a clip", icon=":material/movie:", url_path="test_clip"
        ),
        "datasets": st.Page(guarded(datasets.page), title="Datasets", icon=":material/database:", url_path="datasets"),
        "system": st.Page(guarded(system.page), title="System", icon=":material/memory:", url_path="system"),
    }
    links.remember(pages)
    # The default page has no path of its own, so it is one that leads on: /runs is an address like every other.
    home = st.Page(
        lambda: st.switch_page(pages["runs"]), title="Gapscope", url_path="", default=True, visibility="hidden"
    )
    page = st.navigation([home, *pages.values()], position="top")
    st.set_page_config(page_title=f"{page.title} · Gapscope" if page is not home else "Gapscope")
    page.run()
    notices.draw()


main()
