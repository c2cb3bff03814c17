"""What a run's figures say, in sentences: each with its numerator, denominator, split and epoch.

Pure functions over the events and over what the API counts of the clips' quality. A sentence says what was measured;
nothing here says why, since that takes a solo baseline.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from frontend.ui import words
from frontend.ui.history import History, Split, split_report
from worker.contract.events import EpochFinished, Mixture, SplitReport
from worker.contract.quality import FLAGS

Tone = Literal["plain", "good", "watch"]
LEAST_CHANGE: Final = 0.02
"""Change of mean |gap|, or of an accuracy, below which the page calls it steady."""
CLOSINGS: Final[dict[str, str]] = {
    "weak": "The gap narrowed: the weak modality rose",
    "strong": "The gap narrowed: the strong modality fell",
    "weak and strong": "The gap narrowed: the weak modality rose, and the strong one fell",
    "strong and weak": "The gap narrowed: the strong modality fell, and the weak one rose",
    "": "The gap narrowed",
}
"""How a gap closed, the larger move first; a change under LEAST_CHANGE is none, and after a tie nobody was weak."""
VERDICTS: Final[dict[str, str]] = {
    "bimodal": "Two Gaussians fit the gaps better than one, with two modes.",
    "three components": "Three Gaussians fit the gaps better than two: look at both tails apart (signed mixture).",
    "unimodal": "The test does not tell two groups apart: read the curves as a description, not as two groups.",
    "degenerate": "Too few gaps, or too narrow, for a mixture: no group is told apart.",
}


FAULTS: Final[dict[str, str]] = {
    f"{flag.name}-{modality}-dominant": f"{flag.title}: more often where {modality} dominates"
    for flag in FLAGS
    for modality in ("audio", "visual")
}
"""Code of the API's finding -> headline."""
SAME_CONTENT: Final = "same-content-"


@dataclass(frozen=True)
class Finding:
    """One thing that the figures say: a headline and a sentence."""

    title: str
    text: str
    tone: Tone = "plain"


@dataclass(frozen=True)
class Solo:
    """What a run on one modality reached on the validation split at its last epoch."""

    name: str
    accuracy: float
    num_samples: int


def verdict(mixture: Mixture | None) -> str:
    """Returns what the validity test says of a fit, with its figures."""
    if mixture is None:
        return VERDICTS["degenerate"]
    lead = VERDICTS[mixture.verdict]
    smallest = min((part.weight for part in mixture.components), default=0.0)
    modes = "1 mode" if mixture.num_modes == 1 else f"{mixture.num_modes} modes"
    tail = "" if mixture.converged else " The fit did not converge."
    return (
        f"{lead} Ashman's D {words.decimal(mixture.ashman_d, 1)}, {modes}, smaller weight {words.percent(smallest)}."
        f"{tail}"
    )


def dominance(report: SplitReport, split: Split) -> Finding | None:
    """Returns which modality leads on how many clips; None for a run without gaps."""
    groups = report.correctness
    if groups is None:
        return None
    total, name = report.num_samples, words.SPLITS[split]
    audio, visual = groups.audio_dominant, groups.visual_dominant
    lead, lead_count, other, other_count = (
        ("audio", audio, "visual", visual) if audio >= visual else ("visual", visual, "audio", audio)
    )
    if lead_count == 0:
        tone: Tone = "good" if groups.similar_wrong <= total / 2 else "plain"  # early on neither modality knows yet
        return Finding("No modality dominates", f"None of {total} {name} clips has a gap of 0.5 or more.", tone)
    title = f"{lead}-dominant: {words.percent(lead_count / total)}".capitalize()
    text = (
        f"{lead_count} of {total} {name} clips are {lead}-dominant (a gap of 0.5 or more), {other_count} "
        f"({words.percent(other_count / total)}) are {other}-dominant."
    )
    return Finding(title, text, "watch" if lead_count > 2 * other_count and lead_count / total > 0.2 else "plain")


def accuracies(report: SplitReport, split: Split, num_classes: int | None = None) -> Finding:
    """Returns the accuracies with their split, where the unimodal ones come from, and what chance would reach."""
    values = report.accuracy
    title = f"Fused {words.percent(values.fused)}"
    if values.audio is None or values.visual is None:
        return Finding(title, f"On {words.count(report.num_samples, words.SPLITS[split] + ' clip')}.")
    clips = words.count(report.num_samples, words.SPLITS[split] + " clip")
    text = (
        f"Audio reaches {words.percent(values.audio)} and visual {words.percent(values.visual)} of {clips}, read by "
        f"{words.SOURCES[report.unimodal_source]}."
    )
    if num_classes:
        text += f" Guessing one of {num_classes} classes reaches about {words.percent(1 / num_classes)}."
    return Finding(title, text)


def both_wrong(report: SplitReport, split: Split) -> Finding | None:
    """Returns how many clips have similar scores and are wrong: a small gap is not yet a good clip."""
    groups = report.correctness
    if groups is None or not groups.similar_wrong:
        return None
    similar = groups.similar_right + groups.similar_wrong
    return Finding(
        f"Similar scores, but wrong: {words.percent(groups.similar_wrong / report.num_samples)}",
        f"Of {similar} {words.SPLITS[split]} clips with similar scores, {groups.similar_wrong} are wrong: a gap near 0 "
        "also means that neither modality knows.",
    )


def reference(history: History, shown: EpochFinished) -> EpochFinished | None:
    """Returns the epoch to compare with: the last of stage 1 once stage 2 has begun, else the first."""
    boundary = history.stage_boundary()
    before = history.at(boundary) if boundary and boundary < shown.epoch else history.at(1)
    return before if before and before.epoch < shown.epoch else None


def gap_change(before: EpochFinished, now: EpochFinished, split: Split) -> Finding | None:
    """Returns how the mean size of the gap changed, and whether the weak modality rose or the strong one fell.

    Args:
        before: the epoch to compare with.
        now: the shown epoch.
        split: whose figures.
    """
    old, new = split_report(before, split), split_report(now, split)
    if not old or not new or old.mean_abs_gap is None or new.mean_abs_gap is None:
        return None
    change = new.mean_abs_gap - old.mean_abs_gap
    since = f"from epoch {before.epoch} to {now.epoch}"
    span = f"{words.decimal(old.mean_abs_gap)} → {words.decimal(new.mean_abs_gap)}"
    moves = _moves(old, new)
    text = f"Mean |gap| {span} {since} ({words.SPLITS[split]} split). {moves[1]}"
    if abs(change) < LEAST_CHANGE:
        return Finding("The gap is steady", text)
    if change > 0:
        return Finding("The gap widened", text, "watch")
    tone: Tone = "watch" if "strong" in moves[0] else "good" if moves[0] else "plain"
    return Finding(CLOSINGS[moves[0]], text, tone)


def _moves(old: SplitReport, new: SplitReport) -> tuple[str, str]:
    """Returns whose accuracy moved towards the other's, a key of CLOSINGS, and both accuracies in a sentence."""
    a, v = (old.accuracy.audio, new.accuracy.audio), (old.accuracy.visual, new.accuracy.visual)
    if a[0] is None or a[1] is None or v[0] is None or v[1] is None:
        return "", ""
    audio, visual = ("audio", a[0], a[1]), ("visual", v[0], v[1])
    strong, weak = (audio, visual) if a[0] >= v[0] else (visual, audio)
    fell, rose = strong[1] - strong[2], weak[2] - weak[1]
    stayed = strong[1] > weak[1] and strong[2] >= weak[2]
    text = (
        f"The stronger modality ({strong[0]}) went {words.percent(strong[1])} → {words.percent(strong[2])}, "
        f"the weaker ({weak[0]}) {words.percent(weak[1])} → {words.percent(weak[2])}."
        if stayed
        else f"Audio went {words.percent(a[0])} → {words.percent(a[1])}, "
        f"visual {words.percent(v[0])} → {words.percent(v[1])}."
    )
    moved = [(rose, "weak"), (fell, "strong")]
    said = [name for change, name in sorted(moved, reverse=True) if change >= LEAST_CHANGE and strong[1] > weak[1]]
    return " and ".join(said), text


def against_alone(report: SplitReport, split: Split, solo: Mapping[str, Solo]) -> list[Finding]:
    """Returns, for each modality with a baseline trained on it alone, which of both reads more clips right.

    Args:
        report: the validation split at the shown epoch.
        split: whose figures; baselines are known for validation alone.
        solo: the baseline of audio and of visual, where there is one.
    """
    found = []
    for name, baseline in solo.items() if split == "validation" else ():
        here = getattr(report.accuracy, name)
        if here is None or report.num_samples != baseline.num_samples:
            continue
        short = baseline.accuracy - here
        title = (
            f"{name.capitalize()} is below what it reaches alone"
            if short >= LEAST_CHANGE
            else f"{name.capitalize()} is above what it reaches alone"
            if short <= -LEAST_CHANGE
            else f"{name.capitalize()} is at what it reaches alone"
        )
        text = (
            f"{name.capitalize()} {words.percent(here)} of {words.count(report.num_samples, 'validation clip')}; "
            f"trained alone it reaches {words.percent(baseline.accuracy)} of the same clips (last epoch of "
            f"“{words.plain(baseline.name)}”)."
        )
        found.append(Finding(title, text, "watch" if short >= LEAST_CHANGE else "plain"))
    return found


def weak_modality(report: SplitReport) -> str | None:
    """Returns the modality that reads clearly fewer clips right; None where both read about as many, or one is absent.

    Args:
        report: of an epoch.
    """
    audio, visual = report.accuracy.audio, report.accuracy.visual
    if audio is None or visual is None or abs(audio - visual) < LEAST_CHANGE:
        return None
    return "audio" if audio < visual else "visual"


def counted(document: Mapping[str, Any]) -> list[Finding]:
    """Returns what the API counted of the clips' quality: faults of a dominant group, content of two splits.

    Args:
        document: GET /runs/{id}/diagnosis.
    """
    found = []
    for item in document.get("findings", ()):
        if item["code"].startswith(SAME_CONTENT):
            found.append(Finding("The same content stands in two splits", item["text"], "watch"))
        elif item["code"] in FAULTS:
            found.append(Finding(FAULTS[item["code"]], item["text"], "watch"))
    return found


def findings(history: History, shown: EpochFinished, split: Split) -> list[Finding]:
    """Returns all that the page says of an epoch, the most telling first.

    Args:
        history: the run so far.
        shown: the epoch that the page shows.
        split: whose figures.
    """
    report = split_report(shown, split)
    if report is None:
        return []
    before = reference(history, shown)
    said = [
        dominance(report, split),
        gap_change(before, shown, split) if before else None,
        accuracies(report, split, len(history.started.classes) if history.started else None),
        both_wrong(report, split),
    ]
    return [finding for finding in said if finding]
