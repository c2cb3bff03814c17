"""Part of the New run page: seeds, and the methods that are trained besides, each with its own settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import streamlit as st

from frontend.ui import words
from frontend.ui.form import Form
from frontend.ui.panels.launch import Check
from frontend.ui.schema import MISSING, Field, initial, message, place_all, same, seeds_of
from worker.contract.errors import FieldProblem

OBJECTIVE: Final = "objective"


def inside(at_fault: bool, num_changed: int) -> None:
    """Says under a closed part of the form what is in it."""
    if at_fault:
        st.markdown(":red[:material/error: Something in it is wrong: open it for the message.]")
    elif num_changed:
        st.caption(f":material/edit: {words.count(num_changed, 'setting')} changed in it.")


def seeds(prefix: str, first: Sequence[int]) -> list[int]:
    """Draws the seeds and returns them; none where they cannot be read."""
    text = st.text_input(
        "Seeds", ", ".join(map(str, first)), key=f"{prefix}.seeds", help="One run a seed: 0, 1 or 0-4."
    )
    try:
        return seeds_of(text)
    except ValueError as mistake:
        st.markdown(f":red[:material/error: Seeds: {words.plain(mistake)}.]")
        return []


def choose(form: Form, item: Field, main: str, first: Sequence[Mapping[str, Any]]) -> list[str]:
    """Draws the choice of the methods that are trained besides, and returns their kinds.

    Args:
        form: of the page.
        item: the field of the method.
        main: kind of the method that is trained in any case.
        first: the methods, with their settings, that are chosen at first.
    """
    for one in first:
        settings = {name: value for name, value in one.items() if name != "kind"}
        st.session_state.setdefault(f"{form.prefix}.also.{one['kind']}.kept", settings)
    offered = [kind for kind in item.variants if kind != main]
    return st.multiselect(
        "Also train with",
        offered,
        [one["kind"] for one in first if one["kind"] in offered],
        key=f"{form.prefix}.also",
        format_func=lambda kind: form.titles.get((OBJECTIVE, kind), (kind, ""))[0],
        help="The same run with these methods besides, to compare. Each has its own settings below.",
        placeholder="No other method",
    )


def settings(form: Form, item: Field, kinds: Sequence[str], seen: Mapping[str, Check]) -> list[dict[str, Any]]:
    """Draws the settings of the methods that are trained besides, and returns them.

    Args:
        form: of the page.
        item: the field of the method.
        kinds: of the methods.
        seen: what the API said of the run with each method, the page's own first.
    """
    shared = next(iter(seen.values()), Check()).errors  # told beside the page's own fields
    own = {kind: [one for one in seen.get(kind, Check()).errors if one not in shared] for kind in kinds}
    return [_settings(form, item, kind, own[kind]) for kind in kinds]


def _settings(form: Form, item: Field, kind: str, errors: Sequence[FieldProblem]) -> dict[str, Any]:
    """Draws a method's settings, closed at first; those of before while they are closed."""
    chosen = item.variants[kind]
    placed, rest = place_all(errors, chosen.fields)
    own = replace(form, prefix=f"{form.prefix}.also.{kind}", errors=placed)
    kept_key = f"{own.prefix}.kept"
    kept: dict[str, Any] = st.session_state.get(kept_key, {})
    changed = [one for one in chosen.fields if one.name in kept and not same(kept[one.name], initial(one, MISSING))]
    title, summary = form.titles.get((OBJECTIVE, kind), (kind, ""))
    box = st.expander(
        title,  # always the same: an expander with another label is another one, and closed
        icon=":material/science:",
        key=f"{own.prefix}.section",
        expanded=any(one.required for one in chosen.fields),
        on_change="rerun",
    )
    if not box.open:
        inside(bool(errors), len(changed))
        return {"kind": kind, **kept}
    with box:
        st.caption(summary)
        made = own.fields(chosen.fields, kept, base={})
        for one in rest:
            st.markdown(f":red[:material/error: {words.plain(one.field)}: {words.plain(message(one))}]")
    st.session_state[kept_key] = made
    return {"kind": kind, **made}
