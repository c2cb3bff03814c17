"""New runs: several at once from the form, what cannot be launched told beside its field, a copy prefilled."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, expect

from tests.stack.driving import Api, tiny_spec

pytestmark = [pytest.mark.stack, pytest.mark.browser]


@pytest.fixture(scope="module")
def origin(api: Api) -> dict[str, Any]:
    """A short finished run to copy."""
    spec = tiny_spec(name="an *origin*", epochs=2, objective={"kind": "joint"})
    return api.wait_for_state(api.launch(spec), {"finished"})


def fill(page: Page, name: str, value: str) -> None:
    box = page.get_by_role("spinbutton", name=name)
    box.fill(value)
    box.press("Enter")


def choose(page: Page, name: str, option: str) -> None:
    """Adds an option to a box of many: the list is filtered, the option clicked, the list closed."""
    box = page.get_by_role("combobox", name=name)
    box.scroll_into_view_if_needed()
    box.press_sequentially(option)
    page.get_by_role("option", name=option).first.click()
    expect(page.locator("[data-tag]").filter(has_text=option)).to_be_visible()
    page.keyboard.press("Escape")


def test_two_methods_with_two_seeds_are_launched_from_a_copy(
    page: Page, stack: Any, api: Api, origin: dict[str, Any], scheme: str
) -> None:
    page.goto(f"{stack.ui_url}/new_run?clone={origin['id']}")
    expect(page.get_by_text("A copy of an *origin*")).to_be_visible()
    expect(page.get_by_text("The same settings as")).to_be_visible()
    expect(page.get_by_text("Time: about")).to_be_visible()
    seeds = page.get_by_role("textbox", name="Seeds")
    seeds.fill("1-2" if scheme == "light" else "3-4")
    seeds.press("Enter")
    expect(page.get_by_role("button", name="Launch 2 runs")).to_be_enabled()
    choose(page, "Also train with", "Multi-head")
    page.get_by_role("button", name="Launch 4 runs").click()
    page.wait_for_url(re.compile(r"/compare\?"))
    expect(page.get_by_text("4 runs launched, tagged set-")).to_be_visible()
    runs = parse_qs(urlsplit(page.url).query)["runs"][0].split(",")
    made = [api.get(f"/runs/{run}") for run in runs]
    assert len({run["id"] for run in made}) == 4
    assert {run["spec"]["objective"]["kind"] for run in made} == {"joint", "multi-head"}
    assert len({run["spec"]["seed"] for run in made}) == 2
    assert len({tuple(run["tags"]) for run in made}) == 1
    assert {run["spec"]["epochs"] for run in made} == {2}
    page.go_back()
    page.wait_for_url(re.compile(rf"/new_run\?clone={origin['id']}&launch="))
    expect(page.get_by_role("button", name="Launch 4 runs")).to_be_enabled()
    for run in made:
        api.http.post(f"/runs/{run['id']}/cancel")


def test_settings_that_do_not_go_together_are_told_beside_the_field(
    page: Page, stack: Any, origin: dict[str, Any]
) -> None:
    page.goto(f"{stack.ui_url}/new_run?clone={origin['id']}&objective=gmm-adaptive")
    expect(page.get_by_role("button", name="Launch", exact=True)).to_be_enabled()
    fill(page, "Warm-up epochs", "9")
    expect(page.get_by_text("These settings cannot be launched")).to_be_visible()
    expect(page.get_by_role("button", name="Launch", exact=True)).to_be_disabled()
    fill(page, "Warm-up epochs", "1")
    expect(page.get_by_role("button", name="Launch", exact=True)).to_be_enabled()
    expect(page.get_by_text("These settings cannot be launched")).to_have_count(0)


def test_another_method_has_its_own_settings_and_what_is_wrong_in_them_is_told_there(
    page: Page, stack: Any, origin: dict[str, Any]
) -> None:
    page.goto(f"{stack.ui_url}/new_run?clone={origin['id']}")
    expect(page.get_by_role("button", name="Launch", exact=True)).to_be_enabled()
    choose(page, "Also train with", "GMM-guided adaptive")
    expect(page.get_by_role("button", name="Launch 2 runs")).to_be_visible()
    page.get_by_test_id("stExpander").filter(has_text="GMM-guided adaptive loss").locator("summary").click()
    fill(page, "Warm-up epochs", "9")
    expect(page.get_by_text("Warm-up epochs is 9, the run has 2 epochs")).to_be_visible()
    expect(page.get_by_role("button", name="Launch 2 runs")).to_be_disabled()
    page.get_by_role("button", name="Changed; reset to automatic").click()
    expect(page.get_by_role("button", name="Launch 2 runs")).to_be_enabled()


def test_a_launch_that_is_sent_again_after_a_reload_starts_no_second_run(
    page: Page, stack: Any, api: Api, origin: dict[str, Any]
) -> None:
    made = []
    for _ in range(2):
        page.goto(f"{stack.ui_url}/new_run?clone={origin['id']}&launch={'5eed' * 8}")
        page.get_by_role("button", name="Launch", exact=True).click()
        page.wait_for_url(re.compile(r"/run\?"))
        made.append(parse_qs(urlsplit(page.url).query)["run"][0])
    assert made[0] == made[1] != origin["id"]
    api.http.post(f"/runs/{made[0]}/cancel")
