"""Who watches a turn: how a run of ours learns what its graph does.

LangGraph's stream of custom events costs a waiting task per event and keeps the graph from its short path for a single
node. So a run leaves a `Watch` in the context of its graph; nodes tell it their events and what they change. A graph
that is run without one, by a user of LangGraph for instance, tells LangGraph's stream.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Watch", "watch", "watcher_of"]


@dataclass(slots=True, eq=False)
class Watch:
    """What is seen of a turn."""

    turn: str
    """Id of the turn; a graph within this one has another. Empty until the first node of a turn looks for its watch."""
    tell: Callable[[Any], object] | None = None
    """Is given each event; None where nobody listens."""
    values: dict[str, Any] = field(default_factory=dict)
    """The state after the newest node that has ended; empty before."""
    asked: list[Any] = field(default_factory=list)
    """What the graph stopped to ask a person; empty where it did not."""

    def note(self, state: Mapping[str, Any], update: Mapping[str, Any]) -> None:
        """Note what a node has changed of the state that it was given."""
        self.values = {**state, **update}


_watch: ContextVar[Watch | None] = ContextVar("mars_watch", default=None)


def watch(by: Watch | None) -> None:
    """Let what runs in this context be watched; for the first line of a task of its own."""
    _watch.set(by)


def watcher_of(turn: str) -> Watch | None:
    """Return who watches a turn here."""
    found = _watch.get()
    if found is not None:
        found.turn = found.turn or turn
    return found if found is not None and found.turn == turn else None
