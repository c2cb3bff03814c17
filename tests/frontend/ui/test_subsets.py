"""Saving a subset on the Samples tab, fine-tuning on it, and the links between runs."""

from __future__ import annotations

import pytest

from frontend.ui.fine_tuning import LONGEST_NAME, fine_tuning_spec
from frontend.ui.panels.subset import chosen_filter
from tests.frontend.ui.conftest import Open, texts
from tests.frontend.ui.recorded import RecordedApi, report, run, subset
from tests.frontend.ui.test_pages import press
from worker.contract.errors import InvalidRequestError
from worker.contract.spec import AudioOnly, RunSpec
from worker.contract.subsets import Origin


def samples_tab(open_page: Open, **parameters: str):
    app = open_page("run", run="run-1", tab="Samples", **parameters)
    app.text_input(key="subset_name").input("similar").run()
    return app


def test_the_clips_of_the_filters_are_saved_without_order_and_split(api: RecordedApi, open_page: Open) -> None:
    app = press(samples_tab(open_page, gap_min="-0.2", gap_max="0.2"), "save_subset")
    assert not app.exception
    asked = dict(api.asked)["save_subset"]
    assert asked == {
        "name": "similar",
        "run_id": "run-1",
        "filter": {"min_gap": -0.2, "max_gap": 0.2},
        "epoch": 4,
    }
    assert "create_run" not in dict(api.asked)


def test_a_double_press_saves_once(api: RecordedApi, open_page: Open) -> None:
    press(press(samples_tab(open_page), "save_subset"), "save_subset")
    assert [name for name, _ in api.asked].count("save_subset") == 1


def test_a_refusal_is_told(api: RecordedApi, open_page: Open) -> None:
    api.refusal = InvalidRequestError("No training sample passes the filter.", code="subset-empty")
    assert "No training sample passes" in texts(press(samples_tab(open_page), "save_subset"))


def test_fine_tuning_launches_a_run_on_the_saved_clips(api: RecordedApi, open_page: Open) -> None:
    press(samples_tab(open_page), "fine_tune")
    sent = dict(api.asked)["create_run"]
    assert (sent["subset"], sent["start_from"]) == ("subset-1-a", "run-1")


def test_only_a_finished_run_can_be_fine_tuned(api: RecordedApi, open_page: Open) -> None:
    api.known = {"run-1": run(state="running")}
    app = samples_tab(open_page)
    assert app.button(key="fine_tune").disabled
    assert not app.button(key="save_subset").disabled


@pytest.mark.parametrize(("epochs", "expected"), [(4, 1), (40, 4)])
def test_the_run_is_a_tenth_as_long_at_a_tenth_of_the_rate_on_the_fused_loss_alone(epochs: int, expected: int) -> None:
    source = run("run-a-1", spec=run().spec.model_copy(update={"epochs": epochs}), name="n" * 200)
    spec = fine_tuning_spec(source, subset())
    parsed = RunSpec.model_validate(spec)
    assert (parsed.objective.kind, parsed.epochs) == ("joint", expected)
    assert parsed.optimizer.learning_rate == pytest.approx(0.1 * source.spec.optimizer.learning_rate)
    assert (parsed.encoder, parsed.fusion) == (source.spec.encoder, source.spec.fusion)
    assert len(spec["name"]) == LONGEST_NAME


def test_a_run_of_one_modality_keeps_its_method() -> None:
    alone = run(
        "run-a-1",
        spec=run().spec.model_copy(update={"objective": AudioOnly()}),
        summary=report(source="solo", visual=None, gap=None),
    )
    assert fine_tuning_spec(alone, subset())["objective"]["kind"] == "audio-only"


def test_the_filter_keeps_what_is_chosen() -> None:
    tab = {"epoch": 4, "split": "validation", "sort": "-gap", "label": None, "min_gap": 0.0, "fused_correct": False}
    assert chosen_filter(tab) == {"min_gap": 0.0, "fused_correct": False}


def test_the_run_page_links_both_ways(api: RecordedApi, open_page: Open) -> None:
    above = [
        Origin(run_id="run-0", through="start_from", epoch=20),
        Origin(run_id="run-0", through="subset", epoch=12, subset_id="subset-1-a", subset_name="similar"),
        Origin(run_id="run-9", through="objective.audio_teacher"),
    ]
    api.known = {"run-1": run(derived_from=above, derived_runs=[f"run-{number}" for number in range(20, 30)])}
    said = texts(open_page("run", run="run-1", tab="Configuration"))
    assert "Starts from the weights of epoch 20: run-0" in said
    assert "Trains on “similar”, samples of epoch 12: run-0" in said
    assert "Builds on this run: run-29" in said
    assert "Builds on this run: run-21" not in said
    assert "and 2 more" in said
    assert "run-9" not in said


def test_saved_subsets_are_listed_with_their_versions(api: RecordedApi, open_page: Open) -> None:
    from frontend.ui.panels.subsets import subset_table

    table = subset_table([subset(version=2), subset(version=1)])
    assert table["version"].tolist() == [2, 1]
    app = samples_tab(open_page)
    app.session_state["subsets"] = True
    assert not app.run().exception
    assert any(name == "subsets" and asked["limit"] == 100 for name, asked in api.asked)
