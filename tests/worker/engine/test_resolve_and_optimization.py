import json

import pytest
import torch

from worker.contract.errors import TrainingError
from worker.contract.spec import GmmAdaptive
from worker.engine import resolve as resolving
from worker.engine.optimization import constant, cosine, step
from worker.engine.resolve import resolve


def resolved(bench, **fields):
    cache = fields.pop("cache", None)
    spec = bench.run_spec(**fields)
    store = bench.MemoryStore({"train": 4})
    return resolve(spec, dataset_id="d", store_digest="x", preprocess=store.spec, cache=cache)


def test_a_named_precision_is_taken_with_the_memory_format_that_goes_with_it(bench, monkeypatch):
    monkeypatch.setattr(resolving, "_step_seconds", None)  # nothing is measured
    fp32, bf16 = (resolved(bench, precision=precision) for precision in ("fp32", "bf16"))
    assert (fp32.precision, fp32.memory_format) == ("fp32", "contiguous")
    assert (bf16.precision, bf16.memory_format) == ("bf16", "channels_last")


@pytest.mark.parametrize(("seconds", "expected"), [(0.5, "bf16"), (0.95, "fp32"), (2.0, "fp32")])
def test_auto_takes_bf16_only_where_it_clearly_pays_and_remembers(bench, monkeypatch, tmp_path, seconds, expected):
    asked = []

    def fake(spec, preprocess, device, precision):
        asked.append(precision)
        return {"fp32": 1.0, "bf16": seconds}[precision]

    monkeypatch.setattr(resolving, "_step_seconds", fake)
    monkeypatch.setattr(resolving, "_has_fast_bf16", lambda device: True)
    cache = tmp_path / "precision.json"
    for _ in range(2):
        assert resolved(bench, precision="auto", cache=cache).precision == expected
    assert sorted(asked) == ["bf16", "fp32"]
    assert list(json.loads(cache.read_text()).values()) == [expected]


def test_auto_really_measures(bench):
    assert resolved(bench, precision="auto").precision in ("fp32", "bf16")


def test_what_a_run_ran_on_is_recorded(bench):
    found = resolved(bench, objective=GmmAdaptive(), epochs=20)
    assert found.device == "cpu"
    assert found.threads == 1
    assert found.versions["torch"] == torch.__version__.partition("+")[0] or "torch" in found.versions
    assert found.processor
    assert found.warm_up_epochs == 5
    assert resolved(bench).warm_up_epochs is None


def test_a_device_that_is_not_there_is_refused(bench, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(TrainingError, match="start a worker with a GPU"):
        resolved(bench, device="cuda")


def test_schedules():
    fall = cosine(final_share=0.1)
    assert fall(1, 10, 0.0) == 1
    assert fall(10, 10, 1.0) == pytest.approx(0.1)
    assert fall(5, 10, 1.0) == pytest.approx(fall(6, 10, 0.0)) == pytest.approx(0.55)
    assert [step(step_epochs=2, factor=0.5)(epoch, 6, 0.9) for epoch in range(1, 6)] == [1, 1, 0.5, 0.5, 0.25]
    assert constant()(7, 9, 0.3) == 1
