"""The colours of the interface: fixed, safe for colour-blind readers, and legible on light and dark ground alike.

Orange, blue and green follow Okabe and Ito's palette, lightened for dark ground. Colour never stands alone: lines also
differ by dash, bars by place and label.
"""

from __future__ import annotations

from typing import Final

from frontend.ui import words

AUDIO: Final = "#E08A1E"
VISUAL: Final = "#2E8BC9"
FUSED: Final = "#12A07B"
BALANCED: Final = "#8A94A6"
IMBALANCED: Final = "#C4609E"
MIXTURE: Final = "#4F9A94"
WRONG: Final = "#B9524C"
RULE: Final = "#8A94A6"
TEXT: Final = "currentColor"
"""The colour of text around a chart: legible in both themes."""

MODALITY: Final[dict[str, str]] = {"Fused": FUSED, "Audio": AUDIO, "Visual": VISUAL}
MODALITY_DASH: Final[dict[str, list[int]]] = {"Fused": [1, 0], "Audio": [7, 3], "Visual": [2, 2]}
GROUP: Final[dict[str, str]] = {
    "Audio-dominant": AUDIO,
    "Visual-dominant": VISUAL,
    "Similar scores, right": BALANCED,
    "Similar scores, wrong": WRONG,
}
ROLE: Final[dict[str, str]] = {
    "Similar scores": BALANCED,
    "Dominant group": IMBALANCED,
    "Audio-dominant": AUDIO,
    "Visual-dominant": VISUAL,
    "Mixture": MIXTURE,
}
GRADIENT: Final[dict[str, str]] = {"Audio": AUDIO, "Visual": VISUAL, "Fusion": FUSED}
OTHERS: Final = ["#6C7BD1", "#B08A2E", "#3D9B8F", "#C4609E", "#7A8596", "#A0664B", "#5B9BD5", "#8F6BB3"]
"""For series that are neither modalities nor groups: none of these stands for one."""
GROUP_OF: Final[dict[str, str]] = {
    words.MIXTURE_GROUPS["audio_dominant"]: AUDIO,
    words.MIXTURE_GROUPS["similar"]: BALANCED,
    words.MIXTURE_GROUPS["visual_dominant"]: VISUAL,
    words.MIXTURE_GROUPS["unknown"]: RULE,
}
"""Groups by the mixture alone, right or wrong."""
