"""Turns in processes that are killed or told to end, for `test_conversations_processes.py`.

python kept_turns.py serve URL    run one turn whose model says on stdout that it was asked, and waits for a second
python kept_turns.py deaf URL     the same, and SIGTERM drains nothing
python kept_turns.py say URL N WAY    run N turns of one conversation, with ``on_busy=WAY``
python kept_turns.py hold URL NAME…   run a turn of each conversation at once; they wait for a line on stdin; print as
                                      JSON how each ended
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import nullcontext

import anyio
from langchain_core.messages import BaseMessage

from mars import Assistant, Mars, Team
from mars.errors import LeaseLost
from mars.holding import OnBusy
from mars.runtime import drain_on_sigterm
from mars.testing import ScriptedModel, Step


async def serve(url: str, *, drained: bool = True) -> None:
    """Run one turn; SIGTERM drains it, unless it is not to."""

    def wait(_: Sequence[BaseMessage]) -> Step:
        print("asked", flush=True)
        time.sleep(1.0)
        return Step(text="In Norway.")

    team = Team(assistant=Assistant(model=ScriptedModel(wait)), without=frozenset({"checker"}))
    async with Mars.open(url, team=team, lease=1.0) as mars:
        with drain_on_sigterm(mars.drain) if drained else nullcontext():
            result = await mars.run("Where is Oslo?", user="ann", conversation="c")
            print(result.status.value, flush=True)


async def say(url: str, count: int, way: OnBusy) -> None:
    """Run turns of one conversation that others run, too."""
    team = Team(assistant=Assistant(model=ScriptedModel(lambda _: "Noted.")), without=frozenset({"checker"}))
    async with Mars.open(url, team=team) as mars:
        for number in range(count):
            await mars.run(f"Turn {number}?", user="ann", conversation="c", on_busy=way)


async def hold(url: str, names: Sequence[str]) -> None:
    """Hold conversations, without a heartbeat, until somebody says so, and tell how each run ended."""
    go = threading.Event()
    ended: dict[str, str] = {}

    def wait(_: Sequence[BaseMessage]) -> Step:
        os.write(1, b"asked\n")  # whole lines, also from several threads
        go.wait()
        return Step(text="The first.")

    async def run(name: str) -> None:
        try:
            result = await mars.run("Where?", user="ann", conversation=name, team=name)
            ended[name] = result.status.value
        except LeaseLost as error:
            ended[name] = type(error).__name__

    async def listen() -> None:
        await anyio.to_thread.run_sync(sys.stdin.readline)
        go.set()

    without = frozenset({"checker"})
    teams = {name: Team(assistant=Assistant(model=ScriptedModel(wait)), without=without) for name in names}
    async with Mars.open(url, teams=teams, lease=600) as mars, anyio.create_task_group() as tasks:
        tasks.start_soon(listen)
        for name in names:
            tasks.start_soon(run, name)
    print(json.dumps(ended), flush=True)


if __name__ == "__main__":
    if sys.argv[1] in ("serve", "deaf"):
        asyncio.run(serve(sys.argv[2], drained=sys.argv[1] == "serve"))
    elif sys.argv[1] == "hold":
        asyncio.run(hold(sys.argv[2], sys.argv[3:]))
    else:
        asyncio.run(say(sys.argv[2], int(sys.argv[3]), sys.argv[4]))  # type: ignore[arg-type]
