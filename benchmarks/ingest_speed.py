"""How fast `mars ingest` reads a conversation, and whether a second run adds nothing.

    python -m benchmarks.ingest_speed [locomo5.json]

`turns_per_second` is over the seconds that the command reports; `wall_seconds` includes the start of Python.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.commands import LOCOMO, run, store_in


def main() -> None:
    """Print the report as one line of JSON."""
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else LOCOMO
    with tempfile.TemporaryDirectory() as scratch:
        store = store_in(scratch)
        started = time.perf_counter()
        first = run("ingest", file, "--format", "locomo", "--namespace", "bench", store=store)
        wall = time.perf_counter() - started
        second = run("ingest", file, "--format", "locomo", "--namespace", "bench", store=store)
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
