"""Two runs clip by clip: McNemar's tests, and the clips that changed, which open with a click."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import streamlit as st

from frontend.ui import comparing, words
from frontend.ui.comparing import Side
from frontend.ui.links import link
from frontend.ui.paging import Pager
from frontend.ui.service import client

PAGE_SIZE: Final = 25
CHANGES: Final = {
    "any": "Anything",
    "group": "Group",
    "fused": "Fused right or wrong",
    "audio": "Audio right or wrong",
    "visual": "Visual right or wrong",
}
TEST_HELP: Final = (
    "McNemar's test: of the clips that only one of the two runs has right, are there as many on each side? Exact "
    "(binomial) for up to 1,000 such clips, chi-squared with continuity correction above. It speaks of these two "
    "trained models on these clips, not of the methods: those are compared over seeds."
)


def draw(sides: Sequence[Side], names: Mapping[str, str], split: str, epoch: int) -> None:
    """Draws the section; every choice stands in the address."""
    ids = [side.run.id for side in sides]
    with st.container(border=True, key="compare_pairs"):
        st.markdown("##### Clip by clip", help=TEST_HELP, anchors=False)
        left, right = st.columns(2, gap="medium")
        with left:
            first = chosen("first", "One run", ids, names)
        found = client().compare_pairs([first, *(one for one in ids if one != first)], split=split, epoch=epoch)
        _tests(found, names)
        able = [item["second"] for item in found["items"] if item["reason"] is None]
        if not able:
            return
        with right:
            second = chosen("second", "Clips that changed against", able, names)
        _changes(first, second, names, split, epoch)


def chosen(name: str, label: str, options: Sequence[str], names: Mapping[str, str]) -> str:
    """Draws a choice that stands in the address under its name, and returns it."""
    asked = st.query_params.get(name)
    key = f"compare_{name}"
    st.session_state[key] = asked if asked in options else options[0]

    def keep() -> None:
        st.query_params[name] = st.session_state[key]

    picked = st.selectbox(label, options, key=key, format_func=lambda one: words.plain(names[one]), on_change=keep)
    return str(picked)


def _tests(found: Mapping[str, Any], names: Mapping[str, str]) -> None:
    for item in found["items"]:
        if item["reason"] is not None:
            reason = named(item["reason"], names)
            st.warning(
                f"{words.plain(names[item['second']])}: cannot be compared clip by clip. {words.plain(reason)}",
                icon=":material/link_off:",
            )
    table = comparing.pair_table(found["items"], names)
    if table.empty:
        return
    number = st.column_config.NumberColumn
    st.dataframe(
        table,
        hide_index=True,
        key="compare_tests",
        column_config={
            "other": "Other run",
            "prediction": "Prediction",
            "clips": number("Clips"),
            "both_right": number("Both right"),
            "only_first_right": number("Only this one right"),
            "only_second_right": number("Only the other right"),
            "both_wrong": number("Both wrong"),
            "p": "p",
            "p_holm": st.column_config.TextColumn("p (Holm)", help="Corrected for the number of tests in this table."),
            "test": "Test",
        },
    )
    if found["num_tests"] > 1:
        st.caption(
            f"{found['num_tests']} tests are made here: of so many, some have a small p by chance. Judge by p (Holm)."
        )


def named(reason: str, names: Mapping[str, str]) -> str:
    """Returns a reason of the API with the runs' names in place of their ids."""
    for run_id, name in names.items():
        reason = reason.replace(run_id, f"“{name}”")
    return reason


def _changes(first: str, second: str, names: Mapping[str, str], split: str, epoch: int) -> None:
    asked = st.query_params.get("change", "any")
    st.session_state["compare_change"] = asked if asked in CHANGES else "any"
    change = st.segmented_control(
        "What changed",
        list(CHANGES),
        key="compare_change",
        format_func=lambda one: CHANGES[one],
        required=True,
        on_change=_keep_change,
    )
    filters = {"split": split, "epoch": epoch, "change": change}
    pager = Pager("changes", {"first": first, "second": second, **filters})
    page = client().compare_changes(first, second, limit=PAGE_SIZE, cursor=pager.cursor, **filters)
    st.caption(f"{words.count(page['total'], 'clip')} changed; widest change of the gap first. Tick one to open it.")
    if not page["items"]:
        return
    number = st.column_config.NumberColumn
    event = st.dataframe(
        comparing.change_table(page["items"]),
        hide_index=True,
        key=f"changes_{first}_{second}_{split}_{epoch}_{change}_{pager.number}",
        on_select="rerun",
        selection_mode="single-row",
        column_config={
            "clip": "Clip",
            "label": "True class",
            "group": "Group",
            "first_gap": number("Gap here", format="%+.3f"),
            "second_gap": number("Gap in the other", format="%+.3f"),
            **words.MODALITIES,
        },
    )
    pager.draw(page["next"])
    rows = event["selection"]["rows"]
    if rows and rows[0] < len(page["items"]):
        sample = page["items"][rows[0]]["sample_id"]
        with st.container(horizontal=True, key="compare_open"):
            for run_id in (first, second):
                link(
                    "run",
                    f"Open in {words.plain(names[run_id])}",
                    icon=":material/open_in_new:",
                    run=run_id,
                    tab="Samples",
                    sample=sample,
                    epoch=str(epoch),
                )


def _keep_change() -> None:
    st.query_params["change"] = st.session_state["compare_change"] or "any"
