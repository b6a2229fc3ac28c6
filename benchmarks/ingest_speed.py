"""How fast `mars ingest` reads a conversation, and whether a second run adds nothing.

    python -m benchmarks.ingest_speed [locomo5.json]

The fastest of three runs counts: what the machine does beside it only ever adds time. `turns_per_second` is over the
seconds that the command reports; `wall_seconds` includes the start of Python.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.commands import LOCOMO, run, store_in

RUNS = 3


def ingest(file: Path, store: str) -> tuple[dict[str, Any], float]:
    """Ingest into a store; return what the command reports, and how long it took in all."""
    started = time.perf_counter()
    report = run("ingest", file, "--format", "locomo", "--namespace", "bench", store=store)
    return report, time.perf_counter() - started


def main() -> None:
    """Print the report as one line of JSON."""
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else LOCOMO
    with tempfile.TemporaryDirectory() as scratch:
        runs = [ingest(file, store_in(scratch, f"{number}.db")) for number in range(RUNS)]
        first, wall = min(runs, key=lambda one: one[0]["seconds"])
        second, _ = ingest(file, store_in(scratch, "0.db"))
    report = {
        "turns": first["added"],
        "seconds": first["seconds"],
        "wall_seconds": round(wall, 2),
        "turns_per_second": round(first["added"] / first["seconds"]),
        "added_again": second["added"],
        "known_again": second["skipped"],
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
