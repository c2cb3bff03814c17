from __future__ import annotations

from typing import Any

from frontend.ui.panels.baselines import chosen
from tests.frontend.ui.recorded import report, run
from worker.contract.resources import ResolvedSpec, Run
from worker.contract.spec import RunSpec


def solo(name: str, accuracy: float, *, seed: int = 0, store: str = "digest", kind: str = "audio-only") -> Run:
    return of_store(
        store,
        id=f"run-{name}",
        name=name,
        spec=spec(kind, seed),
        summary=report(fused=accuracy, audio=accuracy, visual=None, gap=None, source="solo"),
    )


def of_store(store: str, **changes: Any) -> Run:
    resolved = ResolvedSpec(
        dataset_id="clips", store_digest=store, features_digest=None, device="cpu", precision="fp32",
        memory_format="contiguous", compiled=False, threads=1, deterministic=True, versions={}, processor="any",
    )  # fmt: skip
    return run(changes.pop("id", "run-1"), resolved_spec=resolved, **changes)


def spec(kind: str, seed: int) -> RunSpec:
    base = run().spec.model_dump(mode="json")
    return RunSpec.model_validate({**base, "objective": {"kind": kind}, "seed": seed})


def test_the_baseline_of_the_same_seed_comes_before_a_newer_one() -> None:
    mine = of_store("digest", spec=spec("joint", 3))
    found = chosen(mine, [solo("newer", 0.7, seed=1), solo("same seed", 0.8, seed=3)], "audio")
    assert found is not None
    assert (found.name, found.accuracy) == ("same seed", 0.8)


def test_other_data_or_the_other_modality_are_no_baseline() -> None:
    mine = of_store("digest", spec=spec("joint", 0))
    assert chosen(mine, [solo("other data", 0.7, store="other")], "audio") is None
    assert chosen(mine, [solo("audio", 0.7)], "visual") is None
