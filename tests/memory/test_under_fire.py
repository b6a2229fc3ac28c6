"""Processes that are killed while they write: nothing acknowledged is lost, nothing doubled, nothing left behind.

The loss of power is another matter: see test_power_loss.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

pytest.importorskip("benchmarks.soak_memory", reason="needs the repository")

from benchmarks import soak_memory
from mars.errors import InvalidSetting, ScriptError
from mars.memory import points
from mars.memory.engine import Memory
from mars.testing import RandomEmbedder
from mars.testing.kills import Fork
from mars.testing.soak import Plan
from mars.testing.workload import PRESET, WEIGHTS, Call, Script, contents, perform, told

RUNS = 100

SABOTAGED = """
import json, os, sys, threading
from dataclasses import replace
from pathlib import Path
os.environ["OPENBLAS_NUM_THREADS"] = "1"
from mars.memory import points
from mars.memory.backends.sql import SqlBackend
from mars.memory.index.chroma import ChromaIndex
from mars.memory.tables import records
from mars.testing.soak import Plan, soak

class Early(SqlBackend):
    '''Acknowledges first, and commits when the store is next used.'''
    owed = None
    guard = threading.Lock()
    def _commit(self, wire):
        self.owed = wire
    def _pay(self):
        with self.guard:
            owed, self.owed = self.owed, None
            if owed is not None:
                points.reach("before_write")
                super()._commit(owed)
    def _begin(self, wire, known):
        self._pay()
        return super()._begin(wire, known)
    def _view(self, work):
        self._pay()
        return super()._view(work)

class Torn(SqlBackend):
    '''Writes vectors after the commit of their records.'''
    def _committed(self, wire, run):
        statement_run, late, kept = wire.run, self._statements.put_vector, []
        def keep(one, rows):
            kept.append((one, rows))
            return "SELECT 1"
        wire.run = lambda one, rows=(): statement_run(*((one, rows) if one != late else (keep(one, rows), ())))
        try:
            result = super()._committed(wire, run)
        finally:
            del wire.run
        for one, rows in kept:
            wire.run(one, rows)
        return result

class Doubling(SqlBackend):
    '''Writes some records a second time.'''
    def _committed(self, wire, run):
        result = super()._committed(wire, run)
        new = {"number": "-number", "id": "'again ' || id", "seq": "-seq", "key": "NULL", "idempotency_key": "NULL"}
        names = [column.name for column in records.c]
        told = ", ".join(new.get(name, name) for name in names)
        wire.run(
            f"INSERT OR IGNORE INTO mars_records ({', '.join(names)}) SELECT {told} FROM mars_records "
            "WHERE idempotency_key LIKE '%3'"
        )
        return result

class Haunted(ChromaIndex):
    '''Never removes anything.'''
    def apply(self, update, *, gently=True):
        return super().apply(replace(update, gone={}), gently=gently)

sort, runs, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
backends = {"early": Early, "torn": Torn, "doubling": Doubling}
plan = Plan(
    runs=runs,
    folder=folder,
    jobs=2,
    points={"early": ["before_write"], "torn": ["after_commit"], "haunted": ["index_removed"]}.get(sort, []),
    kinds=["chroma"] if sort == "haunted" else ["full", "normal"],
    open=lambda url, level: backends.get(sort, SqlBackend)(url),
    index=Haunted if sort == "haunted" else ChromaIndex,
)
print(json.dumps(soak(plan).values()))
"""


def run(*line: str) -> dict[str, Any]:
    """Run Python in a process of its own, which forks while it has one thread; return the JSON of its last line."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    ended = subprocess.run(
        [sys.executable, *line], capture_output=True, text=True, timeout=300, check=False, env=environment
    )
    assert ended.stdout, ended.stderr
    report: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return report


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    """The report of the runs that every change must stand, over every kind of store that is here."""
    missing = soak_memory.postgres_missing()
    if missing and os.environ.get("CI"):
        pytest.fail(missing)
    return run("-m", "benchmarks.soak_memory", "--runs", str(RUNS))


def test_nothing_is_lost(report: dict[str, Any]) -> None:
    """After a hundred kills each store holds what was acknowledged, once, with its vectors, and recalls only that."""
    assert report["errors"] == []
    found = {name: report[name] for name in ("lost", "duplicated", "orphans", "ghosts", "unclean")}
    assert found == dict.fromkeys(found, 0)
    assert report["runs"] == RUNS


def test_the_runs_mean_something(report: dict[str, Any]) -> None:
    """Most children die while calls are under way, some of which have happened; every kind of store is written to."""
    assert report["survived"] <= RUNS // 5
    assert report["acknowledged"] >= 5 * RUNS
    assert report["in_flight"] >= RUNS
    assert 0 < report["applied"] < report["in_flight"]
    kinds = {"full", "normal", "chroma"} | (set() if soak_memory.postgres_missing() else {"postgres"})
    assert kinds <= set(report["stores"])


def test_every_point_was_hit(report: dict[str, Any]) -> None:
    """At each registered point of a write path a child was killed, and some at no point in particular."""
    assert set(report["killed"]) == {*points.POINTS, "instant"}


@pytest.mark.parametrize(
    ("sort", "key", "runs"),
    [("early", "lost", 10), ("torn", "orphans", 6), ("doubling", "duplicated", 5), ("haunted", "ghosts", 10)],
)
def test_sabotaged(tmp_path: Path, sort: str, key: str, runs: int) -> None:
    """A commit after the acknowledgement, vectors after the commit, a doubled row, an index that never forgets."""
    assert run("-c", SABOTAGED, sort, str(runs), str(tmp_path))[key] > 0


async def test_the_same_calls_leave_the_same(tmp_path: Path) -> None:
    """Every call of the workload is made; told again in memory, they leave what they left on disk: the measure."""
    settings: dict[str, Any] = {"embedder": RandomEmbedder(8), "preset": PRESET, "extract_facts": True}
    calls, taken = list[Call](), set[str]()
    async with Memory.open(f"sqlite:///{tmp_path / 'a.db'}", **settings) as memory:
        for space in range(2):
            script = Script("seed", space, None)
            for _ in range(150):
                call = script.next(await told(memory, space))
                if await perform(memory, call):
                    taken.add(call.name)
                calls.append(call)
        held = [await contents(memory, space) for space in range(2)]
    assert taken == set(WEIGHTS)
    async with Memory.open("memory:", **settings) as twin:
        for call in calls:
            await perform(twin, Call.parse(call.line()))
        assert [await contents(twin, space) for space in range(2)] == held
        await perform(twin, Call("add", 0, 999, 10**6))
        assert await contents(twin, 0) != held[0]


async def test_forks_with_threads_are_refused() -> None:
    """A process that has other threads is not forked: what they hold would be held in the child for ever."""
    await anyio.to_thread.run_sync(lambda: None)
    with pytest.raises(ScriptError, match="threads"):
        Fork.start(lambda tell: tell("never"))


@pytest.mark.parametrize(("runs", "jobs"), [(0, 1), (1, 0)])
def test_a_bad_plan_is_refused(tmp_path: Path, runs: int, jobs: int) -> None:
    """Runs and jobs count from 1."""
    with pytest.raises(InvalidSetting):
        Plan(folder=tmp_path, runs=runs, jobs=jobs)
