"""How long the event loop stands still while Chroma is written to, which keeps the interpreter to itself meanwhile.

    python -m benchmarks.index_stalls [rows]

A task that sleeps for a millisecond at a time measures how much longer it slept, over an idle second, while the index
is built anew (gently, and not), and while it follows a burst of as many writes and the archiving of 200 records. On a
SQLite file with the built-in embedder. Milliseconds; the worst varies with what else the machine does. Prints a table
for people, then one line of JSON.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import anyio
import numpy as np

from mars.memory.engine import Memory
from mars.memory.records import NewRecord

SPACE = ("bench",)
TICK = 0.001


async def measured(work: Callable[[], Awaitable[object]]) -> dict[str, float]:
    """Return how long some work took and how long the loop stood still meanwhile."""
    late: list[float] = []

    async def watch() -> None:
        while True:
            before = time.perf_counter()
            await anyio.sleep(TICK)
            late.append(1000.0 * (time.perf_counter() - before - TICK))

    async with anyio.create_task_group() as group:
        group.start_soon(watch)
        started = time.perf_counter()
        await work()
        seconds = time.perf_counter() - started
        group.cancel_scope.cancel()
    return {
        "seconds": round(seconds, 2),
        "p99_ms": round(float(np.quantile(late, 0.99)), 1),
        "worst_ms": round(max(late), 1),
    }


async def caught_up(memory: Memory, write: Callable[[], Awaitable[object]]) -> None:
    """Write, and wait until the index has followed."""
    await write()
    while (state := (await memory.stats()).index) is not None and state.lag:
        await anyio.sleep(0.05)


async def run(rows: int) -> dict[str, dict[str, float]]:
    """Return the measures by what went on."""

    def news(what: str) -> list[NewRecord]:
        return [NewRecord(text=f"{what} {n} with lemon and {n % 77}", namespace=SPACE) for n in range(rows)]

    with tempfile.TemporaryDirectory() as folder:
        async with Memory.open(f"sqlite:///{Path(folder) / 'a.db'}") as memory:
            ids = [one.id for one in (await memory.add_many(news("tea")))[:200]]
            await memory.recall("tea", namespace=SPACE)
            await memory.reindex()  # loads Chroma
            return {
                "idle": await measured(partial(anyio.sleep, 1.0)),
                "reindex": await measured(memory.reindex),
                "reindex, not gently": await measured(partial(memory.reindex, gently=False)),
                "follow writes": await measured(partial(caught_up, memory, partial(memory.add_many, news("cake")))),
                "follow archiving": await measured(partial(caught_up, memory, partial(memory.archive, ids))),
            }


def main() -> None:
    """Measure, and print."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_500
    found = anyio.run(run, rows)
    for name, one in found.items():
        print(f"{name:22}{one['seconds']:8.2f} s   p99 {one['p99_ms']:7.1f} ms   worst {one['worst_ms']:7.1f} ms")
    print(json.dumps({"rows": rows, **found}))


if __name__ == "__main__":
    main()
