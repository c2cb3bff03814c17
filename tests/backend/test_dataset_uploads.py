"""Zips of clips: unpacked when they are what they seem, refused with a stable code and without a trace when not."""

from __future__ import annotations

import io
import json
import os
import stat
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from backend.derivatives import ABANDONED_S
from backend.main import create_app
from frontend.client import GapscopeClient
from tests.backend.conftest import Backend, serving, settings_for, wait_for
from tests.conftest import ValkeyServer

LIMITS: dict[str, Any] = {
    "data_roots": (Path("/data/of/others"),),
    "max_zip_bytes": 100_000,
    "max_zip_unpacked_bytes": 4_000_000,
    "max_zip_files": 20,
    "max_zip_depth": 3,
}
CLIPS = {"train/dog/1.mp4": b"one", "train/Katze ä/2.mp4": b"two", "test/dog/3.mp4": b"three"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, valkey_server: ValkeyServer) -> Iterator[Backend]:
    url = valkey_server.url.replace("/0", "/3")
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    with serving(settings_for(tmp_path_factory.mktemp("zips") / "home", url, **LIMITS)) as running:
        yield running


def packed(files: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def upload(backend: Backend, data: bytes, **fields: str) -> Any:
    return backend.http.post("/datasets/upload", files={"file": ("my clips.zip", data)}, data=fields)


def files_of(backend: Backend, dataset_id: str) -> dict[str, bytes]:
    clips = backend.home.dataset(dataset_id).clips
    return {str(path.relative_to(clips)): path.read_bytes() for path in clips.rglob("*") if path.is_file()}


def test_a_zip_becomes_a_registered_folder_under_the_home(served: Backend) -> None:
    hidden = {"__MACOSX/train/._1.mp4": b"x", "clips/.DS_Store": b"x"}
    around = {f"clips/{name}": content for name, content in CLIPS.items()}
    answer = upload(served, packed(around | hidden), spec=json.dumps({"seed": 3}))
    assert answer.status_code == 202, answer.text
    made = answer.json()
    assert answer.headers["location"] == f"/api/v1/datasets/{made['id']}"
    assert (made["state"], made["kind"], made["spec"]["seed"]) == ("queued", "folder", 3)
    assert made["spec"]["path"] == str(served.home.dataset(made["id"]).clips)
    assert made["upload"] == {
        "filename": "my clips.zip", "digest": made["upload"]["digest"], "num_files": 3, "num_bytes": 11,
    }  # fmt: skip
    assert files_of(served, made["id"]) == CLIPS
    assert list(served.home.datasets.glob(".*")) == []


def test_equal_clips_are_one_dataset_and_share_their_files_under_another_id(served: Backend) -> None:
    first = upload(served, packed(CLIPS)).json()
    again = upload(served, packed(dict(reversed(CLIPS.items())), zipfile.ZIP_DEFLATED)).json()
    assert again["id"] == first["id"]
    other = upload(served, packed(CLIPS), id="mine").json()
    one, two = (served.home.dataset(name).clips / "train/dog/1.mp4" for name in (first["id"], "mine"))
    assert other["id"] == "mine"
    assert one.stat().st_ino == two.stat().st_ino
    problem = upload(served, packed({**CLIPS, "train/dog/1.mp4": b"other"}), id="mine")
    served.problem(problem, 409, "dataset-exists")
    served.http.post("/datasets/mine/cancel")
    assert served.http.delete("/datasets/mine").status_code == 200
    assert one.read_bytes() == b"one"
    served.http.post(f"/datasets/{first['id']}/cancel")
    assert served.http.delete(f"/datasets/{first['id']}").json()["freed_bytes"] >= 3 * 4_096
    assert not one.exists()


def test_a_folder_that_is_set_apart_is_overwritten_by_no_upload(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert upload(backend, packed(CLIPS), id="mine").status_code == 202
    folder = backend.home.dataset("mine")
    folder.annotations.write_text("{}\n")
    whole = folder.spec.read_bytes()
    folder.spec.write_text("{")
    backend.services.redis.flushdb()
    with monkeypatch.context() as while_rebuilt:
        while_rebuilt.setattr(backend.services.live, "generation", lambda: None)
        backend.problem(upload(backend, packed(CLIPS), id="mine"), 503, "being-rebuilt")
    wait_for(lambda: backend.services.live.generation() is not None, "the ledger is rebuilt")
    for clips in (CLIPS, {"train/dog/9.mp4": b"nine"}):
        problem = backend.problem(upload(backend, packed(clips), id="mine"), 409, "dataset-set-apart")
        assert str(folder.spec) in problem["detail"]
        assert "Restore it from a backup" in problem["detail"]
    assert (files_of(backend, "mine"), folder.annotations.exists()) == (CLIPS, True)
    assert list(backend.home.datasets.iterdir()) == [folder.path]
    folder.spec.write_bytes(whole)  # as after a registration that Redis did not take: the same clips go on there
    assert upload(backend, packed(CLIPS), id="mine").status_code == 202
    backend.problem(upload(backend, packed({"train/dog/9.mp4": b"nine"}), id="mine"), 409, "dataset-exists")
    assert folder.annotations.exists()


def test_an_upload_that_was_put_in_place_and_never_registered_gives_way(backend: Backend) -> None:
    for dataset_id in ("zipped", "named"):
        upload(backend, packed(CLIPS), id=dataset_id)
        backend.home.dataset(dataset_id).spec.unlink()
        backend.ledger.cancel("dataset", dataset_id)
        backend.ledger.delete("dataset", dataset_id)
    other = {"train/dog/9.mp4": b"nine"}
    assert upload(backend, packed(other), id="zipped").status_code == 202
    assert files_of(backend, "zipped") == other
    named = backend.http.post("/datasets", json={"id": "named", "kind": "av-digits"})
    assert (named.status_code, named.json()["upload"]) == (202, None)
    assert files_of(backend, "named") == {}


def test_one_csv_file_at_the_top_makes_it_a_manifest(served: Backend) -> None:
    made = upload(served, packed({"list.csv": b"path,label\na.mp4,dog\n", "a.mp4": b"1", "b/c.mp4": b"2"})).json()
    assert (made["kind"], Path(made["spec"]["path"]).name) == ("manifest", "list.csv")


def test_the_client_uploads_with_progress(served: Backend, tmp_path: Path) -> None:
    (tmp_path / "clips.zip").write_bytes(packed({"a/1.mp4": b"1", "b/2.mp4": b"2"}))
    steps: list[tuple[int, int]] = []
    with GapscopeClient(served.url) as client:
        made = client.upload_dataset(
            tmp_path / "clips.zip",
            dataset_id="by-client",
            settings={"seed": 5},
            on_upload=lambda *step: steps.append(step),
        )
        assert (made.id, made.spec["seed"]) == ("by-client", 5)
        assert client.cancel_dataset("by-client").state == "cancelled"
    assert steps[-1][0] == steps[-1][1] == (tmp_path / "clips.zip").stat().st_size


def entry(name: str, mode: int, content: bytes = b"/etc/passwd") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo(name)
        info.create_system, info.external_attr = 3, mode << 16
        archive.writestr(info, content)
    return buffer.getvalue()


def flagged(data: bytes, flag: int) -> bytes:
    """Returns a zip whose only entry has another flag set, in its own header and in the directory."""
    changed = bytearray(data)
    changed[6] |= flag
    changed[data.index(b"PK\x01\x02") + 8] |= flag
    return bytes(changed)


def overlapping() -> bytes:
    """Returns a zip whose directory names one entry's bytes many times, as the densest bombs do."""
    data = packed({"d/1.mp4": os.urandom(60_000)})
    begin, end = data.index(b"PK\x01\x02"), data.index(b"PK\x05\x06")
    directory = data[begin:end] * 3
    tail = bytearray(data[end:])
    tail[8:12] = (3).to_bytes(2, "little") * 2
    tail[12:16] = len(directory).to_bytes(4, "little")
    return data[:begin] + directory + bytes(tail)


HOSTILE: dict[str, tuple[bytes, int, str]] = {
    "parent": (packed({"train/../../../out.mp4": b"x"}), 422, "zip-unsafe-name"),
    "absolute": (packed({"/etc/cron.d/x.mp4": b"x"}), 422, "zip-unsafe-name"),
    "windows": (packed({"C:\\clips\\x.mp4": b"x"}), 422, "zip-unsafe-name"),
    "backslashes": (packed({"train\\..\\..\\x.mp4": b"x"}), 422, "zip-unsafe-name"),
    "control": (packed({"train/a\nb.mp4": b"x"}), 422, "zip-unsafe-name"),
    "long": (packed({f"d/{'ä' * 130}.mp4": b"x"}), 422, "zip-unsafe-name"),
    "symlink": (entry("dog/1.mp4", stat.S_IFLNK | 0o777), 422, "zip-not-a-file"),
    "device": (entry("dog/1.mp4", stat.S_IFCHR | 0o666), 422, "zip-not-a-file"),
    "fifo": (entry("dog/1.mp4", stat.S_IFIFO | 0o666), 422, "zip-not-a-file"),
    "case": (packed({"dog/A.mp4": b"x", "Dog/a.mp4": b"y"}), 422, "zip-name-collision"),
    "file-and-folder": (packed({"d/dog": b"x", "d/dog/a.mp4": b"y"}), 422, "zip-name-collision"),
    "encrypted": (flagged(packed({"dog/1.mp4": b"x"}), 1), 422, "zip-encrypted"),
    "method": (packed({"dog/1.mp4": b"x"}, zipfile.ZIP_LZMA), 422, "zip-unknown-method"),
    "bomb": (packed({"dog/1.mp4": bytes(3_000_000)}, zipfile.ZIP_DEFLATED), 413, "zip-bomb"),
    "unpacked": (
        packed({f"dog/{k}.mp4": bytes(1_000_000) for k in range(5)}, zipfile.ZIP_DEFLATED), 413, "zip-too-large",
    ),
    "overlap": (overlapping(), 422, "zip-broken"),
    "many": (packed({f"dog/{k}.mp4": b"" for k in range(21)}), 413, "zip-too-many-files"),
    "deep": (packed({"a/b/c/d/1.mp4": b"x", "b/1.mp4": b"x"}), 422, "zip-too-deep"),
    "torn": (packed(CLIPS)[:-60], 422, "zip-broken"),
    "wrong bytes": (packed({"dog/1.mp4": b"abcdef"}).replace(b"abcdef", b"abcdeg"), 422, "zip-broken"),
    "empty": (packed({"dog/": b""}), 422, "zip-empty"),
    "no zip": (b"\x89PNG" * 10, 422, "not-a-zip"),
    "whole": (packed({"dog/1.mp4": os.urandom(150_000)}), 413, "upload-too-large"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_zip_is_refused_and_leaves_nothing(served: Backend, name: str) -> None:
    before = sorted(path.name for path in served.home.datasets.iterdir())
    data, status, code = HOSTILE[name]
    served.problem(upload(served, data), status, code)
    assert sorted(path.name for path in served.home.datasets.iterdir()) == before
    assert not (served.home.path.parent / "out.mp4").exists()


def test_a_directory_that_would_fill_the_memory_is_not_read(served: Backend) -> None:
    small = bytearray(packed({"dog/1.mp4": b"x"}))
    end = bytes(small).index(b"PK\x05\x06")
    small[end + 12 : end + 16] = (50_000).to_bytes(4, "little")
    served.problem(upload(served, bytes(small)), 413, "zip-too-many-files")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"id": "../up"}, "id"),
        ({"spec": "[]"}, "spec"),
        ({"spec": '{"path": "/etc"}'}, "spec"),
        ({"spec": '{"seed": -1}'}, "spec.seed"),
        ({"spec": '{"sed": 1}'}, "spec.sed"),
    ],
)
def test_settings_beside_the_clips_are_checked_by_field(served: Backend, fields: dict[str, str], field: str) -> None:
    document = served.problem(upload(served, packed(CLIPS), **fields), 422, "invalid-request")
    assert document["errors"][0]["field"] == field
    assert list(served.home.datasets.glob(".*")) == []


def test_a_backend_that_starts_leaves_what_another_takes_in_and_the_sweep_removes_it_once_it_is_old(
    tmp_path: Path,
) -> None:
    datasets = tmp_path / "home" / "datasets"
    left = datasets / ".upload-zip-1" / "dataset" / "clips"
    left.mkdir(parents=True)
    services = create_app(settings_for(tmp_path / "home", "redis://127.0.0.1:1/0")).state.services
    services.sweep.turn()
    assert left.exists()
    for folder in (left, left.parent, left.parent.parent):
        os.utime(folder, (time.time() - ABANDONED_S - 1,) * 2)
    services.sweep.turn()
    assert list(datasets.iterdir()) == []
