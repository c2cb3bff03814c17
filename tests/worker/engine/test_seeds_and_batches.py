import numpy as np
import pytest
import torch

from worker.contract.spec.augment import AugmentSpec
from worker.engine import batches
from worker.engine.batches import BatchSource, Loading, grouped, loading_for
from worker.engine.seeds import derive_seed, epoch_permutation, sample_keys
from worker.media.preprocess import Preprocessor

IDS = [f"clip-{index}" for index in range(200)]


def order(ids, *, seed=0, epoch=1, rows=None):
    rows = np.arange(len(ids)) if rows is None else rows
    found = rows[epoch_permutation(rows, sample_keys(ids)[rows], seed=seed, epoch=epoch)]
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
    source = BatchSource(store, Preprocessor(store.spec), seed=0, augment=AugmentSpec(), device=torch.device("cpu"))
    together = next(source.stream([np.array([4, 7, 9])], epoch=2))
    alone = next(source.stream([np.array([7])], epoch=2))
    assert torch.equal(together.frames[1], alone.frames[0])
    assert torch.equal(together.audio[1], alone.audio[0])
    assert together.labels.tolist() == store.labels[[4, 7, 9]].tolist()


def test_evaluation_is_clean_whatever_the_epoch(store):
    source = BatchSource(store, Preprocessor(store.spec), seed=0, augment=AugmentSpec(), device=torch.device("cpu"))
    clean, other = (next(source.stream([np.array([4])], epoch=None)) for _ in range(2))
    assert torch.equal(clean.frames, other.frames)
    assert not torch.equal(clean.frames, next(source.stream([np.array([4])], epoch=1)).frames)


def test_an_error_of_the_store_reaches_the_loop(store):
    source = BatchSource(store, Preprocessor(store.spec), seed=0, augment=None, device=torch.device("cpu"))
    with pytest.raises(IndexError):
        list(source.stream([np.array([10_000])], epoch=None))


@pytest.mark.parametrize("epoch", [None, 2])
def test_no_batch_depends_on_how_it_was_made_ahead(store, monkeypatch, epoch):
    pinned = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: pinned.append(self) or self)
    groups = grouped(np.arange(len(store.labels)), 8)
    one, *others = (
        list(
            BatchSource(
                store,
                Preprocessor(store.spec),
                seed=0,
                augment=AugmentSpec(num_time_masks=2),
                device=torch.device("cpu"),
                loading=loading,
            ).stream(groups, epoch=epoch)
        )
        for loading in (Loading(1, 2, pinned=False), Loading(3, 6, pinned=False), Loading(3, 6, pinned=True))
    )
    assert len(pinned) == 4 * len(groups)
    for made in others:
        for batch, expected in zip(made, one, strict=True):
            for name in ("rows", "labels", "audio", "frames"):
                assert torch.equal(getattr(batch, name), getattr(expected, name)), name


def test_a_gpu_is_read_for_by_several_threads_into_page_locked_memory(monkeypatch):
    monkeypatch.setattr(batches, "num_cores", lambda: 64)
    assert loading_for(torch.device("cuda:0")) == Loading(8, 16, pinned=True)
    assert loading_for(torch.device("cpu")) == Loading(1, 2, pinned=False)
