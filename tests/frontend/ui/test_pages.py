from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any, get_args

import pytest
from streamlit.testing.v1 import AppTest

from frontend.client import UnreachableError
from frontend.ui.panels.configuration import flatten
from frontend.ui.panels.header import situation, waited_dataset
from frontend.ui.panels.preparation import preparation_words
from frontend.ui.panels.run_actions import each
from frontend.ui.panels.run_buttons import relatives, rival
from frontend.ui.panels.run_table import row_of, table_of
from frontend.ui.panels.samples import brushed, sample_table
from frontend.ui.panels.score_batch import progress_words
from frontend.ui.panels.trash import row_of as row_of_trash
from frontend.ui.service import browser_address
from frontend.ui.views.system import failing, set_apart_rows, warnings, webhook_lines
from tests.frontend.ui.conftest import Open, texts
from tests.frontend.ui.recorded import (
    NOW,
    DeadApi,
    RecordedApi,
    dataset,
    dataset_quality,
    problem,
    report,
    row,
    run,
    score,
    score_batch,
    score_result,
    trashed,
)
from worker.contract.errors import ConflictError, FieldProblem, InvalidRequestError
from worker.contract.resources import DamagedFolder, PrepareProgress, Run, RunProgress, RunSeries, Webhook
from worker.contract.score_batches import BatchProgress
from worker.contract.scores import ClassByModality, DistributionByModality, GapInTraining
from worker.contract.spec import RunSpec
from worker.contract.spec.objectives.teachers import Umt
from worker.contract.spec.registry import DATASETS
from worker.contract.subsets import Origin

PAGES = ("runs", "new_run", "run", "compare", "test_clip", "datasets", "system")
FORBIDDEN = ("disease", "cure", "cube", "cartography", "modality imbalance", "warm-up")


def press(app: AppTest, key: str) -> AppTest:
    return next(button for button in app.button if button.key == key).click().run()


@pytest.mark.parametrize("name", PAGES)
def test_a_dead_api_is_a_page_with_a_remedy(name: str, dead_api: None, open_page: Open) -> None:
    app = open_page(name)
    assert not app.exception
    said = texts(app)
    assert "The API does not answer" in said
    assert "gapscope up" in said
    assert "try_again" in [button.key for button in app.button]


@pytest.mark.parametrize("name", PAGES)
def test_every_page_is_drawn_and_keeps_to_the_words(name: str, api: RecordedApi, open_page: Open) -> None:
    app = open_page(name, **({"run": "run-1"} if name == "run" else {}))
    assert not app.exception
    said = texts(app).lower()
    for word in FORBIDDEN:
        assert word not in said


def test_an_unknown_run_is_told_as_such(api: RecordedApi, open_page: Open) -> None:
    app = open_page("run", run="run-gone")
    assert "There is no run with the id 'run-gone'." in texts(app)


# --- runs ---


def test_newcomers_are_told_what_to_do(api: RecordedApi, open_page: Open) -> None:
    api.known = {}
    app = open_page("runs")
    assert "No runs yet" in texts(app)
    press(app, "start_demo")
    assert [asked for name, asked in api.asked if name == "create_run"] == [
        {"preset": "demo-joint"},
        {"preset": "demo"},
    ]


def test_filters_go_to_the_api(api: RecordedApi, open_page: Open) -> None:
    app = open_page("runs")
    app.selectbox(key="state").select("Failed")
    app.selectbox(key="method").select("GMM-guided adaptive loss")
    app.text_input(key="find").input(" loss spikes ")
    app.selectbox(key="order").select("Oldest first").run()
    asked = [filters for name, filters in api.asked if name == "runs"][-1]
    assert (asked["state"], asked["objective"], asked["text"]) == ("failed", "gmm-adaptive", "loss spikes")
    assert (asked["sort"], asked["cursor"], asked["series"]) == ("created_at", None, True)


def test_a_row_has_the_figures_of_the_run() -> None:
    shown = row_of(run(progress=RunProgress(epoch=2, epochs=4, fraction=0.5, eta_s=70), state="running"))
    assert (shown["epochs"], shown["state"]) == ("2 / 4", "Running, 1 min 10 s left")
    assert (shown["fused"], shown["gap"], shown["progress"]) == (90.0, 0.4, 50.0)
    assert row_of(run(summary=None))["fused"] is None
    assert (shown["audio"], shown["visual"]) == (100 * report().accuracy.audio, 100 * report().accuracy.visual)
    series = RunSeries(epochs=[1, 2], accuracy_fused=[0.5, 0.9], mean_abs_gap=[None, None])
    assert row_of(run(series=series))["fused_curve"] == [0.5, 0.9]
    assert row_of(run(series=series))["gap_curve"] is None


def test_columns_that_say_nothing_are_left_out() -> None:
    ended = table_of([run(tags=[])], {})
    assert not {"progress", "tags", "notes"} & set(ended.columns)
    active = table_of([run(state="running", tags=["a"], notes="b\nc"), run()], {"gmm-adaptive": "Adaptive"})
    assert list(active["notes"]) == ["b c", ""]
    assert {"progress", "tags"} < set(active.columns)
    assert list(active["method"]) == ["Adaptive", "Adaptive"]


def test_deleted_runs_can_be_brought_back_at_once(api: RecordedApi, open_page: Open) -> None:
    app = open_page("runs")
    app.session_state["runs_deleted"] = ["run-1", "run-2"]
    app.run()
    assert "2 runs deleted." in texts(app)
    app = press(app, "undo_delete")
    assert [run_id for name, run_id in api.asked if name == "restore"] == ["run-1", "run-2"]
    assert "deleted." not in texts(app)


def test_the_trash_says_how_long_its_runs_can_be_brought_back(api: RecordedApi, open_page: Open) -> None:
    app = open_page("runs", view="trash")
    assert not app.exception
    assert "Tick runs to bring them back." in texts(app)
    shown = row_of_trash(trashed(), NOW + timedelta(hours=22, minutes=30))
    assert (shown["deleted"], shown["left"], shown["size"]) == ("22 h ago", "1 h 30 min", "12.3 MB")
    assert row_of_trash(trashed(), NOW + timedelta(hours=25))["left"] == "any moment"
    api.trashed = []
    assert "The trash is empty." in "\n".join(info.value for info in open_page("runs", view="trash").info)


def test_an_action_that_one_run_refuses_is_done_with_the_others() -> None:
    def do(run_id: str) -> None:
        if run_id == "run-2":
            raise ConflictError("It is active.", code="run-active")

    assert each([run("run-1"), run("run-2"), run("run-3")], do) == (["run-1", "run-3"], ["adaptive: It is active."])


def test_the_api_knows_every_order() -> None:
    from backend.routes.runs import RunSort
    from backend.samples import SampleSort
    from frontend.ui.panels import sample_filters
    from frontend.ui.views import runs

    assert set(runs.SORTS.values()) <= set(get_args(RunSort))
    assert set(sample_filters.SORTS.values()) <= set(get_args(SampleSort))


# --- run ---


def test_live_shows_the_figures_of_the_events(api: RecordedApi, open_page: Open) -> None:
    said = texts(open_page("run", run="run-1"))
    assert "What epoch 4 says" in said
    assert "Epoch 4: Fused **90.0 %** · Audio **60.0 %** · Visual **80.0 %** of 200 clips" in said
    assert "Visual-dominant: 55.0 %" in said
    assert "Mean |gap| 0.50 → 0.30 from epoch 2 to 4" in said
    assert "Test: fused: 93.0 %" in said
    assert "Accuracies on 200 test clips at epoch 3, chosen by validation." in said


def test_an_address_with_an_epoch_shows_it_and_does_not_follow(api: RecordedApi, open_page: Open) -> None:
    app = open_page("run", run="run-1", epoch="2")
    assert "What epoch 2 says" in texts(app)
    assert app.slider[0].value == 2
    app = app.toggle(key="follow_switch").set_value(True).run()
    assert "What epoch 4 says" in texts(app)
    assert "epoch" not in app.query_params


def test_stepping_back_is_an_address(api: RecordedApi, open_page: Open) -> None:
    app = press(open_page("run", run="run-1"), "epoch_back_3")
    assert "What epoch 3 says" in texts(app)
    assert app.query_params["epoch"] == "3"


def test_the_slider_cannot_show_the_future(api: RecordedApi, open_page: Open) -> None:
    app = open_page("run", run="run-1", epoch="3")
    app.slider[0].set_value(4).run()
    assert "What epoch 4 says" in texts(app)
    assert app.slider[0].max == 4


def test_events_are_asked_for_from_the_cursor_on(api: RecordedApi, open_page: Open) -> None:
    open_page("run", run="run-1")
    open_page("run", run="run-1", tab="Samples")
    cursors = [after for name, after in api.asked if name == "events"]
    assert cursors[0] == 0
    assert set(cursors[1:]) <= {6}


def test_a_run_without_an_epoch_says_what_it_waits_for(api: RecordedApi, open_page: Open) -> None:
    waiting = run(
        state="queued", waiting_for="dataset folder-1", summary=None, result=None, progress=RunProgress(epochs=4)
    )
    assert waited_dataset(waiting) == "folder-1"
    assert situation(waiting) == "Waiting until the clips of folder-1 are prepared."
    api.known = {"run-1": waiting}
    api.events = lambda *_, **__: []  # type: ignore[method-assign]
    app = open_page("run", run="run-1")
    assert not app.exception


def test_situations_are_words() -> None:
    progress = RunProgress(epoch=2, epochs=4, stage="adaptive", phase="analysing", fraction=0.5)
    assert situation(run(state="running", progress=progress)) == "Stage 2 · epoch 3 of 4: fitting the mixture."
    assert situation(run(state="lost", progress=progress)).startswith("Interrupted after epoch 2 of 4")
    assert situation(run(state="queued", queue_position=2)) == "Waiting for a free worker (number 2 in the queue)."


def test_a_failed_run_says_why_and_can_be_resumed(api: RecordedApi, open_page: Open) -> None:
    api.known = {"run-1": run(state="failed", error=problem(), result=None)}
    app = open_page("run", run="run-1")
    assert "The loss became NaN in epoch 4." in texts(app)
    press(app, "resume_run")
    assert ("resume", "run-1") in api.asked


def test_a_tick_without_an_answer_keeps_what_is_known(api: RecordedApi, open_page: Open) -> None:
    api.known = {"run-1": run(state="running", result=None)}
    app = open_page("run", run="run-1")
    answers = iter([api.known["run-1"]])

    def once(run_id: str) -> Run:
        for known in answers:
            return known
        raise UnreachableError("The API does not answer (connection refused).")

    api.run = once  # type: ignore[method-assign]
    app.run()
    assert not app.exception
    assert "this is the last that is known" in texts(app)
    assert "What epoch 4 says" in texts(app)


def test_cancelling_asks_first_and_a_refusal_is_told(api: RecordedApi, open_page: Open) -> None:
    api.known = {"run-1": run(state="running")}
    app = press(open_page("run", run="run-1"), "cancel_run")
    assert "cancel_confirmed" in {button.key for button in app.button}
    assert "cancel" not in [name for name, _ in api.asked]
    app.session_state["refused"] = ["adaptive: nothing can be cancelled."]
    assert "adaptive: nothing can be cancelled." in texts(app.run())


def test_an_ended_run_is_cloned_compared_and_deleted_from_its_page(api: RecordedApi, open_page: Open) -> None:
    app = open_page("run", run="run-1")
    keys = {button.key for button in app.button}
    assert {"clone_run", "compare_run", "delete_run"} <= keys
    assert not {"cancel_run", "resume_run"} & keys
    app = press(app, "delete_run")
    assert "delete_confirmed" in {button.key for button in app.button}


def test_a_run_that_was_deleted_a_moment_ago_can_be_brought_back_on_its_page(api: RecordedApi, open_page: Open) -> None:
    app = open_page("run", run="run-1")
    app.session_state["runs_deleted"] = ["run-1"]
    app.run()
    assert "1 run deleted." in texts(app)
    press(app, "undo_delete")
    assert ("restore", "run-1") in api.asked


def test_a_run_is_compared_with_those_that_it_builds_on_and_that_build_on_it() -> None:
    origin = Origin(run_id="run-0", through="start_from", epoch=3)
    assert relatives(run(derived_from=[origin], derived_runs=["run-2", "run-3"])) == [
        "run-1", "run-0", "run-3", "run-2",
    ]  # fmt: skip


def test_a_run_that_stands_alone_is_compared_with_the_newest_of_another_method() -> None:
    def other(run_id: str, kind: str, seed: int) -> Run:
        return run(id=run_id, spec=run().spec.model_copy(update={"objective": objective(kind), "seed": seed}))

    def objective(kind: str) -> Any:
        return RunSpec.model_validate({"dataset": {"id": "clips"}, "objective": {"kind": kind}}).objective

    alone = other("run-1", "joint", 4)
    assert rival(alone, [alone, other("run-4", "joint", 4)]) is None
    found = [alone, other("run-3", "multi-head", 1), other("run-2", "gmm-adaptive", 4), other("run-0", "multi-head", 4)]
    assert rival(alone, found) == "run-2"
    assert rival(alone, found[:2]) == "run-3"


def test_a_weak_modality_that_was_never_trained_alone_is_offered(api: RecordedApi, open_page: Open) -> None:
    assert "Audio alone: what can it reach?" in texts(open_page("run", run="run-1"))


def test_samples_are_asked_for_as_filtered(api: RecordedApi, open_page: Open) -> None:
    app = open_page("run", run="run-1", tab="Samples", gap_min="-0.9", gap_max="-0.5", sample="clip-2")
    app.selectbox(key="samples_label").select("cat").run()
    press(app, "cell_rwr")
    asked = [filters for name, filters in api.asked if name == "sample_rows"][-1]
    assert (asked["min_gap"], asked["max_gap"], asked["label"], asked["audio_correct"]) == (-0.9, -0.5, "cat", False)
    assert (asked["epoch"], asked["split"], asked["sort"]) == (4, "validation", "-abs_gap")
    assert (asked["fused_correct"], asked["visual_correct"]) == (True, True)
    assert {name: app.query_params[name] for name in ("label", "audio_correct")} == {
        "label": "cat",
        "audio_correct": "false",
    }
    said = texts(app)
    assert "clip-2" in said
    assert "Visual-dominant: audio gives the true class “cat” 20.0 %, visual 90.0 %; gap -0.70." in said


def test_all_gaps_clears_the_range(api: RecordedApi, open_page: Open) -> None:
    app = press(open_page("run", run="run-1", tab="Samples", gap_min="-0.9", gap_max="-0.5"), "clear_brush")
    assert "gap_min" not in app.query_params
    asked = [filters for name, filters in api.asked if name == "sample_rows"][-1]
    assert asked["min_gap"] is None


def test_pages_of_samples_follow_the_cursor(api: RecordedApi, open_page: Open) -> None:
    app = press(open_page("run", run="run-1", tab="Samples"), "samples_next")
    assert [filters["cursor"] for name, filters in api.asked if name == "sample_rows"][-1] == "next"
    press(app, "samples_previous")
    assert [filters["cursor"] for name, filters in api.asked if name == "sample_rows"][-1] is None


def test_a_run_whose_tables_were_thinned_says_so(api: RecordedApi, open_page: Open) -> None:
    assert "kept of every" not in texts(open_page("run", run="run-1", tab="Samples"))
    api.known = {"run-1": run(samples_kept_every=4)}
    assert "kept of every 4th one" in texts(open_page("run", run="run-1", tab="Samples"))


def test_a_brush_is_a_range_within_the_axis() -> None:
    assert brushed({"selection": {"brush": {"low": [-1.4, -0.25]}}}) == (-1.0, -0.25)
    assert brushed({"selection": {"brush": {}}}) is None
    assert brushed(None) is None


def test_a_sample_of_one_modality_has_no_gap_in_the_table() -> None:
    table = sample_table([row(gap=None), row()])
    assert table["gap"].isna().tolist() == [True, False]
    assert table["says"].tolist() == ["✓ cat", "✓ cat"]


def test_log_and_configuration_are_drawn(api: RecordedApi, open_page: Open) -> None:
    app = open_page("run", run="run-1", tab="Log")
    assert "epoch 4 is finished" in app.code[0].value
    app = open_page("run", run="run-1", tab="Configuration")
    values = [table.value.to_string() for table in app.table]
    assert any("lambda_gap" in value for value in values)


def test_the_configuration_links_to_the_earlier_runs(api: RecordedApi, open_page: Open, monkeypatch: Any) -> None:
    taught = Umt(audio_teacher="run-audio-1", visual_teacher="run-visual-1")
    shown = run(spec=run().spec.model_copy(update={"objective": taught}))
    monkeypatch.setattr(api, "run", lambda run_id: shown)
    said = texts(open_page("run", run="run-1", tab="Configuration"))
    assert "Audio teacher: run-audio-1" in said
    assert "Visual teacher: run-visual-1" in said


def test_nested_settings_are_dotted() -> None:
    assert flatten({"a": {"b": 1, "c": [1, 2]}, "d": None, "e": True}) == [
        ("a.b", "1"),
        ("a.c", "1, 2"),
        ("d", "–"),
        ("e", "yes"),
    ]


# --- new run ---


def test_the_form_sends_what_it_shows(api: RecordedApi, open_page: Open) -> None:
    app = open_page("new_run")
    app.number_input(key="new.demo.epochs").set_value(7)
    app.number_input(key="new.demo.gmm-adaptive.objective.alpha").set_value(2.5)
    press(app.run(), "launch")
    sent = [spec for name, spec in api.asked if name == "create_run"]
    assert len(sent) == 1
    assert (sent[0]["epochs"], sent[0]["seed"]) == (7, 0)
    assert sent[0]["objective"]["kind"] == "gmm-adaptive"
    assert sent[0]["objective"]["alpha"] == 2.5
    assert sent[0]["dataset"]["num_train"] == 1000


def test_what_a_preset_fills_in_is_a_valid_spec(api: RecordedApi, open_page: Open) -> None:
    from worker.contract.spec import PRESETS, RunSpec

    for preset in PRESETS:
        app = open_page("new_run", preset=preset.id)
        kind = preset.spec.model_dump()["dataset"]["kind"]
        if kind != "av-digits":
            assert next(button for button in app.button if button.key == "launch").disabled
            app.text_input(key=f"new.{preset.id}.{kind}.dataset.path").set_value("/data").run()
        app = press(app, "launch")
        assert not app.exception
        sent = [spec for name, spec in api.asked if name == "create_run"][-1]
        if kind != "av-digits":
            assert sent["dataset"].pop("path") == "/data"
            sent["dataset"]["path"] = preset.spec.model_dump()["dataset"]["path"]
        assert RunSpec.model_validate(sent) == preset.spec


def test_the_api_s_message_stands_beside_its_field_before_anything_is_launched(
    api: RecordedApi, open_page: Open
) -> None:
    fault = FieldProblem(field="objective.gmm-adaptive.alpha", expected="at most 100", got="900", remedy="Lower it.")
    api.refusal = InvalidRequestError("One field is wrong.", errors=[fault])
    app = open_page("new_run")
    said = texts(app)
    assert "Expected at most 100, got 900. Lower it." in said
    assert "See the message beside: **Method**" in said
    assert next(button for button in app.button if button.key == "launch").disabled
    api.refusal = None
    app.number_input(key="new.demo.epochs").set_value(9).run()
    assert "See the message beside" not in texts(app)
    assert not next(button for button in app.button if button.key == "launch").disabled


def test_a_copy_is_prefilled_and_says_what_differs(api: RecordedApi, open_page: Open) -> None:
    from worker.contract.spec import RunSpec

    origin = api.known["run-1"].spec
    app = open_page("new_run", clone="run-1", objective="joint")
    assert not app.exception
    said = texts(app)
    assert "A copy of adaptive" in said
    assert "Objective gmm-adaptive → **joint**" in said or "Method gmm-adaptive → **joint**" in said
    press(app, "launch")
    sent = [spec for name, spec in api.asked if name == "create_run"][-1]
    assert sent["objective"]["kind"] == "joint"
    assert (sent["seed"], sent["epochs"]) == (origin.seed, origin.epochs)
    assert RunSpec.model_validate(sent).dataset == origin.dataset


def test_a_run_on_a_subset_is_prefilled(api: RecordedApi, open_page: Open) -> None:
    press(open_page("new_run", subset="subset-1-a", start_from="run-1"), "launch")
    sent = [spec for name, spec in api.asked if name == "create_run"][-1]
    assert (sent["subset"], sent["start_from"]) == ("subset-1-a", "run-1")


def test_a_copy_of_a_run_that_is_gone_offers_a_preset(api: RecordedApi, open_page: Open) -> None:
    app = open_page("new_run", clone="run-9")
    assert "run-9" in texts(app)
    assert "Launch" in [button.label for button in press(app, "from_preset").button]


def test_what_was_launched_before_a_refusal_is_not_launched_twice(api: RecordedApi, open_page: Open) -> None:
    app = open_page("new_run")
    app.text_input(key="new.demo.seeds").set_value("0-2").run()
    create = api.create_run

    def full_after_one(spec: dict[str, Any], key: str | None = None) -> Run:
        if any(name == "create_run" for name, _ in api.asked):
            raise ConflictError("The queue is full.")
        return create(spec, key)

    api.create_run = full_after_one  # type: ignore[method-assign]
    app = press(app, "launch")
    assert "1 of 3 runs are launched" in texts(app)
    api.create_run = create  # type: ignore[method-assign]
    app.session_state["_pressed"] = {}
    press(app, "launch")
    made = [spec for name, spec in api.asked if name == "create_run"]
    assert [spec["seed"] for spec in made] == [0, 1, 2]
    assert len({tuple(spec["tags"]) for spec in made}) == 1
    assert len(set(api.keys)) == 3


def test_the_form_offers_finished_runs_as_teachers(api: RecordedApi, open_page: Open) -> None:
    app = open_page("new_run")
    app.selectbox(key="new.demo.objective.kind").set_value("umt").run()
    assert not app.exception
    teacher = app.selectbox(key="new.demo.umt.objective.audio_teacher")
    assert teacher.options == ["adaptive (run-1)"]
    press(app, "launch")
    sent = [spec for name, spec in api.asked if name == "create_run"][-1]["objective"]
    assert (sent["kind"], sent["audio_teacher"], sent["visual_teacher"]) == ("umt", "run-1", "run-1")


def test_optional_earlier_runs_are_left_open(api: RecordedApi, open_page: Open) -> None:
    app = open_page("new_run")
    app.selectbox(key="new.demo.objective.kind").set_value("g-blending").run()
    assert app.selectbox(key="new.demo.g-blending.objective.fused_run").value is None


def test_a_refusal_without_a_field_is_told(api: RecordedApi, open_page: Open) -> None:
    api.refusal = ConflictError("The queue is full: 100 runs wait.")
    app = press(open_page("new_run"), "launch")
    assert "The queue is full" in texts(app)


def test_settings_that_do_not_go_together_are_told_once(api: RecordedApi, open_page: Open) -> None:
    fault = FieldProblem(
        field="(the whole)", expected="mla takes no accumulate", got="{'epochs': 3}", remedy="Change it."
    )
    api.refusal = InvalidRequestError(fault.sentence, errors=[fault])
    said = texts(open_page("new_run"))
    assert said.lower().count("mla takes no accumulate") == 1
    assert "Change it." in said


def test_wrong_seeds_cannot_be_launched(api: RecordedApi, open_page: Open) -> None:
    app = open_page("new_run")
    app.text_input(key="new.demo.seeds").set_value("a few").run()
    assert "expected seeds such as 0, 1 or 0-4" in texts(app)
    assert next(button for button in app.button if button.key == "launch").disabled


# --- test a clip ---


def test_a_score_is_shown_with_every_modality(api: RecordedApi, open_page: Open) -> None:
    said = texts(open_page("test_clip", score="score-1"))
    assert "“cat”, 80.0 %" in said
    assert "Visual-dominant" in said
    assert "Score gap (audio - visual): -0.65" in said
    assert "Dominant group: 90.0 %" in said
    assert "**Sound muted**: “cat” stays, 80.0 % → 90.0 %." in said
    assert "**Picture blackened**: the prediction turns to “dog” (70.0 %), “cat” 80.0 % → 30.0 %." in said


def test_what_the_knock_outs_change_is_shown_for_every_branch(api: RecordedApi, open_page: Open) -> None:
    said = texts(open_page("test_clip", score="score-1"))
    assert "| Sound muted | +10.0 points | -20.0 points | +0.0 points |" in said
    assert "20.0 % of the training clips" in said
    assert "No training clip" not in said


def test_a_gap_outside_of_training_and_the_opposite_tail_are_warned_of(api: RecordedApi, open_page: Open) -> None:
    place = GapInTraining(outside=True, min=-0.5, max=0.8, quantile=0.0)
    api.known_scores = {"score-1": score(result=score_result(gap_in_training=place, opposite_tail=True))}
    said = texts(open_page("test_clip", score="score-1"))
    assert "No training clip had a score gap like this one: theirs went from -0.50 to +0.80." in said
    assert "Opposite tail" in said


def test_a_clip_without_sound_says_so(api: RecordedApi, open_page: Open) -> None:
    silent = score_result(
        probabilities=DistributionByModality(fused=None, audio=None, visual={"cat": 0.9, "dog": 0.1}),
        predicted=ClassByModality(fused=None, audio=None, visual="cat"),
        gap=None, gap_of=None, posterior_imbalanced=None, posterior_reason="There is no gap.",
        modalities_present=["visual"], knock_outs={}, knock_out_changes={}, gap_in_training=None,
    )  # fmt: skip
    api.known_scores = {"score-1": score(result=silent)}
    said = texts(open_page("test_clip", score="score-1"))
    assert "This clip has no sound track" in said
    assert "“cat”, 90.0 %, by visual alone" in said
    assert "There is no gap." in said
    assert "Not in this clip: no sound." in said


def test_a_sample_is_scored_from_its_address(api: RecordedApi, open_page: Open) -> None:
    app = press(open_page("test_clip", run="run-1", sample="clip 7"), "score_sample")
    assert ("score_sample", ("run-1", "clips", "clip 7", None)) in api.asked
    assert app.query_params["score"] in ("score-1", ["score-1"])


def test_a_score_is_deleted_after_a_question(api: RecordedApi, open_page: Open) -> None:
    app = press(open_page("test_clip", run="run-1", score="score-1"), "score_delete_confirmed")
    assert ("delete_score", "score-1") in api.asked
    assert "score" not in app.query_params


def test_a_folder_is_scored_by_its_path(api: RecordedApi, open_page: Open) -> None:
    app = open_page("test_clip", run="run-1")
    app.text_input(key="batch_path").set_value(" /data/new ")
    app = press(app, "batch_send")
    assert ("score_batch", ("/data/new", "run-1")) in api.asked
    assert "3 of 3 clips, 1 without scores" in texts(app)
    assert app.query_params["batch"] in ("batch-1", ["batch-1"])


def test_a_batch_at_work_can_be_cancelled(api: RecordedApi, open_page: Open) -> None:
    progress = BatchProgress(done=3, total=9, fraction=0.3, eta_s=45.0)
    api.known_batches = {"batch-1": score_batch(state="running", table=None, progress=progress)}
    app = open_page("test_clip", batch="batch-1")
    assert progress_words(api.known_batches["batch-1"]) == "3 of 9 clips, 45 s left"
    press(app, "batch_cancel")
    assert ("cancel_batch", "batch-1") in api.asked


def test_a_path_that_is_refused_says_why(api: RecordedApi, open_page: Open) -> None:
    app = open_page("test_clip", run="run-1")
    assert "Give the path" in texts(press(app, "batch_send"))
    api.refusal = ConflictError("The queue is full.")
    app.text_input(key="batch_path").set_value("/data/new")
    assert "The queue is full." in texts(press(app, "batch_send"))


def test_a_failed_score_says_why(api: RecordedApi, open_page: Open) -> None:
    api.known_scores = {
        "score-1": score(state="failed", result=None, error=problem("No stream was found. Upload an mp4."))
    }
    assert "No stream was found. Upload an mp4." in texts(open_page("test_clip", score="score-1"))


def test_without_a_model_people_are_sent_to_start_a_run(api: RecordedApi, open_page: Open) -> None:
    api.known = {"run-1": run(summary=None)}
    assert "No model yet" in texts(open_page("test_clip"))


def test_media_are_fetched_from_the_public_address() -> None:
    assert browser_address("/api/v1/x?track=video") == "https://api.example/api/v1/x?track=video"
    assert browser_address("https://elsewhere/x") == "https://elsewhere/x"


# --- datasets, system, compare ---


def test_the_quality_of_a_dataset_is_a_tab_with_leaks_first(api: RecordedApi, open_page: Open) -> None:
    api.datasets_known = [dataset(quality=dataset_quality())]
    app = open_page("datasets", dataset_tab="Quality")
    said = texts(app)
    assert "1 of 100 test clips have the same content as training clips." in said
    assert "Median -25.0 dBFS; nine of ten clips from -55.0 dBFS to -21.0 dBFS." in said
    tables = [frame.value for frame in app.dataframe]
    assert "3 clips with the content of an earlier clip of the same split." in said
    assert any(list(table.get("other", ())) == ["clip-1"] for table in tables)
    assert any(list(table.get("fault", ())) == ["Silent"] for table in tables)
    api.datasets_known = [dataset(quality=dataset_quality(leak=False))]
    app = open_page("datasets", dataset_tab="Quality")
    assert [item.value for item in app.success] == ["No content stands in two splits."]
    api.datasets_known = [dataset()]
    assert "made by an older version" in texts(open_page("datasets", dataset_tab="Quality"))


def test_a_preparation_says_how_far_it_is() -> None:
    progress = PrepareProgress(done=50, total=200, skipped=1, fraction=0.25, eta_s=90, clips_per_s=62.4)
    item = dataset(state="preparing", progress=progress)
    assert preparation_words(item) == "50 of 200 clips, 62 a second, 1 min 30 s left; 1 clip left out."
    assert preparation_words(dataset(state="preparing", progress=PrepareProgress())) == "Listing the clips."


def test_a_dataset_whose_files_changed_is_prepared_again(api: RecordedApi, open_page: Open) -> None:
    assert "added, removed or changed" not in texts(open_page("datasets"))
    api.datasets_known = [dataset(changed=True)]
    app = open_page("datasets")
    assert "added, removed or changed" in texts(app)
    press(app, "prepare_again")
    assert ("prepare_dataset", "folder-1") in api.asked


def test_an_unused_dataset_is_deleted_and_says_what_that_freed(api: RecordedApi, open_page: Open) -> None:
    api.datasets_known = [dataset(active_runs=["run-1"], num_runs=1)]
    app = open_page("datasets")
    assert "In use by 1 run" in texts(app)
    assert "delete_dataset" not in [button.key for button in app.button]
    api.datasets_known = [dataset()]
    app = press(open_page("datasets"), "delete_dataset")
    assert ("delete_dataset", "folder-1") in api.asked
    assert [toast.value for toast in app.toast] == ["Deleted folder-1: 3.1 MB freed."]


def test_a_new_run_says_what_it_takes_on_the_disk(api: RecordedApi, open_page: Open) -> None:
    assert "the dataset is about 1.1 GB" in texts(open_page("new_run"))


def test_a_failed_dataset_says_why(api: RecordedApi, open_page: Open) -> None:
    api.datasets_known = [dataset(state="failed", error=problem("The manifest has no column `label`."))]
    app = open_page("datasets")
    assert "no column `label`" in texts(app)
    press(app, "retry_preparation")
    assert ("prepare_dataset", "folder-1") in api.asked


def test_a_wrong_path_is_told_beside_its_field(api: RecordedApi, open_page: Open) -> None:
    app = press(open_page("datasets"), "register")
    app.text_input(key="register.folder.path").set_value("data").run()
    app = press(app, "register_send")
    assert "Expected an absolute path, got data. Begin it with /." in texts(app)
    app.text_input(key="register.folder.path").set_value("/data").run()
    app = press(app, "register_send")
    sent: dict[str, Any] = [spec for name, spec in api.asked if name == "register_dataset"][-1]
    assert (sent["kind"], sent["path"]) == ("folder", "/data")
    assert "preprocess" not in sent


def test_what_the_import_check_found_is_told(api: RecordedApi, open_page: Open) -> None:
    api.datasets_known = [dataset(warnings=["3 of 744 clips lack their sound file and are left out."])]
    assert "3 of 744 clips lack their sound file" in texts(open_page("datasets"))


def test_a_corpus_is_registered_with_its_protocol_and_layout(api: RecordedApi, open_page: Open) -> None:
    app = press(open_page("datasets"), "register")
    app.selectbox(key="register_kind").set_value("crema-d").run()
    assert "no actor stands in two splits" in texts(app)
    app.text_input(key="register.crema-d.path").set_value("/data/CREMA-D").run()
    app.selectbox(key="register.crema-d.protocol").set_value("paper").run()
    press(app, "register_send")
    sent: dict[str, Any] = [spec for name, spec in api.asked if name == "register_dataset"][-1]
    assert (sent["kind"], sent["protocol"], sent["layout"]) == ("crema-d", "paper", "official")
    assert DATASETS["crema-d"].model_validate(sent).path == "/data/CREMA-D"


def test_the_protocol_stands_beside_the_numbers_that_it_made(api: RecordedApi, open_page: Open) -> None:
    said = texts(open_page("run", run="run-1"))
    assert "protocol honest" in said
    assert "Protocol: honest." in said


def test_missing_workers_are_named(api: RecordedApi, open_page: Open) -> None:
    said = texts(open_page("system"))
    assert "**Preparing clips**: no worker" in said
    assert "**Training**: no worker" not in said
    assert warnings({"disk": {"accepts_new_work": False}, "redis": {"eviction_policy": "allkeys-lru"}}, [])[-2:] == [
        "**Disk**: too full for new work. Empty the trash, delete runs, or give the home more space.",
        "**Redis**: it may throw jobs away. Set its `maxmemory-policy` to `noeviction`.",
    ]


def test_broken_plugins_are_named_and_their_reason_is_no_markdown() -> None:
    said = warnings({"broken_plugins": {"mine (pack 1.0)": "TypeError: `x` is *no* class"}}, [])
    assert r"**Plug-in mine (pack 1.0)** could not be loaded and is left out: TypeError: `x` is \*no\* class" in said


def test_system_says_what_is_wrong_and_what_to_do() -> None:
    assert "gapscope doctor" in warnings({"redis": None}, [])[0]
    assert len(warnings({"redis": None}, [])) == 1
    assert "**3 folders** of the home" in warnings({"num_damaged_folders": 3}, [])[-1]
    assert not any("folder" in warning for warning in warnings({"num_damaged_folders": 0}, []))


def test_a_folder_that_is_set_apart_is_shown_as_text_with_its_remedy() -> None:
    folder = DamagedFolder(
        kind="run", id="run-*x*", path="/home/runs/run-x", reason="it is *gone*", remedy="Restore it.", is_shown=False
    )
    (row,) = set_apart_rows([folder])
    assert row == {
        "Folder": r"run run-\*x\*",
        "What is wrong": r"it is \*gone\*",
        "What to do": "Restore it.",
        "Listed": "no",
        "Path": "/home/runs/run-x",
    }


def test_a_webhook_shows_its_last_delivery_and_failure() -> None:
    hook = Webhook(address="https://a.example/…", waiting=1, failed_at=NOW, failure="answered 500")
    assert failing(hook)
    said = "\n".join(webhook_lines(hook))
    assert "Last failure: answered 500" in said
    assert "1 message will be tried again." in said
    told = hook.model_copy(update={"delivered_at": NOW + timedelta(hours=1), "delivered": "run.finished", "waiting": 0})
    assert not failing(told)
    assert "Last told: run.finished" in "\n".join(webhook_lines(told))


def test_a_watched_run_that_ended_is_told_once_and_asked_for_no_more(api: RecordedApi, open_page: Open) -> None:
    api.known = {"run-1": run(state="running", result=None)}
    assert open_page("run", run="run-1").session_state["_watched"] == {"run run-1": ""}
    assert open_page("runs").session_state["_watched"] == {"run run-1": ""}
    api.known = {"run-1": run(name="adaptive *b*")}
    watching = AppTest.from_function(_watch, default_timeout=60)
    watching.session_state["_watched"] = {"run run-1": "", "run run-gone": ""}
    watching.run()
    assert [toast.value for toast in watching.toast] == ["**adaptive \\*b\\***  \nThe run is finished."]
    assert watching.session_state["_watched"] == {}


def _watch() -> None:
    from frontend.ui import notices

    notices.draw()


def test_different_sources_are_not_compared_unasked(api: RecordedApi, open_page: Open) -> None:
    api.known = {"run-1": run(), "run-2": run("run-2", summary=report(source="probe"))}
    app = open_page("compare", runs="run-1,run-2")
    assert not app.exception
    assert "Epoch 4, validation split" in texts(app)
    assert "compare the fused accuracy" in texts(app)


def test_the_shell_names_every_page(api: RecordedApi) -> None:
    app = AppTest.from_file(Path("frontend/ui/app.py").resolve(), default_timeout=60).run()
    assert not app.exception
    assert "Runs" in texts(app)


def test_a_dead_api_answers_nothing() -> None:
    with pytest.raises(UnreachableError):
        DeadApi().runs()


def test_an_object_that_may_be_left_out_is_off_until_it_is_turned_on(api: RecordedApi, open_page: Open) -> None:
    app = open_page("new_run")
    app.session_state["new.demo.section.memory"] = True
    app.run()
    switch = next(toggle for toggle in app.toggle if str(toggle.key).endswith("early_stopping.on"))
    assert switch.value is False
    app = press(switch.set_value(True).run(), "launch")
    sent = [spec for name, spec in api.asked if name == "create_run"][-1]
    assert sent["early_stopping"] == {"patience": 5, "figure": "accuracy", "min_change": 0.0}
