"""Ending a process at a named place in a write path, or at any instant, as a crash would."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from select import select
from types import TracebackType
from typing import Self

from mars.errors import InvalidSetting, ScriptError
from mars.memory import points
from mars.persistence.points import CALL_POINTS
from mars.persistence.points import POINTS as RUN_POINTS

__all__ = ["Fork", "KillPoint"]


class KillPoint:
    """Within its ``with`` block, ends this process by SIGKILL when a point was reached so many times.

    The points are those of `mars.memory.points` and `mars.persistence.points`. For child processes only: nothing is
    closed, flushed or returned. `dying` is called with the point just before, in the thread that reached it.
    """

    def __init__(self, point: str, hits: int = 1, dying: Callable[[str], object] | None = None) -> None:
        known = {**points.POINTS, **RUN_POINTS, **CALL_POINTS}
        if point not in known:
            raise InvalidSetting(f"there is no point {point!r}; choose one of {', '.join(known)}")
        if hits < 1:
            raise InvalidSetting(f"hits counts from 1; got {hits!r}")
        self._point = point
        self._left = hits
        self._dying = dying

    def __enter__(self) -> Self:
        points.watch(self.reached)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        points.watch(None)

    def reached(self, point: str) -> None:
        """Count a point that was reached; for a watcher that does more than to kill."""
        if point == self._point:
            self._left -= 1
            if self._left == 0:
                if self._dying is not None:
                    self._dying(point)
                os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class Fork:
    """A child of this process that runs one function and tells its parent through a pipe, up to its death."""

    pid: int
    """The child."""
    pipe: int
    """Where the parent reads."""

    @classmethod
    def start(cls, work: Callable[[Callable[[str], None]], object]) -> Fork:
        """Fork; the child calls `work` with a function that sends a line, and ends without any clean-up.

        Raises `ScriptError` where this process has more than one thread: what they held would be held for ever.
        """
        if threading.active_count() != 1:
            raise ScriptError(
                f"a process with {threading.active_count()} threads is not forked: fork before they start"
            )
        reading, writing = os.pipe()
        pid = os.fork()
        if pid:
            os.close(writing)
            return cls(pid, reading)
        status = 1
        try:
            os.close(reading)
            work(lambda line: _write_all(writing, f"{line}\n".encode()))
            status = 0
        except BaseException:  # noqa: BLE001 - the child must not return into its parent's code
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(status)

    def heard(self, *, kill_after: float | None = None, limit: float = 120.0) -> tuple[list[str], int]:
        """Wait for the child's end; return the whole lines that it sent, and its status as of `os.waitpid`.

        `kill_after` seconds from now it is killed, where that is given; after `limit` seconds it is killed and
        `ScriptError` raised.
        """
        sent, began, killed = bytearray(), time.monotonic(), False
        while True:
            gone = time.monotonic() - began
            if not killed and kill_after is not None and gone >= kill_after:
                os.kill(self.pid, signal.SIGKILL)
                killed = True
            if gone >= limit:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                os.close(self.pipe)
                raise ScriptError(f"a child did not end within {limit:g} seconds")
            wait = limit - gone if killed or kill_after is None else max(0.0, kill_after - gone)
            if select([self.pipe], [], [], wait)[0]:
                part = os.read(self.pipe, 1 << 16)
                if not part:
                    break
                sent += part
        os.close(self.pipe)
        return sent.decode().split("\n")[:-1], os.waitpid(self.pid, 0)[1]


def _write_all(pipe: int, data: bytes) -> None:
    while data:
        data = data[os.write(pipe, data) :]
