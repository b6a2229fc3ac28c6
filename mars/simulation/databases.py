"""A database for many episodes at once: each has a memory of its own in it, and leaves nothing.

On PostgreSQL an episode's tables lie in a schema of their own, on SQLite in a file of their own beside the one that is
named. A killed episode leaves its own behind; whoever plays it again begins by dropping that, and a lock of the server
keeps two who play the same episode apart.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path

from anyio import CancelScope, to_thread
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import SQLAlchemyError

from mars.errors import InvalidSetting
from mars.memory.backends.connecting import BUSY_TIMEOUT, engine_for, shown
from mars.memory.backends.faults import translate

IN_MEMORY = "memory:"
"""Plain dictionaries within the process: where memories live unless a database is named."""
PREFIX = "mars_episode_"
"""Begins the name of every episode's schema."""


def check_database(url: str) -> str:
    """Return the URL; `InvalidSetting` if it names no database we speak to, `MissingExtra` if its driver is missing."""
    if not isinstance(url, str):
        raise InvalidSetting(f"database must be a URL such as postgresql://host/name; got {url!r}")
    if url != IN_MEMORY:
        engine_for(url).dispose()
    return url


def on_server(url: str) -> bool:
    """Tell whether a URL names a database that several hosts can share."""
    return url != IN_MEMORY and make_url(url).get_backend_name() == "postgresql"


def masked(url: str) -> str:
    """Return a URL without its password."""
    return url if url == IN_MEMORY else make_url(url).render_as_string(hide_password=True)


@asynccontextmanager
async def own_database(url: str, name: str) -> AsyncIterator[str]:
    """Lend an empty database within the one at `url`, by its own URL; afterwards it is gone.

    `name` is made of a to z, 0 to 9 and ``_``, 40 characters at most. Raises the errors of opening a store.
    """
    lending = _lent(url, name)
    with ExitStack() as stack:
        lent = await to_thread.run_sync(stack.enter_context, lending)
        try:
            yield lent
        finally:
            with CancelScope(shield=True):
                await to_thread.run_sync(stack.close)


@contextmanager
def _lent(url: str, name: str) -> Iterator[str]:
    if url == IN_MEMORY:
        yield url
        return
    made = make_url(url)
    if made.get_backend_name() == "postgresql":
        yield from _schema(made, PREFIX + name)
    elif made.database and made.database != ":memory:":
        yield from _file(made, name)
    else:
        yield url


def _schema(url: URL, name: str) -> Iterator[str]:
    """Make a schema, and drop it afterwards."""
    engine = engine_for(url)
    try:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql(f"SET lock_timeout = {round(BUSY_TIMEOUT * 1000)}")
            connection.exec_driver_sql("SELECT pg_advisory_lock(hashtextextended(%s, 0))", (name,))
            connection.exec_driver_sql(f"DROP SCHEMA IF EXISTS {name} CASCADE")
            connection.exec_driver_sql(f"CREATE SCHEMA {name}")
            try:
                given = url.query.get("options", ())
                options = [given] if isinstance(given, str) else [*given]
                inside = url.update_query_dict({"options": " ".join([*options, f"-csearch_path={name}"])})
                yield inside.render_as_string(hide_password=False)
            finally:
                connection.exec_driver_sql(f"DROP SCHEMA {name} CASCADE")
    except SQLAlchemyError as error:
        raise translate(error, shown(engine)) from None
    finally:
        engine.dispose()


def _file(url: URL, name: str) -> Iterator[str]:
    """Name a file, and remove it afterwards."""
    named = Path(str(url.database))
    path = named.with_name(f"{named.stem}-{name}{named.suffix}")
    _remove(path)
    try:
        yield url.set(database=str(path)).render_as_string(hide_password=False)
    finally:
        _remove(path)


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
