"""Name, tags and notes of runs, as people change them: the run's folder first, the ledger second."""

from __future__ import annotations

import threading
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from backend.jobs import JobTools
from backend.problems import invalid_field
from backend.run_jobs import labelled
from worker.contract.record import Change, JobFacts, RunLabels
from worker.contract.spec.run import TagName

MAX_TAGS = 20
MAX_NOTES = 4_000
RunName = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=120)]


class RunChanges(BaseModel):
    """What to change of a run; what is left out stays."""

    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"examples": [{"name": "baseline", "add_tags": ["paper"]}]}
    )

    name: RunName | None = Field(None, description="For people. null: leave it.")
    notes: str | None = Field(None, max_length=MAX_NOTES, description="Free text. null: leave it.")
    tags: list[TagName] | None = Field(None, max_length=MAX_TAGS, description="All tags from now on. null: leave them.")
    add_tags: list[TagName] = Field(default_factory=list, max_length=MAX_TAGS, description="Tags to add to those.")
    remove_tags: list[TagName] = Field(default_factory=list, max_length=MAX_TAGS, description="Tags to take away.")


class Labels:
    """Changes labels, one change at a time: two people who tag the same run both keep their tag."""

    def __init__(self, tools: JobTools) -> None:
        self._tools = tools
        self._lock = threading.Lock()

    def change(self, run_id: str, changes: RunChanges) -> None:
        """Changes a run's labels; on the disk when this returns.

        Raises:
            NotFoundError: when there is no such run.
            InvalidRequestError: when it would have more than 20 tags.
        """
        with self._lock:
            facts = self._tools.record("run", run_id).facts
            labels = RunLabels(
                name=changes.name or facts.name,
                tags=_tags(facts, changes),
                notes=facts.notes if changes.notes is None else changes.notes.strip(),
            )
            labels.write(self._tools.home.run(run_id).labels)
            if self._tools.ledger.annotate("run", run_id, labels.on(facts)) is Change.UNKNOWN:
                self._tools.record("run", run_id)  # deleted meanwhile: says so

    def settle(self) -> None:
        """Tells the ledger what it missed when the backend ended between the two steps."""
        for record in self._tools.ledger.get_many("run", self._tools.ledger.ids("run")):
            facts = labelled(record.facts, self._tools.home.run(record.id))
            if facts != record.facts:
                with self._lock:
                    self._tools.ledger.annotate("run", record.id, facts)


def _tags(facts: JobFacts, changes: RunChanges) -> tuple[str, ...]:
    wanted = [*(facts.tags if changes.tags is None else changes.tags), *changes.add_tags]
    tags = tuple(tag for tag in dict.fromkeys(wanted) if tag not in changes.remove_tags)
    if len(tags) > MAX_TAGS:
        raise invalid_field(
            "add_tags",
            expected=f"at most {MAX_TAGS} tags in all",
            got=str(len(tags)),
            remedy="Take some away first.",
            code="too-many-tags",
        )
    return tags
