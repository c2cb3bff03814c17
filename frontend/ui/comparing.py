"""What the Compare page shows, as tables. Pure: this module must not know Streamlit or HTTP."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pandas as pd

from frontend.leaderboard.statistics import CONFIDENCE, t_quantile
from frontend.ui import words
from frontend.ui.charts.gaps import histogram_table
from frontend.ui.panels.configuration import flatten
from frontend.ui.panels.header import run_title
from frontend.ui.schema import label_of
from worker.contract.events import SplitReport
from worker.contract.resources import Run

LEAST_FOR_INTERVAL: Final = 3
FEW: Final = 8
"""Up to so many lines are told apart by colour and dash; more are coloured by method."""
GROUP_WORDS: Final = {
    **{name: title for name, title in words.MIXTURE_GROUPS.items() if name != "unknown"},
    "unknown": words.NONE,
}
CURVE_COLUMNS: Final = ["series", "line", "epoch", "value", "low", "high", "runs"]


class Side:
    """A compared run, as the API gives it."""

    def __init__(self, document: Mapping[str, Any], split: str, epoch: int | None) -> None:
        """Reads `runs[i]` of GET /compare.

        Args:
            document: the run, its curve, and its report at the compared epoch.
            split: where the runs are compared.
            epoch: the compared one. Test clips that were looked at once, at the end, are taken from the run's result.
        """
        self.run = Run.model_validate(document["run"])
        self.curve: list[dict[str, Any]] = document["curve"]
        self.at = SplitReport.model_validate(document["at"]) if document["at"] else None
        result = self.run.result
        if self.at is None and split == "test" and result is not None:
            read = {result.chosen.epoch: result.chosen.test, result.last.epoch: result.last.test}
            self.at = read.get(epoch or 0)


def names_of(runs: Sequence[Run]) -> dict[str, str]:
    """Returns a name for each run by id; equal names are told apart by seed, then by number."""
    titles = [run_title(run) for run in runs]
    names: dict[str, str] = {}
    for run, title in zip(runs, titles, strict=True):
        first = title if titles.count(title) == 1 or "seed" in title else f"{title}, seed {run.spec.seed}"
        name, number = first, 2
        while name in names.values():
            name, number = f"{first} ({number})", number + 1
        names[run.id] = name
    return names


def group_names(
    sides: Sequence[Side], spreads: Sequence[Mapping[str, Any]], names: Mapping[str, str]
) -> dict[str, str]:
    """Returns run id -> name of its group of runs that differ only in their seed."""
    by_id = {side.run.id: side.run for side in sides}
    named: dict[str, str] = {}
    for spread in spreads:
        runs = [by_id[run_id] for run_id in spread["runs"]]
        titles = {run.name for run in runs if run.name}
        base = titles.pop() if len(titles) == 1 else runs[0].spec.objective.kind
        title = names[runs[0].id] if len(runs) == 1 else f"{base}, {len(runs)} seeds"
        unique, number = title, 2
        while unique in named.values():
            unique, number = f"{title} ({number})", number + 1
        named |= dict.fromkeys((run.id for run in runs), unique)
    return named


def series_of(sides: Sequence[Side], lines: Mapping[str, str]) -> dict[str, str]:
    """Returns run id -> what gives its line the colour: the line itself, or the method where there are many lines."""
    if len(set(lines.values())) <= FEW:
        return dict(lines)
    return {side.run.id: side.run.spec.objective.kind for side in sides}


def curve_table(
    sides: Sequence[Side], measure: str, lines: Mapping[str, str], series: Mapping[str, str]
) -> pd.DataFrame:
    """Returns a line for each run, or, where several share one, their mean with mean ± s.d. (n in `runs`).

    Args:
        sides: the runs.
        measure: fused, audio, visual or gap (mean size).
        lines: run id -> line.
        series: run id -> what gives the colour.
    """
    cells: dict[tuple[str, str, int], list[float]] = defaultdict(list)
    for side in sides:
        for point in side.curve:
            value = point["mean_abs_gap"] if measure == "gap" else point["accuracy"][measure]
            if value is not None:
                cells[series[side.run.id], lines[side.run.id], point["epoch"]].append(value)
    rows = []
    for (colour, line, epoch), values in cells.items():
        mean = statistics.fmean(values)
        spread = statistics.stdev(values) if len(values) > 1 else math.nan
        rows.append((colour, line, epoch, mean, mean - spread, mean + spread, len(values)))
    return pd.DataFrame(rows, columns=CURVE_COLUMNS)


def gap_table(sides: Sequence[Side], lines: Mapping[str, str], series: Mapping[str, str]) -> pd.DataFrame:
    """Returns the share of clips in each 0.05 of the gap at the compared epoch; runs of one line together."""
    counts: dict[tuple[str, str, float], int] = defaultdict(int)
    totals: dict[str, int] = defaultdict(int)
    for side in sides:
        if side.at is None or side.at.histogram is None:
            continue
        table = histogram_table(side.at.histogram)
        line = lines[side.run.id]
        for position, samples in enumerate(table["samples"]):
            low = round(table["low"].iloc[position - position % 2], 6)
            counts[series[side.run.id], line, low] += int(samples)
            totals[line] += int(samples)
    rows = [
        (colour, line, low + 0.025, count, count / totals[line])
        for (colour, line, low), count in counts.items()
        if totals[line]
    ]
    return pd.DataFrame(rows, columns=["series", "line", "gap", "clips", "share"])


def figures(sides: Sequence[Side], names: Mapping[str, str]) -> pd.DataFrame:
    """Returns a row for each run at the compared epoch, the best fused accuracy first."""
    rows = []
    for side in sides:
        accuracy = side.at.accuracy if side.at else None
        rows.append(
            {
                "run": names[side.run.id],
                "id": side.run.id,
                "state": words.state_words(side.run.state),
                "method": side.run.spec.objective.kind,
                "seed": side.run.spec.seed,
                "epochs": f"{side.run.progress.epoch} of {side.run.progress.epochs}",
                **{
                    one: 100 * value if accuracy and (value := getattr(accuracy, one)) is not None else math.nan
                    for one in words.MODALITIES
                },
                "mean_gap": _number(side.at.mean_gap if side.at else None),
                "gap": _number(side.at.mean_abs_gap if side.at else None),
                "clips": side.at.num_samples if side.at else None,
            }
        )
    return pd.DataFrame(rows).sort_values("fused", ascending=False, na_position="last", kind="stable")


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def spread_table(spreads: Sequence[Mapping[str, Any]], groups: Mapping[str, str]) -> pd.DataFrame:
    """Returns mean, sample standard deviation and, from three runs, the 95 % t interval; groups of one run left out."""
    rows = []
    for spread in spreads:
        if len(spread["runs"]) < 2:
            continue
        row: dict[str, Any] = {
            "group": groups[spread["runs"][0]],
            "n": spread["num_runs"],
            "seeds": ", ".join(str(seed) for seed in sorted(spread["seeds"])),
        }
        for one in words.MODALITIES:
            row[one] = spread_words(spread["mean"][one], spread["standard_deviation"][one], spread["num_runs"])
        rows.append(row)
    return pd.DataFrame(rows)


def spread_words(mean: float | None, deviation: float | None, num_runs: int) -> str:
    """Returns such as "91.2 ± 1.3 % [88.0, 94.4]": mean, standard deviation, t interval of the mean (n >= 3)."""
    if mean is None:
        return words.NONE
    if deviation is None:
        return f"{100 * mean:.1f} %"
    text = f"{100 * mean:.1f} ± {100 * deviation:.1f} %"
    if num_runs < LEAST_FOR_INTERVAL:
        return text
    half = t_quantile(CONFIDENCE, num_runs - 1) * deviation / math.sqrt(num_runs)
    return f"{text} [{100 * (mean - half):.1f}, {100 * (mean + half):.1f}]"


def differences(differing: Mapping[str, Mapping[str, Any]], names: Mapping[str, str]) -> pd.DataFrame:
    """Returns setting (its name and unit for people) by run, for the settings that differ; the method first."""
    rows = []
    for setting, values in sorted(differing.items(), key=lambda item: item[0] != "objective.kind"):
        part, _, name = setting.rpartition(".")
        if name == "kind" and part:
            label = label_of(part.rpartition(".")[2])
        else:
            label = f"{label_of(part.rpartition('.')[2])}: {label_of(name)}" if part else label_of(name)
        rows.append({"setting": label, **{names[run_id]: flatten(value)[0][1] for run_id, value in values.items()}})
    return pd.DataFrame(rows)


def remarks(sides: Sequence[Side], epoch: int | None, split: str, names: Mapping[str, str]) -> list[str]:
    """Returns what a reader must know before comparing: missing epochs, protocols, ways of reading a modality."""
    said = []
    late = [names[side.run.id] for side in sides if epoch is not None and 0 < side.run.progress.epoch < epoch]
    if late:
        said.append(f"Not at epoch {epoch} yet, or shorter: {listed(late)}.")
    if none := [names[side.run.id] for side in sides if not side.run.progress.epoch]:
        said.append(f"Without a finished epoch: {listed(none)}.")
    paper = [names[side.run.id] for side in sides if side.run.spec.dataset.protocol == "paper"]
    if paper:
        said.append(f"Protocol paper, which looks at the test clips each epoch (optimistic): {listed(paper)}.")
    unseen = [side for side in sides if side.at is None and side.run.progress.epoch >= (epoch or 1)]
    if split == "test" and unseen:
        said.append(
            f"Protocol honest, which looks at the test clips once, at the end, and not at epoch {epoch}: "
            f"{listed([names[side.run.id] for side in unseen])}. Move the epoch to the last one."
        )
    sources = {side.at.unimodal_source for side in sides if side.at}
    if len(sources) > 1:
        said.append(
            "Audio and visual accuracies and the gaps are read in different ways in these runs ("
            + ", ".join(words.SOURCES[source] for source in sorted(sources))
            + "): compare the fused accuracy."
        )
    return said


def listed(names: Sequence[str], most: int = 5) -> str:
    """Returns names with commas; beyond `most` they are counted."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def pair_table(items: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> pd.DataFrame:
    """Returns a row for each test: the other run, the prediction, four counts, p-values and the test's name."""
    rows = [
        {
            "other": names[item["second"]],
            "prediction": words.MODALITIES[test["modality"]],
            "clips": item["num_samples"],
            **{cell: test[cell] for cell in ("both_right", "only_first_right", "only_second_right", "both_wrong")},
            "p": p_words(test["p_value"]),
            "p_holm": p_words(test["p_holm"]),
            "test": test["test"],
        }
        for item in items
        for test in item["tests"]
    ]
    return pd.DataFrame(rows)


def p_words(value: float) -> str:
    """Returns a p-value with three significant digits; tiny ones as a bound."""
    return "< 0.0001" if value < 1e-4 else f"{value:.3g}"


def change_table(items: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Returns a row for each changed sample: groups, gaps and right or wrong in both runs."""
    rows = []
    for item in items:
        first, second = item["first"], item["second"]
        rows.append(
            {
                "clip": item["sample_id"],
                "label": item["label"],
                "group": _arrow(GROUP_WORDS[first["group"]], GROUP_WORDS[second["group"]]),
                "first_gap": _number(first["gap"]),
                "second_gap": _number(second["gap"]),
                **{
                    one: _arrow(_right(first[f"{one}_correct"]), _right(second[f"{one}_correct"]))
                    for one in words.MODALITIES
                },
            }
        )
    return pd.DataFrame(rows)


def _arrow(before: str, after: str) -> str:
    return before if before == after else f"{before} → {after}"


def _right(value: bool | None) -> str:
    return words.NONE if value is None else "right" if value else "wrong"


def lineage(sides: Sequence[Side]) -> list[tuple[str, str]]:
    """Returns (derived run, the run that it builds on) where both are compared."""
    ids = {side.run.id for side in sides}
    pairs = [(side.run.id, origin.run_id) for side in sides for origin in side.run.derived_from if origin.run_id in ids]
    return list(dict.fromkeys(pairs))
