"""Whatever stands in an id, a cursor or a filter: it is found, not found or refused, and no other path opens."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from backend.paging import Cursor, decode_cursor, encode_cursor
from tests.backend.conftest import Filled
from worker.contract.errors import InvalidRequestError, NotFoundError
from worker.contract.layout import Home

ANY_TEXT = st.text(st.characters(codec=None), max_size=80)  # with NUL, lone surrogates and every form of Unicode
HOSTILE = [
    "..", "../..", "../../etc/passwd", "..\\..", "/etc/passwd", "//etc/passwd", ".", "", "a/b", "a\0b", "a\n", "-",
    "\u202e", "e\u0301", "\u00e9", "\uff0e\uff0e", "A", "a" * 65, "a" * 5_000, "~", "$HOME", "*", "run-1;ls", "\ud800",
    "9" * 400, "NaN", ".hidden", "%2e%2e%2f",
]  # fmt: skip
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
REFUSED = {404, 405, 422}


@pytest.mark.parametrize("kind", ["run", "dataset", "score", "batch", "subset"])
def test_an_id_is_one_name_in_its_own_folder_or_none_at_all(kind: str) -> None:
    home = Home(Path("/home"))

    @given(ANY_TEXT | st.sampled_from(HOSTILE) | st.from_regex(r"[a-z0-9._/-]{1,70}", fullmatch=True))
    def check(text: str) -> None:
        try:
            path = getattr(home, kind)(text).path
        except NotFoundError as error:
            error.detail.encode()  # can be sent: no lone surrogate in it
            return
        assert path.parent == getattr(home, f"{kind}s" if kind != "batch" else "batches")
        assert path.name == text
        assert text not in (".", "..")

    check()


def test_no_address_with_a_hostile_id_opens_anything(filled: Filled) -> None:
    document = filled.backend.get("/openapi.json")
    tried = 0
    for path, operations in document["paths"].items():
        if "{" not in path or path.endswith("/stream"):
            continue
        template = path.removeprefix("/api/v1").replace("{run_id}", "{id}", 1)
        for name in ("dataset_id", "score_id", "batch_id", "subset_id"):
            template = template.replace(f"{{{name}}}", "{id}", 1)
        for text in HOSTILE:
            quoted = quote(text.encode("utf-8", "surrogatepass"), safe="")
            address = template.replace("{id}", quoted).replace("{sample_id}", quoted)
            for method in operations:
                response = filled.backend.http.request(method, address)
                is_list = text == "" or (method == "get" and response.status_code in (200, 307))
                assert response.status_code in REFUSED or is_list, (method, address, response.text[:300])
                assert "root:" not in response.text
                tried += 1
    assert tried > 1_000


@pytest.mark.parametrize("text", HOSTILE)
def test_no_body_or_query_with_a_hostile_id_opens_anything(filled: Filled, text: str) -> None:
    http = filled.backend.http
    bodies: list[tuple[str, dict[str, Any]]] = [
        ("/runs", {"dataset": {"id": text}}),
        ("/runs", {"dataset": {"id": filled.dataset_id}, "subset": text}),
        ("/runs", {"dataset": {"id": filled.dataset_id}, "start_from": text}),
        ("/datasets", {"kind": "av-digits", "id": text}),
        ("/subsets", {"name": "s", "run_id": text}),
        ("/scores", {"run_id": text, "dataset_id": text, "sample_id": text}),
        ("/scores/batch", {"run_id": text, "path": "/nowhere"}),
        ("/access/tickets", {"method": "GET", "path": f"/api/v1/{text}"}),
    ]
    for path, body in bodies:
        sent = json.dumps(body).encode()
        response = http.post(path, content=sent, headers={"Content-Type": "application/json"})
        if path != "/access/tickets":
            assert response.status_code in REFUSED, (path, body, response.text)
        assert response.status_code < 500, (path, body, response.text)
    value = quote(text.encode("utf-8", "surrogatepass"), safe="")
    for query in ("/runs?dataset=", "/runs?tag=", "/runs?text=", "/compare?runs=", "/scores?run_id=", "/subsets?run=",
                  f"/runs/{filled.run}/samples?label=", f"/datasets/{filled.dataset_id}/samples?tag="):  # fmt: skip
        response = http.get(query + value)
        assert response.status_code in {200, *REFUSED}, (query, response.text)
        assert "root:" not in response.text


def test_a_link_among_the_runs_is_not_followed_when_it_is_deleted(filled: Filled, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "thesis.txt").touch()
    home = filled.backend.home
    link = home.runs / "run-link-1"
    link.symlink_to(kept)
    filled.backend.services.archive.purge(home.run("run-link-1").path)
    assert (kept / "thesis.txt").exists()
    assert not link.is_symlink()


KEYS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | ANY_TEXT
    | st.sampled_from([*HOSTILE, 2**63, -(2**63)])
    | st.lists(st.integers(), max_size=2)
)
LISTS = [
    "/runs?", "/runs?sort=accuracy_fused&", "/runs?sort=-name&",
    "/runs/{run}/samples?", "/runs/{run}/samples?sort=label&",
    "/runs/{run}/samples?sort=-loss_fused&", "/runs/{run}/samples?sort=sample_id&", "/datasets/{dataset}/samples?",
    "/datasets/{dataset}/skipped?", "/datasets/{dataset}/annotations?",
    "/compare/changes?first={run}&second={other}&", "/subsets/{subset}/samples?", "/subsets?", "/subsets?sort=name&",
]  # fmt: skip


@given(key=KEYS, row_id=KEYS, epoch=st.none() | st.integers())
@example(key="\ud800", row_id="a", epoch=None)
@example(key=None, row_id="\udfff", epoch=None)
def test_a_cursor_is_read_as_it_was_written_or_refused(key: Any, row_id: Any, epoch: int | None) -> None:
    document = {"v": 1, "f": "pin", "e": epoch, "k": key, "i": row_id}
    text = base64.urlsafe_b64encode(json.dumps(document).encode()).decode()
    try:
        cursor = decode_cursor(text, "pin")
    except InvalidRequestError:
        return
    assert decode_cursor(encode_cursor(cursor, "pin"), "pin") == cursor == Cursor(key, row_id, epoch)
    assert not isinstance(key, bool)
    for part in (cursor.key, cursor.id):
        str(part).encode()  # a lone surrogate would break whatever it is compared with


@pytest.fixture(scope="module")
def subset_id(filled: Filled) -> str:
    """A subset; two clips of the dataset are annotated."""
    for clip in ("clip-000000", "clip-000004"):
        address = f"/datasets/{filled.dataset_id}/samples/{clip}/annotations"
        assert filled.backend.http.put(address, json={"tags": ["t"], "note": ""}).status_code == 200
    for name in ("one", "two"):
        made = filled.backend.http.post(
            "/subsets", json={"name": name, "run_id": filled.run, "filter": {"split": "train"}}
        )
        assert made.status_code == 201, made.text
    return str(made.json()["id"])


@pytest.mark.parametrize("address", LISTS)
def test_a_forged_cursor_gives_a_page_or_is_refused(filled: Filled, subset_id: str, address: str) -> None:
    names = {"run": filled.runs[0], "other": filled.runs[1], "dataset": filled.dataset_id, "subset": subset_id}
    path = address.format(**names) + "limit=1"
    first = filled.backend.http.get(path)
    assert first.status_code == 200, first.text
    text = first.json()["next"]
    assert text is not None
    document = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))

    @QUICK
    @example(changes={"i": "\ud800"})
    @example(changes={"k": "\ud800"})
    @example(changes={"k": 2**63 - 1, "e": 2**31 - 1})
    @given(changes=st.fixed_dictionaries({}, optional={"k": KEYS, "i": KEYS, "e": st.none() | st.integers()}))
    def check(changes: dict[str, Any]) -> None:
        forged = base64.urlsafe_b64encode(json.dumps(document | changes).encode()).decode()
        response = filled.backend.http.get(f"{path}&cursor={forged}")
        assert response.status_code in (200, 404, 409, 422), response.text

    check()


NUMBERS = [
    "NaN", "inf", "-Infinity", "1e400", "-1e-400", str(2**63), str(-(2**63) - 1), str(2**64), "9" * 400, "0x10", 
    "1_000",
    "\u0661", "1e3", "+1", "-0", " 1", "1.0", "", "true", "None",
]  # fmt: skip
TERMS = st.from_regex(r"[a-z_]{1,20}(>=|<=|>|<|=)[-+.e0-9]{1,30}", fullmatch=True)
FILTERS = st.fixed_dictionaries(
    {},
    optional={name: st.sampled_from(NUMBERS) for name in ("epoch", "min_gap", "max_posterior", "since", "over_from")}
    | {name: ANY_TEXT | st.sampled_from(HOSTILE) for name in ("label", "tag", "without_tag", "noted", "flag", "cursor")}
    | {"quality": TERMS | ANY_TEXT, "sort": st.sampled_from(["gap", "-label", "; drop", "gap desc"])},
)


@QUICK
@given(filters=FILTERS)
def test_any_filter_gives_a_page_or_is_refused(filled: Filled, filters: dict[str, str]) -> None:
    query = "&".join(f"{name}={quote(value.encode('utf-8', 'surrogatepass'))}" for name, value in filters.items())
    for path in (f"/runs/{filled.run}/samples", f"/datasets/{filled.dataset_id}/samples", f"/runs/{filled.run}/cube"):
        response = filled.backend.http.get(f"{path}?{query}")
        assert response.status_code in (200, 404, 410, 422), (path, query, response.text)


@pytest.mark.parametrize("value", NUMBERS)
@pytest.mark.parametrize("name", ["epoch", "min_gap", "limit", "from", "to", "tail", "after", "window"])
def test_any_number_is_taken_or_refused(filled: Filled, name: str, value: str) -> None:
    for path in ("samples", "flow", "log", "events", "map", "samples/clip-000000"):
        response = filled.backend.http.get(f"/runs/{filled.run}/{path}?{name}={quote(value)}")
        assert response.status_code in (200, 404, 410, 422), (path, response.text)
