"""Reads a JSON schema into fields that a form can draw. Pure: this module must not know Streamlit."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from worker.contract.errors import FieldProblem

FieldKind = Literal["choice", "toggle", "integer", "number", "text", "tags", "object", "variant"]
LABELS: Final[dict[str, str]] = {
    "objective": "Method",
    "num_epochs": "Epochs that are measured",
    "num_train": "Training clips",
    "num_validation": "Validation clips",
    "num_test": "Test clips",
    "num_processes": "Devices",
    "num_mels": "Mel bins",
    "num_frames": "Video frames",
    "num_features": "Features of a modality",
    "num_hidden": "Hidden features",
    "features_root": "Folder of the features",
    "clip_norm": "Largest gradient norm",
    "accumulate": "Batches a step",
    "early_stopping": "Early stopping",
    "min_change": "Least change that counts",
    "class_weights": "Class weights",
    "audio_weights": "First weights of the audio encoder",
    "visual_weights": "First weights of the visual encoder",
    "resize_to": "Resize to (pixels)",
    "gate_by": "Modality that makes the gates",
    "film_by": "Modality that scales and shifts the other",
    "lambda_gap": "Lambda (gap)",
    "gaps": "Training gaps",
    "warm_up_epochs": "Warm-up epochs",
    "subset": "Train on a saved subset (id)",
    "start_from": "Start from the weights of a run (id)",
    "start_weights": "Weights of that run",
    "purification": "Fine-tune",
    "purification_epochs": "Epochs of fine-tuning",
    "purification_threshold": "Selected below this probability",
    "purification_drop_wrong": "Drop wrong",
    "preprocess": "Preparation of the clips",
    "id": "Registered dataset",
    "fft_samples": "FFT (samples)",
}
UNITS: Final[dict[str, str]] = {"_s": " (seconds)", "_hz": " (Hz)", "_samples": " (samples)"}
MISSING: Final = object()
SOURCE_MARK: Final = "x-source"
"""In the schema of a field that names an earlier run: the method with which that run is trained."""
LONGEST_GOT: Final = 60


@dataclass(frozen=True)
class Field:
    """One field of a form.

    Attributes:
        path: dotted place in the document, such as `objective.alpha`.
        default: what the schema gives, or MISSING.
        options: of a choice.
        fields: of an object; none of them is the `kind`.
        variants: of a variant: `kind` (or "reference") to the object that it stands for.
        fixed: constants that an object carries unseen, such as its `kind`.
        source: the method whose finished runs the field names one of.
    """

    path: str
    kind: FieldKind
    label: str
    help: str = ""
    default: Any = MISSING
    nullable: bool = False
    required: bool = False
    minimum: float | None = None
    maximum: float | None = None
    max_length: int | None = None
    options: tuple[Any, ...] = ()
    fields: tuple[Field, ...] = ()
    variants: Mapping[str, Field] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    source: str | None = None

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition(".")[2]


def label_of(name: str) -> str:
    """Returns the label of a field: its own words, units spelled out."""
    if name in LABELS:
        return LABELS[name]
    name = name.removeprefix("num_")
    for suffix, unit in UNITS.items():
        if name.endswith(suffix):
            return name.removesuffix(suffix).replace("_", " ").capitalize() + unit
    return name.replace("_", " ").capitalize()


def read(schema: Mapping[str, Any]) -> tuple[Field, ...]:
    """Returns the fields of an object's schema, in its order.

    Args:
        schema: JSON schema of an object, with its own `$defs`.

    Raises:
        ValueError: when a property uses something that the form cannot draw.
    """
    return _object("", schema, schema.get("$defs", {})).fields


def _resolve(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a node with its `$ref` replaced; what stands beside the reference wins."""
    if "$ref" not in node:
        return dict(node)
    name = str(node["$ref"]).rpartition("/")[2]
    beside = {key: value for key, value in node.items() if key != "$ref"}
    return {**_resolve(definitions[name], definitions), "title": label_of(name), **beside}


def _object(path: str, node: Mapping[str, Any], definitions: Mapping[str, Any]) -> Field:
    required = set(node.get("required", ()))
    fields, fixed = [], {}
    for name, raw in node.get("properties", {}).items():
        inner = _resolve(raw, definitions)
        if "const" in inner:
            fixed[name] = inner["const"]
            continue
        fields.append(_field(f"{path}.{name}" if path else name, inner, definitions, name in required))
    text = str(node.get("description", ""))
    default = node.get("default", MISSING)
    return Field(path, "object", label_of(path.rpartition(".")[2]), text, default, fields=tuple(fields), fixed=fixed)


def _field(path: str, node: dict[str, Any], definitions: Mapping[str, Any], required: bool) -> Field:
    """Returns the field of a resolved node."""
    options = node.get("anyOf", ())
    if any(option.get("type") == "null" for option in options):
        rest = [option for option in options if option.get("type") != "null"]
        beside = {key: value for key, value in node.items() if key != "anyOf"}
        inner = _resolve(rest[0], definitions) if len(rest) == 1 else {"anyOf": rest}
        made = _field(path, {**inner, **beside}, definitions, required)
        none = (None,) if made.kind == "choice" else ()
        return _replace(made, nullable=True, options=(*none, *made.options))
    if "oneOf" in node or "anyOf" in node:
        return _variant(path, node, definitions, required)
    if node.get("type") == "object" or "properties" in node:
        if "kind" in node.get("properties", {}):
            return _variant(path, {**node, "oneOf": [node]}, definitions, required)
        return _replace(_object(path, node, definitions), required=required)
    return _scalar(path, node, required)


def _scalar(path: str, node: Mapping[str, Any], required: bool) -> Field:
    kinds: dict[str, FieldKind] = {
        "boolean": "toggle",
        "integer": "integer",
        "number": "number",
        "string": "text",
        "array": "tags",
    }
    kind: FieldKind | None = "choice" if "enum" in node else kinds.get(str(node.get("type")))
    if kind is None:
        raise ValueError(f"{path}: expected a type that the form draws, got {node.get('type')!r}")
    return Field(
        path,
        kind,
        label_of(path.rpartition(".")[2]),
        str(node.get("description", "")),
        node.get("default", MISSING),
        required=required,
        minimum=node.get("minimum", node.get("exclusiveMinimum")),
        maximum=node.get("maximum", node.get("exclusiveMaximum")),
        max_length=node.get("maxLength"),
        options=tuple(node.get("enum", ())),
        source=node.get(SOURCE_MARK),
    )


def _variant(path: str, node: Mapping[str, Any], definitions: Mapping[str, Any], required: bool) -> Field:
    variants: dict[str, Field] = {}
    for option in _flattened(node.get("oneOf") or node.get("anyOf") or (), definitions):
        made = _object(path, option, definitions)
        variants[str(made.fixed.get("kind", "reference"))] = made
    label, text = label_of(path.rpartition(".")[2]), str(node.get("description", ""))
    default = node.get("default", MISSING)
    return Field(path, "variant", label, text, default, required=required, variants=variants)


def _flattened(options: Iterable[Mapping[str, Any]], definitions: Mapping[str, Any]) -> list[dict[str, Any]]:
    flat: list[dict[str, Any]] = []
    for option in options:
        node = _resolve(option, definitions)
        inner = node.get("oneOf") or node.get("anyOf")
        flat += _flattened(inner, definitions) if inner else [node]
    return flat


def _replace(old: Field, **changes: Any) -> Field:
    return Field(**{**old.__dict__, **changes})


def initial(item: Field, given: Any) -> Any:
    """Returns what a field shows at first: what is given, else the schema's default, else a legal value."""
    if given is not MISSING:
        return given
    if item.default is not MISSING:
        return item.default
    if item.nullable:
        return None
    plain: dict[FieldKind, Any] = {"toggle": False, "text": "", "tags": [], "object": {}, "variant": {}}
    if item.kind == "choice":
        return item.options[0]
    return plain.get(item.kind, item.minimum or 0)


def same(one: Any, other: Any) -> bool:
    """Returns whether two values of a field mean the same; nothing given is nothing, however it is written."""
    empty: tuple[Any, ...] = (None, "", [], ())
    if one in empty and other in empty:
        return True
    pair = [list(value) if isinstance(value, tuple) else value for value in (one, other)]
    return bool(pair[0] == pair[1])


def paths(fields: Iterable[Field]) -> list[str]:
    """Returns the paths of all fields, of every variant too."""
    found: list[str] = []
    for item in fields:
        found.append(item.path)
        for inner in (item, *item.variants.values()):
            found += paths(inner.fields)
    return list(dict.fromkeys(found))


def place(reported: str, known: Iterable[str]) -> str | None:
    """Returns the field that an API's message belongs to: the longest known path inside the reported one, in order.

    Args:
        reported: such as `body.objective.gmm-adaptive.alpha`: validators add the tags of unions.
        known: paths of the form's fields.
    """
    parts = [part for part in re.split(r"[.\[\]]+", reported) if part]

    def inside(path: str) -> bool:
        rest = iter(parts)
        return all(any(part == other for other in rest) for part in path.split("."))

    return max((path for path in known if inside(path)), key=lambda path: path.count("."), default=None)


def message(problem: FieldProblem, names: Iterable[str] = ()) -> str:
    """Returns what the API says of a field in a sentence or two; a whole document as `got` is left out.

    Args:
        problem: what the API found.
        names: of fields, whose labels stand in their place.
    """
    known = frozenset(names)

    def labelled(text: str) -> str:
        return re.sub(r"\b[a-z]+(?:_[a-z]+)+\b", lambda found: _label_within(found[0], known), text)

    expected, remedy = labelled(problem.expected), labelled(problem.remedy)
    got = "" if len(problem.got) > LONGEST_GOT or problem.got.startswith("{") else f", got {problem.got}"
    lead = expected[:1].upper() + expected[1:] if not got else f"Expected {expected}{got}"
    return f"{lead.rstrip('.')}.{f' {remedy}' if got else ''}"


def _label_within(name: str, known: frozenset[str]) -> str:
    label = label_of(name)
    return label[:1].lower() + label[1:] if name in known else name


def place_all(problems: Iterable[FieldProblem], fields: Iterable[Field]) -> tuple[dict[str, str], list[FieldProblem]]:
    """Returns the messages by the path of the field that they belong to, and the problems that belong to none.

    Args:
        problems: what the API found.
        fields: of the form.
    """
    known = paths(fields)
    names = {path.rpartition(".")[2] for path in known}
    placed: dict[str, str] = {}
    rest = []
    for problem in problems:
        found = place(problem.field, known)
        if found:
            said = message(problem, names)
            placed[found] = f"{placed[found]} {said}" if found in placed else said
        else:
            rest.append(problem)
    return placed, rest


def seeds_of(text: str) -> list[int]:
    """Returns the seeds that a text such as "0, 1, 4-6" names.

    Raises:
        ValueError: when the text is no list of seeds, or names more than 50.
    """
    seeds: list[int] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        match = re.fullmatch(r"(\d{1,10})(?:\s*-\s*(\d{1,10}))?", part)
        if not match:
            raise ValueError(f"expected seeds such as 0, 1 or 0-4; got {part!r}")
        first, last = int(match[1]), int(match[2] or match[1])
        if last - first >= 50:
            raise ValueError("at most 50 seeds at once")
        seeds += range(first, last + 1)
    if not seeds or len(set(seeds)) > 50:
        raise ValueError("expected 1 to 50 seeds, such as 0-4")
    return list(dict.fromkeys(seeds))
