"""What a database's errors mean, and what helps against each.

No message carries a parameter or a row: only the first line of what the driver says, which names tables and columns.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from mars.errors import (
    InvalidInput,
    MarsError,
    StoreCorrupt,
    StoreError,
    StoreFull,
    StoreReadOnly,
    StoreUnavailable,
)

_SQLITE: dict[int, tuple[type[StoreError], str]] = {
    sqlite3.SQLITE_READONLY: (
        StoreReadOnly,
        "the database is read-only; nothing was written: check the permissions of the file and its folder, or open "
        "it without mode=ro",
    ),
    sqlite3.SQLITE_FULL: (
        StoreFull,
        "no space is left for the database; nothing of this write was kept and all before it is intact: free some "
        "space and write again",
    ),
    sqlite3.SQLITE_BUSY: (
        StoreUnavailable,
        "the database stays locked by another process; nothing was written: try again, or open with a longer "
        "busy_timeout",
    ),
    sqlite3.SQLITE_LOCKED: (StoreUnavailable, "the database is locked within this process; nothing was written"),
    sqlite3.SQLITE_CANTOPEN: (
        StoreUnavailable,
        "the database file cannot be opened: create its folder (mkdir -p), or check that the path names a file in a "
        "folder that can be written",
    ),
    sqlite3.SQLITE_NOTADB: (
        StoreCorrupt,
        "the file is no SQLite database; it was left as it is: name another file, or move this one away",
    ),
    sqlite3.SQLITE_CORRUPT: (
        StoreCorrupt,
        "the database file is damaged: restore a backup, or try `sqlite3 FILE .recover`",
    ),
    sqlite3.SQLITE_IOERR: (
        StoreUnavailable,
        "the disk under the database reports an error; nothing was written: check the disk, what is mounted there and "
        "the limit of file sizes (ulimit -f), and write again",
    ),
}

_POSTGRES: dict[str, tuple[type[StoreError], str]] = {
    "25006": (StoreReadOnly, "the database is read-only (a standby, perhaps); nothing was written"),
    "42501": (StoreReadOnly, "this database user may not do that; grant it the rights on the mars_ tables"),
    "53100": (StoreFull, "the database server's disk is full; nothing of this write was kept"),
    "55P03": (StoreUnavailable, "the store stays locked by another writer; nothing was written: try again"),
    "40001": (StoreUnavailable, "the database gave up on this transaction; nothing was written: try again"),
    "40P01": (StoreUnavailable, "the database gave up on this transaction; nothing was written: try again"),
    "XX001": (StoreCorrupt, "the database reports damaged data: restore a backup"),
    "XX002": (StoreCorrupt, "the database reports a damaged index: REINDEX it"),
}


def translate(error: Exception, url: str) -> MarsError:
    """Return the error of MARS that says what this one, of SQLAlchemy or a driver, means for the store at `url`."""
    original = _original(error)
    if _is(original, "IntegrityError"):
        return InvalidInput(
            f"a record with this id, key or idempotency key is already in its namespace; nothing was written "
            f"({_first_line(original or error)})"
        )
    kind, remedy = _meaning(error, original)
    if getattr(original, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_CANTOPEN and _unwritable(url):
        kind, remedy = _SQLITE[sqlite3.SQLITE_READONLY]
    return kind(f"{url}: {remedy} ({_first_line(original or error)})")


def _unwritable(url: str) -> bool:
    """Tell whether the database's file is there, and it or its folder, which SQLite's log needs, cannot be written."""
    path = Path(url.removeprefix("sqlite:///").partition("?")[0])
    return path.is_file() and not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK))


def _original(error: Exception) -> BaseException | None:
    """Return what the driver raised; None where SQLAlchemy raised something of its own."""
    if isinstance(error, DBAPIError):
        return error.orig
    return None if isinstance(error, SQLAlchemyError) else error


def _is(error: BaseException | None, name: str) -> bool:
    """Tell whether a driver's error is of a class of DB-API 2.0: every driver has its own, under the same names."""
    return any(kind.__name__ == name for kind in type(error).__mro__)


def _meaning(error: Exception, original: BaseException | None) -> tuple[type[MarsError], str]:
    code = getattr(original, "sqlite_errorcode", None)
    if code is not None and code & 0xFF in _SQLITE:
        return _SQLITE[code & 0xFF]
    state = getattr(original, "sqlstate", None)
    if state in _POSTGRES:
        return _POSTGRES[state]
    if state == "54000":
        return InvalidInput, "a key or label is too long for the database's index; nothing was written: shorten it"
    lost = isinstance(error, DBAPIError) and error.connection_invalidated
    unreachable = original is not None and state is None and type(original).__module__.startswith("psycopg")
    gone = (state or "")[:2] in ("08", "28", "3D", "53", "57")
    if lost or unreachable or gone or _is(original, "InterfaceError"):
        return StoreUnavailable, "the database cannot be reached: check that it runs, the URL and the rights"
    return StoreError, "the database refused; nothing was written"


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
