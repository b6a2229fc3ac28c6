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
import json, os, sys
from dataclasses import replace
from pathlib import Path
os.environ["OPENBLAS_NUM_THREADS"] = "1"
from mars.memory.backends.sql import SqlBackend
from mars.memory.engine import Memory
from mars.memory.index.chroma import ChromaIndex
from mars.memory.interfaces import Selection
from mars.memory.preparing import CHANGING_FROM
from mars.memory.tables import records
from mars.testing.soak import Plan, soak

FOLDER = Path(sys.argv[1])

def called(name):
    '''Leave a trace that outlives the child: a sabotage that nobody calls shows nothing.'''
    (FOLDER / f"{name}.called").touch()

class Hollow(SqlBackend):
    '''Takes some transactions back that it acknowledges.'''
    commits = 0
    def _commit(self, wire):
        called("hollow commit")
        self.commits += 1
        if self.commits % 3:
            super()._commit(wire)
        else:
            wire.run("ROLLBACK")

class Torn(SqlBackend):
    '''Writes vectors after the commit of their records.'''
    def _committed(self, wire, run):
        statement_run, late, kept = wire.run, self._statements.put_vector, []
        def keep(one, rows):
            called("torn vector")
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
        called("doubling committed")
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
        called("haunted apply")
        return super().apply(replace(update, gone={}), gently=gently)

class InPlace(Memory):
    '''Writes a backup where the whole one lies.'''
    async def backup(self, path, *, overwrite=False, progress=None):
        called("in place backup")
        Path(path).write_text('{"format": "mars-backup", "version": 1, "head": 1, "meta": {}}')
        return await super().backup(path, overwrite=overwrite)

class Piecemeal(Memory):
    '''Empties the store before the restore begins.'''
    async def restore_backup(self, path, *, force=False, progress=None):
        called("piecemeal restore")
        await self.purge(await self.read(lambda reader: [row.id for row in reader.select(Selection())]), force=True)
        return await super().restore_backup(path, force=force)

class Careless(Memory):
    '''Mends by deleting what is broken.'''
    async def repair(self, progress=None, *, dry_run=False, now=None):
        called("careless repair")
        seen = await self.doctor(now=now)
        await self.purge({one.record for one in seen.findings if one.record}, force=True)
        return await super().repair(now=now)

class Hasty(SqlBackend):
    '''Says that a change of embedder is complete as soon as it has begun.'''
    def transact(self, work):
        result = super().transact(work)
        if self.read(lambda reader: reader.meta().get(CHANGING_FROM)):
            called("hasty transact")
            super().transact(lambda tx: tx.set_meta({CHANGING_FROM: ""}))
        return result

SORTS = {
    "hollow": {"runs": 10, "open": Hollow, "points": ["before_write"]},
    "torn": {"runs": 20, "open": Torn, "points": ["after_commit"]},
    "doubling": {"runs": 15, "open": Doubling},
    "haunted": {"runs": 20, "index": Haunted, "points": ["index_removed"], "kinds": ["chroma"]},
    "in place": {"runs": 1, "memory": InPlace, "points": ["backup_written"], "kinds": ["tended"]},
    "piecemeal": {"runs": 1, "memory": Piecemeal, "points": ["restore_emptied"], "kinds": ["tended"]},
    "careless": {"runs": 1, "memory": Careless, "points": ["repair_whole"], "kinds": ["tended"]},
    "hasty": {"runs": 1, "open": Hasty, "points": ["reembed_embedded"], "kinds": ["tended"]},
}
seen = {}
for sort, settings in SORTS.items():
    backend = settings.pop("open", SqlBackend)
    (FOLDER / sort).mkdir()
    settings = {"kinds": ["full", "normal"], **settings}
    plan = Plan(folder=FOLDER / sort, jobs=2, open=lambda url, level: backend(url), **settings)
    seen[sort] = soak(plan).values()
print(json.dumps({"seen": seen, "called": sorted(one.stem for one in FOLDER.glob("*.called"))}))
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
    found = {name: report[name] for name in ("lost", "duplicated", "orphans", "ghosts", "unclean", "torn")}
    assert found == dict.fromkeys(found, 0)
    assert report["runs"] == RUNS


def test_the_runs_mean_something(report: dict[str, Any]) -> None:
    """Most children die while calls are under way, some of which have happened; every kind of store is written to."""
    assert report["survived"] <= RUNS // 5
    assert report["acknowledged"] >= 5 * RUNS
    assert report["in_flight"] >= RUNS
    assert 0 < report["applied"] < report["in_flight"]
    kinds = {"full", "normal", "chroma", "tended"} | (set() if soak_memory.postgres_missing() else {"postgres"})
    assert kinds <= set(report["stores"])


def test_every_point_was_hit(report: dict[str, Any]) -> None:
    """At each registered point of a write path a child was killed, and some at no point in particular."""
    assert set(report["killed"]) == {*points.POINTS, "instant"}


@pytest.fixture(scope="module")
def sabotaged(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The reports of the same harness over backends, an index and memories that break one promise each."""
    return run("-c", SABOTAGED, str(tmp_path_factory.mktemp("sabotaged")))


@pytest.mark.parametrize(
    ("sort", "key", "calls"),
    [
        ("hollow", "lost", {"commit"}),
        ("torn", "orphans", {"vector"}),
        ("doubling", "duplicated", {"committed"}),
        ("haunted", "ghosts", {"apply"}),
        ("in place", "torn", {"backup"}),
        ("piecemeal", "lost", {"restore"}),
        ("careless", "lost", {"repair"}),
        ("hasty", "lost", {"transact"}),
    ],
)
def test_sabotaged(sabotaged: dict[str, Any], sort: str, key: str, calls: set[str]) -> None:
    """Whatever is done too early, too late, twice, in part or never is counted; each sabotage was really called."""
    assert sabotaged["seen"][sort][key] > 0, sabotaged["seen"][sort]
    assert {f"{sort} {one}" for one in calls} <= set(sabotaged["called"])


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
