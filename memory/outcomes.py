"""What came of a piece of work that may fail alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Failed:
    """What `Backend.transact_all` returns for a piece of work that raised."""

    error: BaseException
    """What it raised."""


def outcome(run: Callable[[], Result]) -> Result | Failed:
    """Return what a function returns, or `Failed` with what it raises."""
    try:
        return run()
    except Exception as error:  # noqa: BLE001 - whoever waits for it gets it
        return Failed(error)
