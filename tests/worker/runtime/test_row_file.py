from pathlib import Path
from typing import Any

import pytest

from worker.contract.errors import CorruptRecordError
from worker.runtime.row_file import RowFile


def row(name: str, code: str | None = None) -> dict[str, Any]:
    return {"sample_id": name, "path": f"/clips/{name}.mp4", "gap": 0.5, "error_code": code}


def test_rows_are_kept_and_given_in_the_asked_order(tmp_path: Path) -> None:
    with RowFile(tmp_path / "rows") as rows:
        rows.write([row("b"), row("a", "media-empty")])
        rows.sync()
    with RowFile(tmp_path / "rows") as rows:
        assert (rows.has("a", "/clips/a.mp4"), rows.has("c", "/")) == (True, False)
        wanted = {(name, f"/clips/{name}.mp4") for name in "abc"}
        assert (rows.count(wanted), rows.count_failed(wanted)) == (2, 1)
        assert (rows.count({("b", "/clips/b.mp4")}), rows.count_failed({("b", "/clips/b.mp4")})) == (1, 0)
        rows.write([row("c")])
        keys = [(name, f"/clips/{name}.mp4") for name in ("a", "x", "b", "c")]
        assert [one["sample_id"] for one in rows.in_order(keys)] == ["a", "b", "c"]


def test_a_torn_last_line_is_cut(tmp_path: Path) -> None:
    with RowFile(tmp_path / "rows") as rows:
        rows.write([row("a"), row("b")])
    content = (tmp_path / "rows").read_bytes()
    (tmp_path / "rows").write_bytes(content[:-10])
    with RowFile(tmp_path / "rows") as rows:
        assert (rows.has("a", "/clips/a.mp4"), rows.has("b", "/clips/b.mp4")) == (True, False)
        rows.write([row("b")])
    assert (tmp_path / "rows").read_bytes() == content


def test_damage_in_the_middle_is_said(tmp_path: Path) -> None:
    (tmp_path / "rows").write_bytes(b"no json\n{}\n")
    with pytest.raises(CorruptRecordError, match="line 1"):
        RowFile(tmp_path / "rows")
