"""An earlier run that an objective builds on: its model as a teacher, its losses by epoch.

This module must not know files: who gives the snapshot and the events read them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch

from worker.contract.errors import TrainingError
from worker.contract.events import EpochFinished
from worker.contract.spec import PreprocessSpec, RunSpec
from worker.contract.spec.model import EncoderSpec, Precomputed
from worker.engine.building import rebuilt_model
from worker.engine.steps import Snapshot
from worker.model import AudioVisualModel, EncoderPair, Modality


class EarlierRun:
    """A finished run."""

    def __init__(self, run_id: str, snapshot: Snapshot, epochs: Sequence[EpochFinished]) -> None:
        """Takes what is known of it.

        Args:
            run_id: of the run.
            snapshot: of its last epoch.
            epochs: its events.

        Raises:
            CorruptRecordError: the snapshot is incomplete.
        """
        self.run_id = run_id
        record = cast(Mapping[str, Any], snapshot.record)
        self.classes = tuple(str(name) for name in record["classes"])
        self.preprocess = PreprocessSpec.model_validate(record["preprocess"])
        self.encoder = RunSpec.model_validate(record["spec"]).encoder
        self._epochs = {event.epoch: event for event in epochs}
        self._model = rebuilt_model(snapshot, torch.device("cpu")).requires_grad_(False)

    @property
    def num_epochs(self) -> int:
        """Epochs that it has finished."""
        return max(self._epochs, default=0)

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """What its model uses."""
        return self._model.modalities

    @property
    def num_audio_features(self) -> int:
        """A of its audio encoder."""
        return cast(EncoderPair, self._model.encoders).num_audio_features

    @property
    def num_visual_features(self) -> int:
        """V of its visual encoder."""
        return cast(EncoderPair, self._model.encoders).num_visual_features

    def reads_like(self, encoder: EncoderSpec) -> bool:
        """Returns whether its model can read the batches that are made for an encoder: clips, or the same features.

        Args:
            encoder: of another run on the same data.
        """
        if isinstance(encoder, Precomputed) and isinstance(self.encoder, Precomputed):
            return encoder.features_root == self.encoder.features_root
        return encoder.reads == self.encoder.reads == "clips"

    def model(self, device: torch.device) -> AudioVisualModel:
        """Returns its model, frozen and in evaluation mode.

        Args:
            device: where to put it.
        """
        return self._model.to(device)

    def cross_entropy(self, epoch: int, split: str) -> float:
        """Returns the fused mean cross-entropy of a split at the end of an epoch, nats.

        Args:
            epoch: from 1.
            split: "train" or "validation".

        Raises:
            TrainingError: the run has no such figure.
        """
        event = self._epochs.get(epoch)
        report = None if event is None else event.train if split == "train" else event.validation
        figures = None if report is None else report.cross_entropy
        if figures is None or figures.fused is None:
            raise TrainingError(
                f"The earlier run {self.run_id} has no cross-entropy of split {split} in epoch {epoch}; it has "
                f"{len(self._epochs)} epochs. Name a longer run of this version.",
                code="source-run-unfit",
            )
        return figures.fused
