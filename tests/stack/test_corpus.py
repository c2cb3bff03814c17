"""A published corpus through all layers: registered by kind and path, checked, trained on, its protocol named."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest

from tests.stack.driving import Api, tiny_spec
from tests.worker.datasets.corpus_trees import crema_d

pytestmark = pytest.mark.stack
SMALL = {
    "duration_s": 0.8, "sample_rate_hz": 8_000, "num_mels": 16, "num_frames": 2, "frame_size": 24, "crop_size": 16,
}  # fmt: skip


@pytest.fixture(scope="module")
def tree(stack: Any) -> Path:
    return crema_d(stack.home / "CREMA-D")


def test_a_corpus_is_trained_on_under_the_protocol_that_was_asked_for(api: Api, tree: Path) -> None:
    dataset = {"kind": "crema-d", "path": str(tree), "protocol": "paper", "preprocess": SMALL}
    run = api.wait_for_state(api.launch(tiny_spec(dataset=dataset, epochs=2)), {"finished", "failed"})
    assert run["state"] == "finished", run["error"]
    assert run["result"]["last"]["test"]["num_samples"] == 30
    (row,) = api.get(f"/runs/{run['id']}/samples", split="test", limit=1)["items"]
    assert set(row["notes"]) == {"speaker", "sentence", "level"}
    text = api.http.get(f"/runs/{run['id']}/export", params={"table": "epochs"}).text
    assert [line["protocol"] for line in csv.DictReader(io.StringIO(text))] == ["paper", "paper"]
    (known,) = [item for item in api.get("/datasets", kind="crema-d")["items"] if item["state"] == "ready"]
    assert any("5 of 5 speakers of the test split are also in train" in warning for warning in known["warnings"])


def test_a_corpus_with_a_hole_in_its_layout_fails_with_the_place_that_is_missing(api: Api, tree: Path) -> None:
    dataset = {"kind": "crema-d", "path": str(tree), "layout": "frames"}
    failed = api.wait_for_state(api.launch(tiny_spec(dataset=dataset)), {"failed"})
    (known,) = [item for item in api.get("/datasets", kind="crema-d")["items"] if item["state"] == "failed"]
    assert known["error"]["code"] == "dataset-layout-incomplete"
    for error in (known["error"], failed["error"]):
        assert str(tree / "Image-01-FPS") in error["detail"]
