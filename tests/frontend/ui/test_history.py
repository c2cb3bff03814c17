from __future__ import annotations

import pytest

from frontend.ui import history as folding
from frontend.ui.history import History
from tests.frontend.ui.recorded import epoch, events, report, started
from worker.contract.events import GradientShare, RunInterrupted, RunResumed


@pytest.fixture
def history() -> History:
    made = History()
    made.fold(events())
    return made


def test_events_are_folded_once_and_in_order(history: History) -> None:
    assert (history.cursor, history.newest, len(history.epochs)) == (6, 4, 4)
    assert history.fold(events()) == 0
    assert len(history.epochs) == 4


def test_folding_goes_on_where_it_stopped() -> None:
    history = History()
    assert history.fold(events()[:3]) == 3
    assert history.fold(events()[1:]) == 3
    assert [event.epoch for event in history.epochs] == [1, 2, 3, 4]


def test_a_hole_is_refused_and_names_where_to_begin() -> None:
    history = History()
    history.fold(events()[:2])
    with pytest.raises(ValueError, match="expected event 3, got 5: fetch again from 2"):
        history.fold(events()[4:])
    assert history.cursor == 2


def test_an_interruption_keeps_the_epochs() -> None:
    history = History()
    history.fold([started(), epoch(1), RunInterrupted(seq=3, reason="killed", epoch=1), RunResumed(seq=4, epoch=1)])
    history.fold([epoch(2, seq=5)])
    assert (history.newest, len(history.interruptions), len(history.resumptions)) == (2, 1, 1)


def test_stage_boundary_is_the_last_epoch_of_stage_1(history: History) -> None:
    assert history.stage_boundary() == 2
    young = History()
    young.fold(events()[:3])
    assert young.stage_boundary() is None


def test_an_epoch_not_yet_there_shows_the_newest(history: History) -> None:
    shown = history.at(99)
    assert shown is not None
    assert shown.epoch == 4
    assert history.at(0) is None


def test_accuracy_table_has_the_numbers_of_the_events(history: History) -> None:
    table = folding.accuracy_table(history, "validation")
    visual = table[table["series"] == "Visual"]
    assert list(visual["epoch"]) == [1, 2, 3, 4]
    assert list(visual["accuracy"]) == [0.5, 0.9, 0.85, 0.8]
    assert folding.accuracy_table(history, "test").empty


def test_a_missing_branch_has_no_line() -> None:
    history = History()
    history.fold([started(), epoch(1, audio=None, visual=None, gap=None, source="solo")])
    assert set(folding.accuracy_table(history, "validation")["series"]) == {"Fused"}
    assert folding.gap_table(history, "validation").empty
    assert folding.heat_table(history, "validation").empty
    assert folding.mixture_table(history, "validation").empty


def test_mixture_table_has_one_standard_deviation_to_each_side(history: History) -> None:
    table = folding.mixture_table(history, "validation")
    first = table[table["component"] == "Similar scores"].iloc[0]
    assert (first["low"], first["mean"], first["high"]) == pytest.approx((-0.1, 0.0, 0.1))


def test_groups_add_up_to_all_samples(history: History) -> None:
    table = folding.group_table(history, "validation")
    assert set(table.groupby("epoch")["samples"].sum()) == {200}
    assert list(table.groupby("epoch")["share"].sum()) == pytest.approx([1.0] * 4)


def test_heat_table_keeps_every_sample(history: History) -> None:
    table = folding.heat_table(history, "validation")
    assert list(table.groupby("epoch")["share"].sum()) == pytest.approx([1.0] * 4)
    assert table["low"].min() == -1.0


def test_long_runs_are_thinned_with_both_ends() -> None:
    history = History()
    history.fold([started(1_000), *(epoch(number) for number in range(1, 1_001))])
    kept = history.thinned()
    assert len(kept) <= folding.MAX_POINTS + 1
    assert (kept[0].epoch, kept[-1].epoch) == (1, 1_000)
    assert folding.heat_table(history, "validation")["epoch"].nunique() <= 60


def test_a_run_on_one_modality_has_one_curve_and_no_share_of_the_other() -> None:
    alone = report(fused=0.6, audio=0.6, visual=None, gap=None, source="solo")
    assert folding.known_accuracies(alone) == {"audio": 0.6}
    assert folding.known_accuracies(report(fused=0.9, audio=0.6, visual=0.8)) == {
        "fused": 0.9,
        "audio": 0.6,
        "visual": 0.8,
    }
    history = History()
    history.fold(
        [
            started(),
            epoch(1, seq=2).model_copy(update={"gradient_share": GradientShare(audio=0.9, visual=0, fusion=0.1)}),
        ]
    )
    assert set(folding.share_table(history)["part"]) == {"Audio", "Fusion"}
