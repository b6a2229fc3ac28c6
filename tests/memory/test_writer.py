"""One thread writes, and commits what waits together: alone in failure, in order, acknowledged after the commit."""

from __future__ import annotations

import os
import sys
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import anyio
import numpy as np
import pytest
from anyio import CancelScope, create_task_group, fail_after, move_on_after, to_thread

from mars.errors import InvalidInput, InvalidSetting, StoreClosed, StoreFull
from mars.memory import points
from mars.memory.backends import open_backend
from mars.memory.backends.sql import SqlBackend
from mars.memory.engine import Memory
from mars.memory.interfaces import Backend, Failed, Selection, Transaction
from mars.memory.records import NewRecord, Record
from mars.memory.writer import Lane
from mars.testing import KillPoint, RandomEmbedder

HOME = ("user-1",)
Build = Callable[..., Record]
Contents = Callable[[Backend], tuple[Any, ...]]
ROWS = 50
who: ContextVar[str] = ContextVar("who")


def inserting(record: Record) -> Callable[[Transaction], int]:
    """Return work that inserts a record and returns its `seq`."""

    def work(transaction: Transaction) -> int:
        seq = transaction.next_seq()
        transaction.insert([Record(**{name: getattr(record, name) for name in record.__slots__} | {"seq": seq})], {})
        return seq

    return work


def failing(record: Record) -> Callable[[Transaction], None]:
    """Return work that writes much and then raises."""

    def work(transaction: Transaction) -> None:
        inserting(record)(transaction)
        transaction.set_meta({"half": "done"})
        raise InvalidInput("no")

    return work


def test_one_fails_alone(backend: Backend, make_record: Build) -> None:
    """In a group, work that raises leaves nothing and takes no `seq`; the others are committed in their order."""
    taken = make_record(0, key="k")
    works = [inserting(taken), failing(make_record(0)), inserting(make_record(0, key="k")), inserting(make_record(0))]
    first, second, third, fourth = backend.transact_all(works)
    assert (first, fourth) == (1, 2)
    assert isinstance(second, Failed)
    assert isinstance(third, Failed)
    assert [type(second.error), type(third.error)] == [InvalidInput, InvalidInput]
    assert backend.read(lambda reader: [one.seq for one in reader.select(Selection())]) == [1, 2]
    assert backend.read(lambda reader: (reader.head(), "half" in reader.meta())) == (2, False)
    assert backend.transact(lambda t: t.next_seq()) == 3


def test_swallowed(backend: Backend, make_record: Build) -> None:
    """Work that swallows the error of a call fails as a whole, and alone."""
    record = make_record(0)

    def swallow(transaction: Transaction) -> str:
        transaction.next_seq()
        with suppress(InvalidInput):
            transaction.insert([record, record], {})
        return "fine"

    first, second = backend.transact_all([swallow, inserting(record)])
    assert isinstance(first, Failed)
    assert second == 1


def test_later_work_sees_earlier(backend: Backend, make_record: Build) -> None:
    """Within a group, work reads what was written before it in the same group, facts of the store included."""
    record = make_record(0)
    works: list[Callable[[Transaction], Any]] = [
        lambda t: t.set_meta({"a": "b"}),
        inserting(record),
        lambda t: (t.head(), t.meta()["a"], [one.id for one in t.select(Selection())]),
    ]
    assert backend.transact_all(works)[-1] == (1, "b", [record.id])


class Full(SqlBackend):
    """A backend whose every commit fails while it is full."""

    full = False

    def _commit(self, wire: Any) -> None:
        if self.full:
            raise StoreFull("no space is left")
        super()._commit(wire)


async def test_failed_commit(tmp_path: Path, contents: Contents) -> None:
    """If the commit fails, every call of its group raises, nothing was written, and the next writes go on."""
    backend = Full(f"sqlite:///{tmp_path / 'a.db'}")
    errors: list[Exception] = []
    async with Memory.open(backend) as memory:
        await memory.add("before", HOME)
        before, backend.full = contents(backend), True

        async def write(number: int) -> None:
            try:
                await memory.add(f"row {number}", HOME)
            except StoreFull as error:
                errors.append(error)

        async with create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(write, number)
        assert len(errors) == 20
        assert contents(backend) == before
        backend.full = False
        assert (await memory.add("after", HOME)).seq == 2
    backend.close()


async def test_hundred_tasks(store: str) -> None:
    """From 100 tasks nothing is lost; `seq` has no gap and is in the order of the acknowledgements."""
    commits = Counter[str]()
    order: list[int] = []
    vectors = np.eye(100, 256, dtype=np.float32)
    async with Memory.open(store) as memory:

        async def write(task: int) -> None:
            for number in range(3):
                record = await memory.add(f"row {task} {number}", HOME, embedding=vectors[task])
                order.append(record.seq)

        points.watch(lambda point: commits.update([point]))
        try:
            async with create_task_group() as tasks:
                for task in range(100):
                    tasks.start_soon(write, task)
        finally:
            points.watch(None)
        assert order == list(range(1, 301))
        assert len(await memory.list(HOME, limit=1000)) == 300
    if store != "memory:":
        assert 3 <= commits["after_commit"] < 100


async def test_one_of_many_tasks_fails(store: str) -> None:
    """A call that is refused while others wait with it raises its own error, and theirs are written."""
    refused: list[int] = []
    async with Memory.open(store) as memory:
        await memory.add("the text", HOME, key="taken")

        async def write(number: int) -> None:
            try:
                await memory.add(f"row {number}", HOME, key="taken" if number % 7 == 0 else f"k{number}")
            except InvalidInput:
                refused.append(number)

        async with create_task_group() as tasks:
            for number in range(30):
                tasks.start_soon(write, number)
        assert sorted(refused) == [0, 7, 14, 21, 28]
        assert sorted(row.seq for row in await memory.list(HOME, limit=100)) == list(range(1, 27))


class Gate:
    """Work that keeps the writer busy until it is let go."""

    def __init__(self) -> None:
        self.begun = Event()
        self.go = Event()

    def __call__(self, transaction: Transaction) -> None:
        """Write something, then wait."""
        transaction.set_meta({"gate": "open"})
        self.begun.set()
        assert self.go.wait(10)


async def test_cancelled_while_waiting(store: str) -> None:
    """A call that is cancelled before its turn has written nothing, and those around it are not touched."""
    gate = Gate()
    async with Memory.open(store) as memory, create_task_group() as tasks:
        tasks.start_soon(memory._write, gate)
        await to_thread.run_sync(gate.begun.wait)
        tasks.start_soon(memory._write, lambda t: t.set_meta({"first": "1"}))
        await anyio.sleep(0.01)
        with move_on_after(0.01) as scope:
            await memory._write(lambda t: t.set_meta({"cancelled": "1"}))
        assert scope.cancelled_caught
        tasks.start_soon(memory._write, lambda t: t.set_meta({"last": "1"}))
        await anyio.sleep(0.01)
        gate.go.set()
        await memory._write(lambda t: None)
        found = set(await memory.read(lambda reader: dict(reader.meta())))
        assert found & {"gate", "first", "cancelled", "last"} == {"gate", "first", "last"}


async def test_cancelled_while_written(store: str) -> None:
    """A call that is cancelled while it is written ends when that is done: it is there as a whole."""
    gate = Gate()
    async with Memory.open(store) as memory, create_task_group() as tasks:
        with move_on_after(0.02) as scope:
            tasks.start_soon(release_later, gate)
            await memory._write(gate)
        assert scope.cancelled_caught
        assert (await memory.read(lambda reader: dict(reader.meta())))["gate"] == "open"


async def release_later(gate: Gate) -> None:
    """Let the work go on after its call was cancelled."""
    await anyio.sleep(0.06)
    gate.go.set()


async def test_waiting_takes_no_thread(tmp_path: Path) -> None:
    """While many writes wait for a slow one, reads are answered: no worker thread is kept by a write."""
    gate = Gate()
    async with Memory.open(f"sqlite:///{tmp_path / 'a.db'}") as memory:
        await memory.add("there", HOME)
        async with create_task_group() as tasks:
            tasks.start_soon(memory._write, gate)
            await to_thread.run_sync(gate.begun.wait)
            for _ in range(50):
                tasks.start_soon(memory._write, lambda t: None)
            with anyio.fail_after(5):
                assert [row.text for row in await memory.list(HOME)] == ["there"]
            gate.go.set()


async def test_close_drains(tmp_path: Path) -> None:
    """Closing finishes what was asked for before it, in order, and refuses what comes after."""
    url, gate, done = f"sqlite:///{tmp_path / 'a.db'}", Gate(), list[int]()
    memory = await Memory.open(url).__aenter__()

    async def write(number: int) -> None:
        await memory._write(lambda t: t.set_meta({f"n{number}": "1"}))
        done.append(number)

    async with create_task_group() as tasks:
        tasks.start_soon(memory._write, gate)
        await to_thread.run_sync(gate.begun.wait)
        for number in range(20):
            tasks.start_soon(write, number)
        await anyio.sleep(0.02)
        tasks.start_soon(memory.close)
        await anyio.sleep(0.02)
        with pytest.raises(StoreClosed):
            await memory.add("late", HOME)
        gate.go.set()
    assert done == list(range(20))
    backend = open_backend(url)
    assert {f"n{number}" for number in range(20)} <= set(backend.read(lambda reader: reader.meta()))
    backend.close()


CHILD = """
import os, sys
import anyio
from mars.memory import points
from mars.memory.backends.sql import SqlBackend
from mars.memory.engine import Memory
from mars.testing import KillPoint, RandomEmbedder

class Early(SqlBackend):
    '''Acknowledges a group first and commits it when the next one begins: what no backend may do.'''
    owed = None
    def _commit(self, wire):
        self.owed = wire
    def _begin(self, wire, known):
        owed, self.owed = self.owed, None
        if owed is not None:
            super()._commit(owed)
        return super()._begin(wire, known)

async def main(url, point, hits, sort, tasks, rows):
    backend = {"right": SqlBackend, "sabotaged": Early}[sort](url)
    embedder = RandomEmbedder()
    async with Memory.open(backend, embedder=embedder) as memory:
        async def write(task):
            for number in range(int(rows)):
                text = f"{task}-{number}"
                vector = embedder.embed([text])[0]
                await memory.add(text, ("user-1",), idempotency_key=text, embedding=vector)
                os.write(1, f"{text}\\n".encode())
        with KillPoint(point, int(hits)):
            async with anyio.create_task_group() as group:
                for task in range(int(tasks)):
                    group.start_soon(write, task)

anyio.run(main, *sys.argv[1:])
"""


async def lost(url: str, point: str, hits: int, sort: str, tasks: int) -> tuple[int, int]:
    """Have a child killed at a point; return how many of its writes were acknowledged, and how many of those lost."""
    line = [sys.executable, "-c", CHILD, url, point, str(hits), sort, str(tasks), str(ROWS)]
    ended = await anyio.run_process(line, check=False, stderr=None, env=dict(os.environ))
    assert ended.returncode == -9
    acknowledged = set(ended.stdout.decode().split())
    async with Memory.open(url, embedder=RandomEmbedder()) as memory:
        stored = await memory.list(HOME, limit=1000)
        vectors = await memory.read(lambda reader: reader.vectors([row.id for row in stored]))
        assert len(vectors) == len(stored)
        assert sorted(row.seq for row in stored) == list(range(1, len(stored) + 1))
        texts = [f"{task}-{number}" for task in range(tasks) for number in range(ROWS)]
        again = await memory.add_many([NewRecord(text=text, namespace=HOME, idempotency_key=text) for text in texts])
        assert again.skipped == len(stored)
        assert sorted(row.text for row in await memory.list(HOME, limit=1000)) == sorted(texts)
    return len(acknowledged), len(acknowledged - {row.text for row in stored})


@pytest.mark.parametrize("hits", [1, 6])  # the sixth commit of four tasks holds a second write: one was acknowledged
@pytest.mark.parametrize("point", points.COMMIT)
async def test_killed(tmp_path: Path, point: str, hits: int) -> None:
    """After a kill before or after any commit, all that was acknowledged is there, whole, and a retry adds the rest."""
    acknowledged, gone = await lost(f"sqlite:///{tmp_path / 'a.db'}", point, hits, "right", 4)
    assert gone == 0
    assert (acknowledged > 0) == (hits > 1)


async def test_killed_and_sabotaged(tmp_path: Path) -> None:
    """With the acknowledgement moved before the commit, the same kill loses what was acknowledged: the test can see."""
    assert await lost(f"sqlite:///{tmp_path / 'a.db'}", "before_commit", 6, "right", 1) == (5, 0)
    assert await lost(f"sqlite:///{tmp_path / 'b.db'}", "before_commit", 6, "sabotaged", 1) == (6, 1)


async def test_a_lane_answers_one_at_a_time_each_alone() -> None:
    """What waits is answered in its order by one thread, in the context of whoever asked; one that fails, alone."""
    seen: list[tuple[int, str, int]] = []
    lane = Lane()

    def question(number: int) -> int:
        if number == 3:
            raise InvalidInput("no")
        seen.append((number, who.get(), threading.get_ident()))
        return number

    async def ask(number: int) -> None:
        who.set(f"caller {number}")
        with suppress(InvalidInput):
            answers.append(await lane.ask(partial(question, number)))

    answers: list[int] = []
    async with create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(ask, number)
    lane.close()
    assert sorted(answers) == [number for number in range(20) if number != 3]
    assert [(number, name) for number, name, _ in seen] == [(one, f"caller {one}") for one in range(20) if one != 3]
    assert len({thread for *_, thread in seen}) == 1
    with pytest.raises(StoreClosed):
        await lane.ask(lambda: 1)


async def test_a_thread_that_cannot_start_leaves_nothing_behind() -> None:
    """Where the system gives no thread the call fails at once; the next one is answered, and nothing of the first."""
    lane, seen = Lane(), list[str]()
    usual = threading.stack_size(1 << 60)  # more than a process has addresses
    try:
        with pytest.raises(RuntimeError, match="thread"):
            await lane.ask(lambda: seen.append("first"))
    finally:
        threading.stack_size(usual)
    with fail_after(20):
        await lane.ask(lambda: seen.append("second"))
    lane.close()
    assert seen == ["second"]


async def test_a_question_is_taken_back_before_its_turn_and_finished_after() -> None:
    """A cancelled call of a lane whose turn has not come is never answered; one that has begun ends first."""
    lane, begun, go, seen = Lane(), Event(), Event(), []

    def slow() -> None:
        begun.set()
        go.wait(60)
        seen.append("slow")

    async def ask(scope: CancelScope, question: Callable[[], None]) -> None:
        with scope:
            await lane.ask(question)

    first, second = CancelScope(), CancelScope()
    async with create_task_group() as tasks:
        tasks.start_soon(ask, first, slow)
        await to_thread.run_sync(begun.wait, 60)
        tasks.start_soon(ask, second, lambda: seen.append("second"))
        await anyio.wait_all_tasks_blocked()
        first.cancel()
        second.cancel()
        await anyio.wait_all_tasks_blocked()
        assert seen == []
        go.set()
    lane.close()
    assert seen == ["slow"]


def test_points_have_names() -> None:
    """A kill point that is not there, or a count below 1, is refused."""
    with pytest.raises(InvalidSetting, match="before_commit"):
        KillPoint("somewhere")
    with pytest.raises(InvalidSetting):
        KillPoint("before_commit", 0)
