"""Where the truth is kept: interchangeable implementations of `mars.memory.interfaces.Backend`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mars.memory.interfaces import Backend

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from mars.memory.backends.connecting import Synchronous

__all__ = ["open_backend"]


def open_backend(
    target: str | Engine | Backend, *, synchronous: Synchronous = "normal", busy_timeout: float = 30.0
) -> Backend:
    """Return the backend for a URL, a live engine, or a backend, which is returned as it is.

    ``sqlite:///life.db`` is a file, ``sqlite:///:memory:`` a database within the process, ``postgresql://…`` a server
    (extra ``postgres``), and ``memory:`` plain dictionaries without SQL. `synchronous` and `busy_timeout` (seconds)
    apply to SQLite. What was opened here is closed by `Backend.close`; a live engine stays the caller's. Raises the
    errors of `mars.memory.backends.sql.SqlBackend`.
    """
    if isinstance(target, Backend):
        return target
    if target == "memory:":
        from mars.memory.backends.inmemory import InMemoryBackend

        return InMemoryBackend()
    from mars.memory.backends.sql import SqlBackend

    return SqlBackend(target, synchronous=synchronous, busy_timeout=busy_timeout)
