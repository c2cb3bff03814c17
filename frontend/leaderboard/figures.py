"""The figures of one finished run, read over the API: test split, probes, cost, planted corruption.

The split is test where the run has one, else validation; the epoch is the last. Figures that begin with `chosen` are
of the test split at the chosen epoch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from frontend.client import GapscopeClient
from frontend.leaderboard.plan import Cell
from frontend.leaderboard.planted import AUDIO, CLEAN, VISUAL, PlantedReport, PlantedSample, planted_report
from worker.contract.events import EpochFinished, Event, SplitReport
from worker.contract.resources import Run

METRICS: dict[str, str] = {
    "fused": "fused",
    "audio": "audio",
    "visual": "visual",
    "macro_f1": "macro F1",
    "audio_probe": "audio probe",
    "visual_probe": "visual probe",
    "mean_abs_gap": "mean abs. gap",
    "chosen_fused": "fused, chosen epoch",
}
"""Figure of a run -> its heading."""
CHOSEN: dict[str, str] = {
    "chosen_fused": "fused",
    "chosen_audio": "audio",
    "chosen_visual": "visual",
    "chosen_macro_f1": "macro F1",
    "chosen_mean_abs_gap": "mean abs. gap",
}
"""Figure of a run at the chosen epoch -> its heading in a table of these alone."""
FIGURES = tuple(dict.fromkeys([*METRICS, *CHOSEN]))
CORRUPTED_NOTE = "corrupted"
PAGE = 500


@dataclass(frozen=True)
class Cost:
    """What a run took, all epochs together; None where the run's events do not say it."""

    seconds: float
    samples: int | None = None
    forward_passes: int | None = None
    backward_passes: int | None = None
    optimizer_steps: int | None = None


@dataclass(frozen=True)
class Entry:
    """One cell of the board.

    Attributes:
        method: kind of the objective.
        seed: of the run.
        run_id: None where there is no run.
        reused: the run was there before.
        failure: why there are no figures; None where there are.
        split: of the figures, test or validation.
        num_samples: of the split.
        chosen_by: how the chosen epoch was chosen.
        metrics: figure -> value, None where the run has none.
        cost: of the run.
        planted: where the data has known corruption.
    """

    method: str
    seed: int
    run_id: str | None = None
    reused: bool = False
    failure: str | None = None
    split: str | None = None
    num_samples: int | None = None
    chosen_by: str | None = None
    metrics: dict[str, float | None] = field(default_factory=dict)
    cost: Cost | None = None
    planted: PlantedReport | None = None


def entry_of(client: GapscopeClient, cell: Cell) -> Entry:
    """Returns the figures of an ended cell."""
    run = cell.run
    run_id = run.id if run else None
    if run is None or not cell.finished:
        return Entry(cell.method, cell.seed, run_id, cell.reused, cell.failure or "not finished")
    result = run.result
    report = result.last.test if result and result.last.test else run.summary
    if result is None or report is None:
        return Entry(cell.method, cell.seed, run_id, cell.reused, "finished without a result")
    split = "test" if result.last.test else "validation"
    return Entry(
        method=cell.method,
        seed=cell.seed,
        run_id=run_id,
        reused=cell.reused,
        split=split,
        num_samples=report.num_samples,
        chosen_by=result.chosen.by,
        metrics=metrics_of(run, report),
        cost=cost_of(all_events(client, run.id)),
        planted=planted_of(client, run.id, split, result.last.epoch),
    )


def metrics_of(run: Run, report: SplitReport) -> dict[str, float | None]:
    """Returns the figures of METRICS and CHOSEN.

    Args:
        run: a finished run, with its result.
        report: of its last epoch.
    """
    result = run.result
    assert result is not None
    chosen = result.chosen.test
    chosen_figures = (
        {
            "chosen_fused": chosen.accuracy.fused,
            "chosen_audio": chosen.accuracy.audio,
            "chosen_visual": chosen.accuracy.visual,
            "chosen_macro_f1": chosen.macro_f1.fused,
            "chosen_mean_abs_gap": chosen.mean_abs_gap,
        }
        if chosen
        else dict.fromkeys(CHOSEN)
    )
    return {
        "fused": report.accuracy.fused,
        "audio": report.accuracy.audio,
        "visual": report.accuracy.visual,
        "macro_f1": report.macro_f1.fused,
        "audio_probe": result.probes.audio,
        "visual_probe": result.probes.visual,
        "mean_abs_gap": report.mean_abs_gap,
        **chosen_figures,
    }


def all_events(client: GapscopeClient, run_id: str) -> list[Event]:
    """Returns every event of a run."""
    found: list[Event] = []
    while page := client.events(run_id, after=found[-1].seq if found else 0):
        found += page
    return found


def cost_of(events: Iterable[Event]) -> Cost:
    """Returns what the epochs took, added up."""
    epochs = [event for event in events if isinstance(event, EpochFinished)]
    seconds = sum(event.seconds for event in epochs)
    costs = [event.cost for event in epochs if event.cost is not None]
    if len(costs) < len(epochs):  # a run of an earlier version
        return Cost(seconds)
    return Cost(
        seconds,
        samples=sum(cost.samples for cost in costs),
        forward_passes=sum(cost.forward_passes for cost in costs),
        backward_passes=sum(cost.backward_passes for cost in costs),
        optimizer_steps=sum(cost.optimizer_steps for cost in costs),
    )


def planted_of(client: GapscopeClient, run_id: str, split: str, epoch: int) -> PlantedReport | None:
    """Returns what planted corruption says of a run; None where the data has none.

    Args:
        client: of the API.
        run_id: a finished run.
        split: whose samples.
        epoch: of their rows.
    """
    samples: list[PlantedSample] = []
    cursor: str | None = None
    while True:
        page = client.sample_rows(run_id, split=split, epoch=epoch, limit=PAGE, cursor=cursor)
        for row in page:
            kind = row.notes.get(CORRUPTED_NOTE)
            if kind not in (CLEAN, AUDIO, VISUAL):
                return None
            samples.append(PlantedSample(kind, row.gap, row.posterior_imbalanced))
        cursor = page.next
        if cursor is None:
            return planted_report(samples)
