"""A run's state in sentences, each with the counts behind it.

The sentences say what was counted and never why: causes need a baseline that this run alone does not have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel, Field

from backend.analysis import ClassTable
from backend.quality import SIGNIFICANCE, FaultCount, fisher_exact
from worker.contract.events import EpochFinished, Probes, SplitReport
from worker.contract.resources import DatasetQuality

MIN_CLASS = 5
"""A class with fewer clips than this is not singled out."""

_NAMES = {"fused": "both together", "audio": "sound alone", "visual": "picture alone"}
_SPLITS = {"train": "training", "validation": "validation", "test": "test"}


class Finding(BaseModel):
    """One sentence and what it was counted from."""

    code: str = Field(description="Stable name of the kind of finding.")
    text: str
    split: str
    numerator: float
    denominator: float
    other_numerator: int | None = Field(None, description="Of the clips that it is compared with, where it is.")
    other_denominator: int | None = None
    p_value: float | None = Field(None, description="Of the comparison; such findings are given only below a bound.")


@dataclass(frozen=True)
class Evidence:
    """What is known beside the epoch's report."""

    probes: Probes | None = None
    """Accuracies of probes on the frozen features, where the run has ended."""
    faults: Sequence[FaultCount] = ()
    """Clips with a fault in the dominant groups and outside of them."""
    quality: DatasetQuality | None = None


class Diagnosis(BaseModel):
    """What can be said of a run at one epoch, most important first."""

    epoch: int
    split: str
    findings: list[Finding]


def diagnose(
    event: EpochFinished, report: SplitReport, split: str, classes: ClassTable, evidence: Evidence
) -> Diagnosis:
    """Returns the findings of one epoch.

    Args:
        event: the epoch.
        report: the report of the split in question.
        split: its name.
        classes: accuracy and gaps by class in that split.
        evidence: what is known besides.
    """
    findings = [
        *_dominance(report, split),
        *_accuracies(report, split),
        *_probes(report, split, evidence.probes),
        *_faults(evidence.faults, split),
        *_same_content(evidence.quality, split),
        *_validity(report, split),
        *_widest_class(classes, split),
        *_train_against(event, report, split),
    ]
    return Diagnosis(epoch=event.epoch, split=split, findings=findings)


def _percent(numerator: float, denominator: float) -> str:
    return f"{100 * numerator / denominator:.0f} %" if denominator else "0 %"


def _clips(count: int, split: str) -> str:
    return f"{count:,} {_SPLITS.get(split, split)} clips"


def _dominance(report: SplitReport, split: str) -> list[Finding]:
    counts = report.correctness
    if counts is None or report.num_samples == 0:
        return []
    total = report.num_samples
    findings = []
    for name, number in (("audio", counts.audio_dominant), ("visual", counts.visual_dominant)):
        text = f"{name.capitalize()}-dominant: {number:,} of {_clips(total, split)} ({_percent(number, total)})."
        findings.append(Finding(code=f"{name}-dominant", text=text, split=split, numerator=number, denominator=total))
    findings.sort(key=lambda finding: -finding.numerator)
    wrong = counts.similar_wrong
    if wrong:
        text = (
            f"{wrong:,} of {_clips(total, split)} ({_percent(wrong, total)}) have similar scores and are wrong: "
            "a gap near 0 is not always balance."
        )
        findings.append(Finding(code="similar-wrong", text=text, split=split, numerator=wrong, denominator=total))
    return findings


def _accuracies(report: SplitReport, split: str) -> list[Finding]:
    total, findings = report.num_samples, []
    shares = {name: getattr(report.accuracy, name) for name in _NAMES}
    if report.unimodal_source == "solo":
        shares["fused"] = None  # it is the one modality's own prediction
    for name, share in shares.items():
        if share is not None and total:
            right = round(share * total)
            text = f"Right by {_NAMES[name]}: {right:,} of {_clips(total, split)} ({_percent(right, total)})."
            findings.append(
                Finding(code=f"accuracy-{name}", text=text, split=split, numerator=right, denominator=total)
            )
    fused = shares.pop("fused")
    alone = {name: share for name, share in shares.items() if share is not None}
    if fused is not None and alone:
        best = max(alone, key=lambda name: alone[name])
        fewer = round((alone[best] - fused) * total)
        if fewer > 0:
            text = (
                f"Both together are right on {fewer:,} fewer of {_clips(total, split)} than {_NAMES[best]} "
                f"(read by the run's {report.unimodal_source})."
            )
            findings.append(
                Finding(code="fused-below-best", text=text, split=split, numerator=fewer, denominator=total)
            )
    return findings


def _probes(report: SplitReport, split: str, probes: Probes | None) -> list[Finding]:
    findings = []
    for name in ("audio", "visual") if probes is not None and split == "validation" else ():
        share, total = getattr(probes, name), report.num_samples
        if share is not None and total:
            right = round(share * total)
            text = (
                f"A probe on the frozen {name} features is right on {right:,} of {_clips(total, split)} "
                f"({_percent(right, total)})."
            )
            findings.append(Finding(code=f"probe-{name}", text=text, split=split, numerator=right, denominator=total))
    return findings


def _faults(counts: Sequence[FaultCount], split: str) -> list[Finding]:
    """Returns the faults that a dominant group has more often than the other clips, by more than chance would."""
    findings, bound = [], SIGNIFICANCE / max(1, len(counts))
    for count in counts:
        p_value = fisher_exact(count.num_faulty, count.num_clips, count.other_faulty, count.other_clips)
        if p_value >= bound:
            continue
        text = (
            f"{count.num_faulty:,} of {count.num_clips:,} {count.modality}-dominant {_SPLITS.get(split, split)} clips "
            f"({_percent(count.num_faulty, count.num_clips)}) {count.flag.words}, against {count.other_faulty:,} of "
            f"{count.other_clips:,} of the others ({_percent(count.other_faulty, count.other_clips)}): Fisher's exact "
            f"test, one-sided, p = {p_value:.1g}, below {bound:.2g} ({SIGNIFICANCE:g} over {len(counts)} comparisons)."
        )
        findings.append(
            Finding(
                code=f"{count.flag.name}-{count.modality}-dominant",
                text=text,
                split=split,
                numerator=count.num_faulty,
                denominator=count.num_clips,
                other_numerator=count.other_faulty,
                other_denominator=count.other_clips,
                p_value=p_value,
            )
        )
    return sorted(findings, key=lambda finding: finding.p_value or 0.0)


def _same_content(quality: DatasetQuality | None, split: str) -> list[Finding]:
    return [
        Finding(
            code=f"same-content-{leak.other_split}",
            text=leak.text,
            split=split,
            numerator=leak.num_clips,
            denominator=leak.num_clips_of_split,
        )
        for leak in (quality.leaks if quality else ())
        if leak.split == split
    ]


def _validity(report: SplitReport, split: str) -> list[Finding]:
    mixture = report.mixture
    if mixture is None:
        return []
    words = {
        "bimodal": "the size of the gap falls into two groups",
        "unimodal": "the gaps form one group, so the two fitted ones should not be read as groups",
        "three components": "three Gaussians fit better than two",
        "degenerate": "the fit collapsed and should not be read",
    }
    weight = max((part.weight for part in mixture.components if part.role == "imbalanced"), default=0.0)
    text = (
        f"Mixture of the {_clips(report.num_samples, split)}: {words[mixture.verdict]} "
        f"(Ashman's D {mixture.ashman_d:.1f}; weight of the dominant group {100 * weight:.0f} %)."
    )
    counted = round(weight * report.num_samples)
    return [Finding(code="mixture", text=text, split=split, numerator=counted, denominator=report.num_samples)]


def _widest_class(classes: ClassTable, split: str) -> list[Finding]:
    rows = [row for row in classes.items if row.num_samples >= MIN_CLASS and row.mean_abs_gap is not None]
    if len(rows) < 2:
        return []
    widest = max(rows, key=lambda row: row.mean_abs_gap or 0.0)
    total = sum(row.num_samples for row in classes.items)
    text = (
        f'Widest gaps in class "{widest.label}": mean |gap| {widest.mean_abs_gap:.2f} over '
        f"{widest.num_samples:,} of {_clips(total, split)}."
    )
    return [Finding(code="widest-class", text=text, split=split, numerator=widest.num_samples, denominator=total)]


def _train_against(event: EpochFinished, report: SplitReport, split: str) -> list[Finding]:
    train, here = event.train.accuracy.fused, report.accuracy.fused
    if split == "train" or train is None or here is None:
        return []
    right, total = round(train * event.train.num_samples), event.train.num_samples
    text = (
        f"On the training clips {right:,} of {total:,} are right ({_percent(right, total)}), on the "
        f"{_SPLITS.get(split, split)} clips {100 * here:.0f} %."
    )
    return [Finding(code="train-against-split", text=text, split="train", numerator=right, denominator=total)]
