import os

import pytest
import torch

from worker.contract.errors import CorruptRecordError
from worker.engine import checkpoint
from worker.engine.snapshots import _restore_optimizer
from worker.engine.steps import EpochDone, Snapshot, StepDone
from worker.engine.train import Trainer


def snapshot(epoch=3, step=0, value=1.0):
    tensors = {"model.weight": torch.full((4, 5), value), "count": torch.tensor(7), "empty": torch.zeros(0, 3)}
    return Snapshot(epoch, step, tensors, {"classes": ["a", "ü"], "event": {"loss": 0.1 + 0.2}})


def test_what_was_saved_is_loaded_to_the_bit(tmp_path):
    path = checkpoint.save(snapshot(), tmp_path / "checkpoints")
    loaded = checkpoint.load(path)
    assert path.name == "epoch-00003.safetensors"
    assert (loaded.epoch, loaded.step, loaded.record) == (3, 0, snapshot().record)
    for name, tensor in snapshot().tensors.items():
        assert torch.equal(loaded.tensors[name], tensor)
        assert loaded.tensors[name].dtype == tensor.dtype
    assert checkpoint.read_record(path) == snapshot().record


def test_nothing_but_the_checkpoint_is_left_in_the_folder(tmp_path):
    checkpoint.save(snapshot(), tmp_path)
    checkpoint.save(snapshot(), tmp_path)
    assert os.listdir(tmp_path) == ["epoch-00003.safetensors"]


@pytest.mark.parametrize("kept", [0, 4, 100, -1])
def test_a_torn_file_is_refused(tmp_path, kept):
    path = checkpoint.save(snapshot(), tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[:kept])
    with pytest.raises(CorruptRecordError, match="use an earlier one"):
        checkpoint.load(path)


def test_a_flipped_bit_is_refused(tmp_path):
    path = checkpoint.save(snapshot(), tmp_path)
    whole = bytearray(path.read_bytes())
    whole[-3] ^= 1
    path.write_bytes(bytes(whole))
    with pytest.raises(CorruptRecordError, match="checksum"):
        checkpoint.load(path)


def test_an_unknown_format_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "CHECKPOINT_FORMAT", 9)
    path = checkpoint.save(snapshot(), tmp_path)
    monkeypatch.undo()
    with pytest.raises(CorruptRecordError, match="format '9'"):
        checkpoint.load(path)


@pytest.mark.parametrize(("fused", "device"), [(True, "meta"), (False, "cpu")])
def test_the_steps_of_a_fused_optimizer_are_counted_on_the_parameters_device(fused, device):
    model = torch.nn.Linear(2, 2, device="meta")
    optimizer = torch.optim.AdamW(model.parameters(), fused=False)
    optimizer.param_groups[0]["fused"] = fused  # as adamw() makes it, where the device is a GPU
    _restore_optimizer(optimizer, {"weight.step": torch.tensor(3.0), "weight.exp_avg": torch.zeros(2, 2)}, model)
    assert optimizer.state[model.weight]["step"].device.type == device
    assert optimizer.state[model.weight]["exp_avg"].device.type == "meta"


def test_the_newest_is_the_furthest_that_can_be_read(tmp_path):
    assert checkpoint.newest(tmp_path / "none") is None
    checkpoint.save(snapshot(1), tmp_path)
    checkpoint.save(snapshot(2), tmp_path)
    assert checkpoint.newest(tmp_path).epoch == 2
    checkpoint.save(snapshot(2, step=5), tmp_path)
    assert checkpoint.newest(tmp_path).step == 5
    third = checkpoint.save(snapshot(3), tmp_path)
    assert (checkpoint.newest(tmp_path).epoch, checkpoint.newest(tmp_path).step) == (3, 0)
    third.write_bytes(b"torn")
    assert (checkpoint.newest(tmp_path).epoch, checkpoint.newest(tmp_path).step) == (2, 5)


@pytest.mark.parametrize("mid_epoch", [False, True])
def test_a_run_goes_on_from_a_file_as_from_memory(bench, store, tmp_path, mid_epoch):
    trainer = Trainer(bench.assembly(store, epochs=2))
    taken = None
    for step in trainer.run():
        if isinstance(step, StepDone) and mid_epoch and (step.epoch, step.step) == (2, 2):
            taken = trainer.snapshot()
        if isinstance(step, EpochDone):
            taken = step.snapshot if taken is None else taken
            last = step
    path = checkpoint.save(taken, tmp_path)
    assert path.name == ("step.safetensors" if mid_epoch else "epoch-00001.safetensors")
    resumed = Trainer.from_snapshot(bench.assembly(store, epochs=2), checkpoint.load(path))
    again = [step for step in resumed.run() if isinstance(step, EpochDone)][-1]
    for name, tensor in last.snapshot.tensors.items():
        assert torch.equal(tensor, again.snapshot.tensors[name]), name


def test_a_snapshot_of_another_spec_is_refused(bench, store):
    trainer = Trainer(bench.assembly(store, epochs=1))
    done = next(step for step in trainer.run() if isinstance(step, EpochDone))
    with pytest.raises(CorruptRecordError, match="another spec"):
        Trainer.from_snapshot(bench.assembly(store, epochs=2), done.snapshot)
