"""What the tests of memory share: every backend in turn, and records to put into them."""

from __future__ import annotations

import runpy
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import pytest
from sqlalchemy import create_engine

from mars.memory.backends import open_backend
from mars.memory.engine import Memory
from mars.memory.interfaces import Backend, Reader, Selection, Transaction
from mars.memory.records import Kind, Provenance, Record, Source, Status, Vector
from mars.testing import FixedClock

POSTGRES = runpy.run_path(str(Path(__file__).parents[1] / "postgres.py"))
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
EMPTY = """
TRUNCATE mars_records, mars_vectors, mars_history, mars_tombstones;
DELETE FROM mars_meta WHERE key <> 'store_id';
UPDATE mars_clock SET seq = 0
"""


class MakeRecord(Protocol):
    """Builds a record that is valid, with the fields that matter to the test."""

    def __call__(self, seq: int, **fields: Any) -> Record:
        """Return a record with this `seq`."""
        ...


@pytest.fixture
def make_record() -> MakeRecord:
    """Return a builder of records; ids and hashes are new each time."""
    numbers = count(1)

    def build(seq: int, **fields: Any) -> Record:
        number = next(numbers)
        values: dict[str, Any] = dict.fromkeys(Record.__dataclass_fields__)
        values |= {"id": f"0190b6a0-0000-7000-8000-{number:012d}", "seq": seq, "text": f"text {number}"}
        values |= {"namespace": ("user-1",), "kind": Kind.EPISODE, "status": Status.ACTIVE}
        values |= dict.fromkeys(("created_at", "event_time", "last_strengthened", "valid_from", "known_from"), NOW)
        values |= {"strength": 7.0, "boost": 1.0, "difficulty": 2.118104, "uses": 0, "importance": 0.0}
        values |= {"entropy": 3.0, "pinned": False, "source": Source.USER, "trust": 1.0, "provenance": Provenance()}
        values |= {"content_hash": f"{number:032x}", "metadata": {}}
        return Record(**(values | fields))

    return build


@pytest.fixture(scope="session")
def postgres_store(postgres_server: str) -> Iterator[str]:
    """Make one database with our schema for the session; yield its URL."""
    with POSTGRES["database"](postgres_server, "store") as url:
        open_backend(url).close()
        yield url


@pytest.fixture(scope="session")
def emptied() -> Callable[[str], None]:
    """Return a function that deletes all that a PostgreSQL store holds but its id."""

    def empty(url: str) -> None:
        engine = create_engine(url)
        with engine.begin() as connection:
            connection.exec_driver_sql(EMPTY)
        engine.dispose()

    return empty


@pytest.fixture(params=["memory", "sqlite", "sqlite-memory", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path, emptied: Callable[[str], None]) -> str:
    """Return the URL of an empty store, of each kind in turn."""
    kind = str(request.param)
    if kind == "postgres":
        url = str(request.getfixturevalue("postgres_store"))
        emptied(url)
        return url
    return {
        "memory": "memory:",
        "sqlite": f"sqlite:///{tmp_path / 'store.db'}",
        "sqlite-memory": "sqlite:///:memory:",
    }[kind]


@pytest.fixture
def backend(store: str) -> Iterator[Backend]:
    """Open each kind of backend in turn, empty; close it afterwards."""
    opened = open_backend(store)
    yield opened
    opened.close()


@pytest.fixture
def clock() -> FixedClock:
    """A clock that stands at the beginning of 2026."""
    return FixedClock()


@pytest.fixture
async def memory(store: str, clock: FixedClock) -> AsyncIterator[Memory]:
    """Open a memory over each kind of store in turn, empty, with the clock that stands."""
    async with Memory.open(store, clock=clock, seed=1) as opened:
        yield opened


@pytest.fixture
async def quick(clock: FixedClock) -> AsyncIterator[Memory]:
    """Open a memory without a database, for what does not depend on one."""
    async with Memory.open("memory:", clock=clock, seed=1) as opened:
        yield opened


@pytest.fixture
def put() -> Callable[..., list[Record]]:
    """Return a function that inserts records with the next `seq` each."""

    def put(backend: Backend, *records: Record, vectors: dict[str, Vector] | None = None) -> list[Record]:
        """Insert records with the next `seq` each; return them as stored."""

        def work(transaction: Transaction) -> list[Record]:
            stored = [replace(record, seq=transaction.next_seq()) for record in records]
            transaction.insert(stored, vectors or {})
            return stored

        return backend.transact(work)

    return put


@pytest.fixture
def contents() -> Callable[[Backend], tuple[Any, ...]]:
    """Return a function that reads everything a backend holds, comparable."""

    def contents(backend: Backend) -> tuple[Any, ...]:
        """Return everything that a backend holds, comparable."""

        def work(reader: Reader) -> tuple[Any, ...]:
            records = reader.select(Selection())
            ids = [record.id for record in records]
            vectors = {one: vector.tolist() for one, vector in reader.vectors(ids).items()}
            history = [reader.history(one) for one in ids]
            return reader.head(), records, vectors, history, reader.removed(0), dict(reader.meta()), reader.namespaces()

        return backend.read(work)

    return contents
