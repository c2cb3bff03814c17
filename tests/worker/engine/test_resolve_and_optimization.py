import pytest
import torch

from worker.contract.errors import TrainingError
from worker.contract.resources import ResolvedSpec
from worker.contract.spec import GmmAdaptive
from worker.engine import building, measuring
from worker.engine.measuring import StepBench
from worker.engine.optimization import constant, cosine, step
from worker.engine.resolve import differences, resolve

WAYS = [(precision, form) for precision in ("fp32", "bf16") for form in ("contiguous", "channels_last")]


def resolved(bench, **fields):
    cache, num_train = fields.pop("cache", None), fields.pop("num_train", None)
    spec = bench.run_spec(**fields)
    store = bench.MemoryStore({"train": 4})
    return resolve(spec, dataset_id="d", store_digest="x", preprocess=store.spec, cache=cache, num_train=num_train)


def test_a_named_precision_is_taken_with_the_memory_format_that_goes_with_it(bench, monkeypatch):
    monkeypatch.setattr(measuring, "StepBench", None)  # nothing is measured
    fp32, bf16 = (resolved(bench, precision=precision) for precision in ("fp32", "bf16"))
    assert (fp32.precision, fp32.memory_format, fp32.compiled) == ("fp32", "contiguous", False)
    assert (bf16.precision, bf16.memory_format, bf16.compiled) == ("bf16", "channels_last", False)
    assert resolved(bench, precision="fp32", compile="on").compiled


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ((1.0, 0.97, 0.9, 0.85), ("fp32", "contiguous")),  # neither gains enough
        ((1.0, 0.9, 0.9, 0.85), ("fp32", "channels_last")),
        ((1.0, 0.8, 2.0, 0.5), ("bf16", "channels_last")),
        ((1.0, 1.1, 0.4, 0.5), ("bf16", "contiguous")),
    ],
)
def test_auto_takes_what_is_clearly_faster_and_measures_once(bench, monkeypatch, tmp_path, seconds, expected):
    asked = []

    def fake(self, candidate, num_clips):
        asked.append(candidate)
        return dict(zip(WAYS, seconds, strict=True))[candidate[:2]]

    monkeypatch.setattr(StepBench, "_step", fake)
    monkeypatch.setattr(measuring, "has_fast_bf16", lambda device: True)
    cache = tmp_path / "measured.json"
    cache.write_text('{"of an earlier version": "bf16"}')
    found = [resolved(bench, precision="auto", cache=cache) for _ in range(2)]
    assert [(each.precision, each.memory_format) for each in found] == [expected] * 2
    assert (
        found[1].measured_step_s
        == found[0].measured_step_s
        == {" ".join(w): s for w, s in zip(WAYS, seconds, strict=True)}
    )
    num_rounds = (len(asked) - 2) / len(WAYS)  # two looks at the first
    assert num_rounds == measuring.NUM_REPEATS + 1, "the second was taken from the cache"
    resolved(bench, precision="auto", cache=cache, batch_size=8)
    assert len(asked) == 2 * (2 + num_rounds * len(WAYS)), "another batch is another shape"


def test_auto_really_measures_where_a_run_is_long_enough(bench):
    found = resolved(bench, precision="auto")
    assert {"fp32 contiguous", "fp32 channels_last"} <= found.measured_step_s.keys()
    assert all(seconds > 0 for seconds in found.measured_step_s.values())
    assert resolved(bench, precision="auto", num_train=10_000, epochs=100).measured_step_s
    short = resolved(bench, precision="auto", num_train=4)
    assert (short.precision, short.memory_format, short.measured_step_s) == ("fp32", "contiguous", {})


def test_a_measurement_whose_batch_does_not_fit_takes_a_smaller_one(bench, monkeypatch):
    def fake(self, candidate, num_clips):
        if num_clips > 5:
            raise torch.OutOfMemoryError("too many")
        return 0.1

    monkeypatch.setattr(measuring, "FIRST_CLIPS", 2)
    monkeypatch.setattr(StepBench, "_step", fake)
    assert resolved(bench, precision="auto").measured_step_s["fp32 channels_last"] == 0.1


@pytest.mark.parametrize(("num_steps", "pays"), [(1_000, False), (3_000, True)])
def test_compiling_pays_where_the_steps_win_more_than_it_takes(num_steps, pays):
    seconds = {"fp32 contiguous": 0.2, "fp32 contiguous compiled": 0.1, "compiling": 80.0}
    assert measuring.compiling_pays(measuring.PLAIN, seconds, num_steps) == pays
    assert not measuring.compiling_pays(measuring.PLAIN, {"fp32 contiguous": 0.2}, num_steps)


def test_encoders_are_compiled_in_place_where_the_run_says_so(bench, monkeypatch):
    # Not called: the run-time type checks of these tests cannot be compiled.
    monkeypatch.setattr(building, "COMPILER", lambda graph, inputs: graph.forward)
    store = bench.MemoryStore({"train": 16, "validation": 8})
    plain, compiled = (bench.assembly(store, {"compiled": value}).model for value in (False, True))
    assert plain.state_dict().keys() == compiled.state_dict().keys()
    for model, expected in ((plain, False), (compiled, True)):
        for encoder in (model.encoders.audio, model.encoders.visual):
            assert (encoder._compiled_call_impl is not None) == expected


def test_what_a_run_ran_on_is_recorded(bench):
    found = resolved(bench, objective=GmmAdaptive(), epochs=20)
    assert found.device == "cpu"
    assert found.threads == 1
    assert found.versions["torch"] == torch.__version__.partition("+")[0] or "torch" in found.versions
    assert found.processor
    assert found.warm_up_epochs == 5
    assert resolved(bench).warm_up_epochs is None


def test_the_platform_and_the_source_tree_are_recorded(bench):
    found = resolved(bench)
    assert found.platform["cpu_capability"] == torch.backends.cpu.get_cpu_capability()
    assert found.platform["deterministic_algorithms"] == "on, others fail"
    assert found.git_changed in (None, False, True)
    earlier = found.model_dump(exclude={"platform", "git_changed", "compiled", "measured_step_s"})
    assert ResolvedSpec.model_validate(earlier).platform == {}, "what an earlier version wrote is read"


def test_what_is_other_than_where_a_run_began_is_told(bench):
    here = resolved(bench)
    assert differences(here) == []
    elsewhere = here.model_copy(
        update={
            "processor": "Abacus",
            "versions": {"torch": "1.0"},
            "platform": {"cpu_capability": "SSE"},
        }
    )
    assert differences(elsewhere) == [
        f"processor {here.processor} (began with Abacus)",
        f"torch {here.versions['torch']} (began with 1.0)",
        f"cpu_capability {here.platform['cpu_capability']} (began with SSE)",
    ]


def test_a_device_that_is_not_there_is_refused(bench, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(TrainingError, match="start a worker with a GPU"):
        resolved(bench, device="cuda")


def test_schedules():
    fall = cosine(final_share=0.1, warm_up_epochs=0.0)
    assert fall(1, 10, 0.0) == 1
    assert fall(10, 10, 1.0) == pytest.approx(0.1)
    assert fall(5, 10, 1.0) == pytest.approx(fall(6, 10, 0.0)) == pytest.approx(0.55)
    assert [step(step_epochs=2, factor=0.5, warm_up_epochs=0.0)(epoch, 6, 0.9) for epoch in range(1, 6)] == [
        1,
        1,
        0.5,
        0.5,
        0.25,
    ]
    assert constant(warm_up_epochs=0.0)(7, 9, 0.3) == 1


def test_a_warm_up_of_the_learning_rate_is_a_straight_line_on_top_of_the_schedule():
    rising = constant(warm_up_epochs=2.0)
    assert [
        rising(epoch, 10, done) for epoch, done in ((1, 0.0), (1, 0.5), (2, 0.0), (2, 0.5), (3, 0.0), (9, 0.9))
    ] == [
        0.0,
        0.25,
        0.5,
        0.75,
        1.0,
        1.0,
    ]
    assert cosine(final_share=0.1, warm_up_epochs=4.0)(3, 10, 0.0) == pytest.approx(
        0.5 * cosine(final_share=0.1, warm_up_epochs=0.0)(3, 10, 0.0)
    )
