"""From asynchronous to blocking: how every class of MARS gets a synchronous twin without a method written twice.

```
class SyncMemory(Twin[Memory]):
    add = blocking(Memory.add)
    recall = blocking(Memory.recall)
```

A `Twin` runs its asynchronous original on an event loop in a thread of its own. So it works in a plain script, in a
notebook whose event loop is running, and from several threads at once. Parameters, results and errors are those of the
original method; type checkers see them too.
"""

from __future__ import annotations

import asyncio
import concurrent.futures.thread  # noqa: F401 - see `_close_all`
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, AbstractContextManager, ExitStack
from threading import Event
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar

from anyio import CancelScope, EndOfStream, create_memory_object_stream, to_thread
from anyio.from_thread import BlockingPortal, start_blocking_portal
from anyio.streams.memory import MemoryObjectSendStream

from mars.errors import NotOpen

Original = TypeVar("Original")
Original_co = TypeVar("Original_co", covariant=True)
Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


_left: list[object] = []
"""What a forked child has of its parent's twins, kept so that it is never closed here: its threads are the parent's."""


_open: list[Twin[Any]] = []
"""Twins whose loops run in this process."""


def _close_all() -> None:
    """Close what is still open when the program ends: Python waits for the threads of a loop before it ends itself."""
    with ExitStack() as closing:
        for twin in _open:
            closing.callback(twin.close)


# As `concurrent.futures` does, and after it, so that this runs first; `atexit` would come when Python waits already.
getattr(threading, "_register_atexit", lambda call: None)(_close_all)


class Twin(Generic[Original_co]):
    """The blocking twin of an asynchronous context manager that yields the original.

    Use it in a `with` statement, or call `open` and `close`. Every call blocks the calling thread until the original is
    done. An interrupt (Ctrl-C) cancels the call. Raises `NotOpen` when used before it was opened, after it was
    closed, or in a forked child, which has to open one of its own, and when opened twice; and `RuntimeError` from
    within its own event loop.
    """

    def __init__(self, opening: AbstractAsyncContextManager[Original_co]) -> None:
        self._opening = opening
        self._process = os.getpid()
        self._portal: BlockingPortal | None = None
        self._thread: AbstractContextManager[BlockingPortal] | None = None
        self._entered: AbstractContextManager[Original_co] | None = None
        self._original: Original_co | None = None

    @property
    def original(self) -> Original_co:
        """The asynchronous object behind the twin, for reading its plain attributes."""
        if self._original is None:
            raise NotOpen(f"{type(self).__name__} is not open: use it in a with statement, or call open() first")
        return self._original

    def open(self) -> Self:
        """Start the event loop's thread and open the original; the counterpart of `close`."""
        if self._portal is not None:
            raise NotOpen(f"{type(self).__name__} is already open: use it as it is, or close() it first")
        self._process = os.getpid()
        self._thread = start_blocking_portal("asyncio", name="mars")
        self._portal = self._thread.__enter__()
        try:
            self._entered = self._portal.wrap_async_context_manager(self._opening)
            self._original = self._entered.__enter__()
        except BaseException as error:
            self._entered = None
            self._stop(type(error), error, error.__traceback__)
            raise
        _open.append(self)
        return self

    def close(self) -> None:
        """Close the original and stop the thread; idempotent."""
        self.__exit__(None, None, None)

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        entered, self._entered, self._original = self._entered, None, None
        if self in _open:
            _open.remove(self)
        if self._process != os.getpid():
            _left.append((entered, self._thread))
            self._thread = self._portal = None
            return
        try:
            if entered is not None:
                entered.__exit__(kind, error, traceback)
        finally:
            self._stop(kind, error, traceback)

    def _stop(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        thread, self._thread, self._portal = self._thread, None, None
        if thread is not None:
            thread.__exit__(kind, error, traceback)

    def _running(self) -> BlockingPortal:
        """Return the way into the event loop."""
        name = type(self).__name__
        if self._portal is None:
            raise NotOpen(f"{name} is not open: use it in a with statement, or call open() first")
        if self._process != os.getpid():
            raise NotOpen(f"{name} was opened in the parent of this process: open another after the fork")
        return self._portal

    def _run(self, function: Callable[[], Awaitable[Result]]) -> Result:
        """Run an asynchronous function of no arguments on the twin's event loop and return its result."""
        return _wait(self._running().start_task_soon(function))

    async def _arun(self, function: Callable[[], Awaitable[Result]]) -> Result:
        """Do what `_run` does for a coroutine on another event loop, which goes on meanwhile."""
        return await asyncio.wrap_future(self._running().start_task_soon(function))

    def _iterate(self, function: Callable[[], AsyncIterator[Result]]) -> Iterator[Result]:
        """Yield what an asynchronous iterator yields, one item at a time; leaving early cancels it."""
        portal = self._running()
        # The iterator stays in one task: its cancel scopes and context variables must not change tasks between items.
        send, receive = create_memory_object_stream[Result](0)
        ended = Event()
        task = portal.start_task_soon(_pump, function, send, ended)
        try:
            while True:
                try:
                    yield portal.call(receive.receive)
                except EndOfStream:
                    break
            task.result()
        finally:
            task.cancel()
            ended.wait()
            portal.call(receive.aclose)


class Openable(ABC):
    """What blocking functions open and close, for ``with`` and ``async with`` alike.

    A subclass says how it is opened and closed; each object is opened once.
    """

    @abstractmethod
    def _begin(self) -> None:
        """Open it; blocks."""

    @abstractmethod
    def close(self) -> None:
        """Finish what is in progress and release what was opened; idempotent."""

    async def aclose(self) -> None:
        """Do what `close` does without blocking the event loop; a cancelled caller is closed all the same."""
        with CancelScope(shield=True):
            await to_thread.run_sync(self.close)

    def __enter__(self) -> Self:
        self._begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return await to_thread.run_sync(self.__enter__)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


async def _pump(
    function: Callable[[], AsyncIterator[Result]], send: MemoryObjectSendStream[Result], ended: Event
) -> None:
    try:
        async with send:
            iterator = function()
            try:
                async for item in iterator:
                    await send.send(item)
            finally:
                if isinstance(iterator, AsyncGenerator):
                    await iterator.aclose()
    finally:
        ended.set()


def _wait(future: Future[Result]) -> Result:
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


def blocking(
    method: Callable[Concatenate[Original, Parameters], Awaitable[Result]],
) -> Callable[Concatenate[Twin[Original], Parameters], Result]:
    """Return the blocking form of an asynchronous method, for the body of a `Twin`."""

    def call(twin: Twin[Original], /, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        original = twin.original
        return twin._run(lambda: method(original, *args, **kwargs))

    _describe(call, method)
    return call


def streaming(
    method: Callable[Concatenate[Original, Parameters], AsyncIterator[Result]],
) -> Callable[Concatenate[Twin[Original], Parameters], Iterator[Result]]:
    """Return the plain-iterator form of a method that returns an asynchronous iterator."""

    def call(twin: Twin[Original], /, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Iterator[Result]:
        original = twin.original
        return twin._iterate(lambda: method(original, *args, **kwargs))

    _describe(call, method)
    return call


def _describe(call: Any, method: Callable[..., Any]) -> None:
    """Give `call` the name and the docstring of `method`; its signature is found through ``__wrapped__``."""
    call.__name__ = method.__name__
    call.__qualname__ = method.__qualname__
    call.__doc__ = method.__doc__
    call.__module__ = method.__module__
    call.__wrapped__ = method
