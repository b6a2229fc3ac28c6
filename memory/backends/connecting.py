"""How a database is reached: an engine for its URL, and what each new connection is told.

Shared by everything of MARS that keeps tables in the same database.
"""

from __future__ import annotations

import os
import threading
from contextlib import AbstractContextManager, suppress
from typing import Any, Literal
from urllib.parse import unquote
from weakref import WeakValueDictionary

from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.pool import StaticPool

from mars.errors import InvalidSetting, MissingExtra
from mars.memory import schema
from mars.memory.backends.forks import file_of, forget_in_child

__all__ = [
    "BUSY_TIMEOUT",
    "Synchronous",
    "check_dialect",
    "engine_for",
    "prepare",
    "settings_for",
    "shown",
    "write_turn",
]

Synchronous = Literal["normal", "full"]
"""What an acknowledged write on SQLite survives: ``normal`` a killed process, ``full`` a power loss too."""

BUSY_TIMEOUT = 30.0
"""Seconds to wait for another process's write transaction before `StoreUnavailable`."""

CHECKPOINT_PAGES = 4000
"""Pages (16 MB) of the log after which SQLite copies them into the file: a quarter as often as by default."""


def check_dialect(name: str) -> None:
    """Raise `InvalidSetting` for a kind of database that no statement here is written for."""
    if name not in ("sqlite", "postgresql"):
        raise InvalidSetting(
            f"memory lives in sqlite or postgresql, not {name}: use sqlite:///… or postgresql+psycopg://…"
        )


def engine_for(target: str | URL) -> Engine:
    """Return a new engine for a database's URL; nothing is connected yet.

    Raises `InvalidSetting` for a URL that names no database we speak to, `MissingExtra` where the driver is not there.
    """
    try:
        url = _url(target)
        check_dialect(url.get_backend_name())
        if url.drivername == "postgresql":
            url = url.set(drivername="postgresql+psycopg")
        if url.get_dialect().is_async:
            raise InvalidSetting(
                f"{url.drivername} is asynchronous, and MARS has threads of its own: use sqlite:///… or postgresql://…"
            )
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


def _url(target: str | URL) -> URL:
    with suppress(ValueError):  # a port that is no number; the message may show a part of the password
        url = make_url(target)
        if "@" not in (url.host or ""):
            return url
    raise InvalidSetting(
        "not a database URL: its host or port is none; write postgresql://user:password@host:5432/name, and each of "
        "@ : / in a password as %40 %3A %2F"
    )


def shown(engine: Engine) -> str:
    """Return an engine's URL for messages: without its password, and with a file's name as it is on disk."""
    url = engine.url.render_as_string(hide_password=True)
    return unquote(url) if engine.dialect.name == "sqlite" else url


def settings_for(dialect: str, synchronous: Synchronous, busy_timeout: float, owned: bool) -> tuple[str, ...]:
    """Return what a new connection is told; `busy_timeout` is in seconds, `owned` says that the engine is ours.

    Raises `InvalidSetting` where `synchronous` is neither of its two values.
    """
    if synchronous not in ("normal", "full"):
        raise InvalidSetting(f"synchronous is 'normal' or 'full'; got {synchronous!r}")
    if isinstance(busy_timeout, bool) or not isinstance(busy_timeout, int | float) or not 0 <= busy_timeout < 1e6:
        raise InvalidSetting(f"busy_timeout is a number of seconds, 0 or more; got {busy_timeout!r}")
    wait = round(busy_timeout * 1000)
    if dialect != "sqlite":
        return (f"SET lock_timeout = {wait}",) if owned else ()
    return (
        f"PRAGMA busy_timeout = {wait}",
        "PRAGMA journal_mode = WAL",
        f"PRAGMA synchronous = {synchronous.upper()}",
        f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}",
        "PRAGMA temp_store = MEMORY",
        "PRAGMA cache_size = -16000",
    )


def prepare(connection: Connection, settings: tuple[str, ...]) -> None:
    """Tell a connection its settings, the first time it is used."""
    if not settings or "mars" in connection.info:
        return
    for statement in settings:
        schema.run_patiently(connection, statement)
    connection.info["mars"] = True


def write_turn(engine: Engine) -> AbstractContextManager[Any]:
    """Return the reentrant lock to hold while writing by this engine; ask again after a fork.

    SQLite has one writer at a time, and who finds it busy sleeps and tries again. So everything in this process that
    writes to one file, or shares a connection in memory, takes turns by one lock. PostgreSQL's writers need none.
    """
    if engine.dialect.name != "sqlite":
        return threading.RLock()
    key = id(engine.pool) if isinstance(engine.pool, StaticPool) else os.path.realpath(file_of(engine.url))
    with _handing_out:
        turn = _turns.get(key)
        if turn is None:
            turn = _turns[key] = threading.RLock()
        return turn


_turns: WeakValueDictionary[str | int, Any] = WeakValueDictionary()
_handing_out = threading.Lock()


def _forget_turns() -> None:
    """Forget the locks in a child: a thread that it does not have may hold them."""
    global _handing_out
    _handing_out = threading.Lock()
    _turns.clear()


forget_in_child(_forget_turns)


def _in_memory(url: URL) -> bool:
    name = url.database or ":memory:"
    return name == ":memory:" or "mode=memory" in name or url.query.get("mode") == "memory"
