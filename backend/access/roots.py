"""Refuses data that lies outside the folders that this server's owner has opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from backend.problems import invalid_field
from worker.contract.errors import NotFoundError
from worker.contract.roots import is_within, named_paths
from worker.contract.settings import Settings


def require_open(settings: Settings, document: Any, field: str) -> None:
    """Passes a spec whose paths all lie under the data roots.

    Args:
        settings: of this server.
        document: a part of a spec, as JSON has it.
        field: its name in the request.

    Raises:
        InvalidRequestError: code `outside-data-roots`; `no-data-roots` where keys are asked for and no root is set.
    """
    for name, path in named_paths(document, field):
        if not settings.data_roots and settings.asks_for_keys:
            raise invalid_field(
                name,
                expected="data of a folder that is open to users",
                got=repr(path[:200]),
                remedy="None is: whoever runs this Gapscope sets GAPSCOPE_DATA_ROOTS. A zip can be uploaded instead.",
                code="no-data-roots",
            )
        if not is_within(path, settings.data_roots):
            raise invalid_field(
                name,
                expected=f"a path under {', '.join(map(str, settings.data_roots))}",
                got=repr(path[:200]),
                remedy="Move the data there, or ask whoever runs this Gapscope to add its folder to "
                "GAPSCOPE_DATA_ROOTS.",
                code="outside-data-roots",
            )


def require_still_open(settings: Settings, path: Path, made: Path) -> None:
    """Passes a file of a prepared dataset that lies, links followed, under the data roots or among its own clips.

    A clip may have been swapped for a link since the preparation looked at it; the home holds keys.

    Args:
        settings: of this server.
        path: of the file.
        made: DatasetFolder.clips, where clips lie that were uploaded or made.

    Raises:
        NotFoundError: code `media-outside-roots`.
    """
    if settings.data_roots and not is_within(path, (*settings.data_roots, made)):
        raise NotFoundError(
            f"{path.name} lies outside the folders that are open to users (GAPSCOPE_DATA_ROOTS). Move it there and "
            "prepare the dataset anew.",
            code="media-outside-roots",
        )
