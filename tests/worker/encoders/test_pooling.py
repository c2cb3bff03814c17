"""Maxima over 2 x 2 places are torch's to the bit, gradients too."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from worker.encoders.pooling import max_pool_2x2


@pytest.mark.parametrize("shape", [(2, 3, 8, 6), (2, 1, 7, 5), (1, 4, 1, 3), (1, 2, 2, 2)])
def test_values_and_gradients_are_those_of_torch_where_values_are_equal_too(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    planes = torch.randn(shape, generator=generator).round()  # rounded: many windows hold equal values
    ours, theirs = planes.clone().requires_grad_(), planes.clone().requires_grad_()

    pooled, expected = max_pool_2x2(ours), F.max_pool2d(theirs, 2, ceil_mode=True)
    weights = torch.randn(expected.shape, generator=generator)
    (pooled * weights).sum().backward()
    (expected * weights).sum().backward()

    assert pooled.is_contiguous()
    assert torch.equal(pooled, expected)
    assert torch.equal(ours.grad, theirs.grad)
    with torch.no_grad():
        assert torch.equal(max_pool_2x2(ours), expected)


def test_a_value_that_is_not_a_number_is_not_hidden() -> None:
    planes = torch.tensor([[[[1.0, float("nan")], [2.0, 3.0]]]])

    assert max_pool_2x2(planes).isnan().all()
    assert max_pool_2x2(planes.requires_grad_()).isnan().all()


def test_other_formats_and_precisions_are_left_to_torch() -> None:
    planes = torch.randn(2, 3, 4, 4)

    assert torch.equal(max_pool_2x2(planes.bfloat16()), F.max_pool2d(planes.bfloat16(), 2, ceil_mode=True))
    by_place = planes.contiguous(memory_format=torch.channels_last)
    assert max_pool_2x2(by_place).is_contiguous(memory_format=torch.channels_last)
