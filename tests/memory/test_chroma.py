"""The Chroma index: derived, followed by `seq`, rebuilt when lost, never given text."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from anyio import fail_after, sleep

from mars.errors import InvalidVector, StoreClosed, StoreCorrupt, StoreUnavailable
from mars.memory.backends.inmemory import InMemoryBackend
from mars.memory.engine import Memory
from mars.memory.index.chroma import PIECE, ChromaIndex
from mars.memory.interfaces import Backend, Selection, Transaction
from mars.memory.records import Namespace, NewRecord, Record, Status, Vector
from mars.testing import RandomEmbedder

D = 8
SECRET = "the heron stands on one leg"
Build = Callable[..., Record]


def unit(seed: int) -> Vector:
    """Return a unit vector of its own for each seed."""
    values = np.random.default_rng(seed).standard_normal(D).astype(np.float32)
    return np.asarray(values / np.linalg.norm(values), np.float32)


@pytest.fixture
def backend() -> Iterator[Backend]:
    """Open a truth to follow."""
    opened = InMemoryBackend()
    yield opened
    opened.close()


@pytest.fixture
def index(tmp_path: Path) -> Iterator[ChromaIndex]:
    """Open an empty index."""
    opened = ChromaIndex(tmp_path / "x.chroma", store="s", embedder="e", dimension=D, patience=0)
    yield opened
    opened.close()


@pytest.fixture
def fill(backend: Backend, make_record: Build) -> Callable[..., list[Record]]:
    """Return a function that stores records with vectors."""

    def put(count: int, namespace: Namespace = ("user-1",), first: int = 0) -> list[Record]:
        def work(transaction: Transaction) -> list[Record]:
            records = [
                make_record(transaction.next_seq(), namespace=namespace, embedder="e", text=SECRET)
                for _ in range(count)
            ]
            transaction.insert(records, {record.id: unit(first + n) for n, record in enumerate(records)})
            return records

        return backend.transact(work)

    return put


def follow(index: ChromaIndex, backend: Backend) -> int:
    """Bring the index up to date."""
    return backend.read(index.follow)


def ids(index: ChromaIndex, namespace: Namespace = ("user-1",)) -> set[str]:
    """Return everything that a namespace's part of the index holds."""
    return {one for one, _ in index.candidates(namespace, unit(0), 100_000)}


def test_the_nearest_come_first(index: ChromaIndex, backend: Backend, fill: Callable[..., list[Record]]) -> None:
    """Candidates are the ids and cosines of the nearest vectors, best first."""
    records = fill(50)
    assert follow(index, backend) == 50
    found = index.candidates(("user-1",), unit(7), 5)
    cosines = {record.id: float(unit(n) @ unit(7)) for n, record in enumerate(records)}
    assert [one for one, _ in found] == sorted(cosines, key=lambda one: -cosines[one])[:5]
    assert [cosine for _, cosine in found] == pytest.approx([cosines[one] for one, _ in found], abs=1e-5)


def test_it_follows_every_change(index: ChromaIndex, backend: Backend, fill: Callable[..., list[Record]]) -> None:
    """After `follow` the index holds the active records with vectors, through archive, restore, purge, new vectors."""
    one, two, three, four = fill(4)
    follow(index, backend)

    def change(transaction: Transaction) -> None:
        transaction.update([replace(one, seq=transaction.next_seq(), status=Status.ARCHIVED)])
        transaction.remove([two])
        transaction.set_vectors("e", {three.id: unit(99)})
        transaction.set_vectors("another", {four.id: unit(4)})

    backend.transact(change)
    follow(index, backend)
    assert ids(index) == {three.id}
    assert index.candidates(("user-1",), unit(99), 1)[0][1] == pytest.approx(1, abs=1e-5)
    backend.transact(lambda t: t.update([replace(one, seq=t.next_seq())]))
    follow(index, backend)
    assert ids(index) == {one.id, three.id}
    assert index.high_water() == backend.read(lambda reader: reader.head())
    assert follow(index, backend) == 0


def test_namespaces_are_apart(index: ChromaIndex, backend: Backend, fill: Callable[..., list[Record]]) -> None:
    """Candidates of a namespace are its own, also where labels look alike; an unknown one has none."""
    wanted = {name: {r.id for r in fill(3, name)} for name in (("a", "b.c"), ("a.b", "c"), ("a",), ("1:a",))}
    follow(index, backend)
    assert {name: ids(index, name) for name in wanted} == wanted
    assert ids(index, ("b",)) == set()


def test_a_lost_folder_is_a_replay(tmp_path: Path, backend: Backend, fill: Callable[..., list[Record]]) -> None:
    """With its folder deleted, the index starts from nothing and follows to the same contents."""
    records = fill(20)
    for _ in range(2):
        index = ChromaIndex(tmp_path / "x.chroma", store="s", embedder="e", dimension=D, patience=0)
        assert follow(index, backend) == 20
        assert ids(index) == {record.id for record in records}
        index.close()
        shutil.rmtree(tmp_path / "x.chroma")


def test_a_crash_before_the_mark_is_harmless(
    index: ChromaIndex, backend: Backend, fill: Callable[..., list[Record]]
) -> None:
    """Vectors that arrived before the process died, without their mark, are simply upserted again."""
    records = fill(10)

    def die(reached: int, head: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        backend.read(lambda reader: index.follow(reader, die))
    with index._chroma() as client:
        index._set_mark(client, 3)
    assert follow(index, backend) == 7
    assert ids(index) == {record.id for record in records}


def test_batches_beyond_chromas_limit(index: ChromaIndex, backend: Backend, fill: Callable[..., list[Record]]) -> None:
    """More records than one call takes are fed in several, with progress up to the head."""
    fill(6_000)
    seen: list[tuple[int, int]] = []
    assert backend.read(lambda reader: index.follow(reader, lambda done, of: seen.append((done, of)))) == 6_000
    assert seen == [(5_000, 6_000), (6_000, 6_000)]
    assert len(ids(index)) == 6_000
    backend.transact(lambda t: t.remove(t.select(Selection())))
    assert follow(index, backend) == 6_000
    assert ids(index) == set()


def test_damage_is_named_and_rebuilt(tmp_path: Path, backend: Backend, fill: Callable[..., list[Record]]) -> None:
    """A damaged folder is `StoreCorrupt` with the command that helps, and `clear` with a replay mends it."""
    records = fill(5)
    folder = tmp_path / "x.chroma"
    index = ChromaIndex(folder, store="s", embedder="e", dimension=D, patience=0)
    follow(index, backend)
    index.close()
    next(folder.glob("data-*/chroma.sqlite3")).write_bytes(b"nonsense" * 1000)
    index = ChromaIndex(folder, store="s", embedder="e", dimension=D, patience=0)
    with pytest.raises(StoreCorrupt, match="mars memory reindex"):
        index.high_water()
    index.clear()
    assert follow(index, backend) == 5
    assert ids(index) == {record.id for record in records}
    index.close()


def test_a_restored_backup_is_noticed(index: ChromaIndex, backend: Backend, fill: Callable[..., list[Record]]) -> None:
    """An index that is ahead of the truth belongs to a later one, and is rebuilt."""
    fill(9)
    follow(index, backend)
    older = InMemoryBackend()
    assert follow(index, older) == 0
    assert ids(index) == set()
    older.close()


def test_one_process_at_a_time(
    tmp_path: Path, index: ChromaIndex, backend: Backend, fill: Callable[..., object]
) -> None:
    """Whoever opens the folder second is refused with what to do, and admitted once the first has closed it."""
    fill(1)
    follow(index, backend)
    folder = tmp_path / "x.chroma"
    second = ChromaIndex(folder, store="s", embedder="e", dimension=D, patience=0)
    with pytest.raises(StoreUnavailable, match="in use by another process"):
        second.high_water()
    code = (
        "import sys, pathlib; from mars.memory.index.folder_lock import FolderLock; "
        "FolderLock(pathlib.Path(sys.argv[1])).acquire(0)"
    )
    run = [sys.executable, "-c", code, str(folder)]
    assert b"in use by another process" in subprocess.run(run, capture_output=True, check=False).stderr
    index.close()
    assert subprocess.run(run, capture_output=True, check=False).returncode == 0
    assert second.high_water() == 1
    second.close()


def test_chroma_never_sees_text(
    tmp_path: Path, index: ChromaIndex, backend: Backend, fill: Callable[..., list[Record]]
) -> None:
    """No file of the index holds the text of a record, or a label of its namespace."""
    fill(30, ("annabelle",))
    follow(index, backend)
    index.close()
    held = b"".join(path.read_bytes() for path in (tmp_path / "x.chroma").rglob("*") if path.is_file())
    assert len(held) > 1000
    assert SECRET.encode() not in held
    assert b"annabelle" not in held


def test_bad_vectors_and_a_closed_index(index: ChromaIndex, backend: Backend, fill: Callable[..., object]) -> None:
    """A wrong dimension is `InvalidVector`, a zero vector finds nothing, a closed index says so."""
    fill(2)
    follow(index, backend)
    with pytest.raises(InvalidVector):
        index.candidates(("user-1",), np.ones(3, np.float32), 1)
    assert index.candidates(("user-1",), np.zeros(D, np.float32), 1) == []
    assert index.candidates(("user-1",), unit(0), 0) == []
    index.close()
    index.close()
    with pytest.raises(StoreClosed):
        index.high_water()


def test_chroma_is_imported_when_it_is_used() -> None:
    """Importing and naming an index imports nothing of chromadb; telemetry is off once it is opened."""
    code = (
        "import sys, tempfile, pathlib; from mars.memory.index.chroma import ChromaIndex\n"
        "with tempfile.TemporaryDirectory() as folder:\n"
        "    index = ChromaIndex(pathlib.Path(folder), store='s', embedder='e', dimension=3)\n"
        "    assert 'chromadb' not in sys.modules\n"
        "    index.high_water()\n"
        "    assert index._opened.get_settings().anonymized_telemetry is False\n"
        "    assert 'posthog' not in sys.modules\n"
        "    index.close()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


class Counted(ChromaIndex):
    """An index that notes how many records each call of Chroma is given."""

    def __init__(self, *given: Any, **named: Any) -> None:
        """Begin with none."""
        super().__init__(*given, **named)
        self.sizes: list[int] = []

    def _get(self, client: Any, name: str) -> Any:
        return self._noting(super()._get(client, name))

    def _find(self, client: Any, name: str) -> Any:
        found = super()._find(client, name)
        return None if found is None else self._noting(found)

    def _noting(self, collection: Any) -> Any:
        index = self

        class Noting:
            def __getattr__(self, called: str) -> Any:
                def call(*given: Any, **named: Any) -> Any:
                    index.sizes.append(len(named.get("ids", ())))
                    return getattr(collection, called)(*given, **named)

                return call if called in ("upsert", "delete") else getattr(collection, called)

        return Noting()


async def test_chroma_is_called_in_small_pieces(tmp_path: Path) -> None:
    """Whoever else runs in the process has a word between them; `reindex` counts vectors, not what changed."""
    embedder = RandomEmbedder(8)
    index = Counted(tmp_path / "index", store="store", embedder=embedder.id, dimension=8)
    async with Memory.open("memory:", embedder=embedder, index=index) as memory:
        added = await memory.add_many([NewRecord(text=f"row {n}", namespace=("user-1",)) for n in range(100)])
        await memory.purge([one.id for one in added[:3]])
        await memory.archive([one.id for one in added[3:43]])
        for gently, most in ((True, PIECE), (False, 57)):
            index.sizes.clear()
            assert await memory.reindex(gently=gently) == 57
            assert max(index.sizes) == most
        index.sizes.clear()
        await memory.archive([one.id for one in added[43:]])
        head = (await memory.stats()).head
        with fail_after(30):
            while index.high_water() < head:
                await sleep(0.01)
        assert 0 < max(index.sizes) <= PIECE
    index.close()
