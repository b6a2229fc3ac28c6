"""The one thread that writes for a store: what waits at the same time is committed together.

Guarantees. *Order*: work runs in the order in which it was put, and is acknowledged in that order. *Alone*: work that
raises takes nothing else with it. *Late*: nothing is acknowledged before the commit that holds it has returned; if that
fails, all of its group fails. *Complete*: `Writer.close` finishes what was put before it.

The asynchronous caller waits for an event of its own loop; no thread is kept waiting with it, and the whole group is
acknowledged by a single call into the loop. The thread starts at the first write and ends when there is nothing to do.
A forked child begins with nothing to do: what its parent's calls wait for is its parent's.

A `Lane` is such a thread for questions.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextvars import copy_context
from functools import partial
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from time import monotonic
from typing import Any, Generic, TypeVar

from anyio import CancelScope, Event

from mars.errors import StoreClosed
from mars.memory import points
from mars.memory.interfaces import Failed, Transaction, outcome

__all__ = ["Lane", "Ticket", "Writer"]

Result = TypeVar("Result")
Post = Callable[..., object]

GROUP = 512
"""At most so many pieces of work are committed together."""

IDLE_SECONDS = 5.0
"""So long the thread waits for more before it ends."""

PATIENCE = 0.002
"""Seconds since its first question began, after which a `Lane` tells its next answer with all before it."""


class Ticket(Generic[Result]):
    """A piece of work that waits for its commit. Made within an event loop, which is told of the end."""

    __slots__ = ("_outcome", "done", "post", "taken", "work")

    def __init__(self, work: Callable[[Transaction], Result]) -> None:
        self.work = work
        self.post, self.done = _waiting()
        self.taken = False
        self._outcome: Result | Failed | None = None

    def settle(self, outcome: Result | Failed) -> None:
        """Note what came of the work."""
        self._outcome = outcome

    def result(self) -> Result:
        """Return what the work returned, or raise what it raised, once `done` is set."""
        if isinstance(self._outcome, Failed):
            raise self._outcome.error
        return self._outcome  # type: ignore[return-value]


class Writer:
    """A queue of work and the thread that does it; see the module for the guarantees."""

    _name, _group = "mars-writer", GROUP

    def __init__(self, commit: Callable[[Sequence[Callable[[Transaction], Any]]], list[Any]]) -> None:
        """Write by `commit`, which is `Backend.transact_all`. No thread runs yet."""
        self._commit = commit
        self._closed = False
        self._begin()

    def _begin(self) -> None:
        """Have an empty queue and no thread: at first, and in a forked child, which has none of its parent's."""
        self._process = os.getpid()
        self._queue: SimpleQueue[Ticket[Any] | None] = SimpleQueue()
        self._lock = Lock()
        self._thread: Thread | None = None

    def put(self, work: Callable[[Transaction], Result]) -> Ticket[Result]:
        """Queue work, to be called from an event loop; `StoreClosed` after `close`."""
        ticket = Ticket(work)
        if self._process != os.getpid():
            self._begin()
        with self._lock:
            if self._closed:
                raise StoreClosed("the memory is closed: nothing was written")
            if self._thread is None:
                thread = Thread(target=self._run, name=self._name, daemon=True)
                thread.start()  # where the system has no thread left nothing is queued, and the next call tries again
                self._thread = thread
            self._queue.put(ticket)
        return ticket

    async def perform(self, work: Callable[[Transaction], Result]) -> Result:
        """Do work and wait for its commit, which no thread waits for; return what the work returned.

        A call that is cancelled before its turn has come has written nothing; later it is finished first.
        """
        ticket = self.put(work)
        try:
            await ticket.done.wait()
        except BaseException:
            if not self.withdraw(ticket):
                with CancelScope(shield=True):
                    await ticket.done.wait()
            raise
        return ticket.result()

    def withdraw(self, ticket: Ticket[Any]) -> bool:
        """Take work back if its turn has not come, and tell whether that was so."""
        with self._lock:
            untouched, ticket.taken = not ticket.taken, True
        return untouched

    def close(self) -> None:
        """Finish what was put and end the thread; idempotent. Blocks."""
        if self._process != os.getpid():
            self._begin()
        with self._lock:
            self._closed = True
            thread = self._thread
            if thread is not None:
                self._queue.put(None)
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        while self._step():
            pass

    def _step(self) -> bool:
        """Do what waits, or wait for it; False when it is time to end."""
        group = self._next()
        if group:
            outcomes = self._outcomes(group)
            points.reach("before_acknowledgement")
            _acknowledge(group, outcomes)
        return group is not None

    def _next(self) -> list[Ticket[Any]] | None:
        """Return what waits, at least by the end of a while; None when the thread is to end."""
        queue = self._queue
        try:
            waiting = [queue.get(timeout=0.0 if self._closed else IDLE_SECONDS)]
        except Empty:
            waiting = []
        while waiting and len(waiting) < self._group and not queue.empty():  # nobody else takes from it
            waiting.append(queue.get_nowait())
        with self._lock:
            if not waiting and queue.empty():
                self._thread = None
                return None
            group = [ticket for ticket in waiting if ticket is not None and not ticket.taken]
            for ticket in group:
                ticket.taken = True
        return group

    def _outcomes(self, group: Sequence[Ticket[Any]]) -> list[Any]:
        try:
            return self._commit([ticket.work for ticket in group])
        except BaseException as error:  # noqa: BLE001 - whoever waits gets it, and the thread goes on
            return [Failed(error)] * len(group)


class Lane(Writer):
    """A thread that answers questions one after the other, for those that could not be answered at once in any case.

    Many that wait together cost one way to the thread and back; with a pool of threads each wakes one of its own, which
    then waits for the others. What is answered is told when nothing else waits, or with the first answer that comes
    `PATIENCE` or more after the first of these questions began. Taken back is what has not begun. Unlike `Writer`, it
    works in the context of whoever asks.
    """

    _name, _group = "mars-reader", 1

    def __init__(self) -> None:
        """No thread runs yet."""
        super().__init__(_answered)

    def _begin(self) -> None:
        super()._begin()
        self._done: list[tuple[Ticket[Any], Any]] = []
        self._due = 0.0

    async def ask(self, question: Callable[[], Result]) -> Result:
        """Return the answer to a question, or raise what it raises."""
        within = copy_context().run
        return await self.perform(lambda _: within(question))

    def _step(self) -> bool:
        """Answer what comes next, or wait for it; False when it is time to end."""
        group = self._next()
        if group:
            self._due = self._due if self._done else monotonic() + PATIENCE
            self._done += zip(group, self._outcomes(group), strict=True)
        if self._done and (self._queue.empty() or monotonic() >= self._due):
            done, self._done = self._done, []
            _acknowledge([ticket for ticket, _ in done], [answer for _, answer in done])
        return group is not None


def _answered(works: Sequence[Callable[[Any], Any]]) -> list[Any]:
    return [outcome(partial(work, None)) for work in works]


def _acknowledge(group: Sequence[Ticket[Any]], outcomes: Sequence[Any]) -> None:
    """Wake those who wait, in their order, with one call into each event loop."""
    loops: dict[Post, list[Ticket[Any]]] = {}
    for ticket, result in zip(group, outcomes, strict=True):
        ticket.settle(result)
        loops.setdefault(ticket.post, []).append(ticket)
    for post, tickets in loops.items():
        try:
            post(_wake, tickets)
        except RuntimeError:  # the loop has ended: nobody waits any more
            continue


def _wake(tickets: Sequence[Ticket[Any]]) -> None:
    for ticket in tickets:
        ticket.done.set()


class _Signal:
    """What one task of an asyncio loop waits for: an event for one, at a fraction of the time of asyncio's own."""

    __slots__ = ("_future", "_loop", "_set")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._set = False
        self._future: asyncio.Future[None] | None = None

    def set(self) -> None:
        """Let whoever waits go on; called within the loop."""
        self._set = True
        if self._future is not None and not self._future.done():
            self._future.set_result(None)

    def wait(self) -> Awaitable[None]:
        """Return what to await; again after a wait that was cancelled."""
        self._future = self._loop.create_future()
        if self._set:
            self._future.set_result(None)
        return self._future


def _waiting() -> tuple[Post, _Signal | Event]:
    """Return what calls a function within the running event loop from another thread, and an event of that loop."""
    try:
        loop = asyncio.get_running_loop()
        return loop.call_soon_threadsafe, _Signal(loop)
    except RuntimeError:
        post: Post = sys.modules["trio"].lowlevel.current_trio_token().run_sync_soon
        return post, Event()
