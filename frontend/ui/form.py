"""Draws a form from the fields of a JSON schema; what it returns goes to the API, which alone validates it.

Keys of the widgets are `<prefix>.<path>`, so that tests and scripts find them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import streamlit as st

from frontend.ui.schema import MISSING, Field, initial

COLUMNS: Final = 3


@dataclass(frozen=True)
class Form:
    """How a form is drawn.

    Attributes:
        prefix: of the widgets' keys; another prefix makes fresh widgets.
        errors: path -> message of the API, shown beside the field.
        titles: (path, kind) -> title and summary of a variant, from the catalog.
        options: path -> legal values that the schema does not know, such as the registered datasets.
        hidden: paths that are not drawn.
    """

    prefix: str
    errors: Mapping[str, str] = field(default_factory=dict)
    titles: Mapping[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    options: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    hidden: frozenset[str] = frozenset()

    def draw(self, item: Field, given: Any = MISSING) -> Any:
        """Draws one field and returns its value; MISSING where it is left to the API."""
        if item.kind == "variant":
            value = self._variant(item, given)
        elif item.kind == "object":
            value = self._object(item, given)
        else:
            value = self._scalar(item, initial(item, given))
        if item.path in self.errors:
            st.markdown(f":red[:material/error: {self.errors[item.path]}]")
        return value

    def fields(self, items: tuple[Field, ...], given: Mapping[str, Any], columns: int = COLUMNS) -> dict[str, Any]:
        """Draws fields, plain ones in columns, and returns the document they make."""
        shown = [item for item in items if item.path not in self.hidden]
        plain = [item for item in shown if item.kind not in {"variant", "object"}]
        made: dict[str, Any] = {}
        for start in range(0, len(plain), columns):
            for column, item in zip(st.columns(columns), plain[start : start + columns], strict=False):
                with column:
                    made[item.name] = self.draw(item, given.get(item.name, MISSING))
        for item in shown:
            if item not in plain:
                made[item.name] = self.draw(item, given.get(item.name, MISSING))
        return {name: value for name, value in made.items() if value is not MISSING}

    def _key(self, item: Field, suffix: str = "") -> str:
        return f"{self.prefix}.{item.path}{suffix}"

    def _variant(self, item: Field, given: Any) -> dict[str, Any]:
        value = initial(item, given) or {}
        kinds = list(item.variants)
        now = value.get("kind", "reference" if "id" in value else kinds[0])
        kind = kinds[0]
        if len(kinds) > 1:
            kind = st.selectbox(
                item.label,
                kinds,
                index=kinds.index(now) if now in kinds else 0,
                format_func=lambda one: self.titles.get((item.path, one), (one, ""))[0],
                key=self._key(item, ".kind"),
                help=item.help or None,
            )
        summary = self.titles.get((item.path, kind), ("", ""))[1]
        if summary:
            st.caption(summary)
        chosen = item.variants[kind]
        same = value if kind == now else {}
        inner = Form(f"{self.prefix}.{kind}", self.errors, self.titles, self.options, self.hidden)
        return {**chosen.fixed, **inner.fields(chosen.fields, same)}

    def _object(self, item: Field, given: Any) -> Any:
        """Draws an object in a box that is closed, and left to the API, unless it is given or opened by hand."""
        with st.expander(item.label, icon=":material/tune:"):
            if item.help:
                st.caption(item.help)
            if given is MISSING and item.default is MISSING and not item.required:
                by_hand = st.toggle("Set by hand", key=self._key(item, ".by_hand"), help="Off: the usual values.")
                if not by_hand:
                    return MISSING
            return {**item.fixed, **self.fields(item.fields, initial(item, given) or {})}

    def _scalar(self, item: Field, value: Any) -> Any:
        label, hint, key = item.label, item.help or None, self._key(item)
        if item.path in self.options:
            known = self.options[item.path]
            names = list(known)
            place = names.index(value) if value in names else 0
            return st.selectbox(
                label, names, index=place if names else None, format_func=lambda one: known[one], key=key, help=hint
            )
        if item.kind == "choice":
            place = item.options.index(value) if value in item.options else 0
            return st.selectbox(label, item.options, index=place, key=key, help=hint)
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
                placeholder="automatic",
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
            placeholder="automatic",
        )


def step_of(value: Any) -> float:
    """Returns a step that fits the size of a number: a tenth of its power of ten, at most 0.1."""
    size = abs(float(value or 0.1))
    step = 0.1
    while step > size / 2 and step > 1e-7:
        step /= 10
    return step
