"""Page: a new run. A preset, another run or a subset to start from, the form of the API's schema, one launch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import streamlit as st

from frontend.ui import links, offers, starting, words
from frontend.ui.form import Form
from frontend.ui.launching import Launch, launch_of
from frontend.ui.panels import launch, launch_methods
from frontend.ui.panels.launch import Check
from frontend.ui.schema import Field, label_of, place_all, read
from frontend.ui.service import catalog, client, show_error
from frontend.ui.starting import Draft, Start
from worker.contract.errors import GapscopeError

CATEGORIES: Final = {
    "dataset": "datasets",
    "encoder": "encoders",
    "fusion": "fusions",
    "objective": "objectives",
    "optimizer": "optimizers",
    "schedule": "schedules",
}
FIRST: Final = ("name", "tags", "epochs", "batch_size")
MODEL: Final = ("encoder", "fusion")
OPTIMIZATION: Final = ("optimizer", "schedule")
BUILDS_ON: Final = ("subset", "start_from", "start_weights")
REFERENCE: Final = ("A dataset that is registered already", "Choose one that the Datasets page lists.")
CHECKED: Final = "new.checked"
"""What the API said of the settings that the form made last: method -> check."""


def page() -> None:
    """Draws the page."""
    st.title("New run", anchor=False)
    launch.come_back()
    launch.interrupted()
    known = catalog()
    fields = {item.name: item for item in read(known["run_schema"])}
    start = _start(known)
    if start is None:
        return
    back = launch.draft()
    given = start if back is None else starting.of_draft(start, *back)
    seen: dict[str, Check] = st.session_state.get(CHECKED, {})
    first = next(iter(seen.values()), Check())
    placed, rest = place_all(first.errors, fields.values())
    form = Form(
        prefix=f"new.{given.key}",
        errors=placed,
        titles=titles_of(known),
        options={"dataset.id": offers.datasets()},
        hidden=frozenset({"seed"}),
    )
    spec = _draw(form, fields, given.spec, start.spec)
    draft = back[1] if back else Draft({}, (), (int(start.spec.get("seed", 0)),))
    with st.container(border=True, key="part_launch"):
        _launch(spec, fields["objective"], form, start, draft, seen)
        if first.refusal is not None:
            launch.refusal(first.refusal, dict(placed), rest)


def _launch(
    spec: dict[str, Any], objective: Field, form: Form, start: Start, draft: Draft, seen: dict[str, Check]
) -> None:
    """Draws the launch; when the API says something else of the settings than before, the form is drawn anew."""
    st.markdown("##### Launch", anchors=False)
    left, right = st.columns([1, 2])
    with left:
        seeds = launch_methods.seeds(form.prefix, draft.seeds)
    with right:
        kinds = launch_methods.choose(form, objective, spec["objective"]["kind"], draft.others)
    offering = replace(form, options=offers.Offers(form.options, launch.dataset_id(spec["dataset"])))
    objectives = [spec["objective"], *launch_methods.settings(offering, objective, kinds, seen)]
    if start.origin is not None:
        _differences(start, {**spec, "seed": seeds[0] if len(seeds) == 1 else start.origin["seed"]})
    prepared = launch_of(spec, objectives, seeds, launch.token()) if seeds else None
    if prepared is not None:
        launch.keep(prepared.token, Draft(spec, tuple(objectives[1:]), tuple(seeds)))
    said = _checks(prepared, len(seeds))
    if {kind: one.errors for kind, one in said.items()} != {kind: one.errors for kind, one in seen.items()}:
        st.session_state[CHECKED] = said
        st.rerun()
    estimates = [one.estimate for one in said.values() if one.estimate is not None]
    obstacle = launch.outlook(estimates, len(seeds))
    if starting.is_placeholder(spec["dataset"]):
        obstacle = "Name the folder of the dataset first: its path is still the placeholder of the preset."
    if obstacle is not None:
        st.error(words.plain(obstacle), icon=":material/error:")
    wrong = [kind for kind, one in said.items() if one.refusal is not None]
    if wrong and wrong[0] != spec["objective"]["kind"]:
        names = ", ".join(form.titles.get(("objective", kind), (kind, ""))[0] for kind in wrong)
        st.error(f"These settings cannot be launched. See the message inside: **{names}**.", icon=":material/error:")
    launch.buttons(prepared, can=not wrong and obstacle is None and len(said) == len(objectives))


def _checks(prepared: Launch | None, num_seeds: int) -> dict[str, Check]:
    """Returns what the API says of the first run of each method; nothing where it does not answer."""
    try:
        first = prepared.specs[::num_seeds] if prepared else ()
        return {spec["objective"]["kind"]: launch.check(spec) for spec in first}
    except GapscopeError as error:
        show_error(error)
        return {}


def _differences(start: Start, spec: dict[str, Any]) -> None:
    assert start.origin is not None
    found = starting.differences(start.origin, spec)
    if not found:
        st.caption(f"The same settings as {words.plain(start.title)}.")
        return
    told = [
        f"{label_of(name.rpartition('.')[2])} {words.plain(old)} → **{words.plain(new)}**" for name, old, new in found
    ]
    st.caption(f"Other than {words.plain(start.title)}: " + " · ".join(told))


def titles_of(known: dict[str, Any]) -> dict[tuple[str, str], tuple[str, str]]:
    """Returns title and summary of every kind of the catalog, by the spec's field and the kind."""
    titles = {
        (name, kind): (entry["title"], entry["summary"])
        for name, category in CATEGORIES.items()
        for kind, entry in known.get(category, {}).items()
    }
    for kind, entry in known.get("objectives", {}).items():
        titles[("objective", kind)] = (entry["title"], f"{entry['summary']} ({entry['evidence'].capitalize()}.)")
    return {**titles, ("dataset", "reference"): REFERENCE}


def _start(known: dict[str, Any]) -> Start | None:
    """Returns what the address asks to start from, or the preset that is chosen; None where it is not there."""
    asked = st.query_params
    try:
        if "subset" in asked:
            subset = client().subset(asked["subset"])
            base = client().run(asked.get("start_from") or subset.run_id)
            return _copying(starting.of_subset(base, subset, start_from="start_from" in asked), "Trains on")
        if "clone" in asked:
            run = client().run(asked["clone"])
            return _copying(starting.of_run(run, asked.get("objective")), "A copy of")
    except GapscopeError as error:
        show_error(error)
        st.button("Start from a preset", on_click=_from_preset, key="from_preset")
        return None
    return _preset(known)


def _copying(start: Start, lead: str) -> Start:
    with st.container(horizontal=True, vertical_alignment="center", key="start_from"):
        st.badge(f"{lead} {words.plain(start.title)}", icon=":material/content_copy:")
        st.button("Start from a preset instead", type="tertiary", on_click=_from_preset, key="from_preset")
    return start


def _from_preset() -> None:
    for name in ("clone", "objective", "subset", "start_from"):
        st.query_params.pop(name, None)


def _preset(known: dict[str, Any]) -> Start:
    """Draws the presets and returns the chosen one, which stands in the address."""
    presets = {preset["id"]: preset for preset in known["presets"]}
    asked = st.query_params.get("preset", "")
    chosen = st.pills(
        "Start from",
        list(presets),
        key="preset_pills",
        default=asked if asked in presets else next(iter(presets)),
        required=True,
        format_func=lambda one: presets[one]["title"],
        help="Fills the form; everything can be changed.",
    )
    if chosen != asked:
        st.query_params["preset"] = chosen
    start = starting.of_preset(presets[chosen], client().datasets(limit=offers.MOST).items)
    if start.needs is not None:
        title = known["datasets"][start.needs]["title"]
        with st.container(border=True, key="preset_needs"):
            st.markdown(
                f":material/info: This preset trains on **{title}**, which is not registered here yet. Register it on "
                "the page Datasets, or name below the folder where the worker finds it."
            )
            links.link("datasets", f"Register {title}", icon=":material/database:")
    return start


def _draw(form: Form, fields: dict[str, Field], given: dict[str, Any], base: dict[str, Any]) -> dict[str, Any]:
    """Draws the form's parts and returns the spec. What is closed is not drawn and keeps its values.

    Args:
        form: how it is drawn.
        fields: of a run, by name.
        given: the values at first.
        base: those that changes are told from.
    """
    spec: dict[str, Any] = {}
    left, right = st.columns(2, gap="medium")
    with left.container(border=True, height="stretch", key="part_dataset"):
        st.markdown("##### Data", anchors=False)
        spec["dataset"] = form.draw(fields["dataset"], given.get("dataset", {}), base.get("dataset", {}))
    # Runs and subsets are offered of this dataset alone.
    form = replace(form, options=offers.Offers(form.options, launch.dataset_id(spec["dataset"])))
    with right.container(border=True, height="stretch", key="part_objective"):
        st.markdown("##### Training method", anchors=False)
        spec["objective"] = form.draw(fields["objective"], given.get("objective", {}), base.get("objective", {}))
    with st.container(border=True, key="part_first"):
        st.markdown("##### Run", anchors=False)
        first = (*FIRST, *offers.devices())
        spec |= form.fields(tuple(fields[name] for name in first if name in fields), given, columns=4, base=base)

    def parts(names: tuple[str, ...]) -> Callable[[dict[str, Any]], dict[str, Any]]:
        return lambda kept: {name: form.draw(fields[name], kept.get(name, {}), base.get(name, {})) for name in names}

    def plain(names: tuple[str, ...]) -> Callable[[dict[str, Any]], dict[str, Any]]:
        return lambda kept: form.fields(tuple(fields[name] for name in names), kept, base=base)

    rest = tuple(
        name for name in fields if name not in (*spec, *MODEL, *OPTIMIZATION, *BUILDS_ON) and name not in form.hidden
    )
    builds_on = tuple(name for name in BUILDS_ON if name in fields)
    for title, icon, names, draw in (
        ("Model: encoders and fusion", "hub", MODEL, parts(MODEL)),
        ("Optimizer and schedule", "tune", OPTIMIZATION, parts(OPTIMIZATION)),
        ("Builds on: a subset, the weights of another run", "account_tree", builds_on, plain(builds_on)),
        (
            f"{'Device, precision' if 'device' in rest else 'Precision'}, stopping and the rest",
            "memory",
            rest,
            plain(rest),
        ),
    ):
        spec |= _section(form, title, icon, names, draw, given, base)
    return spec


def _section(
    form: Form,
    title: str,
    icon: str,
    names: tuple[str, ...],
    draw: Callable[[dict[str, Any]], dict[str, Any]],
    given: dict[str, Any],
    base: dict[str, Any],
) -> dict[str, Any]:
    """Draws a part of the form that is closed at first; returns its values, those of before while it is closed."""
    kept_key = f"{form.prefix}.kept.{title}"
    first = {name: given[name] for name in names if name in given}
    kept: dict[str, Any] = st.session_state.get(kept_key) or first
    before = {name: base[name] for name in names if name in base}
    at_fault = any(path.split(".")[0] in names for path in form.errors)
    changed = starting.differences(before, kept)
    # The label stays the same: an expander with another one is another one, and closed.
    box = st.expander(title, icon=f":material/{icon}:", key=f"{form.prefix}.section.{icon}", on_change="rerun")
    if not box.open:
        launch_methods.inside(at_fault, len(changed))
        return kept
    with box:
        made = draw(kept)
    st.session_state[kept_key] = made
    return made
