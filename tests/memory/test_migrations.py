"""Migrations from every earlier schema with rows, on both databases: nothing is lost, and the store works.

`rows/REVISION.json` holds rows as the code of that revision stored them, for the tables that the revision added or
changed; `freeze_rows.py` made them. A new revision that adds or changes a table needs such a file, and is tested by it
from then on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, MetaData, create_engine, delete, inspect, select

from mars.errors import SchemaMismatch
from mars.memory import schema
from mars.memory.backends import open_backend
from mars.memory.backends.sql import migrate
from mars.memory.embedding import HashingEmbedder
from mars.memory.engine import Memory
from mars.memory.records import Status
from mars.memory.terms import encode
from mars.persistence import CheckpointSaver
from mars.testing import FixedClock

ROWS = Path(__file__).parent / "rows"
REVISIONS = [one.revision for one in ScriptDirectory.from_config(schema.config()).walk_revisions()][::-1]
EARLIER = REVISIONS[:-1]
Frozen = Mapping[str, list[dict[str, Any]]]


@pytest.fixture(params=["sqlite", "postgres"])
def fresh(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of an empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    make: Callable[[], str] = request.getfixturevalue("fresh_database")
    return make()


@contextmanager
def connected(url: str) -> Iterator[tuple[Engine, Connection]]:
    """Lend a connection whose work is committed at the end."""
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            yield engine, connection
    finally:
        engine.dispose()


def frozen(revision: str) -> Frozen:
    """Return the rows of every table as a store of a revision holds them."""
    result: dict[str, list[dict[str, Any]]] = {}
    for one in REVISIONS[: REVISIONS.index(revision) + 1]:
        path = ROWS / f"{one}.json"
        result |= json.loads(path.read_text(encoding="utf-8"), object_hook=thawed) if path.exists() else {}
    return result


def thawed(value: dict[str, Any]) -> Any:
    """Return bytes for what stands for them."""
    return bytes.fromhex(value["hex"]) if set(value) == {"hex"} else value


def tables_of(connection: Connection) -> set[str]:
    """Return the names of our tables, but for the one that names the revision."""
    names = {name for name in inspect(connection).get_table_names() if name.startswith("mars_")}
    return names - {schema.VERSION_TABLE}


def turn(connection: Connection, way: Callable[..., None], revision: str) -> None:
    """Upgrade or downgrade to a revision with Alembic."""
    settings = schema.config()
    settings.attributes["connection"] = connection
    way(settings, revision)


def build(url: str, revision: str) -> None:
    """Make a store of a revision, with the rows that its code left."""
    with connected(url) as (_, connection):
        turn(connection, command.upgrade, revision)
        rows, names = frozen(revision), tables_of(connection)
        lacking = sorted(names - {name for name, some in rows.items() if some})
        assert not lacking, f"freeze rows of {', '.join(lacking)} in {ROWS / revision}.json: see freeze_rows.py"
        metadata = MetaData()
        metadata.reflect(connection, only=sorted(names))
        for name in sorted(names):
            connection.execute(delete(metadata.tables[name]))
            connection.execute(metadata.tables[name].insert(), rows[name])
        if connection.dialect.name == "postgresql":
            count_on(connection, names)


def count_on(connection: Connection, names: set[str]) -> None:
    """Let PostgreSQL's sequences go on after the numbers that were given."""
    for name in sorted(names):
        for column in inspect(connection).get_columns(name):
            if "nextval" in str(column["default"]):
                one = f"pg_get_serial_sequence('{name}', '{column['name']}')"
                connection.exec_driver_sql(f"SELECT setval({one}, (SELECT max({column['name']}) FROM {name}))")


def stored(url: str, names: set[str]) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of some tables."""
    with connected(url) as (_, connection):
        metadata = MetaData()
        metadata.reflect(connection, only=sorted(names))
        return {
            name: [dict(row._mapping) for row in connection.execute(select(table))]
            for name, table in metadata.tables.items()
            if name in names
        }


def assert_kept(url: str, rows: Frozen) -> None:
    """Check that every frozen row is there, with every value that it had."""
    now = stored(url, set(rows))
    for name, some in rows.items():
        assert len(now[name]) == len(some)
        for row in some:
            assert any(all(one.get(key) == value for key, value in row.items()) for one in now[name]), (name, row)


def version(url: str) -> str | None:
    """Return the revision of a database."""
    with connected(url) as (_, connection):
        return schema.revision(connection)


def assert_sound(url: str) -> None:
    """Check what a doctor checks first: one `seq` each, a vector for each text that has one, no orphan, no ghost."""
    rows = stored(url, {"mars_records", "mars_vectors", "mars_tombstones", "mars_clock", "mars_history"})
    seqs = [row["seq"] for row in rows["mars_records"] + rows["mars_tombstones"]]
    assert len(seqs) == len(set(seqs))
    assert max(seqs) <= rows["mars_clock"][0]["seq"]
    numbers = {row["number"] for row in rows["mars_records"] if row["embedder"] is not None}
    assert numbers == {row["number"] for row in rows["mars_vectors"]}
    assert all(bytes(row["terms"]) == encode(row["text"], row["speaker"]) for row in rows["mars_records"])
    assert not {row["id"] for row in rows["mars_records"]} & {row["id"] for row in rows["mars_tombstones"]}
    assert {row["id"] for row in rows["mars_records"]} <= {row["record"] for row in rows["mars_history"]}


async def assert_works(url: str) -> None:
    """Check that the memory tells what it told, and that it can be written."""
    clock = FixedClock()
    clock.advance(days=5)
    async with Memory.open(url, embedder=HashingEmbedder(dimension=32), clock=clock) as memory:
        home = ("ann", "notes")
        (hit, *_) = await memory.recall("Where does the heron nest?", namespace=home)
        assert (hit.record.text, hit.record.uses, hit.record.importance) == ("The heron nests by the weir.", 1, 0.5)
        assert dict(hit.record.metadata) == {"place": "weir", "n": [1, None, True]}
        assert [one.event for one in await memory.history(hit.record.id)] == ["added", "used"]
        assert [one.value for one in await memory.as_of(home, clock.now())] == ["Lisbon"]
        by_status = (await memory.stats()).by_status
        assert by_status == {Status.ACTIVE: 8, Status.SUPERSEDED: 1, Status.ARCHIVED: 1, Status.QUARANTINED: 1}
        assert set(await memory.namespaces()) == {home, ("müller", "a.b"), ("store",)}
        head = (await memory.stats()).head
        again = await memory.add("The heron nests by the weir.", home, idempotency_key="told-1")
        new = await memory.add("The otter dives.", home)
        assert (again.id, new.seq) == (hit.record.id, head + 1)


def assert_resumes(url: str) -> None:
    """Check that a run that was checkpointed is there, where the schema has checkpoints."""
    with CheckpointSaver.open(url) as saver:
        found = saver.get_tuple({"configurable": {"thread_id": "frozen"}})
        assert found is not None
        assert found.checkpoint["channel_values"]["said"] == "the heron nests by the weir"


def test_there_are_earlier_ones() -> None:
    """The matrix is not empty: there are revisions before the newest, and each has rows."""
    assert len(EARLIER) >= 1
    assert tuple(REVISIONS) == schema.REVISIONS
    assert all(frozen(one) for one in REVISIONS)


@pytest.mark.parametrize("revision", REVISIONS)
async def test_upgrade_with_rows(fresh: str, revision: str) -> None:
    """From every revision, with rows: refused until it is migrated, then all rows are there and the store works."""
    build(fresh, revision)
    if revision != REVISIONS[-1]:
        with pytest.raises(SchemaMismatch, match=rf"older schema {revision}.*memory migrate"):
            open_backend(fresh)
        assert version(fresh) == revision
    assert migrate(fresh) == (revision, REVISIONS[-1])
    assert migrate(fresh) == (REVISIONS[-1], REVISIONS[-1])
    rows = frozen(revision)
    assert_kept(fresh, rows)
    assert_sound(fresh)
    await assert_works(fresh)
    assert_sound(fresh)
    if "mars_checkpoints" in rows:
        assert_resumes(fresh)


@pytest.mark.parametrize("revision", EARLIER)
def test_an_upgrade_that_fails(fresh: str, revision: str) -> None:
    """A migration that fails half way leaves the store as it was, rows and revision, and can be run again."""
    build(fresh, revision)
    with connected(fresh) as (_, connection):
        before = tables_of(connection)
    newest = sorted(tables_of_newest() - before)
    if not newest:
        pytest.skip("the newest schema has no table that this one lacks")
    with connected(fresh) as (_, connection):
        connection.exec_driver_sql(f"CREATE TABLE {newest[-1]} (theirs INTEGER)")
    with pytest.raises(Exception, match=newest[-1]):
        migrate(fresh)
    assert version(fresh) == revision
    assert_kept(fresh, frozen(revision))
    with connected(fresh) as (_, connection):
        assert tables_of(connection) == before | {newest[-1]}
        connection.exec_driver_sql(f"DROP TABLE {newest[-1]}")
    assert migrate(fresh) == (revision, REVISIONS[-1])
    assert_kept(fresh, frozen(revision))


def tables_of_newest() -> set[str]:
    """Return the names of the tables of the newest schema."""
    engine = create_engine("sqlite://")
    try:
        with engine.begin() as connection:
            turn(connection, command.upgrade, REVISIONS[-1])
            return tables_of(connection)
    finally:
        engine.dispose()


@pytest.mark.parametrize("revision", EARLIER)
async def test_down_and_up_again(fresh: str, revision: str) -> None:
    """Alembic's way back keeps the rows of all tables that the earlier revision has, and the way up works again."""
    build(fresh, REVISIONS[-1])
    with connected(fresh) as (_, connection):
        turn(connection, command.downgrade, revision)
    assert version(fresh) == revision
    assert_kept(fresh, frozen(revision))
    migrate(fresh)
    await assert_works(fresh)


def test_a_lost_row_is_noticed(fresh: str) -> None:
    """The check is no formality: it turns red where one row, or one value of a row, is lost on the way."""
    build(fresh, REVISIONS[0])
    rows = frozen(REVISIONS[0])
    assert_kept(fresh, rows)
    with connected(fresh) as (_, connection):
        connection.exec_driver_sql("UPDATE mars_records SET uses = 0")
    with pytest.raises(AssertionError):
        assert_kept(fresh, rows)
    with connected(fresh) as (_, connection):
        connection.exec_driver_sql("DELETE FROM mars_history WHERE event = 'used'")
    with pytest.raises(AssertionError):
        assert_kept(fresh, {"mars_history": rows["mars_history"]})
