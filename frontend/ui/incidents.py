"""What happened to a run on its way, in sentences: interruptions, and what was other where it went on. Pure."""

from __future__ import annotations

from frontend.ui import words
from frontend.ui.history import History


def sentences(history: History) -> list[str]:
    """Returns a sentence for each interruption and resumption, in order; text that the worker wrote is escaped.

    Args:
        history: the run so far.
    """
    said = [
        (event.seq, f"Interrupted {_after(event.epoch)}: {words.plain(event.reason)}")
        for event in history.interruptions
    ]
    for event in history.resumptions:
        text = f"Resumed {_after(event.epoch)}."
        if event.differences:
            text += (
                " Other than where it began, so its numbers need not be the same to the bit: "
                + "; ".join(words.plain(one) for one in event.differences)
                + "."
            )
        said.append((event.seq, text))
    return [text for _, text in sorted(said)]


def summary(history: History) -> str | None:
    """Returns how often a run was interrupted and whether it went on elsewhere; None for an undisturbed run."""
    resumed = len(history.resumptions)
    if not resumed and not history.interruptions:
        return None
    elsewhere = sum(bool(event.differences) for event in history.resumptions)
    text = f"{words.count(len(history.interruptions), 'interruption')}, resumed {words.count(resumed, 'time')}"
    return text + (f", {elsewhere} of them on a different machine or version" if elsewhere else "")


def _after(epoch: int) -> str:
    return f"after epoch {epoch}" if epoch else "before the first epoch was finished"
