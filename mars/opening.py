"""What stands between `Mars.open(…)` and `async with`: opens what a `Mars` needs, and closes it again.

Who does what: `mars.keeping` says where runs are kept, `mars.crew` who works in them, and `mars.runtime` what a caller
may ask for; here they are brought together, in the order in which they are closed again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from importlib import import_module
from types import TracebackType
from typing import Any, Generic, NoReturn, TypeVar

from anyio import to_thread

from mars.conversations import Conversations
from mars.crew import Crew
from mars.errors import InvalidSetting, StoreClosed
from mars.graph import compile_graph, recursion_limit
from mars.keeping import Keeping
from mars.memory.engine import Memory
from mars.memory.interfaces import Backend
from mars.observability.observing import Observer
from mars.roster import Roster

Opened = TypeVar("Opened")

Make = Callable[[Memory, Roster, Conversations | None, Sequence[Observer]], Opened]
"""Makes what is entered of an open memory, the teams, where their runs are kept, and who is told of them."""


class Opening(Generic[Opened]):
    """What `Mars.open` returns: enter it to get a `Mars`, leave it to close what it opened."""

    def __init__(
        self,
        make: Make[Opened],
        memory: Memory | Backend | str,
        crew: Crew,
        keeping: Keeping,
        memory_options: dict[str, Any],
    ) -> None:
        if isinstance(memory, Memory) and memory_options:
            raise InvalidSetting(f"an open Memory takes no options: {', '.join(sorted(memory_options))}")
        self._make = make
        self._memory = memory
        self._memory_options = memory_options
        self._crew = crew
        self._keeping = keeping
        self._stack: AsyncExitStack | None = None

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(
            f"what Mars.open returns has no {name!r} before it is entered: write `async with Mars.open(…) as mars:`, "
            "or without async `with Mars.open_sync(…) as mars:`"
        )

    async def __aenter__(self) -> Opened:
        async with AsyncExitStack() as stack:
            crew = await to_thread.run_sync(self._crew.resolved)
            memory, team = self._memory, crew.usual
            if not isinstance(memory, Memory):
                memory = await stack.enter_async_context(Memory.open(memory, **self._memory_options))
            kept = await self._keeping.opened(stack, self._memory, self._memory_options)
            roster = await crew.roster(stack, memory, kept)
            durable = None
            if kept is not None:
                keep = team.remember and roster.usual.memory is not None
                graph = await to_thread.run_sync(compile_graph, roster, kept.saver)
                durable = kept.conversations(graph, recursion_limit(roster), team.window, keep, roster.loop_of)
                stack.push_async_callback(durable.holder.close)
            if crew.toolbox.tools:
                await to_thread.run_sync(import_module, "jsonschema")  # else the first review would wait for it
            made = await to_thread.run_sync(self._make, memory, roster, durable, self._keeping.observers)
            self._stack = stack.pop_all()
            return made

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stack is None:
            raise StoreClosed("this was never opened; use it as: async with Mars.open(…) as mars")
        await self._stack.aclose()
