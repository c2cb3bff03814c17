"""Page: a new run. A preset to start from, the form of the API's schema, one launch for several seeds and methods."""

from __future__ import annotations

from typing import Any, Final

import streamlit as st

from frontend.ui import links
from frontend.ui.form import Form
from frontend.ui.once import first_press
from frontend.ui.schema import Field, label_of, message, place_all, read, seeds_of
from frontend.ui.service import catalog, client, show_error
from worker.contract.errors import FieldProblem, GapscopeError

CATEGORIES: Final = {
    "dataset": "datasets",
    "encoder": "encoders",
    "fusion": "fusions",
    "objective": "objectives",
    "optimizer": "optimizers",
    "schedule": "schedules",
}
FIRST: Final = ("name", "tags", "epochs", "batch_size")
REFERENCE: Final = ("A dataset that is registered already", "Choose one that the Datasets page lists.")


def page() -> None:
    """Draws the page."""
    st.title("New run", anchor=False)
    known = catalog()
    fields = {item.name: item for item in read(known["run_schema"])}
    start = _preset(known)
    error: GapscopeError | None = st.session_state.get("launch_error")
    placed, rest = place_all((error.errors if error else None) or (), fields.values())
    form = Form(
        prefix=f"new.{st.session_state['preset']}",
        errors=placed,
        titles=titles_of(known),
        options={"dataset.id": _datasets()},
        hidden=frozenset({"seed"}),
    )
    spec = _draw(form, fields, start)
    _launch(spec, fields, form, start, error, rest)


def titles_of(known: dict[str, Any]) -> dict[tuple[str, str], tuple[str, str]]:
    """Returns title and summary of every kind of the catalog, by the spec's field and the kind."""
    titles = {
        (name, kind): (entry["title"], entry["summary"])
        for name, category in CATEGORIES.items()
        for kind, entry in known.get(category, {}).items()
    }
    return {**titles, ("dataset", "reference"): REFERENCE}


def _preset(known: dict[str, Any]) -> dict[str, Any]:
    """Draws the presets and returns the spec to start from."""
    presets = {preset["id"]: preset for preset in known["presets"]}
    asked = st.query_params.get("preset")
    if "preset" not in st.session_state:
        st.session_state["preset"] = asked if asked in presets else next(iter(presets), "")
    chosen = st.pills(
        "Start from",
        list(presets),
        key="preset_pills",
        default=st.session_state["preset"],
        required=True,
        format_func=lambda one: presets[one]["title"],
        help="Fills the form; everything can be changed.",
    )
    if chosen and chosen != st.session_state["preset"]:
        st.session_state["preset"] = chosen
        st.session_state.pop("launch_error", None)
    spec: dict[str, Any] = presets[st.session_state["preset"]]["spec"] if presets else {}
    return spec


def _datasets() -> dict[str, str]:
    """Returns the registered datasets: id to words."""
    return {item.id: f"{item.id} ({item.kind}, {item.state})" for item in client().datasets().items}


def _draw(form: Form, fields: dict[str, Field], start: dict[str, Any]) -> dict[str, Any]:
    """Draws the form's parts and returns the spec."""
    spec: dict[str, Any] = {}
    left, right = st.columns(2, gap="medium")
    for column, name, title in ((left, "dataset", "Data"), (right, "objective", "Training method")):
        with column.container(border=True, height="stretch", key=f"part_{name}"):
            st.markdown(f"##### {title}")
            spec[name] = form.draw(fields[name], start.get(name, {}) or {})
    with st.container(border=True, key="part_first"):
        st.markdown("##### Run")
        spec |= form.fields(tuple(fields[name] for name in FIRST if name in fields), start, columns=4)
    with st.expander("Model: encoders and fusion", icon=":material/hub:"):
        for name in ("encoder", "fusion"):
            spec[name] = form.draw(fields[name], start.get(name, {}))
    with st.expander("Optimizer, schedule, device and precision", icon=":material/tune:"):
        for name in ("optimizer", "schedule"):
            spec[name] = form.draw(fields[name], start.get(name, {}))
        rest = tuple(item for name, item in fields.items() if name not in spec and name not in form.hidden)
        spec |= form.fields(rest, start)
    return spec


def _launch(
    spec: dict[str, Any],
    fields: dict[str, Field],
    form: Form,
    start: dict[str, Any],
    error: GapscopeError | None,
    rest: list[FieldProblem],
) -> None:
    """Draws seeds, further methods and the button, and launches."""
    with st.container(border=True, key="part_launch"):
        st.markdown("##### Launch")
        seeds_column, methods_column = st.columns([1, 2])
        text = seeds_column.text_input(
            "Seeds", str(start.get("seed", 0)), key=f"{form.prefix}.seeds", help="One run a seed: 0, 1 or 0-4."
        )
        others = [kind for kind in fields["objective"].variants if kind != spec["objective"].get("kind")]
        extra = methods_column.multiselect(
            "Also train with",
            others,
            key=f"{form.prefix}.also",
            format_func=lambda kind: form.titles.get(("objective", kind), (kind, ""))[0],
            help="The same run again with these methods at their default settings, to compare.",
            placeholder="No other method",
        )
        try:
            specs = combinations(spec, seeds_of(text), extra)
        except ValueError as mistake:
            st.markdown(f":red[:material/error: Seeds: {mistake}.]")
            specs = []
        label = "Launch" if len(specs) <= 1 else f"Launch {len(specs)} runs"
        if error:
            if repr(specs) != st.session_state.get("launch_refused"):  # the form has changed since: no longer true
                st.session_state.pop("launch_error")
                st.rerun()
            _refusal(error, form, rest)
        if st.button(
            label, key="launch", type="primary", icon=":material/rocket_launch:", disabled=not specs
        ) and first_press(repr(specs)):
            _send(specs)


def _refusal(error: GapscopeError, form: Form, rest: list[FieldProblem]) -> None:
    """Says why the API refused the launch: beside the fields where it can, here what belongs to none."""
    if not form.errors:
        show_error(error)
        return
    where = ", ".join(sorted({label_of(path.split(".")[0]) for path in form.errors}))
    lines = [f"Not launched. See the message beside: **{where}**.", *(f"`{one.field}`: {message(one)}" for one in rest)]
    st.error("\n\n".join(lines), icon=":material/error:")


def combinations(spec: dict[str, Any], seeds: list[int], extra: list[str]) -> list[dict[str, Any]]:
    """Returns a spec for each seed and method: the form's method, then those at their defaults."""
    objectives = [spec["objective"], *({"kind": kind} for kind in extra)]
    return [{**spec, "objective": objective, "seed": seed} for objective in objectives for seed in seeds]


def _send(specs: list[dict[str, Any]]) -> None:
    """Launches; the first refusal stops and is shown beside its field."""
    st.session_state.pop("launch_error", None)
    made = []
    try:
        for spec in specs:
            made.append(client().create_run(spec).id)
    except GapscopeError as error:
        st.session_state["launch_error"] = error
        st.session_state["launch_refused"] = repr(specs)
        st.rerun()
    st.session_state["told"] = "Launched." if len(made) == 1 else f"{len(made)} runs launched."
    if len(made) == 1:
        links.go("run", run=made[0])
    links.go("runs")
