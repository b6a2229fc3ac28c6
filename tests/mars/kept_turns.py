"""Turns in processes that are killed or told to end, for `test_conversations_processes.py`.

python kept_turns.py kill URL     fork a process that is killed at its first commit, one at its second, …, until one
                                  comes to its end; each time another finishes the turn; one line of JSON each
python kept_turns.py serve URL    run one turn whose model says on stdout that it was asked, and waits for a second
python kept_turns.py say URL N WAY    run N turns of one conversation, with ``on_busy=WAY``
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from langchain_core.messages import BaseMessage

from mars import Assistant, Checker, Mars, Team
from mars.errors import NotFound
from mars.holding import OnBusy
from mars.runtime import drain_on_sigterm
from mars.testing import FixedClock, KillPoint, ScriptedModel, Step
from mars.testing.kills import Fork

NO = {"approved": False, "score": 0.2, "issues": [{"kind": "unsupported", "evidence": "none", "directive": "Look."}]}


def crew(tell: Callable[[str], object]) -> Team:
    """Return a team whose first draft is rejected, and whose models tell each call to somebody outside."""

    def draft(messages: Sequence[BaseMessage]) -> Step:
        again = "<lessons>" in str(messages[-1].content)
        tell(f"draft {1 + again}")
        return Step(text="In Norway." if again else "In Rome.")

    def judge(messages: Sequence[BaseMessage]) -> Step:
        right = "Norway" in str(messages[-1].content)
        tell(f"judge {1 + right}")
        return Step(structured={"approved": True, "score": 0.9} if right else NO)

    return Team(assistant=Assistant(model=ScriptedModel(draft)), checker=Checker(model=ScriptedModel(judge)))


async def turn(url: str, tell: Callable[[str], object], durability: Any) -> dict[str, Any]:
    """Finish the turn that rests here, or run a new one; return its result, None where it was over already."""
    clock = FixedClock()
    over, result = False, None
    async with Mars.open(url, team=crew(tell), clock=clock, lease=1.0, durability=durability) as mars:
        try:
            result = await mars.resume("c", on_busy="queue")
        except NotFound:
            # Killed after the turn's last commit: it is over, and what is left of it is what was said.
            with suppress(NotFound):
                over = bool(await mars.transcript("c"))
            if not over:
                result = await mars.run("My sister lives in Oslo. Where is that?", user="ann", conversation="c")
        said = [one.text for one in await mars.transcript("c")]
        known = await mars.memory.list(namespace=("ann",))
    values = {} if result is None else result.plain()
    plain = {key: value for key, value in values.items() if key not in ("usage", "latency")} or None
    return {"result": plain, "said": said, "records": sorted(one.text for one in known)}


def killed(url: str, hits: int, durability: Any) -> tuple[list[str], bool]:
    """Fork a process that is killed at so many commits; return what its models told, and whether it was killed."""

    def work(send: Callable[[str], None]) -> None:
        with KillPoint("run_after_commit", hits):
            asyncio.run(turn(url, send, durability))

    told, status = Fork.start(work).heard()
    return told, status != 0


def finished(url: str, durability: Any) -> list[str]:
    """Fork a process that finishes the turn; return what its models told, and last its result."""

    def work(send: Callable[[str], None]) -> None:
        send(json.dumps(asyncio.run(turn(url, send, durability))))

    told, status = Fork.start(work).heard()
    assert status == 0, told
    return told


def kill(url: str, durability: Any) -> None:
    """Kill at every commit in turn."""
    hits = 1
    while True:
        place = f"{url}.{hits}"
        told, died = killed(place, hits, durability)
        if not died:
            break
        *later, last = finished(place, durability)
        print(json.dumps({"hits": hits, "calls": [*told, *later], **json.loads(last)}), flush=True)
        hits += 1
    *calls, last = finished(f"{url}.whole", durability)
    print(json.dumps({"hits": 0, "calls": calls, **json.loads(last)}), flush=True)


async def serve(url: str) -> None:
    """Run one turn; SIGTERM drains it."""

    def wait(_: Sequence[BaseMessage]) -> Step:
        print("asked", flush=True)
        time.sleep(1.0)
        return Step(text="In Norway.")

    team = Team(assistant=Assistant(model=ScriptedModel(wait)), without=frozenset({"checker"}))
    async with Mars.open(url, team=team, lease=1.0) as mars:
        with drain_on_sigterm(mars.drain):
            result = await mars.run("Where is Oslo?", user="ann", conversation="c")
            print(result.status.value, flush=True)


async def say(url: str, count: int, way: OnBusy) -> None:
    """Run turns of one conversation that others run, too."""
    team = Team(assistant=Assistant(model=ScriptedModel(lambda _: "Noted.")), without=frozenset({"checker"}))
    async with Mars.open(url, team=team) as mars:
        for number in range(count):
            await mars.run(f"Turn {number}?", user="ann", conversation="c", on_busy=way)


if __name__ == "__main__":
    if sys.argv[1] == "kill":
        kill(sys.argv[2], *(sys.argv[3:] or ["sync"]))
    elif sys.argv[1] == "serve":
        asyncio.run(serve(sys.argv[2]))
    else:
        asyncio.run(say(sys.argv[2], int(sys.argv[3]), sys.argv[4]))  # type: ignore[arg-type]
