"""The Export tab: what each file holds and how large it is, before it is downloaded."""

from __future__ import annotations

from tests.frontend.ui.conftest import Open, texts
from tests.frontend.ui.recorded import RecordedApi
from worker.contract.errors import GoneError


def test_each_file_says_its_rows_and_bytes(api: RecordedApi, open_page: Open) -> None:
    app = open_page("run", run="run-1", tab="Export")
    app.selectbox(key="export_split").set_value("Test").run()
    labels = [one.proto.label for one in app.get("link_button")]
    assert {"CSV, about 2.3 MB", "Parquet, about 345.7 kB", "CSV, 2.3 kB", "Parquet, 9.9 kB"} <= set(labels)
    assert "10,000 rows." in texts(app)
    assert "4 rows." in texts(app)
    assert ("export_size", {"run_id": "run-1", "table": "samples", "epoch": 4, "split": "test"}) in api.asked


def test_a_table_that_is_gone_is_told_in_its_place(api: RecordedApi, open_page: Open) -> None:
    api.no_export_size = GoneError("The table of epoch 2 was removed. Kept: 1, 4.", code="epoch-thinned")
    app = open_page("run", run="run-1", tab="Export")
    assert "The table of epoch 2 was removed" in texts(app)
    assert not app.error
