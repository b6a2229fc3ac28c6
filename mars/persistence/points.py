"""Named places in the write path of runs where a test may end the process; in production nothing happens there.

They are reached through the hook of `mars.memory.points`, so that one watcher sees both wings.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from mars.memory.points import reach

__all__ = ["CALL_POINTS", "POINTS", "reach"]

POINTS: Mapping[str, str] = MappingProxyType(
    {
        "run_before_write": "a write was asked for, its transaction has not begun",
        "run_work_done": "one piece of work is done, the transaction is open",
        "run_before_commit": "after a transaction's last statement",
        "run_after_commit": "the commit has returned, nobody has been told",
    }
)
"""What each point's name means."""

CALL_POINTS: Mapping[str, str] = MappingProxyType(
    {
        "call_wanted": "a call is wanted, nothing of it is in the ledger",
        "call_intended": "the intent is committed, the call has not been made",
        "call_returned": "the model or the tool has returned, the outcome is not committed",
        "call_settled": "the outcome is committed, the node goes on",
    }
)
"""The points of every call of a model or a tool."""
