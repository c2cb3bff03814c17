"""Scores of clips by a trained model, rebuilt from its checkpoint alone: nothing is guessed, no dataset is needed.

A clip passes through the stored form as in preparation, so it scores what the same clip scored in evaluation. What it
scores without its sound or its picture (the knock-outs) is computed in the same pass: a sound or a picture that stands
in several rows is encoded once.

Shapes: W windows, S samples of the waveform, T frames, H side of the frames, C classes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from worker.contract.errors import CorruptRecordError, InvalidRequestError, MediaError
from worker.contract.scores import ClassByModality, DistributionByModality, ScoreResult, WindowScore, require_clips
from worker.contract.spec import PreprocessSpec, RunSpec
from worker.engine import checkpoint
from worker.engine.building import rebuilt_model
from worker.engine.gap_reading import GapReader, GapReading, gap_of
from worker.engine.rows import BRANCHES
from worker.engine.steps import Snapshot
from worker.media.preprocess import Preprocessor
from worker.model import AudioVisualModel, Modality

T = TypeVar("T")
Probabilities = dict[str, NDArray[np.float32] | None]
"""By branch: (C,) for one clip or (W, C) for windows; None for a branch that the clip does not have."""

MAX_BATCH = 32
"""Spectrograms, or windows of frames, that are encoded at once: what bounds the memory of a long clip."""

KNOCK_OUTS = ("mute", "freeze", "black")
"""Silence for the sound; the first frame for all; no picture."""


class Clip(Protocol):
    """One decoded window (worker.media.decode.DecodedClip)."""

    @property
    def waveform(self) -> NDArray[np.float32] | None:
        """(S,) mono, -1..1, or None."""

    @property
    def frames(self) -> NDArray[np.uint8] | None:
        """(T, H, H, 3) RGB, or None."""

    @property
    def start_s(self) -> float:
        """Where the window begins in the clip."""

    @property
    def padded(self) -> bool:
        """Whether the clip is shorter than the window."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What decoding has to say."""


class Scorer:
    """A trained model, ready to score."""

    def __init__(
        self,
        model: AudioVisualModel,
        preprocessor: Preprocessor,
        classes: Sequence[str],
        reader: GapReader,
        *,
        epoch: int,
        device: torch.device,
    ) -> None:
        """Takes the parts; use `load`.

        Args:
            model: in evaluation mode, on the device.
            preprocessor: of the run's store.
            classes: names by label.
            reader: of the training gaps at that epoch.
            epoch: whose weights these are.
            device: where to compute.
        """
        self._model = model
        self._preprocessor = preprocessor
        self.classes = tuple(classes)
        self.epoch = epoch
        self.reader = reader
        self._device = device

    @property
    def preprocess(self) -> PreprocessSpec:
        """How a clip is to be decoded."""
        return self._preprocessor.spec

    @classmethod
    def load(cls, path: Path, device: str = "cpu") -> Scorer:
        """Returns the scorer of a checkpoint, in float32 whatever the run trained in.

        Args:
            path: of an epoch's checkpoint.
            device: where to compute.

        Raises:
            CorruptRecordError: the file is damaged or incomplete.
            InvalidRequestError: the model reads precomputed features, which an uploaded clip has not.
        """
        return cls.of(checkpoint.load(path), device)

    @classmethod
    def of(cls, snapshot: Snapshot, device: str = "cpu") -> Scorer:
        """Returns the scorer of a snapshot (see `load`)."""
        record = cast(dict[str, Any], snapshot.record)
        try:
            encoder_kind = RunSpec.model_validate(record["spec"]).encoder.kind
            preprocess = PreprocessSpec.model_validate(record["preprocess"])
            classes = [str(name) for name in record["classes"]]
            reader = GapReader.of(record, snapshot.tensors)
        except (KeyError, RuntimeError, ValueError) as error:
            raise CorruptRecordError(f"The checkpoint cannot be used to score ({error}): use another one.") from error
        require_clips(encoder_kind)
        where = torch.device(device)
        model = rebuilt_model(snapshot, where)
        return cls(model, Preprocessor(preprocess), classes, reader, epoch=snapshot.epoch, device=where)

    def score(self, clips: Sequence[Clip], label: str | None = None, *, knock_outs: bool = False) -> ScoreResult:
        """Returns the scores of a clip: those of its first window, and of the windows over time after it.

        Args:
            clips: the middle window, then windows over time (worker.media.decode.decode_windows); at least one.
            label: the true class; None: the gap is that of the fused prediction.
            knock_outs: also say what the first window scores without its sound or its picture, in the same pass.

        Raises:
            InvalidRequestError: the label is unknown to the run.
            MediaError: the clip has no track that the model uses.
        """
        if label is not None and label not in self.classes:
            raise InvalidRequestError(
                f"The label {label!r} is unknown to this run, which knows {', '.join(self.classes[:20])}.",
                code="label-unknown",
            )
        started = time.perf_counter()
        rows = self.probabilities(clips, knock_outs=knock_outs)
        seconds = time.perf_counter() - started
        label_index = None if label is None else self.classes.index(label)
        return self._result(clips, rows, label_index, seconds)

    def probabilities(self, clips: Sequence[Clip], *, knock_outs: bool = False) -> list[Probabilities]:
        """Returns the class probabilities of each window, and after them those of the first window's knock-outs.

        Args:
            clips: at least one; all have the tracks that the first one has.
            knock_outs: add KNOCK_OUTS of the first; without both modalities there is nothing to knock out.

        Raises:
            MediaError: the clips have no track that the model uses.
        """
        unusable = self.unusable(clips[0])
        if unusable is not None:
            raise unusable
        used = self._model.modalities
        waveforms = [clip.waveform for clip in clips if clip.waveform is not None and "audio" in used]
        frames = [clip.frames for clip in clips if clip.frames is not None and "visual" in used]
        rows = [(index, index) for index in range(len(clips))]
        if knock_outs and waveforms and frames:
            silent, frozen, black = len(waveforms), len(frames), len(frames) + 1
            waveforms.append(np.zeros_like(waveforms[0]))
            frames += [np.repeat(frames[0][:1], len(frames[0]), axis=0), np.zeros_like(frames[0])]
            rows += [(silent, 0), (0, frozen), (0, black)]
        batch = self._forward(waveforms, frames, rows)
        return [
            {name: None if values is None else values[row] for name, values in batch.items()}
            for row in range(len(rows))
        ]

    def unusable(self, clip: Clip) -> MediaError | None:
        """Returns why a clip cannot be scored: it has no track that the model uses; None where it can be."""
        if clip.waveform is None and clip.frames is None:
            return MediaError("The clip has neither sound nor picture.", code="media-no-streams")
        if self._model.modalities == ("audio",) and clip.waveform is None:
            return MediaError("The run uses sound alone, and the clip has none.", code="media-no-audio")
        if self._model.modalities == ("visual",) and clip.frames is None:
            return MediaError("The run uses the picture alone, and the clip has none.", code="media-no-visual")
        return None

    def read(self, row: Probabilities, label: int | None) -> GapReading:
        """Returns what the run says of the gap of the label, or of the fused prediction."""
        only = self._model.modalities
        if len(only) == 1:
            return self.reader.read(None, missing=f"The run was trained on {only[0]} alone, so there is no gap.")
        return self.reader.read(self.gap(row, label))

    def _forward(
        self,
        waveforms: Sequence[NDArray[np.float32]],
        frames: Sequence[NDArray[np.uint8]],
        rows: Sequence[tuple[int, int]],
    ) -> Probabilities:
        """Returns the probabilities of rows, each a sound and a picture by number; every one is encoded once."""
        features: dict[str, Tensor] = {}
        with torch.no_grad():
            if waveforms:
                chosen = torch.tensor([audio for audio, _ in rows], device=self._device)
                features["audio"] = torch.cat([self._audio(part) for part in _batches(waveforms)])[chosen]
            if frames:
                chosen = torch.tensor([visual for _, visual in rows], device=self._device)
                features["visual"] = torch.cat([self._visual(part) for part in _batches(frames)])[chosen]
            logits = {name: self._model.head_logits(name, features) for name in features}
            if len(features) == 2:
                logits["fused"] = self._model.classify(features).fused_logits
            elif len(self._model.modalities) == 1:  # a run with one modality: its head is the fused prediction
                logits["fused"] = logits[self._model.modalities[0]]
            return {name: _softmax(logits[name]) if name in logits else None for name in BRANCHES}

    def _audio(self, waveforms: Sequence[NDArray[np.float32]]) -> Float[Tensor, "W A"]:
        stored = [self._preprocessor.store_audio(waveform) for waveform in waveforms]
        return self._model.encode_audio(self._preprocessor.audio_tensor(np.stack(stored), self._device))

    def _visual(self, frames: Sequence[NDArray[np.uint8]]) -> Float[Tensor, "W V"]:
        cut = self._preprocessor.crop(np.stack(frames))
        return self._model.encode_visual(self._preprocessor.frame_tensor(cut, self._device))

    def _result(
        self, clips: Sequence[Clip], rows: Sequence[Probabilities], label: int | None, seconds: float
    ) -> ScoreResult:
        """Returns the result from the probabilities of each window and of the knock-outs after them."""
        whole = rows[0]
        reading = self.read(whole, label)
        notes = list(clips[0].notes)
        if reading.gap is not None and label is None:
            notes.append("No label was given: gap and posterior hold if the fused prediction is right.")
        knocked = dict(zip(KNOCK_OUTS, rows[len(clips) :], strict=False))
        return ScoreResult(
            probabilities=self._distribution(whole),
            predicted=self.predicted(whole),
            gap=reading.gap,
            gap_of=None if reading.gap is None else "fused prediction" if label is None else "label",
            posterior_imbalanced=reading.posterior_imbalanced,
            posterior_reason=reading.posterior_reason,
            opposite_tail=reading.opposite_tail,
            gap_in_training=reading.in_training,
            modalities_present=tracks(clips[0]),
            padded=clips[0].padded,
            notes=notes,
            windows=[self._window(clips[k], rows[k], label) for k in range(1, len(clips))],
            knock_outs={name: self._distribution(row) for name, row in knocked.items()},
            knock_out_changes={name: self._distribution(_change(whole, row)) for name, row in knocked.items()},
            timing_s={"model": seconds},
        )

    def _window(self, clip: Clip, row: Probabilities, label: int | None) -> WindowScore:
        reading = self.read(row, label)
        return WindowScore(
            start_s=clip.start_s,
            end_s=clip.start_s + self.preprocess.duration_s,
            probabilities=self._distribution(row),
            gap=reading.gap,
            posterior_imbalanced=reading.posterior_imbalanced,
        )

    def predicted(self, row: Probabilities) -> ClassByModality:
        """Returns the likeliest class of each branch."""
        return ClassByModality(
            **{name: None if p is None else self.classes[int(p.argmax())] for name, p in row.items()}
        )

    def gap(self, row: Probabilities, label: int | None) -> float | None:
        """Returns the modality gap of the label, or of the fused prediction; None where a modality is missing."""
        fused, audio, visual = row["fused"], row["audio"], row["visual"]
        if fused is None or audio is None or visual is None:
            return None
        return gap_of(audio, visual, int(fused.argmax()) if label is None else label)

    def _distribution(self, row: Probabilities) -> DistributionByModality:
        """Returns probabilities, or changes of such, by class name."""
        named = {
            name: None if p is None else {label: float(v) for label, v in zip(self.classes, p, strict=True)}
            for name, p in row.items()
        }
        return DistributionByModality(**named)


def tracks(clip: Clip) -> list[Modality]:
    """Returns the modalities that a clip has, whether or not the model uses them."""
    has: dict[Modality, bool] = {"audio": clip.waveform is not None, "visual": clip.frames is not None}
    return [name for name, there in has.items() if there]


def _softmax(logits: Float[Tensor, "W C"]) -> NDArray[np.float32]:
    """Returns class probabilities, on the CPU."""
    probabilities: NDArray[np.float32] = logits.softmax(dim=1).cpu().numpy()
    return probabilities


def _batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yields at most MAX_BATCH items at a time."""
    for first in range(0, len(items), MAX_BATCH):
        yield items[first : first + MAX_BATCH]


def _change(before: Probabilities, after: Probabilities) -> Probabilities:
    """Returns by how much each probability changes."""
    changes: Probabilities = {}
    for name, values in after.items():
        was = before[name]
        changes[name] = None if values is None or was is None else values - was
    return changes
