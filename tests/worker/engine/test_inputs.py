"""Encoders before the first step: input shapes, first weights, precisions and memory formats."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from worker.contract.errors import TrainingError
from worker.contract.spec import PreprocessSpec
from worker.contract.spec.model import Film, Gated, ResNet18, SmallCnn, Sum, Torchvision
from worker.encoders.backbones import TorchvisionPair
from worker.encoders.small_cnn import SmallCnnPair
from worker.engine.assembly import build_model
from worker.engine.inputs import check_inputs
from worker.engine.steps import EpochDone, StepDone
from worker.engine.train import Trainer

FIRST_WEIGHTS = -4.7145828
"""All weights of the small CNN pair at seed 3, by name, each times the cosine of its place: processors round the last
digits of a draw apart."""


@pytest.fixture
def vit() -> TorchvisionPair:
    with torch.device("meta"):
        return TorchvisionPair(name="vit_b_16")


def test_a_network_of_a_fixed_input_size_is_refused_before_training_with_the_remedy(vit) -> None:
    with pytest.raises(TrainingError, match="resize_to") as caught:
        check_inputs(Torchvision(name="vit_b_16"), vit.audio, vit.visual, PreprocessSpec())
    assert caught.value.code == "input-shape-unfit"
    assert "audio encoder of 'torchvision' cannot read spectrograms" in caught.value.detail


def test_resizing_lets_it_read_every_dataset() -> None:
    with torch.device("meta"):
        vit = TorchvisionPair(name="vit_b_16", resize_to=224)
    check_inputs(Torchvision(name="vit_b_16", resize_to=224), vit.audio, vit.visual, PreprocessSpec())


def test_the_check_of_shapes_leaves_the_encoders_and_the_generator_alone() -> None:
    pair = SmallCnnPair(width=4, num_features=8).train()
    before = {name: value.clone() for name, value in pair.state_dict().items()}
    generator = torch.get_rng_state()
    check_inputs(SmallCnn(), pair.audio, pair.visual, PreprocessSpec())
    assert pair.training
    assert pair.audio.training
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(torch.equal(value, before[name]) for name, value in pair.state_dict().items())


def test_missing_weights_stop_a_run_before_its_first_step(bench, store, tmp_path) -> None:
    with pytest.raises(TrainingError) as caught:
        bench.assembly(store, encoder=ResNet18(audio_weights=str(tmp_path / "gone.pth")))
    assert caught.value.code == "weights-missing"


def test_a_run_begins_from_the_given_weights(bench, store, tmp_path) -> None:
    earlier = bench.assembly(store, encoder=Torchvision(name="shufflenet_v2_x0_5"), seed=7).model.encoders
    torch.save(earlier.audio.network.state_dict(), tmp_path / "audio.pth")
    spec = Torchvision(name="shufflenet_v2_x0_5", audio_weights=str(tmp_path / "audio.pth"))
    begun = bench.assembly(store, encoder=spec, seed=0).model.encoders
    for name, value in begun.audio.state_dict().items():
        assert torch.equal(value, earlier.audio.state_dict()[name])
    first = (encoders.visual.network.network.conv1[0].weight for encoders in (begun, earlier))
    assert not torch.equal(*first)


def test_a_run_resumes_without_the_file_that_it_began_from(bench, store, tmp_path) -> None:
    path = tmp_path / "audio.pth"
    torch.save(TorchvisionPair(name="shufflenet_v2_x0_5").audio.network.state_dict(), path)
    spec = Torchvision(name="shufflenet_v2_x0_5", audio_weights=str(path))
    snapshot = Trainer(bench.assembly(store, encoder=spec)).snapshot()
    path.unlink()
    with pytest.raises(TrainingError, match="no such file"):
        bench.assembly(store, encoder=spec)
    resumed = Trainer.from_snapshot(bench.assembly(store, encoder=spec, begins=False), snapshot)
    for name, value in resumed.parts.model.state_dict().items():
        assert torch.equal(value, snapshot.tensors[f"model.{name}"])


def test_dropout_depends_on_the_seed_alone_and_survives_a_resume(bench) -> None:
    store = bench.MemoryStore({"train": 24, "validation": 8})

    def begun() -> Trainer:
        torch.rand(7)  # whatever drew from torch's generator before
        return Trainer(bench.assembly(store, encoder=Torchvision(name="mobilenet_v3_small"), epochs=1, batch_size=8))

    def epoch(trainer: Trainer) -> dict[str, float]:
        return next(step.event.loss_terms for step in trainer.run() if isinstance(step, EpochDone))

    whole = epoch(begun())
    stopped = begun()
    next(step for step in stopped.run() if isinstance(step, StepDone))
    snapshot = stopped.snapshot()
    resumed = begun()
    torch.rand(7)
    assert epoch(Trainer.from_snapshot(resumed.parts, snapshot)) == whole


def test_the_first_weights_of_the_default_model_never_change(bench) -> None:
    model = build_model(bench.run_spec(encoder=SmallCnn(), seed=3), 10)
    weights = np.concatenate([value.numpy().ravel() for _, value in sorted(model.state_dict().items())])
    places = np.cos(np.arange(len(weights)))
    assert float(weights.astype(np.float64) @ places) == pytest.approx(FIRST_WEIGHTS, abs=1e-5)


@pytest.mark.parametrize("encoder", [SmallCnn(), ResNet18(), Torchvision(name="shufflenet_v2_x0_5")], ids=repr)
def test_channels_last_and_bf16_give_the_features_of_fp32(bench, encoder) -> None:
    model = build_model(bench.run_spec(encoder=encoder), 4)
    torch.manual_seed(0)
    audio, frames = torch.randn(6, 1, 64, 64), torch.randn(6, 2, 3, 64, 64)
    plain = model.encode(audio, frames)
    model.to(memory_format=torch.channels_last)
    fast = model.encode(audio, frames)
    with torch.autocast("cpu", torch.bfloat16):
        half = model.encode(audio, frames)
    for modality, values in plain.items():
        torch.testing.assert_close(fast[modality], values, rtol=1e-3, atol=1e-3)
        assert values.std() > 0.05
        assert half[modality].dtype == torch.float32
        assert torch.nn.functional.cosine_similarity(half[modality], values).min() > 0.9


@pytest.mark.parametrize("fusion", [Sum(), Gated(num_hidden=8), Film()], ids=repr)
def test_every_fusion_trains_in_bf16_and_channels_last(bench, store, fusion) -> None:
    resolved = {"precision": "bf16", "memory_format": "channels_last"}
    trainer = Trainer(bench.assembly(store, resolved, fusion=fusion, epochs=6))
    losses = [step.event.loss_terms["fused"] for step in trainer.run() if isinstance(step, EpochDone)]
    assert losses[-1] < losses[0]
