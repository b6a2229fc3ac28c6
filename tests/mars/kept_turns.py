"""Turns in processes that are killed or told to end, for `test_conversations_processes.py`.

python kept_turns.py serve URL    run one turn whose model says on stdout that it was asked, and waits for a second
python kept_turns.py say URL N WAY    run N turns of one conversation, with ``on_busy=WAY``
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence

from langchain_core.messages import BaseMessage

from mars import Assistant, Mars, Team
from mars.holding import OnBusy
from mars.runtime import drain_on_sigterm
from mars.testing import ScriptedModel, Step


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
    if sys.argv[1] == "serve":
        asyncio.run(serve(sys.argv[2]))
    else:
        asyncio.run(say(sys.argv[2], int(sys.argv[3]), sys.argv[4]))  # type: ignore[arg-type]
