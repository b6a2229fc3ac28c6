"""Clocks that tests and simulations set: one that stands, one that runs fast."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from mars.errors import InvalidSetting
from mars.memory.records import check_time

EPOCH = datetime(2026, 1, 1, 9, 0, tzinfo=UTC)
"""Where test clocks start unless told otherwise."""


class FixedClock:
    """A clock that stands still until it is moved."""

    def __init__(self, start: datetime = EPOCH) -> None:
        self._now = check_time(start, "start")

    def now(self) -> datetime:
        """Return where the clock stands, in UTC."""
        return self._now

    def advance(self, *, days: float = 0.0, hours: float = 0.0, minutes: float = 0.0, seconds: float = 0.0) -> datetime:
        """Move the clock by the sum of these, backwards too, and return where it stands (with its zone)."""
        self._now += timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        return self._now

    def set(self, moment: datetime) -> datetime:
        """Put the clock to `moment`."""
        self._now = check_time(moment, "moment")
        return self._now


class AcceleratedClock:
    """A clock that runs `factor` times as fast as the system's, from `start`."""

    def __init__(self, start: datetime = EPOCH, *, factor: float = 86_400.0) -> None:
        if not factor > 0:
            raise InvalidSetting(f"factor must be above 0; got {factor!r}")
        self._start = check_time(start, "start")
        self._factor = factor
        self._origin = time.monotonic()

    def now(self) -> datetime:
        """Return the accelerated time in UTC; it never goes backwards."""
        return self._start + timedelta(seconds=(time.monotonic() - self._origin) * self._factor)
