"""Gathering gradients over batches, clipping, ending early."""

import pytest
import torch

from worker.contract.spec import AdamW, Joint, MultiHead, RunSpec, Sgd
from worker.contract.spec.objectives.base import ObjectiveSpec
from worker.contract.spec.training import EarlyStopping
from worker.engine.stepping import Stepper
from worker.engine.steps import EpochDone, RunDone, StepDone
from worker.engine.train import Trainer

PLAIN_SGD = Sgd(learning_rate=0.1, momentum=0.0, weight_decay=0.0)


def stepped(clip_norm=None, *batches):
    """Weights after one step of SGD with rate 1 from 0, by what is gathered: minus the gradient."""
    parameter = torch.nn.Parameter(torch.zeros(2))
    stepper = Stepper(torch.optim.SGD([parameter], lr=1.0), clip_norm)
    for gradient, size in batches:
        stepper.gather({} if gradient is None else {parameter: torch.tensor(gradient)}, size)
    assert stepper.pending
    stepper.put()
    stepper.step()
    assert not stepper.pending
    return (-parameter.detach()).tolist()


def test_gathered_gradients_are_the_mean_over_clips_by_hand():
    assert stepped(None, ([1.0, 0.0], 1), ([4.0, 2.0], 2)) == pytest.approx([3.0, 4 / 3])
    assert stepped(None, (None, 3), ([4.0, 2.0], 1)) == pytest.approx([1.0, 0.5])
    assert stepped(None, ([4.0, 2.0], 1), (None, 3)) == pytest.approx([1.0, 0.5])


def test_the_whole_gradient_is_clipped_to_its_norm():
    assert stepped(1.0, ([3.0, 4.0], 1)) == pytest.approx([0.6, 0.8], rel=1e-4)
    assert stepped(10.0, ([3.0, 4.0], 1)) == pytest.approx([3.0, 4.0])


def encoders(parts):
    return torch.cat([p.detach().flatten() for p in parts.model.encoders.parameters()])


def trained(bench, store, **fields):
    parts = bench.assembly(store, epochs=1, objective=MultiHead(), optimizer=PLAIN_SGD, augment=False, **fields)
    steps = list(Trainer(parts).run())
    return parts, next(s for s in steps if isinstance(s, EpochDone)).event


def test_two_batches_gathered_train_like_one_of_twice_the_size(bench):
    store = bench.MemoryStore({"train": 64, "validation": 24})
    gathered, event = trained(bench, store, batch_size=16, accumulate=2)
    whole, plain = trained(bench, store, batch_size=32)
    other, _ = trained(bench, store, batch_size=16)
    torch.testing.assert_close(encoders(gathered), encoders(whole), rtol=1e-4, atol=1e-6)
    assert (encoders(other) - encoders(whole)).abs().max() > 1e-4
    assert (event.cost.optimizer_steps, event.cost.backward_passes) == (2, 4)
    assert event.gradient_share.audio == pytest.approx(plain.gradient_share.audio, rel=1e-3)


def test_a_window_that_the_epoch_cuts_short_counts_its_clips_alone(bench):
    store = bench.MemoryStore({"train": 48, "validation": 24})
    _, event = trained(bench, store, batch_size=16, accumulate=2)
    assert event.cost.optimizer_steps == 2


def test_no_snapshot_is_offered_while_gradients_wait_for_their_step(bench, store):
    parts = bench.assembly(store, epochs=1, accumulate=3, batch_size=16)
    steps = [s for s in Trainer(parts).run() if isinstance(s, StepDone)][:4]
    assert [step.resumable for step in steps] == [False, False, True, True]
    assert [step.pending for step in steps] == [True, True, False, False]


def test_gathering_resumes_to_the_bit(bench, store):
    def parts():
        return bench.assembly(store, epochs=2, accumulate=2, batch_size=16, clip_norm=0.5)

    whole = [s for s in Trainer(parts()).run() if isinstance(s, EpochDone)]
    trainer = Trainer(parts())
    for step in trainer.run():
        if isinstance(step, StepDone) and step.resumable:
            snapshot = trainer.snapshot()
            break
    resumed = [s for s in Trainer.from_snapshot(parts(), snapshot).run() if isinstance(s, EpochDone)]
    for name, tensor in whole[-1].snapshot.tensors.items():
        assert torch.equal(tensor, resumed[-1].snapshot.tensors[name]), name


def test_clipping_reaches_training(bench, store):
    free, _ = trained(bench, store, batch_size=16)
    clipped, _ = trained(bench, store, batch_size=16, clip_norm=1e-3)
    start = encoders(bench.assembly(store, objective=MultiHead()))
    assert (encoders(clipped) - start).norm() < 5e-4 < (encoders(free) - start).norm()


def test_a_method_that_steps_within_a_batch_refuses_to_gather():
    class Alternating(Joint):
        steps_within_batch = True

    assert issubclass(Alternating, ObjectiveSpec)
    with pytest.raises(ValueError, match="set accumulate to 1"):
        RunSpec.model_validate({"dataset": {"id": "memory"}, "accumulate": 2, "objective": Alternating()})


def stopping(bench, store, **fields):
    # A learning rate of next to nothing: no epoch after the first gets better.
    rule = EarlyStopping(**{"patience": 2, **fields})
    return bench.assembly(store, epochs=9, optimizer=AdamW(learning_rate=1e-9), early_stopping=rule)


def test_a_run_ends_when_validation_has_not_got_better_for_its_patience(bench, store):
    steps = list(Trainer(stopping(bench, store)).run())
    epochs = [s.event.epoch for s in steps if isinstance(s, EpochDone)]
    done = next(s for s in steps if isinstance(s, RunDone))
    assert epochs == [1, 2, 3]
    assert (done.result.stopped_early, done.result.last.epoch) == (True, 3)


def test_an_early_end_is_the_same_after_a_resume(bench, store):
    whole = [s for s in Trainer(stopping(bench, store)).run() if isinstance(s, EpochDone)]
    resumed = list(Trainer.from_snapshot(stopping(bench, store), whole[1].snapshot).run())
    assert [s.event.epoch for s in resumed if isinstance(s, EpochDone)] == [3]
    again = list(Trainer.from_snapshot(stopping(bench, store), whole[2].snapshot).run())
    assert [s for s in again if isinstance(s, EpochDone)] == []
    assert any(isinstance(s, RunDone) for s in again)


def test_better_means_by_more_than_the_least_change(bench, store):
    rule = {"figure": "cross-entropy", "patience": 1}
    counts = []
    for least in (0.0, 5.0):
        parts = bench.assembly(store, epochs=4, early_stopping=EarlyStopping(**rule, min_change=least))
        counts.append(sum(isinstance(s, EpochDone) for s in Trainer(parts).run()))
    assert counts[1] == 2
    assert counts[0] > 2


def test_without_the_rule_all_epochs_are_trained(bench, store):
    steps = list(Trainer(bench.assembly(store, epochs=3, optimizer=AdamW(learning_rate=1e-9))).run())
    assert not next(s for s in steps if isinstance(s, RunDone)).result.stopped_early
    assert sum(isinstance(s, EpochDone) for s in steps) == 3
