import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

from worker.science.gap import NonFiniteGapError, modality_gap, true_class_probability

LOGITS = arrays("float32", (6, 4), elements=st.floats(-200, 200, width=32))
LABELS = arrays("int64", (6,), elements=st.integers(0, 3))


def test_gap_equals_a_case_computed_by_hand() -> None:
    # softmax(ln 1, ln 3) = (1/4, 3/4); softmax(0, 0) = (1/2, 1/2)
    audio = torch.tensor([[0.0, math.log(3.0)], [0.0, math.log(3.0)]])
    visual = torch.zeros(2, 2)
    gaps = modality_gap(audio, visual, torch.tensor([1, 0]))
    torch.testing.assert_close(gaps, torch.tensor([0.25, -0.25]))


@settings(deadline=None, max_examples=50)
@given(LOGITS, LOGITS, LABELS)
def test_gap_changes_sign_when_modalities_swap_and_stays_in_bounds(audio: object, visual: object, y: object) -> None:
    a, v, labels = torch.tensor(audio), torch.tensor(visual), torch.tensor(y)
    gaps = modality_gap(a, v, labels)
    assert torch.equal(gaps, -modality_gap(v, a, labels))
    assert bool((gaps.abs() <= 1).all())


def test_equal_logits_have_no_gap() -> None:
    logits = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(modality_gap(logits, logits, torch.arange(8) % 5), torch.zeros(8))


def test_huge_logits_neither_overflow_nor_leave_the_bounds() -> None:
    audio = torch.tensor([[1e30, -1e30]])
    assert modality_gap(audio, -audio, torch.tensor([0])).item() == 1.0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0]])
    labels = torch.tensor([2])
    probability = true_class_probability(logits.to(dtype), labels)
    assert probability.dtype == torch.float32
    assert torch.equal(probability, true_class_probability(logits, labels))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_gap_that_is_not_finite_is_an_error_that_counts(bad: float) -> None:
    audio = torch.zeros(4, 3)
    audio[2, 0] = bad
    with pytest.raises(NonFiniteGapError, match=r"1 of 4 not finite \(first at row 2\)") as caught:
        modality_gap(audio, torch.zeros(4, 3), torch.zeros(4, dtype=torch.int64))
    assert isinstance(caught.value, FloatingPointError)
    assert (caught.value.num_non_finite, caught.value.num_samples, caught.value.first_row) == (1, 4, 2)


def test_a_caller_who_checks_the_loss_may_skip_the_check() -> None:
    audio = torch.full((2, 2), math.nan)
    gaps = modality_gap(audio, torch.zeros(2, 2), torch.tensor([0, 1]), check_finite=False)
    assert bool(gaps.isnan().all())


def test_fewer_labels_than_logits_are_refused_rather_than_gathered() -> None:
    unchecked = true_class_probability  # without the check of annotations, as in production
    while hasattr(unchecked, "__wrapped__"):
        unchecked = unchecked.__wrapped__
    with pytest.raises(ValueError, match=r"expected logits \(N, C\)"):
        unchecked(torch.zeros(4, 3), torch.tensor([0, 1]))


def _gradients(detach_leader: bool) -> tuple[Tensor, Tensor, Tensor]:
    audio = torch.tensor([[2.0, 0.0], [0.0, 0.0]], requires_grad=True)
    visual = torch.tensor([[0.0, 0.0], [2.0, 0.0]], requires_grad=True)
    gaps = modality_gap(audio, visual, torch.tensor([0, 0]), detach_leader=detach_leader)
    gaps.abs().sum().backward()
    assert audio.grad is not None
    assert visual.grad is not None
    return gaps.detach(), audio.grad.abs().sum(dim=1), visual.grad.abs().sum(dim=1)


def test_detaching_the_leader_keeps_the_value_and_moves_the_weaker_branch_alone() -> None:
    both, audio_both, visual_both = _gradients(detach_leader=False)
    weaker, audio, visual = _gradients(detach_leader=True)
    assert torch.equal(both, weaker)
    assert bool((audio_both > 0).all())
    assert bool((visual_both > 0).all())
    assert (audio > 0).tolist() == [False, True]  # audio leads in row 0
    assert (visual > 0).tolist() == [True, False]
