"""The benchmark's large home is one that the API serves as it serves a worker's."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import redis

from tests.backend.conftest import serving, settings_for
from tests.bench.big_run import write_big_run
from tests.conftest import ValkeyServer
from worker.contract.layout import Home
from worker.contract.sample_tables import table_epochs


def test_a_big_run_is_served_and_its_older_tables_are_thinned(tmp_path: Path, valkey_server: ValkeyServer) -> None:
    url = valkey_server.url.replace("/0", "/3")
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    home = Home(tmp_path / "home")
    run = write_big_run(home, 100, 4, max_bytes=1)
    assert table_epochs(home.run(run)) == [4]
    rows = pq.read_table(home.run(run).sample_table(4)).to_pylist()
    with serving(settings_for(home.path, url)) as backend:
        shown = backend.get(f"/runs/{run}")
        assert (shown["state"], shown["progress"]["epoch"]) == ("finished", 4)
        assert backend.get(f"/runs/{run}/samples", limit=10)["total"] == len(rows) == 100
        sample = backend.get(f"/runs/{run}/samples/{rows[0]['sample_id']}")
        assert len(sample["trajectory"]["gap"]) == 4
        assert sum(backend.get("/datasets/big-100")["class_counts"]["train"].values()) == 60
