"""Which modality leads on a clip, in words: one rule for every page. Pure: this module must not know Streamlit.

Two measures speak of it. The gap counts as dominant from DOMINANT_GAP on, in every run and epoch alike. The mixture of
an epoch has a dominant group of its own, which may begin at smaller gaps, or at wider ones. "Similar scores" is said
where neither sees dominance; where they differ, that is said.
"""

from __future__ import annotations

from typing import Final

from frontend.ui import words

DOMINANT_GAP: Final = 0.5
SIMILAR: Final = "Similar scores"
IN_GROUP: Final = 0.5
"""Probability from which a clip counts to the dominant group."""


def lead(gap: float, posterior: float | None) -> str:
    """Returns which modality leads, in a few words.

    Args:
        gap: audio minus visual, -1..1.
        posterior: the probability of the mixture's dominant group; None where there is no mixture.
    """
    side = "audio" if gap > 0 else "visual"
    if abs(gap) >= DOMINANT_GAP:
        return f"{side}-dominant".capitalize()
    if posterior is not None and posterior >= IN_GROUP and gap != 0:
        return f"{side} leads by less than {DOMINANT_GAP}".capitalize()
    return SIMILAR


def difference(gap: float, posterior: float | None) -> str | None:
    """Returns how the mixture differs from what the gap alone says, in a sentence; None where both agree."""
    if posterior is None or (posterior >= IN_GROUP) == (abs(gap) >= DOMINANT_GAP):
        return None
    share = words.percent(posterior)
    if posterior >= IN_GROUP:
        return (
            f"The mixture counts this clip to its dominant group ({share}), which in this epoch begins at gaps below "
            f"{DOMINANT_GAP}."
        )
    return f"The mixture does not count this clip to its dominant group ({share}), though the gap is wide."
