"""What the scores of an uploaded clip say, in sentences. Pure functions."""

from __future__ import annotations

from typing import Final

from frontend.ui import leading, words
from worker.contract.errors import Problem
from worker.contract.scores import GapInTraining, ScoreResult

KNOCK_OUTS: Final[dict[str, str]] = {
    "mute": "Sound muted",
    "freeze": "Picture frozen",
    "black": "Picture blackened",
    "blank": "Picture blanked",
    "audio": "Without the sound",
    "visual": "Without the picture",
    "no_audio": "Without the sound",
    "no_visual": "Without the picture",
}


def headline(result: ScoreResult) -> str:
    """Returns the prediction in a few words."""
    for name in ("fused", "audio", "visual"):
        predicted, probabilities = getattr(result.predicted, name), getattr(result.probabilities, name)
        if predicted is not None and probabilities is not None:
            by = "" if name == "fused" else f", by {name} alone"
            return f"“{words.plain(predicted)}”, {words.percent(probabilities[predicted])}{by}"
    return "No prediction"


def missing_words(result: ScoreResult) -> str | None:
    """Returns which track the clip lacks and what follows from it; None where it has both."""
    if result.probabilities.fused is not None:
        return None
    if result.modalities_present == ["visual"]:
        return "This clip has no sound track: it is scored by its picture alone. There is no fused score and no gap."
    if result.modalities_present == ["audio"]:
        return "This clip has no picture: it is scored by its sound alone. There is no fused score and no gap."
    return None


def no_scores_words(result: ScoreResult, branch: str) -> str:
    """Returns why a branch has no scores."""
    if branch == "fused":
        return "Needs sound and picture."
    if branch in result.modalities_present:
        return "Not used by this run, which was trained on one modality alone."
    return f"Not in this clip: no {'sound' if branch == 'audio' else 'picture'}."


def comparison(result: ScoreResult) -> str | None:
    """Returns whether audio or visual leads, by the gap; None without one."""
    if result.gap is None:
        return None
    of = "the true class" if result.gap_of == "label" else "the fused prediction"
    lead = leading.lead(result.gap, result.posterior_imbalanced)
    differs = None if result.opposite_tail else leading.difference(result.gap, result.posterior_imbalanced)
    if lead == leading.SIMILAR:
        return f"{lead}: audio and visual score {of} alike."
    higher, lower = ("audio", "visual") if result.gap > 0 else ("visual", "audio")
    far = "a far" if abs(result.gap) >= leading.DOMINANT_GAP else "a"
    said = f"{lead}: {higher} gives {of} {far} higher score than {lower} does."
    return f"{said} {differs}" if differs else said


def posterior_words(result: ScoreResult) -> str | None:
    """Returns why there is no probability of the dominant group; None where there is one."""
    if result.posterior_imbalanced is not None:
        return None
    return result.posterior_reason or "The run has no mixture at this epoch, so there is no such probability."


def place_words(place: GapInTraining) -> str:
    """Returns where a gap lies among those of the training clips, in words."""
    return (
        f"{words.percent(place.quantile)} of the training clips had a score gap of this or less; theirs went from "
        f"{words.signed(place.min)} to {words.signed(place.max)}."
    )


def training_words(result: ScoreResult) -> str | None:
    """Returns a warning where the gap lies outside of what training saw, or in the opposite tail; else None."""
    place, said = result.gap_in_training, []
    if place is not None and place.outside:
        said.append(
            f"No training clip had a score gap like this one: theirs went from {words.signed(place.min)} to "
            f"{words.signed(place.max)}. Gap and posterior are read beyond what the model has seen."
        )
    if result.opposite_tail:
        said.append(
            "Opposite tail: the gap is wider than the dominant group's mean, but on the side where the mixture has no "
            "group, so the low probability does not mean that the scores are similar."
        )
    return " ".join(said) or None


def knock_out_table(result: ScoreResult) -> str | None:
    """Returns by how much each branch's probability of the fused prediction changes, as a Markdown table."""
    label = result.predicted.fused
    if label is None or not result.knock_out_changes:
        return None
    lines = [f"| Change of “{words.plain(label)}” | fused | audio | visual |", "|---|---:|---:|---:|"]
    for name, changes in result.knock_out_changes.items():
        cells = [_points(getattr(changes, branch), label) for branch in ("fused", "audio", "visual")]
        lines.append(f"| {KNOCK_OUTS.get(name, name)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _points(changes: dict[str, float] | None, label: str) -> str:
    """Returns a change of a probability; a dash where the branch is missing."""
    return words.NONE if changes is None else words.points(changes[label])


def knock_out_sentences(result: ScoreResult) -> list[str]:
    """Returns what the fused prediction becomes when a modality is taken away, a sentence each."""
    before, predicted = result.probabilities.fused, result.predicted.fused
    if before is None or predicted is None:
        return []
    said = []
    for name, after in result.knock_outs.items():
        if after.fused is None:
            continue
        top = max(after.fused, key=lambda label: after.fused[label] if after.fused else 0.0)
        title = KNOCK_OUTS.get(name, name.replace("_", " ").capitalize())
        score = after.fused.get(predicted, 0.0)
        was, now = words.plain(predicted), words.plain(top)
        span = f"{words.percent(before[predicted])} → {words.percent(score)}"
        turn = f"the prediction turns to “{now}” ({words.percent(after.fused[top])}), “{was}” {span}."
        said.append(f"**{title}**: {f'“{was}” stays, {span}.' if top == predicted else turn}")
    return said


def problem_text(problem: Problem) -> str:
    """Returns an error with what was expected, got, and the remedy, as Markdown."""
    lines = [f"{one.field}: expected {one.expected}, got {one.got}. {one.remedy}" for one in problem.errors or ()]
    return "\n\n".join(
        [f"**{words.plain(problem.title)}**  \n{words.message(problem.detail)}", *map(words.message, lines)]
    )
