"""The bridge: a synchronous twin of every asynchronous class, also inside a running event loop."""

import inspect
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

import anyio
import pytest

from mars.bridge import Twin, blocking, streaming
from mars.errors import NotOpen


class Adder:
    """An asynchronous thing to be twinned."""

    def __init__(self) -> None:
        self.sum = 0
        self.closed = False
        self.thread = 0
        self.ended = threading.Event()

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Self]:
        """Open it, and note that it was closed."""
        self.thread = threading.get_ident()
        async with anyio.create_task_group():
            yield self
        self.closed = True

    async def add(self, number: int, *, times: int = 1) -> int:
        """Add a number and return the sum."""
        await anyio.sleep(0)
        if number < 0:
            raise ValueError("negative")
        self.sum += number * times
        return self.sum

    async def up_to(self, end: int) -> AsyncIterator[int]:
        """Count from 0; a cancel scope is open between the items."""
        try:
            with anyio.CancelScope():
                for number in range(end):
                    if number == 7:
                        raise ValueError("seven")
                    yield number
                    await anyio.sleep(0)
        finally:
            self.ended.set()


class SyncAdder(Twin[Adder]):
    """The twin."""

    add = blocking(Adder.add)
    up_to = streaming(Adder.up_to)


def test_calls() -> None:
    """A call on the twin runs the original in another thread and returns its result."""
    adder = Adder()
    with SyncAdder(adder.opened()) as twin:
        assert twin.add(2) == 2
        assert twin.add(3, times=2) == 8
        assert twin.original is adder
        assert adder.thread != threading.get_ident()
    assert adder.closed


def test_errors() -> None:
    """An error of the original is the caller's, and the twin goes on."""
    with SyncAdder(Adder().opened()) as twin:
        with pytest.raises(ValueError, match="negative"):
            twin.add(-1)
        assert twin.add(1) == 1


def test_signature() -> None:
    """The twin's methods carry the original's name, docstring and parameters."""
    assert SyncAdder.add.__doc__ == Adder.add.__doc__
    assert SyncAdder.add.__name__ == "add"
    assert list(inspect.signature(SyncAdder.add).parameters) == ["self", "number", "times"]


async def test_inside_a_running_loop() -> None:
    """In a notebook, where an event loop is running already, the twin works all the same."""
    with SyncAdder(Adder().opened()) as twin:
        assert twin.add(5) == 5
        assert list(twin.up_to(3)) == [0, 1, 2]


def test_many_threads() -> None:
    """Several threads may use one twin at once."""
    with SyncAdder(Adder().opened()) as twin:
        threads = [threading.Thread(target=lambda: [twin.add(1) for _ in range(20)]) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert twin.add(0) == 100


def test_streams() -> None:
    """An asynchronous iterator becomes a plain one: in order, with its error, and ended when it is left early."""
    adder = Adder()
    with SyncAdder(adder.opened()) as twin:
        assert list(twin.up_to(4)) == [0, 1, 2, 3]
        seen: list[int] = []
        with pytest.raises(ValueError, match="seven"):
            seen.extend(twin.up_to(20))
        assert seen == list(range(7))
        adder.ended.clear()
        for number in twin.up_to(5):
            if number == 1:
                break
        assert adder.ended.wait(5)
        assert twin.add(1) == 1


LEFT_OPEN = """
from mars import Mars
mars = Mars.open_sync("memory:").open()
print(mars.run("The cat is called Miso.", user="ann").answer)
"""


@pytest.mark.parametrize(("sabotage", "ends"), [("", True), ("from mars import bridge; bridge._open.clear()", False)])
def test_a_program_that_closes_nothing_ends(sabotage: str, ends: bool) -> None:
    """Python does not wait for a twin that was left open; where nobody closes it, it would, for ever."""
    with subprocess.Popen([sys.executable, "-c", LEFT_OPEN + sabotage], stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "Noted.\n"
        try:
            assert program.wait(60 if ends else 2) == 0
        except subprocess.TimeoutExpired:
            assert not ends
        else:
            assert ends
        finally:
            program.kill()


def test_open_and_close() -> None:
    """A twin can be opened and closed by hand, closed twice, and not used outside that time."""
    adder = Adder()
    twin = SyncAdder(adder.opened())
    with pytest.raises(NotOpen, match="not open"):
        twin.add(1)
    assert twin.open() is twin
    with pytest.raises(NotOpen, match="already open"):
        twin.open()
    assert twin.add(1) == 1
    twin.close()
    twin.close()
    assert adder.closed
    with pytest.raises(NotOpen, match="not open"):
        twin.add(1)
    with pytest.raises(NotOpen, match="not open"):
        list(twin.up_to(1))
    with pytest.raises(NotOpen, match="not open"):
        twin._run(lambda: Adder().add(1))


def test_failed_opening() -> None:
    """If the original cannot be opened, its error is raised and no thread stays behind."""

    @asynccontextmanager
    async def broken() -> AsyncIterator[Adder]:
        raise OSError("no disk")
        yield Adder()

    before = threading.active_count()
    with pytest.raises(OSError, match="no disk"), SyncAdder(broken()):
        pass
    assert threading.active_count() == before
    twin = SyncAdder(broken())
    with pytest.raises(OSError, match="no disk"):
        twin.open()
    twin.close()
    with pytest.raises(NotOpen, match="not open"):
        twin.add(1)
