"""Where runs are kept: the saver and the journal that go with a memory, opened and closed with it."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from anyio import to_thread
from langgraph.checkpoint.base import BaseCheckpointSaver

from mars.calls import Calls
from mars.conversations import Conversations
from mars.errors import InvalidSetting
from mars.memory.checks import check_kind
from mars.observability.observing import Observer, Observers
from mars.summary import summarise

if TYPE_CHECKING:
    from langgraph.graph.state import CompiledStateGraph
    from langgraph.types import Durability

    from mars.nodes import Loop
    from mars.persistence.database import Database

SAME = "same"
"""As a checkpointer: our own, on the database of the memory."""

LEASE = 15.0
"""Seconds without a sign of life after which a conversation may be taken over."""

DURABILITIES = ("sync", "async", "exit")
"""When LangGraph may save a step: before the next one begins, beside it, or at the end of the turn."""

PASSED_ON = ("synchronous", "busy_timeout")
"""Options of the memory that hold for the database of the runs, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """Where runs are to be kept."""

    checkpointer: BaseCheckpointSaver[Any] | str | None = SAME
    """`SAME`, a URL, a saver, or None."""
    lease: float = LEASE
    """Seconds."""
    durability: Durability = "sync"
    """When LangGraph saves a step."""
    observers: tuple[Observer, ...] = ()
    """Who is told of runs."""

    def __post_init__(self) -> None:
        check_kind(self.lease, int | float, "lease", "a positive number of seconds")
        if not (math.isfinite(self.lease) and self.lease > 0):
            raise InvalidSetting(f"lease is a positive number of seconds; got {self.lease!r}")
        if self.durability not in DURABILITIES:
            raise InvalidSetting(f"durability is one of {', '.join(DURABILITIES)}; got {self.durability!r}")
        check_kind(self.checkpointer, BaseCheckpointSaver | str | None, "checkpointer", "a URL, a saver, or None")
        for one in self.observers:
            if not (callable(getattr(one, "begin", None)) and callable(getattr(one, "flush", None))):
                raise InvalidSetting(f"an observer has begin() and flush(), as mars.observability.RunLog; got {one!r}")

    async def opened(self, stack: AsyncExitStack, memory: object, options: dict[str, Any]) -> Kept | None:
        """Open what is ours, to be closed with `stack`; None where runs leave nothing."""
        stack.push_async_callback(Observers(self.observers).flush)
        url = memory if isinstance(memory, str) and memory != "memory:" else None
        target = url if self.checkpointer == SAME else self.checkpointer
        if target is None:
            return None
        from mars.persistence.database import Database
        from mars.persistence.saver import CheckpointSaver

        chosen = {name: options[name] for name in PASSED_ON if name in options}
        if isinstance(target, str):
            saver = await stack.enter_async_context(CheckpointSaver.open(target, **chosen))
            return Kept(saver, saver.database, self)
        if isinstance(target, CheckpointSaver):
            return Kept(target, target.database, self)
        database = Database(url or "sqlite:///:memory:", **chosen)
        await to_thread.run_sync(database.open)
        stack.push_async_callback(to_thread.run_sync, database.close)
        return Kept(target, database, self)


@dataclass(frozen=True, slots=True)
class Kept:
    """Where runs are kept, open."""

    saver: BaseCheckpointSaver[Any]
    """Keeps the checkpoints."""
    database: Database
    """Keeps the journal and the ledger of calls; that of the saver if it is ours."""
    keeping: Keeping
    """What was asked for."""

    def calls(self, calls: Calls) -> Calls:
        """Return the same way to make calls, recorded here."""
        from mars.persistence.ledger import DatabaseLedger

        return replace(calls, ledger=DatabaseLedger(self.database))

    def conversations(
        self,
        graph: CompiledStateGraph[Any, Any, Any, Any],
        limit: int,
        window: int,
        keep: bool,
        loop_of: Callable[[str], Loop],
    ) -> Conversations:
        """Return the durable conversations of a graph that was compiled with the saver."""
        from mars.persistence.call_rows import StoredRows
        from mars.persistence.journal import Journal
        from mars.persistence.ledger import DatabaseLedger, close
        from mars.persistence.saver import CheckpointSaver

        journal = Journal(
            self.database,
            saver=self.saver if isinstance(self.saver, CheckpointSaver) else None,
            lease=self.keeping.lease,
            window=window,
            summarise=summarise,
            final=lambda wire, *turn: close(StoredRows(wire), *turn),
        )
        asked = self.keeping
        return Conversations(
            graph,
            journal,
            DatabaseLedger(self.database),
            limit=limit,
            lease=asked.lease,
            keep=keep,
            durability=asked.durability,
            loop_of=loop_of,
        )
