"""Kill processes that write to a memory, again and again: nothing acknowledged may be lost, nothing doubled.

    python -m benchmarks.soak_memory --runs 1000

The last line is JSON with ``runs``, ``lost``, ``duplicated``, ``orphans`` and ``ghosts``; `mars.testing.soak` says
how a run goes and what each key counts. ``torn`` are backups that were not whole. ``points_missed`` names the kill
points at which no child died. ``full_disk`` tells of a small file system that fills up four times while a memory writes
to it, where one may be mounted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import runpy
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy: a process with threads is not forked

from benchmarks import bad_input
from mars.errors import StoreFull
from mars.memory import points
from mars.memory.engine import Memory
from mars.memory.records import Grade, NewRecord
from mars.testing import RandomEmbedder
from mars.testing.soak import Plan, soak, warm

POSTGRES = Path(__file__).resolve().parents[1] / "tests" / "postgres.py"


def postgres_missing() -> str | None:
    """Return what is missing to run on PostgreSQL too; None where everything is here."""
    missing: str | None = runpy.run_path(str(POSTGRES))["missing"]()
    return missing


async def fill(folder: Path) -> dict[str, Any]:
    """Write to a file system until it is full, make room, and go on; return what became of what was acknowledged."""
    fillers, home = [folder / f"filler {one}" for one in range(3)], ("full",)
    for filler in fillers:
        filler.write_bytes(bytes(1 << 20))
    kept: dict[str, str] = {}
    report = {"times_full": 0, "acknowledged": 0, "lost": 0, "clean": False}
    async with Memory.open(f"sqlite:///{folder / 'memory.db'}", embedder=RandomEmbedder(8)) as memory:
        for room in [*fillers, None]:
            try:
                while report["acknowledged"] < 10_000:
                    await _some_call(memory, home, kept, report["acknowledged"])
                    report["acknowledged"] += 1
            except StoreFull:
                report["times_full"] += 1
            if room is not None:
                room.unlink()
    async with Memory.open(f"sqlite:///{folder / 'memory.db'}", embedder=RandomEmbedder(8)) as memory:
        held = {row.id: row.text for row in await memory.list(home)}
        report["lost"] = sum(held.get(one) != text for one, text in kept.items())
        report["clean"] = (await memory.doctor()).clean
    return report


async def _some_call(memory: Memory, home: tuple[str, ...], kept: dict[str, str], number: int) -> None:
    text = f"{number}: {os.urandom(1500).hex()}"
    if number % 3 == 0 or not kept:
        kept.update({row.id: row.text for row in await memory.add_many([NewRecord(text=text, namespace=home)] * 2)})
    elif number % 3 == 1:
        kept.update({row.id: row.text for row in [await memory.edit(next(iter(kept)), text=text)]})
    else:
        await memory.used(list(kept)[-1], Grade.GOOD, f"turn {number}")


def full_disk() -> None:
    """Be the process that mounts a small file system, seen by itself only, and fills it; print one line of JSON."""
    bad_input.leave_mounts()
    with tempfile.TemporaryDirectory() as scratch:
        try:
            bad_input.mount("tmpfs", Path(scratch), "tmpfs", options="size=5m")
        except OSError as error:
            print(json.dumps({"not_mounted": str(error)}))
            return
        try:
            print(json.dumps(asyncio.run(fill(Path(scratch)))))
        finally:
            bad_input.unmount(Path(scratch))


def progress(done: int) -> None:
    """Show a person how far it is."""
    if sys.stderr.isatty():
        print(f"\r{done} runs", end="", file=sys.stderr)


def main() -> int:
    """Print the report as one line of JSON; the exit status is 1 where anything was found."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--full-disk", action="store_true", help="only fill a small file system")
    options = parser.parse_args()
    if options.full_disk:
        full_disk()
        return 0
    line = [sys.executable, "-m", "benchmarks.soak_memory", "--full-disk"]
    filled = subprocess.run(line, capture_output=True, text=True, check=False)
    disk = json.loads(filled.stdout) if filled.returncode == 0 else {"failed": filled.stderr[-500:]}
    if "lost" in disk:
        disk["ok"] = disk["times_full"] == 4 and disk["lost"] == 0 and disk["clean"]
    warm()
    started = time.perf_counter()
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        postgres = runpy.run_path(str(POSTGRES))
        missing = postgres_missing()
        server = None if missing else stack.enter_context(postgres["cluster"]())
        if missing:
            print(f"without PostgreSQL: {missing}", file=sys.stderr)

        def database(name: str) -> str:
            postgres["database"](server, name).__enter__()
            return str(server).replace("/postgres?", f"/{name}?")

        plan = Plan(
            runs=options.runs,
            folder=scratch,
            seed=options.seed,
            jobs=options.jobs,
            postgres=None if server is None else database,
        )
        report = soak(plan, progress)
    for error in report.errors[:20]:
        print(error, file=sys.stderr)
    missed = sorted(set(points.POINTS) - set(report.killed))
    seconds = round(time.perf_counter() - started, 1)
    print(json.dumps({**report.values(), "points_missed": missed, "full_disk": disk, "seconds": seconds}))
    return 0 if report.clean and disk.get("ok", "not_mounted" in disk) else 1


if __name__ == "__main__":
    sys.exit(main())
