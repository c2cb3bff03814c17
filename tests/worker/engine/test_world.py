"""Several processes equal one: real processes over gloo, methods of each kind."""

import math

import numpy as np
import pytest
import torch

from tests.worker.engine.worlds import COUNTS, in_world, store, trained
from tests.worker.memory_store import resolved_spec, run_spec
from worker.contract.errors import TrainingError
from worker.contract.spec import AdamW, GmmAdaptive, Joint, MultiHead, Sgd
from worker.contract.spec.objectives.epochs import SampleValuation
from worker.contract.spec.objectives.gradients import MmPareto, Ogm
from worker.engine.assembly import check_fit
from worker.engine.world import World

RUNS = {
    "joint, probes with an optimizer of their own": {"objective": Joint(), "optimizer": AdamW()},
    "multi-head, clipped, two batches a step": {
        "objective": MultiHead(),
        "optimizer": Sgd(),
        "clip_norm": 0.5,
        "accumulate": 2,
    },
    "statistics of the whole batch in the loss": {"objective": GmmAdaptive(warm_up_epochs=1), "optimizer": AdamW()},
    "three passes a batch": {"objective": MmPareto(), "optimizer": Sgd()},
    "masked visits, looks before an epoch": {"objective": SampleValuation(first_epoch=2), "optimizer": Sgd()},
    "coefficients of the batch": {"objective": Ogm(), "optimizer": Sgd()},
    # The last batch has 3 clips, and a process holds 2 at least or none: the second has none of it.
    "a process without clips": {"objective": MmPareto(), "optimizer": Sgd(), "batch_size": 23},
}
UNTIMED = {"seconds", "samples_per_s", "time"}
CLOSE = 1e-5
CLOSE_WEIGHTS = 1e-12
"""In float64; the figures of an epoch go through float32."""

FLAGS = "flags, the first raised by the second process alone"


def _all(world, runs):
    return {name: trained(world, **spec) for name, spec in runs.items()} | {
        FLAGS: world.any(world.rank == 1, False, True)
    }


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """What both processes of a world of two show of each run, by name: one start for all."""
    return in_world(2, tmp_path_factory.mktemp("pair"), _all, RUNS)


def assert_close(first, second, where="event"):
    """Asserts that two records agree in every figure to 1e-5, relative to the figure or to 1."""
    if isinstance(first, dict):
        assert first.keys() == second.keys(), where
        for name in first.keys() - UNTIMED:
            assert_close(first[name], second[name], f"{where}.{name}")
    elif isinstance(first, list | tuple):
        assert len(first) == len(second), where
        for index, (a, b) in enumerate(zip(first, second, strict=True)):
            assert_close(a, b, f"{where}[{index}]")
    elif isinstance(first, float):
        assert math.isclose(first, second, rel_tol=CLOSE, abs_tol=CLOSE), (where, first, second)
    else:
        assert first == second, where


def assert_same_weights(one, many):
    for name, value in one["weights"].items():
        if name.startswith("model."):
            largest = np.abs(value).max()
            assert np.abs(value - many["weights"][name]).max() <= CLOSE_WEIGHTS * largest, name


pytestmark = pytest.mark.timeout(600)  # starts of torch, on a machine that may be busy


@pytest.mark.parametrize("name", RUNS)
def test_two_processes_equal_one_over_three_epochs(pair, name):
    one, two = trained(**RUNS[name]), pair[0][name]
    assert_same_weights(one, two)
    assert_close(one["events"], two["events"])
    assert_close(one["result"], two["result"], "result")
    np.testing.assert_allclose(two["gaps"], one["gaps"], atol=CLOSE)


@pytest.mark.parametrize("name", RUNS)
def test_all_processes_hold_the_same_bits(pair, name):
    first, second = (results[name] for results in pair)
    for tensor, value in first["weights"].items():
        np.testing.assert_array_equal(value, second["weights"][tensor], err_msg=tensor)
    np.testing.assert_array_equal(first["gaps"], second["gaps"])
    for one, other in zip(first["events"], second["events"], strict=True):
        assert {k: v for k, v in one.items() if k not in UNTIMED} == {
            k: v for k, v in other.items() if k not in UNTIMED
        }


def test_every_sample_counts_once(pair):
    for epoch in pair[1]["joint, probes with an optimizer of their own"]["events"]:
        for split in ("train", "validation"):
            report = epoch[split]
            assert report["num_samples"] == sum(report["histogram"]["counts"]) == COUNTS[split]
        assert epoch["cost"]["samples"] == COUNTS["train"]


@pytest.mark.parametrize("size", [1, 2, 3, 8])
@pytest.mark.parametrize("total", [1, 2, 3, 5, 16, 17, 65])
def test_slices_cover_a_batch_once_and_none_holds_a_single_clip_of_several(size, total):
    worlds = [World(rank, size) for rank in range(size)]
    covered = np.concatenate([np.arange(total)[world.slice(total)] for world in worlds])
    np.testing.assert_array_equal(covered, np.arange(total))
    counts = worlds[0].counts(total)
    assert counts[0] > 0
    assert total == 1 or 1 not in counts
    assert max(counts) - min(count for count in counts if count) <= 1


def test_a_flag_that_one_process_raises_is_raised_in_all(pair):
    assert [results[FLAGS] for results in pair] == [[True, False, True]] * 2


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(TrainingError, match="num_processes is 2, each on a GPU of its own, and this worker has 1"):
        check_fit(run_spec(num_processes=2), resolved_spec(device="cuda:0", num_processes=2), store())


def test_one_process_exchanges_nothing():
    values = torch.ones(3, 2, requires_grad=True)
    world = World()
    assert world.gather(values, 3) is values
    assert world.any(True, False) == [True, False]
    world.sum_gradients({}, [], frozenset(), 3)
