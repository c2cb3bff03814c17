"""Keeps a run's per-epoch sample tables under a limit: the newest, the chosen epoch's, and every k-th of the others.

The trajectories (gap.f32, posterior.f32) hold every epoch all the same. Thinning again gives the same files.
"""

from __future__ import annotations

from worker.contract.layout import RunFolder, sync_folder, write_json
from worker.contract.sample_tables import kept_every, table_epochs


def thin_tables(folder: RunFolder, *, newest: int, chosen: int | None, max_bytes: int) -> int:
    """Deletes tables until the rest fit, and returns k: of older epochs every k-th is kept (a power of two; 1: all).

    Args:
        folder: the run's.
        newest: the epoch just finished.
        chosen: the best epoch so far, if one is chosen.
        max_bytes: limit of all tables together; the newest and the chosen are kept whatever they take.
    """
    sizes = {epoch: folder.sample_table(epoch).stat().st_size for epoch in table_epochs(folder)}
    always, every = {newest, chosen}, 1
    kept = set(sizes)
    while sum(sizes[epoch] for epoch in kept) > max_bytes and not kept <= always:
        every *= 2
        kept = {epoch for epoch in sizes if epoch in always or epoch % every == 0}
    if every > 1:  # said before anything is gone
        every = max(every, kept_every(folder))
        write_json(folder.thinned, {"every": every})
    for epoch in sizes.keys() - kept:
        folder.sample_table(epoch).unlink(missing_ok=True)
    if kept != set(sizes):
        sync_folder(folder.samples)
    return every
