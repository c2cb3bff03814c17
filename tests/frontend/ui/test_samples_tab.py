"""The Samples tab as an instrument: its address, right or wrong by modality, the map, tags."""

from __future__ import annotations

import pytest

from frontend.ui.charts.sample_map import map_table, sample_map
from frontend.ui.panels.sample_map import bounds
from tests.frontend.ui.conftest import Open
from tests.frontend.ui.recorded import RecordedApi, run
from tests.frontend.ui.test_pages import press
from worker.contract.resources import ResolvedSpec


@pytest.fixture(autouse=True)
def known(api: RecordedApi) -> None:
    """The run on a dataset that is there."""
    api.known = {"run-1": run(resolved_spec=ResolvedSpec.model_construct(dataset_id="clips"))}


def asked(api: RecordedApi, name: str = "sample_rows"):
    return [filters for called, filters in api.asked if called == name][-1]


def test_every_filter_comes_back_from_the_address(api: RecordedApi, open_page: Open) -> None:
    chosen = {
        "split": "train", "label": "dog", "sort": "-loss_audio", "flag": "silent", "noted": "corrupted=audio",
        "tag": "hard", "without_tag": "hard", "since": "2", "changed": "became_wrong", "region": "changing",
        "audio_correct": "false", "min_mean_gap": "-0.5", "posterior": "25",
    }  # fmt: skip
    app = open_page("run", run="run-1", tab="Samples", **chosen)
    assert not app.exception
    found = asked(api)
    expected = {**chosen, "since": 2, "audio_correct": False, "min_mean_gap": -0.5, "min_posterior": 0.25}
    del expected["posterior"]
    assert {name: found[name] for name in expected} == expected
    counted = asked(api, "cube")
    assert (counted["tag"], counted["split"]) == ("hard", "train")
    assert "audio_correct" not in counted  # all eight cells stay in sight


def test_a_choice_goes_into_the_address(api: RecordedApi, open_page: Open) -> None:
    app = open_page("run", run="run-1", tab="Samples")
    app.selectbox(key="samples_sort").select("Largest change of gap").run()
    assert not app.exception
    assert app.query_params["sort"] == "-abs_gap_change"
    assert (asked(api)["sort"], asked(api)["since"]) == ("-abs_gap_change", 1)
    press(press(app, "cell_rwr"), "cell_all")
    assert "fused_correct" not in app.query_params


def test_the_open_clip_and_the_whole_selection_are_tagged(api: RecordedApi, open_page: Open) -> None:
    app = open_page("run", run="run-1", tab="Samples", sample="clip-2", tag="hard")
    app.multiselect(key="tags_chosen").select("mislabelled").run()
    press(app, "tag_one")
    change = asked(api, "annotate_many")
    assert (change["sample_ids"], change["add_tags"]) == (["clip-2"], ["mislabelled"])
    press(app, "tag_all")
    change = asked(api, "annotate_many")
    assert change["run_id"] == "run-1"
    assert change["filter"] == {"epoch": 4, "split": "validation", "tag": "hard"}


def test_a_rectangle_on_the_map_becomes_bounds() -> None:
    held = {"selection": {"map_brush": {"mean": [0.31, -0.2], "spread": [-0.1, 0.4]}}}
    assert bounds(held) == {
        "min_mean_gap": -0.2, "max_mean_gap": 0.31, "min_gap_deviation": 0.0, "max_gap_deviation": 0.4,
    }  # fmt: skip
    assert bounds({"selection": {"map_brush": {}}}) is None
    assert bounds(None) is None


def test_a_region_filters_and_the_whole_map_lets_go(api: RecordedApi, open_page: Open) -> None:
    app = open_page("run", run="run-1", tab="Samples", min_mean_gap="0.1")
    press(app, "region_changing")
    assert (asked(api)["region"], asked(api)["min_mean_gap"]) == ("changing", None)
    press(app, "map_clear")
    assert asked(api)["region"] is None


def test_the_map_draws_each_filled_rectangle() -> None:
    shown = RecordedApi().report("run-1", "map")
    row = map_table(shown).iloc[0]
    assert (row["mean"], round(row["mean_end"], 2), row["clips"]) == (-0.6, -0.56, 40)
    assert sample_map(shown).to_dict()["layer"]
