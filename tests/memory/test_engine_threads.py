"""The memory never blocks the event loop, and a cancelled call leaves no half-written thing behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from threading import Event, get_ident
from typing import Any

import anyio
from anyio import create_task_group, move_on_after, to_thread

from mars.memory.engine import Memory
from mars.memory.interfaces import Vector
from mars.memory.records import NewRecord
from mars.testing import RandomEmbedder

HOME = ("user-1",)


class SlowEmbedder(RandomEmbedder):
    """An embedder that waits until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = Event()
        self.go = Event()

    def embed(self, texts: Sequence[str]) -> Vector:
        """Embed, once that is permitted."""
        self.asked.set()
        self.go.wait(10)
        return super().embed(texts)


async def test_event_loop_stays_free() -> None:
    """While an embedder works, other tasks run, and other reads are answered."""
    embedder = SlowEmbedder()
    embedder.go.set()
    async with Memory.open("memory:", embedder=embedder) as memory:
        await memory.add("first", HOME)
        embedder.go.clear()
        embedder.asked.clear()
        async with create_task_group() as tasks:
            tasks.start_soon(memory.add, "second", HOME)
            await to_thread.run_sync(embedder.asked.wait)
            assert [row.text for row in await memory.list(HOME)] == ["first"]
            embedder.go.set()
        assert len(await memory.list(HOME)) == 2


class Watched(list[object]):
    """A list that knows which threads have read parts of it."""

    readers: set[int]

    def __getitem__(self, place: Any) -> Any:
        """Note who asks."""
        self.readers.add(get_ident())
        return super().__getitem__(place)


async def test_large_metadata_are_encoded_elsewhere() -> None:
    """Metadata of megabytes are checked and written on other threads than the event loop's."""
    rows = Watched({"id": number, "name": f"name {number}"} for number in range(5000))
    rows.readers = set()
    async with Memory.open("memory:", embedder=RandomEmbedder()) as memory:
        record = await memory.add("with an attachment", HOME, metadata={"rows": rows})
        await memory.edit(record.id, metadata={"rows": rows, "more": 1})
        assert rows.readers
        assert get_ident() not in rows.readers
        found = await memory.get(record.id)
        assert found is not None
        assert (found.metadata["rows"], found.metadata["more"]) == (list(rows), 1)


async def test_cancelled(store: str) -> None:
    """A call that is cancelled has written all of its records or none, and the memory goes on."""
    embedder = SlowEmbedder()
    async with Memory.open(store, embedder=embedder) as memory:
        with move_on_after(0.05) as scope:
            embedder.go.clear()
            async with create_task_group() as tasks:
                tasks.start_soon(memory.add_many, [NewRecord(text=f"row {n}", namespace=HOME) for n in range(5)])
                await to_thread.run_sync(embedder.asked.wait)
                scope.cancel()
                embedder.go.set()
        assert scope.cancelled_caught
        assert len(await memory.list(HOME)) in (0, 5)
        await memory.add("after", HOME)
        assert "after" in [row.text for row in await memory.list(HOME)]


async def test_closing_waits_for_writes(tmp_path: Path) -> None:
    """What was begun before closing is either there when the file is opened again, or was refused."""
    url = f"sqlite:///{tmp_path / 'a.db'}"
    acknowledged: list[str] = []
    async with Memory.open(url) as memory:

        async def write(number: int) -> None:
            acknowledged.append((await memory.add(f"row {number}", HOME)).id)

        async with create_task_group() as tasks:
            for number in range(10):
                tasks.start_soon(write, number)
    async with Memory.open(url) as memory:
        assert {row.id for row in await memory.list(HOME)} == set(acknowledged)


CHILD = """
import os, sys
from mars.memory import Memory
with Memory.open_sync(sys.argv[1]) as memory:
    for number in range(1000):
        memory.add(f"row {number}", ("user-1",), idempotency_key=str(number))
        print(number, flush=True)
        if number == 30:
            os.kill(os.getpid(), 9)
"""


async def test_killed(tmp_path: Path) -> None:
    """What was acknowledged before a kill -9 is there, and a second run with the same keys adds the rest only."""
    url = f"sqlite:///{tmp_path / 'a.db'}"
    line = [sys.executable, "-c", CHILD, url]
    killed = await anyio.run_process(line, check=False, stderr=subprocess.STDOUT, env=dict(os.environ))
    acknowledged = [int(word) for word in killed.stdout.split()]
    assert (killed.returncode, acknowledged) == (-9, list(range(31)))
    async with Memory.open(url) as memory:
        assert {row.text for row in await memory.list(HOME)} >= {f"row {number}" for number in acknowledged}
        news = [NewRecord(text=f"row {n}", namespace=HOME, idempotency_key=str(n)) for n in range(40)]
        assert (await memory.add_many(news)).added == 9
        assert sorted(row.text for row in await memory.list(HOME)) == sorted(f"row {n}" for n in range(40))


async def test_time_is_the_clock_s(quick: Memory) -> None:
    """Nothing in the memory looks at the system's clock: real time passes and nothing fades."""
    await quick.add("The heron nests by the weir.", HOME)
    await to_thread.run_sync(time.sleep, 0.02)
    assert [hit.retention for hit in await quick.recall("heron", namespace=HOME)] == [1.0]
