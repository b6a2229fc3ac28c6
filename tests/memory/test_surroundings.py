"""What the memory lives in: a disk that fills up, files that may not be written, a clock that goes back, a fork."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, event

from mars.errors import MarsError, StoreFull, StoreUnavailable
from mars.memory.backends.inmemory import InMemoryBackend
from mars.memory.backends.sql import SqlBackend
from mars.memory.engine import Memory
from mars.memory.interfaces import Failed, Transaction, outcome
from mars.memory.records import Grade, NewRecord, Record
from mars.testing import FixedClock, RandomEmbedder

HOME = ("user-1",)
EMBEDDER = RandomEmbedder(8)
Turned = Callable[[Memory, FixedClock], Awaitable[list[str]]]


class Disk:
    """A database file that may grow to a number of pages, which can be raised while it is open."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.pages = 1 << 30
        self.engine: Engine = create_engine(f"sqlite:///{file}")
        event.listen(self.engine, "checkout", self._limit)

    def _limit(self, connection: sqlite3.Connection, *_: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {self.pages}")

    def fill(self, spare: int) -> None:
        """Leave room for so many pages."""
        with sqlite3.connect(self.file) as database:
            self.pages = database.execute("PRAGMA page_count").fetchone()[0] + spare


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A disk that can be filled up."""
    made = Disk(tmp_path / "a.db")
    yield made
    made.engine.dispose()


class Hushing(SqlBackend):
    """Sabotaged: says that a write is done though the disk had no room for it."""

    hushed = 0

    def transact_all(self, works: Sequence[Callable[[Transaction], Any]]) -> list[Any]:
        """Do what the backend does, and act where that failed for want of space as if it had not."""
        done = outcome(lambda: super(Hushing, self).transact_all(works))
        results = done if isinstance(done, list) else [done] * len(works)
        return [self._hush(*one) for one in zip(results, works, strict=True)]

    def _hush(self, result: Any, work: Callable[[Transaction], Any]) -> Any:
        if not (isinstance(result, Failed) and isinstance(result.error, StoreFull)):
            return result
        self.hushed += 1
        return outcome(lambda: InMemoryBackend().transact(work))


async def fill(disk: Disk, backend: SqlBackend) -> list[str]:
    """Write in every way while the disk is full, and once there is room again; return what was not as promised."""
    complaints: list[str] = []
    async with Memory.open(backend, embedder=EMBEDDER) as memory:
        first = await memory.add("there", HOME)
        disk.fill(spare=0)
        long = "word " * 3000
        writes: dict[str, Callable[[], Awaitable[object]]] = {
            "add": lambda: memory.add(long, HOME),
            "add_many": lambda: memory.add_many([NewRecord(text=f"{one} {long}", namespace=HOME) for one in range(5)]),
            "edit": lambda: memory.edit(first.id, text=long),
            "shorten": lambda: memory.edit(first.id, short_text=long),
        }
        for name, write in writes.items():
            try:
                await write()
                complaints.append(f"{name}: acknowledged")
            except StoreFull as error:
                complaints += [] if "free some space" in str(error) else [f"{name}: {error}"]
            except MarsError as error:
                complaints.append(f"{name}: {error}")
        if await memory.list(HOME) != [first]:
            complaints.append("the records are others")
        if [hit.record for hit in await memory.recall("there", namespace=HOME)] != [first]:
            complaints.append("recall finds others")
        disk.pages = 1 << 30
        if (await memory.add(long, HOME)).seq != first.seq + 1:
            complaints.append("seq has a gap")
        if not (await memory.doctor()).clean:
            complaints.append("the doctor finds something")
    return complaints


async def test_a_full_disk(disk: Disk) -> None:
    """Every write path says `StoreFull` and leaves nothing; reads go on; with space again so do writes, in order."""
    assert await fill(disk, SqlBackend(disk.engine)) == []


async def test_a_full_disk_that_is_hushed_up(disk: Disk) -> None:
    """Sabotaged by a backend that acknowledges what had no room, the same check complains."""
    backend = Hushing(disk.engine)
    complaints = await fill(disk, backend)
    assert backend.hushed > 0
    assert {"add: acknowledged", "add_many: acknowledged"} <= set(complaints)


READ_ONLY = """
import json, os, sys
import anyio
from mars.errors import MarsError
from mars.memory.engine import Memory
from mars.testing import RandomEmbedder
from mars.testing.soak import warm

warm()
if os.geteuid() == 0:  # whom no permission binds
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)

async def main():
    async with Memory.open(sys.argv[1], embedder=RandomEmbedder(8)) as memory:
        return len(await memory.recall("heron", namespace=("user-1",))), await memory.add("more", ("user-1",))

try:
    anyio.run(main)
except MarsError as error:
    print(json.dumps([type(error).__name__, str(error)]))
"""


@pytest.mark.parametrize(("file_mode", "folder_mode"), [(0o444, 0o555), (0o444, 0o755), (0o644, 0o555)])
def test_files_that_may_not_be_written(file_mode: int, folder_mode: int) -> None:
    """A file, a folder or both without the right to write: an error that names it, and nothing is lost."""
    folder = Path(tempfile.mkdtemp(prefix="mars-"))
    try:
        file = folder / "a.db"
        with Memory.open_sync(f"sqlite:///{file}", embedder=EMBEDDER) as memory:
            held = memory.add("The heron nests by the weir.", HOME)
        before = file.read_bytes()
        if os.geteuid() == 0:
            os.chown(folder, 65534, 65534)
            os.chown(file, 65534, 65534)
        file.chmod(file_mode)
        folder.chmod(folder_mode)
        line = [sys.executable, "-c", READ_ONLY, f"sqlite:///{file}"]
        ended = subprocess.run(line, capture_output=True, text=True, check=False, timeout=120)
        name, message = json.loads(ended.stdout or json.dumps(["", ended.stderr]))
        assert name == "StoreReadOnly", message
        assert "permissions" in message
        folder.chmod(0o755)
        file.chmod(0o644)
        assert file.read_bytes() == before
        with Memory.open_sync(f"sqlite:///{file}", embedder=EMBEDDER) as memory:
            assert memory.list(HOME) == [held]
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


async def numbered(memory: Memory, clock: FixedClock) -> list[str]:
    """Write and use while the clock goes to and fro; return what was not as promised."""
    rows: list[Record] = []
    for step in (0.0, 5.0, -9.0, 2.0, -0.5, 0.0):
        clock.advance(days=step)
        rows += await memory.add_many([NewRecord(text=f"note {len(rows)}", namespace=HOME)])
    clock.advance(days=-30)
    hits = await memory.recall("note", namespace=HOME)
    (used,) = await memory.used(rows[1].id, Grade.GOOD, "turn")
    promises = {
        "seq goes on": [row.seq for row in rows] == list(range(1, 7)),
        "ids are unique": len({row.id for row in rows}) == 6,
        "ids sort by time and seq": sorted(rows, key=lambda one: one.id)
        == sorted(rows, key=lambda one: (one.created_at, one.seq)),
        "retention stays within [0, 1]": [hit.retention for hit in hits] == [1.0] * 6,
        "a use weakens nothing": used.strength >= rows[1].strength,
        "no time is taken back": used.last_strengthened == rows[1].last_strengthened,
        "the doctor finds nothing": (await memory.doctor()).clean,
    }
    return [promise for promise, kept in promises.items() if not kept]


async def mortal(memory: Memory, clock: FixedClock) -> list[str]:
    """Let a time to live end, come back and end again; return what was not as promised."""
    record = await memory.add("short", HOME, expires_at=clock.now() + timedelta(days=1))

    async def seen() -> tuple[list[str], list[str]]:
        hits = await memory.recall("short", namespace=HOME)
        return [row.id for row in await memory.list(HOME)], [hit.record.id for hit in hits]

    clock.advance(days=2)
    over = await seen()
    clock.advance(days=-2)
    back = await seen()
    clock.advance(days=2)
    deleted = [row.id for row in await memory.purge_expired()]
    clock.advance(days=-2)
    promises = {
        "what has expired is not read": over == ([], []),
        "it is read again before its end": back == ([record.id], [record.id]),
        "a purge deletes it": deleted == [record.id],
        "what was deleted stays away": await seen() == ([], []) and await memory.get(record.id) is None,
    }
    return [promise for promise, kept in promises.items() if not kept]


async def ahead(memory: Memory, clock: FixedClock) -> list[str]:
    """Sweep by a clock that runs far ahead, and set it right; return what was not as promised."""
    record = await memory.add("a heron", HOME)
    clock.advance(days=20_000)
    swept = (await memory.sweep()).archived
    clock.advance(days=-20_000)
    found = [hit.record.id for hit in await memory.recall("heron", namespace=HOME)]
    promises = {"a sweep archives what is forgotten": swept == (record.id,), "nothing is lost": found == [record.id]}
    return [promise for promise, kept in promises.items() if not kept]


@pytest.mark.parametrize("check", [numbered, mortal, ahead])
async def test_a_clock_that_goes_back(memory: Memory, clock: FixedClock, check: Turned) -> None:
    """`seq`, ids, retention, times to live and sweeps are as promised, whatever the clock does; nothing is lost."""
    assert await check(memory, clock) == []


class Leaping(InMemoryBackend):
    """Sabotaged: numbers writes by time, so that one is left out where time goes back."""

    def __init__(self, clock: FixedClock) -> None:
        super().__init__()
        self._clock, self._last = clock, clock.now()

    def transact(self, work: Callable[[Transaction], Any]) -> Any:
        """Run `work`, a number later where the time is an earlier one."""
        back, self._last = self._clock.now() < self._last, self._clock.now()
        return super().transact(lambda tx: (tx.next_seq() if back else 0, work(tx))[1])


class Eager(Memory):
    """Sabotaged: deletes what has expired as soon as it is read."""

    async def list(self, *namespace: Any, **wanted: Any) -> Any:
        """Delete, and then list."""
        await self.purge_expired()
        return await super().list(*namespace, **wanted)


class Burning(Memory):
    """Sabotaged: deletes for good what a sweep finds forgotten."""

    async def sweep(self, **settings: Any) -> Any:
        """Sweep, and burn what was swept up."""
        swept = await super().sweep(**settings)
        await self.purge(swept.archived)
        return swept


@pytest.mark.parametrize(
    ("kind", "check", "complaint"),
    [
        (Memory, numbered, "seq goes on"),
        (Eager, mortal, "it is read again before its end"),
        (Burning, ahead, "nothing is lost"),
    ],
)
async def test_a_clock_that_is_believed(clock: FixedClock, kind: type[Memory], check: Turned, complaint: str) -> None:
    """Sabotaged by what takes the clock's word for order or for the end, the same checks complain."""
    backend = Leaping(clock) if kind is Memory else InMemoryBackend()
    async with kind.open(backend, clock=clock, seed=1) as memory:
        assert complaint in await check(memory, clock)


FORK = """
import os, signal, sys, threading
from mars.memory.backends import forks, open_backend

backend = open_backend(sys.argv[1])
assert backend.transact(lambda t: t.next_seq()) == 1
if sys.argv[2] == "without":
    forks._gates.clear()  # the guard finds nothing to guard
told, tell = os.pipe()
heard, hear = os.pipe()
child = os.fork()
if child == 0:
    signal.alarm(20)
    assert backend.transact(lambda t: t.next_seq()) == 2
    os.write(tell, b"1")
    os.read(heard, 1)
    assert backend.transact(lambda t: t.next_seq()) == 3
    os._exit(0)
os.read(told, 1)
backend.close()  # as the last of its process, which tidies up the log
os.write(hear, b"1")
assert os.waitpid(child, 0)[1] == 0
backend = open_backend(sys.argv[1])
print(backend.read(lambda reader: reader.head()))
backend.close()
"""


@pytest.mark.parametrize(("guard", "head"), [("with", "3"), ("without", "2")])
def test_a_fork_loses_nothing(tmp_path: Path, guard: str, head: str) -> None:
    """What a forked child has acknowledged outlives its parent's closing; without the guard SQLite loses it."""
    line = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORK, f"sqlite:///{tmp_path / 'a.db'}", guard]
    ended = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout.split()) == (0, [head]), ended.stderr


FORK_WITHIN = """
import os, signal, sys, threading
from mars.errors import StoreUnavailable
from mars.memory.backends import forks, open_backend

forks.PATIENCE = float(sys.argv[2])
backend = open_backend(sys.argv[1])
begun, go = threading.Event(), threading.Event()

def slow(transaction):
    begun.set()
    go.wait()
    return transaction.next_seq()

writer = threading.Thread(target=backend.transact, args=(slow,))
writer.start()
begun.wait()
threading.Timer(0.5, go.set).start()
child = os.fork()
if child == 0:
    signal.alarm(20)
    try:
        print(backend.transact(lambda t: t.next_seq()), flush=True)
        backend.close()
    except StoreUnavailable as error:
        print(error, flush=True)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
writer.join()
assert backend.transact(lambda t: t.next_seq()) in (2, 3)
backend.close()
"""


@pytest.mark.parametrize(
    ("target", "patience", "says"),
    [
        ("file", "20", "2"),
        ("file", "0.1", "nothing was written: fork while nothing"),
        ("memory:", "0.1", "nothing was written: fork while nothing"),
    ],
)
def test_a_fork_in_the_midst_of_a_write(tmp_path: Path, target: str, patience: str, says: str) -> None:
    """A fork waits for a transaction of another thread; a child that was forked within one is refused, and told why."""
    url = f"sqlite:///{tmp_path / 'a.db'}" if target == "file" else target
    line = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORK_WITHIN, url, patience]
    ended = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    assert says in ended.stdout


FORKED_MEMORY = """
import os, signal, sys
import anyio
from mars.memory.engine import Memory
from mars.testing import RandomEmbedder

async def parent():
    memory = await Memory.open(sys.argv[1], embedder=RandomEmbedder(8)).__aenter__()
    await memory.add("before", ("a",))
    return memory

memory = anyio.run(parent)  # its writer's thread waits for more
child = os.fork()
if child == 0:
    signal.alarm(10)
    print(anyio.run(memory.add, "in the child", ("a",)).seq, flush=True)
    anyio.run(memory.close)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert anyio.run(memory.add, "after", ("a",)).seq == 3
anyio.run(memory.close)
"""

FORKED_WHILE_ASKED = """
import os, signal, sys
from threading import Event, Thread
import anyio
from mars.errors import StoreUnavailable
from mars.memory.backends import forks
from mars.memory.engine import Memory
from mars.testing import RandomEmbedder

forks.PATIENCE = 0.1
asked, told, parent = Event(), Event(), os.getpid()

class Slow(RandomEmbedder):
    def embed(self, texts):
        if os.getpid() == parent and texts[0] == "Where is my dog?":
            asked.set()
            assert told.wait(60)
        return super().embed(texts)

async def opened():
    memory = await Memory.open(sys.argv[1], embedder=Slow(8)).__aenter__()
    await memory.add("The dog is in the garden.", ("a",), speaker="Ann")
    return memory

async def ask():
    return len(await memory.recall("Where is Ann's dog?", namespace=("a",)))

async def ask_often():
    async with anyio.create_task_group() as group:
        for _ in range(100):
            group.start_soon(ask)

memory = anyio.run(opened)
asking = Thread(target=anyio.run, args=(ask_often,), daemon=True)
asking.start()
assert asked.wait(60)
child = os.fork()
if child == 0:
    signal.alarm(20)
    try:
        print("found", anyio.run(ask), flush=True)
    except StoreUnavailable as error:
        print(error, flush=True)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
told.set()
asking.join()
anyio.run(memory.close)
"""


@pytest.mark.parametrize(
    ("target", "says"), [("file", "nothing was written: fork while nothing"), ("memory:", "found 1")]
)
def test_a_fork_in_the_midst_of_a_question(tmp_path: Path, target: str, says: str) -> None:
    """A child that was forked while threads recalled is answered or refused, and waits for none of those threads."""
    url = f"sqlite:///{tmp_path / 'a.db'}" if target == "file" else target
    line = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKED_WHILE_ASKED, url]
    ended = subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    assert says in ended.stdout


FORKED_TWIN = """
import os, signal, sys
from mars.memory.engine import Memory
from mars.testing import RandomEmbedder

memory = Memory.open_sync(sys.argv[1], embedder=RandomEmbedder(8)).open()
memory.add("before", ("a",))
child = os.fork()
if child == 0:
    signal.alarm(10)
    try:
        memory.add("in the child", ("a",))
    except RuntimeError as error:
        print(error, flush=True)
    memory.close()
    with Memory.open_sync(sys.argv[1], embedder=RandomEmbedder(8)) as own:
        assert own.add("in the child", ("a",)).seq == 2
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert memory.add("after", ("a",)).seq == 3
memory.close()
"""


@pytest.mark.parametrize(("code", "says"), [(FORKED_MEMORY, "2"), (FORKED_TWIN, "open another after the fork")])
def test_a_memory_in_a_forked_child(tmp_path: Path, code: str, says: str) -> None:
    """A memory goes on in a child that runs a loop of its own; the blocking twin says at once what to do instead."""
    line = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code, f"sqlite:///{tmp_path / 'a.db'}"]
    ended = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    assert says in ended.stdout


def test_sqlite_itself_writes_to_a_file_that_is_gone(tmp_path: Path) -> None:
    """What the next test is about: with a log ahead of the file a commit succeeds, and nobody finds it again."""
    file = tmp_path / "a.db"
    database = sqlite3.connect(file)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("CREATE TABLE a (b)")
    file.unlink()
    with database:
        database.execute("INSERT INTO a VALUES (1)")
    database.close()
    assert not file.exists()


@pytest.mark.parametrize("how", ["deleted", "folder deleted", "replaced", "folder a file"])
async def test_a_file_that_goes_while_it_is_open(tmp_path: Path, how: str) -> None:
    """What SQLite would write to a file that nobody finds again is refused, and goes on where the file is back."""
    folder, aside = tmp_path / "folder", tmp_path / "aside"
    folder.mkdir()
    file = folder / "a.db"
    async with Memory.open(f"sqlite:///{file}", embedder=EMBEDDER) as memory:
        await memory.add("one", HOME)
        moved, back = (folder, aside) if how.startswith("folder") else (file, aside)
        shutil.move(moved, back)
        if how == "replaced":
            shutil.copy(back, moved)
        if how == "folder a file":
            folder.touch()
        for call in (memory.add("two", HOME), memory.list(HOME), memory.recall("one", namespace=HOME)):
            with pytest.raises(StoreUnavailable, match="deleted or replaced while it was open"):
                await call
        if how == "folder a file":
            folder.unlink()
        os.replace(back, moved)
        await memory.add("three", HOME)
        assert [one.text for one in await memory.list(HOME)] == ["one", "three"]
