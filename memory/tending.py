"""The tending half of a memory: what keeps the truth and all that is derived from it in order."""

from __future__ import annotations

from collections.abc import Callable

from anyio import to_thread

from mars.memory.reading import Reading


class Tending(Reading):
    """What `mars.memory.engine.Memory` can do for its own upkeep; methods raise `StoreClosed` unless it is open."""

    async def reindex(self, progress: Callable[[int, int], None] | None = None) -> int:
        """Rebuild what is derived from the truth, shards and the Chroma index; return how many records it holds.

        `progress` is called on a worker thread with (`seq` reached, `seq` aimed at).
        """
        backend, recaller, index = self.backend, self._recaller_if_open(), self._vector_index()

        def rebuild() -> int:
            recaller.forget()
            return backend.read(lambda reader: index.rebuild(reader, progress))

        return await to_thread.run_sync(rebuild, limiter=self._limiter)
