"""What the page Datasets says of balance, left-out clips, checks and measures of one value: pure functions."""

from __future__ import annotations

from frontend.ui.charts.datasets import metric_histogram, metric_table
from frontend.ui.panels.balance import balance_words
from frontend.ui.panels.left_out import reasons_table
from frontend.ui.panels.quality import constant_words
from frontend.ui.panels.registering import check_words
from frontend.ui.views.datasets import disk_bytes, row_of
from tests.frontend.ui.recorded import dataset
from worker.contract.resources import DatasetCheck, DatasetUpload, MetricSummary

QUANTILES = {"0.05": 0.0, "0.25": 0.0, "0.5": 0.0, "0.75": 0.0, "0.95": 0.0}


def summary(unit: str, edges: list[float], counts: list[int]) -> MetricSummary:
    return MetricSummary(
        metric="silence_share", title="Silence", unit=unit, description="-", num_clips=sum(counts),
        minimum=edges[0], maximum=edges[-1], quantiles=QUANTILES, edges=edges, counts=counts,
    )  # fmt: skip


def test_a_measure_of_one_value_is_a_sentence() -> None:
    assert constant_words(summary("share", [0.0, 0.0], [1_750])) == "**Silence**: 0.0\u00a0% for all 1,750 clips."


def test_the_axis_of_a_histogram_says_its_unit_and_ends_with_the_data() -> None:
    spec = metric_histogram(summary("variance", [10.0, 20.0, 30.0], [1, 4])).to_dict()
    assert spec["encoding"]["x"]["title"] == "variance of the Laplacian (luma 0 to 255)"
    assert spec["encoding"]["x"]["scale"]["domain"] == [10.0, 30.0]
    assert metric_table(summary("share", [0.0, 0.5, 1.0], [3, 2]))["clips"].sum() == 5


def test_equal_classes_are_told_as_such() -> None:
    assert balance_words({"train": {"cat": 2, "dog": 2}}) == ["Every class has 2 training clips."]


def test_the_balance_names_the_extremes_and_classes_that_a_split_lacks() -> None:
    counts = {"train": {"cat": 30, "*dog*": 10}, "validation": {"cat": 3, "*dog*": 1}, "test": {"cat": 2}}
    assert balance_words(counts) == [
        r"Largest training class cat (30), smallest \*dog\* (10): 3.0 to 1.",
        r"No test clip of 1 of 2 classes: \*dog\*.",
    ]
    assert balance_words({}) == []


def test_what_was_left_out_is_told_with_what_to_do() -> None:
    table = reasons_table({"media-no-audio": 3, "new-code": 1})
    assert table["reason"].tolist() == ["Picture only", "new-code"]
    assert table["clips"].sum() == 4
    assert "Put a wav" in table["remedy"][0]


def test_a_check_is_a_sentence() -> None:
    found = DatasetCheck(num_clips=1_200, num_classes=1, splits={"train": 1_000, "test": 200}, store_bytes=2_000_000)
    assert check_words(found) == "1,200 clips in 1 class (1,000 training, 200 test); prepared they take up to 2.0 MB."


def test_uploaded_clips_count_as_bytes_of_a_dataset() -> None:
    upload = DatasetUpload(filename="a.zip", digest="0", num_files=2, num_bytes=700_000)
    assert disk_bytes(dataset(upload=upload)) == 13_000_000
    assert row_of(dataset(upload=upload, shared=True))["size"] == "13.0 MB, shared"
    assert disk_bytes(dataset(store_bytes=None)) is None
