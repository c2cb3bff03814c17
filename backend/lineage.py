"""What a new run builds on: checked when it is accepted, fixed in its folder; and the runs that build on a run."""

from __future__ import annotations

import os
import shutil

from backend.jobs import JobTools
from backend.origins import head_of
from backend.presenting import run_spec
from backend.problems import invalid_field
from backend.source_runs import fault_of
from backend.stores import Stores
from backend.subsets import Subsets
from worker.contract.errors import NotFoundError
from worker.contract.layout import RunFolder
from worker.contract.spec import RunSpec
from worker.contract.subset_files import read_sample_ids, write_subset
from worker.contract.subsets import Subset


class Lineage:
    """Checks and fixes what new runs build on."""

    def __init__(self, tools: JobTools, subsets: Subsets, stores: Stores) -> None:
        self._tools = tools
        self._subsets = subsets
        self._stores = stores

    def check(self, spec: RunSpec, dataset_id: str, like: str | None) -> None:
        """Passes when subset and start of a new run are there and fit; a clone has the copies of its run.

        Args:
            spec: of the new run.
            dataset_id: of its dataset.
            like: the run that it is a clone of.

        Raises:
            InvalidRequestError: when they are not.
        """
        copies = None if like is None else self._tools.home.run(like)
        if spec.subset is not None and (copies is None or head_of(copies.subset) is None):
            self._check_subset(spec.subset, dataset_id)
        if spec.start_from is not None and (copies is None or not copies.start.is_dir()):
            self._check_start(spec, spec.start_from)

    def fix(self, spec: RunSpec, folder: RunFolder, like: str | None) -> None:
        """Copies what a new run builds on into its folder, so that it stays what it is.

        Args:
            spec: of the new run.
            folder: of the new run.
            like: the run that it is a clone of.
        """
        copies = None if like is None else self._tools.home.run(like)
        if copies is not None and copies.start.is_dir():
            shutil.copytree(copies.start, folder.start, copy_function=_link)
        if spec.subset is None:
            return
        kept = None if copies is None else head_of(copies.subset)
        subset: Subset = self._subsets.require(spec.subset) if kept is None else kept
        source = self._tools.home.subset(spec.subset) if kept is None or copies is None else copies.subset
        write_subset(folder.subset, subset, read_sample_ids(source, subset))

    def derived(self, run_id: str) -> list[str]:
        """Returns the runs that build on a run, oldest first."""
        return sorted(one for one, facts in self._tools.live.fixed_facts("run").items() if run_id in facts.sources)

    def trained_on(self, subset_id: str) -> list[str]:
        """Returns the runs that train on a subset, oldest first."""
        return sorted(one for one, facts in self._tools.live.fixed_facts("run").items() if facts.subset_id == subset_id)

    def _check_subset(self, subset_id: str, dataset_id: str) -> None:
        try:
            subset = self._subsets.require(subset_id)
        except NotFoundError:
            raise invalid_field(
                "subset",
                expected="the id of a saved subset",
                got=repr(subset_id),
                remedy="GET /api/v1/subsets lists them.",
                code="subset-unknown",
            ) from None
        facts = self._stores.facts(dataset_id)
        if subset.dataset_id != dataset_id and (facts is None or facts.digest != subset.store_digest):
            raise invalid_field(
                "subset",
                expected=f"a subset of the dataset {dataset_id}",
                got=f"one of {subset.dataset_id}",
                remedy="Choose a subset of this dataset, or that dataset.",
                code="subset-other-dataset",
            )

    def _check_start(self, spec: RunSpec, run_id: str) -> None:
        fault = fault_of(self._tools, "start_from", run_id, None)  # other data may have the same classes
        if fault is not None:
            raise fault
        other = run_spec(self._tools.home, run_id)
        for field in ("encoder", "fusion"):
            mine, theirs = getattr(spec, field), getattr(other, field)
            if mine != theirs:
                raise invalid_field(
                    field,
                    expected=f"that of {run_id}, whose weights the run starts from ({theirs.canonical_json()})",
                    got=mine.canonical_json(),
                    remedy=f"Send the same {field}, or start from another run.",
                    code="start-run-unfit",
                )


def _link(source: str, target: str) -> None:
    """Gives a file, which never changes, a second name; copies it where the file system has no such names."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
