"""Named places in the write paths where a test may end the process; in production nothing happens there.

The names are those of `COMMIT`: ``before_commit`` lies between a transaction's last statement and its commit,
``after_commit`` between the commit and its acknowledgement. `mars.testing.KillPoint` drives them.
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["COMMIT", "reach", "watch"]

COMMIT = ("before_commit", "after_commit")
"""The points of every transaction of the SQL backend, in their order."""

_watcher: Callable[[str], None] | None = None


def reach(point: str) -> None:
    """Tell whoever watches that this point was reached."""
    if _watcher is not None:
        _watcher(point)


def watch(watcher: Callable[[str], None] | None) -> None:
    """Have a function called with the name of each point that any thread reaches, on that thread; None ends it."""
    global _watcher
    _watcher = watcher
