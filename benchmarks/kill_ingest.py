"""Kill `mars ingest` with -9 again and again: the last run must end with exactly the right rows.

    python -m benchmarks.kill_ingest [locomo5.json]

The right rows are those of an ingest that nobody disturbed. The moments are spread over its whole time; the first kills
come before anything was written, later ones in the midst of it.
"""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

from benchmarks.commands import LOCOMO, command, run, store_in

KILLS = 8
ROWS = "SELECT namespace, conversation, position, speaker, text, event_time, kind, status FROM mars_records"
ORPHANS = "SELECT count(*) FROM mars_vectors WHERE number NOT IN (SELECT number FROM mars_records)"


def rows(file: Path) -> Counter[tuple[object, ...]]:
    """Every record of a store by what it says; empty while there is none."""
    if not file.exists():
        return Counter()
    with sqlite3.connect(file) as database:
        try:
            return Counter(database.execute(ROWS).fetchall())
        except sqlite3.OperationalError:  # killed before the tables were made
            return Counter()


def main() -> None:
    """Print the report as one line of JSON."""
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else LOCOMO
    arguments = ("ingest", file, "--format", "locomo", "--namespace", "bench")
    with tempfile.TemporaryDirectory() as scratch:
        started = time.perf_counter()
        run(*arguments, store=store_in(scratch, "undisturbed.db"))
        whole = time.perf_counter() - started
        right = rows(Path(scratch, "undisturbed.db"))
        killed, midway, landed = 0, 0, [0]
        for kill in range(KILLS):
            process = subprocess.Popen(
                command(*arguments, store=store_in(scratch, "killed.db")),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            try:
                process.wait(timeout=whole * (kill + 1) / (KILLS + 1))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                killed += 1
            landed.append(rows(Path(scratch, "killed.db")).total())
            midway += 0 < landed[-1] < right.total()
        last = run(*arguments, store=store_in(scratch, "killed.db"))
        found = rows(Path(scratch, "killed.db"))
        with sqlite3.connect(Path(scratch, "killed.db")) as database:
            orphans = database.execute(ORPHANS).fetchone()[0]
            sound = database.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    report = {
        "rows": right.total(),
        "kills": killed,
        "midway": midway,
        "landed": landed[1:],
        "added_at_last": last["added"],
        "missing": (right - found).total(),
        "surplus": (found - right).total(),
        "orphan_vectors": orphans,
        "lost_between": sum(after < before for before, after in pairwise(landed)),
        "exact": found == right and orphans == 0 and sound and killed > 0,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
