import pytest
import torch
from torch import nn

from worker.contract.errors import TrainingError
from worker.encoders.small_cnn import SmallCnnPair
from worker.fusion.concat import ConcatFusion
from worker.fusion.gated import GatedFusion
from worker.model import AudioVisualModel


def model(*, heads_are_probes):
    torch.manual_seed(0)
    heads = nn.ModuleDict({"audio": nn.Linear(6, 3), "visual": nn.Linear(6, 3)})
    encoders = SmallCnnPair(width=4, num_features=6)
    return AudioVisualModel(encoders, ConcatFusion(6, 6, 3), heads, heads_are_probes=heads_are_probes)


@pytest.fixture
def clips():
    return torch.randn(4, 1, 16, 9), torch.randn(4, 2, 3, 16, 16)


def test_probes_give_no_gradient_to_the_encoders(clips):
    probed = model(heads_are_probes=True)
    output = probed(*clips)
    (output.audio_logits.sum() + output.visual_logits.sum()).backward()
    assert all(parameter.grad is None for parameter in probed.encoders.parameters())
    assert all(parameter.grad is not None for parameter in probed.heads.parameters())


def test_heads_give_gradient_to_their_own_encoder_alone(clips):
    headed = model(heads_are_probes=False)
    headed(*clips).audio_logits.square().sum().backward()
    assert all(parameter.grad is not None for parameter in headed.encoders.audio.parameters())
    assert all(parameter.grad is None for parameter in headed.encoders.visual.parameters())


def test_the_split_logits_add_up_to_the_fused_ones(clips):
    output = model(heads_are_probes=True)(*clips)
    torch.testing.assert_close(sum(output.split_logits), output.fused_logits, atol=1e-6, rtol=0)


def test_unimodal_logits_are_computed_once_and_only_when_asked_for(clips, monkeypatch):
    headed = model(heads_are_probes=False)
    asked = []
    original = headed.head_logits
    monkeypatch.setattr(headed, "head_logits", lambda *a: asked.append(a[0]) or original(*a))
    output = headed(*clips)
    assert asked == []
    assert output.audio_logits is output.audio_logits
    assert asked == ["audio"]


def test_a_fusion_that_does_not_split_says_so(clips):
    output = model(heads_are_probes=True)(*clips)
    output.model.fusion = GatedFusion(6, 6, 3, gate_by="audio", num_hidden=8)
    with pytest.raises(TrainingError, match="GatedFusion do not split") as caught:
        _ = output.split_logits
    assert caught.value.code == "fusion-does-not-split"
