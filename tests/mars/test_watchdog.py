"""The event loop is never blocked: not by turns, not by the memory; and what blocks it is found and named."""

from __future__ import annotations

import asyncio
import gc
import time
from pathlib import Path
from typing import Any

import anyio
import pytest

from mars import Assistant, Mars, Team
from mars.memory.records import NewRecord
from mars.testing import LoopWatchdog, ScriptedModel, Stall, Step

pytestmark = pytest.mark.anyio

LIMIT = 0.1
"""Seconds of processor time; `benchmarks.loop_stalls` holds the bar of 0.02 on a machine that does nothing else."""


def reply(messages: Any) -> Step | str:
    """Call a tool, then answer."""
    return "It is in room 7 [m1]." if messages[-1].type == "tool" else Step(tool_calls=(("open_door", {"room": 7}),))


async def busy(folder: Path, tool: Any, conversations: int) -> LoopWatchdog:
    """Watch turns in several conversations at once, with tools, and what a memory does, from the opening on."""
    large = {"rows": [{"id": number, "note": "x" * 100} for number in range(8_000)]}
    team = Team(assistant=Assistant(model=ScriptedModel(reply)), iterations=1)
    with LoopWatchdog() as dog:
        async with Mars.open(f"sqlite:///{folder / 'life.db'}", team=team, tools=[tool]) as mars:
            memory = mars.memory
            await memory.add("Item 7 is in room 7.", ("ann",), speaker="ann")

            async def turns(who: int) -> None:
                for _ in range(2):
                    result = await mars.run("Open room 7. Where is item 7?", user="ann", conversation=f"c{who}")
                    assert result.usage.tool_calls == 1

            async def tend() -> None:
                await memory.add_many([NewRecord(text=f"Box {n} is blue.", namespace=("bob",)) for n in range(200)])
                one = await memory.add("A report.", ("bob",), metadata=large)
                found = await memory.get(one.id)
                assert found is not None
                assert found.metadata == large
                await memory.recall("which box is blue", namespace=("bob",))
                await memory.list(namespace=("bob",))

            await asyncio.gather(tend(), *(turns(who) for who in range(conversations)))
    return dog


async def test_turns_and_memory_never_block_the_loop(tmp_path: Path) -> None:
    """No callback computes for long, by the processor time of the loop's thread, whatever else the machine does."""

    async def open_door(room: int) -> str:
        """Open the door of a room."""
        return f"the door of {room} is open"

    dog = await busy(tmp_path, open_door, 8)
    assert dog.callbacks > 500
    assert [stall.plain() for stall in dog.stalls if stall.ran - stall.collecting > LIMIT] == []


async def test_a_tool_that_waits_is_found(tmp_path: Path) -> None:
    """A call that blocks costs no processor time, and stops the loop all the same; where it stood is said."""

    async def open_door(room: int) -> str:
        """Open the door of a room, and keep everybody waiting."""
        time.sleep(0.5)
        return f"the door of {room} is open"

    dog = await busy(tmp_path, open_door, 1)
    with pytest.raises(AssertionError, match="the event loop was blocked for"):
        dog.assert_never_blocked(4 * LIMIT)
    assert dog.worst is not None
    assert "open_door" in dog.worst.stack


async def test_a_tool_that_computes_is_found(tmp_path: Path) -> None:
    """Processor time is what tells it, on a busy machine, too."""

    async def open_door(room: int) -> str:
        """Open the door of a room by computing."""
        until = time.thread_time() + 2 * LIMIT
        while time.thread_time() < until:
            pass
        return f"the door of {room} is open"

    dog = await busy(tmp_path, open_door, 1)
    found = [stall for stall in dog.stalls if stall.ran - stall.collecting > LIMIT]
    assert len(found) == 2
    assert all("ainvoke" in stall.what or "Task" in stall.what for stall in found)


async def test_what_others_do_is_told_apart() -> None:
    """What a worker's thread computes, and what the collector takes, is no blocking by the callback that met it."""
    stall = Stall(wall=0.2, ran=0.05, queued=0.03, others=0.1, collecting=0.04, what="", stack="")
    assert round(stall.blocked, 3) == 0.03
    assert round(Stall(wall=0.2, ran=0, queued=0, others=0.3, collecting=0, what="", stack="").blocked, 3) == 0
    with LoopWatchdog(limit=0.0001) as dog:
        await anyio.sleep(0)
        gc.collect()
        await anyio.sleep(0)
    assert dog.collected > 0
    assert max(one.collecting for one in dog.stalls) > 0


async def test_one_at_a_time_and_only_while_it_is_entered() -> None:
    """A second one is refused; afterwards nothing is timed any more, and nothing of it is left."""
    run = asyncio.events.Handle._run
    with LoopWatchdog() as dog:
        with pytest.raises(RuntimeError, match="one LoopWatchdog"):
            LoopWatchdog().__enter__()
        await anyio.sleep(0)
    seen = dog.callbacks
    await anyio.sleep(0)
    assert dog.callbacks <= seen + 1
    assert asyncio.events.Handle._run is run
    assert (dog.worst, dog.stalls) == (None, [])
    dog.assert_never_blocked()


def test_without_a_loop_it_says_so() -> None:
    """It is entered in a coroutine."""
    with pytest.raises(RuntimeError, match="no running event loop"):
        LoopWatchdog().__enter__()
