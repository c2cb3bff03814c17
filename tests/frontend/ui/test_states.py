"""Pages without anything to show, and with names, tags and classes that are long and many."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from frontend.ui.charts.confusion import confusion_chart
from frontend.ui.charts.samples import true_class_table
from frontend.ui.panels.header import nothing_words, tag_words
from tests.frontend.ui.conftest import Open, texts
from tests.frontend.ui.recorded import RecordedApi, row, run
from worker.contract.errors import NotFoundError


def test_compare_and_run_without_runs_say_what_they_are_for(api: RecordedApi, open_page: Open) -> None:
    api.known = {}
    app = open_page("compare")
    assert "No runs to compare yet" in texts(app)
    assert not app.multiselect
    app = open_page("run")
    assert "No run yet" in texts(app)
    assert "Start a run" in [button.label for button in app.button]


def test_a_run_that_is_not_there_is_told_with_a_way_on(
    api: RecordedApi, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(run_id: str) -> Any:
        raise NotFoundError(f"There is no run with the id {run_id!r}.", code="run-not-found")

    monkeypatch.setattr(api, "run", missing)
    app = open_page("run", run="run-nope")
    assert "run-nope" in app.error[0].value
    assert "[All runs](runs)" in texts(app)


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("queued", "Waiting for a free worker (number 2 in the queue). Samples appear with the first finished epoch."),
        ("running", "The first epoch is under way. Samples appear with the first finished epoch."),
        ("failed", "This run ended before its first epoch was complete: there is nothing to show."),
        ("cancelled", "This run ended before its first epoch was complete: there is nothing to show."),
    ],
)
def test_a_run_without_an_epoch_says_what_it_waits_for_or_that_nothing_comes(state: str, said: str) -> None:
    assert nothing_words(run(state=state, queue_position=2), "Samples") == said


def test_many_tags_are_counted() -> None:
    assert tag_words(["a", "b"]) == "a · b"
    assert tag_words([str(number) for number in range(20)]) == "0 · 1 · 2 · 3 · 4 · 15 more tags"


def test_the_name_of_a_class_leaves_room_for_the_bars_beside_it() -> None:
    made = row("clip-1")
    long = made.model_copy(update={"predicted": made.predicted.model_copy(update={"audio": "a sound " * 20})})
    table = true_class_table(long)
    assert table["words"].str.len().max() < 30
    assert "a sound " * 20 in set(table["predicted"])


@pytest.mark.parametrize(("num_classes", "are_named"), [(10, True), (60, False)])
def test_columns_of_a_matrix_are_named_while_their_names_are_legible(num_classes: int, are_named: bool) -> None:
    names = [f"class {number}" for number in range(num_classes)]
    table = pd.DataFrame({"truth": names, "prediction": names, "clips": 1, "share": 1.0})
    x = confusion_chart(table, "Fused").to_dict()["layer"][0]["encoding"]["x"]
    assert x["axis"]["labels"] == are_named
    assert ("same order" in x["title"]) == (not are_named)


def _after_an_outage() -> None:
    import streamlit as st

    from frontend.ui import service

    st.session_state["draws"] = st.session_state.get("draws", 0) + 1
    if st.session_state["draws"] == 1:
        st.session_state[service.ASKED_AT] = -service.AGAIN_S
        service._come_back()
        st.markdown("still down")
    else:
        st.markdown("the page again")


def test_a_page_comes_back_by_itself_once_the_api_answers(api: RecordedApi) -> None:
    assert "the page again" in texts(AppTest.from_function(_after_an_outage).run())


def test_while_the_api_does_not_answer_the_page_says_that_it_asks_again(dead_api: None, open_page: Open) -> None:
    assert "still down" in texts(AppTest.from_function(_after_an_outage).run())
    app = open_page("runs")
    assert "comes back by itself" in texts(app)
    assert not app.exception
