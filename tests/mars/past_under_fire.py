"""Forks of conversations in processes that are killed, for `test_past.py`.

python past_under_fire.py URL

Each piece of work runs in a child that is forked from this process, which has one thread and opens nothing. A fork is
killed at each point of a transaction; then another child looks at what is there. Sabotaged, the copy is made in two
transactions. Prints figures as JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import anyio

from mars import Assistant, Mars, Team
from mars.holding import thread_of
from mars.persistence.transcript import Transcript
from mars.persistence.turns import Turns
from mars.testing import KillPoint, ScriptedModel
from mars.testing.killed_turns import warm
from mars.testing.kills import Fork

SOURCE = thread_of(("ann",), "c")
POINTS = ("run_before_write", "run_work_done", "run_before_commit", "run_after_commit")


def opened(url: str) -> Any:
    """Return a `Mars` whose Assistant counts its calls by what it says."""
    calls: list[object] = []

    def reply(messages: Any) -> str:
        calls.append(messages)
        return f"Said {len(calls)}."

    team = Team(assistant=Assistant(model=ScriptedModel(reply)), without=frozenset({"checker", "reflection"}))
    return Mars.open(url, team=team, lease=0.2)


def child(work: Callable[[], Any]) -> Any:
    """Return what asynchronous work in a child returned; None where it was killed."""
    heard, _ = Fork.start(lambda tell: tell(json.dumps(anyio.run(work)))).heard()
    return json.loads(heard[-1]) if heard else None


async def talk(url: str, count: int, point: str = "") -> bool:
    """Run turns; with a point, die there."""
    async with opened(url) as mars:
        with KillPoint(point) if point else nullcontext():
            for number in range(count):
                await mars.run(f"Number {number}?", user="ann", conversation="c")
    return True


async def fork(url: str, into: str, point: str, torn: bool) -> bool:
    """Fork a conversation after its second turn, and die at a point."""
    async with opened(url) as mars:
        database = mars._conversations.journal._database
        with KillPoint(point):
            if torn:
                thread = thread_of(("ann",), into)
                mark = "?" if database.dialect == "sqlite" else "%s"
                row = f"INSERT INTO mars_conversations VALUES ({mark}, {mark}, 2, '', 0, NULL, 0, 0)"
                await database.write(lambda wire: wire.run(row, (thread, into)))
                await database.write(lambda wire: Transcript(wire).copy(SOURCE, thread, 3))
                await database.write(lambda wire: Turns(wire).copy(SOURCE, thread, 2))
            else:
                await mars.fork("c", at=2, into=into)
    return True


async def states(url: str, count: int) -> list[str]:
    """Return whether each fork is absent, whole, or torn."""
    async with opened(url) as mars:
        source = [one.text for one in await mars.transcript("c")][:4]
        there = [one.name for one in await mars.conversations()]

        async def state(name: str) -> str:
            said = [one.text for one in await mars.transcript(name)]
            turns = [(one.number, one.kept) for one in await mars.history(name)]
            return "whole" if said == source and turns == [(2, True), (1, True)] else "torn"

        names = [f"k{number}" for number in range(count)]
        return [await state(name) if name in there else "absent" for name in names]


async def finish(url: str) -> dict[str, Any]:
    """Fork the turn that was killed after its call, and finish the copy; the call's outcome is there already."""
    async with opened(url) as mars:
        while (await mars.unfinished())[0].running:
            await anyio.sleep(0.05)
        forked = await mars.fork("c")
        result = await mars.resume(forked.name)
        return {"answer": result.answer, "calls": result.usage.calls}


def main(url: str) -> dict[str, Any]:
    """Kill, look and count."""
    warm()
    child(lambda: talk(url, 3))
    kills = [*((point, False) for point in POINTS), ("run_after_commit", True)]
    killed = sum(
        child(partial(fork, url, f"k{number}", point, torn)) is None for number, (point, torn) in enumerate(kills)
    )
    found = child(lambda: states(url, len(kills)))
    killed += child(lambda: talk(url, 1, "call_settled")) is None
    went_on = child(lambda: finish(url))
    return {
        "killed": killed,
        **{name: found[:-1].count(name) for name in ("torn", "absent", "whole")},
        "sabotaged": found[-1],
        "finished": int(went_on["answer"] == "Said 1."),
        "paid_again": went_on["calls"],
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
