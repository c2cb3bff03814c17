"""What holds for every registered fusion, and the exact split of those that have one."""

from __future__ import annotations

import pytest
import torch

from worker.contract.spec.model import Film, FusionSpec, Gated
from worker.contract.spec.registry import FUSIONS
from worker.engine.assembly import built

NUM_AUDIO, NUM_VISUAL, NUM_CLASSES = 5, 7, 4
SPLITTING = [kind for kind, spec in FUSIONS.items() if spec.splits]
EVERY = [
    *(FUSIONS[kind]() for kind in FUSIONS),
    Gated(gate_by="visual", num_hidden=8),
    Film(film_by="visual"),
]


def made(spec: FusionSpec, num_audio: int = NUM_AUDIO, num_visual: int = NUM_VISUAL) -> torch.nn.Module:
    torch.manual_seed(0)
    return built(spec, num_audio, num_visual, NUM_CLASSES).double()


@pytest.fixture
def features() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return (
        torch.randn(6, NUM_AUDIO, dtype=torch.float64, requires_grad=True),
        torch.randn(6, NUM_VISUAL, dtype=torch.float64, requires_grad=True),
    )


def test_concat_and_sum_split_and_the_others_do_not() -> None:
    assert SPLITTING == ["concat", "sum"]
    for kind, spec in FUSIONS.items():
        assert hasattr(made(spec()), "split") is spec.splits, kind


@pytest.mark.parametrize("spec", EVERY, ids=repr)
def test_gradients_reach_both_modalities_and_every_weight(spec, features) -> None:
    fusion = made(spec)
    logits = fusion(*features)
    assert logits.shape == (6, NUM_CLASSES)
    logits.square().sum().backward()
    assert all(bool(values.grad.abs().sum(dim=1).gt(0).all()) for values in features)
    assert all(bool(weight.grad.abs().sum() > 0) for weight in fusion.parameters())


@pytest.mark.parametrize("kind", SPLITTING)
def test_the_split_logits_add_up_to_the_fused_ones(kind, features) -> None:
    fusion = made(FUSIONS[kind]())
    torch.testing.assert_close(sum(fusion.split(*features)), fusion(*features), atol=1e-12, rtol=0)
    audio, visual = (values.detach().float() for values in features)
    fusion.float()
    torch.testing.assert_close(sum(fusion.split(audio, visual)), fusion(audio, visual), atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", SPLITTING)
def test_each_part_depends_on_its_own_modality_alone(kind, features) -> None:
    fusion, (audio, visual) = made(FUSIONS[kind]()), features
    parts = fusion.split(audio, visual)
    assert torch.equal(parts[0], fusion.split(audio, visual + 1)[0])
    assert torch.equal(parts[1], fusion.split(audio + 1, visual)[1])


def test_the_parts_of_a_sum_have_their_own_whole_bias(features) -> None:
    fusion = made(FUSIONS["sum"]())
    silent = [torch.zeros_like(values) for values in features]
    assert torch.equal(fusion.split(*silent)[0][0], fusion.audio.bias)
    assert torch.equal(fusion.split(*silent)[1][0], fusion.visual.bias)


def test_swapped_modalities_with_swapped_weights_of_a_sum_give_the_same_logits(features) -> None:
    fusion, swapped = made(FUSIONS["sum"]()), made(FUSIONS["sum"](), NUM_VISUAL, NUM_AUDIO)
    swapped.audio, swapped.visual = fusion.visual, fusion.audio
    torch.testing.assert_close(swapped(*reversed(features)), fusion(*features))
    assert torch.equal(swapped.split(*reversed(features))[0], fusion.split(*features)[1])


def test_swapped_modalities_with_swapped_weights_of_a_concatenation_give_the_same_logits(features) -> None:
    fusion, swapped = made(FUSIONS["concat"]()), made(FUSIONS["concat"](), NUM_VISUAL, NUM_AUDIO)
    with torch.no_grad():
        swapped.linear.weight.copy_(fusion.linear.weight.roll(NUM_VISUAL, dims=1))
        swapped.linear.bias.copy_(fusion.linear.bias)
    torch.testing.assert_close(swapped(*reversed(features)), fusion(*features))
    torch.testing.assert_close(swapped.split(*reversed(features))[0], fusion.split(*features)[1])


@pytest.mark.parametrize("gate_by", ["audio", "visual"])
def test_closed_gates_let_nothing_of_the_other_modality_through(gate_by, features) -> None:
    fusion = made(Gated(gate_by=gate_by, num_hidden=8))
    other = 1 if gate_by == "audio" else 0
    with torch.no_grad():
        getattr(fusion, gate_by).weight.zero_()
        getattr(fusion, gate_by).bias.fill_(-1e3)
    moved = list(features)
    moved[other] = moved[other] + 1
    assert torch.equal(fusion(*features), fusion(*moved))
    assert torch.equal(fusion(*features)[0], fusion.out.bias)


@pytest.mark.parametrize("film_by", ["audio", "visual"])
def test_film_is_a_scale_and_a_shift_of_the_other_modality(film_by, features) -> None:
    fusion = made(Film(film_by=film_by))
    film, other = features if film_by == "audio" else features[::-1]
    size = other.shape[1]
    gamma = film @ fusion.film.weight[:size].T + fusion.film.bias[:size]
    beta = film @ fusion.film.weight[size:].T + fusion.film.bias[size:]
    torch.testing.assert_close(fusion(*features), fusion.out(gamma * other + beta))
