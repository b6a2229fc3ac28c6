"""The derived index follows the truth on its own; an approximate recall says that it is one, and never lies."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest
from anyio import to_thread

from mars.errors import InvalidNamespace, InvalidSetting, StoreFull
from mars.memory.backends import open_backend
from mars.memory.engine import Memory
from mars.memory.following import Follower, Pace
from mars.memory.index.chroma import ChromaIndex
from mars.memory.index.folder_lock import FolderLock
from mars.memory.interfaces import Backend, IndexUpdate, Selection, Status
from mars.memory.presets import DEFAULT
from mars.memory.records import Namespace, NewRecord, Vector
from mars.testing import FixedClock, RandomEmbedder

HOME = ("user-1",)
D = 16
EMBEDDER = RandomEmbedder(D)
BY_BOTH = replace(DEFAULT, lexical_weight=0.5)
QUICK = Pace(gather=0.0, poll=0.05, retry=0.05, longest=0.1, patience=0.2)
ROWS = 600


def notes(count: int, first: int = 0) -> list[NewRecord]:
    """Records whose texts differ in a number."""
    return [NewRecord(text=f"note {first + number}", namespace=HOME) for number in range(count)]


def truth(backend: Backend) -> dict[str, list[float]]:
    """What the index has to hold of HOME: the vectors of active records."""

    def look(reader: Any) -> dict[str, list[float]]:
        rows = reader.select(Selection(namespace=HOME, statuses=frozenset({Status.ACTIVE})))
        return {one: vector.tolist() for one, vector in reader.vectors([row.id for row in rows]).items()}

    return backend.read(look)


def held(index: Any) -> dict[str, list[float]]:
    """What the index holds of HOME."""
    with index._chroma() as client:
        collection = index._find(client, index._name(HOME))
        if collection is None:
            return {}
        found = collection.get(include=["embeddings"])
    return {one: vector.tolist() for one, vector in zip(found["ids"], found["embeddings"], strict=True)}


def same(one: dict[str, list[float]], other: dict[str, list[float]]) -> bool:
    """Whether both hold the same ids with the same vectors; Chroma brings vectors to unit length."""
    return one.keys() == other.keys() and all(np.allclose(one[name], other[name], atol=1e-6) for name in one)


async def until(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait for something to hold; fail if it does not in time."""
    deadline = time.monotonic() + seconds
    while not await to_thread.run_sync(holds):
        assert time.monotonic() < deadline, "it never came true"
        await anyio.sleep(0.02)


class Gated(ChromaIndex):
    """An index that stands still while it is told to."""

    def __init__(self, *given: Any, **named: Any) -> None:
        """Let it go on."""
        super().__init__(*given, **named)
        self.open = threading.Event()
        self.open.set()

    def apply(self, update: IndexUpdate, *, gently: bool = True) -> int:
        """Wait before it."""
        self.open.wait()
        return super().apply(update, gently=gently)


class Broken(ChromaIndex):
    """An index for which there is no space left, while it is told so."""

    full = True

    def apply(self, update: IndexUpdate, *, gently: bool = True) -> int:
        """Fail."""
        if self.full:
            raise StoreFull("no space is left for the index")
        return super().apply(update, gently=gently)


class Blind(ChromaIndex):
    """An index that names any rows and says that nothing is near: what no approximate index may do."""

    def candidates(self, namespace: Namespace, vector: Vector, k: int) -> list[tuple[str, float]]:
        """Return the first ids, each with a cosine of -1."""
        return [(one, -1.0) for one in sorted(held(self))[:k]]


def index_at(folder: Path, sort: type[ChromaIndex] = ChromaIndex, store: str = "s") -> Any:
    """Return an index that does not wait for others."""
    return sort(folder, store=store, embedder=EMBEDDER.id, dimension=D, patience=0)


@pytest.fixture
async def filled(tmp_path: Path) -> AsyncIterator[Memory]:
    """Open a memory of 600 records that an index can stand still on, followed up to now."""
    index = index_at(tmp_path / "x.chroma", Gated)
    async with Memory.open(
        f"sqlite:///{tmp_path / 'a.db'}", embedder=EMBEDDER, preset=BY_BOTH, clock=FixedClock(), index=index
    ) as memory:
        await memory.add_many(notes(ROWS))
        await memory._catch_up(None)
        try:
            yield memory
        finally:
            index.open.set()
    index.close()


async def test_a_commit_is_followed(tmp_path: Path) -> None:
    """With an index in use, it holds what is committed a moment later, without anybody asking; `stats` says so."""
    async with Memory.open(f"sqlite:///{tmp_path / 'a.db'}", embedder=EMBEDDER, index=True) as memory:
        records = await memory.add_many(notes(20))
        index: Any = memory._following().index
        await until(lambda: memory._following().state(20).mark == 20)
        assert same(held(index), truth(memory.backend))
        await memory.archive(records[3].id)
        await memory.purge(records[4].id)
        await memory.edit(records[5].id, text="another text")
        head = await memory.read(lambda reader: reader.head())
        await until(lambda: memory._following().state(head).mark == head)
        assert len(held(index)) == 18
        assert same(held(index), truth(memory.backend))
        state = (await memory.stats()).index
        assert state is not None
        assert (state.following, state.mark, state.lag, state.problem) == (True, head, 0, None)
    assert (tmp_path / "a.db.chroma").is_dir()


def test_nothing_is_loaded_without_an_index(tmp_path: Path) -> None:
    """Who never uses an index gets neither chromadb nor a folder; by words alone, ``exact=False`` is exact without."""
    code = (
        "import sys, threading; from mars.memory.engine import Memory\n"
        "with Memory.open_sync(sys.argv[1]) as memory:\n"
        "    memory.add('The heron nests by the weir.', ('u',))\n"
        "    (hit,) = memory.recall('heron', namespace=('u',), exact=False)\n"
        "    assert hit.exact and memory.stats().index is None\n"
        "    assert 'mars-index' not in {one.name for one in threading.enumerate()}\n"
        "assert 'chromadb' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code, f"sqlite:///{tmp_path / 'a.db'}"], check=True, timeout=60)
    assert not (tmp_path / "a.db.chroma").exists()


async def test_where_there_is_no_place() -> None:
    """A store that is no file has to be told a folder: at open with ``index=True``, else at the first such recall."""
    with pytest.raises(InvalidSetting, match="folder"):
        await Memory.open("memory:", index=True).__aenter__()
    async with Memory.open("memory:", embedder=EMBEDDER) as memory:
        await memory.add("text", HOME)
        with pytest.raises(InvalidSetting, match="folder"):
            await memory.recall("text", namespace=HOME, exact=False)
        assert len(await memory.recall("text", namespace=HOME)) == 1


async def test_an_approximate_answer_says_so(filled: Memory) -> None:
    """Hits of rows that the index chose are not exact by their label; their numbers are those of the exact answer."""
    for number in range(0, ROWS, 50):
        near = await filled.recall(f"note {number}", namespace=HOME, k=5, exact=False, explain=True)
        exact = await filled.recall(f"note {number}", namespace=HOME, k=5, explain=True)
        assert [hit.exact for hit in near + exact] == [False] * 5 + [True] * 5
        same_ids = {hit.record.id: replace(hit, exact=False) for hit in exact}
        assert near[0] == same_ids[near[0].record.id]
        assert all(hit == same_ids.get(hit.record.id, hit) for hit in near)


async def test_filters_and_floors_fail_closed(filled: Memory) -> None:
    """An approximate answer holds nothing that an exact one may not hold; a narrow filter is answered exactly."""
    await filled.add("note 3", HOME, metadata={"kept": True})
    narrow = await filled.recall("note 3", namespace=HOME, k=5, filter={"kept": True}, exact=False)
    assert [(hit.record.metadata, hit.exact) for hit in narrow] == [({"kept": True}, True)]
    assert await filled.recall("note 3", namespace=HOME, k=5, filter={"kept": 1}, exact=False) == []
    least = await filled.recall("note 3", namespace=HOME, k=5, floor=0.9, exact=False)
    assert least
    assert least == await filled.recall("note 3", namespace=HOME, k=5, floor=0.9)


async def test_a_stale_index_is_made_up_for(filled: Memory) -> None:
    """While the index stands still, what was purged or archived is not answered, and what is new is."""
    index: Any = filled._following().index
    index.open.clear()
    before = await filled.recall("note 7", namespace=HOME, k=5, exact=False)
    await filled.purge(before[0].record.id)
    await filled.archive(before[1].record.id)
    await filled.edit(before[2].record.id, text="something else")
    new = await filled.add("note 7", HOME)
    started = time.monotonic()
    after = await filled.recall("note 7", namespace=HOME, k=5, exact=False)
    assert time.monotonic() - started < 5.0
    assert not any(hit.exact for hit in after)
    found = [hit.record.id for hit in after]
    assert found[0] == new.id
    assert not {before[0].record.id, before[1].record.id} & set(found)
    state = (await filled.stats()).index
    assert state is not None
    assert state.lag > 0
    index.open.set()


async def test_far_behind_is_exact(tmp_path: Path) -> None:
    """With too much that the index has not seen, the answer is the exact one, and soon."""
    index = index_at(tmp_path / "x.chroma", Gated)
    index.open.clear()
    async with Memory.open("memory:", embedder=EMBEDDER, preset=BY_BOTH, clock=FixedClock(), index=index) as memory:
        try:
            await memory.add_many(notes(2_500))
            hits = await memory.recall("note 7", namespace=HOME, k=5, exact=False)
            assert hits == await memory.recall("note 7", namespace=HOME, k=5)
        finally:
            index.open.set()
    index.close()


async def test_a_failing_index_fails_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With no space for the index, writes and recalls go on; it is told, logged once, tried again, and then mended."""
    index = index_at(tmp_path / "x.chroma", Broken)
    async with Memory.open("memory:", embedder=EMBEDDER, preset=BY_BOTH, clock=FixedClock(), index=index) as memory:
        with caplog.at_level(logging.WARNING, "mars"):
            await memory.add_many(notes(ROWS))
            follower = memory._following()
            await until(lambda: follower.state(ROWS).problem is not None)
            (hit, *_) = await memory.recall("note 7", namespace=HOME, k=5, exact=False)
            assert (hit.record.text, hit.exact) == ("note 7", True)
            state = (await memory.stats()).index
            assert state is not None
            assert (state.following, state.problem) == (False, "StoreFull: no space is left for the index")
            measured = await memory.approximate_recall(sample=5, k=5)
            assert (measured.approximate, measured.recall) == (0, None)
        assert len(caplog.records) == 1
        index.full = False
        await until(lambda: follower.state(ROWS).lag == 0 and follower.state(ROWS).problem is None)
        assert not (await memory.recall("note 7", namespace=HOME, k=5, exact=False))[0].exact
    index.close()


async def test_a_damaged_folder(tmp_path: Path) -> None:
    """A folder that cannot be read is told with the command that helps; `reindex` mends it while it is in use."""
    url, folder = f"sqlite:///{tmp_path / 'a.db'}", tmp_path / "a.db.chroma"
    async with Memory.open(url, embedder=EMBEDDER, preset=BY_BOTH, clock=FixedClock(), index=True) as memory:
        await memory.add_many(notes(ROWS))
        await memory._catch_up(None)
    next(folder.glob("data-*/chroma.sqlite3")).write_bytes(b"nonsense" * 1000)
    async with Memory.open(url, embedder=EMBEDDER, preset=BY_BOTH, clock=FixedClock(), index=folder) as memory:
        assert (await memory.recall("note 7", namespace=HOME, k=5, exact=False))[0].exact
        await memory.add("note 1000", HOME)
        follower = memory._following()
        await until(lambda: "mars memory reindex" in (follower.state(ROWS).problem or ""))
        assert await memory.reindex() == ROWS + 1
        await until(lambda: follower.state(ROWS + 1).following)
        assert not (await memory.recall("note 7", namespace=HOME, k=5, exact=False))[0].exact


async def test_a_lost_folder_is_a_replay(tmp_path: Path) -> None:
    """A folder that is deleted under an open memory, lock and all, is filled again."""
    folder = tmp_path / "a.db.chroma"
    async with Memory.open(f"sqlite:///{tmp_path / 'a.db'}", embedder=EMBEDDER, index=True) as memory:
        await memory.add_many(notes(50))
        await memory._catch_up(None)
        shutil.rmtree(folder)
        await memory.add("note 50", HOME)
        index: Any = memory._following().index
        await until(lambda: same(held(index), truth(memory.backend)))
        assert folder.is_dir()


async def test_an_older_truth(tmp_path: Path) -> None:
    """An index that is ahead of its truth, which was restored from a backup, starts anew."""
    index = index_at(tmp_path / "x.chroma")
    async with Memory.open("memory:", embedder=EMBEDDER, index=index) as newer:
        await newer.add_many(notes(30))
        await newer._catch_up(None)
    async with Memory.open("memory:", embedder=EMBEDDER, index=index) as older:
        await older.add_many(notes(3, first=100))
        await until(lambda: same(held(index), truth(older.backend)))
    index.close()


async def test_closing_is_prompt(tmp_path: Path) -> None:
    """Closing waits for one batch at most, and the next opening goes on from there to the same contents."""
    url = f"sqlite:///{tmp_path / 'a.db'}"
    async with Memory.open(url, embedder=EMBEDDER, index=True) as memory:
        await memory.add_many(notes(5_000))
        follower = memory._following()
        await until(lambda: follower.state(5_000).mark > 0)
        started = time.monotonic()
    assert time.monotonic() - started < 3.0
    assert follower.state(5_000).mark < 5_000
    async with Memory.open(url, embedder=EMBEDDER, index=True) as memory:
        await memory._catch_up(None)
        assert same(held(memory._following().index), truth(memory.backend))


async def test_the_measure(filled: Memory) -> None:
    """The figure is the same for the same seed, names how many were approximate, and takes queries of one's own."""
    one = await filled.approximate_recall(sample=30, k=5, seed=4)
    assert (one.k, one.seed, one.questions, one.approximate) == (5, 4, 30, 30)
    assert one.recall is not None
    assert one.lowest is not None
    assert 0.9 <= one.recall <= 1.0
    again = await filled.approximate_recall(sample=30, k=5, seed=4)
    assert (again.recall, again.lowest) == (one.recall, one.lowest)
    own = await filled.approximate_recall(["note 1", "note 2"], namespace=HOME, k=5)
    assert (own.questions, own.approximate) == (2, 2)
    with pytest.raises(InvalidNamespace):
        await filled.approximate_recall(["note 1"])


async def test_the_measure_can_see(tmp_path: Path) -> None:
    """Of an index that names any rows, the same measure says that most of what is nearest is missed."""
    index = index_at(tmp_path / "x.chroma", Blind)
    async with Memory.open("memory:", embedder=EMBEDDER, preset=BY_BOTH, clock=FixedClock(), index=index) as memory:
        await memory.add_many(notes(ROWS))
        found = await memory.approximate_recall(sample=30, k=5, seed=4)
        assert found.approximate == 30
        assert found.recall is not None
        assert found.recall < 0.6
    index.close()


# Several processes

WRITER = """
import sys
from mars.memory.engine import Memory
from mars.memory.records import NewRecord
from mars.testing import RandomEmbedder
url, name = sys.argv[1:]
with Memory.open_sync(url, embedder=RandomEmbedder(16), index=True) as memory:
    for number in range(40):
        record = memory.add(f"{name} {number}", ("user-1",))
        if number % 4 == 0:
            memory.purge(record.id)
        if number % 4 == 1:
            memory.archive(record.id)
    print("done", flush=True)
    sys.stdin.read()
"""


def start(code: str, *given: str) -> subprocess.Popen[str]:
    """Start a child that runs this code."""
    line = [sys.executable, "-c", code, *given]
    return subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


async def test_two_processes(tmp_path: Path) -> None:
    """Two write and would follow: one does, none fails; killed, its place is taken, and the index equals the truth."""
    url = f"sqlite:///{tmp_path / 'a.db'}"
    children = [start(WRITER, url, name) for name in "ab"]
    try:
        for child in children:
            assert child.stdout is not None
            assert await to_thread.run_sync(child.stdout.readline) == "done\n"
        backend = open_backend(url)
        index = index_at(tmp_path / "a.db.chroma", store=backend.read(lambda reader: reader.meta())["store_id"])
        follower = Follower(backend, index, QUICK)
        follower.start()
        head = backend.read(lambda reader: reader.head())
        await until(lambda: not follower.able)
        assert follower.reach(head) is None
        children[0].kill()
        assert children[0].wait() == -signal.SIGKILL
        children[1].kill()
        children[1].wait()
        await until(lambda: follower.state(head).following and not follower.state(head).lag)
        assert len(truth(backend)) == 2 * 20
        assert same(held(index), truth(backend))
        follower.close()
        index.close()
        backend.close()
    finally:
        for child in children:
            child.kill()
            child.communicate()


async def test_what_others_commit_is_followed(tmp_path: Path) -> None:
    """The process that follows indexes what another one has committed, which itself recalls exactly meanwhile."""
    url = f"sqlite:///{tmp_path / 'a.db'}"
    async with Memory.open(url, embedder=EMBEDDER, preset=BY_BOTH, clock=FixedClock(), index=True) as first:
        await first.add_many(notes(ROWS))
        await first._catch_up(None)
        async with Memory.open(url, embedder=EMBEDDER, preset=BY_BOTH, clock=FixedClock(), index=True) as second:
            new = await second.add("note 7", HOME)
            hits = await second.recall("note 7", namespace=HOME, k=5, exact=False)
            assert all(hit.exact for hit in hits)
            near = await first.recall("note 7", namespace=HOME, k=5, exact=False)
            assert not any(hit.exact for hit in near)
            assert new.id in {hit.record.id for hit in near[:2]}
            await until(lambda: new.id in held(first._following().index))


def test_a_fork_lets_go_of_the_lock(tmp_path: Path) -> None:
    """A child that was forked while the folder was locked does not hold it, nor keep it locked after its parent."""
    code = (
        "import os, sys, pathlib; from mars.memory.index.folder_lock import FolderLock\n"
        "lock, (at, to) = FolderLock(pathlib.Path(sys.argv[1])), os.pipe()\n"
        "assert lock.attempt()\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    os.write(to, b'held' if lock.held else b'free')\n"
        "    os.read(0, 1)\n"
        "    os._exit(0)\n"
        "assert os.read(at, 4) == b'free' and lock.held\n"
        "assert not FolderLock(pathlib.Path(sys.argv[1])).attempt()\n"
        "os._exit(0)\n"
    )
    left = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE)
    try:
        assert left.wait(60) == 0
        lock = FolderLock(tmp_path)
        assert lock.attempt(2.0)
        lock.release()
    finally:
        assert left.stdin is not None
        left.stdin.close()


# Killed while it follows

CHILD = """
import sys
from pathlib import Path
from mars.memory import points
from mars.memory.backends import open_backend
from mars.memory.following import Follower
from mars.memory.index.chroma import ChromaIndex
from mars.testing import KillPoint

class Early(ChromaIndex):
    '''Sets the mark before the vectors are there: what no index may do.'''
    def apply(self, update, *, gently=True):
        with self._chroma() as client:
            self._set_mark(client, update.upto)
        return super().apply(update.__class__(**{**{name: getattr(update, name) for name in update.__slots__},
                                                 "after": update.upto}))

url, folder, store, sort, point, hits = sys.argv[1:]
backend = open_backend(url)
kind = {"right": ChromaIndex, "sabotaged": Early}[sort]
index = kind(Path(folder), store=store, embedder="random-16-0", dimension=16)
with KillPoint(point, int(hits)):
    follower = Follower(backend, index)
    follower.start()
    follower.reach(10**9, 60.0)
"""


async def differs_after_kill(folder: Path, point: str, hits: int, sort: str) -> bool:
    """Have a follower killed at a point of a batch; return whether the next one ends with another thing than the truth.

    The lock of the dead is free at once. The first run indexes 600 records; before it there is nothing, after it some
    have gone, so that a second run has something to delete, to replace and to add.
    """
    url, at = f"sqlite:///{folder / 'a.db'}", folder / "x.chroma"
    async with Memory.open(url, embedder=EMBEDDER) as memory:
        records = await memory.add_many(notes(ROWS))
        await memory.purge([row.id for row in records[:5]])
        await memory.archive([row.id for row in records[5:10]])
    line = [sys.executable, "-c", CHILD, url, str(at), "s", sort, point, str(hits)]
    ended = await anyio.run_process(line, check=False, stderr=None, env=dict(os.environ))
    assert ended.returncode == -signal.SIGKILL
    backend, index = open_backend(url), index_at(at)
    assert index.claim()
    follower = Follower(backend, index, QUICK)
    follower.start()
    head = backend.read(lambda reader: reader.head())
    assert await to_thread.run_sync(follower.reach, head, 60.0) == head
    different = not same(held(index), truth(backend))
    follower.close()
    index.close()
    backend.close()
    return different


@pytest.mark.parametrize("hits", [1, 2])
@pytest.mark.parametrize("point", ["index_removed", "index_applied", "index_marked"])
async def test_killed(tmp_path: Path, point: str, hits: int) -> None:
    """Killed before or after the vectors or the mark of a batch, the next follower completes it: index equals truth."""
    assert not await differs_after_kill(tmp_path, point, hits, "right")


async def test_killed_and_sabotaged(tmp_path: Path) -> None:
    """With the mark set before the vectors, the same kill leaves vectors out: the test can see."""
    assert await differs_after_kill(tmp_path, "index_removed", 1, "sabotaged")
