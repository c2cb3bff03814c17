from __future__ import annotations

from frontend.ui import incidents
from frontend.ui.history import History
from tests.frontend.ui.recorded import events
from worker.contract.events import RunInterrupted, RunResumed


def disturbed(*, differences: list[str]) -> History:
    history = History()
    history.fold(events())
    after = history.cursor
    history.fold(
        [
            RunInterrupted(seq=after + 1, reason="worker *lost*", epoch=2),
            RunResumed(seq=after + 2, epoch=2, differences=differences),
        ]
    )
    return history


def test_an_undisturbed_run_has_no_incidents() -> None:
    history = History()
    history.fold(events())
    assert incidents.summary(history) is None
    assert incidents.sentences(history) == []


def test_incidents_are_told_in_order_with_text_as_text() -> None:
    said = incidents.sentences(disturbed(differences=[]))
    assert said == ["Interrupted after epoch 2: worker \\*lost\\*", "Resumed after epoch 2."]


def test_what_was_other_where_a_run_went_on_is_named() -> None:
    history = disturbed(differences=["processor: A, then B"])
    assert "not be the same to the bit" in incidents.sentences(history)[1]
    assert "processor: A, then B." in incidents.sentences(history)[1]
    summary = incidents.summary(history)
    assert summary == "1 interruption, resumed 1 time, 1 of them on a different machine or version"
