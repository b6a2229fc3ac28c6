"""How a conversation of many turns grows: ours, and plain `add_messages` on LangGraph's AsyncSqliteSaver, in one run.

    python -m benchmarks.runtime_size [--turns 1000] [--words 40]

Each turn the user says a sentence of so many words, every tenth turn tells something to remember, and a scripted model
replies as long. Ours is the whole loop with its memory, drafts unchecked by a model; theirs is one node that appends
the reply to the messages. Both save every superstep (``durability="sync"``) and take their turns alternately, so that
what else the machine does falls on both. `*_file_mb` is the size of the database file once it is closed, less the text
that was said, in millions of bytes, and `mars_open_mb` that with SQLite's log (up to 16 MB) before it is closed.
`*_last_over_tenth` is the processor time of the whole process for a turn, the median of the last five turns over the
median of turns 8 to 12. With `--turns` under 1000 the keys stay and `turns` says how many there were. Prints a table,
then one line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, TypedDict

from langchain_core.messages import AIMessage, HumanMessage
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages

from mars import Assistant, Mars, Team
from mars.testing import FixedClock, ScriptedModel

WORDS = "harbour lantern meadow copper violin thunder orchard granite feather compass ribbon saddle".split()

Turn = Callable[[str], Awaitable[object]]


class Talk(TypedDict):
    """The state of the plain graph."""

    messages: Annotated[list[Any], add_messages]


def sentence(number: int, words: int, dice: random.Random) -> str:
    """Return what is said in a turn: mostly a question, every tenth time something to remember."""
    body = " ".join(dice.choice(WORDS) for _ in range(words - 4))
    return f"In entry {number} {body}." if number % 10 == 0 else f"What about {number} {body}?"


async def ours(path: Path, words: int, stack: AsyncExitStack) -> Turn:
    """Open the loop; return what runs a turn."""
    clock = FixedClock()
    reply = " ".join(["reply"] * words)
    team = Team(assistant=Assistant(model=ScriptedModel(lambda _: reply)), without=frozenset({"checker"}))
    mars = await stack.enter_async_context(Mars.open(f"sqlite:///{path}", team=team, clock=clock))

    async def turn(said: str) -> None:
        clock.advance(minutes=1)
        await mars.run(said, user="ann", conversation="long")

    return turn


async def theirs(path: Path, words: int, stack: AsyncExitStack) -> Turn:
    """Open the plain graph; return what runs a turn."""
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

    saver = await stack.enter_async_context(AsyncSqliteSaver.from_conn_string(str(path)))
    reply = " ".join(["reply"] * words)
    builder = StateGraph(Talk)
    builder.add_node("answer", lambda _: {"messages": [AIMessage(reply)]})
    builder.add_edge(START, "answer")
    graph: Any = builder.compile(checkpointer=saver)

    async def turn(said: str) -> None:
        config = {"configurable": {"thread_id": "long"}, "recursion_limit": 10}
        await graph.ainvoke({"messages": [HumanMessage(said)]}, config, durability="sync")

    return turn


def size(path: Path) -> int:
    """Return the bytes of a database with its log."""
    return sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*") if file.is_file())


async def measure(turns: int, words: int, folder: Path) -> dict[str, float]:
    """Run the turns; return sizes and ratios."""
    dice = random.Random(0)
    seconds: dict[str, list[float]] = {"mars": [], "langgraph": []}
    paths = {name: folder / f"{name}.db" for name in seconds}
    told = 0
    async with AsyncExitStack() as stack:
        run = {
            "mars": await ours(paths["mars"], words, stack),
            "langgraph": await theirs(paths["langgraph"], words, stack),
        }
        for number in range(1, turns + 1):
            said = sentence(number, words, dice)
            told += len(said.encode()) + words * len("reply ") - 1
            for name in run if number % 2 else reversed(run):
                start = time.process_time()
                await run[name](said)
                seconds[name].append(time.process_time() - start)
            if number % 50 == 0:
                sys.stderr.write(f"\rturn {number} of {turns}")
        sys.stderr.write("\n")
        log = size(paths["mars"]) / 1e6
    figures = {f"{name}_file_mb": (size(path) - told) / 1e6 for name, path in paths.items()}
    figures["mars_open_mb"] = log
    for name, spent in seconds.items():
        tenth, last = statistics.median(spent[7:12]), statistics.median(spent[-5:])
        figures |= {f"{name}_tenth_cpu_ms": tenth * 1e3, f"{name}_last_cpu_ms": last * 1e3}
        figures[f"{name}_last_over_tenth"] = last / tenth
    return {**figures, "text_mb": told / 1e6}


def main() -> None:
    """Measure, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=1000)
    parser.add_argument("--words", type=int, default=40)
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(measure(options.turns, options.words, Path(folder)))
    for name in ("mars", "langgraph"):
        print(
            f"{name:10} {figures[f'{name}_file_mb']:10.2f} MB beyond {figures['text_mb']:.2f} MB of text, "
            f"{figures[f'{name}_tenth_cpu_ms']:8.1f} ms at turn 10, {figures[f'{name}_last_cpu_ms']:8.1f} ms at the end"
        )
    result: dict[str, Any] = {
        "turns": options.turns,
        "turns_1000_file_mb": figures["mars_file_mb"],
        "turn_1000_over_turn_10": figures["mars_last_over_tenth"],
        "langgraph_turns_1000_file_mb": figures["langgraph_file_mb"],
        "langgraph_turn_1000_over_turn_10": figures["langgraph_last_over_tenth"],
        **figures,
        "took": str(timedelta(seconds=round(time.monotonic() - began))),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
