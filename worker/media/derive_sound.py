"""The sound of a stretch of a clip as 16-bit samples, mono, as a store of waveforms keeps it.

`python -P -m worker.media.derive_sound SOURCE TARGET PARENT_PID START_S LENGTH_S RATE_HZ NUM_SAMPLES`, an expendable
process as worker.media.derive.
"""

from __future__ import annotations

import sys
from pathlib import Path

from worker.media.derive import attempt

_INT16_MAX = 32_767


def main(arguments: list[str]) -> int:
    """Writes the samples; returns the exit status."""
    source, target, parent_pid = Path(arguments[0]), Path(arguments[1]), int(arguments[2])
    start_s, length_s = float(arguments[3]), float(arguments[4])
    rate_hz, num_samples = int(arguments[5]), int(arguments[6])
    return attempt(lambda: derive_sound(source, target, start_s, length_s, rate_hz, num_samples), parent_pid)


def derive_sound(source: Path, target: Path, start_s: float, length_s: float, rate_hz: int, num_samples: int) -> None:
    """Writes what training hears of a stretch: int16, as many samples as the window has, repeated where it is shorter.

    Args:
        source: the clip, or its separate sound file.
        target: a file that is not there yet.
        start_s: start of the stretch, seconds from the start of the clip.
        length_s: how much of the window the clip covers, seconds.
        rate_hz: sample rate of the result.
        num_samples: of the window.

    Raises:
        MediaError: when there is no sound, or it cannot be decoded.
    """
    import numpy as np

    from worker.contract.errors import MediaError
    from worker.media.container import DecodeLimits, open_container, read_media, read_region
    from worker.media.sound import decode_sound

    with open_container(source) as container:
        media = read_media(container, DecodeLimits(), size_bytes=source.stat().st_size)
        media.visual = None  # large files: the packets of the picture need not be kept
        if media.audio is None:
            raise MediaError(f"{source.name!r} holds no sound.", code="media-no-streams")
        read_region(container, media, start_s, start_s + length_s)
        sound = decode_sound(media.audio, start_s, start_s + length_s, rate_hz) if media.audio.packets else None
    if sound is None:
        raise MediaError("The sound cannot be decoded.", code="media-not-decodable")
    samples = sound.window(start_s, length_s, num_samples)
    target.write_bytes(np.round(np.clip(samples, -1.0, 1.0) * _INT16_MAX).astype(np.int16).tobytes())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
