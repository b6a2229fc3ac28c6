"""The blocking twin of the memory: every method, in plain functions, threads and notebooks."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from mars.errors import InvalidText
from mars.memory.engine import Memory
from mars.memory.records import Grade, NewRecord
from mars.memory.sync import SyncMemory
from mars.testing import FixedClock

HOME = ("user-1",)


@pytest.mark.wheel
def test_in_a_plain_function(store: str) -> None:
    """Without any event loop the twin stores, recalls and grades."""
    clock = FixedClock()
    with Memory.open_sync(store, clock=clock) as memory:
        assert isinstance(memory, SyncMemory)
        record = memory.add("The heron nests by the weir.", HOME)
        clock.advance(days=3)
        (hit,) = memory.recall("heron", namespace=HOME)
        assert hit.record == record
        assert memory.used(record.id, Grade.GOOD, "t")[0].uses == 1
        assert memory.original.clock is clock


def share(memory: SyncMemory, count: int = 2) -> list[str]:
    """Use one memory from several threads at once; return what was not as promised."""
    complaints: list[str] = []

    def work(number: int) -> None:
        for place in range(10):
            text = f"row {number} {place}"
            try:
                if memory.add(text, HOME).text != text:
                    complaints.append("an answer went to another thread")
                memory.recall("row", namespace=HOME)
            except Exception as error:  # noqa: BLE001 - whatever a thread is told, this one has to know
                complaints.append(f"{type(error).__name__}: {error}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if sorted(row.seq for row in memory.list(HOME)) != list(range(1, 10 * count + 1)):
        complaints.append("records are missing, or seq has a gap")
    return complaints


def test_from_threads(store: str) -> None:
    """Several threads may share one twin."""
    with Memory.open_sync(store) as memory:
        assert share(memory, 4) == []


class Mixing(SyncMemory):
    """Sabotaged: keeps what is being done in one place for all threads."""

    meeting = threading.Barrier(2)
    met = 0

    def _run(self, function: Callable[[], Awaitable[Any]]) -> Any:
        self.task = self._running().start_task_soon(function)
        if threading.current_thread() is not threading.main_thread():
            self.meeting.wait(20)
            self.met += 1
        return self.task.result()


def test_threads_that_are_mixed_up() -> None:
    """Sabotaged by a twin that does not keep its callers apart, the same check complains."""
    with Mixing(Memory.open("memory:")) as memory:
        assert "an answer went to another thread" in share(memory)
        assert memory.met > 0


async def store_and_list(memory: SyncMemory) -> list[str]:
    """Use a twin while an event loop runs in this thread; return what was not as promised."""
    try:
        memory.add("text", HOME)
        return [] if len(memory.list(HOME)) == 1 else ["what was added is not there"]
    except RuntimeError as error:
        return [str(error)]


async def test_in_a_notebook() -> None:
    """Where an event loop is running already, the twin works all the same."""
    with Memory.open_sync("memory:") as memory:
        assert await store_and_list(memory) == []


class Naive(SyncMemory):
    """Sabotaged: runs each call in an event loop of the caller's thread."""

    asked = 0

    def _run(self, function: Callable[[], Awaitable[Any]]) -> Any:
        self.asked += 1
        return anyio.run(function)


async def test_in_a_notebook_naively() -> None:
    """Sabotaged by a twin that begins a loop in the caller's thread, the same check complains."""
    with Naive(Memory.open("memory:")) as memory:
        (complaint,) = await store_and_list(memory)
        assert "asyncio" in complaint
        assert memory.asked == 1


def test_errors() -> None:
    """An error of the memory is the caller's, and the memory goes on."""
    with Memory.open_sync("memory:") as memory:
        with pytest.raises(InvalidText):
            memory.add("", HOME)
        assert memory.add_many([NewRecord(text="text", namespace=HOME)]).added == 1


def test_complete() -> None:
    """Every asynchronous method of the memory has its twin, of the same name, docstring and parameters."""
    names = {
        name
        for name, value in inspect.getmembers(Memory, inspect.iscoroutinefunction)
        if not name.startswith("_") and name != "close"
    }
    assert {name for name in names if not hasattr(SyncMemory, name)} == set()
    for name in names:
        assert inspect.signature(getattr(SyncMemory, name)) == inspect.signature(getattr(Memory, name))
        assert getattr(SyncMemory, name).__doc__ == getattr(Memory, name).__doc__
