"""Pages that ask for a key: login by the printed address, by hand, and what a stranger sees."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest
from playwright.sync_api import Page, expect

from backend.access.keys import KeyStore
from frontend.ui.sessions import COOKIE
from tests.backend.stack.running import RunningStack, start_stack, stop_stack, wait_for_stack

pytestmark = [pytest.mark.stack, pytest.mark.browser]


@dataclass(frozen=True)
class Closed:
    """A stack that asks for keys, and the address that it printed."""

    stack: RunningStack
    entrance: str


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Closed]:
    home = tmp_path_factory.mktemp("closed") / "home"
    process = start_stack(home, "--auth")
    try:
        stack = wait_for_stack(home, process)
        printed = re.search(r"Pages: (\S+)", home.with_name("up.log").read_text())
        assert printed is not None
        yield Closed(stack, printed[1])
    finally:
        stop_stack(process)
    assert not (home / "local.key").exists()
    assert all(key.revoked_at for key in KeyStore(home).all() if key.name == "this machine")
    secret = printed[1].partition("key=")[2]
    kept = [path for path in home.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]
    assert kept == []  # neither logs nor records hold it


def test_printed_address_leads_in_and_the_key_leaves_the_address_bar(page: Page, closed: Closed, scheme: str) -> None:
    page.goto(closed.entrance)
    expect(page.get_by_text("No runs yet")).to_be_visible()
    assert "key" not in page.url
    [cookie] = [one for one in page.context.cookies() if one.get("name") == COOKIE]
    assert (cookie.get("httpOnly"), cookie.get("sameSite")) == (True, "Strict")
    assert "gsk_" not in str(cookie.get("value"))


def test_stranger_sees_the_login_alone_and_a_key_leads_to_the_page_that_was_wanted(page: Page, closed: Closed) -> None:
    page.goto(f"{closed.stack.ui_url}/system?a=1")
    page.get_by_label("API key").fill("gsk_wrong")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_contain_text("not valid")
    _, secret = KeyStore(closed.stack.home).create("Ada", "reader")
    page.get_by_label("API key").fill(secret)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(re.compile(r"/system"))
    expect(page.get_by_text("worker", exact=False).first).to_be_visible()
    page.goto(f"{closed.stack.ui_url}/logout")
    page.goto(f"{closed.stack.ui_url}/runs")
    expect(page.get_by_label("API key")).to_be_visible()


@pytest.mark.parametrize("path", ["/", "/static/js/index.js", "/_stcore/host-config", "/media/x", "/_stcore/stream"])
def test_nothing_is_served_without_a_session(closed: Closed, path: str) -> None:
    for cookie in ("", f"{COOKIE}=", f"{COOKIE}=guess", "=;;; bad"):
        response = httpx.get(closed.stack.ui_url + path, headers={"Cookie": cookie})
        assert response.status_code == 401


def test_login_leads_to_these_pages_only(closed: Closed) -> None:
    _, secret = KeyStore(closed.stack.home).create("Grace", "reader")
    login = f"{closed.stack.ui_url}/login"
    for wanted in (
        "//evil.example",
        "https://evil.example",
        "//[",
        "/\\evil.example",
        "javascript:alert(1)",
        "/a\r\nb",
    ):
        answer = httpx.post(login, data={"key": secret, "next": wanted})
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
    for origin in ("https://evil.example", "http://["):
        foreign = httpx.post(login, data={"key": secret}, headers={"Origin": origin})
        assert foreign.status_code == 403
    assert 'value="/&quot;&gt;&lt;b' in httpx.get(login, params={"next": '/"><b'}).text
