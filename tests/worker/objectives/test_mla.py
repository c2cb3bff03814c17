"""MLA."""

import dataclasses
import math

import pytest
import torch

from tests.worker.objectives.linear_batch import Batch
from worker.contract.errors import TrainingError
from worker.objectives.mla import Mla, entropy_weights, updated_projection

FIELDS = {"projection": "official", "mixing": "dynamic", "audio_weight": 0.5}


def test_the_official_update_by_hand():
    # P = I, r = (1, 2), alpha = .5: k = (1, 2), denominators .5 + k r^T = [[1.5, 2.5], [2.5, 4.5]]
    found = updated_projection(torch.eye(2), torch.tensor([1.0, 2.0]), 0.5, "official")
    expected = torch.tensor([[1 - 1 / 1.5, -2 / 2.5], [-2 / 2.5, 1 - 4 / 4.5]])
    torch.testing.assert_close(found, expected / expected.norm())


def test_recursive_least_squares_is_the_inverse_of_what_was_seen():
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(4, 4, generator=generator, dtype=torch.float64)
    projection, seen = root @ root.T + torch.eye(4), torch.randn(4, generator=generator, dtype=torch.float64)
    found = updated_projection(projection, seen, 0.3, "rls")
    expected = torch.linalg.inv(torch.linalg.inv(projection) + torch.outer(seen, seen) / 0.3)
    torch.testing.assert_close(found, expected / expected.norm())
    assert torch.linalg.vector_norm(found @ seen) < torch.linalg.vector_norm(projection / projection.norm() @ seen)


def test_a_division_by_zero_is_named_with_what_to_do():
    with pytest.raises(TrainingError, match="choose projection 'rls'"):
        updated_projection(torch.eye(2), torch.tensor([1.0, -0.5]), 0.5, "official")


def test_entropy_weights_by_hand_and_swapped():
    audio, visual = torch.tensor([[math.log(3.0), 0.0]]), torch.tensor([[0.0, 0.0]])
    entropies = [-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)), math.log(2.0)]
    highest = max(entropies)
    raw = [math.exp(highest - value) for value in entropies]
    found = entropy_weights(audio, visual)
    assert [float(weight) for weight in found] == pytest.approx([value / sum(raw) for value in raw])
    swapped = entropy_weights(visual, audio)
    assert torch.equal(found[0], swapped[1])
    assert torch.equal(found[1], swapped[0])


@pytest.mark.parametrize(("mixing", "share"), [("fixed", 0.3), ("dynamic", None)])
def test_the_model_predicts_by_the_mix(mixing, share):
    batch = Batch(Mla(**{**FIELDS, "mixing": mixing, "audio_weight": 0.3}))
    output = batch.view().output
    weight = entropy_weights(output.audio_logits, output.visual_logits)[0] if share is None else share
    expected = weight * output.audio_logits + (1 - weight) * output.visual_logits
    torch.testing.assert_close(output.fused_logits, expected)


def head_and_encoders(batch):
    return batch.model.fusion.head.weight, batch.model.encoders.audio.weight, batch.model.encoders.visual.weight


def test_each_modality_steps_alone():
    batch = Batch(Mla(**FIELDS))
    head, audio, visual = head_and_encoders(batch)
    first, second = batch.commits()
    assert (head in first, audio in first, visual in first) == (True, True, False)
    assert (head in second, audio in second, visual in second) == (True, False, True)


@pytest.mark.parametrize("variant", ["official", "rls"])
def test_the_heads_gradient_is_projected_from_the_second_step_on(variant):
    batch = Batch(Mla(**{**FIELDS, "projection": variant}))
    head, *_ = head_and_encoders(batch)
    view = batch.view()
    plain = [
        torch.autograd.grad(view.cross_entropy(logits), head, retain_graph=True)[0]
        for logits in (view.output.audio_logits, view.output.visual_logits)
    ]
    first, second = batch.commits()
    torch.testing.assert_close(first[head], plain[0])
    mean = view.output.features["visual"].detach().mean(dim=0)
    projection = updated_projection(torch.eye(3), mean, 0.1, variant)
    torch.testing.assert_close(second[head], plain[1] @ projection.T)
    assert batch.coefficients["audio_head_gradient_kept"] == 1
    assert 0 < batch.coefficients["visual_head_gradient_kept"] < 1
    assert not batch.objective.state()["projection"].requires_grad


def test_the_second_modality_sees_the_head_that_the_first_has_moved():
    still, moved = Batch(Mla(**FIELDS)), Batch(Mla(**FIELDS))
    before, after = still.commits()[1], moved.commits(learning_rate=0.5)[1]
    assert not torch.equal(before[still.model.encoders.visual.weight], after[moved.model.encoders.visual.weight])


@pytest.mark.parametrize(("leader", "other"), [("audio", "visual"), ("visual", "audio")])
def test_a_planted_advantage_gives_that_modality_the_larger_say(leader, other):
    batch, mirrored = Batch(Mla(**FIELDS), leader), Batch(Mla(**FIELDS), other)
    batch.commits()
    mirrored.commits()
    assert batch.coefficients[f"{leader}_weight"] > 0.55
    assert batch.coefficients[f"{leader}_weight"] == pytest.approx(mirrored.coefficients[f"{other}_weight"])


def test_its_state_brings_back_the_same_gradients():
    batch, other = Batch(Mla(**FIELDS)), Batch(Mla(**FIELDS))
    batch.commits()
    other.objective.restore(batch.objective.state())
    for own, resumed in zip(batch.commits(), other.commits(), strict=True):
        assert torch.equal(own[batch.model.fusion.head.weight], resumed[other.model.fusion.head.weight])


def test_encoders_of_unequal_size_are_refused_before_training():
    model = Batch(Mla(**FIELDS)).model
    model.heads = torch.nn.ModuleDict({"audio": torch.nn.Linear(4, 3), "visual": torch.nn.Linear(5, 3)})
    with pytest.raises(TrainingError, match="4 and 5: choose encoders of equal feature size"):
        Mla(**FIELDS).adapt(model)


def test_what_is_seen_late_in_an_epoch_is_learnt_with_a_smaller_alpha():
    batch = Batch(Mla(**FIELDS))
    batch.commits()
    before = batch.objective.state()["projection"]
    view = dataclasses.replace(batch.view(), index=2)  # of 4
    first = next(batch.objective.passes(view))
    first.loss.backward()
    batch.objective.combine(view, [{p: p.grad for p in batch.model.parameters() if p.grad is not None}])
    mean = view.output.features["audio"].detach().mean(dim=0)
    expected = updated_projection(before, mean, 0.1**1.5, "official")
    torch.testing.assert_close(batch.objective.state()["projection"], expected)
