import numpy as np
import pytest
import torch

from worker.engine.batches import BatchSource, grouped
from worker.engine.seeds import derive_seed, epoch_order, sample_keys
from worker.media.preprocess import Preprocessor

IDS = [f"clip-{index}" for index in range(200)]


def order(ids, *, seed=0, epoch=1, rows=None):
    rows = np.arange(len(ids)) if rows is None else rows
    found = epoch_order(rows, sample_keys(ids)[rows], seed=seed, epoch=epoch)
    return [ids[row] for row in found]


def test_the_order_is_a_permutation_that_differs_by_epoch_and_seed():
    assert sorted(order(IDS)) == sorted(IDS)
    assert order(IDS) == order(IDS)
    assert len({tuple(order(IDS, seed=seed, epoch=epoch)) for seed in (0, 1) for epoch in (1, 2)}) == 4


def test_the_order_does_not_depend_on_that_of_the_store():
    assert order(IDS) == order(IDS[::-1])


def test_a_row_that_comes_twice_is_visited_twice_apart():
    rows = np.array([3, 3, 3, 5, 7, 5])
    found = order(IDS, rows=rows)
    assert sorted(found) == sorted(IDS[row] for row in rows)


def test_samples_come_early_and_late_alike():
    places = np.array([[order(IDS, epoch=epoch).index(name) for epoch in range(1, 41)] for name in IDS[:10]])
    assert (np.abs(places.mean(axis=1) - 99.5) < 40).all()


def test_seeds_differ_by_purpose():
    seeds = {derive_seed(seed, *purpose) for seed in (0, 1) for purpose in (("a",), ("b",), ("a", 1), ("a", 2))}
    assert len(seeds) == 8
    assert all(0 <= seed < 2**31 for seed in seeds)


@pytest.mark.parametrize(
    ("count", "sizes"), [(0, []), (1, [1]), (4, [4]), (5, [5]), (6, [4, 2]), (9, [4, 5]), (13, [4, 4, 5])]
)
def test_no_row_is_dropped_and_no_batch_but_an_only_one_has_one_row(count, sizes):
    groups = grouped(np.arange(count), 4)
    assert [len(group) for group in groups] == sizes
    assert [row for group in groups for row in group] == list(range(count))


def test_augmentation_does_not_depend_on_the_batch_or_the_order(store):
    source = BatchSource(store, Preprocessor(store.spec), seed=0, augment=True, device=torch.device("cpu"))
    together = next(source.stream([np.array([4, 7, 9])], epoch=2))
    alone = next(source.stream([np.array([7])], epoch=2))
    assert torch.equal(together.frames[1], alone.frames[0])
    assert torch.equal(together.audio[1], alone.audio[0])
    assert together.labels.tolist() == store.labels[[4, 7, 9]].tolist()


def test_evaluation_is_clean_whatever_the_epoch(store):
    source = BatchSource(store, Preprocessor(store.spec), seed=0, augment=True, device=torch.device("cpu"))
    clean, other = (next(source.stream([np.array([4])], epoch=None)) for _ in range(2))
    assert torch.equal(clean.frames, other.frames)
    assert not torch.equal(clean.frames, next(source.stream([np.array([4])], epoch=1)).frames)


def test_an_error_of_the_store_reaches_the_loop(store):
    source = BatchSource(store, Preprocessor(store.spec), seed=0, augment=False, device=torch.device("cpu"))
    with pytest.raises(IndexError):
        list(source.stream([np.array([10_000])], epoch=None))
