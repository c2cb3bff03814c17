"""The filters of the Samples tab; each stands in the page's address, from where it comes back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import streamlit as st

from frontend.ui import quality, words
from frontend.ui.panels import epoch_controls
from frontend.ui.service import client
from worker.contract.annotations import AnnotationSummary
from worker.contract.errors import GapscopeError, NotFoundError

SORTS: Final = {
    "Widest gap": "-abs_gap",
    "Audio leads most": "-gap",
    "Visual leads most": "gap",
    "Most similar": "abs_gap",
    "Dominant group first": "-posterior_imbalanced",
    "Largest loss, fused": "-loss_fused",
    "Largest loss, audio": "-loss_audio",
    "Largest loss, visual": "-loss_visual",
    "Largest change of gap": "-abs_gap_change",
    "Moved most to audio": "-gap_change",
    "Moved most to visual": "gap_change",
    "Quietest sound": "loudness_dbfs",
    "Darkest picture": "luminance",
    "Most blurred picture": "sharpness",
    "Least motion": "motion",
}
CHANGES: Final = {"Became right": "became_right", "Became wrong": "became_wrong", "Either": "any"}
CORRECT: Final = ("fused_correct", "audio_correct", "visual_correct")
MAP_BOUNDS: Final = ("min_mean_gap", "max_mean_gap", "min_gap_deviation", "max_gap_deviation")
_WORDS: Final = {True: "right", False: "wrong"}


def number(name: str) -> float | None:
    """Returns a number of the page's address; None where there is none."""
    try:
        return float(st.query_params[name])
    except (KeyError, ValueError):
        return None


def truth(name: str) -> bool | None:
    """Returns a yes or no of the page's address; None where there is neither."""
    return {"true": True, "false": False}.get(st.query_params.get(name, ""))


def put(name: str, value: object | None) -> None:
    """Writes a filter into the page's address; None takes it out."""
    if value is None:
        st.query_params.pop(name, None)
    else:
        st.query_params[name] = str(value).lower() if isinstance(value, bool) else str(value)


def _choice(place: Any, title: str, name: str, options: Mapping[str, str], default: str | None = None) -> str | None:
    """Draws a choice that stands in the address and returns its value.

    Args:
        place: where.
        title: of the field.
        name: of the parameter.
        options: what people read -> what the API takes.
        default: what people read where nothing is chosen; None: nothing may be chosen.
    """
    key = f"samples_{name}"
    titles = {value: shown for shown, value in options.items()}
    if key not in st.session_state:
        st.session_state[key] = titles.get(st.query_params.get(name, ""), default)
    elif st.session_state[key] not in (*options, None):  # the list has changed since
        st.session_state[key] = default
    chosen = place.selectbox(
        title, list(options), placeholder="Any", key=key, on_change=_chosen, args=(name, key, dict(options), default),
        **({"index": None} if default is None else {}),
    )  # fmt: skip
    return options.get(chosen) if chosen else None


def _chosen(name: str, key: str, options: dict[str, str], default: str | None) -> None:
    chosen = st.session_state[key]
    put(name, None if chosen == default else options.get(chosen))


def draw(dataset_id: str, classes: list[str], newest: int, epoch: int, place: Any) -> dict[str, Any]:
    """Draws the filters beside the epoch and returns the API's parameters.

    Args:
        dataset_id: of the run.
        classes: of the run.
        newest: finished epochs.
        epoch: that is shown.
        place: four columns of the first line.
    """
    split = _choice(place[0], "Split", "split", epoch_controls.SPLIT_CHOICES, "Validation")
    label = _choice(place[1], "True class", "label", {name: name for name in classes})
    sort = _choice(place[2], "Order", "sort", SORTS, "Widest gap")
    fault = _choice(place[3], "Fault of the clip", "flag", {title: name for name, title in quality.FAULTS.items()})
    second = st.columns([1.3, 1.3, 1.3, 0.9, 1.3, 2.2], vertical_alignment="bottom")
    noted, tags = _known(dataset_id)
    note = _choice(second[0], "Note of the dataset", "noted", noted)
    tag = _choice(second[1], "Tag", "tag", tags)
    without = _choice(second[2], "Without tag", "without_tag", tags)
    made: dict[str, Any] = {
        "epoch": epoch, "split": split, "label": label, "sort": sort, "flag": fault, "noted": note, "tag": tag,
        "without_tag": without, "min_gap": number("gap_min"), "max_gap": number("gap_max"),
        "region": st.query_params.get("region"), **{name: number(name) for name in MAP_BOUNDS},
        **{name: truth(name) for name in CORRECT},
    }  # fmt: skip
    made |= _since(second[3], second[4], str(sort), newest, epoch)
    return {**made, "min_posterior": _posterior(second[5])}


def _known(dataset_id: str) -> tuple[dict[str, str], dict[str, str]]:
    """Returns the notes that the dataset has and the tags that people gave, as people read them."""
    if not dataset_id:
        return {}, {}
    try:
        notes, summary = client().dataset_notes(dataset_id), client().annotation_summary(dataset_id)
    except NotFoundError:  # the dataset was deleted: its runs can still be read
        notes, summary = {}, AnnotationSummary(tags=[], num_annotated=0, num_noted=0)
    noted = {}
    for name, values in notes.items():
        noted[f"{name} ({sum(values.values()):,})"] = name
        noted |= {f"{name}: {value} ({count:,})": f"{name}={value}" for value, count in values.items()}
    return noted, {f"{one.tag} ({one.num_samples:,})": one.tag for one in summary.tags}


def _since(place: Any, beside: Any, sort: str, newest: int, epoch: int) -> dict[str, Any]:
    """Draws the epoch from which changes count, and which changes are wanted."""
    asked = number("since")
    key = "samples_since"
    if key not in st.session_state:
        st.session_state[key] = int(asked) if asked and 1 <= asked <= newest else None
    since = place.number_input(
        "Since epoch", 1, newest, key=key, value=None, placeholder="–",
        on_change=lambda: put("since", st.session_state[key]),
        help="Changes since this epoch can be filtered and sorted by.",
    )  # fmt: skip
    changed = _choice(beside, "Fused prediction since then", "changed", CHANGES)
    if since is None and (changed or "gap_change" in sort):
        since = 1
        st.caption("Changes count since epoch 1; type another one beside “Since epoch”.")
    return {"since": since, "changed": changed}


def _posterior(place: Any) -> float | None:
    key = "samples_posterior"
    if key not in st.session_state:
        st.session_state[key] = min(100, max(0, int(number("posterior") or 0)))
    title = words.POSTERIOR_TITLE
    least = place.slider(
        f"At least this {title[0].lower()}{title[1:]}", 0, 100, step=5, format="%d %%", key=key,
        on_change=lambda: put("posterior", st.session_state[key] or None), help=words.POSTERIOR_HELP,
    )  # fmt: skip
    return least / 100 if least else None


def right_or_wrong(run_id: str, filters: Mapping[str, Any]) -> None:
    """Draws the table of samples by right and wrong of the three predictions; a cell is a button that filters."""
    asked = {name: value for name, value in filters.items() if name not in (*CORRECT, "sort")}
    try:
        cells = client().report(run_id, "cube", **asked)["cells"]
    except GapscopeError:
        return  # the table of samples below says what is wrong
    counts = {tuple(cell[name] for name in CORRECT): cell["num_samples"] for cell in cells}
    chosen = tuple(filters[name] for name in CORRECT)
    with st.container(border=True, key="right_or_wrong"):
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            st.markdown("**Right or wrong by modality**", width="content")
            st.button("All", key="cell_all", icon=":material/close:", disabled=chosen == (None,) * 3, on_click=_cell,
                      args=((None,) * 3,))  # fmt: skip
        head = st.columns([1.5, 1, 1])
        head[1].caption("Fused right")
        head[2].caption("Fused wrong")
        for audio in (True, False):
            for visual in (True, False):
                row = st.columns([1.5, 1, 1], vertical_alignment="center")
                row[0].caption(f"Audio {_WORDS[audio]}, visual {_WORDS[visual]}")
                for column, fused in zip(row[1:], (True, False), strict=True):
                    _cell_button(column, (fused, audio, visual), counts.get((fused, audio, visual), 0), chosen)


def _cell_button(place: Any, cell: tuple[bool, bool, bool], count: int, chosen: tuple[Any, ...]) -> None:
    said = ", ".join(f"{name} {_WORDS[value]}" for name, value in zip(("fused", "audio", "visual"), cell, strict=True))
    place.button(
        f"{count:,}", key="cell_" + "".join("rw"[not value] for value in cell), width="stretch", help=f"Clips: {said}",
        type="primary" if chosen == cell else "secondary", disabled=not count, on_click=_cell, args=(cell,),
    )  # fmt: skip


def _cell(values: tuple[bool | None, ...]) -> None:
    for name, value in zip(CORRECT, values, strict=True):
        put(name, value)
