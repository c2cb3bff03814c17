"""A home that an earlier version left is opened by today's backend: listed, its epochs and samples served."""

from __future__ import annotations

from pathlib import Path

from tests.backend.conftest import serving, settings_for
from tests.faults.old_home import runs_by_name, unpack


def test_a_home_of_the_previous_format_is_served_whole(tmp_path: Path, valkey_url: str) -> None:
    home = unpack(tmp_path)
    runs = runs_by_name(home)
    with serving(settings_for(home.path, valkey_url)) as backend:
        states = {run["name"]: run["state"] for run in backend.get("/runs")["items"]}
        assert states == {"finished": "finished", "undisturbed": "finished", "unfinished": "queued"}
        [dataset] = backend.get("/datasets")["items"]
        assert dataset["state"] in ("ready", "finished")
        clips = backend.get(f"/datasets/{dataset['id']}/samples", limit=100)["items"]
        assert len(clips) == 90
        for name, num_epochs in (("finished", 2), ("undisturbed", 6), ("unfinished", 3)):
            events = backend.get(f"/runs/{runs[name]}/events")["events"]
            assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
            told = [event["epoch"] for event in events if event["type"] == "epoch_finished"]
            assert told == list(range(1, num_epochs + 1))
            for epoch in told:
                page = backend.get(f"/runs/{runs[name]}/samples", epoch=epoch, limit=100)["items"]
                assert len(page) >= 70
                assert all(-1 <= sample["gap"] <= 1 for sample in page if sample["gap"] is not None)
        finished = backend.get(f"/runs/{runs['finished']}")
        assert finished["result"]["last"]["epoch"] == 2
