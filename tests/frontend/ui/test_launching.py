from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

from frontend.ui.launch_code import as_command, as_python, as_request
from frontend.ui.launching import Launch, launch_of, outlook_of
from frontend.ui.starting import of_preset, of_subset
from tests.frontend.ui.recorded import catalog, dataset, run, subset
from worker.contract.resources import RunEstimate
from worker.contract.spec import RunSpec

TOKEN = "0123456789abcdef" * 2
SPEC: dict[str, Any] = {"dataset": {"kind": "av-digits"}, "name": "it's \\n", "tags": ["a"], "epochs": 3}
ADAPTIVE, JOINT = {"kind": "gmm-adaptive", "alpha": 2.0}, {"kind": "joint"}


def estimate(**changes: Any) -> RunEstimate:
    values: dict[str, Any] = {
        "dataset_id": "d", "num_clips": 10, "is_prepared": False, "store_bytes": 1_000_000_000,
        "run_bytes": 100_000_000, "free_bytes": 10_000_000_000, "fits": True,
    }  # fmt: skip
    return RunEstimate(**(values | changes))


def test_methods_and_seeds_make_one_run_each_under_a_shared_tag() -> None:
    launch = launch_of(SPEC, [ADAPTIVE, JOINT], [0, 1], TOKEN)
    assert [(one["objective"], one["seed"]) for one in launch.specs] == [
        (ADAPTIVE, 0), (ADAPTIVE, 1), (JOINT, 0), (JOINT, 1),
    ]  # fmt: skip
    assert {tuple(one["tags"]) for one in launch.specs} == {("a", launch.group)}
    assert len({one["name"] for one in launch.specs}) == 4
    long = launch_of({**SPEC, "name": "n" * 120}, [ADAPTIVE, JOINT], [0, 1], TOKEN)
    assert len({one["name"] for one in long.specs}) == 4
    assert all(RunSpec.model_validate(one) for one in long.specs)


def test_a_single_run_is_sent_as_it_is_shown() -> None:
    assert launch_of(SPEC, [JOINT], [7], TOKEN).specs == ({**SPEC, "objective": JOINT, "seed": 7},)


def test_a_run_has_the_same_key_when_it_is_sent_again_and_another_in_another_launch() -> None:
    launch = launch_of(SPEC, [ADAPTIVE, JOINT], [0, 1], TOKEN)
    keys = [launch.key(index) for index in range(4)]
    assert len(set(keys)) == 4
    assert keys == [launch_of(SPEC, [ADAPTIVE, JOINT], [0, 1], TOKEN).key(index) for index in range(4)]
    assert launch.key(0) != replace(launch, token="f" * 32).key(0)


def test_what_several_runs_take_is_added_up_and_the_dataset_counted_once() -> None:
    found = outlook_of([estimate(seconds=60.0, seconds_basis="x"), estimate(seconds=30.0, seconds_basis="y")], 2)
    assert found is not None
    assert found.obstacle is None
    said = "\n".join(found.lines)
    assert "about 3 min 0 s for all" in said
    assert "the dataset is about 1.0 GB, the 4 runs take up to 400.0 MB" in said
    assert outlook_of([], 2) is None


def test_methods_whose_time_is_not_known_are_told() -> None:
    found = outlook_of([estimate(seconds=60.0, seconds_basis="x"), estimate()], 1)
    assert found is not None
    assert "and what 1 of the methods take" in found.lines[0]


def test_runs_that_fit_alone_and_not_together_cannot_be_launched() -> None:
    each = estimate(run_bytes=4_000_000_000, free_bytes=8_000_000_000)
    alone, together = outlook_of([each], 1), outlook_of([each], 2)
    assert alone is not None
    assert together is not None
    assert alone.obstacle is None
    assert together.obstacle is not None
    assert "9.0 GB are needed, 8.0 GB are free" in together.obstacle


def test_memory_that_is_not_there_is_warned_of() -> None:
    for there, warned in ((2_000_000_000, True), (4_000_000_000, False), (None, False)):
        found = outlook_of([estimate(least_memory_bytes=3_000_000_000, memory_bytes=there)], 1)
        assert found is not None
        assert (found.warning is not None) is warned
        assert "3.0 GB a run" in found.lines[1]


def test_the_code_is_this_launch(tmp_path: Path) -> None:
    launch: Launch = launch_of(SPEC, [ADAPTIVE, JOINT], [0, 1], TOKEN)
    (tmp_path / "gapscope").write_text('#!/bin/sh\ncat "$3" >> launched\n')
    (tmp_path / "curl").write_text('#!/bin/sh\nfor last; do :; done; printf %s "$last" >> sent\n')
    for name in ("gapscope", "curl"):
        (tmp_path / name).chmod(0o755)
    script = as_command(launch.specs) + "\n" + as_request(launch.specs, "http://127.0.0.1:1", needs_key=True)
    subprocess.run(["/bin/sh", "-c", script], cwd=tmp_path, check=True, env={"PATH": f"{tmp_path}:/bin:/usr/bin"})

    def documents(text: str) -> list[Any]:
        found, decoder = [], json.JSONDecoder()
        while text := text.lstrip():
            document, end = decoder.raw_decode(text)
            found.append(document)
            text = text[end:]
        return found

    for file in ("launched", "sent"):
        assert documents((tmp_path / file).read_text()) == list(launch.specs)
    made: list[Any] = []

    class Client:
        def __init__(self, url: str) -> None:
            assert url == "http://127.0.0.1:1"

        def create_run(self, spec: Any) -> None:
            made.append(spec)

    code = as_python(launch.specs, "http://127.0.0.1:1").replace("from frontend.client import GapscopeClient", "")
    exec(compile(code, "launch", "exec"), {"GapscopeClient": Client})
    assert made == list(launch.specs)


def test_a_preset_of_a_corpus_takes_the_registered_one_or_says_what_is_missing() -> None:
    [preset] = [one for one in catalog()["presets"] if one["id"] == "paper-crema-d"]
    assert of_preset(preset).needs == "crema-d"
    assert of_preset(preset, [dataset(), dataset(kind="crema-d", state="failed")]).needs == "crema-d"
    start = of_preset(preset, [dataset(id="mine", kind="crema-d", spec={"kind": "crema-d", "protocol": "paper"})])
    assert start.needs is None
    assert start.spec["dataset"] == {"id": "mine", "protocol": "paper"}
    assert preset["spec"]["dataset"]["kind"] == "crema-d"


def test_a_run_on_a_subset_is_fresh_or_fine_tunes_as_the_paper_does() -> None:
    base, chosen = run(), subset()
    fresh = of_subset(base, chosen, start_from=False).spec
    assert (fresh["subset"], fresh["start_from"]) == (chosen.id, None)
    assert fresh["epochs"] == base.spec.epochs
    tuned = of_subset(base, chosen, start_from=True).spec
    assert (tuned["subset"], tuned["start_from"]) == (chosen.id, base.id)
    assert tuned["epochs"] == max(1, base.spec.epochs // 10)
    assert tuned["optimizer"]["learning_rate"] == base.spec.optimizer.learning_rate * 0.1
    RunSpec.model_validate({**tuned, "start_from": "run-a-1"})
