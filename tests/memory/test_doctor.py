"""The doctor names every divergence, and repair mends it without touching anything else."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from anyio import to_thread
from sqlalchemy import create_engine, text

from mars.memory.doctor import Diagnosis
from mars.memory.engine import Memory
from mars.memory.findings import FindingKind
from mars.memory.ids import content_hash
from mars.memory.index import index_folder
from mars.memory.index.chroma import ChromaIndex
from mars.memory.interfaces import Reader, Selection
from mars.memory.records import Change, Kind, NewRecord, Record, Status
from mars.memory.terms import encode
from mars.testing import FixedClock, RandomEmbedder

HOME, AWAY = ("user-1",), ("user-2", "b")
D = 16
EAST = [1.0] + [0.0] * (D - 1)


@dataclass
class Patient:
    """An open memory with a few records, and a way to its tables behind its back."""

    memory: Memory
    url: str
    ids: list[str]

    def sql(self, statement: str, **values: Any) -> None:
        """Run a statement on a connection of its own; ``:one``, ``:two``, … are ids of records."""
        engine = create_engine(self.url)
        names = ("one", "two", "three", "old", "new")
        given = {name: one for name, one in zip(names, self.ids, strict=True) if f":{name}" in statement}
        with engine.begin() as connection:
            connection.execute(text(statement), given | values)
        engine.dispose()

    async def kinds(self) -> set[FindingKind]:
        """What the doctor finds now."""
        return {one.kind for one in (await self.memory.doctor()).findings}

    async def rows(self) -> dict[str, Record]:
        """Every record by its id."""
        return {one.id: one for one in await self.memory.read(lambda reader: reader.select(Selection()))}

    async def vectors(self) -> dict[str, list[float]]:
        """Every vector by its record's id."""
        found = await self.memory.read(lambda reader: reader.vectors(self.ids))
        return {one: vector.tolist() for one, vector in found.items()}

    async def past(self) -> list[list[Change]]:
        """The history of every record."""
        return [await self.memory.history(one) for one in self.ids]


@pytest.fixture(params=["sqlite", "postgres"])
def tables(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of an empty SQL store, of each kind in turn; its tables may be damaged."""
    if request.param == "postgres":
        make: Callable[[], str] = request.getfixturevalue("fresh_database")
        return make()
    return f"sqlite:///{tmp_path / 'store.db'}"


async def filled(memory: Memory, url: str) -> Patient:
    """Store three episodes, one of them under keys, and a fact that another took the place of."""
    lives: dict[str, Any] = {"kind": Kind.FACT, "subject": "Ann", "relation": "lives in"}
    news = [
        NewRecord(text="The heron nests by the weir.", namespace=HOME, key="a", idempotency_key="i"),
        NewRecord(text="The kettle is blue.", namespace=HOME, key="b", idempotency_key="j"),
        NewRecord(text="Somebody else's secret.", namespace=AWAY, metadata={"n": 1}),
        NewRecord(text="Ann lives in Bern.", namespace=HOME, value="Bern", **lives),
        NewRecord(text="Ann lives in Oslo.", namespace=HOME, value="Oslo", **lives),
    ]
    added = await memory.add_many(news)
    return Patient(memory, url, [one.id for one in added])


@pytest.fixture
async def patient(tables: str, clock: FixedClock) -> AsyncIterator[Patient]:
    """Open a store on each database in turn, filled and sound."""
    async with Memory.open(tables, clock=clock, embedder=RandomEmbedder(D)) as memory:
        found = await filled(memory, tables)
        assert (await memory.doctor()).clean
        yield found


def floats(*values: float) -> bytes:
    """A vector as it is stored."""
    return np.array(values, "<f4").tobytes()


ROW = "(SELECT number FROM mars_records WHERE id = :one)"
DAMAGE: dict[FindingKind, list[tuple[str, dict[str, Any]]]] = {
    FindingKind.ORPHAN_VECTOR: [
        ("INSERT INTO mars_vectors VALUES (9999, 'random-16-0', 16, :data)", {"data": floats(*[0.25] * 16)})
    ],
    FindingKind.MISSING_VECTOR: [(f"DELETE FROM mars_vectors WHERE number = {ROW}", {})],
    FindingKind.VECTOR_DIMENSION: [
        (f"UPDATE mars_vectors SET dimension = 2, vector = :data WHERE number = {ROW}", {"data": floats(1, 0)})
    ],
    FindingKind.VECTOR_VALUES: [
        (f"UPDATE mars_vectors SET vector = :data WHERE number = {ROW}", {"data": floats(*[float("nan")] * 16)})
    ],
    FindingKind.OTHER_EMBEDDER: [(f"UPDATE mars_vectors SET embedder = 'other' WHERE number = {ROW}", {})],
    FindingKind.STORE_EMBEDDER: [("DELETE FROM mars_meta WHERE key = 'embedder'", {})],
    FindingKind.CLOCK_BEHIND: [("UPDATE mars_clock SET seq = 2", {})],
    FindingKind.NO_HISTORY: [("DELETE FROM mars_history WHERE record = :one", {})],
    FindingKind.CONTENT_HASH: [("UPDATE mars_records SET content_hash = 'abc' WHERE id = :one", {})],
    FindingKind.ENTROPY: [("UPDATE mars_records SET entropy = entropy + .5 WHERE id = :one", {})],
    FindingKind.TERMS: [("UPDATE mars_records SET terms = :blob WHERE id = :one", {"blob": encode("The heron left.")})],
    FindingKind.DERIVED_COLUMN: [("UPDATE mars_records SET subject_folded = 'ANN' WHERE id = :new", {})],
    FindingKind.DANGLING_SUCCESSOR: [("UPDATE mars_records SET superseded_by = 'nobody' WHERE id = :old", {})],
    FindingKind.RIVAL_FACTS: [
        (
            "UPDATE mars_records SET status = 'active', superseded_by = NULL, valid_to = NULL, known_to = NULL "
            "WHERE id = :old",
            {},
        )
    ],
    FindingKind.TOMBSTONE: [("INSERT INTO mars_tombstones VALUES (1, :one, '[\"user-1\"]')", {})],
    FindingKind.MISSING_TABLE_INDEX: [("DROP INDEX ix_mars_records_hash", {})],
}
"""How to bring each divergence about, one at a time."""


@pytest.mark.parametrize("kind", DAMAGE)
async def test_each_divergence(patient: Patient, kind: FindingKind) -> None:
    """The doctor names the damage and nothing else; repair mends it, once, and leaves all other rows as they were."""
    rows, vectors, past = await patient.rows(), await patient.vectors(), await patient.past()
    for statement, values in DAMAGE[kind]:
        patient.sql(statement, **values)
    assert await patient.kinds() == {kind}
    planned = await patient.memory.repair(dry_run=True)
    assert ({one.kind for one in planned.mended}, planned.dry_run) == ({kind}, True)
    assert await patient.kinds() == {kind}
    done = await patient.memory.repair()
    assert ({one.kind for one in done.mended}, done.left, done.clean) == ({kind}, (), True)
    assert (await patient.memory.doctor()).clean
    after = await patient.rows()
    assert {one: row.text for one, row in after.items()} == {one: row.text for one, row in rows.items()}
    repaired = {one for one in rows if (await patient.memory.history(one))[-1].event == "repaired"}
    assert len(repaired) <= 1
    timed = ("seq", "known_to")
    for one, row in after.items():
        same = replace(row, **{name: getattr(rows[one], name) for name in timed}) if one in repaired else row
        assert same == rows[one]
    held = await patient.vectors()
    assert held.keys() == vectors.keys()
    assert all(held[one] == pytest.approx(vectors[one]) for one in held)
    kept = [was for one, was in zip(patient.ids, past, strict=True) if one not in repaired]
    assert [await patient.memory.history(one) for one in patient.ids if one not in repaired] == kept
    again = await patient.memory.repair()
    assert (again.mended, again.left, await patient.rows()) == ((), (), after)


SHARED: dict[FindingKind, tuple[str, str]] = {
    FindingKind.DUPLICATE_ID: ("ix_mars_records_id", "UPDATE mars_records SET id = :one WHERE id = :two"),
    FindingKind.DUPLICATE_SEQ: (
        "ix_mars_records_seq",
        "UPDATE mars_records SET seq = (SELECT seq FROM mars_records WHERE id = :one) WHERE id = :two",
    ),
    FindingKind.DUPLICATE_KEY: ("ix_mars_records_key", "UPDATE mars_records SET key = 'a' WHERE id = :two"),
    FindingKind.DUPLICATE_IDEMPOTENCY_KEY: (
        "ix_mars_records_idempotency",
        "UPDATE mars_records SET idempotency_key = 'i' WHERE id = :two",
    ),
}
"""Values that must be unique, without the index that would keep them so."""


@pytest.mark.parametrize("kind", SHARED)
async def test_what_two_rows_share(patient: Patient, kind: FindingKind) -> None:
    """Two rows that share what must be unique part; both texts stay, and the index that was lost is there again."""
    texts = sorted(row.text for row in (await patient.rows()).values())
    index, statement = SHARED[kind]
    patient.sql(f"DROP INDEX {index}")
    patient.sql(statement)
    assert await patient.kinds() == {kind, FindingKind.MISSING_TABLE_INDEX}
    done = await patient.memory.repair()
    assert kind in {one.kind for one in done.mended}
    assert done.clean
    rows = await patient.rows()
    assert sorted(row.text for row in rows.values()) == texts
    assert len({row.seq for row in rows.values()}) == len(rows) == len(texts)
    found = [row.id for row in rows.values() if row.text == "The kettle is blue."]
    events = [one for row in rows for one in await patient.memory.history(row)]
    assert any(kind.value in one.detail.get("found", ()) for one in events)
    assert (await patient.memory.recall("blue kettle", namespace=HOME, k=1))[0].record.id == found[0]


async def test_what_nobody_can_decide(patient: Patient) -> None:
    """A row that is no record is named with its number, and left as it is; the rest is mended all the same."""
    patient.sql("UPDATE mars_records SET metadata = '{broken' WHERE id = :three")
    patient.sql("UPDATE mars_records SET entropy = 99 WHERE id = :one")
    assert await patient.kinds() == {FindingKind.UNREADABLE, FindingKind.ENTROPY}
    done = await patient.memory.repair()
    assert [one.kind for one in done.mended] == [FindingKind.ENTROPY]
    (left,) = done.left
    assert (left.kind, left.record) == (FindingKind.UNREADABLE, patient.ids[2])
    assert f"number = {left.number}" in left.remedy
    patient.sql("UPDATE mars_records SET metadata = :m WHERE id = :three", m='{"n":1}')
    assert (await patient.memory.doctor()).clean


async def test_a_text_that_was_changed(patient: Patient) -> None:
    """A text is the truth: where its hash differs, hash, entropy and vector are made anew from it."""
    patient.sql("UPDATE mars_records SET text = 'The heron left for good.' WHERE id = :one")
    assert await patient.kinds() == {FindingKind.CONTENT_HASH, FindingKind.ENTROPY, FindingKind.TERMS}
    assert (await patient.memory.repair()).clean
    row = (await patient.rows())[patient.ids[0]]
    assert (row.text, row.content_hash) == ("The heron left for good.", content_hash("The heron left for good."))
    wanted = RandomEmbedder(D).embed([row.text])[0]
    assert (await patient.vectors())[row.id] == pytest.approx(wanted.tolist())


async def test_purged_successors_are_no_finding(patient: Patient) -> None:
    """A fact whose successor was purged stays superseded: that is history, not damage."""
    await patient.memory.purge(patient.ids[4], force=True)
    assert (await patient.memory.doctor()).clean
    assert (await patient.rows())[patient.ids[3]].status is Status.SUPERSEDED


async def test_a_damaged_file(tmp_path: Path, clock: FixedClock) -> None:
    """SQLite's own check is asked: an index that does not match its table is named and rebuilt."""
    url = f"sqlite:///{tmp_path / 'store.db'}"
    async with Memory.open(url, clock=clock, embedder=RandomEmbedder(D)) as memory:
        patient = await filled(memory, url)
    patient.sql("PRAGMA writable_schema = ON")
    engine = create_engine(url)
    with engine.connect() as connection:
        raw: Any = connection.connection.driver_connection
        raw.execute("PRAGMA writable_schema = ON")
        raw.execute("UPDATE sqlite_master SET sql = replace(sql, 'content_hash', 'namespace') "
                    "WHERE name = 'ix_mars_records_hash'")  # fmt: skip
        raw.commit()
        connection.invalidate()
    engine.dispose()
    async with Memory.open(url, clock=clock, embedder=RandomEmbedder(D)) as memory:
        found = (await memory.doctor()).findings
        assert {one.kind for one in found} == {FindingKind.DATABASE}
        assert (await memory.repair()).clean


async def test_every_backend_is_sound(memory: Memory, clock: FixedClock) -> None:
    """After a life of writes the doctor finds nothing, on every backend."""
    texts = [NewRecord(text=f"row {n} of the heron", namespace=HOME, key=str(n)) for n in range(700)]
    records = list(await memory.add_many(texts))
    clock.advance(days=3)
    await memory.used([one.id for one in records[:5]], turn="t")
    await memory.edit(records[0].id, text="another text")
    await memory.purge(records[1].id)
    await memory.pin(records[2].id)
    await memory.archive(records[3].id)
    clock.advance(days=10_000)
    await memory.sweep()
    seen: list[tuple[int, int]] = []
    found = await memory.doctor(lambda done, of: seen.append((done, of)))
    assert (found.findings, found.records, found.vectors) == ((), 699, 699)
    assert seen[-1] == (699, 699)
    assert found.head == await memory.read(lambda reader: reader.head())


# The derived index


@pytest.fixture
async def indexed(tmp_path: Path, clock: FixedClock) -> AsyncIterator[Patient]:
    """Open a SQLite store whose Chroma index is in step."""
    url = f"sqlite:///{tmp_path / 'store.db'}"
    async with Memory.open(url, clock=clock, embedder=RandomEmbedder(D)) as memory:
        patient = await filled(memory, url)
        await memory.archive(patient.ids[1])
        await memory.reindex()
        yield patient


async def look(patient: Patient) -> Diagnosis:
    """What the doctor says of the index alone."""
    found = await patient.memory.doctor()
    assert all(one.kind.value.startswith("index") for one in found.findings)
    return found


def collection(patient: Patient) -> tuple[ChromaIndex, Any]:
    """The open index, and its collection of the home namespace."""
    index = patient.memory._vector_index()
    assert isinstance(index, ChromaIndex)
    with index._chroma() as client:
        return index, index._find(client, index._name(HOME))


async def mended(patient: Patient, kind: FindingKind, record: str | None, damage: Callable[[], object]) -> None:
    """Check that the doctor names this damage alone, and that repair mends it without touching the truth."""
    with patient.memory._following().held():  # which would mend some of it unasked
        damage()
        found = await look(patient)
    assert [(one.kind, one.record) for one in found.findings] == [(kind, record)]
    assert found.index == "diverged"
    rows = await patient.rows()
    assert (await patient.memory.repair()).clean
    # The follower may have begun to mend the same by itself: it gets to the end first.
    await to_thread.run_sync(patient.memory._following().reach, found.head, 20.0)
    found = await look(patient)
    assert (found.clean, found.index, found.index_vectors, found.index_mark) == (True, "in step", 3, found.head)
    assert await patient.rows() == rows


async def test_index_in_step_and_behind(indexed: Patient) -> None:
    """An index that follows later is no divergence: what changed after its mark is not judged."""
    found = await look(indexed)
    assert (found.clean, found.index, found.index_vectors, found.index_mark) == (True, "in step", 3, found.head)
    await indexed.memory.add("A new row.", HOME)
    await indexed.memory.purge(indexed.ids[0])
    await indexed.memory.archive(indexed.ids[2])
    found = await look(indexed)
    assert (found.clean, found.index) == (True, "behind")


async def test_index_ghosts(indexed: Patient) -> None:
    """An id that the truth does not hold, or that is put away, is a ghost."""
    for one in ("nobody", indexed.ids[1]):
        _, held = collection(indexed)
        await mended(indexed, FindingKind.INDEX_GHOST, one, partial(held.upsert, ids=[one], embeddings=[EAST]))


async def test_index_lacks_and_differs(indexed: Patient) -> None:
    """A vector that is missing or another is named with its record."""
    one = indexed.ids[0]
    _, held = collection(indexed)
    await mended(indexed, FindingKind.INDEX_MISSING, one, partial(held.delete, ids=[one]))
    _, held = collection(indexed)
    await mended(indexed, FindingKind.INDEX_VECTOR, one, partial(held.upsert, ids=[one], embeddings=[EAST]))


async def test_index_marks_and_strays(indexed: Patient) -> None:
    """A mark ahead of the truth and a collection of nobody are named; so is a folder that cannot be read."""
    index, _ = collection(indexed)

    def advance() -> None:
        with index._chroma() as client:
            index._set_mark(client, 10_000)

    def stray() -> None:
        with index._chroma() as client:
            client.create_collection("somebody", embedding_function=None)

    def spoil() -> None:
        index._close_client()
        next(index_folder(indexed.url).glob("data-*/chroma.sqlite3")).write_bytes(b"nonsense" * 1000)

    await mended(indexed, FindingKind.INDEX_AHEAD, None, advance)
    await mended(indexed, FindingKind.INDEX_STRAY_COLLECTION, None, stray)
    await mended(indexed, FindingKind.INDEX_DAMAGED, None, spoil)


def busy(url: str) -> bool:
    """Whether something keeps SQLite from copying its whole log back into the file."""
    connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    (blocked, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    connection.close()
    return bool(blocked)


async def test_a_rebuild_keeps_no_view_open(indexed: Patient) -> None:
    """While the index is rebuilt the log can be copied back, and cannot grow without bound; a view would forbid it."""
    seen: list[bool] = []

    def told(done: int, total: int) -> None:
        indexed.sql("INSERT INTO mars_meta SELECT 'note' || count(*), 'x' FROM mars_meta")
        seen.append(busy(indexed.url))

    assert await indexed.memory.reindex(told) == 3
    assert seen == [False]

    def hold(reader: Reader) -> None:
        reader.namespaces()
        told(0, 0)

    await indexed.memory.read(hold)
    assert seen == [False, True]


async def test_index_of_somebody_else(indexed: Patient, clock: FixedClock) -> None:
    """While another holds the index's folder, the truth is examined all the same; without a folder there is none."""
    async with Memory.open(indexed.url, clock=clock, embedder=RandomEmbedder(D)) as second:
        await indexed.memory.reindex()
        found = await second.doctor()
        assert (found.clean, found.index) == (True, "in use elsewhere")
    await indexed.memory.close()
    shutil.rmtree(index_folder(indexed.url))
    async with Memory.open(indexed.url, clock=clock, embedder=RandomEmbedder(D)) as third:
        assert (await third.doctor()).index == "none"
        assert not index_folder(indexed.url).exists()
