"""One piece of work on a memory, for blocking and asynchronous callers alike."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from anyio import to_thread

from mars.errors import InvalidSetting
from mars.memory.engine import Memory
from mars.memory.sync import SyncMemory

Result = TypeVar("Result")
Work = Callable[[Memory], Awaitable[Result]]


class Caller:
    """Calls a live memory, which stays its owner's to close. Raises `InvalidSetting` for anything else."""

    def __init__(self, memory: object) -> None:
        if not isinstance(memory, Memory | SyncMemory):
            raise InvalidSetting(
                f"give an open memory, from Memory.open or Memory.open_sync; got {type(memory).__name__}"
            )
        self._memory = memory

    def run(self, work: Work[Result]) -> Result:
        """Block until the work is done. Needs a memory of `Memory.open_sync`; `InvalidSetting` says so."""
        memory = self._memory
        if isinstance(memory, Memory):
            raise InvalidSetting("blocking calls need a memory of Memory.open_sync(...); this one serves async calls")
        return memory._run(lambda: work(memory.original))

    async def arun(self, work: Work[Result]) -> Result:
        """Do the work without blocking the event loop; either kind of memory will do."""
        if isinstance(self._memory, Memory):
            return await work(self._memory)
        return await to_thread.run_sync(self.run, work)
