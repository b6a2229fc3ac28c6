"""How many interactions a core does in a second: the whole graph with the built-in model, and memory alone.

    python -m benchmarks.simulation_throughput [--episodes 32] [--turns 10] [--rounds 3] [--profile FILE]

*Graph.* So many conversations run at once in one process on one SQLite file (``synchronous=NORMAL``), each turn after
turn, with the built-in reader and the Checker's rules; every superstep is saved before the next begins
(``durability="sync"``), and lease, ledger of calls and transcript are kept. An interaction is one turn. In half of them
the user tells something, which consolidation stores; in the other half it is asked for, recalled and cited. `plain`
turns are approved at the first draft: begin, recall, assistant, checker, consolidate. In `reflected` turns a verifier
rejects the first draft, so reflect, recall, assistant and checker are entered again: every node is, but those of tools
and people, which the built-in model never asks for. 5 and 9 nodes are entered.

*Floor.* In the same rounds, an empty graph of as many nodes in a row on LangGraph's own AsyncSqliteSaver, as durable,
as many at once (`floor`), and without any saver (`bare`): what LangGraph costs before anybody does anything.

*Memory.* So many stores in memory at once, in one process: an interaction stores what is said, recalls for a question
and strengthens what the answer cites (the simulations' arm ``fsrs``, its policy and its prompt included); on SQLite
files too (`memory_sqlite`).

A figure is interactions by seconds of processor time of the whole process, worker threads included: what one core would
do. `ratio` is the floor's cost by ours. Medians over the rounds. Prints a table, then one line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import json
import pstats
import statistics
import sys
import tempfile
import time
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
    arms = {}
    for number in range(episodes):
        lent = own_database(database, f"e{number}")
        policy = AssistantEpisode.policy(number)
        arms[str(number)] = await stack.enter_async_context(
            open_arm("fsrs", policy, Limits(), seed=number, database=lent)
        )

    async def interact(episode: str, number: int) -> None:
        at = START + timedelta(hours=number)
        arm = arms[episode.rpartition(" ")[2]]
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


async def opened(folder: Path, episodes: int, stack: AsyncExitStack) -> dict[str, Interaction]:
    """Open all that is measured, by name."""
    found = {}
    for kind, nodes in NODES.items():
        found[kind] = await whole_graph(folder, kind, kind == "reflected", stack)
        found[f"{kind}_floor"] = await empty(folder, nodes, True, stack)
        found[f"{kind}_bare"] = await empty(folder, nodes, False, stack)
    found["memory"] = await memory_alone(IN_MEMORY, episodes, stack)
    found["memory_sqlite"] = await memory_alone(f"sqlite:///{folder}/memory.db", episodes, stack)
    return found


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run the rounds; return medians of interactions by seconds of processor time."""
    seen: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        async with AsyncExitStack() as stack:
            every = await opened(Path(folder), options.episodes, stack)
            for name, interact in every.items():
                await per_second(interact, options.episodes, 2, f"warm {name}")
            profile = cProfile.Profile(time.thread_time)
            for number in range(options.rounds):
                for name, interact in every.items():
                    if options.profile == name:
                        profile.enable()
                    found = await per_second(interact, options.episodes, options.turns, f"round{number}")
                    profile.disable()
                    seen.setdefault(name, []).append(found)
                sys.stderr.write(f"\rround {number + 1} of {options.rounds}")
            sys.stderr.write("\n")
    if options.profile:
        pstats.Stats(profile, stream=sys.stderr).sort_stats("tottime").print_stats(60)
    values: dict[str, Any] = {name: round(statistics.median(some), 1) for name, some in seen.items()}
    values["ratio"] = {kind: round(values[kind] / values[f"{kind}_floor"], 3) for kind in NODES}
    return values


def main() -> None:
    """Measure, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=32)
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--profile", default="", help="profile the event loop's thread in what is measured by a name")
    options = parser.parse_args()
    found = asyncio.run(measure(options))
    for name, value in found.items():
        if name != "ratio":
            print(f"{name:20}{value:10.1f} interactions/s of one core")
    print(json.dumps({**found, "episodes": options.episodes, "turns": options.turns, "nodes": NODES}))


if __name__ == "__main__":
    main()
