import pytest

from worker.science.stages import num_warm_up_epochs


@pytest.mark.parametrize(
    ("epochs", "expected"), [(1, 0), (2, 1), (3, 2), (4, 2), (8, 2), (9, 3), (20, 5), (40, 10), (100, 25)]
)
def test_default_is_a_quarter_at_least_two_and_leaves_one_adaptive_epoch(epochs: int, expected: int) -> None:
    assert num_warm_up_epochs(epochs) == expected


@pytest.mark.parametrize("given", [0, 3, 10])
def test_the_users_number_is_taken_as_given(given: int) -> None:
    assert num_warm_up_epochs(10, given) == given


@pytest.mark.parametrize(("epochs", "third", "expected"), [(2, 1, 0), (3, 1, 1), (4, 2, 1), (20, 2, 5), (20, 16, 3)])
def test_default_leaves_one_adaptive_epoch_before_stage_3(epochs: int, third: int, expected: int) -> None:
    assert num_warm_up_epochs(epochs, None, third) == expected


@pytest.mark.parametrize(("epochs", "given", "third"), [(1, None, 1), (3, None, 3), (3, 2, 1), (20, 18, 2)])
def test_no_adaptive_epoch_before_stage_3_is_refused(epochs: int, given: int | None, third: int) -> None:
    with pytest.raises(ValueError, match="expected"):
        num_warm_up_epochs(epochs, given, third)


@pytest.mark.parametrize(("epochs", "given"), [(0, None), (-1, None), (10, -1), (10, 11)])
def test_impossible_numbers_are_refused(epochs: int, given: int | None) -> None:
    with pytest.raises(ValueError, match="expected"):
        num_warm_up_epochs(epochs, given)
