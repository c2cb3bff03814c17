"""Draws a form from the fields of a JSON schema; what it returns goes to the API, which alone validates it.

Keys of the widgets are `<prefix>.<path>`, so that tests and scripts find them; a field that was reset is a fresh widget
with a number behind its key, since a widget's value cannot be set beside its default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import streamlit as st

from frontend.ui import words
from frontend.ui.schema import MISSING, Field, initial, same

COLUMNS: Final = 3
EMPTY_NUMBER: Final = "automatic"
SOURCE: Final = "runs of "
"""Before a method: the key of `options` for every field that names a finished run of it."""
UNMARKED: Final = object()
"""Base of a form whose changes are not marked."""


@dataclass(frozen=True)
class Form:
    """How a form is drawn.

    Attributes:
        prefix: of the widgets' keys; another prefix makes fresh widgets.
        errors: path -> message of the API, shown beside the field.
        titles: (path, kind) -> title and summary of a variant, from the catalog.
        options: path (or SOURCE and a method) -> legal values that the schema does not know, such as the registered
            datasets: value -> name.
        hidden: paths that are not drawn.
    """

    prefix: str
    errors: Mapping[str, str] = field(default_factory=dict)
    titles: Mapping[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    options: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    hidden: frozenset[str] = frozenset()

    def draw(self, item: Field, given: Any = MISSING, base: Any = UNMARKED) -> Any:
        """Draws one field and returns its value; MISSING where it is left to the API.

        Args:
            item: to draw.
            given: its value at first.
            base: the value that changes are told from, and that a press of "reset" brings back.
        """
        if item.kind == "variant":
            value = self._variant(item, given, base)
        elif item.kind == "object":
            value = self._object(item, given, base)
        else:
            value = self._scalar(item, initial(item, base if self._was_reset(item) else given))
            if base is not UNMARKED and not (item.required and base is MISSING):  # which has nothing to go back to
                self._mark(item, value, initial(item, base))
        if item.path in self.errors:
            st.markdown(f":red[:material/error: {words.message(self.errors[item.path])}]")
        return value

    def fields(
        self, items: tuple[Field, ...], given: Mapping[str, Any], columns: int = COLUMNS, base: Any = UNMARKED
    ) -> dict[str, Any]:
        """Draws fields, plain ones in columns, and returns the document they make."""
        shown = [item for item in items if item.path not in self.hidden]
        plain = [item for item in shown if item.kind not in {"variant", "object"}]
        made: dict[str, Any] = {}

        def draw(item: Field) -> None:
            made[item.name] = self.draw(item, given.get(item.name, MISSING), _inside(base, item.name))

        for start in range(0, len(plain), columns):
            for column, item in zip(st.columns(columns), plain[start : start + columns], strict=False):
                with column:
                    draw(item)
        for item in shown:
            if item not in plain:
                draw(item)
        return {name: value for name, value in made.items() if value is not MISSING}

    def _key(self, item: Field, suffix: str = "") -> str:
        name = f"{self.prefix}.{item.path}{suffix}"
        resets = st.session_state.get(f"{name}#", 0)
        return f"{name}#{resets}" if resets else name

    def _was_reset(self, item: Field, suffix: str = "") -> bool:
        """Returns whether the field was reset since it was drawn last."""
        return bool(st.session_state.pop(f"{self.prefix}.{item.path}{suffix}#now", False))

    def _mark(self, item: Field, value: Any, start: Any, shown: str | None = None, suffix: str = "") -> None:
        """Draws, under a field that was changed, the button that says so and brings the first value back."""
        if same(value, start):
            return
        name = f"{self.prefix}.{item.path}{suffix}"
        st.button(
            f"Changed; reset to {words.plain(_before(item, start) if shown is None else shown)}",
            key=f"{name}.reset",
            icon=":material/undo:",
            type="tertiary",
            on_click=_reset,
            args=(name,),
        )

    def _variant(self, item: Field, given: Any, base: Any) -> dict[str, Any]:
        reset = self._was_reset(item, ".kind")
        value = initial(item, base if reset else given) or {}
        kinds = list(item.variants)
        now = _kind_of(value, kinds)
        kind = kinds[0]
        if len(kinds) > 1:
            kind = st.selectbox(
                item.label,
                kinds,
                index=kinds.index(now) if now in kinds else 0,
                format_func=lambda one: self._title(item, one),
                key=self._key(item, ".kind"),
                help=item.help or None,
            )
        first = UNMARKED
        if base is not UNMARKED:
            before = initial(item, base) or {}
            was = _kind_of(before, kinds)
            self._mark(item, kind, was, self._title(item, was), ".kind")
            first = before if kind == was else {}
        summary = self.titles.get((item.path, kind), ("", ""))[1]
        if summary:
            st.caption(summary)
        chosen = item.variants[kind]
        inner = Form(f"{self.prefix}.{kind}", self.errors, self.titles, self.options, self.hidden)
        return {**chosen.fixed, **inner.fields(chosen.fields, value if kind == now else {}, base=first)}

    def _title(self, item: Field, kind: str) -> str:
        return self.titles.get((item.path, kind), (kind, ""))[0]

    def _object(self, item: Field, given: Any, base: Any) -> Any:
        """Draws an object in a box that is closed, and left to the API, unless it is given or opened by hand."""
        with st.expander(item.label, icon=":material/tune:"):
            if item.help:
                st.caption(item.help)
            start = initial(item, given)
            if item.nullable and not st.toggle("On", start is not None, key=self._key(item, ".on")):
                return None
            if given is MISSING and item.default is MISSING and not item.required and not item.nullable:
                by_hand = st.toggle("Set by hand", key=self._key(item, ".by_hand"), help="Off: the usual values.")
                if not by_hand:
                    return MISSING
            preset = next((inner for inner in item.fields if inner.name == "preset"), None)
            if preset is not None and (chosen := self.draw(preset)) is not None:
                return {"preset": chosen}
            rest = tuple(inner for inner in item.fields if inner is not preset)
            first = UNMARKED if base is UNMARKED else initial(item, base) or {}
            return {**item.fixed, **self.fields(rest, start or {}, base=first)}

    def _scalar(self, item: Field, value: Any) -> Any:
        label, hint, key = item.label, item.help or None, self._key(item)
        offer = f"{SOURCE}{item.source}" if item.source else item.path
        if offer in self.options:
            return self._offered(item, value, self.options[offer], key)
        if item.kind == "choice":
            place = item.options.index(value) if value in item.options else 0
            return st.selectbox(label, item.options, index=place, format_func=_shown, key=key, help=hint)
        if item.kind == "toggle":
            return st.toggle(label, value=bool(value), key=key, help=hint)
        if item.kind == "tags":
            return st.multiselect(
                label,
                list(value),
                list(value),
                key=key,
                help=hint,
                accept_new_options=True,
                placeholder="Type and press Enter",
            )
        if item.kind == "text":
            text = st.text_input(label, value or "", max_chars=item.max_length, key=key, help=hint)
            return text.strip() or (None if item.nullable else "")
        return self._number(item, value, label, hint, key)

    def _offered(self, item: Field, value: Any, known: Mapping[str, str], key: str) -> Any:
        """Draws a choice of what is there now; what was given and is not among it is kept, and said by its id."""
        names = list(known)
        if value and value not in known:
            names = [value, *names]
        chosen = st.selectbox(
            item.label,
            names,
            index=names.index(value) if value in names else None if item.nullable or not names else 0,
            format_func=lambda one: known.get(one, one),
            key=key if names else f"{key}.none",  # else the nothing chosen there would stay, once there is something
            help=item.help or None,
            placeholder="Choose one" if names else f"No finished run of {item.source}" if item.source else "None yet",
            disabled=not names,
        )
        if not names and item.source and item.required:
            st.caption(f"Train one first: a run of {words.plain(item.source)} on this dataset.")
        return MISSING if chosen is None and not item.nullable else chosen

    def _number(self, item: Field, value: Any, label: str, hint: str | None, key: str) -> Any:
        if item.kind == "integer":
            low, high = (None if bound is None else int(bound) for bound in (item.minimum, item.maximum))
            return st.number_input(
                label,
                low,
                high,
                None if value is None else int(value),
                1,
                key=key,
                help=hint,
                placeholder=EMPTY_NUMBER,
            )
        return st.number_input(
            label,
            None if item.minimum is None else float(item.minimum),
            None if item.maximum is None else float(item.maximum),
            None if value is None else float(value),
            step_of(value),
            format="%g",
            key=key,
            help=hint,
            placeholder=EMPTY_NUMBER,
        )


def _inside(base: Any, name: str) -> Any:
    return UNMARKED if base is UNMARKED else base.get(name, MISSING)


def _kind_of(value: Mapping[str, Any], kinds: list[str]) -> str:
    return str(value.get("kind", "reference" if "id" in value else kinds[0]))


def _before(item: Field, start: Any) -> str:
    return EMPTY_NUMBER if start is None and item.kind in ("integer", "number") else _shown(start)


def _reset(name: str) -> None:
    st.session_state[f"{name}#"] = st.session_state.get(f"{name}#", 0) + 1
    st.session_state[f"{name}#now"] = True


def _shown(option: Any) -> str:
    if option in (None, "", [], ()):
        return "none"
    return f"{option:g}" if isinstance(option, float) else str(option)


def step_of(value: Any) -> float:
    """Returns a step that fits the size of a number: a tenth of its power of ten, at most 0.1."""
    size = abs(float(value or 0.1))
    step = 0.1
    while step > size / 2 and step > 1e-7:
        step /= 10
    return step
