"""Killing processes that write to a memory, again and again, and looking at what they leave.

Each run forks a child from a process that has one thread and has opened nothing. The child opens a store, makes a
seeded mix of calls from several tasks (`mars.testing.workload`) and is ended by SIGKILL, at a named point of a write
path (`mars.memory.points`) or at any instant. It says through a pipe what it is about to do and, after the call has
returned, what was acknowledged; the parent reads up to the death. Then another child opens the store and compares:
each namespace must hold exactly what the acknowledged calls leave in an undisturbed store, or that and the whole of the
one call that was under way. Several runs go over one store. This proves the crash of a process, not the loss of power.
"""

from __future__ import annotations

import gc
import json
import os
import random
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio

from mars.errors import InvalidSetting, MarsError
from mars.memory import points
from mars.memory.backends.sql import SqlBackend
from mars.memory.engine import Memory
from mars.memory.ids import new_store_id
from mars.memory.index.chroma import ChromaIndex
from mars.memory.interfaces import Backend
from mars.testing.comparing import Comparison, compare
from mars.testing.embedders import RandomEmbedder
from mars.testing.kills import Fork, KillPoint
from mars.testing.workload import PRESET, Call, Script, perform, told

__all__ = ["Plan", "Report", "soak", "warm"]

RUNS_ON_A_STORE = 5
"""So many kills in a row on one store."""

CALLS = 40
"""At most so many calls of each task in one run."""

TASKS = 3
"""Tasks that write at the same time, each to a namespace of its own."""

KINDS = ("full", "chroma", "normal", "postgres", "full")
"""The stores in turn: SQLite with ``synchronous`` FULL or NORMAL, with a Chroma index, PostgreSQL."""

EMBEDDER = RandomEmbedder(8)

RARE = {
    "vector_deleted": ("purge", "drop", "purge_old"),
    "record_deleted": ("purge", "drop", "purge_old"),
    "vector_replaced": ("retell", "put"),
    "record_updated": ("used", "edit"),
    "index_removed": ("purge",),
}
"""Calls that are made more often, so that a point is reached soon."""

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
        return not (self.lost or self.duplicated or self.orphans or self.ghosts or self.unclean or self.errors)

    def add(self, other: Report) -> None:
        """Count another report into this one."""
        for name in self.__dataclass_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def values(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True, slots=True)
class _Chain:
    """Some runs on one store."""

    number: int
    kind: str
    runs: Sequence[int]

    def targets(self) -> list[str]:
        """Return the points at which this chain's children may die."""
        indexed = [name for name in points.POINTS if name.startswith("index_")]
        written = [name for name in points.POINTS if name not in indexed]
        return indexed if self.kind == "chroma" else written


def _chains(plan: Plan) -> list[_Chain]:
    chains = []
    for number, start in enumerate(range(0, plan.runs, RUNS_ON_A_STORE)):
        kind = plan.kinds[number % len(plan.kinds)]
        if kind == "postgres" and plan.postgres is None:
            kind = "normal"
        chains.append(_Chain(number, kind, range(start, min(start + RUNS_ON_A_STORE, plan.runs))))
    return chains


def warm() -> None:
    """Import what a child needs, so that a fork has it; opens nothing and starts no thread."""
    import alembic.command
    import chromadb

    from mars.memory import schema
    from mars.memory.backends import inmemory

    _ = (alembic.command, chromadb, schema, inmemory)
    gc.freeze()  # what is there stays shared with the children


def soak(plan: Plan, progress: Callable[[int], object] | None = None) -> Report:
    """Run a plan from a process with one thread; `progress` is told how many runs are done.

    Raises `ScriptError` where this process has other threads, or a child does not end.
    """
    warm()
    chains, report = _chains(plan), Report()
    waiting = [
        Fork.start(lambda tell, part=chains[job :: plan.jobs]: [tell(line) for line in _told(plan, part)])  # type: ignore[misc]
        for job in range(min(plan.jobs, len(chains)))
    ]
    for one in waiting:
        lines, status = one.heard(limit=3600.0)
        for line in lines:
            report.add(_parsed(line))
            if progress is not None:
                progress(report.runs)
        if status != 0:
            report.errors.append(f"a chain of runs ended with {os.waitstatus_to_exitcode(status)}")
    return report


def _told(plan: Plan, chains: Sequence[_Chain]) -> Iterator[str]:
    for chain in chains:
        for report in _run_chain(plan, chain):
            yield json.dumps(report.values())


def _parsed(line: str) -> Report:
    values = json.loads(line)
    return Report(**{**values, "killed": Counter(values["killed"]), "stores": Counter(values["stores"])})


@dataclass(slots=True)
class _State:
    """What is known of a chain's store between its runs."""

    url: str
    chain: _Chain
    logs: list[list[Call]] = field(default_factory=lambda: [[] for _ in range(TASKS)])
    under_way: list[Call | None] = field(default_factory=lambda: [None] * TASKS)

    @property
    def synchronous(self) -> str:
        return "full" if self.chain.kind == "full" else "normal"

    def last(self, space: int) -> Call | None:
        """Return the newest call of a namespace that anybody has made."""
        return self.under_way[space] or (self.logs[space][-1] if self.logs[space] else None)


def _run_chain(plan: Plan, chain: _Chain) -> Iterator[Report]:
    name = f"soak-{plan.seed}-{chain.number}"
    if chain.kind == "postgres":
        assert plan.postgres is not None
        make = plan.postgres
        lines, _ = Fork.start(lambda tell: tell(make(name))).heard()
        (url,) = lines
    else:
        url = f"sqlite:///{plan.folder / name}.db"
    state, folder = _State(url, chain), plan.folder / f"{name}.chroma"
    for run in chain.runs:
        report = _run(plan, state, folder, run)
        yield report
        if not report.clean:
            return


def _run(plan: Plan, state: _State, folder: Path, run: int) -> Report:
    """Kill one child and look at the store; the state is brought up to date."""
    chance = random.Random(f"{plan.seed}/{run}")
    targets = plan.points or state.chain.targets()
    # Two in three die at a point, each in turn; the rest at any instant.
    point = targets[(run - run // 3 + plan.seed) % len(targets)] if run % 3 or plan.points else None
    hits = chance.randint(1, 2 if point in RARE or state.chain.kind == "chroma" else 12)
    report = Report(runs=1, stores=Counter({state.chain.kind: 1}))
    child = Fork.start(lambda tell: anyio.run(_write, plan, state, folder, f"{plan.seed}/{run}", (point, hits), tell))
    delay = None if point is not None else chance.uniform(0.0, 0.4)
    lines, status = child.heard(kill_after=delay)
    _note(report, state, lines, status, point)
    if report.clean:
        checker = Fork.start(lambda tell: anyio.run(_check, state, folder, tell))
        found, status = checker.heard()
        if status != 0 or not found:
            report.errors.append(f"the check of run {run} ended with {os.waitstatus_to_exitcode(status)}")
        else:
            _conclude(report, state, Comparison(**json.loads(found[-1])))
    return report


def _note(report: Report, state: _State, lines: Sequence[str], status: int, point: str | None) -> None:
    """Take down what a child has said before it died."""
    for line in lines:
        sort, _, rest = line.partition(" ")
        if sort == "asks":
            call = Call.parse(rest)
            state.under_way[call.space] = call
        elif sort == "has":
            space = int(rest)
            done, state.under_way[space] = state.under_way[space], None
            assert done is not None
            state.logs[space].append(done)
            report.acknowledged += 1
        elif sort == "dies":
            report.killed[rest] += 1
        else:
            report.errors.append(rest)
    report.in_flight = sum(call is not None for call in state.under_way)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0:
        report.survived += 1
    elif not (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL):
        report.errors.append(f"a child ended with {os.waitstatus_to_exitcode(status)}")
    elif point is None:
        report.killed["instant"] += 1


def _conclude(report: Report, state: _State, seen: Comparison) -> None:
    for space, call in enumerate(state.under_way):
        if call is not None and seen.applied[space]:
            state.logs[space].append(call)
    state.under_way = [None] * TASKS
    report.applied += seen.landed
    for name in ("lost", "duplicated", "orphans", "ghosts", "unclean"):
        setattr(report, name, getattr(seen, name))
    report.errors += seen.errors


async def _write(
    plan: Plan, state: _State, folder: Path, seed: str, target: tuple[str | None, int], tell: Callable[[str], None]
) -> None:
    """Be the child: write until the end comes."""
    point, hits = target
    favoured = RARE.get(point or "", ())
    with ExitStack() as stack:
        if point is not None:
            stack.enter_context(KillPoint(point, hits, lambda name: tell(f"dies {name}")))
        backend = plan.open(state.url, state.synchronous)
        index = open_index(plan.index, folder) if state.chain.kind == "chroma" else None
        async with (
            Memory.open(backend, index=index, embedder=EMBEDDER, preset=PRESET, extract_facts=True, seed=0) as memory,
            anyio.create_task_group() as tasks,
        ):
            for space in range(TASKS):
                script = Script(seed, space, state.last(space), favoured)
                tasks.start_soon(_drive, memory, script, space, tell)
            if index is not None:
                tasks.start_soon(_keep_index, memory)


def open_index(sort: type[ChromaIndex], folder: Path) -> ChromaIndex:
    """Return the derived index of a chain; nothing is opened before its use."""
    return sort(folder, store=new_store_id(0), embedder=EMBEDDER.id, dimension=EMBEDDER.dimension)


async def _drive(memory: Memory, script: Script, space: int, tell: Callable[[str], None]) -> None:
    for _ in range(CALLS):
        call = script.next(await told(memory, space))
        tell(f"asks {call.line()}")
        try:
            await perform(memory, call)
        except MarsError as error:
            tell(f"fails {call.name}: {type(error).__name__}: {error}")
            return
        tell(f"has {space}")


async def _keep_index(memory: Memory) -> None:
    """Have the index follow while others write; now and then it is made anew."""
    for turn in range(30):
        await memory.recall("note", namespace=("soak", "0"), exact=False)
        if turn % 6 == 5:
            await memory.reindex()
        await anyio.sleep(0.01)


async def _check(state: _State, folder: Path, tell: Callable[[str], None]) -> None:
    """Be the child that looks at what was left, and tries again what was under way."""
    seen = await compare(
        lambda: open_sql(state.url, state.synchronous),
        state.logs,
        state.under_way,
        embedder=EMBEDDER,
        index=open_index(ChromaIndex, folder) if state.chain.kind == "chroma" else None,
    )
    tell(json.dumps(seen.values()))
