"""One rule for which modality leads: a page never calls scores similar beside a full probability of dominance."""

from __future__ import annotations

import pytest

from frontend.ui.leading import SIMILAR, difference, lead
from frontend.ui.panels.sample import sentence
from frontend.ui.verdict import comparison
from tests.frontend.ui.recorded import row, score_result
from tests.frontend.ui.test_diagnosis import plain

GAPS = (-1.0, -0.5, -0.49, -0.1, 0.0, 0.1, 0.49, 0.5, 1.0)


@pytest.mark.parametrize(
    ("gap", "posterior", "said"),
    [
        (0.7, 0.9, "Audio-dominant"),
        (-0.5, None, "Visual-dominant"),
        (0.7, 0.1, "Audio-dominant"),
        (-0.4, 1.0, "Visual leads by less than 0.5"),
        (0.4, 0.1, SIMILAR),
        (-0.4, None, SIMILAR),
        (0.0, 1.0, SIMILAR),
    ],
)
def test_the_gap_leads_and_the_mixture_has_its_say(gap: float, posterior: float | None, said: str) -> None:
    assert lead(gap, posterior) == said


def test_a_difference_is_told_exactly_where_the_two_measures_differ() -> None:
    for gap in GAPS:
        for posterior in (0.0, 0.49, 0.5, 1.0):
            assert (difference(gap, posterior) is not None) == ((posterior >= 0.5) != (abs(gap) >= 0.5))
        assert difference(gap, None) is None


@pytest.mark.parametrize("gap", [gap for gap in GAPS if gap])
def test_no_page_says_similar_scores_beside_a_full_probability_of_the_dominant_group(gap: float) -> None:
    seen = row("clip-1", gap=gap).model_copy(update={"posterior_imbalanced": 1.0})
    tested = score_result().model_copy(update={"gap": gap, "gap_of": "label", "posterior_imbalanced": 1.0})
    for said in (sentence(seen), str(comparison(tested))):
        assert SIMILAR not in said
        assert ("(100.0 %)" in plain(said)) == (abs(gap) < 0.5)


def test_an_opposite_tail_is_told_once() -> None:
    tested = score_result().model_copy(update={"gap": 0.8, "gap_of": "label", "posterior_imbalanced": 0.02})
    assert "does not count this clip" in str(comparison(tested))
    opposite = tested.model_copy(update={"opposite_tail": True})
    assert "does not count this clip" not in str(comparison(opposite))
