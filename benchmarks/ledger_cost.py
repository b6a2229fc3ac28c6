"""What the ledger of calls costs a turn: the same turns of one call with the ledger in the database and in memory.

    python -m benchmarks.ledger_cost [--turns 60]

A scripted model, SQLite in a temporary folder, one conversation; checkpoints are saved either way. The two take turns,
block by block, so that both meet the same noise. Prints a table on standard error and JSON as its last line: medians
of the blocks in milliseconds of wall and of processor time per turn.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median

import anyio

from mars import Assistant, Mars, Team
from mars.persistence.ledger import MemoryLedger
from mars.testing import ScriptedModel

BLOCKS = 6
"""So many blocks of turns of each kind."""


def team() -> Team:
    """Return a team that makes one call a turn and remembers nothing."""
    model = ScriptedModel(lambda _: "In Oslo [m1].")
    off = frozenset({"checker", "memory", "reflection"})
    return Team(assistant=Assistant(model=model), without=off, remember=False)


async def block(mars: Mars, turns: int) -> tuple[float, float]:
    """Run turns; return the wall and the processor time of one, in milliseconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(turns):
        await mars.run("Where does she live?", user="ann", conversation="talk")
    return (time.perf_counter() - wall) / turns * 1e3, (time.process_time() - cpu) / turns * 1e3


async def measure(folder: Path, turns: int) -> dict[str, dict[str, float]]:
    """Return the times with each ledger."""
    async with AsyncExitStack() as stack:
        opened = {
            name: await stack.enter_async_context(Mars.open(f"sqlite:///{folder / name}.db", team=team()))
            for name in ("database", "memory")
        }
        object.__setattr__(opened["memory"].calls, "ledger", MemoryLedger())
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in opened}
        for mars in opened.values():
            await block(mars, 5)
        for _ in range(BLOCKS):
            for name, mars in opened.items():
                found[name].append(await block(mars, turns // BLOCKS))
    return {
        name: {
            "wall_ms": round(median(wall for wall, _ in times), 2),
            "cpu_ms": round(median(cpu for _, cpu in times), 2),
        }
        for name, times in found.items()
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--turns", type=int, default=60, help="turns of each kind")
    turns = max(BLOCKS, parser.parse_args().turns)
    with tempfile.TemporaryDirectory() as folder:
        found = anyio.run(measure, Path(folder), turns)
    for name, times in found.items():
        print(
            f"ledger in {name:9} {times['wall_ms']:7.2f} ms a turn, {times['cpu_ms']:.2f} ms of it CPU", file=sys.stderr
        )
    print(json.dumps({"turns": turns, **found}))


if __name__ == "__main__":
    main()
