"""Saved charts: files that say what they show, with the numbers that were drawn."""

from __future__ import annotations

import io

import altair as alt
import pandas as pd
import pytest

from frontend.ui.charts import saving
from frontend.ui.charts.saving import Caption, ChartNotSavedError

CAPTION = Caption(run="joint, seed 0", epoch=3, split="validation", num_samples=200, rule="gap from -1 to 0")
BARS = pd.DataFrame({"low": [-1.0, 0.0], "clips": [120, 80], "label": ["=cmd()", "-x"]})


def layered() -> alt.LayerChart:
    bars = alt.Chart(BARS).mark_bar().encode(x="low:Q", y="clips:Q", tooltip="label:N")
    rule = alt.Chart(pd.DataFrame({"low": [0.5]})).mark_rule().encode(x="low:Q")
    return alt.layer(bars, rule)


def test_caption_names_run_epoch_split_number_and_rule() -> None:
    assert str(CAPTION) == "joint, seed 0 · epoch 3 · validation split · n = 200 · gap from -1 to 0"
    assert str(Caption()) == "all samples"


def test_svg_holds_title_and_caption_and_pdf_is_one() -> None:
    spec = saving.captioned(layered().to_dict(), "Score gap", CAPTION)
    svg = saving.drawn(spec, "svg").decode()
    assert svg.startswith("<svg")
    assert "Score gap" in svg
    assert "validation split" in svg
    assert saving.drawn(spec, "pdf").startswith(b"%PDF-")


def test_table_is_what_was_drawn_and_no_formula() -> None:
    text = saving.table(alt.Chart(BARS).mark_bar().encode(x="low:Q", y="clips:Q").to_dict(), CAPTION)
    assert text.startswith("# joint, seed 0\n# epoch 3\n")
    read = pd.read_csv(io.StringIO(text), comment="#")
    assert read["clips"].tolist() == [120, 80]
    assert read["label"].tolist() == ["'=cmd()", "'-x"]


def test_tables_of_layers_are_told_apart() -> None:
    read = pd.read_csv(io.StringIO(saving.table(layered().to_dict(), CAPTION)), comment="#")
    assert read["part"].tolist() == [1, 1, 2]
    assert read["low"].tolist() == [-1.0, 0.0, 0.5]


def test_a_chart_that_cannot_be_drawn_says_so() -> None:
    with pytest.raises(ChartNotSavedError):
        saving.drawn({"mark": "no such mark", "data": {"url": "file:///etc/passwd"}}, "svg")


def test_names_of_files_are_harmless() -> None:
    name = saving.file_name("../Score gap (audio - visual)", Caption(run="/etc/x", epoch=2), "svg")
    assert name == "etc-x-score-gap-audio-visual-epoch-2.svg"
