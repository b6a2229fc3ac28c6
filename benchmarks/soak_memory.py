"""Kill processes that write to a memory, again and again: nothing acknowledged may be lost, nothing doubled.

    python -m benchmarks.soak_memory --runs 1000

The last line is JSON with ``runs``, ``lost``, ``duplicated``, ``orphans`` and ``ghosts``; `mars.testing.soak` says
how a run goes and what each key counts.
"""

from __future__ import annotations

import argparse
import json
import os
import runpy
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy: a process with threads is not forked

from mars.testing.soak import Plan, soak, warm

POSTGRES = Path(__file__).resolve().parents[1] / "tests" / "postgres.py"


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
    options = parser.parse_args()
    warm()
    started = time.perf_counter()
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        postgres = runpy.run_path(str(POSTGRES))
        missing = postgres["missing"]()
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
    print(json.dumps({**report.values(), "seconds": round(time.perf_counter() - started, 1)}))
    return 0 if report.clean else 1


if __name__ == "__main__":
    sys.exit(main())
