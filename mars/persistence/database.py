"""The database that runs are kept in: reading in snapshots, writing by one thread, on SQLite or PostgreSQL.

Guarantees. *Atomic*: each piece of work is committed as a whole or not at all. *Grouped*: what waits at the same time
is committed together; if one piece of a group fails, each is tried again on its own, so that none takes another with
it. *Durable*: when `Database.write` returns, the change survives the death of the process (``synchronous="normal"``)
and, with ``"full"``, the loss of power; PostgreSQL has its own settings. *Fresh*: a read sees every commit of any
process made before it.

Usable from any thread and any event loop, and after a fork: parent and child then have connections and threads of their
own (`mars.memory.backends.forks`).
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any, TypeVar

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar
from sqlalchemy import Engine
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import StaticPool

from mars.bridge import Twin
from mars.errors import StoreClosed
from mars.memory import schema
from mars.memory.backends.connecting import (
    BUSY_TIMEOUT,
    Synchronous,
    engine_for,
    prepare,
    settings_for,
    shown,
    write_turn,
)
from mars.memory.backends.faults import translate
from mars.memory.backends.forks import Gate, file_of, leave, renew_in_child
from mars.memory.backends.wire import Wire
from mars.memory.interfaces import Failed, outcome
from mars.memory.writer import Writer
from mars.persistence import points

__all__ = ["Database", "Wire"]

Result = TypeVar("Result")

READERS = 4
"""The most worker threads of one event loop that read at once."""

_limiter: RunVar[CapacityLimiter] = RunVar("mars_persistence_readers")


class Caller(Twin[object]):
    """Runs asynchronous work for callers who block, on an event loop in a thread of its own."""

    def __init__(self) -> None:
        """Nothing runs before `open`."""
        super().__init__(nullcontext(self))

    def run(self, work: Callable[[], Awaitable[Result]]) -> Result:
        """Block until the work is done; return its result."""
        return self._run(work)

    def iterate(self, work: Callable[[], AsyncIterator[Result]]) -> Iterator[Result]:
        """Yield what an asynchronous iterator yields."""
        return self._iterate(work)


class Database:
    """Connections to one database, and the thread that writes to it; see the module for the guarantees."""

    def __init__(
        self, target: str | URL | Engine, *, synchronous: Synchronous = "normal", busy_timeout: float = BUSY_TIMEOUT
    ) -> None:
        """Prepare for the database at a URL, or for a live engine, which stays the caller's; nothing is opened yet.

        `busy_timeout` is in seconds.
        Raises `InvalidSetting` for a URL that names no database, `MissingExtra` where the driver is not installed.
        """
        self._owned = not isinstance(target, Engine)
        engine = target if isinstance(target, Engine) else engine_for(target)
        self.dialect = engine.dialect.name
        """``sqlite`` or ``postgresql``."""
        self.url = shown(engine)
        """The database's URL, its password masked."""
        self._settings = settings_for(self.dialect, synchronous, busy_timeout, self._owned)
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._begin_write, self._begin_read = _BEGINNINGS[self.dialect == "sqlite"]
        self._shared = isinstance(engine.pool, StaticPool)
        self._state = "not open yet"
        self._idle: list[Wire] = []
        self._deferred: dict[Hashable, list[Callable[[Wire], object]]] = {}
        on_file = self.dialect == "sqlite" and not self._shared
        self._gate: AbstractContextManager[None] = (
            Gate(file_of(engine.url), self._close_idle) if on_file else nullcontext()
        )
        self._writer = Writer(self.write_all)
        self._renew()

    def _renew(self) -> None:
        self._alone = write_turn(self._engine)
        self._calling = threading.Lock()
        self._caller: Caller | None = None

    def open(self) -> None:
        """Connect, and create the schema in a fresh database. Blocks.

        Raises `StoreClosed` when it was opened before, `SchemaMismatch` for a schema of another version, and
        `StoreUnavailable`, `StoreCorrupt` or `StoreReadOnly` where the database cannot be used.
        """
        if self._state != "not open yet":
            raise StoreClosed(f"{self.url} was opened before: make another")
        try:
            with self._gate, self._engine.connect() as connection:
                prepare(connection, self._settings)
                schema.check(connection, self.url)
        except SQLAlchemyError as error:
            self.close()
            raise translate(error, self.url) from None
        except BaseException:
            self.close()
            raise
        self._state = "open"
        renew_in_child(self)

    def close(self) -> None:
        """Finish what was put, and close every connection that is ours; idempotent. Blocks."""
        self._writer.close()
        self._state = "closed"
        with self._calling:
            caller, self._caller = self._caller, None
        if caller is not None:
            caller.close()
        while self._idle:
            self._idle.pop().connection.close()
        if self._owned:
            self._engine.dispose()

    def _close_idle(self) -> None:
        """Close the connections that nobody uses; those of an engine that was given are made anew by its pool."""
        while self._idle:
            self._idle.pop().connection.close()
        self._engine.dispose()

    def check_open(self) -> None:
        """Raise `StoreClosed` unless the database is open."""
        if self._state != "open":
            raise StoreClosed(f"the database at {self.url} is {self._state}: use it within a with statement")

    @property
    def caller(self) -> Caller:
        """What runs asynchronous work for callers who block; its thread starts at the first use."""
        self.check_open()
        with self._calling:
            if self._caller is None:
                self._caller = Caller().open()
            return self._caller

    async def write(self, work: Callable[[Wire], Result], *, of: Hashable = None) -> Result:
        """Run `work` on the writer's thread in a transaction; when this returns it is committed.

        What was deferred under the key `of` is done first, in the same transaction.

        A call that is cancelled before its turn has come has written nothing; later it is finished first. `work` may
        be run again after its transaction was rolled back.
        """
        self.check_open()
        if of in self._deferred:
            work = _in_order(self._deferred.pop(of), work)
        perform: Callable[[Callable[[Any], Result]], Awaitable[Result]] = self._writer.perform
        return await perform(work)

    def defer(self, work: Callable[[Wire], object], *, of: Hashable) -> None:
        """Let work be done with the next `write` of the same key; it is lost with the process, or by `drop`."""
        self._deferred.setdefault(of, []).append(work)

    def drop(self, of: Hashable) -> None:
        """Forget what was deferred under a key."""
        self._deferred.pop(of, None)

    async def read(self, work: Callable[[Wire], Result]) -> Result:
        """Run `work` on a worker thread in one snapshot."""
        self.check_open()
        limiter = _limiter.get(None)
        if limiter is None:
            limiter = CapacityLimiter(READERS)
            _limiter.set(limiter)
        return await to_thread.run_sync(self._view, work, limiter=limiter)

    def write_all(self, works: Sequence[Callable[[Any], Any]]) -> list[Any]:
        """Commit pieces of work together; return for each what it returned, or `Failed` with its error. Blocks."""
        results = outcome(lambda: self._transact(works))
        if not isinstance(results, Failed):
            return results
        if len(works) > 1 and isinstance(results.error, _WorkFailed):
            return [result for work in works for result in self.write_all([work])]
        return [Failed(_cause(results.error))] * len(works)

    def _transact(self, works: Sequence[Callable[[Wire], Any]]) -> list[Any]:
        points.reach("run_before_write")
        with self._alone, self._wire(self._begin_write) as wire:
            try:
                results = [self._one(wire, work) for work in works]
                points.reach("run_before_commit")
                wire.run("COMMIT")
            except BaseException:
                wire.roll_back()
                raise
        points.reach("run_after_commit")
        return results

    def _one(self, wire: Wire, work: Callable[[Wire], Any]) -> Any:
        try:
            result = work(wire)
        except Exception as error:
            raise _WorkFailed from error
        points.reach("run_work_done")
        return result

    def _view(self, work: Callable[[Wire], Result]) -> Result:
        with self._alone if self._shared else nullcontext(), self._wire(self._begin_read) as wire:
            try:
                return work(wire)
            finally:
                wire.roll_back()

    @contextmanager
    def _wire(self, begin: str) -> Iterator[Wire]:
        """Lend a connection that nobody else uses, with a transaction begun, and keep it for the next time."""
        idle = self._idle
        try:
            with self._gate:
                wire = self._begun(begin)
                try:
                    yield wire
                finally:
                    if self._state == "closed" or wire.connection.invalidated or not self._owned:
                        wire.connection.close()
                    else:
                        idle.append(wire)
        except SQLAlchemyError as error:
            raise translate(error, self.url) from None

    def _begun(self, begin: str) -> Wire:
        """Begin on a connection at hand; where the server has ended it meanwhile, on a new one."""
        wire = self._taken()
        try:
            wire.run(begin)
            return wire
        except BaseException:
            lost = wire.connection.invalidated
            wire.connection.close()
            if not lost:
                raise
        while self._idle:
            stale = self._idle.pop().connection
            stale.invalidate()
            stale.close()
        wire = self._taken()
        try:
            wire.run(begin)
        except BaseException:
            wire.connection.close()
            raise
        return wire

    def _taken(self) -> Wire:
        with suppress(IndexError):  # not `if self._idle`: another thread may take the last one meanwhile
            return self._idle.pop()
        connection = self._engine.connect()
        try:
            prepare(connection, self._settings)
            return Wire(connection, self.url)
        except BaseException:
            connection.close()
            raise

    def forked(self) -> None:
        """Start afresh in a child: the locks, connections and threads of its parent are not the child's."""
        leave(self._caller)
        self._renew()
        self._deferred = {}
        if self.dialect != "sqlite":  # a database in memory was copied, and a file's connections are closed before it
            leave(self._idle, self._engine.pool)
            self._idle = []
            self._engine.dispose(close=False)


def _in_order(works: Sequence[Callable[[Wire], object]], last: Callable[[Wire], Result]) -> Callable[[Wire], Result]:
    def all_of_it(wire: Wire) -> Result:
        for work in works:
            work(wire)
        return last(wire)

    return all_of_it


_BEGINNINGS = (
    ("BEGIN ISOLATION LEVEL READ COMMITTED", "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"),
    ("BEGIN IMMEDIATE", "BEGIN"),
)


class _WorkFailed(Exception):
    """A piece of work raised, not the transaction around it; the cause says what."""


def _cause(error: BaseException) -> BaseException:
    return error.__cause__ or error if isinstance(error, _WorkFailed) else error
