"""What came of a piece of work: the records of a write, or why it failed alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar, overload

from mars.memory.records import Record

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


class Added(Sequence[Record]):
    """The records of one `add_many`, in the order they were given; those that were there already included."""

    def __init__(self, records: Sequence[Record], added: int, facts: Sequence[Record] = ()) -> None:
        self._records = tuple(records)
        self.added = added
        """How many of them are new."""
        self.facts = tuple(facts)
        """New facts that were drawn from them."""

    @property
    def skipped(self) -> int:
        """How many were in the store already."""
        return len(self._records) - self.added

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Record, ...]: ...
    def __getitem__(self, index: int | slice) -> Record | tuple[Record, ...]:
        return self._records[index]

    def __len__(self) -> int:
        return len(self._records)

    def __repr__(self) -> str:
        return f"Added(added={self.added}, skipped={self.skipped}, facts={len(self.facts)})"
