"""The schema of a store: created at first open, checked at every other, migrated on request.

A fresh database is brought to the newest revision in process, under a lock, so that two processes may open it at
once. A store of an older revision is refused with the command that migrates it (another process with older code may
be using it, and a copy of its files is worth having first: our own backup reads the newest schema only); a newer or
unknown one with the advice to upgrade the package.
Alembic is imported only where something has to change: reading the revision takes less than a millisecond.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING
from uuid import uuid4

from sqlalchemy import Connection, insert
from sqlalchemy.exc import OperationalError

from mars.errors import SchemaMismatch
from mars.memory.backends.forks import forget_in_child
from mars.memory.tables import meta

if TYPE_CHECKING:
    from alembic.config import Config

REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006", "0007")
"""Every revision of the schema, oldest first; the last is the one that this code reads and writes."""

VERSION_TABLE = "mars_version"
"""Where Alembic notes the revision: our own name, because others may use ``alembic_version`` in the same database."""

_LOCK = 0x6D617273
_one_at_a_time = threading.Lock()
"""Alembic keeps what it works on in globals of its modules: of two migrations at once one gets the other's database."""
_TABLES = (VERSION_TABLE, "mars_records")
_LIST_SQLITE = "SELECT name FROM sqlite_master WHERE type = 'table' AND name IN (?, ?)"
# Not to_regclass: within a transaction that waited for the lock it still answers from before.
_LIST_POSTGRES = "SELECT relname FROM pg_class WHERE relname IN (%s, %s) AND pg_table_is_visible(oid)"


def revision(connection: Connection) -> str | None:
    """Return the revision of the store in this database; None for a database without one.

    Raises `SchemaMismatch` where there are tables of ours without a revision.
    """
    query = _LIST_SQLITE if connection.dialect.name == "sqlite" else _LIST_POSTGRES
    found = set(connection.exec_driver_sql(query, _TABLES).scalars())
    if not found:
        return None
    rows = []
    if VERSION_TABLE in found:
        rows = list(connection.exec_driver_sql(f"SELECT version_num FROM {VERSION_TABLE}").scalars())
    if len(rows) != 1:
        raise SchemaMismatch(
            "the database has tables of MARS but no single revision of their schema: restore a backup, or name "
            "another database"
        )
    return str(rows[0])


def check(connection: Connection, url: str, known: tuple[str, ...] = REVISIONS) -> None:
    """Create the schema in a fresh database; raise `SchemaMismatch` for any revision but the newest that is known.

    `connection` is in autocommit mode.
    """
    found = revision(connection)
    if found is None:
        _upgrade(connection)
        found = revision(connection)
    if found == known[-1]:
        return
    if found in known:
        raise SchemaMismatch(
            f"the store at {url} has the older schema {found}, this code needs {known[-1]}: copy its files, with "
            f"nobody using it (SQLite), or dump it (`pg_dump`) first, then run `mars memory migrate --db {url}`"
        )
    raise SchemaMismatch(
        f"the store at {url} has schema {found}, which this version of MARS does not know (its newest is "
        f"{known[-1]}): run `pip install --upgrade mars-runtime`"
    )


def migrate(connection: Connection) -> tuple[str | None, str]:
    """Bring a store to the newest schema; return the revisions before and after. Idempotent, all or nothing.

    `connection` is in autocommit mode. Raises `SchemaMismatch` for a newer or unknown schema.
    """
    before = revision(connection)
    if before is not None and before not in REVISIONS:
        raise SchemaMismatch(
            f"the store has schema {before}, which this version of MARS does not know: run "
            "`pip install --upgrade mars-runtime`"
        )
    if before != REVISIONS[-1]:
        _upgrade(connection)
    return before, REVISIONS[-1]


def run_patiently(connection: Connection, statement: str) -> None:
    """Run a setting of a connection, again and again where others change SQLite's journal mode at the same time.

    The switch to WAL does not honour the busy timeout. A database that cannot be written keeps the mode it has.
    """
    for attempt in range(200):
        try:
            connection.exec_driver_sql(statement)
            return
        except OperationalError as error:
            code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
            if code == 8:
                return
            if code != 5 or attempt == 199:
                raise
            time.sleep(0.01 + 0.0005 * attempt)


def config() -> Config:
    """Return Alembic's configuration of our migrations."""
    from alembic.config import Config

    settings = Config()
    settings.set_main_option("script_location", "mars.migrations:")
    settings.set_main_option("path_separator", "os")
    return settings


def _upgrade(connection: Connection) -> None:
    """Run the missing migrations in one transaction that only one process at a time can hold."""
    from alembic import command

    light = connection.dialect.name == "sqlite"
    connection.exec_driver_sql("BEGIN IMMEDIATE" if light else "BEGIN")
    try:
        if not light:
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        before = revision(connection)
        if before is None or before in REVISIONS[:-1]:
            settings = config()
            settings.attributes["connection"] = connection
            with _one_at_a_time:
                command.upgrade(settings, "head")
        if before is None:
            connection.execute(insert(meta), {"key": "store_id", "value": uuid4().hex})
        connection.exec_driver_sql("COMMIT")
    except BaseException:
        connection.exec_driver_sql("ROLLBACK")
        raise


def _renew() -> None:
    global _one_at_a_time
    _one_at_a_time = threading.Lock()


forget_in_child(_renew)  # a thread of the parent may hold it
