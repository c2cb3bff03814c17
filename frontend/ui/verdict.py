"""What the scores of an uploaded clip say, in sentences. Pure functions."""

from __future__ import annotations

from typing import Final

from frontend.ui import words
from worker.contract.errors import Problem
from worker.contract.scores import ScoreResult

DOMINANT_GAP: Final = 0.5
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
            return f"“{predicted}”, {words.percent(probabilities[predicted])}{by}"
    return "No prediction"


def missing_words(result: ScoreResult) -> str | None:
    """Returns which track the clip lacks and what follows from it; None where it has both."""
    if result.modalities_present == ["visual"]:
        return "This clip has no sound track: it is scored by its picture alone. There is no fused score and no gap."
    if result.modalities_present == ["audio"]:
        return "This clip has no picture: it is scored by its sound alone. There is no fused score and no gap."
    return None


def comparison(result: ScoreResult) -> str | None:
    """Returns whether audio or visual leads, by the gap; None without one."""
    if result.gap is None:
        return None
    of = "the true class" if result.gap_of == "label" else "the fused prediction"
    if abs(result.gap) < DOMINANT_GAP:
        return f"Similar scores: audio and visual score {of} alike."
    side = "audio" if result.gap > 0 else "visual"
    return f"{side.capitalize()}-dominant: {side} gives {of} a far higher score than the other modality does."


def posterior_words(result: ScoreResult) -> str | None:
    """Returns why there is no probability of the dominant group; None where there is one."""
    if result.posterior_imbalanced is not None:
        return None
    return result.posterior_reason or "The run has no mixture at this epoch, so there is no such probability."


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
        turn = "stays" if top == predicted else f"the prediction turns to “{top}” ({words.percent(after.fused[top])}),"
        span = f"{words.percent(before[predicted])} → {words.percent(score)}"
        said.append(
            f"**{title}**: “{predicted}” stays, {span}."
            if turn == "stays"
            else f"**{title}**: {turn} “{predicted}” {span}."
        )
    return said


def problem_text(problem: Problem) -> str:
    """Returns an error with what was expected, got, and the remedy, as Markdown."""
    lines = [f"**{problem.title}**  \n{problem.detail}"]
    lines += [f"`{one.field}`: expected {one.expected}, got {one.got}. {one.remedy}" for one in problem.errors or ()]
    return "\n\n".join(lines)
