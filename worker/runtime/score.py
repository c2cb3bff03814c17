"""Scores one uploaded clip in the pool process: models stay loaded, decoding happens in a process of its own."""

from __future__ import annotations

import functools
import logging
import time
from collections import OrderedDict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import redis
import torch

from worker.contract.errors import ConflictError, CorruptRecordError, GapscopeError, Problem
from worker.contract.layout import Home, ScoreFolder
from worker.contract.record import Claim, Refusal, ScoreOutcome, read_score_outcome
from worker.contract.scores import ScoreRequest
from worker.contract.spec import PreprocessSpec
from worker.engine import checkpoint
from worker.engine.infer import Scorer
from worker.engine.machine import num_cores
from worker.media.sandbox import SandboxedDecoder
from worker.media.wire import Window
from worker.runtime.beating import Beating
from worker.runtime.supervisor import HELD, Surroundings

log = logging.getLogger(__name__)
MAX_WINDOWS = 120
"""Windows over time that are scored at most; 10 minutes in steps of 5 s."""
MAX_WINDOW_BYTES = 256 << 20
"""Of all windows of a clip together: large frames make fewer windows."""
KEPT_MODELS = 2


def warm_up() -> None:
    """Starts what the first clip would wait for."""
    # Half of the cores: with all of them, each layer of so small a batch waits for a thread that training keeps off.
    torch.set_num_threads(max(1, num_cores() // 2))
    models()
    _decoder()


def score_clip(score_id: str, around: Surroundings) -> None:
    """Scores a clip if it is there to be scored; a message too many ends here without harm."""
    folder = around.home.score(score_id)
    try:
        claim = around.ledger.claim("score", score_id, around.holder())
        if isinstance(claim, Refusal):
            log.info("score %s: not claimed: %s", score_id, claim.value)
            return
        with Beating(around.ledger, claim):
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
    scorer = models().scorer(checkpoint_of(home.run(request.run_id).checkpoints))
    loaded = time.perf_counter()
    clips = _decoder().decode(
        folder.path / Path(request.file).name,
        Window.of(scorer.preprocess),
        audio_path=None if request.audio_file is None else folder.path / Path(request.audio_file).name,
        start_s=request.start_s,
        end_s=request.end_s,
        max_windows=window_limit(scorer.preprocess),
        hop_s=request.window_hop_s,
        restock=False,
    )
    decoded = time.perf_counter()
    result = scorer.score(clips, request.label, knock_outs=True)
    now = time.perf_counter()
    timing = {
        "load": loaded - begun,
        "decode": decoded - loaded,
        "model": now - decoded,
        "total": now - begun,
    }
    _decoder().restock()
    return ScoreOutcome(
        state="finished",
        finished_at=datetime.now(UTC),
        epoch=scorer.epoch,
        result=result.model_copy(update={"timing_s": timing}),
    )


def window_limit(spec: PreprocessSpec) -> int:
    """Returns how many windows over time of a clip are scored at most, so that they fit in MAX_WINDOW_BYTES."""
    one = 4 * spec.num_samples + spec.num_frames * spec.frame_size**2 * 3
    return max(2, min(MAX_WINDOWS, MAX_WINDOW_BYTES // one))


def checkpoint_of(folder: Path, epoch: int | None = None) -> Path:
    """Returns the checkpoint to score with: that of the chosen epoch so far, else the newest.

    Args:
        folder: RunFolder.checkpoints.
        epoch: the one that is wanted, if it matters.

    Raises:
        ConflictError: code `no-checkpoint`, when no epoch is finished, or not the wanted one kept.
    """
    found = checkpoint.epoch_checkpoints(folder)
    if not found:
        raise ConflictError("The run has no finished epoch yet; wait for its first.", code="no-checkpoint")
    if epoch is not None:
        if epoch not in found:
            raise ConflictError(
                f"The run keeps no checkpoint of epoch {epoch}; it has those of {', '.join(map(str, found))}.",
                code="no-checkpoint",
            )
        return found[epoch]
    newest = found[max(found)]
    chosen = cast(dict[str, Any] | None, checkpoint.read_record(newest).get("chosen"))
    return found.get(int(chosen["epoch"]), newest) if chosen else newest


def _request(folder: ScoreFolder) -> ScoreRequest:
    try:
        return ScoreRequest.model_validate_json(folder.request.read_bytes())
    except (OSError, ValueError) as error:
        raise CorruptRecordError(f"{folder.request} cannot be read: {error}. Upload the clip again.") from error


class Models:
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


@functools.cache
def models() -> Models:
    """Returns the models of this pool process."""
    return Models()


@functools.cache
def _decoder() -> SandboxedDecoder:
    return SandboxedDecoder()
