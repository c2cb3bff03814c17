"""The words and numbers of the interface: every page says the same thing in the same way."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

GAP_TITLE: Final = "Score gap (audio - visual)"
GAP_HELP: Final = (
    "Softmax score that the audio branch gives the true class, minus the score that the visual branch gives it, for "
    "each clip: +1 means that audio alone knows, -1 that visual alone knows, 0 that both score alike (both right or "
    "both wrong). This is not the “modality gap” between embeddings that is known from CLIP."
)
POSTERIOR_TITLE: Final = "Probability of the dominant group (model-based)"
POSTERIOR_HELP: Final = (
    "By Bayes' theorem from the two Gaussians fitted to the training gaps of the same epoch. It is as good as that "
    "fit, and with unequal widths it need not rise with the size of the gap."
)
NONE: Final = "–"
NBSP: Final = "\u00a0"
"""Keeps a number and its unit on one line."""

MODALITIES: Final[dict[str, str]] = {"fused": "Fused", "audio": "Audio", "visual": "Visual"}
GROUPS: Final[dict[str, str]] = {
    "audio_dominant": "Audio-dominant",
    "visual_dominant": "Visual-dominant",
    "similar_right": "Similar scores, right",
    "similar_wrong": "Similar scores, wrong",
}
MIXTURE_GROUPS: Final[dict[str, str]] = {
    "audio_dominant": "Dominant group, audio leads",
    "similar": "Similar group",
    "visual_dominant": "Dominant group, visual leads",
    "unknown": "No probability",
}
"""Groups by the mixture: its dominant group may begin at smaller gaps than those of GROUPS, or at wider ones."""
ROLES: Final[dict[str, str]] = {
    "balanced": "Similar scores",
    "imbalanced": "Dominant group",
    "audio_dominant": "Audio-dominant",
    "visual_dominant": "Visual-dominant",
}
STATES: Final[dict[str, str]] = {
    "queued": "Queued",
    "running": "Running",
    "cancelling": "Cancelling",
    "cancelled": "Cancelled",
    "finished": "Finished",
    "failed": "Failed",
    "lost": "Interrupted, resuming",
    "preparing": "Preparing",
    "ready": "Ready",
}
STATE_COLOURS: Final[dict[str, str]] = {
    "queued": "gray",
    "running": "blue",
    "cancelling": "orange",
    "cancelled": "gray",
    "finished": "green",
    "failed": "red",
    "lost": "orange",
    "preparing": "blue",
    "ready": "green",
}
STATE_ICONS: Final[dict[str, str]] = {
    "queued": ":material/hourglass_empty:",
    "running": ":material/play_circle:",
    "cancelling": ":material/cancel:",
    "cancelled": ":material/cancel:",
    "finished": ":material/check_circle:",
    "failed": ":material/error:",
    "lost": ":material/sync:",
    "preparing": ":material/play_circle:",
    "ready": ":material/check_circle:",
}
STAGES: Final[dict[str, str]] = {
    "single": "One stage",
    "warm-up": "Stage 1",
    "adaptive": "Stage 2",
    "purification": "Fine-tune on selected samples",
}
PHASES: Final[dict[str, str]] = {
    "waiting": "waiting",
    "preparing": "preparing the clips",
    "training": "training",
    "evaluating": "evaluating",
    "analysing": "fitting the mixture",
    "saving": "saving",
}
SOURCES: Final[dict[str, str]] = {
    "head": "heads that the loss trains",
    "probe": "probes beside the training, which do not change it",
    "solo": "the only branch of a run on one modality",
}
SPLITS: Final[dict[str, str]] = {"train": "training", "validation": "validation", "test": "test"}
ACTIVE: Final = frozenset({"queued", "running", "cancelling", "lost"})
ENDED: Final = frozenset({"finished", "failed", "cancelled"})

_SYNTAX: Final = re.compile(r"[\\`*_\[\]<>~$|&#]|^[-+=]|^\d+(?=[.)])")
_JOINS: Final = re.compile(r":(?=\S)|@(?=\S)|(?<=\bwww)(?=\.)|(?<=[-<=])(?=[->=])", re.IGNORECASE)
_JOINER: Final = "\u2060"
"""Takes no room, and keeps as it is what Streamlit replaces after reading the Markdown: emoji, icons, links, arrows."""


def plain(text: object) -> str:
    """Returns data (a name, tag, label, file name, message) so that Markdown draws it letter by letter, on one line.

    Everything that people or files named goes through here, and only once, where it becomes Markdown: labels of
    widgets, captions, badges, toasts. Tables (st.dataframe), st.text and st.code draw text as it is.
    """
    return _escaped(" ".join(str(text).split()))


def message(text: object) -> str:
    """Returns a sentence of ours in which data stands, such as an error's: as `plain`, but `code` stays code."""
    parts = re.split(r"(`[^`]+`)", " ".join(str(text).split()))
    return "".join(part if part.startswith("`") and len(part) > 2 else _escaped(part) for part in parts)


def _escaped(line: str) -> str:
    line = _JOINS.sub(lambda found: found[0] + _JOINER, line)
    return _SYNTAX.sub(lambda found: f"{found[0]}{_JOINER}" if found[0].isdigit() else f"\\{found[0]}", line)


def percent(value: float | None, digits: int = 1) -> str:
    """Returns a fraction as a percentage, such as "93.4 %" (with a no-break space); a dash where there is none."""
    return NONE if value is None else f"{100 * value:.{digits}f}{NBSP}%"


def points(change: float) -> str:
    """Returns a change of a fraction in percentage points, with its sign."""
    return f"{100 * change:+.1f} points"


def share(numerator: int, denominator: int) -> str:
    """Returns "59.3 % (89 of 150)"; without a share where there is nothing to count."""
    return f"{percent(numerator / denominator)} ({numerator} of {denominator})" if denominator else "none"


def decimal(value: float | None, digits: int = 2) -> str:
    """Returns a number with fixed decimals; a dash where there is none."""
    return NONE if value is None else f"{value:.{digits}f}"


def signed(value: float | None, digits: int = 2) -> str:
    """Returns a number with its sign; a dash where there is none."""
    return NONE if value is None else f"{value:+.{digits}f}"


def duration(seconds: float | None) -> str:
    """Returns seconds in words, such as "45 s", "3 min 20 s" or "2 h 5 min"; a dash where there are none."""
    if seconds is None:
        return NONE
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"


def ago(moment: datetime | None, now: datetime | None = None) -> str:
    """Returns how long ago a moment was, such as "3 min ago"; a dash where there is none."""
    if moment is None:
        return NONE
    seconds = ((now or datetime.now(UTC)) - moment).total_seconds()
    if seconds < 60:
        return "just now"
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} ago"
    return NONE


def shortened(text: str, most: int) -> str:
    """Returns a text of at most so many characters; what is left out is an ellipsis."""
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"


def ending(text: str, most: int) -> str:
    """Returns the end of a text, at most so many characters: what tells long names of files apart."""
    return text if len(text) <= most else f"…{text[-(most - 1) :].lstrip()}"


def size(num_bytes: float | None) -> str:
    """Returns a number of bytes in decimal units, such as "12.3 MB"; a dash where there is none."""
    if num_bytes is None:
        return NONE
    value = float(num_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def count(value: int | None, singular: str) -> str:
    """Returns "1 clip", "2,000 clips"; a dash where the number is not known."""
    if value is None:
        return NONE
    return f"{value:,} {singular}{'' if value == 1 else 's'}"


def state_words(state: str) -> str:
    """Returns a state as people read it."""
    return STATES.get(state, state)
