"""What a run need not save by itself, because what it saves next says it too.

A run of ours holds its conversation by a lease, and its graph has one task at a time and begins with an input that its
turn's row has already. So three sorts of writes wait for the transaction that follows at once, or go without:

* what a task wrote (``put_writes``), and the checkpoints of the input and of the step that hands it to the channels:
  the checkpoint of the superstep has all of it, and nobody goes back to them;
* the checkpoint that no task follows: the end of the turn has it, with the words that were said.

Killed before that, the run goes on from the superstep before, as it would if the process had died a moment earlier.
Each superstep that another one follows is committed before that one begins.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mars.persistence.deltas import COUNTERS
from mars.persistence.leases import Fence

__all__ = ["Superseding", "follows"]

BRANCH = "branch:to:"
"""What the channels by which LangGraph starts the task of a node begin with."""


class Superseding:
    """The checkpoints of runs that their next one supersedes."""

    def __init__(self) -> None:
        self._inputs: dict[Fence, str] = {}

    def passes(self, fence: Fence, id: str, parent: str | None, metadata: Mapping[str, Any]) -> bool:
        """Whether the next checkpoint of a run supersedes this one: that of the input, and the one after it."""
        if metadata.get("source") == "input" and COUNTERS not in metadata:
            self._inputs[fence] = id
            return True
        before = self._inputs.pop(fence, None)
        return before is not None and parent == before

    def forget(self, fence: Fence) -> None:
        """Forget a run."""
        self._inputs.pop(fence, None)


def follows(checkpoint: Mapping[str, Any]) -> bool:
    """Whether a task follows a checkpoint, as far as can be told."""
    updated = checkpoint.get("updated_channels")
    return updated is None or any(name.startswith(BRANCH) for name in updated)
