"""Kill processes within a turn, again and again: resumed elsewhere, it must end as if nothing had happened.

    python -m benchmarks.soak_runtime --runs 500
    python -m benchmarks.soak_runtime --every run_after_commit

The last line is JSON with ``runs``, ``wrong_result``, ``repeated_committed``, ``repeated_in_flight``, ``effects_twice``
and ``unresumable``; `mars.testing.turn_soak` says how a run goes and what each key counts. Under ``sabotaged`` is how
much a few runs found with the ledger of calls kept out of the database, and with steps that do not wait until the one
before them is saved (``durability="async"``): neither may be 0. ``--sabotage ledger`` or ``async`` does all runs so.
The exit status is 1 where anything was found, and where a sabotage was not.
"""

from __future__ import annotations

import argparse
import json
import os
import runpy
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy: a process with threads is not forked

from mars.testing.turn_soak import Plan, Report, soak

POSTGRES = Path(__file__).resolve().parents[1] / "tests" / "postgres.py"
SABOTAGED = 6
"""Runs of each sabotage."""


def progress(done: int) -> None:
    """Show a person how far it is."""
    if sys.stderr.isatty():
        print(f"\r{done} runs", end="", file=sys.stderr)


def database(stack: ExitStack, server: str | None) -> Callable[[str], str] | None:
    """Return what makes a database on a server, or on one that lasts as long as `stack`; None without PostgreSQL."""
    postgres = runpy.run_path(str(POSTGRES))
    if server is None:
        if missing := postgres["missing"]():
            print(f"without PostgreSQL: {missing}", file=sys.stderr)
            return None
        server = stack.enter_context(postgres["cluster"]())
    made = server

    def make(name: str) -> str:
        url: str = postgres["database"](made, name).__enter__()
        return url

    return make


def sabotaged(plan: Plan, way: str) -> Plan:
    """Return a plan with the ledger off, or with steps that do not wait."""
    return replace(plan, ledger=False) if way == "ledger" else replace(plan, durability="async")


def measure(options: argparse.Namespace) -> tuple[Report, dict[str, int], bool]:
    """Return what was found, how much each sabotage let be found, and whether PostgreSQL was there."""
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        make = database(stack, options.postgres)
        plan = Plan(runs=options.runs, folder=scratch, seed=options.seed, every=options.every, postgres=make)
        if options.sabotage:
            return soak(sabotaged(plan, options.sabotage), progress), {}, make is not None
        report, shown = soak(plan, progress), {}
        for way in ("ledger", "async"):
            folder = scratch / way
            folder.mkdir()
            few = replace(plan, runs=SABOTAGED, every="", folder=folder, postgres=None)
            shown[way] = soak(sabotaged(few, way)).found
        return report, shown, make is not None


def main() -> int:
    """Print the report as one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--every", default="", help="instead, kill at each time that a turn reaches this point")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sabotage", choices=("ledger", "async"))
    parser.add_argument("--postgres", help="URL of a server to make a database on; else one is started")
    options = parser.parse_args()
    started = time.perf_counter()
    report, shown, postgres = measure(options)
    extra = {"sabotaged": shown, "postgres": postgres, "seconds": round(time.perf_counter() - started, 1)}
    print(json.dumps({**asdict(report), **extra}))
    return 1 if report.found or not all(shown.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
