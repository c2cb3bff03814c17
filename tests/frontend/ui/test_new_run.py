from __future__ import annotations

from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from tests.frontend.ui.conftest import Open, texts
from tests.frontend.ui.recorded import RecordedApi
from worker.contract.errors import FieldProblem, InvalidRequestError
from worker.contract.resources import RunEstimate


def press(app: AppTest, key: str) -> AppTest:
    return next(button for button in app.button if button.key == key).click().run()


def launched(api: RecordedApi) -> list[dict[str, Any]]:
    return [spec for name, spec in api.asked if name == "create_run"]


def launch_button(app: AppTest) -> Any:
    return next(button for button in app.button if button.key == "launch")


def also(app: AppTest, *kinds: str) -> AppTest:
    chosen = next(one for one in app.multiselect if one.key == "new.demo.also")
    return chosen.set_value(list(kinds)).run()


def test_a_changed_field_is_marked_and_reset(api: RecordedApi, open_page: Open) -> None:
    app = open_page("new_run")
    assert not [button for button in app.button if str(button.key).endswith(".reset")]
    app.number_input(key="new.demo.epochs").set_value(9).run()
    app.selectbox(key="new.demo.objective.kind").set_value("joint").run()
    marks = {button.key: button.label for button in app.button if str(button.key).endswith(".reset")}
    assert marks["new.demo.epochs.reset"] == "Changed; reset to 20"
    assert "GMM" in marks["new.demo.objective.kind.reset"]
    press(press(app, "new.demo.epochs.reset"), "new.demo.objective.kind.reset")
    assert not [button for button in app.button if str(button.key).endswith(".reset")]
    press(app, "launch")
    [sent] = launched(api)
    assert (sent["epochs"], sent["objective"]["kind"]) == (20, "gmm-adaptive")


def test_a_closed_part_keeps_what_was_changed_in_it_says_so_and_resets_it(api: RecordedApi, open_page: Open) -> None:
    app = open_page("new_run")

    def opened(state: bool) -> None:
        app.session_state["new.demo.section.tune"] = state
        app.run()

    rate = "new.demo.adamw.optimizer.learning_rate"
    opened(True)
    app.number_input(key=rate).set_value(0.5).run()
    opened(False)
    assert rate not in [one.key for one in app.number_input]
    assert "1 setting changed in it." in texts(app)
    opened(True)
    assert app.number_input(key=rate).value == 0.5
    press(app, f"{rate}.reset")
    assert app.number_input(key=f"{rate}#1").value == 2e-3
    press(app, "launch")
    assert launched(api)[0]["optimizer"]["learning_rate"] == 2e-3


def test_each_method_has_its_own_settings(api: RecordedApi, open_page: Open) -> None:
    app = also(open_page("new_run"), "joint", "multi-head", "ogm")
    app.session_state["new.demo.also.ogm.section"] = True
    app.run()
    app.number_input(key="new.demo.also.ogm.objective.alpha").set_value(0.7).run()
    app.text_input(key="new.demo.seeds").set_value("0-1").run()
    app.session_state["new.demo.also.ogm.section"] = False
    app.run()
    assert launch_button(app).label == "Launch 8 runs"
    press(app, "launch")
    sent = [(spec["objective"]["kind"], spec["seed"]) for spec in launched(api)]
    assert sent == [(kind, seed) for kind in ("gmm-adaptive", "joint", "multi-head", "ogm") for seed in (0, 1)]
    assert [spec["objective"]["alpha"] for spec in launched(api)[-2:]] == [0.7, 0.7]
    assert len({tuple(spec["tags"]) for spec in launched(api)}) == 1


def test_a_method_that_cannot_run_so_holds_back_all(api: RecordedApi, open_page: Open) -> None:
    good = api.estimate_run

    def estimate(spec: dict[str, Any]) -> RunEstimate:
        if spec.get("objective", {}).get("kind") == "opm":
            fault = FieldProblem(field="objective.first_epoch", expected="at most 3", got="7", remedy="Lower it.")
            raise InvalidRequestError("One field is wrong.", errors=[fault])
        return good(spec)

    api.estimate_run = estimate  # type: ignore[method-assign]
    app = also(open_page("new_run"), "opm")
    assert launch_button(app).disabled
    said = texts(app)
    assert "These settings cannot be launched. See the message inside: **" in said
    assert "Something in it is wrong" in said
    app.session_state["new.demo.also.opm.section"] = True
    assert "Expected at most 3, got 7. Lower it." in texts(app.run())


def test_what_is_wrong_with_all_runs_is_told_once(api: RecordedApi, open_page: Open) -> None:
    fault = FieldProblem(field="epochs", expected="at most 3", got="7", remedy="Lower it.")
    api.refusal = InvalidRequestError("One field is wrong.", errors=[fault])
    said = texts(also(open_page("new_run"), "joint"))
    assert said.count("Expected at most 3, got 7. Lower it.") == 1
    assert "Something in it is wrong" not in said


def test_runs_that_do_not_fit_cannot_be_launched(api: RecordedApi, open_page: Open) -> None:
    api.free_bytes = 2**29
    app = open_page("new_run")
    assert "The disk is too small" in "\n".join(str(one.value) for one in app.error)
    assert launch_button(app).disabled


def test_only_runs_on_the_chosen_dataset_are_offered_whatever_else_is_wrong(api: RecordedApi, open_page: Open) -> None:
    good = api.estimate_run

    def estimate(spec: dict[str, Any]) -> RunEstimate:
        if "objective" in spec:
            raise InvalidRequestError("No.", errors=[FieldProblem(field="epochs", expected="x", got="y", remedy="z")])
        return good(spec)

    api.estimate_run = estimate  # type: ignore[method-assign]
    app = open_page("new_run")
    app.selectbox(key="new.demo.objective.kind").set_value("umt").run()
    asked = [filters for name, filters in api.asked if name == "runs"]
    assert {filters["objective"]: filters["dataset"] for filters in asked} == {
        "audio-only": "clips", "visual-only": "clips",
    }  # fmt: skip


def test_a_method_whose_earlier_runs_are_missing_says_so(api: RecordedApi, open_page: Open) -> None:
    api.known = {}
    app = open_page("new_run")
    app.selectbox(key="new.demo.objective.kind").set_value("umt").run()
    teacher = app.selectbox(key="new.demo.umt.objective.audio_teacher.none")
    assert teacher.disabled
    assert teacher.placeholder == "No finished run of audio-only"
    assert "Train one first: a run of audio-only on this dataset." in texts(app)
    press(app, "launch")
    assert "audio_teacher" not in launched(api)[0]["objective"]  # the API says that it is missing


def test_the_chosen_preset_stands_in_the_address(api: RecordedApi, open_page: Open) -> None:
    app = open_page("new_run", preset="paper-ave")
    said = texts(app)
    assert "which is not registered here yet" in said
    assert app.query_params["preset"] == "paper-ave"
    app = open_page("new_run")
    assert app.query_params["preset"] == "demo"


def interruption(app: AppTest) -> str:
    return "\n".join(str(one.value) for one in app.warning)


def test_a_launch_that_a_reload_cut_off_is_told_and_goes_on_under_its_keys(api: RecordedApi, open_page: Open) -> None:
    token = "0123456789abcdef" * 2
    for _ in range(2):
        app = open_page("new_run", launch=token)
        assert "A launch was interrupted: 1 run of it, tagged set-01234567, is launched" in interruption(app)
        press(app, "launch")
    assert ("runs", {"tag": "set-01234567", "limit": 50}) in api.asked
    assert len(api.keys) == 2
    assert len(set(api.keys)) == 1


@pytest.mark.parametrize("given", ["../../etc", "short"])
def test_what_is_no_token_in_the_address_is_left_alone(api: RecordedApi, open_page: Open, given: str) -> None:
    assert not interruption(open_page("new_run", launch=given))


def test_a_new_launch_of_the_same_settings_is_a_new_run(api: RecordedApi, open_page: Open) -> None:
    for _ in range(2):
        press(open_page("new_run"), "launch")
    assert len(set(api.keys)) == 2


def test_the_way_back_from_a_launch_leads_to_the_form_as_it_was_launched(api: RecordedApi, open_page: Open) -> None:
    app = also(open_page("new_run", preset="demo"), "joint", "ogm-ge")
    app.number_input(key="new.demo.epochs").set_value(9).run()
    app.text_input(key="new.demo.seeds").set_value("1-2").run()
    app.session_state["new.demo.also.ogm-ge.section"] = True
    app.run()
    app.number_input(key="new.demo.also.ogm-ge.objective.alpha").set_value(0.25).run()
    press(app, "launch")
    token = app.query_params["launch"]
    first = launched(api)
    assert len(first) == 6
    app.query_params.clear()
    app.query_params["runs"] = "a,b"  # the entry of the history that a jump to Compare leaves
    app.run()
    assert (app.query_params["preset"], app.query_params["launch"]) == ("demo", token)
    assert "runs" not in app.query_params
    prefix = f"new.demo-{token[:8]}"
    assert app.number_input(key=f"{prefix}.epochs").value == 9
    assert [one.label for one in app.button if one.key == f"{prefix}.epochs.reset"] == ["Changed; reset to 20"]
    assert not interruption(app)
    press(app, "launch")
    again = launched(api)[6:]
    assert [{**spec, "tags": []} for spec in again] == [{**spec, "tags": []} for spec in first]
    assert len(set(api.keys)) == 12  # another launch


@pytest.mark.parametrize(
    ("devices", "fields"),
    [(["cpu"], set()), (["cuda:0"], {"device"}), (["cuda:0", "cuda:1"], {"device", "num_processes"})],
)
def test_where_a_run_trains_is_asked_in_the_open_where_there_is_a_choice(
    api: RecordedApi, open_page: Open, devices: list[str], fields: set[str]
) -> None:
    api.devices = devices
    app = open_page("new_run")
    shown = {str(one.key).removeprefix("new.demo.") for one in (*app.selectbox, *app.number_input)}
    assert shown & {"device", "num_processes"} == fields
    press(app, "launch")
    assert {"device", "num_processes"} & set(launched(api)[0]) >= fields
