from __future__ import annotations

import pytest

from frontend.ui import diagnosis
from frontend.ui.history import History
from tests.frontend.ui.recorded import epoch, events, mixture, report


def plain(text: str) -> str:
    return text.replace("\u00a0", " ")


def test_dominance_says_numerator_denominator_and_split() -> None:
    found = diagnosis.dominance(report(groups=(40, 10, 142, 8)), "validation")
    assert found is not None
    assert plain(found.title) == "Audio-dominant: 71.0 %"
    assert "142 of 200 validation clips are audio-dominant" in found.text
    assert "8 (4.0 %) are visual-dominant" in plain(found.text)
    assert found.tone == "watch"


def test_nobody_dominates() -> None:
    found = diagnosis.dominance(report(groups=(190, 10, 0, 0)), "train")
    assert found is not None
    assert found.title == "No modality dominates"
    assert "None of 200 training clips" in found.text
    assert found.tone == "good"
    early = diagnosis.dominance(report(groups=(40, 160, 0, 0)), "train")
    assert early is not None
    assert early.tone == "plain"  # small gaps, since neither modality knows yet


def test_accuracies_are_told_beside_chance() -> None:
    assert "Guessing one of 10 classes reaches about 10.0\u00a0%." in diagnosis.accuracies(report(), "train", 10).text
    assert "Guessing" not in diagnosis.accuracies(report(), "train").text


def test_runs_of_one_modality_have_no_dominance() -> None:
    solo = report(audio=None, visual=None, gap=None, source="solo")
    assert diagnosis.dominance(solo, "validation") is None
    assert diagnosis.both_wrong(solo, "validation") is None


@pytest.mark.parametrize(
    ("before", "after", "title"),
    [
        ((0.5, 0.9, 0.5), (0.5, 0.8, 0.3), "The gap narrowed: the strong modality fell"),
        ((0.5, 0.9, 0.5), (0.7, 0.9, 0.3), "The gap narrowed: the weak modality rose"),
        (
            (0.5, 0.9, 0.5),
            (0.8, 0.85, 0.3),
            "The gap narrowed: the weak modality rose, and the strong one fell",
        ),
        ((0.9, 0.5, 0.5), (0.7, 0.55, 0.3), "The gap narrowed: the strong modality fell, and the weak one rose"),
        ((0.5, 0.9, 0.5), (0.5, 0.9, 0.3), "The gap narrowed"),
        ((0.5, 0.9, 0.3), (0.5, 0.9, 0.5), "The gap widened"),
        ((0.5, 0.9, 0.5), (0.5, 0.9, 0.49), "The gap is steady"),
    ],
)
def test_how_a_gap_closed_is_told_apart(
    before: tuple[float, float, float], after: tuple[float, float, float], title: str
) -> None:
    old = epoch(2, "warm-up", audio=before[0], visual=before[1], gap=before[2])
    new = epoch(4, audio=after[0], visual=after[1], gap=after[2])
    found = diagnosis.gap_change(old, new, "validation")
    assert found is not None
    assert found.title == title
    assert f"{before[2]:.2f} → {after[2]:.2f} from epoch 2 to 4 (validation split)" in found.text


def test_the_change_names_both_modalities() -> None:
    old, new = epoch(2, audio=0.5, visual=0.9, gap=0.5), epoch(4, audio=0.5, visual=0.8, gap=0.3)
    found = diagnosis.gap_change(old, new, "validation")
    assert found is not None
    text = plain(found.text)
    assert "stronger modality (visual) went 90.0 % → 80.0 %" in text
    assert "weaker (audio) 50.0 % → 50.0 %" in text


def test_no_modality_is_called_the_stronger_one_after_a_tie_or_a_turn() -> None:
    for audio, visual in (((0.5, 0.5), (0.5, 0.7)), ((0.6, 0.5), (0.5, 0.7))):
        old, new = epoch(2, audio=audio[0], visual=visual[0]), epoch(4, audio=audio[1], visual=visual[1])
        found = diagnosis.gap_change(old, new, "validation")
        assert found is not None
        assert "stronger" not in found.text
        assert plain(found.text).endswith("visual 50.0 % → 70.0 %.")


def test_after_a_tie_nobody_is_said_to_have_been_the_weak_one() -> None:
    old, new = epoch(2, audio=0.5, visual=0.5, gap=0.5), epoch(4, audio=0.5, visual=0.7, gap=0.3)
    found = diagnosis.gap_change(old, new, "validation")
    assert found is not None
    assert (found.title, found.tone) == ("The gap narrowed", "plain")


@pytest.mark.parametrize(
    ("alone", "said", "tone"), [(0.8, "below", "watch"), (0.605, "at", "plain"), (0.5, "above", "plain")]
)
def test_a_modality_is_held_against_what_it_reaches_alone(alone: float, said: str, tone: str) -> None:
    solo = {"audio": diagnosis.Solo("audio *only*", alone, 200)}
    (found,) = diagnosis.against_alone(report(audio=0.6), "validation", solo)
    assert found.title == f"Audio is {said} what it reaches alone"
    assert found.tone == tone
    percent = f"{100 * alone:.1f} %"
    assert plain(found.text).startswith(f"Audio 60.0 % of 200 validation clips; trained alone it reaches {percent} of")
    assert "audio \\*only\\*" in found.text


def test_without_the_same_clips_nothing_is_said_of_what_a_modality_reaches_alone() -> None:
    assert diagnosis.against_alone(report(audio=0.6), "validation", {}) == []
    assert diagnosis.against_alone(report(audio=0.6), "validation", {"audio": diagnosis.Solo("", 0.8, 100)}) == []
    assert diagnosis.against_alone(report(audio=0.6), "train", {"audio": diagnosis.Solo("", 0.8, 200)}) == []


def test_the_end_of_stage_1_is_what_stage_2_is_compared_with() -> None:
    history = History()
    history.fold(events())
    by_epoch = {event.epoch: diagnosis.reference(history, event) for event in history.epochs}
    assert by_epoch[1] is None
    assert {shown: before.epoch for shown, before in by_epoch.items() if before} == {2: 1, 3: 2, 4: 2}


def test_verdicts_never_say_two_kinds() -> None:
    assert plain(diagnosis.verdict(mixture())) == (
        "Two Gaussians fit the gaps better than one, with two modes. Ashman's D 5.7, 2 modes, smaller weight 25.0 %."
    )
    assert "not as two groups" in diagnosis.verdict(mixture(verdict="unimodal", bimodal=False, num_modes=1))
    assert "did not converge" in diagnosis.verdict(mixture(converged=False))
    assert "Too few gaps" in diagnosis.verdict(None)


def test_no_finding_claims_a_cause() -> None:
    history = History()
    history.fold(events())
    for event in history.epochs:
        for finding in diagnosis.findings(history, event, "validation"):
            text = f"{finding.title} {finding.text}".lower()
            for word in ("because", "cause", "due to", "thanks", "suppress", "cure", "disease"):
                assert word not in text


@pytest.mark.parametrize(
    ("audio", "visual", "weak"),
    [(0.6, 0.85, "audio"), (0.85, 0.6, "visual"), (0.8, 0.81, None), (None, 0.8, None), (0.8, None, None)],
)
def test_the_weak_modality_is_the_one_that_reads_clearly_fewer_clips_right(
    audio: float | None, visual: float | None, weak: str | None
) -> None:
    assert diagnosis.weak_modality(report(audio=audio, visual=visual)) == weak
