"""`python -P -m worker.media.derive SOURCE TARGET PARENT_PID`: a clip as browsers play it, H.264 and AAC in MP4.

An expendable process with the decoder's limits, without torch. On failure it prints the problem as one JSON line and
ends with status 1.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

MAX_S = 600.0
MAX_SIDE = 1_280
"""Longer sides are scaled down: it is for looking, not for training."""
CPU_S = 240
AUDIO_RATE_HZ = 48_000
FRAME_RATE = 25
"""Frames a second where the clip does not say."""


def main(arguments: list[str]) -> int:
    """Makes the derivative; returns the exit status."""
    source, target, parent_pid = Path(arguments[0]), Path(arguments[1]), int(arguments[2])
    return attempt(lambda: derive(source, target), parent_pid)


def attempt(make: Callable[[], None], parent_pid: int) -> int:
    """Makes something of a clip within the decoder's limits; says on standard output what went wrong.

    Args:
        make: writes the derivative.
        parent_pid: who started this process.

    Returns:
        The exit status.
    """
    from worker.media.child import allow_cpu, confine

    confine(parent_pid, die_with_parent=True)
    allow_cpu(CPU_S)
    from worker.contract.errors import MediaError

    try:
        make()
    except MediaError as error:
        problem = error.problem()
    except MemoryError:
        problem = MediaError("Decoding the clip takes too much memory.", code="media-too-large").problem()
    except Exception as error:  # a fault of ours or of a codec: it costs this clip alone
        problem = MediaError(f"{type(error).__name__}: {error}", code="media-not-decodable").problem()
    else:
        return 0
    sys.stdout.write(problem.model_dump_json() + "\n")
    return 1


def derive(source: Path, target: Path) -> None:
    """Writes the clip anew; its index stands in front, so that it plays while it loads.

    Args:
        source: the clip.
        target: a file that is not there yet.

    Raises:
        MediaError: when it cannot be decoded, or is over a limit.
    """
    import av

    from worker.contract.errors import MediaError
    from worker.media.container import DecodeLimits, open_container, read_media

    limits = DecodeLimits(max_duration_s=MAX_S, threads=2)
    with open_container(source) as container:
        read_media(container, limits, size_bytes=source.stat().st_size)  # refuses what is over a limit
    with (
        open_container(source) as container,
        av.open(str(target), "w", format="mp4", options={"movflags": "+faststart"}) as made,
    ):
        visual = next(iter(container.streams.video), None)
        audio = next(iter(container.streams.audio), None)
        by_stream: dict[int, _Picture | _Sound] = {}
        if visual is not None:
            by_stream[visual.index] = _Picture(made, visual)
        if audio is not None:
            by_stream[audio.index] = _Sound(made, audio)
        for packet in container.demux(*(stream for stream in (visual, audio) if stream is not None)):
            track = by_stream[packet.stream_index]
            for frame in _decoded(packet):
                if frame.time is not None and frame.time > MAX_S + 1:
                    raise MediaError(f"The clip lasts more than {MAX_S:.0f} s. Cut it.", code="media-too-long")
                track.write(frame)
        for track in by_stream.values():
            track.finish()
        if not any(track.written for track in by_stream.values()):
            raise MediaError("Nothing of the clip can be decoded.", code="media-not-decodable")


def _decoded(packet: Any) -> Iterator[Any]:
    """Yields the frames of a packet; a packet that is damaged has none."""
    import av

    try:
        yield from packet.decode()
    except (av.FFmpegError, ValueError):
        return


class _Picture:
    """The picture track: H.264, at most MAX_SIDE, even sides."""

    def __init__(self, made: Any, stream: Any) -> None:
        self._made, self.written = made, 0
        context = stream.codec_context
        scale = min(1.0, MAX_SIDE / max(context.width, context.height, 1))
        self._size = tuple(max(2, int(side * scale) // 2 * 2) for side in (context.width, context.height))
        rate = stream.average_rate or stream.guessed_rate or Fraction(FRAME_RATE)
        rate = rate if 0 < rate <= 120 else Fraction(FRAME_RATE)
        self._out = made.add_stream("libx264", rate=rate, options={"preset": "veryfast", "crf": "23"})
        self._out.width, self._out.height = self._size
        self._out.pix_fmt = "yuv420p"
        self._tick = Fraction(1, 90_000)
        self._out.codec_context.time_base = self._tick
        self._last = -1

    def write(self, frame: Any) -> None:
        picture = frame.reformat(width=self._size[0], height=self._size[1], format="yuv420p")
        time_s = frame.time if frame.time is not None else (self._last + 1) * float(self._tick)
        stamp = max(self._last + 1, round(time_s / self._tick))
        picture.pts, picture.time_base, self._last = stamp, self._tick, stamp
        self._made.mux(self._out.encode(picture))
        self.written += 1

    def finish(self) -> None:
        self._made.mux(self._out.encode(None))


class _Sound:
    """The sound track: AAC, stereo at most."""

    def __init__(self, made: Any, stream: Any) -> None:
        import av

        self._made, self.written = made, 0
        layout = "mono" if stream.codec_context.layout.nb_channels == 1 else "stereo"
        self._out = made.add_stream("aac", rate=AUDIO_RATE_HZ, layout=layout)
        self._resampler = av.AudioResampler(format="fltp", layout=layout, rate=AUDIO_RATE_HZ)

    def write(self, frame: Any) -> None:
        from worker.media.sound import check_rate

        check_rate(frame)
        for piece in self._resampler.resample(frame):
            self._made.mux(self._out.encode(piece))
        self.written += 1

    def finish(self) -> None:
        if self.written:
            for piece in self._resampler.resample(None):
                self._made.mux(self._out.encode(piece))
        self._made.mux(self._out.encode(None))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
