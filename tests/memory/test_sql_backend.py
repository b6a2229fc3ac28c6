"""What only the SQL backend does: connections, engines, servers, forks, and errors that tell no secret."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier, Event
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import StaticPool

from mars.errors import InvalidInput, StoreReadOnly, StoreUnavailable
from mars.memory.backends import open_backend
from mars.memory.backends.selections import selection_query
from mars.memory.backends.sql import SqlBackend
from mars.memory.interfaces import Reader, Selection, Transaction
from mars.memory.records import Kind, Record, Status
from mars.memory.terms import encode

Build = Callable[..., Record]


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Return the URL of a SQLite file that is not there yet."""
    return f"sqlite:///{tmp_path / 'a store.db'}"


def pragma(backend: SqlBackend, name: str) -> object:
    """Return the value of a pragma on one of the backend's connections."""
    with backend._connection() as connection:
        return connection.exec_driver_sql(f"PRAGMA {name}").scalar()


def test_sqlite_runs_in_wal_with_the_durability_that_was_asked_for(url: str) -> None:
    """A file is in WAL mode; ``normal`` syncs at checkpoints, ``full`` before each acknowledgement."""
    for name, level in (("normal", 1), ("full", 2)):
        backend = SqlBackend(url, synchronous=name)  # type: ignore[arg-type]
        assert (pragma(backend, "journal_mode"), pragma(backend, "synchronous")) == ("wal", level)
        assert pragma(backend, "busy_timeout") == 30_000
        assert backend.url == url
        backend.close()


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files are counted by way of /proc")
def test_what_is_under_way_when_it_is_closed_leaves_no_file_open(url: str, tmp_path: Path) -> None:
    """A read that is in flight finishes, and takes its connection with it."""
    backend = SqlBackend(url)
    inside, closed = Barrier(6), Event()

    def read() -> int:
        def slow(reader: Reader) -> int:
            inside.wait(10)
            closed.wait(10)
            return reader.head()

        return backend.read(slow)

    with ThreadPoolExecutor(5) as pool:
        heads = [pool.submit(read) for _ in range(5)]
        inside.wait(10)
        backend.close()
        closed.set()
        assert [head.result(10) for head in heads] == [0] * 5
    names = [os.path.realpath(one) for one in Path("/proc/self/fd").iterdir()]
    assert not [name for name in names if name.startswith(str(tmp_path))]


def test_a_live_engine_stays_open(url: str, make_record: Build) -> None:
    """A backend on somebody's engine uses it as it is, and leaves it open when it is closed."""
    engine = create_engine(url)
    backend = open_backend(engine)
    backend.transact(lambda t: t.insert([make_record(t.next_seq())], {}))
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM mars_records")).scalar() == 1
        assert connection.get_isolation_level() == "SERIALIZABLE"
    backend.close()
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM mars_records")).scalar() == 1
    engine.dispose()


def test_a_database_in_memory_outlives_the_backend_on_its_engine(make_record: Build) -> None:
    """Closing a backend closes none of its engine's connections: a database that lives in one of them is kept."""
    engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    for expected in (1, 2):
        backend = open_backend(engine)
        backend.transact(lambda t: t.insert([make_record(t.next_seq())], {}))
        assert backend.read(lambda reader: reader.head()) == expected
        backend.close()
    engine.dispose()


def test_a_backend_is_returned_as_it_is(url: str) -> None:
    """`open_backend` of a backend is that backend."""
    backend = open_backend(url)
    assert open_backend(backend) is backend
    backend.close()


def test_a_hit_of_a_taken_key_shows_no_values(url: str, make_record: Build) -> None:
    """The error for a taken key names the index, never the key, the text or a parameter."""
    backend = open_backend(url)
    records = [make_record(0, key="my-secret-key", text="my secret text", namespace=("secret",)) for _ in range(2)]
    with pytest.raises(InvalidInput) as caught:
        backend.transact(lambda t: t.insert([replace(record, seq=t.next_seq()) for record in records], {}))
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
    backend.close()


def test_a_fork_after_open_is_safe(url: str) -> None:
    """A child that was forked from a process with an open store reads and writes, and so does its parent."""
    code = """
import os, sys
from mars.memory.backends import open_backend
backend = open_backend(sys.argv[1])
assert backend.transact(lambda t: t.next_seq()) == 1
child = os.fork()
if child == 0:
    assert backend.transact(lambda t: t.next_seq()) == 2
    backend.close()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert backend.transact(lambda t: t.next_seq()) == 3
assert backend.read(lambda r: r.head()) == 3
backend.close()
"""
    ended = subprocess.run([sys.executable, "-c", code, url], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr


class Counting(sqlite3.Connection):
    """A connection that notes how often its driver is called."""

    calls = 0

    def cursor(self, factory: Any = None) -> Any:
        """Return a cursor that counts."""
        return super().cursor(CountingCursor)


class CountingCursor(sqlite3.Cursor):
    """A cursor that adds to its connection's count."""

    def execute(self, *given: Any) -> Any:
        """Count, and run a statement."""
        Counting.calls += 1
        return super().execute(*given)

    def executemany(self, *given: Any) -> Any:
        """Count, and run a statement for each row."""
        Counting.calls += 1
        return super().executemany(*given)


def test_one_insert_is_one_statement_whatever_its_size(url: str, make_record: Build) -> None:
    """A batch goes to the driver as a batch: the number of statements does not grow with the records."""
    engine = create_engine(url, connect_args={"factory": Counting})
    backend = open_backend(engine)
    counts = []
    for size in (2, 300):
        Counting.calls = 0
        backend.transact(lambda t, n=size: t.insert([make_record(t.next_seq()) for _ in range(n)], {}))  # type: ignore[misc]
        counts.append(Counting.calls)
    assert counts[0] == counts[1] > 0
    backend.close()
    engine.dispose()


def test_what_others_wrote_is_known(url: str, make_record: Build) -> None:
    """A connection that knows the newest `seq` and the facts of the store reads them again once others have written."""
    ours, others = open_backend(url), open_backend(url)
    for number in range(1, 4):
        assert ours.transact(lambda t: (t.next_seq(), t.set_meta({"of": "ours"}))[0]) == 2 * number - 1
        assert ours.transact(lambda t: t.meta()["of"]) == "ours"
        assert others.transact(lambda t: (t.next_seq(), t.set_meta({"of": "others"}))[0]) == 2 * number
        assert ours.transact(lambda t: (t.head(), t.meta()["of"])) == (2 * number, "others")
    ours.close()
    others.close()


def test_what_a_failed_write_told_is_forgotten(url: str) -> None:
    """Facts and `seq` of a transaction that was rolled back are not taken for the store's."""
    backend = open_backend(url)

    def fail(t: Transaction) -> None:
        t.next_seq()
        t.set_meta({"of": "nobody"})
        raise InvalidInput("no")

    backend.transact(lambda t: t.next_seq())
    with pytest.raises(InvalidInput):
        backend.transact(fail)
    assert backend.transact(lambda t: (t.head(), t.meta().get("of"))) == (1, None)
    backend.close()


def test_a_read_only_server_is_read_and_not_written(postgres_store: str) -> None:
    """On a PostgreSQL that takes no writes reads go on, and a write is `StoreReadOnly`."""
    backend = open_backend(f"{postgres_store}&options=-cdefault_transaction_read_only%3Don")
    head = backend.read(lambda reader: reader.head())
    with pytest.raises(StoreReadOnly):
        backend.transact(lambda t: t.next_seq())
    assert backend.read(lambda reader: reader.head()) == head
    backend.close()


def test_a_lost_connection_is_named_and_replaced(postgres_store: str) -> None:
    """When the server drops a connection the call is `StoreUnavailable`, writes nothing, and the next one works."""
    backend = open_backend(postgres_store)
    head = backend.read(lambda reader: reader.head())
    end = text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = 'store'"
    )
    other = create_engine(postgres_store)

    def cut() -> None:
        with other.connect() as connection:
            connection.execute(end)

    def work(transaction: Transaction) -> None:
        cut()
        assert transaction.next_seq() == head + 1

    with pytest.raises(StoreUnavailable):
        backend.transact(work)
    assert backend.read(lambda reader: reader.head()) == head
    cut()
    with pytest.raises(StoreUnavailable):
        backend.read(lambda reader: reader.select(Selection(limit=1)))
    assert backend.transact(lambda t: t.next_seq()) == head + 1
    backend.close()
    other.dispose()


def test_a_writer_that_waits_too_long_is_told(postgres_store: str) -> None:
    """While another session keeps the clock locked a write is `StoreUnavailable` after the busy timeout."""
    other = create_engine(postgres_store)
    backend = SqlBackend(postgres_store, busy_timeout=0.1)
    with other.begin() as connection:
        connection.execute(text("SELECT seq FROM mars_clock FOR UPDATE"))
        with pytest.raises(StoreUnavailable, match="locked"):
            backend.transact(lambda t: t.next_seq())
    backend.transact(lambda t: t.next_seq())
    backend.close()
    other.dispose()


@pytest.fixture(params=["sqlite", "postgres"])
def fresh(request: pytest.FixtureRequest, url: str) -> str:
    """Return the URL of an empty database of each kind."""
    if request.param == "sqlite":
        return url
    make: Callable[[], str] = request.getfixturevalue("fresh_database")
    return make()


@pytest.mark.parametrize("kind", Kind)
def test_what_was_distilled_is_found_without_its_episodes(fresh: str, kind: Kind) -> None:
    """Looking for duplicates of a reflection reads an index without episodes; it cannot serve episodes."""
    backend = open_backend(fresh)
    assert isinstance(backend, SqlBackend)
    wanted = Selection(namespace=("user-1",), kinds=frozenset({kind}), statuses=frozenset({Status.ACTIVE}))
    query, values = selection_query(wanted, backend.engine.dialect.name)
    light = backend.engine.dialect.name == "sqlite"
    with backend.engine.connect() as connection:
        if not light:
            connection.exec_driver_sql("SET enable_seqscan = off")
        rows = connection.exec_driver_sql(f"EXPLAIN {'QUERY PLAN' if light else ''} {query}", values).all()
    backend.close()
    assert ("ix_mars_records_distilled" in str(rows)) == (kind is not Kind.EPISODE), rows


@pytest.mark.parametrize("blob", [None, b"", b"\1", bytes(16), bytes([2]) + bytes(23), b"\1" + bytes(16)])
def test_terms_that_cannot_be_read(fresh: str, blob: bytes | None, make_record: Build) -> None:
    """Where no blob of this version is stored, a shard is filled from the text; of the others no text is read."""
    backend = open_backend(fresh)
    assert isinstance(backend, SqlBackend)
    fields = {"namespace": ("user-1",), "speaker": "Ann"}
    backend.transact(
        lambda t: t.insert([make_record(t.next_seq(), text=f"Heron {n}?", **fields) for n in range(3)], {})
    )
    with backend.engine.begin() as connection:
        connection.execute(text("UPDATE mars_records SET terms = :blob WHERE number = 2"), {"blob": blob})
    (part,) = backend.read(lambda reader: list(reader.load(("user-1",))))
    backend.close()
    assert part.text == (None, "Heron 1?", None)
    assert part.blobs() == [encode(f"Heron {n}?", "Ann") for n in range(3)]
