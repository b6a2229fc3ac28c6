"""The truth in SQL: SQLite by default, PostgreSQL by its URL.

Guarantees. *Atomic*: what `SqlBackend.transact` is given is committed as a whole or not at all; nobody else writes
meanwhile, in this process or another (SQLite: ``BEGIN IMMEDIATE``; PostgreSQL: the locked row of the clock), so `seq`
is gap-free and in the order of commits. *Durable*: when `transact` has returned, the change survives the death of the
process (``synchronous="normal"``) and, with ``"full"``, the loss of power. *Consistent*: `read` sees one snapshot,
which holds every commit of any process made before the call.

One pool of connections, each in the driver's autocommit mode: transactions are begun and ended here in plain sight.
Usable from any thread, and after a fork: a child leaves its parent's connections alone and opens its own.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, TypeVar
from urllib.parse import unquote

from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import StaticPool

from mars.errors import InvalidSetting, MissingExtra, StoreClosed, StoreError
from mars.memory import schema
from mars.memory.backends.faults import translate
from mars.memory.backends.session import SqlReader, SqlTransaction
from mars.memory.backends.statements import statements
from mars.memory.interfaces import Backend, Reader, Transaction

__all__ = ["SqlBackend", "Synchronous", "migrate"]

Result = TypeVar("Result")

Synchronous = Literal["normal", "full"]
"""What an acknowledged write on SQLite survives: ``normal`` a killed process, ``full`` a power loss too."""

BUSY_TIMEOUT = 30.0
"""Seconds to wait for another process's write transaction before `StoreUnavailable`."""


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
        if synchronous not in ("normal", "full"):
            raise InvalidSetting(f"synchronous is 'normal' or 'full'; got {synchronous!r}")
        self._owned = not isinstance(target, Engine)
        engine = target if isinstance(target, Engine) else _engine(target)
        self._dialect = engine.dialect.name
        self._statements = statements(self._dialect)
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        shown = engine.url.render_as_string(hide_password=True)
        self._url = unquote(shown) if self._dialect == "sqlite" else shown
        self._setup = _setup(self._dialect, synchronous, busy_timeout, self._owned)
        self._shared = isinstance(engine.pool, StaticPool)
        self._writing = threading.RLock()
        self._inside = False
        self._process = os.getpid()
        self._closed = False
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
        with self._writing:
            self._enter()
            try:
                with self._connection() as connection:
                    return self._write(connection, work)
            finally:
                self._inside = False

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
        """Close every connection, if the engine is ours; idempotent."""
        self._closed = True
        if self._owned:
            self._engine.dispose()

    def _enter(self) -> None:
        if self._inside:
            raise StoreError("a transaction is open in this thread: use the one that was handed to `work`")
        self._inside = True

    def _write(self, connection: Connection, work: Callable[[Transaction], Result]) -> Result:
        connection.exec_driver_sql(self._statements.begin_write)
        try:
            head = connection.exec_driver_sql(self._statements.lock).scalar_one()
            transaction = SqlTransaction(connection, self._statements, self._url, head)
            result = work(transaction)
            transaction.finish()
            connection.exec_driver_sql("COMMIT")
        except BaseException:
            _roll_back(connection)
            raise
        return result

    def _view(self, work: Callable[[Reader], Result]) -> Result:
        with self._connection() as connection:
            connection.exec_driver_sql(self._statements.begin_read)
            try:
                return work(SqlReader(connection, self._statements, self._url))
            finally:
                _roll_back(connection)

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        if self._closed:
            raise StoreClosed(f"the store at {self._url} is closed: open it again")
        if self._process != os.getpid():
            if not self._shared:  # a database in memory was copied by the fork, connection and all
                self._engine.dispose(close=False)
            self._process = os.getpid()
        try:
            with self._engine.connect() as connection:
                self._prepare(connection)
                yield connection
        except SQLAlchemyError as error:
            raise translate(error, self._url) from None

    def _prepare(self, connection: Connection) -> None:
        """Set up a connection the first time it is used."""
        if not self._setup or "mars" in connection.info:
            return
        for statement in self._setup:
            schema.run_patiently(connection, statement)
        connection.info["mars"] = True


def migrate(target: str | URL) -> tuple[str | None, str]:
    """Bring the store at a URL to this version's schema; return the revisions before (None if fresh) and after.

    All or nothing, idempotent, and safe beside other processes that migrate. Raises `SchemaMismatch` for a newer or
    unknown schema, and the errors of opening a store.
    """
    engine = _engine(target)
    shown = engine.url.render_as_string(hide_password=True)
    try:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            return schema.migrate(connection)
    except SQLAlchemyError as error:
        raise translate(error, shown) from None
    finally:
        engine.dispose()


def _engine(target: str | URL) -> Engine:
    try:
        url = make_url(target)
        statements(url.get_backend_name())
        if url.drivername == "postgresql":
            url = url.set(drivername="postgresql+psycopg")
        if url.get_backend_name() == "sqlite" and _in_memory(url):
            return create_engine(
                url, hide_parameters=True, poolclass=StaticPool, connect_args={"check_same_thread": False}
            )
        return create_engine(url, hide_parameters=True)
    except (ArgumentError, NoSuchModuleError) as error:
        raise InvalidSetting(
            f"not a database URL; write sqlite:///memory.db or postgresql://host/name: {error}"
        ) from None
    except ModuleNotFoundError:
        raise MissingExtra("A store in PostgreSQL", "postgres") from None


def _in_memory(url: URL) -> bool:
    name = url.database or ":memory:"
    return name == ":memory:" or "mode=memory" in name or url.query.get("mode") == "memory"


def _setup(dialect: str, synchronous: Synchronous, busy_timeout: float, owned: bool) -> tuple[str, ...]:
    """Return what a new connection is told."""
    wait = round(busy_timeout * 1000)
    if dialect != "sqlite":
        return (f"SET lock_timeout = {wait}",) if owned else ()
    return (
        f"PRAGMA busy_timeout = {wait}",
        "PRAGMA journal_mode = WAL",
        f"PRAGMA synchronous = {synchronous.upper()}",
        "PRAGMA temp_store = MEMORY",
        "PRAGMA cache_size = -16000",
    )


def _roll_back(connection: Connection) -> None:
    """End a transaction without a word: why is being raised already, or there was nothing to keep."""
    if connection.invalidated:
        return
    driver = connection.connection.driver_connection
    try:
        if driver is not None:
            driver.rollback()
    except Exception:  # noqa: BLE001 - any driver's error: the connection is gone, and the transaction with it
        connection.invalidate()
