"""The same episodes on every database and engine: what came of them must be the same, also where a worker is killed.

    make bench-ray                                              all of it, in an environment with Ray
    python -m benchmarks.simulation_engines --skip ray          without Ray
    make bench-ray ARGS="--sabotage seed"                       the second of each pair draws other episodes
    make bench-ray ARGS="--sabotage retries"                    Ray may not play again what a death cut off

Plays `EPISODES` of each world: memories in plain dictionaries, in SQLite files, in PostgreSQL (a cluster of its own in
a temporary folder), by local processes and by two workers of Ray, with and without PostgreSQL; and once more by Ray
while the first worker that is in the midst of an episode is killed (SIGKILL). Prints JSON: ``differing`` counts the
ways whose canonical results are not those of plain dictionaries, ``left_behind`` the schemas and files of episodes that
are still there, ``killed`` the workers killed and ``lost`` whether the simulation failed by it. Needs Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
from sqlalchemy import text

from mars.errors import EpisodeLost
from mars.memory.backends.connecting import engine_for
from mars.simulation.config import SimulationConfig
from mars.simulation.databases import IN_MEMORY
from mars.simulation.results import SCHEMA, Results, canonical_hash
from mars.simulation.running import simulate
from mars.simulation.worlds import Cell
from tests import postgres

VARIANTS = ("fifo", "vector", "memorybank", "fsrs", "mars")
CONFIGS = [
    SimulationConfig(
        world=world, cells=(Cell(noise=2, change=0.5, repeat=1, gap=20),), seeds=(11, 12), variants=VARIANTS
    )
    for world in ("assistant", "operations", "scheduler")
]
EPISODES = sum(len(config.tasks()) for config in CONFIGS)


async def canonical(folder: Path, database: str, engine: str, seeds: tuple[int, ...]) -> str:
    """Play everything once and return the hash of what came of it."""
    episodes = []
    for config in CONFIGS:
        config = replace(config, database=database, seeds=seeds)
        done = await simulate(config, folder / config.world, engine=engine)
        assert done.played == len(config.tasks()), "an empty folder held results"
        episodes += done.episodes
    return canonical_hash([(replace(task, seed=number), outcome) for number, (task, outcome) in enumerate(episodes)])


async def with_a_kill(folder: Path, retries: int) -> dict[str, Any]:
    """Play the last world by Ray, and kill a worker in the midst of an episode; say what came of it."""
    from mars.simulation.engines import open_engine

    tasks = CONFIGS[-1].tasks()
    results = Results(folder)
    found: dict[str, Any] = {"killed": 0, "lost": False}

    async with open_engine("ray", 2, retries=retries) as engine:
        ended = threading.Event()
        killer = threading.Thread(target=kill_one, args=(found, ended))
        killer.start()
        waiting = iter(tasks)

        async def work() -> None:
            for task in waiting:
                results.add(task, await engine.play(task))

        try:
            async with anyio.create_task_group() as group:
                group.start_soon(work)
                group.start_soon(work)
        except* EpisodeLost:
            found["lost"] = True
        ended.set()
        await anyio.to_thread.run_sync(killer.join)
    found["canonical"], found["finished"] = canonical_hash(results.of(tasks)), len(results.of(tasks))
    results.close()
    return found


def kill_one(found: dict[str, Any], ended: threading.Event) -> None:
    """Kill the first of our workers that plays; it is held still while we look, so that it is in the midst of it."""
    while not ended.is_set():
        for worker in descendants(os.getpid()):
            if playing(worker):
                os.kill(worker, signal.SIGSTOP)
                if playing(worker):
                    os.kill(worker, signal.SIGKILL)
                    found["killed"] += 1
                    return
                os.kill(worker, signal.SIGCONT)
        time.sleep(0.005)


def descendants(root: int) -> Iterator[int]:
    """Yield the processes below a process."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    below, new = {root}, {root}
    while new:
        new = {one for one, parent in parents.items() if parent in new} - below
        below |= new
    yield from below - {root}


def playing(process: int) -> bool:
    """Tell whether a worker of Ray is playing, by the title that Ray gives it."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().startswith(b"ray::play_episode")
    except OSError:
        return False


@contextmanager
def ways(folder: Path, skipped: str) -> Iterator[dict[str, tuple[str, str]]]:
    """Yield (database, engine) by name."""
    with postgres.cluster() as server, postgres.database(server, "alone") as alone:
        found = {
            "memory": (IN_MEMORY, "local"),
            "sqlite": (f"sqlite:///{folder}/episodes.db", "local"),
            "postgresql": (alone, "local"),
        }
        if skipped == "ray":
            yield found
            return
        with postgres.database(server, "shared") as shared:
            yield {**found, "ray": (IN_MEMORY, "ray"), "ray-postgresql": (shared, "ray")}


def left_behind(folder: Path, databases: set[str]) -> int:
    """Count what episodes have left: files, and schemas other than that of the results."""
    count = len(list(folder.glob("episodes*")))
    for url in databases:
        if url.startswith("postgresql"):
            engine = engine_for(url)
            with engine.connect() as connection:
                names = connection.scalars(text("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'mars%'"))
                count += len({*names} - {SCHEMA})
            engine.dispose()
    return count


async def measure(skipped: str, sabotage: str | None) -> dict[str, Any]:
    """Play every way; return what is printed."""
    found: dict[str, Any] = {"episodes": EPISODES, "canonical": {}, "seconds": {}}
    with tempfile.TemporaryDirectory() as name, ways(Path(name), skipped) as all_ways:
        usual_only = sabotage == "retries"
        for number, (way, (database, engine)) in enumerate([*all_ways.items()][: 1 if usual_only else None]):
            seeds = (13, 14) if sabotage == "seed" and number else (11, 12)
            began = time.perf_counter()
            found["canonical"][way] = await canonical(Path(name) / way, database, engine, seeds)
            found["seconds"][way] = round(time.perf_counter() - began, 1)
            sys.stderr.write(f"{way}: {found['canonical'][way][:16]} in {found['seconds'][way]} s\n")
        found["left_behind"] = left_behind(Path(name), {url for url, _ in all_ways.values()})
        if skipped != "ray":
            whole = Results(Path(name) / "memory" / CONFIGS[-1].world)
            undisturbed = canonical_hash(whole.of(CONFIGS[-1].tasks()))
            whole.close()
            kill = await with_a_kill(Path(name) / "killed", 0 if sabotage == "retries" else 3)
            found |= {"killed": kill["killed"], "lost": kill["lost"], "finished": kill["finished"]}
            found["killed_differs"] = kill["canonical"] != undisturbed
            found |= quiet()
    usual = found["canonical"]["memory"]
    found["differing"] = sum(one != usual for one in found["canonical"].values())
    return found


def quiet() -> dict[str, Any]:
    """Return whether Ray would report its use to anybody."""
    from ray._common.usage.usage_lib import usage_stats_enabled

    return {"usage_stats": bool(usage_stats_enabled())}


def main() -> int:
    """Print what came of it as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--skip", choices=["ray"], default="")
    parser.add_argument("--sabotage", choices=["seed", "retries"])
    chosen = parser.parse_args()
    if lacking := postgres.missing():
        print(lacking, file=sys.stderr)
        return 1
    print(json.dumps(anyio.run(measure, chosen.skip, chosen.sabotage)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
