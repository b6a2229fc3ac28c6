"""What a soak is to do, and what it has seen: the words that `mars.testing.soak` and `mars.testing.tended` share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mars.errors import InvalidSetting
from mars.memory.backends.sql import SqlBackend
from mars.memory.engine import Memory
from mars.memory.index.chroma import ChromaIndex
from mars.memory.interfaces import Backend
from mars.testing.workload import Call

__all__ = ["TASKS", "TENDED", "Chain", "Plan", "Report", "State", "chains_of", "open_sql"]

RUNS_ON_A_STORE = 5
"""So many kills in a row on one store."""

TASKS = 3
"""Tasks that write at the same time, each to a namespace of its own."""

TENDED = "tended"
"""The kind of store whose children back it up, restore, repair and reembed it; on SQLite and PostgreSQL in turn."""

KINDS = ("full", "chroma", "normal", "postgres", TENDED, "full", TENDED)
"""The stores in turn: SQLite with ``synchronous`` FULL or NORMAL, with a Chroma index, PostgreSQL, tended ones."""

Open = Callable[[str, str], Backend]


def open_sql(url: str, synchronous: str) -> Backend:
    """Open a store; a sabotaged backend is opened by another function like this."""
    return SqlBackend(url, synchronous="full" if synchronous == "full" else "normal")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to run."""

    runs: int
    """How many children are killed."""
    folder: Path
    """Where the stores of the runs are made."""
    seed: int = 0
    """Decides calls, points and instants."""
    postgres: Callable[[str], str] | None = None
    """Makes an empty PostgreSQL database of a name and returns its URL; None for SQLite alone."""
    kinds: Sequence[str] = KINDS
    """The stores in turn; see `KINDS`."""
    open: Open = open_sql
    """Opens the store that a child writes to; checks open it by `open_sql`."""
    index: type[ChromaIndex] = ChromaIndex
    """The derived index that a child keeps."""
    memory: type[Memory] = Memory
    """The memory by which a child tends a store; checks use `Memory`."""
    jobs: int = 1
    """So many chains of runs go beside each other."""
    points: Sequence[str] = ()
    """Children die at these of `mars.memory.points.POINTS` alone; if empty at any of them, and at any instant."""

    def __post_init__(self) -> None:
        if self.runs < 1 or self.jobs < 1:
            raise InvalidSetting(f"runs and jobs count from 1; got {self.runs!r} and {self.jobs!r}")


@dataclass(slots=True)
class Report:
    """What the runs have shown; all but the last group must be 0 or empty."""

    runs: int = 0
    """Children that were started."""
    lost: int = 0
    """Records that an acknowledged call had left and that are not there, or not as it left them."""
    duplicated: int = 0
    """Records that are there and should not be, a retry under the same keys included."""
    orphans: int = 0
    """Vectors without a record, and records without their vector."""
    ghosts: int = 0
    """Hits of recall, and entries of the index, that are no live record."""
    unclean: int = 0
    """Checks after which the doctor of the store found something."""
    torn: int = 0
    """Backups that were not whole under the name that a reader looks for, or were taken for whole without being so."""
    errors: list[str] = field(default_factory=list)
    """What went wrong otherwise: an error where there should be none, a child that did not die as planned."""
    acknowledged: int = 0
    """Calls that were acknowledged before the kills."""
    in_flight: int = 0
    """Calls that were under way at a kill."""
    applied: int = 0
    """Those of them that were found done, as a whole."""
    survived: int = 0
    """Children that had made all their calls before the point or the instant came."""
    killed: Counter[str] = field(default_factory=Counter)
    """How many children died at each point; those killed at any instant under ``instant``."""
    stores: Counter[str] = field(default_factory=Counter)
    """How many runs each kind of store had."""

    @property
    def clean(self) -> bool:
        """Whether nothing was lost, doubled, left behind or wrong."""
        found = self.lost or self.duplicated or self.orphans or self.ghosts or self.unclean or self.torn
        return not (found or self.errors)

    def add(self, other: Report) -> None:
        """Count another report into this one."""
        for name in self.__dataclass_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def values(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True, slots=True)
class Chain:
    """Some runs on one store."""

    number: int
    """Its place among all chains."""
    kind: str
    """One of `KINDS`."""
    place: int
    """Its place among the chains of its kind."""
    runs: Sequence[int]
    """The numbers of its runs."""

    def is_on_postgres(self, plan: Plan) -> bool:
        """Whether its store lies in PostgreSQL."""
        return plan.postgres is not None and (self.kind == "postgres" or (self.kind == TENDED and self.place % 2 == 1))

    def turn(self, run: int) -> int:
        """Return the place of a run among all runs on stores of this kind."""
        return self.place * RUNS_ON_A_STORE + run - self.runs[0]


def chains_of(plan: Plan) -> list[Chain]:
    """Return the chains of a plan; without PostgreSQL its stores are SQLite files."""
    chains, seen = list[Chain](), Counter[str]()
    for number, start in enumerate(range(0, plan.runs, RUNS_ON_A_STORE)):
        kind = plan.kinds[number % len(plan.kinds)]
        if kind == "postgres" and plan.postgres is None:
            kind = "normal"
        chains.append(Chain(number, kind, seen[kind], range(start, min(start + RUNS_ON_A_STORE, plan.runs))))
        seen[kind] += 1
    return chains


@dataclass(slots=True)
class State:
    """What is known of a chain's store between its runs."""

    url: str
    """Where the store is."""
    chain: Chain
    """Whose it is."""
    folder: Path
    """What belongs to the store beside it: the index, backups."""
    logs: list[list[Call]] = field(default_factory=lambda: [[] for _ in range(TASKS)])
    """What was acknowledged in each namespace."""
    under_way: list[Call | None] = field(default_factory=lambda: [None] * TASKS)
    """What was not, when the child died."""
    copied: list[list[Call]] = field(default_factory=lambda: [[] for _ in range(TASKS)])
    """What the copy holds from which a tended store is restored."""
    turned: int = 0
    """How often a tended store has changed its embedder."""

    @property
    def synchronous(self) -> str:
        """How the store is synced."""
        return "full" if self.chain.kind == "full" else "normal"

    def last(self, space: int) -> Call | None:
        """Return the newest call of a namespace that anybody has made."""
        return self.under_way[space] or (self.logs[space][-1] if self.logs[space] else None)
