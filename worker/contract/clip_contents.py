"""What the model sees of a clip, as GET /datasets/{id}/samples/{sample_id}/contents tells it."""

from __future__ import annotations

from pydantic import BaseModel, Field

from worker.contract.spec.preprocess import Spectrogram


class SpectrogramView(BaseModel):
    """Levels over time and frequency."""

    kind: Spectrogram = Field(description="Of what the levels are: mel power, |STFT| or Kaldi's filter bank.")
    edges_s: list[float] = Field(description="Edges of the cells, seconds from the start of the clip.")
    edges_hz: list[float] = Field(description="Edges of the cells, Hz; evenly spaced on the mel scale but log-stft.")
    levels_db: list[list[float]] = Field(description="Frequency by time, the lowest frequency first, dB.")


class WaveformView(BaseModel):
    """A waveform as its lowest and highest value by stretch of time."""

    edges_s: list[float] = Field(description="Edges of the stretches, seconds from the start of the clip.")
    low: list[float] = Field(description="-1..1")
    high: list[float] = Field(description="-1..1")


class ClipContents(BaseModel):
    """What of a clip the model sees."""

    sample_id: str
    start_s: float = Field(description="Where the model's window begins in the clip, seconds.")
    duration_s: float = Field(description="Length of the window, seconds.")
    has_audio: bool
    has_visual: bool
    frame_times_s: list[float] = Field(description="Of the frames on the strip, seconds from the start of the clip.")
    spectrogram: SpectrogramView | None = Field(description="Null where the clip has no sound.")
    waveform: WaveformView | None = Field(description="Null without sound, and where the store keeps spectrograms.")
