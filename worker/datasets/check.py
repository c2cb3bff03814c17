"""What is there, before anything is prepared: a request on stdin, resources.DatasetCheck on stdout.

`python -m worker.datasets.check` is a process of its own, so that the backend need not know how datasets are listed,
and can end a listing that takes too long.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from worker.contract.errors import GapscopeError
from worker.contract.resources import SHOWN_CLASSES, SHOWN_LEFT_OUT, DatasetCheck
from worker.contract.spec.datasets import Folder, Manifest
from worker.contract.spec.registry import DATASETS
from worker.datasets.roots import keep_within
from worker.datasets.source import SPLITS, DatasetListing, check_listing, load_source
from worker.datasets.tracks import check_tracks


def check(fields: dict[str, Any], data_roots: Sequence[Path] = ()) -> DatasetCheck:
    """Returns what a dataset's listing says, or why there is none.

    Args:
        fields: of a dataset spec, with its kind.
        data_roots: folders outside of which no clip is read; none: clips may lie anywhere.
    """
    spec = DATASETS[fields["kind"]].model_validate(fields)
    listing: DatasetListing | None = None
    try:
        with tempfile.TemporaryDirectory() as folder:
            listing = keep_within(load_source(spec).list(Path(folder)), data_roots)
        check_listing(listing)
        if isinstance(spec, Folder | Manifest):  # published corpora look themselves
            check_tracks(listing.entries)
    except GapscopeError as error:
        return _counted(listing).model_copy(update={"problem": error.problem()})
    return _counted(listing)


def _counted(listing: DatasetListing | None) -> DatasetCheck:
    if listing is None:
        return DatasetCheck()
    totals = Counter(entry.label for entry in listing.entries)
    splits = Counter(entry.split for entry in listing.entries)
    return DatasetCheck(
        num_clips=len(listing.entries),
        num_classes=len(totals),
        splits={name: splits[name] for name in SPLITS if splits[name]},
        largest_classes=dict(totals.most_common(SHOWN_CLASSES)),
        num_left_out=len(listing.skipped),
        left_out=list(listing.skipped[:SHOWN_LEFT_OUT]),
        left_out_by_code=dict(Counter(clip.code for clip in listing.skipped)),
        warnings=list(listing.warnings),
    )


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    sys.stdout.write(check(asked["spec"], [Path(root) for root in asked["data_roots"]]).model_dump_json())
