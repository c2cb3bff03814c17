"""How much of each limit is used, for people who want to know before they are refused."""

from __future__ import annotations

from backend.derivatives import FOLDER as DERIVED
from backend.jobs import JobTools
from backend.upload_slots import UploadSlots
from worker.contract.keys import JobKind
from worker.contract.upkeep import LimitUse, Unit


def limit_uses(tools: JobTools, slots: UploadSlots) -> list[LimitUse]:
    """Returns the limits on number and size, each with what is used of it."""
    settings, parts = tools.settings, tools.usage.usage().parts
    derived = parts.get(DERIVED, 0)

    def use(
        name: str,
        title: str,
        used: int,
        limit: int | None,
        setting: str,
        *,
        unit: Unit = "bytes",
        refuses: bool = False,
    ) -> LimitUse:
        return LimitUse(
            name=name, title=title, used=used, limit=limit, unit=unit, refuses=refuses, setting=f"GAPSCOPE_{setting}"
        )

    def queue(kind: JobKind, title: str, limit: int, setting: str) -> LimitUse:
        waiting = sum(record.state == "queued" for record in tools.ledger.active(kind))
        return use(f"queued-{kind}", title, waiting, limit, setting, unit="number", refuses=True)

    runs, scores = tools.ledger.count("run"), tools.ledger.count("score")
    jobs = (settings.max_queued_jobs, "MAX_QUEUED_JOBS")
    return [
        queue("run", "Runs that wait", settings.max_queued_runs, "MAX_QUEUED_RUNS"),
        queue("dataset", "Preparations that wait", *jobs),
        queue("score", "Scores that wait", *jobs),
        queue("batch", "Batches that wait", *jobs),
        use(
            "uploads",
            "Uploads coming in",
            slots.taken,
            settings.max_uploads,
            "MAX_UPLOADS",
            unit="number",
            refuses=True,
        ),
        use("runs", "Runs kept", runs, settings.max_runs, "MAX_RUNS", unit="number", refuses=True),
        use("home", "The home in all", sum(parts.values()), settings.max_home_bytes, "MAX_HOME_BYTES", refuses=True),
        use("scores", "Scores kept", scores, settings.max_scores, "MAX_SCORES", unit="number"),
        use("clips", "Clips of scores", parts.get("scores", 0), settings.max_scores_bytes, "MAX_SCORES_BYTES"),
        use("derived", "Clips made for browsers", derived, settings.max_derived_bytes, "MAX_DERIVED_BYTES"),
        use("trash", "The trash", parts.get("trash", 0), settings.max_trash_bytes, "MAX_TRASH_BYTES"),
    ]
