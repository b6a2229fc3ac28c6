"""Killing processes that write to a memory, again and again, and looking at what they leave.

Each run forks a child from a process that has one thread and has opened nothing. The child opens a store, makes a
seeded mix of calls from several tasks (`mars.testing.workload`) and is ended by SIGKILL, at a named point of a write
path (`mars.memory.points`) or at any instant. It says through a pipe what it is about to do and, after the call has
returned, what was acknowledged; the parent reads up to the death. Then another child opens the store and compares:
each namespace must hold exactly what the acknowledged calls leave in an undisturbed store, or that and the whole of the
one call that was under way. Several runs go over one store. In every fourth run the child dies while it tends the store
(`mars.testing.tended`). This proves the crash of a process, not the loss of power.
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
from functools import partial
from pathlib import Path

import anyio

from mars.memory import points
from mars.memory.engine import Memory
from mars.memory.ids import new_store_id
from mars.memory.index.chroma import ChromaIndex
from mars.testing.comparing import Comparison, compare
from mars.testing.embedders import RandomEmbedder
from mars.testing.kills import Fork, KillPoint
from mars.testing.plans import TASKS, TENDED, Chain, Plan, Report, State, chains_of, open_sql
from mars.testing.tended import COMMANDS, fate_of, look, settle, tend
from mars.testing.workload import PRESET, Call, Script, drive

__all__ = ["Plan", "Report", "soak", "warm"]

CALLS = 40
"""At most so many calls of each task in one run."""

EMBEDDER = RandomEmbedder(8)

RARE = {
    "vector_deleted": ("purge", "drop", "purge_old"),
    "record_deleted": ("purge", "drop", "purge_old"),
    "vector_replaced": ("retell", "put"),
    "record_updated": ("used", "edit"),
    "index_removed": ("purge",),
}
"""Calls that are made more often, so that a point is reached soon."""


INDEXED = [name for name in points.POINTS if name.startswith("index_")]
"""The points of the derived index."""

WRITTEN = [name for name in points.POINTS if name.partition("_")[0] not in {"index", *COMMANDS}]
"""The points that writing calls reach."""


def warm() -> None:
    """Import and prepare what every child needs, so that a fork has it; opens no store and starts no thread."""
    import alembic.command
    import chromadb.api.rust
    import numpy.random

    from mars.memory import schema
    from mars.memory.backends import inmemory
    from mars.memory.backends.inspection import inspection
    from mars.memory.backends.statements import statements

    _ = (alembic.command, chromadb.api.rust, numpy.random, schema, inmemory)
    for dialect in ("sqlite", "postgresql"):
        statements(dialect), inspection(dialect)
    anyio.run(anyio.lowlevel.checkpoint)  # loads the event loop
    gc.freeze()  # what is there stays shared with the children


def soak(plan: Plan, progress: Callable[[int], object] | None = None) -> Report:
    """Run a plan from a process with one thread; `progress` is told how many runs are done.

    Raises `ScriptError` where this process has other threads, or a child does not end.
    """
    warm()
    chains, report = chains_of(plan), Report()
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


def _told(plan: Plan, chains: Sequence[Chain]) -> Iterator[str]:
    for chain in chains:
        for report in _run_chain(plan, chain):
            yield json.dumps(report.values())


def _parsed(line: str) -> Report:
    values = json.loads(line)
    return Report(**{**values, "killed": Counter(values["killed"]), "stores": Counter(values["stores"])})


def _run_chain(plan: Plan, chain: Chain) -> Iterator[Report]:
    name = f"soak-{plan.seed}-{chain.number}"
    url = f"sqlite:///{plan.folder / name}.db"
    if chain.is_on_postgres(plan) and plan.postgres is not None:
        make = plan.postgres
        lines, _ = Fork.start(lambda tell: tell(make(name))).heard()
        (url,) = lines
    state = State(url, chain, plan.folder / f"{name}.beside")
    for run in chain.runs:
        report = _run(plan, state, run)
        yield report
        if not report.clean:
            return


def _run(plan: Plan, state: State, run: int) -> Report:
    """Kill one child and look at the store; the state is brought up to date."""
    chance, seed = random.Random(f"{plan.seed}/{run}"), f"{plan.seed}/{run}"
    report = Report(runs=1, stores=Counter({state.chain.kind: 1}))
    if state.chain.kind == TENDED:
        fate, delay = fate_of(plan, state, run, chance), None
        point = fate.point
        write, check = partial(tend, plan, state, fate, seed), partial(look, state, fate)
    else:
        point, hits = _target(plan, state, run, chance)
        delay = None if point is not None else chance.uniform(0.0, 0.25)
        write, check = partial(_write, plan, state, seed, (point, hits)), partial(_check, state)
        fate = None
    lines, status = Fork.start(lambda tell: anyio.run(write, tell)).heard(kill_after=delay)
    _note(report, state, lines, status, point)
    if report.clean:
        found, status = Fork.start(lambda tell: anyio.run(check, tell)).heard()
        if status != 0 or not found:
            report.errors.append(f"the check of run {run}, {fate or point}, ended with {status}")
        else:
            _conclude(report, state, Comparison(**json.loads(found[-1])))
            if fate is not None:
                settle(state, fate)
    return report


def _target(plan: Plan, state: State, run: int, chance: random.Random) -> tuple[str | None, int]:
    """Return the point at which a child dies, None for any instant, and how often it gets there."""
    indexed = state.chain.kind == "chroma"
    targets = plan.points or (INDEXED if indexed else WRITTEN)
    # Two in three die at a point, each in turn; the rest at any instant.
    point = targets[(run - run // 3 + plan.seed) % len(targets)] if run % 3 or plan.points else None
    return point, chance.randint(1, 2 if point in RARE or indexed else 12)


def _note(report: Report, state: State, lines: Sequence[str], status: int, point: str | None) -> None:
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
        elif sort == "copied":
            state.copied = [list(log) for log in state.logs]
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


def _conclude(report: Report, state: State, seen: Comparison) -> None:
    for space, call in enumerate(state.under_way):
        if call is not None and seen.applied[space]:
            state.logs[space].append(call)
    state.under_way = [None] * TASKS
    report.applied += seen.landed
    for name in ("lost", "duplicated", "orphans", "ghosts", "unclean", "torn"):
        setattr(report, name, getattr(seen, name))
    report.errors += seen.errors


async def _write(
    plan: Plan, state: State, seed: str, target: tuple[str | None, int], tell: Callable[[str], None]
) -> None:
    """Be the child: write until the end comes."""
    point, hits = target
    favoured = RARE.get(point or "", ())
    with ExitStack() as stack:
        if point is not None:
            stack.enter_context(KillPoint(point, hits, lambda name: tell(f"dies {name}")))
        backend = plan.open(state.url, state.synchronous)
        index = open_index(plan.index, state.folder) if state.chain.kind == "chroma" else None
        async with (
            Memory.open(backend, index=index, embedder=EMBEDDER, preset=PRESET, extract_facts=True, seed=0) as memory,
            anyio.create_task_group() as tasks,
        ):
            for space in range(TASKS):
                script = Script(seed, space, state.last(space), favoured)
                tasks.start_soon(drive, memory, script, space, CALLS, tell)
            if index is not None:
                tasks.start_soon(_keep_index, memory)


def open_index(sort: type[ChromaIndex], folder: Path) -> ChromaIndex:
    """Return the derived index of a chain; nothing is opened before its use."""
    return sort(folder, store=new_store_id(0), embedder=EMBEDDER.id, dimension=EMBEDDER.dimension)


async def _keep_index(memory: Memory) -> None:
    """Have the index follow while others write; now and then it is made anew."""
    for turn in range(30):
        await memory.recall("note", namespace=("soak", "0"), exact=False)
        if turn % 6 == 5:
            await memory.reindex()
        await anyio.sleep(0.01)


async def _check(state: State, tell: Callable[[str], None]) -> None:
    """Be the child that looks at what was left, and tries again what was under way."""
    seen = await compare(
        lambda: open_sql(state.url, state.synchronous),
        state.logs,
        state.under_way,
        embedder=EMBEDDER,
        index=open_index(ChromaIndex, state.folder) if state.chain.kind == "chroma" else None,
    )
    tell(json.dumps(seen.values()))
