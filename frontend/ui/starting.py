"""What a new run starts from: a preset, another run, a saved subset. Pure: this module must not know Streamlit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from frontend.ui.fine_tuning import fine_tuning_spec
from worker.contract.resources import Dataset, Run
from worker.contract.subsets import Subset

LONGEST_NAME: Final = 120
PLACEHOLDER: Final = "/path/to/"
"""Beginning of the paths in the presets of published corpora."""
LEFT_OUT: Final = frozenset({"name", "tags", "notes"})
"""What tells runs apart for people and changes nothing of them."""


@dataclass(frozen=True)
class Start:
    """A spec to begin with."""

    key: str
    """Of the form's widgets: another start makes fresh ones."""
    spec: dict[str, Any]
    title: str
    origin: dict[str, Any] | None = None
    """The spec of the run that this one is a copy of."""
    needs: str | None = None
    """Kind of the dataset that must be registered first."""


@dataclass(frozen=True)
class Draft:
    """What a form said when its runs were launched; Back brings it again."""

    spec: dict[str, Any]
    """What the runs have in common, the first method with its settings among it."""
    others: tuple[dict[str, Any], ...]
    """The methods that are trained besides, with their settings."""
    seeds: tuple[int, ...]


def of_draft(start: Start, token: str, draft: Draft) -> Start:
    """Returns a start as it was launched; changes are still told from what it started with.

    Args:
        start: what the form was filled with at first.
        token: of the launch.
        draft: what was launched.
    """
    return replace(start, key=f"{start.key}-{token[:8]}", spec={**draft.spec, "seed": start.spec.get("seed", 0)})


def of_preset(preset: Mapping[str, Any], datasets: Iterable[Dataset] = ()) -> Start:
    """Returns a start from a preset of the catalog.

    Args:
        preset: of the catalog. The path of a published corpus in it is a placeholder.
        datasets: those registered; one of the preset's corpus takes the placeholder's place.
    """
    spec = dict(preset["spec"])
    asked = spec["dataset"]
    needs = None
    if is_placeholder(asked):
        ready = [one for one in datasets if one.kind == asked["kind"] and one.state == "ready"]
        if ready:
            protocol = ready[0].spec.get("protocol", asked.get("protocol", "honest"))
            spec["dataset"] = {"id": ready[0].id, "protocol": protocol}
        else:
            needs = str(asked["kind"])
    return Start(str(preset["id"]), spec, str(preset["title"]), needs=needs)


def is_placeholder(dataset: Mapping[str, Any]) -> bool:
    """Returns whether the path of a dataset's spec is still that of a preset, which is nowhere."""
    return str(dataset.get("path", "")).startswith(PLACEHOLDER)


def of_run(run: Run, objective: str | None = None) -> Start:
    """Returns a copy of a run to change.

    Args:
        run: to copy.
        objective: kind of another method, at its default settings: same data, same seed.
    """
    origin = run.spec.model_dump(mode="json")
    name = run.name or run.id
    changed = {"objective": {"kind": objective}} if objective and objective != origin["objective"]["kind"] else {}
    spec = {**origin, **changed, "name": f"{name}, {objective if changed else 'copy'}"[:LONGEST_NAME]}
    return Start(f"clone-{run.id}-{objective or ''}", spec, name, origin)


def of_subset(run: Run, subset: Subset, *, start_from: bool) -> Start:
    """Returns a run like another one, on a subset of its training samples.

    Args:
        run: whose settings are taken.
        subset: of the training samples.
        start_from: fine-tune the run on the subset instead of training afresh (see frontend.ui.fine_tuning).
    """
    origin = run.spec.model_dump(mode="json")
    title = f"“{subset.name}”, version {subset.version} ({subset.num_samples:,} clips)"
    if start_from:
        spec = {**origin, **fine_tuning_spec(run, subset)}
    else:
        name = f"{run.name or run.id}, on {subset.name}"[:LONGEST_NAME]
        spec = {**origin, "name": name, "subset": subset.id, "start_from": None, "start_weights": "last"}
    return Start(f"subset-{subset.id}-{start_from}", spec, title, origin)


def differences(origin: Mapping[str, Any], spec: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Returns (setting, before, now) of each setting that differs; a part of another kind counts once.

    Args:
        origin: the spec before; what it does not name had its default, which the form names.
        spec: the spec now.
    """
    rows: list[tuple[str, str, str]] = []
    for name in origin:
        if name in LEFT_OUT:
            continue
        before, now = origin.get(name), spec.get(name)
        if isinstance(before, Mapping) and isinstance(now, Mapping) and _kind(before) == _kind(now):
            inner = {key: value for key, value in before.items() if key in now}
            rows += [(f"{name}.{key}", old, new) for key, old, new in differences(inner, now)]
        elif isinstance(before, Mapping) and isinstance(now, Mapping):
            rows.append((name, _kind(before), _kind(now)))
        elif before != now and not (before in (None, [], ()) and now in (None, [], ())):
            rows.append((name, _shown(before), _shown(now)))
    return rows


def _kind(part: Mapping[str, Any]) -> str:
    return str(part.get("kind", part.get("id", "")))


def _shown(value: Any) -> str:
    return "none" if value is None else str(value)
