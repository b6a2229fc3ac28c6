"""A watchdog of the event loop: which callback kept all others waiting, for how long, and what it did meanwhile.

Asyncio runs one callback after the other; one that computes or waits stops everything else. `LoopWatchdog` times each
of them, by the clock on the wall and by the processor time of the loop's thread, so that a machine that was busy with
something else is told from code that blocks:

``ran`` is what the thread computed; ``queued`` is how long it was ready and the machine ran something else (Linux tells
that); ``others`` is what other threads of this process computed meanwhile, for which it may have waited (Python's
interpreter lock). What is left, the thread spent waiting in a call that blocks. A callback has *blocked* the loop for
as long as it ran or waited so. Python's collector of garbage is counted apart (`collecting`, `LoopWatchdog.collected`):
it may strike in any callback and takes the longer the more objects there are, whoever made them; a server that does
``gc.collect(); gc.freeze()`` once it is up keeps it short.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
import time
import traceback
from asyncio.events import Handle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

__all__ = ["LoopWatchdog", "Stall"]

FRAMES = 12
"""So many frames of a stack are kept."""

_RUN: Callable[[Handle], None] = Handle._run


@dataclass(frozen=True, slots=True, kw_only=True)
class Stall:
    """One callback that took long. All times are in seconds."""

    wall: float
    """By the clock on the wall."""
    ran: float
    """Processor time of the loop's thread."""
    queued: float
    """How long the thread was ready and the machine ran something else; 0 where the system does not tell."""
    others: float
    """Processor time of this process's other threads."""
    collecting: float
    """Of `ran`, what Python's collector of garbage took."""
    what: str
    """The callback."""
    stack: str
    """Where it was in the midst of it, innermost last; empty where it was over before somebody could look."""

    @property
    def blocked(self) -> float:
        """How long the loop stood still by what the callback did: computing, or waiting in a call that blocks."""
        return max(0.0, self.ran - self.collecting) + max(0.0, self.wall - self.ran - self.queued - self.others)

    def plain(self) -> dict[str, Any]:
        """Return it as JSON values, in milliseconds."""
        names = ("blocked", "wall", "ran", "queued", "others", "collecting")
        return {**{name: round(1000 * getattr(self, name), 1) for name in names}, "what": self.what, "at": self.stack}


class LoopWatchdog:
    """Times every callback of the event loop that it is entered on: ``with LoopWatchdog() as dog:`` in a coroutine.

    It is a plain context manager, and there is one at a time. Each callback costs some ten microseconds more. Raises
    `RuntimeError` outside of asyncio's own event loop.
    """

    def __init__(self, limit: float = 0.02) -> None:
        self.limit = limit
        """Seconds that a callback may take."""
        self.stalls: list[Stall] = []
        """Callbacks that took longer by the wall, in the order in which they ended."""
        self.callbacks = 0
        """How many were timed."""
        self.collected = 0.0
        """Seconds of the longest collection of garbage, in whatever thread: all others stand still meanwhile."""
        self._thread = 0
        self._began = 0.0
        self._collected = self._collecting = 0.0
        self._stack = ""
        self._over = threading.Event()
        self._run = _RUN
        self._waits: int | None = None

    @property
    def worst(self) -> Stall | None:
        """The callback that blocked longest; None where none took longer than the limit."""
        return max(self.stalls, key=lambda stall: stall.blocked, default=None)

    def assert_never_blocked(self, limit: float | None = None) -> None:
        """Raise `AssertionError`, naming the code, where a callback has blocked for longer than a limit in seconds."""
        worst, limit = self.worst, self.limit if limit is None else limit
        if worst is not None and worst.blocked > limit:
            raise AssertionError(
                f"the event loop was blocked for {1000 * worst.blocked:.0f} ms (limit {1000 * limit:.0f} ms) by "
                f"{worst.what}: {worst.plain()}"
            )

    def __enter__(self) -> Self:
        loop = asyncio.get_running_loop()
        if not isinstance(loop, asyncio.BaseEventLoop) or self._thread or Handle._run is not self._run:
            raise RuntimeError("one LoopWatchdog at a time watches a loop of asyncio's own")
        self._thread = threading.get_ident()
        stat = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")
        self._waits = os.open(stat, os.O_RDONLY) if stat.exists() else None
        gc.callbacks.append(self._garbage)
        Handle._run = self._timed()  # type: ignore[method-assign, assignment]
        threading.Thread(target=self._look, name="mars-watchdog", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        Handle._run = self._run  # type: ignore[method-assign, assignment]
        gc.callbacks.remove(self._garbage)
        self._over.set()
        if self._waits is not None:
            os.close(self._waits)
            self._waits = None

    def _timed(self) -> Callable[[Handle], None]:
        """Return what runs a callback, and notes it where it took long."""
        run = self._run

        def timed(handle: Handle) -> None:
            if threading.get_ident() != self._thread or self._over.is_set():
                run(handle)
                return
            queued, ran, all_ran = self._queued(), time.thread_time(), time.process_time()
            self._collected, self._stack = 0.0, ""
            before = self._began = time.perf_counter()
            try:
                run(handle)
            finally:
                wall = time.perf_counter() - before
                self._began = 0.0
                self.callbacks += 1
                if wall > self.limit and not self._over.is_set():
                    own = time.thread_time() - ran
                    stall = Stall(
                        wall=wall,
                        ran=own,
                        queued=self._queued() - queued,
                        others=max(0.0, time.process_time() - all_ran - own),
                        collecting=self._collected,
                        what=_name(handle),
                        stack=self._stack,
                    )
                    self.stalls.append(stall)

        return timed

    def _queued(self) -> float:
        if self._waits is None:
            return 0.0
        return int(os.pread(self._waits, 100, 0).split()[1]) / 1e9

    def _garbage(self, phase: str, _: dict[str, int]) -> None:
        now = time.thread_time()
        if phase == "start":
            self._collecting = now
            return
        self.collected = max(self.collected, now - self._collecting)
        if threading.get_ident() == self._thread:
            self._collected += now - self._collecting

    def _look(self) -> None:
        """Look from another thread, from time to time, what a callback is doing that takes long."""
        while not self._over.wait(self.limit / 4):
            began = self._began
            if began and time.perf_counter() - began > self.limit / 2:
                frame = sys._current_frames().get(self._thread)
                if frame is not None and began == self._began:
                    self._stack = _shown(frame)


def _name(handle: Handle) -> str:
    callback = handle._callback  # type: ignore[attr-defined]
    task = getattr(callback, "__self__", None)
    return repr(task if isinstance(task, asyncio.Task) else callback)[:300]


def _shown(frame: FrameType) -> str:
    found = traceback.extract_stack(frame)[-FRAMES:]
    return " > ".join(f"{'/'.join(Path(one.filename).parts[-2:])}:{one.lineno} {one.name}" for one in found)
