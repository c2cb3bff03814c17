"""Uploads: taken in, refused without a trace, shown, kept for a while."""

from __future__ import annotations

import json
import threading
import time
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from backend.retention import Freed
from backend.score_samples import _part_s
from backend.stores import ClipRow
from backend.uploads import sniff
from tests.backend.conftest import Backend, serving, settings_for, wait_for
from tests.backend.folders import media_bytes, write_dataset, write_run
from worker.contract.ledger import Ledger
from worker.contract.record import Claim
from worker.contract.resources import DatasetSample

RESULT = {
    "probabilities": {"fused": {"cat": 1.0}, "audio": {"cat": 1.0}, "visual": None},
    "predicted": {"fused": "cat", "audio": "cat", "visual": None},
    "gap": None, "gap_of": None, "posterior_imbalanced": None, "posterior_reason": "no picture",
    "modalities_present": ["audio"], "padded": False, "timing_s": {"decode": 0.1},
}  # fmt: skip


@pytest.fixture
def run(backend: Backend) -> str:
    write_dataset(backend.home)
    run_id = write_run(backend.home, dataset={"id": "clips"})
    backend.services.redis.flushdb()
    wait_for(lambda: backend.services.live.generation() is not None, "the ledger is rebuilt")
    return run_id


def upload(backend: Backend, run: str, data: bytes = b"", files: Any = None, **fields: str) -> httpx.Response:
    files = files or {"file": ("my film.mp4", data or media_bytes(), "video/mp4")}
    return backend.http.post("/scores", data={"run_id": run, **fields}, files=files)


def finish(backend: Backend, ledger: Ledger, score_id: str) -> None:
    """Ends a score as its worker would."""
    claim = ledger.claim("score", score_id, "scorer")
    assert isinstance(claim, Claim)
    document = {"format": 1, "state": "finished", "epoch": 3, "result": RESULT, "finished_at": str(datetime.now(UTC))}
    backend.home.score(score_id).result.write_text(json.dumps(document))
    ledger.transition("score", score_id, claim.token, {"running"}, "finished")


def nothing_stored(backend: Backend) -> bool:
    return list(backend.home.scores.iterdir()) == [] and backend.get("/scores")["items"] == []


def test_upload_is_stored_queued_and_served_back(backend: Backend, run: str) -> None:
    response = upload(backend, run, label="cat")
    assert response.status_code == 202, response.text
    score = response.json()
    assert response.headers["location"] == f"/api/v1/scores/{score['id']}"
    assert (score["state"], score["filename"], score["label"]) == ("queued", "my film.mp4", "cat")
    assert backend.get("/system")["queues"]["score"] == 1
    url = httpx.URL(backend.url).join(score["media"]["video"])
    assert httpx.get(url, headers={"Range": "bytes=4-7"}).content == b"ftyp"
    finish(backend, backend.ledger, score["id"])
    done = backend.get(f"/scores/{score['id']}")
    assert (done["state"], done["epoch"], done["result"]["predicted"]["audio"]) == ("finished", 3, "cat")
    assert [item["id"] for item in backend.get("/scores", run_id=run)["items"]] == [score["id"]]


def test_the_asked_hop_reaches_the_worker(backend: Backend, run: str) -> None:
    score_id = upload(backend, run, window_hop_s="1.5").json()["id"]
    assert json.loads(backend.home.score(score_id).request.read_text())["window_hop_s"] == 1.5


def test_wait_answers_200_when_done_in_time_else_202(backend: Backend, run: str) -> None:
    def work() -> None:
        score_id = wait_for(lambda: backend.ledger.ids("score"), "an upload")[0]
        finish(backend, backend.ledger, score_id)

    worker = threading.Thread(target=work)
    worker.start()
    response = backend.http.post("/scores?wait=10", data={"run_id": run}, files={"file": media_bytes()})
    worker.join()
    assert (response.status_code, response.json()["state"]) == (200, "finished")
    start = time.monotonic()
    assert backend.http.post("/scores?wait=0.3", data={"run_id": run}, files={"file": media_bytes()}).status_code == 202
    assert time.monotonic() - start >= 0.3


def test_separate_sound_is_taken_in(backend: Backend, run: str) -> None:
    sound = ("a.wav", b"RIFF\0\0\0\0WAVEfmt ", "audio/wav")
    score = upload(backend, run, files={"file": ("a.mp4", media_bytes()), "audio_file": sound}).json()
    response = httpx.get(httpx.URL(backend.url).join(score["media"]["audio"]))
    assert response.headers["content-type"] == "audio/wav"


@pytest.mark.parametrize(
    ("data", "fields", "status", "code"),
    [
        (b"<html>no film</html>", {}, 415, "not-a-clip"),
        (b"", {"files": {"file": ("empty.mp4", b"")}}, 422, "empty-file"),
        (b"", {"label": "horse"}, 422, "label-unknown"),
        (b"", {"run": "run-none"}, 404, "run-not-found"),
        (b"", {"run": "../../etc"}, 404, "run-not-found"),
        (b"", {"window_hop_s": "0"}, 422, "invalid-request"),
        (b"", {"window_hop_s": "nan"}, 422, "invalid-request"),
        (b"", {"window_hop_s": "often"}, 422, "invalid-request"),
        (b"", {"surprise": "1"}, 422, "invalid-request"),
        (b"", {"files": {"other": ("a.mp4", b"x")}}, 422, "invalid-request"),
        (b"", {"label": "x" * 5_000}, 413, "field-too-large"),
    ],
)
def test_what_cannot_be_scored_is_refused_and_leaves_nothing(
    backend: Backend, run: str, data: bytes, fields: dict[str, Any], status: int, code: str
) -> None:
    wanted = fields.pop("run", run)
    backend.problem(upload(backend, wanted, data, **fields), status, code)
    assert nothing_stored(backend)


def test_run_without_a_checkpoint_and_broken_forms_are_refused(backend: Backend, run: str) -> None:
    fresh = backend.http.post("/runs", json={"preset": "demo", "dataset": {"id": "clips"}}).json()["id"]
    backend.problem(upload(backend, fresh), 409, "no-checkpoint")
    backend.problem(backend.http.post("/scores", content=b"run_id=x"), 415, "not-a-form")
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    for body in (b"", b"--y\r\n", b"--x\r\nContent-Disposition: form-data; name=file; filename=a\r\n\r\nabc"):
        backend.problem(backend.http.post("/scores", content=body, headers=headers), 422, "form-broken")
    assert nothing_stored(backend)


def part(*headers: str, body: bytes = b"x", boundary: str = "x") -> bytes:
    """One part of a form and its end."""
    head = "\r\n".join([f"--{boundary}", *headers, "", ""])
    return head.encode() + body + f"\r\n--{boundary}--\r\n".encode()


NESTED = (
    "Content-Disposition: form-data; name=label",
    "Content-Type: multipart/mixed; boundary=inner",
)


@pytest.mark.parametrize(
    ("body", "boundary", "status", "code"),
    [
        (part("Content-Disposition: form-data; name=label", boundary="b" * 71), "b" * 71, 422, "form-broken"),
        (part(f"Content-Disposition: form-data; name={'n' * 9_000}"), "x", 422, "form-broken"),
        (part(f"Content-Disposition: form-data; name=file; filename={'f' * 9_000}"), "x", 422, "form-broken"),
        (part(*(f"X-{number}: y" for number in range(2_000))), "x", 422, "form-broken"),
        (part("Content-Disposition: form-data; name=label", f"X-Long: {'y' * 9_000}"), "x", 422, "form-broken"),
        (part("Content-Disposition: form-data"), "x", 422, "invalid-request"),
        (part("Content-Disposition: form-data; name=../../file"), "x", 422, "invalid-request"),
        (part("Content-Disposition: form-data; name=file\0; filename=a"), "x", 422, "invalid-request"),
        (part(*NESTED, body=part("Content-Disposition: file", boundary="inner") * 500), "x", 413, "field-too-large"),
        (part("Content-Disposition: form-data; name=label") * 12, "x", 422, "invalid-request"),
        (part("Content-Disposition: form-data; name=label")[:-4], "x", 422, "form-broken"),
    ],
)
def test_a_hostile_form_is_refused_at_once_and_leaves_nothing(
    backend: Backend, run: str, body: bytes, boundary: str, status: int, code: str
) -> None:
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    backend.problem(backend.http.post("/scores", content=body, headers=headers, timeout=5), status, code)
    assert nothing_stored(backend)


@pytest.mark.parametrize(
    "filename",
    [
        "../../../etc/passwd",
        "..\\..\\boot.ini",
        "/root/.ssh/id",
        "a\u202eb.mp4",
        "f" * 4_000,
        "",
        ".",
        "..",
        "=1+1",
        "a;b",
    ],
)
def test_no_filename_of_a_form_becomes_a_path(backend: Backend, run: str, filename: str) -> None:
    before = {path for path in backend.home.path.rglob("*")}
    response = upload(backend, run, files={"file": (filename or None, media_bytes(2_000))})
    assert response.status_code in (202, 422), response.text
    made = {path.relative_to(backend.home.path).parts[0] for path in {*backend.home.path.rglob("*")} - before}
    assert made <= {"scores"}
    if response.status_code == 202:
        assert "/" not in response.json()["filename"]
        assert len(response.json()["filename"]) <= 200


def test_a_run_on_precomputed_features_scores_no_clip_and_says_why(backend: Backend, run: str) -> None:
    encoder = {"kind": "precomputed", "features_root": "/data/features"}
    other = write_run(backend.home, dataset={"id": "clips"}, encoder=encoder)
    backend.services.redis.flushdb()
    wait_for(lambda: backend.services.live.generation() is not None, "the ledger is rebuilt")
    backend.problem(upload(backend, other), 422, "run-reads-features")
    assert nothing_stored(backend)


def test_upload_over_the_limit_is_refused_while_it_comes_in(tmp_path: Any, valkey_url: str) -> None:
    with serving(settings_for(tmp_path / "home", valkey_url, max_upload_bytes=100_000)) as backend:
        write_dataset(backend.home)
        run = write_run(backend.home, dataset={"id": "clips"})
        backend.services.redis.flushdb()
        wait_for(lambda: backend.ledger.get("run", run), "the ledger is rebuilt")
        backend.problem(upload(backend, run, media_bytes(200_000)), 413, "upload-too-large")
        backend.problem(upload(backend, run, media_bytes(2_000_000)), 413, "body-too-large")
        assert nothing_stored(backend)
        assert upload(backend, run, media_bytes(99_000)).status_code == 202


def test_upload_that_is_cut_off_leaves_nothing(backend: Backend, run: str) -> None:
    def cut() -> Any:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n' + media_bytes(50_000)
        raise ConnectionError("the cable")

    with pytest.raises(ConnectionError):
        backend.http.post("/scores", content=cut(), headers={"Content-Type": "multipart/form-data; boundary=x"})
    wait_for(lambda: nothing_stored(backend), "the folder is gone")


def test_an_ended_score_is_deleted_with_its_clip_and_an_active_one_is_not(backend: Backend, run: str) -> None:
    score_id = str(upload(backend, run).json()["id"])
    backend.problem(backend.http.delete(f"/scores/{score_id}"), 409, "score-active")
    finish(backend, backend.ledger, score_id)
    assert backend.http.delete(f"/scores/{score_id}").json()["freed_bytes"] > 0
    backend.problem(backend.http.get(f"/scores/{score_id}"), 404, "score-not-found")
    assert not backend.home.score(score_id).path.exists()


def test_old_and_surplus_scores_are_deleted(backend: Backend, run: str) -> None:
    ids = [upload(backend, run).json()["id"] for _ in range(3)]
    for score_id in ids[:2]:
        finish(backend, backend.ledger, score_id)
    scores = backend.services.scores
    assert scores.expire() == Freed()
    tools = backend.services.tools
    object.__setattr__(tools, "settings", tools.settings.model_copy(update={"max_scores": 2}))
    try:
        assert scores.expire().number == 1
    finally:
        object.__setattr__(tools, "settings", backend.services.settings)
    assert [item["id"] for item in backend.get("/scores")["items"]] == ids[:0:-1]
    assert not backend.home.score(ids[0]).path.exists()


@pytest.mark.parametrize(
    ("head", "suffix"),
    [
        (b"\0\0\0\x20ftypisom", ".mp4"), (b"\x1aE\xdf\xa3....webm", ".webm"), (b"\x1aE\xdf\xa3matroska", ".mkv"),
        (b"RIFF....AVI LIST", ".avi"), (b"RIFF....WAVEfmt ", ".wav"), (b"FLV\x01", ".flv"), (b"OggS", ".ogg"),
        (b"fLaC", ".flac"), (b"ID3\x04", ".mp3"), (b"G" + bytes(187) + b"G", ".ts"),
        (b"#EXTM3U", None), (b"<html>", None), (b"Go on", None), (b"", None), (b"PK\x03\x04", None),
    ],
)  # fmt: skip
def test_container_is_told_by_its_first_bytes(head: bytes, suffix: str | None) -> None:
    assert sniff(head) == suffix


def test_the_list_is_light_and_the_score_itself_has_all(backend: Backend, run: str) -> None:
    score_id = upload(backend, run).json()["id"]
    finish(backend, backend.ledger, score_id)
    row = backend.get("/scores")["items"][0]
    assert row["predicted"] == {"fused": "cat", "audio": "cat", "visual": None}
    assert row["p_predicted"] == {"fused": 1.0, "audio": 1.0, "visual": None}
    assert not {"result", "probabilities", "windows", "media"} & set(row)
    assert backend.get(f"/scores/{score_id}")["result"]["probabilities"]["fused"] == {"cat": 1.0}


def ask_sample(backend: Backend, run: str, **fields: Any) -> httpx.Response:
    return backend.http.post(
        "/scores", json={"run_id": run, "dataset_id": "clips", "sample_id": "clip-000000", **fields}
    )


def test_a_clip_of_a_dataset_is_scored_without_an_upload(backend: Backend, run: str) -> None:
    response = ask_sample(backend, run)
    assert response.status_code == 202, response.text
    score = response.json()
    assert (score["dataset_id"], score["sample_id"], score["label"]) == ("clips", "clip-000000", "cat")
    folder = backend.home.score(score["id"])
    assert (folder.path / "file.mp4").read_bytes() == media_bytes()
    request = json.loads(folder.request.read_text())
    assert (request["file"], request["audio_file"]) == ("file.mp4", "audio_file.wav")
    assert sorted(score["media"]) == ["audio", "video"]
    assert ask_sample(backend, run, sample_id="clip-000001", label="cat").json()["label"] == "cat"


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"sample_id": "none"}, 404, "sample-not-found"),
        ({"dataset_id": "none"}, 404, "dataset-not-found"),
        ({"label": "whale"}, 422, "label-unknown"),
        ({"window_hop_s": 0}, 422, "invalid-request"),
        ({"speed": 2}, 422, "invalid-request"),
    ],
)
def test_a_sample_that_cannot_be_scored_is_refused_and_leaves_nothing(
    backend: Backend, run: str, fields: dict[str, Any], status: int, code: str
) -> None:
    backend.problem(ask_sample(backend, run, **fields), status, code)
    assert nothing_stored(backend)


def test_the_part_of_a_clip_that_the_dataset_uses_is_the_part_that_is_scored() -> None:
    def part(start_s: float, duration_s: float) -> tuple[float, float] | None:
        sample = DatasetSample(sample_id="a", label="cat", split="test", duration_s=duration_s, notes={})
        quality: dict[str, float | None] = {"start_s": start_s, "duration_s": duration_s}
        return _part_s(ClipRow(0, sample, quality, None, None, 0, has_audio=True, has_visual=True), 3.0)

    assert part(3.5, 10.0) is None  # the middle
    assert part(0.0, 2.0) is None  # shorter than the window
    assert part(1.0, 10.0) == (1.0, 4.0)
