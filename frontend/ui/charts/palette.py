"""The colours of the interface: fixed, safe for colour-blind readers, and legible on light and dark ground alike.

Orange, blue and green follow Okabe and Ito's palette, lightened for dark ground. Colour never stands alone: lines also
differ by dash, bars by place and label.
"""

from __future__ import annotations

from typing import Final

AUDIO: Final = "#E08A1E"
VISUAL: Final = "#2E8BC9"
FUSED: Final = "#12A07B"
BALANCED: Final = "#8A94A6"
IMBALANCED: Final = "#C4609E"
MIXTURE: Final = "#4F9A94"
WRONG: Final = "#B9524C"
RULE: Final = "#8A94A6"

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
