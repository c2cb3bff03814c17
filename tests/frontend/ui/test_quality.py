from __future__ import annotations

import pytest

from frontend.ui import diagnosis, quality
from frontend.ui.charts.datasets import metric_histogram, metric_table
from tests.frontend.ui.conftest import Open, texts
from tests.frontend.ui.recorded import RecordedApi, dataset_quality
from worker.contract.quality import FLAGS, METRICS


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("loudness_dbfs", -23.14, "-23.1\u00a0dBFS"),
        ("silence_share", 0.125, "12.5\u00a0%"),
        ("motion", 0.02, "2.0\u00a0% of full scale"),
        ("sharpness", 812.34, "812"),
        ("duration_mismatch_s", 0.5, "0.50\u00a0s"),
        ("frozen_share", None, "–"),
        ("width", 480.0, "480\u00a0pixels"),
        ("padded", 1.0, "yes"),
        ("of_a_later_version", 3.0, "3.00"),
    ],
)
def test_measures_have_units(name: str, value: float | None, said: str) -> None:
    assert quality.value_words(name, value) == said


def test_a_clips_measures_come_in_one_order_and_its_faults_apart() -> None:
    of_clip = {"width": 480.0, "silence_share": 0.9, "loudness_dbfs": -70.0}
    assert [title for title, _ in quality.facts(of_clip)] == ["Loudness", "Silence", "Width"]
    assert quality.faults(of_clip) == [("Silent", "90.0\u00a0%")]
    just_below = {flag.metric: flag.at_least - 0.001 for flag in FLAGS}
    assert quality.faults(just_below) == []
    assert quality.faults(dict.fromkeys((metric.name for metric in METRICS), None)) == []


def test_tables_of_a_dataset() -> None:
    found = dataset_quality()
    row = quality.flag_table(found).iloc[0]
    assert (row["fault"], row["clips"], row["share"], row["splits"]) == ("Silent", 2, 0.5, "2 / 0 / 0")
    assert quality.pair_table(found).iloc[0].tolist() == ["clip-9", "test", "clip-1", "training"]
    assert metric_table(found.metrics[0])["clips"].sum() == found.metrics[0].num_clips
    assert metric_histogram(found.metrics[0]).to_dict()


def test_only_findings_of_quality_are_taken_from_the_api() -> None:
    document = {
        "findings": [
            {"code": "mixture", "text": "-"},
            {"code": "silent-visual-dominant", "text": "19 of 40"},
            {"code": "same-content-train", "text": "12 of 300"},
        ]
    }
    said = [(item.title, item.text) for item in diagnosis.counted(document)]
    assert said == [
        ("Silent: more often where visual dominates", "19 of 40"),
        ("The same content stands in two splits", "12 of 300"),
    ]


def test_the_pages_of_a_run_show_faults_and_filter_by_them(api: RecordedApi, open_page: Open) -> None:
    said = texts(open_page("run", run="run-1"))
    assert "19 of 40 visual-dominant validation clips (48 %) are silent" in said
    app = open_page("run", run="run-1", tab="Samples", sample="clip-1")
    assert not app.exception
    assert "Silent: 95.0 %" in texts(app)
    app.selectbox(key="samples_flag").select("Silent").run()
    asked = [filters for name, filters in api.asked if name == "sample_rows"][-1]
    assert asked["flag"] == "silent"
