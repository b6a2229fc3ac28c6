"""Copies of a store: one moment of it while others write, portable between backends, refused when damaged."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from anyio import create_task_group

from mars.errors import EmbedderMismatch, InvalidFile, InvalidInput
from mars.memory.copies import Copied, check
from mars.memory.engine import Memory
from mars.memory.index import index_folder
from mars.memory.interfaces import Reader, Selection
from mars.memory.presets import DEFAULT
from mars.memory.records import Kind, NewRecord
from mars.testing import FixedClock, RandomEmbedder

HOME, AWAY = ("user-1",), ("user-2", "b.c")
EMBEDDER = RandomEmbedder(8)
Open = Callable[[str], Memory]


@pytest.fixture
def opened(clock: FixedClock) -> Open:
    """Return what opens a store with the test's clock and embedder."""
    return lambda url: Memory.open(url, clock=clock, embedder=EMBEDDER)


def contents(reader: Reader) -> tuple[Any, ...]:
    """Everything that a copy carries, comparable to the last bit."""
    records = reader.select(Selection())
    ids = [one.id for one in records]
    vectors = {one: vector.tobytes() for one, vector in reader.vectors(ids).items()}
    graves = reader.removed(0)
    past = [reader.history(one) for one in (*ids, *(one for _, one, _ in graves))]
    return reader.head(), records, vectors, graves, past


async def live(memory: Memory, clock: FixedClock, count: int = 600) -> None:
    """Fill a store with something of everything."""
    news = [
        NewRecord(
            text=f"row {n} of the heron ÿ \U0001f600", namespace=HOME, key=f"k{n}", metadata={"n": [n, 0.1, None]}
        )
        for n in range(count)
    ]
    records = list(await memory.add_many(news))
    fact: dict[str, Any] = {"namespace": AWAY, "kind": Kind.FACT, "subject": "Ann", "relation": "lives in"}
    for city in ("Bern", "Oslo"):
        await memory.add(NewRecord(text=f"Ann lives in {city}.", value=city, **fact))
        clock.advance(days=1.123456789)
    await memory.used(records[3].id, turn="t")
    await memory.edit(records[4].id, text="another")
    await memory.purge([records[5].id, records[6].id])
    await memory.archive(records[7].id)


async def test_there_and_back(
    store: str, fresh_database: Callable[[], str], tmp_path: Path, clock: FixedClock, opened: Open
) -> None:
    """A copy of any backend restored into SQLite, and from there into PostgreSQL, is equal to the last bit."""
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    async with opened(store) as memory:
        await live(memory, clock)
        wanted = await memory.read(contents)
        seen: list[tuple[int, int]] = []
        copied = await memory.backup(first, progress=lambda at, of: seen.append((at, of)))
        assert (copied.records, copied.head, copied.path) == (600, wanted[0], first)
        assert seen[-1][1] == wanted[0]
    async with opened(f"sqlite:///{tmp_path / 'other.db'}") as memory:
        await memory.restore_backup(first)
        assert await memory.read(contents) == wanted
        assert (await memory.doctor()).clean
        assert (await memory.recall("row 17", namespace=HOME, k=1))[0].record.text.startswith("row 17 ")
        await memory.backup(second)
    async with opened(fresh_database()) as memory:
        await memory.restore_backup(second)
        assert await memory.read(contents) == wanted
        added = await memory.add("A new row.", HOME)
        assert added.seq == wanted[0] + 1
        assert (await memory.doctor()).clean
    lines = [path.read_bytes().splitlines()[1:-1] for path in (first, second)]
    assert lines[0] == lines[1]


async def test_beside_writers(tmp_path: Path, opened: Open) -> None:
    """A copy made while tasks write holds every write up to one moment, and none after it."""
    url, path = f"sqlite:///{tmp_path / 'store.db'}", tmp_path / "copy.jsonl"
    async with opened(url) as memory, opened(url) as other:
        await memory.add_many([NewRecord(text=f"row {n}", namespace=HOME) for n in range(2_000)])
        stop = False

        async def write(writer: Memory, name: str) -> None:
            number = 0
            while not stop:
                await writer.add_many([NewRecord(text=f"{name} {number} {half}", namespace=AWAY) for half in "ab"])
                number += 1

        async with create_task_group() as group:
            group.start_soon(write, memory, "one")
            group.start_soon(write, other, "two")
            copies = [await memory.backup(path, overwrite=True) for _ in range(3)]
            stop = True
        assert copies[0].head < copies[1].head < copies[2].head < (await memory.doctor()).head
    async with opened(f"sqlite:///{tmp_path / 'again.db'}") as again:
        await again.restore_backup(path)
        rows = await again.list(AWAY)
        assert copies[2].head == 2_000 + len(rows) == max(row.seq for row in rows)
        for name in ("one", "two"):
            mine = [row.text for row in rows if row.text.startswith(name)]
            assert mine == [f"{name} {number} {half}" for number in range(len(mine) // 2) for half in "ab"]
        assert (await again.doctor()).clean


async def test_nothing_is_overwritten(tmp_path: Path, clock: FixedClock, opened: Open) -> None:
    """A file that is there, and a store that holds something, stay as they are unless asked."""
    path = tmp_path / "copy.jsonl"
    path.write_text("precious")
    async with opened(f"sqlite:///{tmp_path / 'store.db'}") as memory:
        await live(memory, clock, 10)
        with pytest.raises(InvalidFile, match="is there already"):
            await memory.backup(path)
        assert path.read_text() == "precious"
        with pytest.raises(InvalidFile, match="cannot be written"):
            await memory.backup(tmp_path / "nowhere" / "copy")
        await memory.backup(path, overwrite=True)
        before = await memory.read(contents)
        with pytest.raises(InvalidInput, match="not empty"):
            await memory.restore_backup(path)
        assert await memory.read(contents) == before
    assert sorted(one.name for one in tmp_path.iterdir() if ".db" not in one.name) == ["copy.jsonl"]


@pytest.mark.parametrize("end", ["", "-wal", "-shm", "-journal", ".chroma/copy", ".link", ".hard"])
async def test_the_store_itself_is_no_place_for_its_copy(
    tmp_path: Path, clock: FixedClock, opened: Open, end: str
) -> None:
    """Not even with `overwrite`, nor by another name of the file; what is acknowledged afterwards is kept."""
    file = tmp_path / "store.db"
    async with opened(f"sqlite:///{file}") as memory:
        await live(memory, clock, 10)
        (tmp_path / "store.db.link").symlink_to(file)
        (tmp_path / "store.db.hard").hardlink_to(file)
        (tmp_path / "store.db.chroma").mkdir()
        with pytest.raises(InvalidFile, match="name another file"):
            await memory.backup(tmp_path / f"store.db{end}", overwrite=True)
        await memory.add("acknowledged", HOME)
        assert (await memory.doctor()).clean
        held = await memory.read(contents)
    async with opened(f"sqlite:///{file}") as memory:
        assert await memory.read(contents) == held


@pytest.mark.parametrize("overwrite", [True, False])
async def test_two_at_once(tmp_path: Path, clock: FixedClock, opened: Open, overwrite: bool) -> None:
    """Two copies to one path: what lies there is one of them, whole, and no part is left."""
    path = tmp_path / "copy.jsonl"
    told: list[object] = []
    async with opened(f"sqlite:///{tmp_path / 'store.db'}") as memory:
        await live(memory, clock)

        async def copy() -> None:
            try:
                told.append(await memory.backup(path, overwrite=overwrite))
            except InvalidFile as error:
                told.append(str(error))

        async with create_task_group() as group:
            group.start_soon(copy)
            group.start_soon(copy)
        made = [one for one in told if isinstance(one, Copied)]
        assert len(made) == (2 if overwrite else 1)
        assert check(path) == made[-1]
        assert overwrite or any("is there already" in str(one) for one in told)
    assert sorted(one.name for one in tmp_path.iterdir() if ".db" not in one.name) == ["copy.jsonl"]


async def test_a_restore_is_exact(tmp_path: Path, clock: FixedClock, opened: Open) -> None:
    """Also beyond the capacity of the preset, which the next write looks to."""
    async with opened("memory:") as memory:
        await live(memory, clock, 10)
        await memory.backup(tmp_path / "copy")
        held = await memory.read(contents)
    small = Memory.open("memory:", clock=clock, embedder=EMBEDDER, preset=DEFAULT.but(capacity=3))
    async with small as memory:
        await memory.restore_backup(tmp_path / "copy")
        assert await memory.read(contents) == held
        await memory.add("one more", HOME)
        assert len(await memory.list(HOME)) == 3


def _cut(data: bytes) -> bytes:
    return data[: len(data) * 2 // 3]


def _without_end(data: bytes) -> bytes:
    return b"".join(data.splitlines(keepends=True)[:-1])


def _flipped(data: bytes) -> bytes:
    return data.replace(b"row 1 of", b"row 7 of", 1)


def _lacking(data: bytes) -> bytes:
    lines = data.splitlines(keepends=True)
    return b"".join(lines[:2] + lines[3:])


def _longer(data: bytes) -> bytes:
    return data + b'{"more":1}\n'


def _newer(data: bytes) -> bytes:
    return data.replace(b'"version":1', b'"version":2', 1)


def _foreign(data: bytes) -> bytes:
    return b'{"format":"something"}\n' + data


@pytest.mark.parametrize("sabotage", [_cut, _without_end, _flipped, _lacking, _longer, _newer, _foreign, bytes.upper])
async def test_a_damaged_copy(
    tmp_path: Path, clock: FixedClock, opened: Open, sabotage: Callable[[bytes], bytes]
) -> None:
    """A copy that was cut off or altered is refused before anything is written, also with force."""
    path = tmp_path / "copy.jsonl"
    async with opened(f"sqlite:///{tmp_path / 'store.db'}") as memory:
        await live(memory, clock, 20)
        await memory.backup(path)
        before = await memory.read(contents)
        path.write_bytes(sabotage(path.read_bytes()))
        with pytest.raises(InvalidFile):
            await memory.restore_backup(path, force=True)
        assert await memory.read(contents) == before
    async with opened(f"sqlite:///{tmp_path / 'other.db'}") as memory:
        with pytest.raises(InvalidFile):
            await memory.restore_backup(path)
        assert await memory.read(contents) == (0, [], {}, [], [])
        with pytest.raises(InvalidFile, match="cannot be read"):
            await memory.restore_backup(tmp_path / "nothing")


async def test_a_copy_of_another_embedder(tmp_path: Path, clock: FixedClock, opened: Open) -> None:
    """Vectors of another embedder are refused, with both names."""
    path = tmp_path / "copy.jsonl"
    async with opened(f"sqlite:///{tmp_path / 'store.db'}") as memory:
        await live(memory, clock, 10)
        await memory.backup(path)
    async with Memory.open("memory:", embedder=RandomEmbedder(9)) as memory:
        with pytest.raises(EmbedderMismatch, match=r"random-8-0.*random-9-0"):
            await memory.restore_backup(path)


async def test_forced_while_open(store: str, tmp_path: Path, clock: FixedClock, opened: Open) -> None:
    """Restored over a store that somebody has open, with what it has derived: all see the copy at the next call."""
    path = tmp_path / "copy.jsonl"
    async with opened(store) as memory:
        await live(memory, clock, 30)
        kept = {one.id: one.text for one in await memory.read(lambda reader: reader.select(Selection()))}
        await memory.backup(path)
        watcher = memory if store == "memory:" or store.endswith(":memory:") else opened(store)
        if watcher is not memory:
            await watcher.__aenter__()
        later = await memory.add("The kettle is blue.", HOME)
        gone = next(iter(kept))
        await memory.purge(gone)
        assert (await watcher.recall("blue kettle", namespace=HOME))[0].record.id == later.id
        head = await memory.read(lambda reader: reader.head())
        assert (await memory.restore_backup(path, force=True)).records == 30
        rows = await watcher.read(lambda reader: reader.select(Selection()))
        assert {one.id: one.text for one in rows} == kept
        assert min(one.seq for one in rows) > head
        assert all("kettle" not in hit.record.text for hit in await watcher.recall("blue kettle", namespace=HOME))
        assert gone in {hit.record.id for hit in await watcher.recall(kept[gone], namespace=HOME, k=40)}
        assert [one.event for one in await watcher.history(gone)] == ["added"]
        assert (await memory.doctor()).clean
        if watcher is not memory:
            await watcher.close()


async def test_the_index_follows_a_restore(tmp_path: Path, clock: FixedClock, opened: Open) -> None:
    """A Chroma index that has followed the store follows the restore too."""
    url, path = f"sqlite:///{tmp_path / 'store.db'}", tmp_path / "copy.jsonl"
    async with opened(url) as memory:
        await live(memory, clock, 30)
        await memory.backup(path)
        await memory.add("The kettle is blue.", HOME)
        await memory.reindex()
    async with opened(url) as memory:
        await memory.restore_backup(path, force=True)
        assert (await memory.doctor()).index == "behind"
    async with Memory.open(url, clock=clock, embedder=EMBEDDER, index=index_folder(url)) as memory:
        await memory.recall("heron", namespace=HOME, exact=False)
    async with opened(url) as memory:
        assert (await memory.doctor()).findings == ()


async def test_the_format(tmp_path: Path, clock: FixedClock, opened: Open) -> None:
    """A copy is lines of JSON: a header, records with vector and history, purges, and an end with a checksum."""
    path = tmp_path / "copy.jsonl"
    async with opened("memory:") as memory:
        await live(memory, clock, 10)
        await memory.backup(path)
    first, *lines, last = map(json.loads, path.read_text(encoding="ascii").splitlines())
    assert (first["format"], first["version"], first["meta"]["embedder"]) == ("mars-backup", 1, "random-8-0")
    assert [set(one) for one in lines] == [{"record", "vector", "history"}] * 10 + [{"purged", "history"}] * 2
    assert last["end"] == {"records": 10, "purged": 2}
