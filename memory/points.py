"""Named places in the write paths where a test may end the process; in production nothing happens there.

Every write path has them: before its transaction, between its statements, before its commit, and after the commit
before the acknowledgement; so have the steps of what is derived. A new path adds its points to `POINTS` and calls
`reach` there; `mars.testing.soak` then ends a process at each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

__all__ = ["COMMIT", "POINTS", "reach", "watch"]

COMMIT = ("before_commit", "after_commit")
"""The points of every transaction of the SQL backend, in their order."""

POINTS: Mapping[str, str] = MappingProxyType(
    {
        "before_write": "SQL: a write was asked for, its transaction has not begun",
        "record_inserted": "SQL: records are inserted, their vectors not yet",
        "record_updated": "SQL: records are changed, their history is not written yet",
        "vector_replaced": "SQL: vectors are replaced, their records do not name it yet",
        "vector_deleted": "SQL: vectors are deleted, their records not yet",
        "record_deleted": "SQL: records are deleted, their tombstones are not written yet",
        "work_done": "SQL: one piece of work of a group is done, the next one has not begun",
        "clock_set": "SQL: the newest seq is written, the transaction is open",
        "before_commit": "SQL: after a transaction's last statement",
        "after_commit": "SQL: the commit has returned",
        "before_acknowledgement": "writer: the group is committed, nobody has been told",
        "backup_written": "backup: a line is written to the part file, the last one not yet",
        "backup_synced": "backup: the part file is whole and on the disk, without its name",
        "backup_named": "backup: the file has its name, the part file is not removed",
        "restore_emptied": "restore: the store is emptied, the transaction is open",
        "restore_loaded": "restore: some of the copy's records are in, the transaction is open",
        "repair_whole": "repair: what concerns the whole store is mended, the transaction is open",
        "repair_row": "repair: one row is mended, the transaction is open",
        "repair_rival": "repair: one fact gave way to another, the transaction is open",
        "repair_step": "repair: a batch is committed, the next one has not begun",
        "reembed_begun": "reembed: the store says what it changes to, no vector is made",
        "reembed_embedded": "reembed: a batch of vectors is made, not yet written",
        "reembed_replaced": "reembed: a batch is committed, the next one has not begun",
        "reembed_dropped": "reembed: what was derived of the old vectors is dropped, the change is not ended",
        "index_dropped": "Chroma: the files are deleted before a rebuild",
        "index_removed": "Chroma: purged records are deleted, the mark is as it was",
        "index_applied": "Chroma: a batch is in the collections, the mark is as it was",
        "index_marked": "Chroma: the mark is set after a batch",
    }
)
"""What each point's name means."""

_watcher: Callable[[str], None] | None = None


def reach(point: str) -> None:
    """Tell whoever watches that this point was reached."""
    if _watcher is not None:
        _watcher(point)


def watch(watcher: Callable[[str], None] | None) -> None:
    """Have a function called with the name of each point that any thread reaches, on that thread; None ends it."""
    global _watcher
    _watcher = watcher
