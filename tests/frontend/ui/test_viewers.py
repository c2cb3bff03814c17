from __future__ import annotations

from frontend.ui.viewers import FASTEST_S, FREE, PRESENT_S, SLOWEST_S, Viewers, pace_s


def test_pages_ask_less_often_the_more_browsers_look() -> None:
    paces = [pace_s(viewers) for viewers in range(1, 30)]
    assert paces == sorted(paces)
    assert paces[FREE - 1] == FASTEST_S
    assert paces[-1] == SLOWEST_S
    assert SLOWEST_S <= 4.0  # a page with its drawing stays less than 5 s behind


def test_browsers_that_are_gone_are_forgotten() -> None:
    viewers = Viewers()
    assert [viewers.count(name, 0.0) for name in ("a", "b", "a")] == [1, 2, 2]
    assert viewers.count("c", PRESENT_S + 1) == 1
