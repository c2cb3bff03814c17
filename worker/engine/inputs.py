"""Encoders before the first step: can they read what the dataset was prepared to, and which weights do they begin from.

Shapes: B clips, T frames, M mel bins, S time steps, W side of the crop.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from worker.contract.errors import TrainingError
from worker.contract.spec import PreprocessSpec
from worker.contract.spec.model import EncoderSpec
from worker.encoders.weights import FirstWeights
from worker.model import EncoderPair

NUM_CLIPS = 2


def prepare_encoders(spec: EncoderSpec, pair: EncoderPair, preprocess: PreprocessSpec, *, begins: bool) -> None:
    """Checks the shapes that a pair will read and loads the first weights that its spec names.

    Args:
        spec: of the pair.
        pair: with random weights, on the CPU.
        preprocess: of the store.
        begins: whether the run begins; one that resumes has its weights from a checkpoint and needs no file of others.

    Raises:
        TrainingError: shapes or weights do not fit, or weights are missing.
    """
    if spec.reads == "clips":
        check_inputs(spec, pair.audio, pair.visual, preprocess)
    if begins and hasattr(pair, "load_first_weights"):
        cast(FirstWeights, pair).load_first_weights()


def check_inputs(spec: EncoderSpec, audio: nn.Module, visual: nn.Module, preprocess: PreprocessSpec) -> None:
    """Returns nothing where both encoders take inputs of the shapes that a store gives.

    Args:
        spec: of the encoders, for the message.
        audio: from (B, 1, M, S).
        visual: from (B, T, 3, W, W).
        preprocess: of the store.

    Raises:
        TrainingError: one does not (code input-shape-unfit), such as a network of a fixed input size.
    """
    side = preprocess.crop_size
    inputs = {
        "audio": (audio, (1, preprocess.num_bins, preprocess.num_steps), "num_mels, hop_samples or duration_s"),
        "visual": (visual, (preprocess.num_frames, 3, side, side), "crop_size"),
    }
    for modality, (encoder, shape, fields) in inputs.items():
        try:
            _forward_on_shapes(encoder, torch.empty(NUM_CLIPS, *shape, device="meta"))
        except (RuntimeError, ValueError, AssertionError, IndexError) as error:
            what = "spectrograms" if modality == "audio" else "frames"
            raise TrainingError(
                f"The {modality} encoder of {spec.kind!r} cannot read {what} of the shape {shape} ({error}): set "
                f"resize_to where the encoder has it, prepare the dataset with other values of {fields}, or choose "
                "another encoder.",
                code="input-shape-unfit",
            ) from error


def _forward_on_shapes(encoder: nn.Module, inputs: Tensor) -> None:
    """Runs an encoder without any arithmetic: its tensors have shapes alone."""
    tensors = {name: value.to("meta") for name, value in encoder.state_dict().items()}
    training = encoder.training
    encoder.eval()
    try:
        with torch.no_grad():
            functional_call(encoder, tensors, (inputs,))
    finally:
        encoder.train(training)
