"""What the loop does for an objective: masks, groups, looks, fresh optimizers, single modalities, class weights."""

import numpy as np
import pytest
import torch

from worker.contract.spec import AdamW, AudioOnly, Joint, MultiHead, Sgd, VisualOnly
from worker.engine.assembly import class_weights
from worker.engine.building import rebuilt_model
from worker.engine.learner import Learner, Place
from worker.engine.progress import EpochProgress
from worker.engine.steps import EpochDone, RunDone, StepDone
from worker.engine.train import Trainer
from worker.objectives.base import EpochPlan, Pass
from worker.objectives.multi_head import MultiHead as MultiHeadObjective


class Scripted(MultiHeadObjective):
    """Follows a plan that the test gives, and notes what it sees."""

    def __init__(self, plan):
        self.plan = plan
        self.seen = []
        self.views = []

    def plan_epoch(self, view):
        self.views.append(view)
        return self.plan(view)

    def passes(self, step):
        self.seen.append(step)
        yield from super().passes(step)


def scripted(bench, store, plan, **fields):
    parts = bench.assembly(store, objective=MultiHead(), **fields)
    object.__setattr__(parts, "objective", Scripted(plan))
    return parts, parts.objective


def run(parts):
    return list(Trainer(parts).run())


def test_a_visit_whose_modality_is_absent_has_zero_features_in_the_loss_and_none_less_in_its_gap(bench, store):
    def plan(view):
        present = np.ones((len(view.rows), 2), dtype=bool)
        present[:, 0] = view.rows % 2 == 0
        return EpochPlan("single", view.rows, present=present)

    parts, objective = scripted(bench, store, plan, epochs=1)
    run(parts)
    for step in objective.seen:
        odd = step.rows % 2 == 1
        assert (step.output.features["audio"][odd] == 0).all()
        assert (step.output.features["audio"][~odd] != 0).any(dim=1).all()
        assert (step.output.features["visual"] != 0).any(dim=1).all()
        assert (step.clean.features["audio"] != 0).any(dim=1).all()


def test_batches_hold_one_group_and_groups_come_in_order(bench, store):
    parts, objective = scripted(
        bench, store, lambda view: EpochPlan("single", view.rows, groups=view.rows % 3), epochs=1
    )
    run(parts)
    groups = [np.unique(step.rows.numpy() % 3) for step in objective.seen]
    assert all(len(group) == 1 for group in groups)
    assert [int(group[0]) for group in groups] == sorted(int(group[0]) for group in groups)
    assert sum(len(step.rows) for step in objective.seen) == 65


def test_a_plan_with_masks_and_groups_resumes_to_the_bit(bench, store):
    def plan(view):
        rows = np.concatenate([view.rows, view.rows[:10]])
        return EpochPlan("single", rows, present=np.stack([rows % 3 != 0, rows > 4], axis=1), groups=rows % 2)

    whole = [s for s in run(scripted(bench, store, plan, epochs=2)[0]) if isinstance(s, EpochDone)]
    trainer = Trainer(scripted(bench, store, plan, epochs=2)[0])
    for step in trainer.run():
        if isinstance(step, StepDone) and step.step == 2:
            snapshot = trainer.snapshot()
            break
    parts, objective = scripted(bench, store, plan, epochs=2)
    resumed = [s for s in Trainer.from_snapshot(parts, snapshot).run() if isinstance(s, EpochDone)]
    assert len(objective.views) == 1  # the second epoch's: the first one's plan came back from the snapshot
    for a, b in zip(whole, resumed, strict=True):
        assert a.event.cost == b.event.cost
        assert all(torch.equal(tensor, b.snapshot.tensors[name]) for name, tensor in a.snapshot.tensors.items())


def test_a_look_gives_the_models_own_figures_and_changes_nothing(bench, store):
    looks = []

    def plan(view):
        looks.append(view.evaluate(view.validation, [None, "audio", "visual"]))
        return EpochPlan("single", view.rows)

    parts, _ = scripted(bench, store, plan, epochs=2)
    epochs = [s for s in run(parts) if isinstance(s, EpochDone)]
    quiet, _ = scripted(bench, store, lambda view: EpochPlan("single", view.rows), epochs=2)
    unseen = [s for s in run(quiet) if isinstance(s, EpochDone)]
    assert epochs[1].event.validation == unseen[1].event.validation
    model = rebuilt_model(epochs[0].snapshot, torch.device("cpu"))
    rows = store.indices("validation")
    batch = next(parts.source.stream([rows], epoch=None))
    with torch.no_grad():
        output = model(batch.audio, batch.frames)
        muted = model.classify({**output.features, "audio": torch.zeros_like(output.features["audio"])})
    np.testing.assert_allclose(looks[1].fused_logits[None], output.fused_logits.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(looks[1].fused_logits["audio"], muted.fused_logits.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(looks[1].features["audio"], output.features["audio"].numpy(), rtol=1e-5, atol=1e-6)


def test_what_an_epoch_took_is_counted(bench, store):
    def plan(view):
        view.evaluate(view.validation)
        return EpochPlan("single", np.concatenate([view.rows, view.rows]))

    parts, _ = scripted(bench, store, plan, epochs=1)
    cost = next(s for s in run(parts) if isinstance(s, EpochDone)).event.cost
    assert cost.model_dump() == {"samples": 130, "forward_passes": 10, "backward_passes": 9, "optimizer_steps": 9}


def test_a_fresh_optimizer_forgets_its_momentum(bench, store):
    steps = {}
    for fresh in (False, True):
        parts, _ = scripted(
            bench, store, lambda view, fresh=fresh: EpochPlan("single", view.rows, fresh_optimizer=fresh), epochs=2
        )
        run(parts)
        steps[fresh] = int(next(iter(parts.optimizer.state.values()))["step"])
    assert steps == {False: 8, True: 4}


def test_the_learning_rate_factor_of_a_plan_is_used_and_reported(bench, store):
    rates = {}
    for factor in (1.0, 0.1):
        parts, _ = scripted(
            bench, store, lambda view, f=factor: EpochPlan("single", view.rows, learning_rate_factor=f), epochs=1
        )
        event = next(s for s in run(parts) if isinstance(s, EpochDone)).event
        rates[factor] = (event.learning_rate, parts.optimizer.param_groups[0]["lr"])
    assert rates[0.1] == pytest.approx([rate * 0.1 for rate in rates[1.0]])


def test_logits_after_a_commit_are_those_of_the_new_weights(bench, store):
    class TwoSteps(MultiHeadObjective):
        def passes(self, step):
            first = step.outputs(step.output.features).audio_logits
            loss = step.cross_entropy(first)
            yield Pass(loss, {"audio": loss})
            second = step.outputs(step.output.features).audio_logits
            assert not torch.equal(first, second)
            loss = step.cross_entropy(step.outputs(step.output.features).visual_logits)
            yield Pass(loss, {"visual": loss})

    parts = bench.assembly(store, objective=MultiHead(), epochs=1, optimizer=AdamW(learning_rate=0.01))
    object.__setattr__(parts, "objective", TwoSteps())
    cost = next(s for s in run(parts) if isinstance(s, EpochDone)).event.cost
    assert (cost.backward_passes, cost.optimizer_steps, cost.forward_passes) == (8, 8, 4)


@pytest.mark.parametrize(
    ("objective", "used", "other"), [(AudioOnly(), "audio", "visual"), (VisualOnly(), "visual", "audio")]
)
def test_a_run_of_one_modality_has_no_gap_and_no_figure_of_the_other(bench, store, objective, used, other):
    parts = bench.assembly(store, objective=objective, epochs=2)
    before = {name: tensor.clone() for name, tensor in parts.model.state_dict().items()}
    steps = run(parts)
    last = [s for s in steps if isinstance(s, EpochDone)][-1]
    done = next(s for s in steps if isinstance(s, RunDone))
    report = last.event.validation
    assert getattr(report.accuracy, used) == report.accuracy.fused
    assert (getattr(report.accuracy, other), report.mean_gap, report.histogram, report.mixture) == (None,) * 4
    assert report.unimodal_source == "solo"
    assert np.isnan(last.gaps).all()
    assert f"p_true_{other}" not in last.columns
    assert getattr(done.result.probes, other) is None
    assert getattr(done.result.probes, used) is not None
    after = parts.model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert any(name.startswith(f"encoders.{used}") for name in changed)
    assert not any(name.startswith(f"encoders.{other}") for name in changed)


def test_a_run_of_one_modality_resumes_to_the_bit(bench, store):
    whole = [s for s in run(bench.assembly(store, objective=AudioOnly())) if isinstance(s, EpochDone)]
    parts = bench.assembly(store, objective=AudioOnly())
    resumed = [s for s in Trainer.from_snapshot(parts, whole[0].snapshot).run() if isinstance(s, EpochDone)]
    for name, tensor in whole[-1].snapshot.tensors.items():
        assert torch.equal(tensor, resumed[-1].snapshot.tensors[name]), name


def test_balanced_class_weights_give_every_class_the_same_say(bench):
    store = bench.MemoryStore({"train": 60, "validation": 24})
    store.labels = np.where(np.arange(84) % 6 == 0, 1, 0)
    weights = class_weights(bench.run_spec(class_weights="balanced"), store, torch.device("cpu"))
    counts = np.bincount(store.labels[:60], minlength=4)
    np.testing.assert_allclose((weights.numpy() * counts)[:2], 60 / 4)
    assert weights[2:].tolist() == [0, 0]
    assert class_weights(bench.run_spec(), store, torch.device("cpu")) is None


@pytest.mark.parametrize("objective", [Joint(), MultiHead()])
def test_class_weights_reach_the_loss(bench, store, objective):
    store = bench.MemoryStore({"train": 64, "validation": 24})
    store.labels = np.where(np.arange(88) % 4 == 0, 1, 0)
    found = []
    for choice in ("none", "balanced"):
        parts = bench.assembly(store, objective=objective, class_weights=choice, epochs=1)
        run(parts)
        found.append(torch.cat([p.detach().flatten() for p in parts.model.fusion.parameters()]))
    assert not torch.equal(*found)


def test_class_weights_reach_the_probes(bench):
    store = bench.MemoryStore({"train": 64, "validation": 24})
    store.labels = np.where(np.arange(88) % 4 == 0, 1, 0)
    parts = bench.assembly(store, class_weights="balanced", epochs=1, optimizer=Sgd(learning_rate=0.1))
    rows = store.indices("train")[:16]
    batch = next(parts.source.stream([rows], epoch=None))
    head = parts.model.heads["audio"]
    before = head.bias.detach().clone()
    logits = parts.model(batch.audio, batch.frames).audio_logits
    loss = torch.nn.functional.cross_entropy(logits, batch.labels, weight=parts.class_weights)
    (expected,) = torch.autograd.grad(loss, [head.bias])
    progress = EpochProgress.begin(EpochPlan("single", rows), len(store.labels), parts.device)
    Learner(parts).learn(batch, Place(1, 0, 1), progress)
    torch.testing.assert_close((before - head.bias.detach()) / 0.1, expected, rtol=1e-2, atol=1e-5)
