"""The client against the real stack: a run from its launch to scores of a clip."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from frontend.client import GapscopeClient
from tests.stack.driving import tiny_spec
from worker.contract.errors import ConflictError, InvalidRequestError, NotFoundError
from worker.contract.resources import RunProgress
from worker.contract.score_batches import ScoreBatch

pytestmark = pytest.mark.stack


def test_run_is_launched_followed_read_exported_and_used(stack: Any, tmp_path: Path) -> None:
    with GapscopeClient(stack.api_url) as client:
        assert client.ready()
        told: list[RunProgress] = []
        run = client.create_run(tiny_spec(epochs=2, tags=["client"]))
        events = list(client.follow(run.id, on_progress=told.append))
        assert [event.type for event in events] == ["run_started", "epoch_finished", "epoch_finished", "run_finished"]
        assert told[-1].epoch == 2
        assert client.events(run.id, after=2) == events[2:]
        assert client.wait(run.id, timeout_s=5).state == "finished"
        assert run.id in [found.id for found in client.runs(tag="client")]

        frame = client.samples(run.id, split="validation", sort="-gap")
        assert len(frame) == 30
        assert list(frame["gap"]) == sorted(frame["gap"], reverse=True)
        sample = str(frame["sample_id"][0])
        document = client.sample(run.id, sample)
        assert client.export(run.id, tmp_path / "samples.csv") > 0
        assert sample in (tmp_path / "samples.csv").read_text()
        assert isinstance(client.log(run.id, tail=5), str)
        assert client.report(run.id, "confusion")

        clip = tmp_path / "clip.mp4"
        address = next(value for value in document["media"].values() if value)
        clip.write_bytes(httpx.get(httpx.URL(stack.api_url).join(address)).content)
        label = str(frame["label"][0])
        score = client.score(clip, run.id, label=label)
        assert score.error is None
        assert score.result is not None
        assert score.result.gap_of == "label"
        seen = client.samples(run.id, epoch=score.epoch, split="validation").set_index("sample_id")
        assert score.result.gap == pytest.approx(seen.loc[sample, "gap"], abs=0.02)
        with pytest.raises(InvalidRequestError):
            client.score(clip, run.id, label="no such class")

        _score_a_folder(client, run.id, clip, label)
        assert client.dataset(_dataset_of(client, run.id)).state == "ready"
        with pytest.raises(ConflictError):
            client.cancel(run.id)
        assert client.delete(run.id)["reclaimable_bytes"] > 0
        with pytest.raises(NotFoundError):
            client.run(run.id)


def _score_a_folder(client: GapscopeClient, run_id: str, clip: Path, label: str) -> None:
    folder = clip.parent / "new" / label
    folder.mkdir(parents=True)
    (folder / "good.mp4").write_bytes(clip.read_bytes())
    (folder / "bad.mp4").write_bytes(b"no film")
    told: list[ScoreBatch] = []
    batch = client.score_batch(clip.parent / "new", run_id, timeout_s=60, on_progress=told.append)
    assert (batch.state, batch.error, batch.progress.done, batch.progress.failed) == ("finished", None, 2, 1)
    assert told[-1] == batch
    frame = client.batch_table(batch.id).set_index("sample_id")
    assert frame.loc[f"{label}__bad.mp4", "error_code"] == "media-not-decodable"
    score = client.score(clip, run_id, label=label)
    assert score.result is not None
    assert frame.loc[f"{label}__good.mp4", "gap"] == pytest.approx(score.result.gap, abs=1e-5)
    assert client.save_batch(batch.id, clip.parent / "scores.csv") > 0
    assert "good.mp4" in (clip.parent / "scores.csv").read_text()
    assert batch.id in [found.id for found in client.batches(run_id=run_id)]
    with pytest.raises(ConflictError):
        client.cancel_batch(batch.id)


def _dataset_of(client: GapscopeClient, run_id: str) -> str:
    resolved = client.run(run_id).resolved_spec
    assert resolved is not None
    return resolved.dataset_id
