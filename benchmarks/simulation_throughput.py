"""How many interactions a core does in a second: the whole graph with the built-in model, and memory alone.

    python -m benchmarks.simulation_throughput [--episodes 32] [--turns 10] [--rounds 3] [--only plain --profile]

*Graph.* So many conversations run at once in one process on one SQLite file (``synchronous=NORMAL``), each turn after
turn, with the built-in reader and the Checker's rules; every superstep is saved before the next begins
(``durability="sync"``), and lease, ledger of calls and transcript are kept. An interaction is one turn. In half of them
the user tells something, which consolidation stores; in the other half it is asked for, recalled and cited. `plain`
turns are approved at the first draft: begin, recall, assistant, checker, consolidate. In `reflected` turns a verifier
rejects the first draft, so reflect, recall, assistant and checker are entered again: every node is, but those of tools
and people, which the built-in model never asks for. 5 and 9 nodes are entered.

*Floor.* In the same run, an empty graph of as many nodes in a row on LangGraph's own AsyncSqliteSaver, as durable,
as many at once (`floor`), and without any saver (`bare`): what LangGraph costs before anybody does anything.

*Memory.* So many stores in memory at once, in one process: an interaction stores what is said, recalls for a question
and strengthens what the answer cites (the simulations' arm ``fsrs``, its policy and its prompt included); on SQLite
files too (`memory_sqlite`).

A figure is interactions by seconds of processor time of the whole process, worker threads included: what one core would
do. Each is measured in a process of its own; medians over the rounds. `ratio` is the floor's cost by ours. Prints a
table, then one line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import json
import pstats
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks.saver_speed import empty_graph
from mars import Mars, Team
from mars.agents.interfaces import Review
from mars.agents.verdicts import Check, Issue, IssueKind
from mars.simulation.arms import Limits, open_arm
from mars.simulation.databases import IN_MEMORY, own_database
from mars.simulation.world_assistant import AssistantEpisode
from mars.simulation.worlds import START, USER, Question, Statement
from mars.testing import FixedClock

Interaction = Callable[[str, int], Awaitable[object]]
"""Does the interaction of an episode with a number."""
NODES = {"plain": 5, "reflected": 9}
"""Nodes that a turn enters; how often the loop went round is asserted."""
NAMES = (*(kind + end for kind in NODES for end in ("", "_floor", "_bare")), "memory", "memory_sqlite")
"""What is measured."""
PLACES = ("Oslo", "Lima", "Turin", "Perth", "Quito", "Lyon")


class FirstRejected:
    """A verifier that has something against every first draft."""

    name = "first"

    async def verify(self, review: Review) -> Check:
        """Reject in the first iteration."""
        if review.iteration > 1:
            return Check.passed(self.name)
        wrong = Issue(kind=IssueKind.OTHER, evidence=review.draft, directive="look again")
        return Check.failed(self.name, wrong)


def said(number: int) -> str:
    """Return what the user says in an interaction: told something first, then asked for it."""
    thing = f"thing {number // 2}"
    return f"Where is the {thing}?" if number % 2 else f"The {thing} is in {PLACES[number % 6]}."


async def whole_graph(folder: Path, name: str, reflected: bool, stack: AsyncExitStack) -> Interaction:
    """Open the loop on a SQLite file."""
    mars = await stack.enter_async_context(
        Mars.open(
            f"sqlite:///{folder / name}.db",
            team=Team(iterations=2),
            verifiers=[FirstRejected()] if reflected else [],
            clock=FixedClock(),
            seed=1,
        )
    )

    async def interact(episode: str, number: int) -> None:
        result = await mars.run(said(number), user=episode, conversation=episode)
        assert result.iterations == (2 if reflected else 1), result

    return interact


async def empty(folder: Path, nodes: int, saved: bool, stack: AsyncExitStack) -> Interaction:
    """Open an empty graph of so many nodes."""
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

    saver = None
    if saved:
        saver = await stack.enter_async_context(AsyncSqliteSaver.from_conn_string(str(folder / f"floor-{nodes}.db")))
        await saver.setup()
        await saver.conn.execute("PRAGMA synchronous = normal")
    graph = empty_graph(nodes, saver)
    durable: dict[str, Any] = {"durability": "sync"} if saved else {}

    async def interact(episode: str, number: int) -> None:
        config = {"configurable": {"thread_id": episode}, "recursion_limit": nodes + 5}
        await graph.ainvoke({"count": 0}, config, **durable)

    return interact


async def memory_alone(database: str, episodes: int, stack: AsyncExitStack) -> Interaction:
    """Open so many stores, each behind the arm `fsrs`."""
    arms, done = {}, Counter[str]()
    for number in range(episodes):
        lent = own_database(database, f"e{number}")
        policy = AssistantEpisode.policy(number)
        arms[str(number)] = await stack.enter_async_context(
            open_arm("fsrs", policy, Limits(), seed=number, database=lent)
        )

    async def interact(episode: str, number: int) -> None:
        store = episode.rpartition(" ")[2]
        arm, number = arms[store], done[store]
        done[store] += 1
        at = START + timedelta(hours=number)
        await arm.tell([Statement(at=at, speaker=USER, text=said(2 * number))])
        reply = await arm.ask(Question(at=at, text=said(2 * number + 1), id=f"{number}"))
        assert "thing" in reply.text, reply

    return interact


async def per_second(interact: Interaction, episodes: int, turns: int, name: str) -> float:
    """Return interactions by seconds of processor time, so many episodes at once."""

    async def episode(number: int) -> None:
        for turn in range(turns):
            await interact(f"{name} {number}", turn)

    began = time.process_time()
    await asyncio.gather(*(episode(number) for number in range(episodes)))
    return episodes * turns / (time.process_time() - began)


async def opened(name: str, folder: Path, episodes: int, stack: AsyncExitStack) -> Interaction:
    """Open what is measured under a name."""
    kind, _, floor = name.partition("_")
    if kind == "memory":
        return await memory_alone(f"sqlite:///{folder}/memory.db" if floor else IN_MEMORY, episodes, stack)
    if floor:
        return await empty(folder, NODES[kind], floor == "floor", stack)
    return await whole_graph(folder, kind, kind == "reflected", stack)


async def measure(name: str, options: argparse.Namespace) -> float:
    """Run the rounds; return the median of interactions by seconds of processor time."""
    seen, profile = [], cProfile.Profile(time.thread_time)
    with tempfile.TemporaryDirectory() as folder:
        async with AsyncExitStack() as stack:
            interact = await opened(name, Path(folder), options.episodes, stack)
            await per_second(interact, options.episodes, 2, "warm")
            for number in range(options.rounds):
                if options.profile:
                    profile.enable()
                seen.append(await per_second(interact, options.episodes, options.turns, f"round{number}"))
                profile.disable()
    if options.profile:
        pstats.Stats(profile, stream=sys.stderr).sort_stats("tottime").print_stats(60)
    return round(statistics.median(seen), 1)


def apart(name: str, options: argparse.Namespace) -> float:
    """Measure in a process of its own, where nothing else is open."""
    sizes = [f"--{one}={getattr(options, one)}" for one in ("episodes", "turns", "rounds")]
    command = [sys.executable, "-m", "benchmarks.simulation_throughput", "--only", name, *sizes]
    return float(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout)


def main() -> None:
    """Measure, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=32)
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=NAMES, help="measure this alone, in this process")
    parser.add_argument("--profile", action="store_true", help="with --only: profile the event loop's thread")
    options = parser.parse_args()
    if options.only:
        print(asyncio.run(measure(options.only, options)))
        return
    found: dict[str, Any] = {}
    for name in NAMES:
        found[name] = apart(name, options)
        print(f"{name:20}{found[name]:10.1f} interactions/s of one core")
    found["ratio"] = {kind: round(found[kind] / found[f"{kind}_floor"], 3) for kind in NODES}
    print(json.dumps({**found, "episodes": options.episodes, "turns": options.turns, "nodes": NODES}))


if __name__ == "__main__":
    main()
