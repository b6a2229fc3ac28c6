"""How long a callback blocks the event loop at most, while everything is done at once.

    python -m benchmarks.loop_stalls [--seconds 20] [--at-once 32] [--sabotage sleep|compute] [--show 5]

From a cold start, `Mars.open` included: so many conversations at once on SQLite, each turn after turn in which the
model calls a tool (which the Checker reviews) and then answers, with checkpoints, ledger and lease; beside them records
are added one by one and by the hundred, recalled, listed, read, graded and archived, one of them with 5 MB of metadata,
and a file of 400 messages is ingested again and again. `mars.testing.LoopWatchdog` times every callback of the loop:
``blocked_ms`` is the longest that one of them ran or waited in a call; what the machine, the process's other threads or
Python's collector of garbage took from it is left out, and ``wall_ms`` has it. Run it alone: where other programs take
the processor from a thread that holds the interpreter, that looks like waiting in a call; ``computed_ms``, the longest
that a callback computed, does not depend on them. ``collector_ms`` is the longest collection after what is there once
`Mars` is open was frozen, as docs/runtime.md advises for servers (``--thaw``: without that).
``late_ms`` is by how much a task that sleeps a millisecond at a time wakes too late: what it waits for all callbacks
before it. ``--sabotage`` makes a tool block, which must be found. Prints what blocked longest for people, then one line
of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

from mars import Assistant, Mars, Team
from mars.ingest import ingest
from mars.memory.records import NewRecord
from mars.testing import LoopWatchdog, ScriptedModel, Step

MESSAGES = 400
HEAVY = {"rows": [{"id": n, "name": f"row {n}", "note": "x" * 100} for n in range(36_000)]}
"""Some 5 MB of metadata."""
WORK = 0.06
"""Seconds that a sabotaged tool blocks."""


def reply(messages: Any) -> Step | str:
    """Call a tool, then answer by the first memory."""
    return "It is in room 7 [m1]." if messages[-1].type == "tool" else Step(tool_calls=(("open_door", {"room": 7}),))


async def open_door(room: int) -> str:
    """Open the door of a room."""
    return f"the door of {room} is open"


async def sleeping(room: int) -> str:
    """Open the door of a room, and keep everybody waiting."""
    time.sleep(WORK)
    return f"the door of {room} is open"


async def computing(room: int) -> str:
    """Open the door of a room by computing."""
    until = time.thread_time() + WORK
    while time.thread_time() < until:
        pass
    return f"the door of {room} is open"


TOOLS: dict[str, Any] = {"": open_door, "sleep": sleeping, "compute": computing}


class Load:
    """The work, and how much of it was done."""

    def __init__(self, mars: Mars, folder: Path, until: float) -> None:
        self.mars = mars
        self.folder = folder
        self.until = until
        self.done: dict[str, int] = {}

    async def repeat(self, name: str, work: Callable[[int], Awaitable[object]]) -> None:
        """Do something again and again until the time is over, at least once."""
        for number in itertools.count():
            await work(number)
            self.done[name] = self.done.get(name, 0) + 1
            if time.monotonic() > self.until:
                return

    async def turn(self, who: int, number: int) -> None:
        """Run one turn of a conversation."""
        result = await self.mars.run("Open room 7. Where is item 7?", user="ann", conversation=f"{who}-{number // 10}")
        assert result.usage.tool_calls == 1, result

    async def add(self, number: int) -> None:
        """Add records, and look at them in every way."""
        memory, space = self.mars.memory, ("bob",)
        one = await memory.add(f"Crate {number} stands by gate {number % 7}.", space, speaker="bob")
        await memory.recall(f"crate {number % 50}", namespace=space)
        await memory.used([one.id], turn=f"add {number}")
        await memory.get(one.id)
        if number % 5 == 0:
            boxes = (f"Box {number}-{n} is full of {n % 9}." for n in range(100))
            await memory.add_many([NewRecord(text=text, namespace=space) for text in boxes])
            await memory.list(namespace=space)
            await memory.stats()
            await memory.archive([one.id])

    async def heavy(self, number: int) -> None:
        """Write and read a record that carries much."""
        one = await self.mars.memory.add(f"Report {number}.", ("eve",), metadata=HEAVY)
        await self.mars.memory.get(one.id)
        await asyncio.sleep(1.0)

    async def read(self, number: int) -> None:
        """Ingest a file into a namespace of its own."""
        await ingest(self.mars.memory, self.folder / "talk.jsonl", "jsonl", (f"file {number}",))


async def late(times: list[float]) -> None:
    """Note by how many milliseconds a short sleep takes too long."""
    while True:
        before = time.perf_counter()
        await asyncio.sleep(0.001)
        times.append(1000 * (time.perf_counter() - before - 0.001))


async def run(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Watch the loop from the first import to the last write."""
    told = ({"text": f"Message {n}: bring {n % 13} lamps to pier {n}.", "speaker": "eve"} for n in range(MESSAGES))
    (folder / "talk.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in told))
    team = Team(assistant=Assistant(model=ScriptedModel(reply)), iterations=1)
    times: list[float] = []
    tool = TOOLS[options.sabotage]
    tool.__name__ = "open_door"
    with LoopWatchdog() as dog:
        ticking = asyncio.create_task(late(times))
        async with Mars.open(f"sqlite:///{folder / 'life.db'}", team=team, tools=[tool]) as mars:
            await mars.memory.add("Item 7 is in room 7.", ("ann",), speaker="ann")
            start = dog.collected
            if not options.thaw:
                gc.collect()
                gc.freeze()
            dog.collected = 0.0
            load = Load(mars, folder, time.monotonic() + options.seconds)
            turns = [load.repeat("turns", partial(load.turn, who)) for who in range(options.at_once)]
            others = [load.repeat(name, getattr(load, name)) for name in ("add", "heavy", "read")]
            await asyncio.gather(*turns, *others)
        ticking.cancel()
    worst = sorted(dog.stalls, key=lambda stall: -stall.blocked)
    for stall in worst[: options.show]:
        print(json.dumps(stall.plain(), indent=1))
    cuts = statistics.quantiles(times, n=100)
    return {
        "blocked_ms": worst[0].plain()["blocked"] if worst else 0.0,
        "computed_ms": round(1000 * max((stall.ran - stall.collecting for stall in worst), default=0.0), 1),
        "over_20_ms": sum(stall.blocked > 0.02 for stall in worst),
        "wall_ms": max((stall.plain()["wall"] for stall in worst), default=0.0),
        "over_20_ms_by_the_wall": len(worst),
        "collector_ms": round(1000 * dog.collected, 1),
        "collector_at_start_ms": round(1000 * start, 1),
        "callbacks": dog.callbacks,
        "late_ms": {"p50": round(cuts[49], 2), "p99": round(cuts[98], 2), "worst": round(max(times), 1)},
        "done": load.done,
        "conversations_at_once": options.at_once,
    }


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--at-once", type=int, default=32)
    parser.add_argument("--sabotage", choices=list(TOOLS), default="")
    parser.add_argument("--thaw", action="store_true", help="do not freeze what is there after the start")
    parser.add_argument("--show", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(asyncio.run(run(options, Path(folder)))))


if __name__ == "__main__":
    main()
