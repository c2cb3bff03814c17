"""Exit codes by which a child tells its supervisor how it ended. A signal means: try again."""

from __future__ import annotations

DONE = 0
"""Finished; outcome.json says so."""
YIELDED = 10
"""Asked to leave, not to cancel: a checkpoint is written, the same attempt goes on elsewhere or later."""
CANCELLED = 11
"""Cancelled; outcome.json says so."""
FAILED = 20
"""It would fail in the same way again; outcome.json says why."""
LOST = 21
"""Another holder has the job."""
BUSY = 22
"""A process on another host still writes to the folder."""
FULL = 23
"""The disk takes no more: no fault of the job's; it waits for a person to make room."""
AGAIN = 30
"""Out of memory, a device error: worth another try."""
WITH_OUTCOME = frozenset((DONE, CANCELLED, FAILED))
