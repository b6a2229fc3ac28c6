"""Ending the process at a named place in a write path, as a power cut to the process would."""

from __future__ import annotations

import os
import signal
from types import TracebackType
from typing import Self

from mars.errors import InvalidSetting
from mars.memory import points


class KillPoint:
    """Within its ``with`` block, ends this process by SIGKILL when a point was reached so many times.

    The points are those of `mars.memory.points`. For child processes only: nothing is closed, flushed or returned.
    """

    def __init__(self, point: str, hits: int = 1) -> None:
        if point not in points.POINTS:
            raise InvalidSetting(f"there is no point {point!r}; choose one of {', '.join(points.POINTS)}")
        if hits < 1:
            raise InvalidSetting(f"hits counts from 1; got {hits!r}")
        self._point = point
        self._left = hits

    def __enter__(self) -> Self:
        points.watch(self._reached)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        points.watch(None)

    def _reached(self, point: str) -> None:
        if point == self._point:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
