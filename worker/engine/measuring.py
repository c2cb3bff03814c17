"""Which precision, memory format and compilation make this model's training step fastest on this device.

Measured once for a shape and a machine, in turns, and kept in the home. This module must not know what a run records.

Shapes: B clips, T frames, M mel bins, S time steps, W side of the crop.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, cast

import torch

from worker.contract.layout import write_json
from worker.contract.spec import PreprocessSpec, RunSpec
from worker.engine.batches import MIN_BATCH, free_memory
from worker.engine.building import build_model, compile_encoders
from worker.engine.inputs import prepare_encoders
from worker.engine.machine import cpuinfo, processor_of
from worker.model import EncoderPair

Precision = Literal["fp32", "bf16"]
MemoryFormat = Literal["contiguous", "channels_last"]
FORMAT_OF: dict[Precision, MemoryFormat] = {"fp32": "contiguous", "bf16": "channels_last"}
"""Of a precision that a spec names."""

NUM_REPEATS = 3
FIRST_CLIPS = 8
"""Clips of the first look, which tells how long a measurement and the run will take."""
MAX_STEP_S = 1.0
"""A step of the measurement takes about this at most: with fewer clips than the run's batch where need be."""
WORTH_SHARE = 0.02
"""A measurement may take this share of the run that asks for it; a shorter run computes plainly. Ours."""
COMPILE_S = 90.0
"""What compiling takes where it was not measured yet: 73 to 89 s for a ResNet-18 pair, with torch 2.15."""
NUM_COMPILATIONS = 2
"""A run compiles for training and for evaluation."""


class Candidate(NamedTuple):
    """One way to compute."""

    precision: Precision
    memory_format: MemoryFormat
    compiled: bool = False

    @property
    def name(self) -> str:
        """What it is called in records."""
        return f"{self.precision} {self.memory_format}{' compiled' if self.compiled else ''}"

    @property
    def needed_gain(self) -> float:
        """How many times faster than plain fp32 it must be to be taken: bits are worth something, noise nothing."""
        return 1.2 if self.precision == "bf16" else 1.05


PLAIN = Candidate("fp32", "contiguous")


@dataclass(frozen=True)
class Measurement:
    """What is taken, and the seconds of a training step of each candidate; none where nothing was measured."""

    candidate: Candidate
    seconds: dict[str, float]


def measured(
    spec: RunSpec,
    preprocess: PreprocessSpec,
    device: str,
    *,
    cache: Path | None = None,
    num_train: int | None = None,
) -> Measurement:
    """Returns the fastest way to compute a run's steps, of those that are clearly faster than plain fp32.

    Args:
        spec: of the run.
        preprocess: of its store, for the shape of the inputs.
        device: of the run.
        cache: a JSON file that keeps measurements.
        num_train: clips an epoch; None: the run is long enough for any measurement but that of compiling.
    """
    candidates = candidates_of(device)
    # torch's version and the processor belong to the key: both decide which kernels run.
    parts = (spec.encoder.canonical_json(), preprocess.canonical_json(), str(spec.batch_size))
    key = "|".join((*parts, device, processor_of(device), str(torch.get_num_threads()), torch.__version__))
    seconds = _read_cache(cache).get(key, {})
    if any(candidate.name not in seconds for candidate in candidates):
        bench = StepBench(spec, preprocess, device)
        if num_train is not None and not bench.is_worth(len(candidates), num_train * spec.epochs):
            return Measurement(PLAIN._replace(compiled=spec.compile == "on"), {})
        seconds = bench.seconds(candidates)
        _keep(cache, key, seconds)
    best = fastest(candidates, seconds)
    if spec.compile == "on":
        return Measurement(best._replace(compiled=True), seconds)
    if spec.compile == "off" or num_train is None or not device.startswith("cuda"):
        return Measurement(best, seconds)
    num_steps = num_train * spec.epochs / spec.batch_size
    if best._replace(compiled=True).name not in seconds and seconds[best.name] * num_steps * WORTH_SHARE > COMPILE_S:
        seconds = {**seconds, **StepBench(spec, preprocess, device).compiled_seconds(best)}
        _keep(cache, key, seconds)
    return Measurement(best._replace(compiled=compiling_pays(best, seconds, num_steps)), seconds)


def candidates_of(device: str) -> list[Candidate]:
    """Returns the ways that come into question without compiling, the plain one first.

    Args:
        device: of the run.
    """
    precisions: list[Precision] = ["fp32", "bf16"] if has_fast_bf16(device) else ["fp32"]
    formats: list[MemoryFormat] = ["contiguous", "channels_last"]
    return [Candidate(precision, memory_format) for precision in precisions for memory_format in formats]


def fastest(candidates: Sequence[Candidate], seconds: Mapping[str, float]) -> Candidate:
    """Returns the fastest candidate of those that gain enough over the plain one.

    Args:
        candidates: the plain one first.
        seconds: of a step, by name; without those that did not fit into memory.
    """
    plain = candidates[0]
    limit = seconds[plain.name]
    enough = [each for each in candidates if seconds[each.name] * each.needed_gain < limit]
    return min(enough, key=lambda each: seconds[each.name], default=plain)


def compiling_pays(best: Candidate, seconds: Mapping[str, float], num_steps: float) -> bool:
    """Returns whether a run's compiled steps win more than compiling takes.

    Compiling on a CPU is never asked about: there it takes longer than most runs could win.

    Args:
        best: of those that are not compiled.
        seconds: of a step, by name, and of compiling where it was measured.
        num_steps: of the run.
    """
    name = best._replace(compiled=True).name
    if name not in seconds:
        return False
    return (seconds[best.name] - seconds[name]) * num_steps > NUM_COMPILATIONS * seconds[_COMPILING]


_COMPILING = "compiling"


class StepBench:
    """Training steps on random clips of a run's shapes."""

    def __init__(self, spec: RunSpec, preprocess: PreprocessSpec, device: str) -> None:
        """Builds the model and looks once how long a clip takes, computed plainly.

        Args:
            spec: of the run.
            preprocess: of its store.
            device: of the run.
        """
        self._preprocess = preprocess
        self._device = torch.device(device)
        self._model = build_model(spec, num_classes=2)
        prepare_encoders(spec.encoder, cast(EncoderPair, self._model.encoders), preprocess, begins=False)
        self._model.to(self._device)
        num_clips = min(FIRST_CLIPS, spec.batch_size)
        self._clip_s = min(self._step(PLAIN, num_clips) for _ in range(2)) / num_clips
        affordable = max(num_clips, int(MAX_STEP_S / self._clip_s))
        self._num_clips = min(spec.batch_size, affordable)

    def is_worth(self, num_candidates: int, num_planned: int) -> bool:
        """Returns whether a measurement is short against what it is made for.

        Args:
            num_candidates: to measure.
            num_planned: clips that the run will train on.
        """
        return num_candidates * (NUM_REPEATS + 1) * self._num_clips <= WORTH_SHARE * num_planned

    def seconds(self, candidates: Sequence[Candidate]) -> dict[str, float]:
        """Returns the shortest step of each candidate, taken in turns: a machine's load meets all alike.

        Args:
            candidates: not compiled.
        """
        while True:
            try:
                rounds = [[self._step(each, self._num_clips) for each in candidates] for _ in range(NUM_REPEATS + 1)]
            except torch.OutOfMemoryError:
                if self._num_clips // 2 < MIN_BATCH:
                    raise
            else:
                best = [min(times[1:]) for times in zip(*rounds, strict=True)]  # the first is a warm-up
                return {each.name: seconds for each, seconds in zip(candidates, best, strict=True)}
            self._num_clips //= 2  # the run itself will say that its batch does not fit
            free_memory(self._device)

    def compiled_seconds(self, best: Candidate) -> dict[str, float]:
        """Returns the shortest step of a candidate when compiled, and what compiling took.

        Args:
            best: not compiled.
        """
        compile_encoders(self._model)
        times = [self._step(best, self._num_clips) for _ in range(NUM_REPEATS + 2)]
        return {best._replace(compiled=True).name: min(times[1:]), _COMPILING: times[0]}

    def _step(self, candidate: Candidate, num_clips: int) -> float:
        """Returns the seconds of a training step."""
        memory_format = torch.channels_last if candidate.memory_format == "channels_last" else torch.contiguous_format
        self._model.to(memory_format=memory_format)
        self._model.zero_grad(set_to_none=True)
        made, device, side = self._preprocess, self._device, self._preprocess.crop_size
        audio = torch.randn(num_clips, 1, made.num_bins, made.num_steps, device=device)
        frames = torch.randn(num_clips, made.num_frames, 3, side, side, device=device)
        self._wait()
        started = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=candidate.precision == "bf16"):
            features = self._model.encode(audio, frames)
        output = self._model.classify(features)
        logits = (output.fused_logits, output.audio_logits, output.visual_logits)
        torch.stack([values.square().mean() for values in logits]).sum().backward()  # type: ignore[no-untyped-call]
        self._wait()
        return time.perf_counter() - started

    def _wait(self) -> None:
        """Waits for the device to have done what it was told."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


def has_fast_bf16(device: str) -> bool:
    """Returns whether the device computes in bf16 at all; emulation on a CPU is never faster.

    Args:
        device: of the run.
    """
    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported())
    flags = cpuinfo("flags") or cpuinfo("Features") or ""
    return any(flag in flags.split() for flag in ("avx512_bf16", "amx_bf16", "bf16"))


def _keep(cache: Path | None, key: str, seconds: dict[str, float]) -> None:
    """Adds a measurement to what is known."""
    if cache is not None:
        write_json(cache, {**_read_cache(cache), key: seconds})


def _read_cache(cache: Path | None) -> dict[str, dict[str, float]]:
    """Returns earlier measurements; what cannot be read, or an earlier version wrote, is measured anew."""
    if cache is None or not cache.exists():
        return {}
    try:
        known = json.loads(cache.read_text())
    except ValueError:
        return {}
    return {key: seconds for key, seconds in known.items() if isinstance(seconds, dict)}
