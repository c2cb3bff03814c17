"""A batch that does not fit ends the run with the one that would; what is only evaluated is read in pieces."""

from __future__ import annotations

import pytest
import torch

from worker.contract.spec import GmmAdaptive, MultiHead
from worker.engine import memory
from worker.engine.memory import largest_batch, too_large
from worker.engine.steps import EpochDone
from worker.engine.train import Trainer


def limit(trainer, most, *, training=True):
    """Lets the model's audio encoder run out of memory above `most` clips, as an allocator would."""

    def refuse(module, inputs):
        if len(inputs[0]) > most and torch.is_grad_enabled() == training:
            raise torch.OutOfMemoryError(f"Tried to allocate memory for {len(inputs[0])} clips.")

    trainer.parts.model.encoders.audio.register_forward_pre_hook(refuse)


@pytest.mark.parametrize(("most", "found"), [(63, 60), (24, 24), (2, 2), (1, None)])
def test_the_largest_batch_is_found_by_halving_to_an_eighth(most, found):
    tried = []
    assert largest_batch(lambda size: tried.append(size) or size <= most, 64) == found
    assert len(tried) <= 9


@pytest.mark.parametrize("objective", [MultiHead(), GmmAdaptive(warm_up_epochs=1)])
def test_a_batch_that_does_not_fit_names_the_one_that_would(bench, store, objective):
    trainer = Trainer(bench.assembly(store, objective=objective, batch_size=32))
    limit(trainer, 12)
    with pytest.raises(torch.OutOfMemoryError):
        list(trainer.run())

    error = too_large(trainer)

    assert error.code == "out-of-memory"
    assert error.detail.startswith("batch_size 32 does not fit into ")
    assert error.detail.endswith(
        "of cpu; 12 would: set batch_size to 12 (and accumulate to 3 to keep at least 32 clips a step)."
    )


def test_where_nothing_fits_another_model_is_advised(bench, store):
    trainer = Trainer(bench.assembly(store, batch_size=32))
    limit(trainer, 1)
    with pytest.raises(torch.OutOfMemoryError):
        list(trainer.run())

    assert "choose a smaller encoder" in too_large(trainer).detail


def test_where_others_hold_the_memory_another_attempt_is_made(bench, store, monkeypatch):
    trainer = Trainer(bench.assembly(store))
    monkeypatch.setattr(memory, "_is_shared", lambda device: True)

    assert too_large(trainer) is None


def test_clips_that_are_only_evaluated_are_read_in_pieces_with_the_same_figures(bench, store):
    whole, pieces = (Trainer(bench.assembly(store, objective=MultiHead(), epochs=1)) for _ in range(2))
    limit(pieces, 20, training=False)  # evaluation takes 64 at once

    first, second = (next(step for step in run.run() if isinstance(step, EpochDone)) for run in (whole, pieces))

    torch.testing.assert_close(torch.from_numpy(first.gaps), torch.from_numpy(second.gaps), equal_nan=True)
