"""A store that another dataset has made already is linked, not made again: same clips, same preprocessing.

The files of a store never change, so hard links share them: each dataset may be deleted on its own, and the space is
freed with the last of them.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from worker.contract.errors import CorruptRecordError, NotFoundError
from worker.contract.layout import write_atomically
from worker.contract.spec.datasets import DatasetSpec
from worker.datasets.finish import Digests
from worker.datasets.source import DatasetListing
from worker.datasets.store import RECORD_FILE, STORE_FORMAT, PreparedStore, StoreRecord

log = logging.getLogger(__name__)
MAX_FOLDERS = 5_000
MAX_CLIPS = 256


def link_twin(folder: Path, spec: DatasetSpec, digests: Digests, listing: DatasetListing) -> StoreRecord | None:
    """Returns the record of `folder`/store.partial, linked from another dataset's store; None if there is no such one.

    Args:
        folder: the dataset's folder; its siblings are searched.
        spec: of the dataset.
        digests: of spec and listing.
        listing: its clips; made ones are not shared, since they lie inside of their dataset's folder.
    """
    if any(entry.maker is not None for entry in listing.entries):
        return None
    for other, record in _stores(folder):
        if record.preprocess != spec.preprocess or record.listing_digest != digests.listing:
            continue
        partial = folder / "store.partial"
        try:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            for name in record.checksums:
                os.link(other / name, partial / name)
        except OSError as error:  # a file system without links, or the other one is being deleted: it is made anew
            log.info("the store in %s cannot be shared: %s", other, error)
            shutil.rmtree(partial, ignore_errors=True)
            continue
        mine = record.model_copy(update={"kind": spec.kind, "spec_digest": digests.spec, "warnings": listing.warnings})
        write_atomically(partial / RECORD_FILE, mine.model_dump_json(indent=1).encode())
        return mine
    return None


def watched_paths(listing: DatasetListing, root: Path | None) -> list[Path]:
    """Returns the folders, the list and the few clips whose stamps tell that a dataset's files changed.

    Args:
        listing: the clips.
        root: the folder or list that the user named, if any.
    """
    files = [
        path for entry in listing.entries if entry.maker is None for path in (entry.path, entry.audio_path) if path
    ]
    folders = {path.parent for path in files}
    if root is not None:
        folders |= {above for folder in folders for above in folder.parents if above.is_relative_to(root)}
    chosen = files[:: max(1, len(files) // MAX_CLIPS)][:MAX_CLIPS]
    return [*([root] if root is not None else []), *sorted(folders)[:MAX_FOLDERS], *chosen]


def _stores(folder: Path) -> Iterator[tuple[Path, StoreRecord]]:
    for sibling in sorted(folder.parent.iterdir()):
        store = sibling / "store"
        if sibling == folder or not store.is_dir():
            continue
        try:
            record = PreparedStore.open(store).record
        except (NotFoundError, CorruptRecordError):
            continue
        if record.format == STORE_FORMAT:
            yield store, record
