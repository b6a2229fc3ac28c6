"""What a turn of the runtime costs: the whole loop, and an empty graph of as many nodes on AsyncSqliteSaver, at once.

    python -m benchmarks.runtime_speed [--rounds 8] [--turns 25] [--episodes 200] [--latency 0.5] [--long 1000]

The loop runs begin, recall, assistant, checker and consolidate: a model that replies at once with a cited draft, a
Checker by rules, a memory of 200 records, nothing new remembered; a lease, a ledger of calls, a transcript. The empty
graph has as many nodes in a row that count. Both save every superstep (``durability="sync"``) on SQLite with
``synchronous=NORMAL``, in one conversation a round, and take their rounds alternately; medians over the rounds.
`superstep_cpu_ms` is the processor time of the whole process per node; `turns_per_second` is by the clock on the wall.
`episodes_200_cpu_ms_per_superstep`: so many conversations at once, each one turn, whose model (in the empty graph: one
node) waits so many seconds. The sizes are those of `benchmarks.runtime_size`. Writes `benchmarks/results/runtime.json`,
prints a table, then one line of JSON with `ratio`s of ours to theirs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langgraph.graph import START, StateGraph

from benchmarks import runtime_size
from benchmarks.saver_speed import Counted, empty_graph
from mars import Assistant, Mars, Team
from mars.testing import FixedClock

RESULTS = Path(__file__).with_name("results") / "runtime.json"
NODES = 5
"""begin, recall, assistant, checker, consolidate."""
RECORDS = 200
RATIOS = ("superstep_cpu_ms", "turns_per_second", "episodes_200_cpu_ms_per_superstep")

Turn = Callable[[str], Awaitable[object]]


class CitingModel(BaseChatModel):
    """Cites the first record, after so many seconds in which nobody computes."""

    latency: float = 0.0
    """Seconds."""

    @property
    def _llm_type(self) -> str:
        return "citing"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage("Item 7 is in room 7 [m1]."))])

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        if self.latency:
            await asyncio.sleep(self.latency)
        yield ChatGenerationChunk(message=AIMessageChunk(content="Item 7 is in room 7 [m1].", chunk_position="last"))


async def ours(folder: Path, latency: float, stack: AsyncExitStack) -> Turn:
    """Open the loop over a memory with records; return what runs a turn of a conversation."""
    team = Team(assistant=Assistant(model=CitingModel(latency=latency)), iterations=1)
    url = f"sqlite:///{folder / f'mars-{latency}.db'}"
    mars = await stack.enter_async_context(Mars.open(url, team=team, clock=FixedClock()))
    for number in range(RECORDS):
        await mars.memory.add(f"Item {number} is in room {number}.", namespace=("ann",), speaker="ann")

    async def turn(conversation: str) -> None:
        result = await mars.run("Where is item 7?", user="ann", conversation=conversation)
        assert result.iterations == 1, result

    return turn


async def theirs(folder: Path, latency: float, stack: AsyncExitStack) -> Turn:
    """Open the empty graph; return what runs a turn of a thread."""
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

    saver = await stack.enter_async_context(AsyncSqliteSaver.from_conn_string(str(folder / f"langgraph-{latency}.db")))
    await saver.setup()
    await saver.conn.execute("PRAGMA synchronous = normal")
    graph = waiting_graph(latency, saver) if latency else empty_graph(NODES, saver)

    async def turn(conversation: str) -> None:
        config = {"configurable": {"thread_id": conversation}, "recursion_limit": NODES + 5}
        await graph.ainvoke({"count": 0}, config, durability="sync")

    return turn


def waiting_graph(latency: float, saver: Any) -> Any:
    """Return the empty graph with one node that waits."""

    async def wait(state: Counted) -> dict[str, int]:
        await asyncio.sleep(latency)
        return {"count": state["count"] + 1}

    builder = StateGraph(Counted)
    before = START
    for number in range(NODES):
        builder.add_node(f"node{number}", wait if number == 2 else lambda state: {"count": state["count"] + 1})
        builder.add_edge(before, f"node{number}")
        before = f"node{number}"
    return builder.compile(checkpointer=saver)


async def measure(options: argparse.Namespace, folder: Path) -> dict[str, dict[str, float]]:
    """Run the rounds, then the episodes; return the medians by system."""
    seen: dict[str, dict[str, list[float]]] = {"mars": {}, "langgraph": {}}
    async with AsyncExitStack() as stack:
        run = {"mars": await ours(folder, 0.0, stack), "langgraph": await theirs(folder, 0.0, stack)}
        slow = {
            "mars": await ours(folder, options.latency, stack),
            "langgraph": await theirs(folder, options.latency, stack),
        }
        for name in run:
            await asyncio.gather(*(run[name](f"warm {number}") for number in range(3)))
        for number in range(options.rounds):
            for name in run if number % 2 else reversed(run):
                wall, cpu = time.perf_counter(), time.process_time()
                for _ in range(options.turns):
                    await run[name](f"round {number}")
                wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
                add(seen[name], "superstep_cpu_ms", cpu * 1e3 / (options.turns * NODES))
                add(seen[name], "turns_per_second", options.turns / wall)
            sys.stderr.write(f"\rround {number + 1} of {options.rounds}")
        sys.stderr.write("\n")
        for number in range(3):
            for name in slow if number % 2 else reversed(slow):
                wall, cpu = time.perf_counter(), time.process_time()
                await asyncio.gather(*(slow[name](f"episode {number} {one}") for one in range(options.episodes)))
                wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
                add(seen[name], "episodes_200_cpu_ms_per_superstep", cpu * 1e3 / (options.episodes * NODES))
                add(seen[name], "episodes_200_seconds", wall)
    return {name: {key: statistics.median(values) for key, values in some.items()} for name, some in seen.items()}


def add(seen: dict[str, list[float]], key: str, value: float) -> None:
    """Note a measured value."""
    seen.setdefault(key, []).append(value)


async def everything(options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Measure speed and size."""
    with tempfile.TemporaryDirectory() as folder:
        found = await measure(options, Path(folder))
    with tempfile.TemporaryDirectory() as folder:
        sizes = await runtime_size.measure(options.long, 40, Path(folder))
    for name, some in found.items():
        some["nodes"] = NODES
        some["turns_1000_file_mb"] = sizes[f"{name}_file_mb"]
        some["turn_1000_over_turn_10"] = sizes[f"{name}_last_over_tenth"]
    return found


UNITS = {
    "superstep_cpu_ms": "ms",
    "turns_per_second": "1/s",
    "nodes": "nodes",
    "turns_1000_file_mb": "MB",
    "turn_1000_over_turn_10": "ratio",
    "episodes_200_cpu_ms_per_superstep": "ms",
    "episodes_200_seconds": "s",
}


def main() -> None:
    """Measure, write the file, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--turns", type=int, default=25)
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument("--latency", type=float, default=0.5)
    parser.add_argument("--long", type=int, default=1000)
    found = asyncio.run(everything(parser.parse_args()))
    rows = [
        {"system": name, "measure": key, "value": some[key], "unit": unit}
        for name, some in found.items()
        for key, unit in UNITS.items()
    ]
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
    for key, unit in UNITS.items():
        print(f"{key:36}" + "".join(f"{name} {some[key]:10.3f}   " for name, some in found.items()) + unit)
    ratio = {key: found["mars"][key] / found["langgraph"][key] for key in RATIOS}
    print(json.dumps({**found, "ratio": ratio}))


if __name__ == "__main__":
    main()
