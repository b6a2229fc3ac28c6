"""A store that is open: its backend, its embedder and its clock, and the worker threads that everything runs on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from anyio import CancelScope, CapacityLimiter, to_thread

from mars.errors import InvalidSetting, StoreClosed
from mars.memory.following import Follower
from mars.memory.grouping import grouped
from mars.memory.ids import new_store_id
from mars.memory.index import drop_files, index_folder
from mars.memory.interfaces import Backend, Clock, Embedder, Reader, Transaction, VectorIndex
from mars.memory.preparing import Rules, check_embedder
from mars.memory.presets import Preset
from mars.memory.recall import Recaller, check_cap
from mars.memory.records import check_time
from mars.memory.reembedding import Progress, reembed
from mars.memory.writer import Lane, Writer

if TYPE_CHECKING:
    from sqlalchemy import Engine

Result = TypeVar("Result")

WORKERS = 4
"""The most worker threads that one memory uses at once."""


OPTIONS = frozenset({"synchronous", "busy_timeout"})
"""What `mars.memory.backends.open_backend` takes."""


class SystemClock:
    """The system's time in UTC."""

    def now(self) -> datetime:
        """Return the present."""
        return datetime.now(UTC)


def resolve_embedder(named: Embedder | str | Path | None) -> Embedder:
    """Return the embedder that is meant: one itself, a folder of MiniLM-class weights, or the built-in n-grams.

    Raises `InvalidFile` for a folder without weights, `MissingExtra` if what reads them is not installed.
    """
    if isinstance(named, str | Path) and str(named) != "hashing":
        from mars.memory.minilm import MiniLMEmbedder

        return MiniLMEmbedder(named)
    if named is None or isinstance(named, str | Path):
        from mars.memory.embedding import HashingEmbedder

        return HashingEmbedder()
    return named


class Store:
    """What `mars.memory.engine.Memory` is built on: opening and closing, reading and writing off the event loop.

    Reads run beside each other on worker threads. Writes go to one thread, in the order of the calls; those that wait
    at the same time are committed together, and each call returns once its commit is done.
    """

    def __init__(
        self,
        target: str | Engine | Backend,
        *,
        embedder: Embedder | str | Path | None,
        preset: Preset,
        clock: Clock,
        extract_facts: bool,
        seed: int | str | None,
        index: VectorIndex | str | Path | bool | None,
        cache_bytes: int,
        reembed: bool | Progress,
        options: Mapping[str, Any],
    ) -> None:
        unknown = ", ".join(sorted(options.keys() - OPTIONS))
        if unknown:
            raise InvalidSetting(f"there is no setting {unknown}; those of a database are {', '.join(sorted(OPTIONS))}")
        if not callable(getattr(clock, "now", None)):
            raise InvalidSetting(f"a clock has now(), which returns a datetime with a time zone; got {clock!r}")
        self._target = target
        self._embedder_named = embedder
        self._embedder: Embedder | None = None
        self._preset = preset
        self._clock = clock
        self._extract_facts = extract_facts
        self._seed = seed
        self._index_at = None if isinstance(index, bool) else index
        self._index_wanted = index is not None and index is not False
        self._index: VectorIndex | None = index if isinstance(index, VectorIndex) else None
        self._reembed = reembed
        self._cache_bytes = check_cap(cache_bytes)
        self._options = options
        self._backend: Backend | None = None
        self._closed = False
        self._follower: Follower | None = None
        self._follower_lock = Lock()

    async def __aenter__(self) -> Self:
        if self._backend is not None or self._closed:
            raise StoreClosed("this memory was opened before: make another with Memory.open()")
        self._limiter = CapacityLimiter(WORKERS)
        await to_thread.run_sync(self._start, limiter=self._limiter)
        return self

    def _start(self) -> None:
        from mars.memory.backends import open_backend
        from mars.memory.backends.forks import renew_in_child

        self._embedder = resolve_embedder(self._embedder_named)
        backend = open_backend(self._target, **self._options)
        try:
            if self._index_wanted and self._index_at is None:
                index_folder(backend.url)
            if self._reembed:
                self._change_embedder(backend)
            store_id = self._identify(backend)
            self._rules = Rules(self._preset, self._embedder, store_id, self._extract_facts)
            self._recaller = Recaller(self._preset, self._embedder, self._cache_bytes)
        except BaseException:
            if backend is not self._target:
                backend.close()
            raise
        self._writer = Writer(grouped(partial(self._commit, backend)))
        self._lane = Lane()
        self._backend = backend
        renew_in_child(self)
        if self._index_wanted:
            self._following()

    def forked(self) -> None:
        """Let go of what threads of the parent hold, in a child, which does not have them."""
        self._limiter = CapacityLimiter(WORKERS)
        self._follower_lock = Lock()
        self._recaller.forked()
        if self._follower is not None:
            self._follower.forked()

    def _change_embedder(self, backend: Backend) -> None:
        """Let the store's vectors be this embedder's; what is derived of the old ones is dropped."""

        def drop() -> None:
            with suppress(InvalidSetting):  # a store that is no file, and nobody named a folder: there is no index
                drop_files(self._index_folder(backend))

        reembed(backend, self.embedder, self._reembed if callable(self._reembed) else None, drop)

    def _identify(self, backend: Backend) -> str:
        """Check the store's embedder and return the store's id, which an empty store takes from the seed."""
        meta, head = backend.read(lambda reader: (dict(reader.meta()), reader.head()))
        check_embedder(meta, self.embedder)
        store_id = meta.get("store_id")
        if store_id is None or (self._seed is not None and head == 0):
            store_id = new_store_id(self._seed)
            backend.transact(lambda tx: tx.set_meta({"store_id": store_id}))
        return store_id

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Finish the writes that were asked for and release what was opened; idempotent."""
        self._closed = True
        backend, self._backend = self._backend, None
        if backend is not None:
            with CancelScope(shield=True):
                await to_thread.run_sync(self._stop, backend, limiter=self._limiter)

    def _stop(self, backend: Backend) -> None:
        self._writer.close()
        self._lane.close()
        with self._follower_lock:
            if self._follower is not None:
                self._follower.close()
        try:
            if self._index is not None and self._index is not self._index_at:
                self._index.close()
        finally:
            if backend is not self._target:
                backend.close()

    @property
    def clock(self) -> Clock:
        """Where `now` comes from when it is not given."""
        return self._clock

    @property
    def preset(self) -> Preset:
        """The values that decide what fades and what ranks first."""
        return self._preset

    @property
    def embedder(self) -> Embedder:
        """What makes the vectors."""
        if self._embedder is None:
            raise StoreClosed("the memory is not open: use it in `async with Memory.open(...)`")
        return self._embedder

    @property
    def backend(self) -> Backend:
        """Where the truth is; for tools that read it directly."""
        if self._backend is None:
            raise StoreClosed("the memory is not open: use it in `async with Memory.open(...)`")
        return self._backend

    def _vector_index(self) -> VectorIndex:
        """Return the derived index, made at its first use; nothing is opened yet."""
        if self._index is None:
            self._index = self._make_index()
        return self._index

    def _make_index(self) -> VectorIndex:
        """Return the derived index anew; raises `InvalidSetting` where no folder is named and none can lie beside."""
        from mars.memory.index.chroma import ChromaIndex

        folder = self._index_folder(self.backend)
        embedder = self.embedder
        return ChromaIndex(folder, store=self._rules.store_id, embedder=embedder.id, dimension=embedder.dimension)

    def _index_folder(self, backend: Backend) -> Path:
        return index_folder(backend.url) if self._index_at is None else Path(str(self._index_at))

    def _following(self) -> Follower:
        """Return what lets the derived index follow, begun at its first use. Never blocks for long."""
        with self._follower_lock:
            if self._follower is None:
                self._follower = Follower(self.backend, self._vector_index())
                self._follower.start()
            return self._follower

    def _commit(self, backend: Backend, works: Sequence[Callable[[Transaction], Any]]) -> list[Any]:
        """Commit on the writer's thread, and let the index know."""
        results = backend.transact_all(works)
        if self._follower is not None:
            self._follower.wake()
        return results

    async def read(self, work: Callable[[Reader], Result]) -> Result:
        """Run `work` on a worker thread in one consistent view of the truth."""
        return await to_thread.run_sync(self.backend.read, work, limiter=self._limiter)

    async def _write(self, work: Callable[[Transaction], Result]) -> Result:
        """Run `work` on the writer's thread; when this returns it is committed. See `Writer.perform`."""
        _ = self.backend
        return await self._writer.perform(work)

    def _at(self, now: datetime | None) -> datetime:
        return check_time(self._clock.now() if now is None else now)
