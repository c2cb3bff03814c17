"""Scores one uploaded clip in the pool process: models stay loaded, decoding happens in a process of its own."""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections import OrderedDict
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import numpy as np
import redis
import torch

from worker.contract.errors import ConflictError, CorruptRecordError, GapscopeError, Problem
from worker.contract.layout import Home, ScoreFolder
from worker.contract.ledger import Ledger
from worker.contract.record import Claim, Refusal, ScoreOutcome, read_score_outcome
from worker.contract.scores import DistributionByModality, ScoreRequest, ScoreResult
from worker.engine import checkpoint
from worker.engine.infer import Scorer
from worker.engine.resolve import num_cores
from worker.media.decode import DecodedClip
from worker.media.sandbox import SandboxedDecoder
from worker.media.wire import Window
from worker.runtime.supervisor import HELD, Surroundings

log = logging.getLogger(__name__)
MAX_WINDOWS = 20
KEPT_MODELS = 2
BEAT_S = 1.0


def warm_up() -> None:
    """Starts what the first clip would wait for."""
    # Half of the cores: with all of them, each layer of so small a batch waits for a thread that training keeps off.
    torch.set_num_threads(max(1, num_cores() // 2))
    _models()
    _decoder()


def score_clip(score_id: str, around: Surroundings) -> None:
    """Scores a clip if it is there to be scored; a message too many ends here without harm."""
    folder = around.home.score(score_id)
    try:
        claim = around.ledger.claim("score", score_id, around.holder())
        if isinstance(claim, Refusal):
            log.info("score %s: not claimed: %s", score_id, claim.value)
            return
        with _Beating(around.ledger, claim):
            outcome = read_score_outcome(folder.result) or _outcome(folder, claim, around)
        around.ledger.transition("score", score_id, claim.token, HELD, outcome.state, error=outcome.error)
    except redis.RedisError as error:  # the reaper sends it again; a result that is written is not computed twice
        log.warning("score %s: Redis does not answer: %s", score_id, error)


def _outcome(folder: ScoreFolder, claim: Claim, around: Surroundings) -> ScoreOutcome:
    """Returns what became of the clip, written to result.json."""
    try:
        if claim.exhausted:
            raise CorruptRecordError(f"Scoring the clip ended its process {claim.deaths} times.", code="process-died")
        outcome = _scored(folder, around.home)
    except GapscopeError as error:
        outcome = _failed(error.problem())
    except Exception as error:
        log.exception("score %s", claim.id)
        outcome = _failed(GapscopeError(f"An unexpected error ended the scoring: {error!r}.").problem())
    outcome.write(folder.result)
    return outcome


def _failed(problem: Problem) -> ScoreOutcome:
    return ScoreOutcome(state="failed", finished_at=datetime.now(UTC), error=problem)


def _scored(folder: ScoreFolder, home: Home) -> ScoreOutcome:
    begun = time.perf_counter()
    request = _request(folder)
    scorer = _models().scorer(checkpoint_of(home.run(request.run_id).checkpoints))
    loaded = time.perf_counter()
    clips = _decoder().decode(
        folder.path / Path(request.file).name,
        Window.of(scorer.preprocess),
        audio_path=None if request.audio_file is None else folder.path / Path(request.audio_file).name,
        max_windows=MAX_WINDOWS,
        restock=False,
    )
    decoded = time.perf_counter()
    result = scorer.score(clips, request.label)
    scored = time.perf_counter()
    result = result.model_copy(update={"knock_outs": knock_outs(scorer, clips[0], result)})
    now = time.perf_counter()
    timing = {
        "load": loaded - begun,
        "decode": decoded - loaded,
        "model": scored - decoded,
        "knock_outs": now - scored,
        "total": now - begun,
    }
    _decoder().restock()
    return ScoreOutcome(
        state="finished",
        finished_at=datetime.now(UTC),
        epoch=scorer.epoch,
        result=result.model_copy(update={"timing_s": timing}),
    )


def knock_outs(scorer: Scorer, clip: DecodedClip, result: ScoreResult) -> dict[str, DistributionByModality]:
    """Returns what the model says without one modality's content: what each modality carries.

    Args:
        scorer: of the run.
        clip: the middle window.
        result: its scores; without both modalities there is nothing to knock out.

    Returns:
        mute (silence), freeze (the first frame for all), black (no picture).
    """
    if len(result.modalities_present) < 2 or clip.waveform is None or clip.frames is None:
        return {}
    without = {
        "mute": replace(clip, waveform=np.zeros_like(clip.waveform)),
        "freeze": replace(clip, frames=np.repeat(clip.frames[:1], len(clip.frames), axis=0)),
        "black": replace(clip, frames=np.zeros_like(clip.frames)),
    }
    found = scorer.score([*without.values()])  # as if they were windows: one batched pass
    return dict(zip(without, [found.probabilities, *(window.probabilities for window in found.windows)], strict=True))


def checkpoint_of(folder: Path) -> Path:
    """Returns the checkpoint to score with: that of the chosen epoch so far, else the newest.

    Raises:
        ConflictError: code `no-checkpoint`, when no epoch is finished.
    """
    found = checkpoint.epoch_checkpoints(folder)
    if not found:
        raise ConflictError("The run has no finished epoch yet; wait for its first.", code="no-checkpoint")
    newest = found[max(found)]
    chosen = cast(dict[str, Any] | None, checkpoint.read_record(newest).get("chosen"))
    return found.get(int(chosen["epoch"]), newest) if chosen else newest


def _request(folder: ScoreFolder) -> ScoreRequest:
    try:
        return ScoreRequest.model_validate_json(folder.request.read_bytes())
    except (OSError, ValueError) as error:
        raise CorruptRecordError(f"{folder.request} cannot be read: {error}. Upload the clip again.") from error


class _Models:
    """The last few models, by checkpoint and its time of change."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[Path, int], Scorer] = OrderedDict()
        self._device = "cuda:0" if torch.cuda.is_available() else "cpu"

    def scorer(self, path: Path) -> Scorer:
        """Returns the model of a checkpoint."""
        key = (path, path.stat().st_mtime_ns)
        if key not in self._kept:
            self._kept[key] = Scorer.load(path, self._device)
            if len(self._kept) > KEPT_MODELS:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]


class _Beating:
    """Renews a claim each second while its body works."""

    def __init__(self, ledger: Ledger, claim: Claim) -> None:
        self._ledger = ledger
        self._claim = claim
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="score-beat", daemon=True)

    def _run(self) -> None:
        while not self._done.wait(BEAT_S):
            try:
                self._ledger.renew(self._claim)
            except redis.RedisError:
                continue  # nobody took the job: go on

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()


@functools.cache
def _models() -> _Models:
    return _Models()


@functools.cache
def _decoder() -> SandboxedDecoder:
    return SandboxedDecoder()
