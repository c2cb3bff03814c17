from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
from streamlit.testing.v1 import AppTest

from frontend.client import UnreachableError
from frontend.ui.panels.configuration import flatten
from frontend.ui.panels.header import situation, waited_dataset
from frontend.ui.panels.preparation import preparation_words
from frontend.ui.panels.samples import brushed, sample_table
from frontend.ui.service import browser_address
from frontend.ui.views.compare import differences, names_of
from frontend.ui.views.new_run import combinations
from frontend.ui.views.runs import row_of
from frontend.ui.views.system import warnings
from tests.frontend.ui.conftest import Open, texts
from tests.frontend.ui.recorded import DeadApi, RecordedApi, dataset, problem, report, row, run, score, score_result
from worker.contract.errors import ConflictError, FieldProblem, InvalidRequestError
from worker.contract.resources import PrepareProgress, Run, RunProgress
from worker.contract.scores import ClassByModality, DistributionByModality

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
    assert ("create_run", {"preset": "demo"}) in api.asked


def test_filters_go_to_the_api(api: RecordedApi, open_page: Open) -> None:
    app = open_page("runs")
    app.selectbox(key="filter_state").select("failed")
    app.selectbox(key="runs_sort").select("Oldest first").run()
    asked = [filters for name, filters in api.asked if name == "runs"][-1]
    assert (asked["state"], asked["sort"], asked["cursor"]) == ("failed", "created_at", None)


def test_a_row_has_the_figures_of_the_run() -> None:
    shown = row_of(run(progress=RunProgress(epoch=2, epochs=4, fraction=0.5, eta_s=70), state="running"))
    assert shown["epoch"] == "2 of 4 · 1 min 10 s left"
    assert (shown["fused"], shown["gap"], shown["progress"]) == (90.0, 0.4, 50.0)
    assert row_of(run(summary=None))["fused"] is None


def test_the_api_knows_every_order() -> None:
    from backend.routes.runs import RunSort
    from backend.tables import SORT_COLUMNS
    from frontend.ui.panels import samples
    from frontend.ui.views import runs

    assert set(runs.SORTS.values()) <= set(get_args(RunSort))
    assert {sort.removeprefix("-") for sort in samples.SORTS.values()} <= set(SORT_COLUMNS)


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
    app = press(app, "follow_newest")
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


def test_a_double_press_clones_once(api: RecordedApi, open_page: Open) -> None:
    app = press(press(open_page("run", run="run-1"), "clone_run"), "clone_run")
    assert not app.exception
    assert [name for name, _ in api.asked].count("clone") == 1


def test_a_refused_action_is_told(api: RecordedApi, open_page: Open) -> None:
    api.known = {"run-1": run(state="running")}
    app = press(open_page("run", run="run-1"), "cancel_run")
    assert "nothing can be cancelled" in texts(app)


def test_samples_are_asked_for_as_filtered(api: RecordedApi, open_page: Open) -> None:
    app = open_page("run", run="run-1", tab="Samples", gap_min="-0.9", gap_max="-0.5", sample="clip-2")
    app.selectbox(key="samples_label").select("cat")
    app.selectbox(key="samples_audio_correct").select("Wrong").run()
    asked = [filters for name, filters in api.asked if name == "sample_rows"][-1]
    assert (asked["min_gap"], asked["max_gap"], asked["label"], asked["audio_correct"]) == (-0.9, -0.5, "cat", False)
    assert (asked["epoch"], asked["split"], asked["sort"]) == (4, "validation", "-abs_gap")
    said = texts(app)
    assert "clip-2" in said
    assert "Visual leads: audio gives the true class “cat” 20.0 %, visual 90.0 %; gap -0.70." in said


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
        app = press(open_page("new_run", preset=preset.id), "launch")
        assert not app.exception
        sent = RunSpec.model_validate([spec for name, spec in api.asked if name == "create_run"][-1])
        assert sent == preset.spec


def test_the_api_s_message_stands_beside_its_field(api: RecordedApi, open_page: Open) -> None:
    fault = FieldProblem(field="objective.gmm-adaptive.alpha", expected="at most 100", got="900", remedy="Lower it.")
    api.refusal = InvalidRequestError("One field is wrong.", errors=[fault])
    app = press(open_page("new_run"), "launch")
    said = texts(app)
    assert "Expected at most 100, got 900. Lower it." in said
    assert "See the message beside: **Method**" in said
    app.number_input(key="new.demo.epochs").set_value(9).run()
    assert "See the message beside" not in texts(app)


def test_a_refusal_without_a_field_is_told(api: RecordedApi, open_page: Open) -> None:
    api.refusal = ConflictError("The queue is full: 100 runs wait.")
    app = press(open_page("new_run"), "launch")
    assert "The queue is full" in texts(app)


def test_seeds_and_methods_make_one_run_each() -> None:
    spec = {"objective": {"kind": "gmm-adaptive", "alpha": 2}, "epochs": 3}
    made = combinations(spec, [0, 1], ["joint"])
    assert [(one["objective"]["kind"], one["seed"]) for one in made] == [
        ("gmm-adaptive", 0), ("gmm-adaptive", 1), ("joint", 0), ("joint", 1),
    ]  # fmt: skip
    assert made[2]["objective"] == {"kind": "joint"}


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


def test_a_clip_without_sound_says_so(api: RecordedApi, open_page: Open) -> None:
    silent = score_result(
        probabilities=DistributionByModality(fused=None, audio=None, visual={"cat": 0.9, "dog": 0.1}),
        predicted=ClassByModality(fused=None, audio=None, visual="cat"),
        gap=None, gap_of=None, posterior_imbalanced=None, posterior_reason="There is no gap.",
        modalities_present=["visual"], knock_outs={},
    )  # fmt: skip
    api.scores = {"score-1": score(result=silent)}
    said = texts(open_page("test_clip", score="score-1"))
    assert "This clip has no sound track" in said
    assert "“cat”, 90.0 %, by visual alone" in said
    assert "There is no gap." in said
    assert "Not in this clip: no sound." in said


def test_a_failed_score_says_why(api: RecordedApi, open_page: Open) -> None:
    api.scores = {"score-1": score(state="failed", result=None, error=problem("No stream was found. Upload an mp4."))}
    assert "No stream was found. Upload an mp4." in texts(open_page("test_clip", score="score-1"))


def test_without_a_model_people_are_sent_to_start_a_run(api: RecordedApi, open_page: Open) -> None:
    api.known = {"run-1": run(summary=None)}
    assert "No model yet" in texts(open_page("test_clip"))


def test_media_are_fetched_from_the_public_address() -> None:
    assert browser_address("/api/v1/x?track=video") == "https://api.example/api/v1/x?track=video"
    assert browser_address("https://elsewhere/x") == "https://elsewhere/x"


# --- datasets, system, compare ---


def test_a_preparation_says_how_far_it_is() -> None:
    progress = PrepareProgress(done=50, total=200, skipped=1, fraction=0.25, eta_s=90, clips_per_s=62.4)
    item = dataset(state="preparing", progress=progress)
    assert preparation_words(item) == "50 of 200 clips, 62 a second, 1 min 30 s left; 1 clip left out."
    assert preparation_words(dataset(state="preparing", progress=PrepareProgress())) == "Listing the clips."


def test_a_failed_dataset_says_why(api: RecordedApi, open_page: Open) -> None:
    api.datasets_known = [dataset(state="failed", error=problem("The manifest has no column `label`."))]
    assert "no column `label`" in texts(open_page("datasets"))


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


def test_missing_workers_are_named(api: RecordedApi, open_page: Open) -> None:
    said = texts(open_page("system"))
    assert "**Preparing clips**: no worker" in said
    assert "**Training**: no worker" not in said
    assert warnings({"disk": {"accepts_new_work": False}, "redis": {"eviction_policy": "allkeys-lru"}}, [])[-2:] == [
        "**Disk**: too full for new work. Empty the trash, delete runs, or give the home more space.",
        "**Redis**: it may throw jobs away. Set its `maxmemory-policy` to `noeviction`.",
    ]


def test_only_differing_settings_are_compared() -> None:
    first, second = run("a"), run("b", name="adaptive")
    second = second.model_copy(update={"spec": second.spec.model_copy(update={"seed": 3, "name": "x"})})
    assert differences([first, second]) == {"seed": {"a": "0", "b": "3"}}
    assert names_of([first, run("c")]) == {"a": "adaptive", "c": "adaptive (2)"}


def test_different_sources_are_not_compared_unasked(api: RecordedApi, open_page: Open) -> None:
    api.known = {"run-1": run(), "run-2": run("run-2", summary=report(source="probe"))}
    app = open_page("compare", runs="run-1,run-2")
    assert not app.exception
    assert "Newest epoch, validation split" in texts(app)


def test_the_shell_names_every_page(api: RecordedApi) -> None:
    app = AppTest.from_file(Path("frontend/ui/app.py").resolve(), default_timeout=60).run()
    assert not app.exception
    assert "Runs" in texts(app)


def test_a_dead_api_answers_nothing() -> None:
    with pytest.raises(UnreachableError):
        DeadApi().runs()
