from worker.objectives.window import Window


def test_a_window_holds_both_of_its_ends():
    assert [epoch for epoch in range(1, 8) if Window(2, 4).holds(epoch)] == [2, 3, 4]
    assert [epoch for epoch in range(1, 8) if Window(6, None).holds(epoch)] == [6, 7]
