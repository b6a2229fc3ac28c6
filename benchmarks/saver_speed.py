"""What a checkpoint costs: an empty graph on our saver and on LangGraph's AsyncSqliteSaver, in one run.

    python -m benchmarks.saver_speed [--nodes 8] [--turns 20] [--rounds 15] [--together 50]

The graph has so many nodes in a row that do nothing but count, with ``durability="sync"``: each superstep is saved
before the next one begins. A round runs so many turns, each on a new thread_id, on every saver in turn, so that what
else the machine does falls on all; `together` runs so many turns at once. Medians over the rounds. `superstep_cpu_ms`
is processor time of the whole process and `superstep_ms` wall time, both per superstep, the graph's own included, which
`none` shows alone (no saver). Durability: AsyncSqliteSaver comes with SQLite's ``synchronous=FULL`` (`langgraph_full`);
`langgraph_normal` sets NORMAL, as ours has by default. `cpu_to_langgraph` and `turns_to_langgraph` compare the two
at NORMAL, `..._full` at FULL. Prints a table, then one line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path
from typing import Any, TypedDict

from langgraph.graph import START, StateGraph

from mars import CheckpointSaver
from mars.memory.backends.connecting import Synchronous

THREADS = count()


class Counted(TypedDict):
    """The state of the empty graph."""

    count: int


def empty_graph(nodes: int, saver: Any) -> Any:
    """Return a compiled graph of so many nodes in a row."""
    builder = StateGraph(Counted)
    before = START
    for number in range(nodes):
        builder.add_node(f"node{number}", lambda state: {"count": state["count"] + 1})
        builder.add_edge(before, f"node{number}")
        before = f"node{number}"
    return builder.compile(checkpointer=saver)


async def savers(folder: Path, stack: AsyncExitStack) -> dict[str, Any]:
    """Open every saver that is compared, each on a file of its own."""
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

    opened: dict[str, Any] = {"none": None}
    durabilities: tuple[Synchronous, ...] = ("normal", "full")
    for durability in durabilities:
        ours = CheckpointSaver.open(f"sqlite:///{folder / f'mars-{durability}.db'}", synchronous=durability)
        opened[f"mars_{durability}"] = await stack.enter_async_context(ours)
        theirs = AsyncSqliteSaver.from_conn_string(str(folder / f"langgraph-{durability}.db"))
        opened[f"langgraph_{durability}"] = saver = await stack.enter_async_context(theirs)
        await saver.setup()
        await saver.conn.execute(f"PRAGMA synchronous = {durability}")
    return opened


async def turn(graph: Any, nodes: int) -> None:
    """Run one turn on a new thread and check its end."""
    config = {"configurable": {"thread_id": str(next(THREADS))}, "recursion_limit": nodes + 5}
    durable = {} if graph.checkpointer is None else {"durability": "sync"}
    state = await graph.ainvoke({"count": 0}, config, **durable)
    assert state["count"] == nodes


async def measure(options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Run the rounds; return the medians by saver."""
    seen: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        async with AsyncExitStack() as stack:
            opened = await savers(Path(folder), stack)
            graphs = {name: empty_graph(options.nodes, saver) for name, saver in opened.items()}
            for graph in graphs.values():
                await turn(graph, options.nodes)
            for number in range(options.rounds):
                names = list(graphs) if number % 2 else list(reversed(graphs))
                for name in names:
                    for key, value in (await one_round(graphs[name], options)).items():
                        seen.setdefault(name, {}).setdefault(key, []).append(value)
                sys.stderr.write(f"\rround {number + 1} of {options.rounds}")
    sys.stderr.write("\n")
    return {name: {key: statistics.median(values) for key, values in keys.items()} for name, keys in seen.items()}


async def one_round(graph: Any, options: argparse.Namespace) -> dict[str, float]:
    """Run so many turns one after the other, then so many at once."""
    steps = options.turns * options.nodes
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(options.turns):
        await turn(graph, options.nodes)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    start, start_cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(turn(graph, options.nodes) for _ in range(options.together)))
    many, many_cpu = time.perf_counter() - start, time.process_time() - start_cpu
    return {
        "superstep_cpu_ms": cpu * 1000 / steps,
        "superstep_ms": wall * 1000 / steps,
        "turns_per_second": options.turns / wall,
        "together_superstep_cpu_ms": many_cpu * 1000 / (options.together * options.nodes),
        "together_turns_per_second": options.together / many,
    }


def main() -> None:
    """Measure, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=8)
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--together", type=int, default=50)
    options = parser.parse_args()
    results: dict[str, Any] = dict(asyncio.run(measure(options)))
    keys = list(results["none"])
    print(f"{'':18}" + "".join(f"{key:>28}" for key in keys))
    for name, values in results.items():
        print(f"{name:18}" + "".join(f"{values[key]:28.3f}" for key in keys))
    for end, durability in (("", "normal"), ("_full", "full")):
        ours, theirs = results[f"mars_{durability}"], results[f"langgraph_{durability}"]
        results[f"cpu_to_langgraph{end}"] = ours["superstep_cpu_ms"] / theirs["superstep_cpu_ms"]
        results[f"turns_to_langgraph{end}"] = ours["turns_per_second"] / theirs["turns_per_second"]
        results[f"together_to_langgraph{end}"] = ours["together_turns_per_second"] / theirs["together_turns_per_second"]
    results["nodes"] = options.nodes
    print(json.dumps(results))


if __name__ == "__main__":
    main()
