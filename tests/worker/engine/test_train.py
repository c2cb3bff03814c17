import dataclasses
import functools
from itertools import pairwise

import numpy as np
import pytest
import torch

from worker.contract.errors import DatasetError, TrainingError
from worker.contract.events import MAX_EVENT_BYTES
from worker.contract.layout import SAMPLE_COLUMNS
from worker.contract.spec import AdamW, DatasetReference, GmmAdaptive, Joint, MultiHead, Sgd
from worker.engine.rows import RowTable
from worker.engine.steps import EpochDone, PhaseChanged, RunDone, StepDone
from worker.engine.train import Trainer

UNTIMED = {"seq", "time", "attempt", "seconds", "samples_per_s"}
RUNS = [(Joint(), AdamW()), (MultiHead(), Sgd()), (GmmAdaptive(warm_up_epochs=1), AdamW())]
JOINT = RUNS[0]


def finish(trainer):
    steps = list(trainer.run())
    return [s for s in steps if isinstance(s, EpochDone)], next(s for s in steps if isinstance(s, RunDone))


@pytest.fixture(scope="module")
def undisturbed(bench, store):
    """Runs that nothing disturbed, each computed once: (objective, optimizer) -> (epochs, done)."""
    return functools.cache(
        lambda objective, optimizer: finish(Trainer(bench.assembly(store, objective=objective, optimizer=optimizer)))
    )


def assert_same_epochs(first, second):
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        assert a.event.model_dump(exclude=UNTIMED) == b.event.model_dump(exclude=UNTIMED)
        np.testing.assert_array_equal(a.rows, b.rows)
        for name in a.columns:
            np.testing.assert_array_equal(a.columns[name], b.columns[name], err_msg=name)
        np.testing.assert_array_equal(a.gaps, b.gaps)
        np.testing.assert_array_equal(a.posteriors, b.posteriors)
        assert a.snapshot.tensors.keys() == b.snapshot.tensors.keys()
        for name, tensor in a.snapshot.tensors.items():
            assert torch.equal(tensor, b.snapshot.tensors[name]), name


@pytest.mark.parametrize(("objective", "optimizer"), RUNS)
def test_a_run_resumed_at_an_epochs_end_equals_an_undisturbed_one_to_the_bit(
    bench, store, undisturbed, objective, optimizer
):
    epochs, done = undisturbed(objective, optimizer)
    parts = bench.assembly(store, objective=objective, optimizer=optimizer)
    resumed, resumed_done = finish(Trainer.from_snapshot(parts, epochs[1].snapshot))
    assert_same_epochs(epochs[2:], resumed)
    assert done.result == resumed_done.result


@pytest.mark.parametrize(("objective", "optimizer"), RUNS)
def test_a_run_resumed_in_mid_epoch_equals_an_undisturbed_one_to_the_bit(
    bench, store, undisturbed, objective, optimizer
):
    epochs, done = undisturbed(objective, optimizer)
    trainer = Trainer.from_snapshot(bench.assembly(store, objective=objective, optimizer=optimizer), epochs[0].snapshot)
    killed = trainer.run()
    snapshot = next(
        trainer.snapshot() for step in killed if isinstance(step, StepDone) and (step.epoch, step.step) == (2, 3)
    )
    killed.close()
    assert (snapshot.epoch, snapshot.step) == (1, 3)
    parts = bench.assembly(store, objective=objective, optimizer=optimizer)
    resumed, resumed_done = finish(Trainer.from_snapshot(parts, snapshot))
    assert_same_epochs(epochs[1:], resumed)
    assert done.result == resumed_done.result


def test_a_snapshot_taken_while_evaluating_goes_on_exactly_too(bench, store, undisturbed):
    epochs, _ = undisturbed(*JOINT)
    trainer = Trainer(bench.assembly(store))
    evaluating = False
    for step in trainer.run():
        evaluating = evaluating or (isinstance(step, PhaseChanged) and step.phase == "evaluating")
        if evaluating and isinstance(step, StepDone):
            assert step.resumable
            snapshot = trainer.snapshot()
            break
    resumed, _ = finish(Trainer.from_snapshot(bench.assembly(store), snapshot))
    assert_same_epochs(epochs, resumed)


def test_a_snapshot_does_not_change_when_training_goes_on(bench, store):
    trainer = Trainer(bench.assembly(store, epochs=2))
    steps = trainer.run()
    first = next(s for s in steps if isinstance(s, EpochDone))
    before = {name: tensor.clone() for name, tensor in first.snapshot.tensors.items()}
    list(steps)
    assert all(torch.equal(before[name], tensor) for name, tensor in first.snapshot.tensors.items())


def test_every_training_sample_has_a_gap_each_epoch_and_counts_sum(store, undisturbed):
    epochs, _ = undisturbed(*JOINT)
    for epoch in epochs:
        assert np.isfinite(epoch.gaps[store.indices("train")]).all()
        assert np.isfinite(epoch.gaps[store.indices("validation")]).all()
        assert np.isnan(epoch.gaps[store.indices("test")]).all()
        for report in (epoch.event.train, epoch.event.validation):
            assert sum(report.histogram.counts) == report.num_samples
            assert sum(report.correctness.model_dump().values()) == report.num_samples
        assert epoch.event.train.num_samples == 65


def test_the_sample_table_has_the_contracts_columns(store, undisturbed):
    epochs, done = undisturbed(*JOINT)
    from_store = {"sample_id", "split", "label"}
    assert set(epochs[0].columns) | from_store == set(SAMPLE_COLUMNS)
    assert all(len(column) == len(epochs[0].rows) for column in epochs[0].columns.values())
    assert list(epochs[0].rows) == sorted(epochs[0].rows)
    np.testing.assert_array_equal(done.test_rows, store.indices("test"))
    assert set(done.test_columns) == set(epochs[0].columns)
    assert len(epochs[0].event.model_dump_json()) <= MAX_EVENT_BYTES


def test_protocol_honest_looks_at_the_test_split_at_the_end_alone(store, undisturbed):
    epochs, done = undisturbed(*JOINT)
    assert all(epoch.event.test is None for epoch in epochs)
    assert done.result.chosen.by == "validation"
    accuracies = [epoch.event.validation.accuracy.fused for epoch in epochs]
    assert done.result.chosen.epoch == 1 + accuracies.index(max(accuracies))
    assert done.result.last.epoch == 3
    assert done.result.last.test.num_samples == 20


def test_protocol_paper_reports_the_test_split_each_epoch_and_marks_its_best(bench, store):
    fields = {"dataset": DatasetReference(id="memory", protocol="paper")}
    epochs, done = finish(Trainer(bench.assembly(store, **fields)))
    accuracies = [epoch.event.test.accuracy.fused for epoch in epochs]
    best = accuracies.index(max(accuracies))
    assert done.result.chosen.by == "test (optimistic)"
    assert done.result.chosen.test == epochs[best].event.test
    assert done.result.last.test == epochs[-1].event.test
    assert done.test_columns is None


def test_the_chosen_epochs_test_report_is_that_of_its_own_weights(bench, store, undisturbed):
    epochs, done = undisturbed(*JOINT)
    trainer = Trainer.from_snapshot(bench.assembly(store), epochs[done.result.chosen.epoch - 1].snapshot)
    rows = store.indices("test")
    table = RowTable(len(store.labels), torch.device("cpu"))
    list(trainer.learner.evaluate([rows], table))
    correct = table.numpy(rows)["predicted"][:, 0] == store.labels[rows]
    assert done.result.chosen.test.accuracy.fused == correct.mean()


def test_a_store_without_a_test_split_gives_no_test_report(bench):
    store = bench.MemoryStore({"train": 32, "validation": 16})
    _, done = finish(Trainer(bench.assembly(store, epochs=1)))
    assert done.result.last.test is None
    assert done.result.chosen.test is None
    assert done.test_columns is None


def test_the_order_of_the_store_does_not_change_what_is_computed(bench, store):
    other = store.shuffled(1)
    first, _ = finish(Trainer(bench.assembly(store, epochs=2)))
    second, _ = finish(Trainer(bench.assembly(other, epochs=2)))
    assert first[-1].event.loss_terms == second[-1].event.loss_terms
    by_id = dict(zip(other.sample_ids, second[-1].gaps, strict=True))
    expected = dict(zip(store.sample_ids, first[-1].gaps, strict=True))
    for name in (store.sample_ids[row] for row in store.indices("train")):
        assert by_id[name] == expected[name]


def test_probes_beside_joint_training_do_not_touch_the_fused_logits(bench, store):
    def fused_after_ten_steps(with_probes):
        parts = bench.assembly(store)
        if not with_probes:
            parts = dataclasses.replace(parts, probe_optimizer=None)
        trainer = Trainer(parts)
        for count, _ in enumerate((s for s in trainer.run() if isinstance(s, StepDone)), start=1):
            if count == 10:
                break
        batch = next(iter(parts.source.stream([store.indices("validation")], epoch=None)))
        with torch.no_grad():
            return parts.model(batch.audio, batch.frames).fused_logits

    assert torch.equal(fused_after_ten_steps(True), fused_after_ten_steps(False))


def test_probes_learn_from_the_features(bench, store):
    epochs, _ = finish(Trainer(bench.assembly(store, epochs=8, optimizer=AdamW(learning_rate=1e-2))))
    assert epochs[-1].event.validation.unimodal_source == "probe"
    assert epochs[-1].event.validation.accuracy.visual > 0.5


def test_the_adaptive_loss_equals_multi_head_in_the_warm_up_and_differs_afterwards(bench, store):
    adaptive, _ = finish(Trainer(bench.assembly(store, objective=GmmAdaptive(warm_up_epochs=2))))
    plain, _ = finish(Trainer(bench.assembly(store, objective=MultiHead())))
    assert [epoch.event.stage for epoch in adaptive] == ["warm-up", "warm-up", "adaptive"]
    for epoch in (0, 1):
        assert adaptive[epoch].event.loss_terms == plain[epoch].event.loss_terms
        np.testing.assert_array_equal(adaptive[epoch].gaps, plain[epoch].gaps)
    assert not np.array_equal(adaptive[2].columns["p_true_fused"], plain[2].columns["p_true_fused"])
    assert {"gap", "kl"} <= set(adaptive[2].event.loss_terms)
    assert adaptive[2].event.method["posterior"] == "paper"
    assert (adaptive[2].columns["loss_weight"] >= 1).all()
    assert adaptive[2].columns["loss_weight"].max() > 1
    assert (plain[2].columns["loss_weight"] == 1).all()


def test_the_adaptive_stage_uses_the_mixture_of_the_epoch_before(undisturbed):
    epochs, _ = undisturbed(*RUNS[2])
    for before, after in pairwise(epochs):
        balanced = next(c for c in before.event.train.mixture.components if c.role == "balanced")
        assert after.event.method["balanced_mean"] == balanced.mean
        assert after.event.method["balanced_variance"] == balanced.variance


def test_clean_gaps_are_those_of_an_evaluation_pass(bench, store):
    trainer = Trainer(bench.assembly(store, objective=Joint(gaps="clean"), epochs=1))
    epochs, _ = finish(trainer)
    again = Trainer.from_snapshot(trainer.parts, epochs[0].snapshot)
    rows = store.indices("train")
    table = RowTable(len(store.labels), torch.device("cpu"))
    list(again.learner.evaluate([rows], table))
    np.testing.assert_allclose(epochs[0].gaps[rows], table.numpy(rows)["gap"], atol=1e-6)


def test_a_non_finite_loss_names_term_epoch_and_batch_before_the_optimizer_steps(bench, store):
    parts = bench.assembly(store, objective=MultiHead())
    trainer = Trainer(parts)
    steps = trainer.run()
    next(step for step in steps if isinstance(step, StepDone) and step.step == 2)
    with torch.no_grad():
        parts.model.heads["audio"].bias.fill_(float("nan"))
    weights = {k: v.clone() for k, v in parts.model.encoders.state_dict().items()}
    with pytest.raises(TrainingError, match=r"'audio' is nan in epoch 1, batch 3 of 4") as caught:
        next(steps)
    assert caught.value.code == "non-finite-loss"
    assert all(torch.equal(weights[name], value) for name, value in parts.model.encoders.state_dict().items())


def test_bf16_on_a_cpu_trains(bench, store):
    parts = bench.assembly(store, resolved={"precision": "bf16", "memory_format": "channels_last"}, epochs=1)
    epochs, _ = finish(Trainer(parts))
    assert np.isfinite(epochs[0].gaps[store.indices("train")]).all()


def test_gradient_shares_add_up_to_one(undisturbed):
    epochs, _ = undisturbed(*JOINT)
    assert sum(epochs[0].event.gradient_share.model_dump().values()) == pytest.approx(1)


def test_data_that_cannot_be_trained_on_is_refused(bench):
    with pytest.raises(DatasetError, match="validation split"):
        bench.assembly(bench.MemoryStore({"train": 32, "test": 8}))
    with pytest.raises(DatasetError, match="1 class"):
        bench.assembly(bench.MemoryStore({"train": 32, "validation": 8}, num_classes=1))


def test_a_batch_larger_than_the_split_is_one_batch_of_all(bench, store):
    steps = [s for s in Trainer(bench.assembly(store, batch_size=500, epochs=1)).run() if isinstance(s, StepDone)]
    assert (steps[0].num_steps, steps[0].num_samples) == (1, 65)


def test_combinations_that_cannot_be_trained_are_refused(bench, store):
    with pytest.raises(TrainingError, match="num_processes is 2, and 1 came together"):
        bench.assembly(store, num_processes=2)
    with pytest.raises(TrainingError, match="new data"):
        bench.assembly(store, resolved={"store_digest": "other"})
    with pytest.raises(ValueError, match="warm_up_epochs"):
        bench.assembly(store, objective=GmmAdaptive(warm_up_epochs=9))
