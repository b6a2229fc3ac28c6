"""Holding a conversation: one run at a time, here and in other processes.

A run holds the lease of its conversation (`mars.persistence.leases`), which one heartbeat renews for all runs of a
`Mars`. Where a conversation is held already, the caller's policy decides. In this process runs wait in line; between
processes whoever looks first after the lease is free or has run out is next.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from anyio import CancelScope, Event, move_on_after
from langgraph.runtime import RunControl

from mars.errors import ConversationBusy, InvalidSetting, StoreError
from mars.memory.interfaces import Namespace
from mars.watching import Watch, keep_apart, watch

if TYPE_CHECKING:
    from mars.persistence.journal import Begin, Claim, Journal

OnBusy = Literal["reject", "queue", "cancel", "fork"]
"""What to do where another run holds the conversation: raise `ConversationBusy`, wait for it, end it and go on in its
place, or go on in a copy of the conversation."""

WAIT = (0.01, 0.5)
"""Seconds between two looks at a lease that somebody else holds: the first, and the longest."""

LEAVING = 1.0
"""The most seconds that closing waits for runs to end by themselves; a generator that somebody still holds does not."""


def thread_of(namespace: Namespace, conversation: str) -> str:
    """Return the thread of a conversation: its name within its namespace."""
    return json.dumps([list(namespace), conversation], ensure_ascii=False, separators=(",", ":"))


def conversation_of(thread: str) -> tuple[Namespace, str]:
    """Return the namespace and the name of the conversation of a thread."""
    namespace, conversation = json.loads(thread)
    return tuple(namespace), conversation


@dataclass(frozen=True, slots=True)
class Ask:
    """What a caller wants of a conversation."""

    namespace: Namespace
    """Whose it is."""
    conversation: str
    """Its name in there."""
    begin: Callable[[str], Begin] | None
    """Makes a new turn, given the name; None to resume one."""
    once: str | None = None
    """Id of the turn where the caller gave a key: it is begun once, and in no copy."""
    task: str = ""
    """What is asked, where there is a key."""

    @property
    def thread(self) -> str:
        """The thread of the conversation."""
        return thread_of(self.namespace, self.conversation)


@dataclass(slots=True, eq=False)
class Run:
    """A run that holds its conversation."""

    claim: Claim
    """The lease, and the turn."""
    control: RunControl = field(default_factory=RunControl)
    """Ends the run at the next step."""
    stopped: str = ""
    """Why it is to stop at once: cancelled, or lost; empty while it runs."""
    rest: str = ""
    """What is noted of a turn that rests unfinished."""
    over: bool = False
    """Whether its turn is finished."""
    released: bool = False
    """Whether the lease was given back with the end of the turn."""
    left: Event = field(default_factory=Event)
    """Set when the lease was given back."""
    _pump: asyncio.Task[None] | None = None

    def stop(self, why: str) -> None:
        """End what the run is waiting for."""
        self.stopped = self.stopped or why
        if self._pump is not None:
            self._pump.cancel()

    async def follow(self, source: AsyncGenerator[Any, None], seen: Watch, listen: bool) -> AsyncGenerator[Any, None]:
        """Run the graph until it ends or the run is stopped; yield the events of the turn, if they are listened to.

        The graph runs in a task of its own, which is cancelled once and then has the time to save what it has: a
        cancel scope of AnyIO would cancel its clean-up again and again.
        """
        queue: asyncio.Queue[Any] = asyncio.Queue()
        seen.tell = queue.put_nowait if listen else None
        self._pump = pump = asyncio.get_running_loop().create_task(_pumped(source, seen))
        pump.add_done_callback(
            lambda _: queue.put_nowait(None)
        )  # a task that is cancelled before it begins runs nothing
        if self.stopped:
            pump.cancel()
        try:
            while (item := await queue.get()) is not None:
                yield item
            await asyncio.wait([pump])
        finally:
            pump.cancel()
            with CancelScope(shield=True):
                await asyncio.wait([pump])
        if not pump.cancelled():
            pump.result()
        elif not self.stopped:
            raise asyncio.CancelledError


async def _pumped(source: AsyncGenerator[Any, None], seen: Watch) -> None:
    watch(seen)
    keep_apart()
    async with aclosing(source):
        async for part in source:
            seen.asked += [one.value for one in part.get("__interrupt__", ())]


class Holder:
    """Takes conversations for runs, and gives them back; see the module."""

    def __init__(self, journal: Journal, lease: float) -> None:
        """Hold conversations of a journal; `lease` is in seconds."""
        self._journal = journal
        self._lease = lease
        self._runs: dict[str, Run] = {}
        self._lines: dict[str, deque[list[Event]]] = {}
        self._beat: asyncio.Task[None] | None = None
        self._draining = False

    async def close(self) -> None:
        """End what still runs, whose listener has left it, give its conversation back, and end the heartbeat."""
        runs = list(self._runs.values())
        for run in runs:
            run.stop("cancelled")
        with move_on_after(LEAVING):
            for run in runs:
                await run.left.wait()
        for run in runs:
            await self.leave(run)
        beat, self._beat = self._beat, None
        if beat is not None and not beat.done():  # it is done where its event loop has ended
            beat.cancel()
            await asyncio.gather(beat, return_exceptions=True)

    def drain(self) -> None:
        """Let every run end at its next step, and begin none; callable from a signal handler."""
        self._draining = True
        for run in list(self._runs.values()):
            run.control.request_drain("shutdown")

    async def stop(self, thread: str) -> bool:
        """End the run of a conversation, here or in another process; False where there is none."""
        run = self._runs.get(thread)
        if run is None:
            return await self._journal.ask_to_stop(thread)
        run.stop("cancelled")
        await run.left.wait()
        return True

    async def claim(self, ask: Ask, on_busy: OnBusy) -> tuple[Ask, Claim]:
        """Take a conversation, by the caller's policy where it is held; return what was taken, which may be a copy."""
        check_choice(on_busy, OnBusy, "on_busy")
        claim = await self._try(ask)
        if claim is not None:
            return ask, claim
        if on_busy == "reject":
            lease = await self._journal.held(ask.thread)
            who = f" ({lease})" if lease else ""
            raise ConversationBusy(
                f"another run holds conversation {ask.conversation!r}{who}: wait for it with "
                "on_busy='queue' (a command with --wait), end it with 'cancel', or go on in a copy with 'fork'"
            )
        if on_busy == "fork":
            return await self._fork(ask)
        if on_busy == "queue":
            return ask, await self._queue(ask)
        return ask, await self._replace(ask)

    async def _try(self, ask: Ask, *, take_over: bool = False) -> Claim | None:
        if self._draining:
            raise ConversationBusy("this process is shutting down: run or resume elsewhere")
        begin = ask.begin(ask.conversation) if ask.begin is not None else None
        taking = asyncio.ensure_future(
            self._journal.claim(
                ask.thread, ask.conversation, str(os.getpid()), begin, take_over=take_over, once=ask.once
            )
        )
        try:
            return await asyncio.shield(taking)
        except asyncio.CancelledError:
            with CancelScope(shield=True):
                await self._give_back(taking)
            raise

    async def _give_back(self, taking: asyncio.Task[Claim | None]) -> None:
        """Return what was taken for a caller who is gone: without that others would wait until it runs out."""
        await asyncio.wait([taking])
        claim = None if taking.cancelled() or taking.exception() is not None else taking.result()
        if claim is not None:
            with suppress(StoreError):  # then it runs out
                await self._journal.leave(claim.fence)

    async def _replace(self, ask: Ask) -> Claim:
        """End the run that holds the conversation, and take its place."""
        run = self._runs.get(ask.thread)
        if run is not None:
            run.stop("cancelled")
            with move_on_after(self._lease):
                await run.left.wait()
        claim = await self._try(ask, take_over=True)
        assert claim is not None
        return claim._replace(replaced=True)

    async def _fork(self, ask: Ask) -> tuple[Ask, Claim]:
        def target(number: int) -> tuple[str, str]:
            name = f"{ask.conversation}~{number}"
            return thread_of(ask.namespace, name), name

        _, name = await self._journal.fork(ask.thread, target)
        copy = replace(ask, conversation=name)
        claim = await self._try(copy)
        if claim is None:
            raise ConversationBusy(f"another run holds the copy {name!r}: try again")
        return copy, claim

    async def _queue(self, ask: Ask) -> Claim:
        """Wait in line: in this process in the order of arrival, and among processes as chance has it."""
        line = self._lines.setdefault(ask.thread, deque())
        place = [Event()]
        line.append(place)
        wait, longest = WAIT
        try:
            while True:
                if line[0] is place:
                    claim = await self._try(ask)
                    if claim is not None:
                        return claim
                with move_on_after(wait):
                    await place[0].wait()
                place[0] = Event()
                wait = min(2 * wait, longest)
        finally:
            line.remove(place)
            self._call_next(ask.thread)

    def _call_next(self, thread: str) -> None:
        line = self._lines.get(thread)
        if line:
            line[0][0].set()
        elif line is not None:
            del self._lines[thread]

    def enter(self, claim: Claim) -> Run:
        """Return a run whose lease is renewed until it leaves."""
        run = Run(claim)
        self._runs[claim.fence.thread] = run
        if self._draining:
            run.control.request_drain("shutdown")
        if self._beat is None or self._beat.done():
            self._beat = asyncio.get_running_loop().create_task(self._beating())
        return run

    async def leave(self, run: Run) -> None:
        """Give a conversation back, once, and let the next in line have it."""
        if run.left.is_set():
            return
        fence = run.claim.fence
        if self._runs.get(fence.thread) is run:
            del self._runs[fence.thread]
        try:
            with CancelScope(shield=True):
                if not run.released:
                    await self._journal.leave(fence, None if run.over else run.claim.turn, run.rest)
        finally:
            run.left.set()
            self._call_next(fence.thread)

    async def _beating(self) -> None:
        """Extend the leases of all runs, and stop those that lost theirs or were asked to."""
        while self._runs:
            await asyncio.sleep(self._lease / 3)
            runs = list(self._runs.values())
            try:
                kept = await self._journal.renew([run.claim.fence for run in runs]) if runs else {}
            except StoreError:
                continue  # the database may be back before the leases run out; if not, the fence refuses what is late
            for run in runs:
                if self._runs.get(run.claim.fence.thread) is run and kept.get(run.claim.fence, True):
                    run.stop("cancelled" if run.claim.fence in kept else "lost")


@contextmanager
def drain_on_sigterm(drain: Callable[[], object]) -> Iterator[None]:
    """Within this block, let SIGTERM drain runs instead of ending the process; for the main thread.

    `drain` is `Mars.drain`: each run ends after the step it is in, saved, and `resume` finishes it. The program then
    comes to its end by itself. Afterwards SIGTERM does what it did before.
    """
    before = signal.signal(signal.SIGTERM, lambda *_: drain())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def check_choice(value: str, choices: Any, name: str) -> None:
    """Raise `InvalidSetting` where a value is none of the choices of a `Literal`."""
    if value not in choices.__args__:
        raise InvalidSetting(f"{name} is one of {', '.join(choices.__args__)}; got {value!r}")
