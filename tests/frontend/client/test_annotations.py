"""Tags and notes through the client and the command line, on a real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from click.testing import CliRunner

from frontend.cli.main import cli
from frontend.client import GapscopeClient
from tests.backend.conftest import serving, settings_for
from tests.backend.folders import write_dataset, write_run
from tests.conftest import ValkeyServer
from worker.contract.layout import Home


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, valkey_server: ValkeyServer) -> Iterator[tuple[str, str, str]]:
    url = valkey_server.url.replace("/0", "/3")
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    home = Home(Path(tmp_path_factory.mktemp("tags")) / "home")
    home.create()
    dataset_id = write_dataset(home, count=20)
    run = write_run(home, count=20, dataset={"id": dataset_id})
    with serving(settings_for(home.path, url)) as backend:
        yield backend.url, dataset_id, run


def test_clips_are_tagged_and_found_by_client_and_command_line(served: tuple[str, str, str]) -> None:
    url, dataset_id, run = served
    with GapscopeClient(url) as client:
        said = client.annotate(dataset_id, "clip-000003", tags=["hard"], note="look")
        assert said == client.annotation(dataset_id, "clip-000003")
        changed = client.annotate_many(dataset_id, run_id=run, filter={"split": "train"}, add_tags=["seen"])
        assert (changed.num_samples, changed.num_changed) == (10, 10)
        assert {tag.tag: tag.num_samples for tag in client.annotation_summary(dataset_id).tags}["seen"] == 10
        assert [one.sample_id for one in client.annotations(dataset_id, tag="hard").items] == ["clip-000003"]
        assert client.sample_rows(run, tag="hard").items[0].tags == ["hard"]
        assert client.dataset_notes(dataset_id) == {"corrupted": {"audio": 2}}
        assert client.report(run, "map", split="train")["num_samples"] == 10
        command = CliRunner()
        told = command.invoke(cli, ["tag", "--api", url, dataset_id, "clip-000003", "--remove", "hard"])
        assert (told.exit_code, told.output) == (0, "1 of 1 clips changed.\n")
        assert command.invoke(cli, ["tag", "--api", url, dataset_id]).output.split() == ["10", "seen"]
        assert client.sample_rows(run, tag="hard").items == []
        refused = command.invoke(cli, ["tag", "--api", url, dataset_id, "clip-000003"])
        assert refused.exit_code == 2
