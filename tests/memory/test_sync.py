"""The blocking twin of the memory: every method, in plain functions, threads and notebooks."""

from __future__ import annotations

import inspect
import threading

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


async def test_in_a_notebook() -> None:
    """Where an event loop is running already, the twin works all the same."""
    with Memory.open_sync("memory:") as memory:
        memory.add("text", HOME)
        assert len(memory.list(HOME)) == 1


def test_from_threads() -> None:
    """Several threads may share one twin."""
    with Memory.open_sync("memory:") as memory:

        def work(number: int) -> None:
            for place in range(10):
                memory.add(f"row {number} {place}", HOME)
                memory.recall("row", namespace=HOME)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(row.seq for row in memory.list(HOME)) == list(range(1, 41))


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
