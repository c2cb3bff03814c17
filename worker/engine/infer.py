"""Scores of clips by a trained model, rebuilt from its checkpoint alone: nothing is guessed, no dataset is needed.

A clip passes through the stored form as in preparation, so it scores what the same clip scored in evaluation.

Shapes: W windows, S samples of the waveform, T frames, H side of the frames, C classes.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from worker.contract import events
from worker.contract.errors import CorruptRecordError, InvalidRequestError, MediaError
from worker.contract.scores import ClassByModality, DistributionByModality, ScoreResult, WindowScore
from worker.contract.spec import PreprocessSpec, RunSpec
from worker.engine import checkpoint
from worker.engine.assembly import build_model
from worker.engine.evaluate import parameters_of
from worker.engine.rows import BRANCHES
from worker.engine.steps import Snapshot
from worker.media.preprocess import Preprocessor
from worker.model import AudioVisualModel
from worker.science.gap import modality_gap
from worker.science.mixture import MixtureParameters
from worker.science.posterior import posterior

Probabilities = dict[str, NDArray[np.float32] | None]
"""By branch: (C,) for one clip or (W, C) for windows; None for a branch that the clip does not have."""

MAX_BATCH = 32
"""Windows scored at once."""


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
        mixture: MixtureParameters | None,
        *,
        epoch: int,
        device: torch.device,
    ) -> None:
        """Takes the parts; use `load`.

        Args:
            model: in evaluation mode, on the device.
            preprocessor: of the run's store.
            classes: names by label.
            mixture: the paper's, of the training split at that epoch; None where the fit was degenerate.
            epoch: whose weights these are.
            device: where to compute.
        """
        self._model = model
        self._preprocessor = preprocessor
        self.classes = tuple(classes)
        self.epoch = epoch
        self._mixture = mixture
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
        """
        return cls.of(checkpoint.load(path), device)

    @classmethod
    def of(cls, snapshot: Snapshot, device: str = "cpu") -> Scorer:
        """Returns the scorer of a snapshot (see `load`)."""
        record = cast(dict[str, Any], snapshot.record)
        try:
            spec = RunSpec.model_validate(record["spec"])
            preprocess = PreprocessSpec.model_validate(record["preprocess"])
            classes = [str(name) for name in record["classes"]]
            saved = record["mixtures"].get("train")
            mixture = None if saved is None else parameters_of(events.Mixture.model_validate(saved["paper"]["mixture"]))
            model = build_model(spec, len(classes), heads_are_probes=record["unimodal_source"] == "probe")
            weights = {k.removeprefix("model."): v for k, v in snapshot.tensors.items() if k.startswith("model.")}
            model.load_state_dict(weights)
        except (KeyError, RuntimeError, ValueError) as error:
            raise CorruptRecordError(f"The checkpoint cannot be used to score ({error}): use another one.") from error
        where = torch.device(device)
        model.to(where).eval()
        return cls(model, Preprocessor(preprocess), classes, mixture, epoch=snapshot.epoch, device=where)

    def score(self, clips: Sequence[Clip], label: str | None = None) -> ScoreResult:
        """Returns the scores of a clip: those of its first window, and of the windows over time after it.

        Args:
            clips: the middle window, then windows over time (worker.media.decode.decode_windows); at least one.
            label: the true class; None: the gap is that of the fused prediction.

        Raises:
            InvalidRequestError: the label is unknown to the run.
            MediaError: the clip has neither sound nor picture.
        """
        if label is not None and label not in self.classes:
            raise InvalidRequestError(
                f"The label {label!r} is unknown to this run, which knows {', '.join(self.classes[:20])}.",
                code="label-unknown",
            )
        if not clips or (clips[0].waveform is None and clips[0].frames is None):
            raise MediaError("The clip has neither sound nor picture.", code="media-no-streams")
        started = time.perf_counter()
        windows = [self._score_alike(clips[first : first + MAX_BATCH]) for first in range(0, len(clips), MAX_BATCH)]
        rows = [_row(batch, index) for batch in windows for index in range(_length(batch))]
        return self._result(clips, rows, label, time.perf_counter() - started)

    def _score_alike(self, clips: Sequence[Clip]) -> Probabilities:
        """Returns the probabilities of windows of one file: all have the tracks that the first one has."""
        features: dict[str, Tensor] = {}
        with torch.no_grad():
            if clips[0].waveform is not None:
                stored = [self._preprocessor.store_audio(cast(NDArray[np.float32], clip.waveform)) for clip in clips]
                audio = self._preprocessor.audio_tensor(np.stack(stored), self._device)
                features["audio"] = self._model.encode_audio(audio)
            if clips[0].frames is not None:
                cut = self._preprocessor.crop(np.stack([cast(NDArray[np.uint8], clip.frames) for clip in clips]))
                features["visual"] = self._model.encode_visual(self._preprocessor.frame_tensor(cut, self._device))
            logits = {name: self._model.head_logits(name, features) for name in features}
            if len(features) == 2:
                logits["fused"] = self._model.classify(features).fused_logits
            return {name: _softmax(logits[name]) if name in logits else None for name in BRANCHES}

    def _result(
        self, clips: Sequence[Clip], rows: list[Probabilities], label: str | None, seconds: float
    ) -> ScoreResult:
        """Returns the result from the probabilities of each window."""
        whole = rows[0]
        label_index = None if label is None else self.classes.index(label)
        gap = _gap(whole, label_index)
        posterior_imbalanced, reason = self._posterior(gap)
        notes = list(clips[0].notes)
        if gap is not None and label is None:
            notes.append("No label was given: gap and posterior hold if the fused prediction is right.")
        return ScoreResult(
            probabilities=self._distribution(whole),
            predicted=ClassByModality(
                **{name: None if p is None else self.classes[int(p.argmax())] for name, p in whole.items()}
            ),
            gap=gap,
            gap_of=None if gap is None else "fused prediction" if label is None else "label",
            posterior_imbalanced=posterior_imbalanced,
            posterior_reason=reason,
            modalities_present=[name for name in ("audio", "visual") if whole[name] is not None],
            padded=clips[0].padded,
            notes=notes,
            windows=[
                WindowScore(
                    start_s=clip.start_s,
                    end_s=clip.start_s + self.preprocess.duration_s,
                    probabilities=self._distribution(row),
                    gap=_gap(row, label_index),
                )
                for clip, row in list(zip(clips, rows, strict=True))[1:]
            ],
            timing_s={"model": seconds},
        )

    def _posterior(self, gap: float | None) -> tuple[float | None, str | None]:
        """Returns the posterior of a gap by the training mixture, or the reason why there is none."""
        if gap is None:
            return None, "The clip has one modality alone, so there is no gap."
        if self._mixture is None:
            return None, "The training gaps of this epoch hardly varied, so no mixture was fitted."
        return float(posterior(np.array([gap]), self._mixture)[0]), None

    def _distribution(self, row: Probabilities) -> DistributionByModality:
        """Returns probabilities by class name."""
        named = {
            name: None if p is None else {label: float(v) for label, v in zip(self.classes, p, strict=True)}
            for name, p in row.items()
        }
        return DistributionByModality(**named)


def _softmax(logits: Float[Tensor, "W C"]) -> NDArray[np.float32]:
    """Returns class probabilities, on the CPU."""
    probabilities: NDArray[np.float32] = logits.softmax(dim=1).cpu().numpy()
    return probabilities


def _length(batch: Probabilities) -> int:
    """Returns the number of windows of a batch."""
    return next(len(values) for values in batch.values() if values is not None)


def _row(batch: Probabilities, index: int) -> Probabilities:
    """Returns one window of a batch."""
    return {name: None if values is None else values[index] for name, values in batch.items()}


def _gap(row: Probabilities, label_index: int | None) -> float | None:
    """Returns the modality gap of the label, or of the fused prediction; None where a modality is missing."""
    fused, audio, visual = row["fused"], row["audio"], row["visual"]
    if fused is None or audio is None or visual is None:
        return None
    of = torch.tensor([int(fused.argmax()) if label_index is None else label_index])
    # The gap's formula takes logits, and log-probabilities are such.
    logits = [torch.from_numpy(values)[None].log() for values in (audio, visual)]
    return float(modality_gap(logits[0], logits[1], of))
