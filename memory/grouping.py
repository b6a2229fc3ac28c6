"""Writes that wait together and depend on nothing are written as one: one statement for each table, no savepoints.

Should the database refuse that write, each of its parts is written by itself, after what waited beside them: the one
that it refuses then fails alone. All that can be known before is refused before, by `mars.memory.checks`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from mars.memory.interfaces import Failed, Transaction
from mars.memory.outcomes import Added
from mars.memory.preparing import Prepared, Rules
from mars.memory.writing import stands_alone, store

__all__ = ["Adding", "grouped"]

Work = Callable[[Transaction], Any]
Commit = Callable[[Sequence[Work]], list[Any]]


@dataclass(frozen=True, slots=True)
class Adding:
    """The write of one `Memory.add_many`."""

    ready: Sequence[Prepared]
    """What is stored."""
    rules: Rules
    """What the store goes by."""

    def __call__(self, tx: Transaction) -> Added:
        """Store it."""
        return store(tx, self.ready, self.rules)

    @property
    def joins(self) -> bool:
        """Whether it may become part of a larger write: it reads nothing, and nothing reads it."""
        return all(stands_alone(one, self.rules) for one in self.ready)


def grouped(commit: Commit) -> Commit:
    """Return `commit`, which is `Backend.transact_all`, for work of which `Adding` in a row is joined to one write."""

    def together(works: Sequence[Work]) -> list[Any]:
        if len(works) == 1:
            return commit(works)
        groups = [[work for _, work in each] for _, each in groupby(enumerate(works), key=_key)]
        outcomes = commit([_joined(group) for group in groups])
        parted = (_parted(outcome, group, commit) for group, outcome in zip(groups, outcomes, strict=True))
        return [one for outcomes in parted for one in outcomes]

    return together


def _key(placed: tuple[int, Work]) -> int:
    """The same for work that is joined with its neighbours, of its own for all other work."""
    place, work = placed
    return -1 if isinstance(work, Adding) and work.joins else place


def _joined(works: Sequence[Work]) -> Work:
    if len(works) == 1:
        return works[0]
    adding = [work for work in works if isinstance(work, Adding)]
    return Adding([one for work in adding for one in work.ready], adding[0].rules)


def _parted(outcome: Any, works: Sequence[Work], commit: Commit) -> list[Any]:
    """Return what came of each of the works that were joined; if they failed together, each is tried by itself."""
    if len(works) == 1:
        return [outcome]
    if isinstance(outcome, Failed):
        try:
            return commit(works)
        except Exception as error:  # noqa: BLE001 - what waited beside them is written, and is not to hear of it
            return [Failed(error)] * len(works)
    parts, start = [], 0
    for work in works:
        size = len(work.ready) if isinstance(work, Adding) else 0
        parts.append(Added(outcome[start : start + size], size))
        start += size
    return parts
