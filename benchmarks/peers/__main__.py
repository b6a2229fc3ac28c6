"""MARS's memory, the memories of others and a floor, side by side in one run on one machine.

    make bench-memory [ARGS="--rows 1000,10000 --systems mars,chroma"]

Writes benchmarks/results/memory.json, a list with a row for each system, size, operation and durability; memory.md,
the same as tables; and memory.meta.json: when, where, on what versions. All get the same vectors (384 dimensions,
clustered, seeded) and the same questions; embedding is a lookup for all. Each system runs in a process of its own, and
they take turns, so that what else the machine does falls on all. `recall` is the share of the 10 nearest by cosine that
was found, MARS apart (see the last part of memory.md). `open` is from a fresh process after its imports to the first
answer, and its `rss_mb` is what such a process takes. A row without figures says `why`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.peers.report import describe, write
from benchmarks.peers.rounds import OPERATIONS, QUESTIONS, SPARE, Cell, Size
from benchmarks.peers.system import ENTRIES, Entry, entry
from benchmarks.peers.team import Member
from benchmarks.peers.workload import write_workload

RESULTS = Path(__file__).resolve().parents[1] / "results"
MEASURED_WITH_EACH = ("add", "bulk_add")
"""What is measured at every durability; the rest is under the first."""


def operations(system: Entry, durability: str) -> tuple[str, ...]:
    """Return what is measured of a system at a durability."""
    return OPERATIONS if durability == next(iter(system.durabilities)) else MEASURED_WITH_EACH


def left_out(system: Entry, rows: int, named: bool) -> bool:
    """Whether a size is too much for a system, unless the system was named."""
    return rows > system.largest and not named


def measured(
    rows: int, systems: list[Entry], named: bool, scratch: Path, say: Callable[[str], None]
) -> Iterator[dict[str, Any]]:
    """Yield the rows of one size."""
    team = [
        Member(system, durability, scratch / f"{rows}-{system.name}-{durability.replace(' ', '-')}", scratch)
        for system in systems
        for durability in system.durabilities
        if not left_out(system, rows, named)
    ]
    size = Size(rows, team, scratch, say)
    try:
        size.measure()
    finally:
        for member in team:
            member.stop()
            shutil.rmtree(member.folder, ignore_errors=True)
    for member in team:
        for operation in operations(member.entry, member.durability):
            cell = size.cells.get((member, operation), Cell(why=member.why))
            yield cell.row(member.entry, rows, operation, member.durability)
    for system in systems:
        if left_out(system, rows, named):
            for durability in system.durabilities:
                for operation in operations(system, durability):
                    why = f"left out unless named by --systems: {system.why}"
                    yield Cell(why=why).row(system, rows, operation, durability)


def main(arguments: list[str] | None = None) -> None:
    """Measure, write the files and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", default="1000,10000,100000", help="sizes of store, joined by commas")
    parser.add_argument("--systems", help="only these, joined by commas; sizes left out by default are then measured")
    parser.add_argument("--output", type=Path, default=RESULTS / "memory.json", help="the file of results")
    options = parser.parse_args(arguments)
    sizes = sorted({int(size) for size in options.rows.split(",")})
    if sizes[0] < QUESTIONS:
        parser.error(f"a store has at least {QUESTIONS} rows")
    systems = [entry(name) for name in options.systems.split(",")] if options.systems else list(ENTRIES)
    started, clock = datetime.now(UTC), time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - clock:6.0f} s] {text}", file=sys.stderr, flush=True)

    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that nothing is left behind
    results: list[dict[str, Any]] = []
    about = describe(systems, started)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        say("making rows and questions")
        write_workload(scratch, sizes[-1] + SPARE, QUESTIONS, sizes[0])
        for rows in sizes:
            results += measured(rows, systems, options.systems is not None, scratch, say)
    about |= {"seconds": round(time.monotonic() - clock), "arguments": sys.argv[1:] if arguments is None else arguments}
    print(write(options.output, results, about, systems))
    say(f"written: {options.output}")
    print(json.dumps({"rows": len(results), "seconds": about["seconds"], "output": str(options.output)}))


if __name__ == "__main__":
    main()
