"""Who watches a turn: how a run of ours learns what its graph does.

LangGraph's stream of custom events costs a waiting task per event and keeps the graph from its short path for a single
node. So a run leaves a `Watch` in the context of its graph; nodes tell it their events and what they change. A graph
that is run without one, by a user of LangGraph for instance, tells LangGraph's stream.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar

from anyio import CancelScope
from langchain_core.callbacks.base import BaseCallbackManager
from langchain_core.runnables.config import ensure_config, var_child_runnable_config
from langchain_core.tracers._streaming import _StreamingCallbackHandler
from langchain_core.tracers.event_stream import _AstreamEventsCallbackHandler
from langchain_core.tracers.log_stream import LogStreamCallbackHandler

__all__ = ["Watch", "apart", "keep_apart", "keep_unheard", "unheard", "watch", "watcher_of"]

Part = TypeVar("Part")


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


def unheard(kinds: Any = _StreamingCallbackHandler) -> Any:
    """Return the callbacks of what runs here without those that stream to a listener; tracers and logs stay."""
    given = ensure_config().get("callbacks")
    if not isinstance(given, BaseCallbackManager):
        return [one for one in given or () if not isinstance(one, kinds)]
    given = given.copy()
    for one in (*given.handlers, *given.inheritable_handlers):
        if isinstance(one, kinds):
            given.remove_handler(one)
    return given


def keep_unheard() -> None:
    """Let LangChain's streams of events and logs hear nothing of what runs here: each has prompts and states whole."""
    callbacks = unheard((_AstreamEventsCallbackHandler, LogStreamCallbackHandler))
    var_child_runnable_config.set({**ensure_config(), "callbacks": callbacks})


def keep_apart() -> None:
    """Let a graph be a run of its own within whatever graph runs here; for the first line of a task of its own.

    LangGraph takes it for a subgraph else: its steps would go to that graph's checkpointer and into its streams.
    """
    if var_child_runnable_config.get() is not None:
        var_child_runnable_config.set({"callbacks": unheard()})


async def apart(source: AsyncGenerator[Part, None]) -> AsyncGenerator[Part, None]:
    """Yield what a generator yields that runs in a task of its own, kept apart; leaving early cancels it."""
    queue: asyncio.Queue[tuple[Part] | None] = asyncio.Queue()

    async def pump() -> None:
        keep_apart()
        try:
            async for part in source:
                queue.put_nowait((part,))
        finally:
            await source.aclose()

    task = asyncio.get_running_loop().create_task(pump())
    task.add_done_callback(lambda _: queue.put_nowait(None))
    try:
        while (item := await queue.get()) is not None:
            yield item[0]
    finally:
        task.cancel()
        with CancelScope(shield=True):
            await asyncio.wait([task])
    if task.cancelled():
        raise asyncio.CancelledError
    task.result()
