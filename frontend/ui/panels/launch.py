"""The end of the New run page: what the runs will take, whether they can be launched, and the launch of all of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

import streamlit as st

from frontend.ui import links, sessions, words
from frontend.ui.launch_code import as_command, as_python, as_request
from frontend.ui.launching import Launch, group_of, outlook_of
from frontend.ui.once import first_press
from frontend.ui.schema import label_of, message
from frontend.ui.service import api_key, api_url, client, public_url, show_error
from frontend.ui.starting import Draft
from worker.contract.errors import FieldProblem, GapscopeError, InvalidRequestError, Problem
from worker.contract.resources import RunEstimate

TOKEN: Final = "new.token"
"""Of the launch that is prepared. In the address too, once it is under way: a page that is loaded again goes on."""
IN_ADDRESS: Final = "launch"
DRAFTS: Final = "new.drafts"
"""What the forms of this session said: token of the launch -> draft."""
LEFT: Final = "new.left"
"""The address of this page when a launch led away from it."""
ELSEWHERE: Final = ("run", "runs")
"""Parameters of the pages to which a launch leads."""
FAILED: Final = "new.failed"
MOST_COMPARED: Final = 50
"""Runs that the Compare page takes."""


@dataclass(frozen=True)
class Check:
    """What the API says of a spec before it is launched."""

    estimate: RunEstimate | None = None
    refusal: Problem | None = None

    @property
    def errors(self) -> Sequence[FieldProblem]:
        """The fields at fault."""
        return (self.refusal.errors if self.refusal else None) or ()


@dataclass(frozen=True)
class _Failed:
    """A launch that an error of the API ended before its last run."""

    launch: Launch
    made: tuple[str, ...]
    error: GapscopeError


def check(spec: dict[str, Any]) -> Check:
    """Returns what the API says of a spec; asked once for each."""
    return _checked(json.dumps(spec, sort_keys=True), api_url(), api_key())


@st.cache_data(ttl=30, max_entries=256, show_spinner=False)
def _checked(text: str, url: str, key: str | None) -> Check:
    del url, key  # part of the cache's key
    try:
        return Check(estimate=client().estimate_run(json.loads(text)))
    except InvalidRequestError as error:
        return Check(refusal=error.problem())


def dataset_id(dataset: dict[str, Any]) -> str | None:
    """Returns the id of the dataset that a form describes, whatever else is wrong; None where it is not valid."""
    if "kind" not in dataset:
        return dataset.get("id")
    estimate = check({"dataset": dataset}).estimate
    return estimate.dataset_id if estimate else None


def token() -> str:
    """Returns the token of the launch that this page prepares."""
    given = st.query_params.get(IN_ADDRESS, "")
    if TOKEN not in st.session_state:
        is_open = given.isalnum() and len(given) == 32 and given not in st.session_state.get(DRAFTS, {})
        st.session_state[TOKEN] = given if is_open else uuid4().hex
    return str(st.session_state[TOKEN])


def come_back() -> None:
    """Gives the page its own address again, where Back led to the one that Streamlit makes on the way elsewhere.

    A jump to another page first puts that page's parameters behind this page's path: an entry of the history.
    """
    if LEFT in st.session_state and any(name in st.query_params for name in ELSEWHERE):
        st.query_params.from_dict(st.session_state[LEFT])


def draft() -> tuple[str, Draft] | None:
    """Returns the launch that the address names, with what was launched, where that was done in this session."""
    given = st.query_params.get(IN_ADDRESS, "")
    drafts: dict[str, Draft] = st.session_state.get(DRAFTS, {})
    return (given, drafts[given]) if given in drafts and given != st.session_state.get(TOKEN) else None


def keep(token: str, draft: Draft) -> None:
    """Keeps what the form says, for the way back from its launch."""
    st.session_state.setdefault(DRAFTS, {})[token] = draft


def interrupted() -> None:
    """Says, where a launch of several was cut off by a reload, which of its runs are launched."""
    if st.query_params.get(IN_ADDRESS) != token() or FAILED in st.session_state:
        return
    group = group_of(token())
    made = client().runs(tag=group, limit=MOST_COMPARED).items
    if made:
        st.warning(
            f"A launch was interrupted: {words.count(len(made), 'run')} of it, tagged {group}, "
            f"{'is' if len(made) == 1 else 'are'} launched. The same settings can be launched again: none of them is "
            "started twice.",
            icon=":material/info:",
        )
        links.link("runs", "Show them", icon=":material/table_rows:", tag=group)


def outlook(estimates: Sequence[RunEstimate], num_seeds: int) -> str | None:
    """Says what the runs will take, and returns why they cannot be launched, if so.

    Args:
        estimates: one a method.
        num_seeds: runs of each method.
    """
    found = outlook_of(estimates, num_seeds)
    if found is None:
        return None
    st.caption("  \n".join(words.plain(line) for line in found.lines))
    if found.warning is not None:
        st.warning(words.plain(found.warning), icon=":material/memory:")
    return found.obstacle


def refusal(problem: Problem, placed: Mapping[str, str], rest: Sequence[FieldProblem]) -> None:
    """Says why these settings cannot be launched: beside the fields where it can, here what belongs to none."""
    if not placed:
        for one in rest:
            said = words.plain(message(one) if one.sentence != problem.detail else f"{one.sentence} {one.remedy}")
            st.error(said, icon=":material/error:")
        if not rest:
            st.error(f"**{words.plain(problem.title)}**  \n{words.plain(problem.detail)}", icon=":material/error:")
        return
    where = ", ".join(sorted({label_of(path.split(".")[0]) for path in placed}))
    lines = [f"These settings cannot be launched. See the message beside: **{where}**."]
    lines += [f"`{one.field}`: {words.plain(message(one))}" for one in rest]
    st.error("\n\n".join(lines), icon=":material/error:")


def buttons(launch: Launch | None, *, can: bool) -> None:
    """Draws the button that launches, and the same launch as code."""
    num_runs = len(launch.specs) if launch else 0
    label = "Launch" if num_runs <= 1 else f"Launch {num_runs} runs"
    with st.container(horizontal=True, vertical_alignment="center"):
        pressed = st.button(
            label, key="launch", type="primary", icon=":material/rocket_launch:", disabled=launch is None or not can
        )
        if launch is not None:
            code = st.popover("As code", icon=":material/code:", on_change="rerun", key="launch_code")
            if code.open:
                with code:
                    _code(launch)
    if launch is None:
        return
    if pressed and first_press(repr(launch)):
        _send(launch)
    failed: _Failed | None = st.session_state.get(FAILED)
    if failed is not None and failed.launch == launch:  # else the form has changed since: no longer true
        _not_all_sent(failed)


def _code(launch: Launch) -> None:
    url = public_url()
    for title, text, language in (
        ("Command line", as_command(launch.specs), "bash"),
        ("REST", as_request(launch.specs, url, needs_key=sessions.needs_login()), "bash"),
        ("Python", as_python(launch.specs, url), "python"),
    ):
        st.markdown(f"###### {title}", anchors=False)
        st.code(text, language=language, height=240 if len(text) > 2_000 else "content")


def _send(launch: Launch) -> None:
    """Launches all runs; the first error stops. What is sent again under its key is not launched again."""
    before: _Failed | None = st.session_state.pop(FAILED, None)
    made = list(before.made) if before is not None and before.launch == launch else []
    st.query_params[IN_ADDRESS] = launch.token
    try:
        with st.spinner("Launching …"):
            for index in range(len(made), len(launch.specs)):
                made.append(client().create_run(launch.specs[index], key=launch.key(index)).id)
    except GapscopeError as error:
        st.session_state[FAILED] = _Failed(launch, tuple(made), error)
        st.rerun()
    st.session_state.pop(TOKEN, None)
    st.session_state[LEFT] = st.query_params.to_dict()
    if len(made) == 1:
        st.session_state["told"] = "Launched."
        links.go("run", run=made[0])
    st.session_state["told"] = f"{len(made)} runs launched, tagged {launch.group}."
    if len(made) > MOST_COMPARED:
        links.go("runs", tag=launch.group)
    links.go("compare", runs=",".join(made))


def _not_all_sent(failed: _Failed) -> None:
    if failed.made:
        missing = [
            f"{spec['objective']['kind']}, seed {spec['seed']}" for spec in failed.launch.specs[len(failed.made) :]
        ]
        st.warning(
            f"{len(failed.made)} of {len(failed.launch.specs)} runs are launched, tagged {failed.launch.group}. Not "
            f"launched: {words.plain('; '.join(missing))}. Launch again: only these are started.",
            icon=":material/info:",
        )
        links.link("runs", "Show those launched", icon=":material/table_rows:", tag=failed.launch.group)
    show_error(failed.error)
