"""The truth in SQL: SQLite by default, PostgreSQL by its URL.

Guarantees. *Atomic*: what `SqlBackend.transact` is given is committed as a whole or not at all; nobody else writes
meanwhile, in this process or another (SQLite: ``BEGIN IMMEDIATE``; PostgreSQL: the locked row of the clock), so `seq`
is gap-free and in the order of commits. *Durable*: when `transact` has returned, the change survives the death of the
process (``synchronous="normal"``) and, with ``"full"``, the loss of power. *Consistent*: `read` sees one snapshot,
which holds every commit of any process made before the call.

*Grouped*: `transact_all` commits many pieces of work at once, each under a savepoint of its own.

One pool of connections, each in the driver's autocommit mode: transactions are begun and ended here in plain sight. Of
an engine of our own on SQLite, connections that were used once are kept at hand, with what they know of the store: the
newest `seq` and the facts are read again only if ``PRAGMA data_version`` says that somebody else has committed.
Usable from any thread, and after a fork: parent and child then have connections of their own (`backends.forks`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from types import MappingProxyType
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import StaticPool

from mars.errors import StoreClosed, StoreError
from mars.memory import points, schema
from mars.memory.backends.connecting import (
    BUSY_TIMEOUT,
    Synchronous,
    engine_for,
    prepare,
    settings_for,
    shown,
    write_turn,
)
from mars.memory.backends.crowds import Crowds
from mars.memory.backends.faults import translate
from mars.memory.backends.forks import Gate, file_of, leave, renew_in_child
from mars.memory.backends.session import SqlReader, SqlTransaction
from mars.memory.backends.statements import statements
from mars.memory.backends.wire import Wire
from mars.memory.interfaces import Backend, Failed, Reader, Transaction, outcome

__all__ = ["SqlBackend", "migrate"]

Result = TypeVar("Result")


class SqlBackend(Backend):
    """Records in SQLite or PostgreSQL; see the module for the guarantees."""

    def __init__(
        self, target: str | URL | Engine, *, synchronous: Synchronous = "normal", busy_timeout: float = BUSY_TIMEOUT
    ) -> None:
        """Open the store at a URL, or on a live engine, which then stays the caller's to dispose.

        A fresh database gets the schema; one of another version is refused with `SchemaMismatch`. `busy_timeout` is in
        seconds. Raises `InvalidSetting` for a URL that names no database, `MissingExtra` where the driver is not
        installed, `StoreUnavailable`, `StoreCorrupt` or `StoreReadOnly` where the database cannot be used.
        """
        self._owned = not isinstance(target, Engine)
        engine = target if isinstance(target, Engine) else engine_for(target)
        self._dialect = engine.dialect.name
        self._statements = statements(self._dialect)
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._url = shown(engine)
        self._setup = settings_for(self._dialect, synchronous, busy_timeout, self._owned)
        self._shared = isinstance(engine.pool, StaticPool)
        self._writing = write_turn(engine)
        self._inside = False
        self._at_hand = self._owned and self._dialect == "sqlite"
        self._idle: list[Wire] = []
        self._closed = False
        self._crowds = Crowds()
        on_file = self._dialect == "sqlite" and not self._shared
        self._gate: AbstractContextManager[None] = (
            Gate(file_of(engine.url), self._close_idle) if on_file else nullcontext()
        )
        renew_in_child(self)
        try:
            with self._connection() as connection:
                schema.check(connection, self._url)
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        """The database's URL, its password masked."""
        return self._url

    @property
    def engine(self) -> Engine:
        """The engine, for other tables of the same database (checkpoints, ledger)."""
        return self._engine

    def transact(self, work: Callable[[Transaction], Result]) -> Result:
        """Run `work` in one write transaction; see `Backend.transact`. Must not be called from within `work`."""

        def alone(wire: Wire, head: int, meta: Mapping[str, str]) -> tuple[SqlTransaction, Result]:
            transaction = SqlTransaction(wire, self._statements, head, meta, self._crowds)
            result = work(transaction)
            transaction.finish()
            return transaction, result

        return self._write(alone)

    def transact_all(self, works: Sequence[Callable[[Transaction], Any]]) -> list[Any]:
        """Run each under a savepoint, in their order, and commit them together; see `Backend.transact_all`."""
        if len(works) == 1:
            return [outcome(partial(self.transact, works[0]))]

        def together(wire: Wire, head: int, meta: Mapping[str, str]) -> tuple[SqlTransaction, list[Any]]:
            newest, results = SqlTransaction(wire, self._statements, head, meta, self._crowds), []
            for work in works:
                newest, result = self._saved(wire, newest, work)
                results.append(result)
            return newest, results

        return self._write(together)

    def _saved(
        self, wire: Wire, before: SqlTransaction, work: Callable[[Transaction], Any]
    ) -> tuple[SqlTransaction, Any]:
        """Run one piece of work so that it can fail alone; return the state after it, and what came of it."""
        wire.run("SAVEPOINT mars_one")
        transaction = SqlTransaction(wire, self._statements, before.head(), before.meta(), before.crowds)
        result = outcome(lambda: work(transaction))
        if not isinstance(result, Failed):
            fault = outcome(transaction.finish)
            result = fault if isinstance(fault, Failed) else result
        if isinstance(result, Failed):
            try:
                wire.run("ROLLBACK TO SAVEPOINT mars_one")
            except StoreError:  # the database has given up the whole transaction, and the first error says why
                raise result.error from None
            transaction = before
        wire.run("RELEASE SAVEPOINT mars_one")
        points.reach("work_done")
        return transaction, result

    def read(self, work: Callable[[Reader], Result]) -> Result:
        """Run `work` in one snapshot; see `Backend.read`."""
        if not self._shared:
            return self._view(work)
        with self._writing:
            self._enter()
            try:
                return self._view(work)
            finally:
                self._inside = False

    def close(self) -> None:
        """Close every connection, if the engine is ours; idempotent. Waits for a write in progress.

        A read that is under way finishes, and its connection is closed with it.
        """
        self._closed = True
        with self._writing:
            self._drop_idle()
            if self._owned:
                self._engine.dispose()

    def _close_idle(self) -> None:
        """Close the connections that nobody uses; those of an engine that was given are made anew by its pool."""
        self._drop_idle()
        self._engine.dispose()

    def _drop_idle(self) -> None:
        with suppress(IndexError):  # not `while self._idle`: another thread may take the last one meanwhile
            while True:
                _end(self._idle.pop().connection)

    def _enter(self) -> None:
        if self._inside:
            raise StoreError("a transaction is open in this thread: use the one that was handed to `work`")
        self._inside = True

    def _write(self, run: Callable[[Wire, int, Mapping[str, str]], tuple[SqlTransaction, Result]]) -> Result:
        with self._writing:
            self._enter()
            try:
                return self._on_a_wire(lambda wire: self._committed(wire, run))
            finally:
                self._inside = False

    def _committed(
        self, wire: Wire, run: Callable[[Wire, int, Mapping[str, str]], tuple[SqlTransaction, Result]]
    ) -> Result:
        known, wire.known = wire.known, None
        try:
            version, head, meta = self._begin(wire, known)
            after, result = run(wire, head, meta)
            if after.head() != head:
                wire.run(self._statements.set_head, (after.head(),))
                points.reach("clock_set")
            self._commit(wire)
            self._crowds = after.crowds
        except BaseException:
            wire.roll_back()
            raise
        if version is not None:
            wire.known = version, after.head(), after.meta()
        return result

    def _begin(
        self, wire: Wire, known: tuple[int, int, Mapping[str, str]] | None
    ) -> tuple[int | None, int, Mapping[str, str]]:
        """Begin to write; return the version of the data, if they have one, the newest `seq` and the store's facts."""
        points.reach("before_write")
        wire.run(self._statements.begin_write)
        version = None
        if self._at_hand and not self._shared and self._statements.version is not None:
            version = int(wire.run(self._statements.version).fetchone()[0])
            if known is not None and known[0] == version:
                return known
        head = int(wire.run(self._statements.lock).fetchone()[0])
        return version, head, MappingProxyType(dict(wire.run(self._statements.meta).fetchall()))

    def _commit(self, wire: Wire) -> None:
        points.reach("before_commit")
        wire.run("COMMIT")
        points.reach("after_commit")

    def _view(self, work: Callable[[Reader], Result]) -> Result:
        def within(wire: Wire) -> Result:
            wire.run(self._statements.begin_read)
            try:
                return work(SqlReader(wire, self._statements))
            finally:
                wire.roll_back()

        return self._on_a_wire(within)

    def _on_a_wire(self, work: Callable[[Wire], Result]) -> Result:
        """Use a connection that nobody else uses; on an engine of our own on SQLite it is kept for the next time.

        No generator hands it out: on the path of every write that takes as long as one of its statements.
        """
        if not self._at_hand:
            with self._connection() as connection:
                return work(Wire(connection, self._url))
        with self._gate:
            wire = self._taken()
            try:
                return work(wire)
            except SQLAlchemyError as error:
                raise translate(error, self._url) from None
            finally:
                if wire.connection.invalidated:
                    wire.connection.close()
                else:
                    self._idle.append(wire)
                if self._closed:  # perhaps since this call began
                    self._drop_idle()

    def _taken(self) -> Wire:
        if self._closed:
            raise StoreClosed(f"the store at {self._url} is closed: open it again")
        try:  # not `if self._idle`: another thread may take the last one meanwhile
            return self._idle.pop()
        except IndexError:
            return self._connected()

    def _connected(self) -> Wire:
        try:
            connection = self._engine.connect()
            try:
                prepare(connection, self._setup)
                return Wire(connection, self._url)
            except BaseException:
                connection.close()
                raise
        except SQLAlchemyError as error:
            raise translate(error, self._url) from None

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        if self._closed:
            raise StoreClosed(f"the store at {self._url} is closed: open it again")
        try:
            with self._gate, self._engine.connect() as connection:
                prepare(connection, self._setup)
                try:
                    yield connection
                finally:
                    if self._closed and self._owned:
                        _end(connection)
        except SQLAlchemyError as error:
            raise translate(error, self._url) from None

    def forked(self) -> None:
        """Start afresh in a child: the locks and connections of its parent are not the child's to release."""
        self._writing = write_turn(self._engine)
        self._inside = False
        if self._dialect != "sqlite":
            leave(self._idle, self._engine.pool)
            self._idle = []
            self._engine.dispose(close=False)


def _end(connection: Connection) -> None:
    """Close a connection for good: given back to a pool that was disposed of, it would stay open until it is found."""
    connection.invalidate()
    connection.close()


def migrate(target: str | URL) -> tuple[str | None, str]:
    """Bring the store at a URL to this version's schema; return the revisions before (None if fresh) and after.

    All or nothing, idempotent, and safe beside other processes that migrate. Raises `SchemaMismatch` for a newer or
    unknown schema, and the errors of opening a store.
    """
    engine = engine_for(target)
    try:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            return schema.migrate(connection)
    except SQLAlchemyError as error:
        raise translate(error, shown(engine)) from None
    finally:
        engine.dispose()
