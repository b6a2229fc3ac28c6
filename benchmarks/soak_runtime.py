"""Kill processes within a turn, again and again: resumed elsewhere, it must end as if nothing had happened.

    python -m benchmarks.soak_runtime --runs 500

The last line is JSON with ``runs``, ``wrong_result``, ``repeated_committed``, ``repeated_in_flight``, ``effects_twice``
and ``unresumable``; `mars.testing.turn_soak` says how a run goes and what each key counts. ``--sabotage ledger`` keeps
the ledger of calls out of the database, which must be found: the exit status is 1. ``--sabotage async`` lets a step
begin before the last one is saved; that shows only where a kill falls between the two, which few runs need not hit.
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
from dataclasses import asdict
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy: a process with threads is not forked

from mars.testing.turn_soak import Plan, soak

POSTGRES = Path(__file__).resolve().parents[1] / "tests" / "postgres.py"


def progress(done: int) -> None:
    """Show a person how far it is."""
    if sys.stderr.isatty():
        print(f"\r{done} runs", end="", file=sys.stderr)


def main() -> int:
    """Print the report as one line of JSON; the exit status is 1 where anything was found."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sabotage", choices=("ledger", "async"))
    options = parser.parse_args()
    started = time.perf_counter()
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        postgres = runpy.run_path(str(POSTGRES))
        missing = postgres["missing"]()
        server = "" if missing else stack.enter_context(postgres["cluster"]())
        if missing:
            print(f"without PostgreSQL: {missing}", file=sys.stderr)

        def database(name: str) -> str:
            postgres["database"](server, name).__enter__()
            return server.replace("/postgres?", f"/{name}?")

        plan = Plan(
            runs=options.runs,
            folder=scratch,
            seed=options.seed,
            postgres=database if server else None,
            ledger=options.sabotage != "ledger",
            durability="async" if options.sabotage == "async" else "sync",
        )
        report = soak(plan, progress)
    extra = {"postgres": not missing, "seconds": round(time.perf_counter() - started, 1)}
    print(json.dumps({**asdict(report), **extra}))
    return 0 if report.clean else 1


if __name__ == "__main__":
    sys.exit(main())
