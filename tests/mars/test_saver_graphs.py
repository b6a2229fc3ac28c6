"""Graphs of LangGraph on the checkpoint saver: blocking and not, interrupted, with delta channels, beside a memory."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from anyio import create_task_group
from langgraph.channels.delta import DeltaChannel
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt
from sqlalchemy import create_engine
from sqlalchemy.pool import StaticPool

from mars import CheckpointSaver, Memory
from mars.memory import NewRecord

pytestmark = pytest.mark.anyio


class Counted(TypedDict):
    """A number that nodes add to."""

    count: int


def concatenated(state: list[str], writes: list[list[str]]) -> list[str]:
    """Put lists after each other."""
    return [*state, *(one for write in writes for one in write)]


class Said(TypedDict):
    """Texts in a channel whose value is stored at every tenth update only."""

    texts: Annotated[list[str], DeltaChannel(concatenated, list, snapshot_frequency=10)]


def asking(saver: CheckpointSaver) -> Any:
    """A graph that counts, asks, and counts what it is answered."""

    def ask(state: Counted) -> Counted:
        answer = interrupt({"count": state["count"]})
        return {"count": state["count"] + answer}

    builder = StateGraph(Counted)
    builder.add_node("count", lambda state: {"count": state["count"] + 1})
    builder.add_node("ask", ask)
    builder.add_edge(START, "count")
    builder.add_edge("count", "ask")
    builder.add_edge("ask", END)
    return builder.compile(checkpointer=saver)


def saying(saver: CheckpointSaver) -> Any:
    """A graph that answers each text with its number."""
    builder = StateGraph(Said)
    builder.add_node("answer", lambda state: {"texts": [f"answer {len(state['texts'])}"]})
    builder.add_edge(START, "answer")
    builder.add_edge("answer", END)
    return builder.compile(checkpointer=saver)


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A file."""
    return f"sqlite:///{tmp_path / 'run.db'}"


@pytest.mark.wheel
def test_a_blocking_graph_is_interrupted_and_goes_on_after_a_restart(url: str) -> None:
    """The first saver is closed at the question; another one answers it; the past can be read and replayed."""
    config: Any = {"configurable": {"thread_id": "t"}}
    with CheckpointSaver.open(url) as saver:
        asked = asking(saver).invoke({"count": 1}, config, durability="sync")
        assert asked["__interrupt__"][0].value == {"count": 2}
    with CheckpointSaver.open(url) as saver:
        graph = asking(saver)
        assert graph.get_state(config).tasks[0].interrupts[0].value == {"count": 2}
        assert graph.invoke(Command(resume=40), config, durability="sync") == {"count": 42}
        past = [state.values.get("count") for state in graph.get_state_history(config)]
        assert past == [42, 2, 1, None]
        before_the_question = list(graph.get_state_history(config))[2].config
        again = graph.invoke(None, before_the_question, durability="sync")
        assert again["__interrupt__"][0].value == {"count": 2}
        assert graph.invoke(Command(resume=5), config, durability="sync") == {"count": 7}


async def test_an_asynchronous_graph_and_a_blocking_one_share_a_saver(url: str) -> None:
    """In one loop: `ainvoke`, then the blocking `invoke` in the loop's own thread and in others."""
    async with CheckpointSaver.open(url) as saver:
        graph = asking(saver)
        config: Any = {"configurable": {"thread_id": "t"}}
        await graph.ainvoke({"count": 1}, config, durability="sync")
        assert graph.invoke(Command(resume=1), config, durability="sync") == {"count": 3}
        assert (await graph.aget_state(config)).values == {"count": 3}

        def turn(number: int) -> int:
            mine: Any = {"configurable": {"thread_id": f"thread {number}"}}
            graph.invoke({"count": number}, mine, durability="sync")
            return int(graph.invoke(Command(resume=1), mine, durability="sync")["count"])

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(turn, range(20))) == [number + 2 for number in range(20)]


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
async def test_delta_channels(url: str, durability: Any) -> None:
    """All texts come back in their order, also after pruning and on a copy, whenever a run is saved."""
    async with CheckpointSaver.open(url) as saver:
        graph = saying(saver)
        config: Any = {"configurable": {"thread_id": "t"}}
        expected: list[str] = []
        for number in range(26):
            await graph.ainvoke({"texts": [f"text {number}"]}, config, durability=durability)
            expected += [f"text {number}", f"answer {len(expected) + 1}"]
        before = len([one async for one in saver.alist(config)])
        await saver.acopy_thread("t", "copy")
        await saver.aprune(["t"])
        left = len([one async for one in saver.alist(config)])
        assert left < before
        for thread in ("t", "copy"):
            mine: Any = {"configurable": {"thread_id": thread}}
            assert (await graph.aget_state(mine)).values["texts"] == expected
            await graph.ainvoke({"texts": ["more"]}, mine, durability=durability)
            assert (await graph.aget_state(mine)).values["texts"][:-1] == [*expected, "more"]


async def test_pruning_without_care_for_delta_channels_is_noticed(url: str) -> None:
    """Sabotaged by keeping the newest checkpoint alone, the same thread comes back without its texts."""
    async with CheckpointSaver.open(url) as saver:
        graph = saying(saver)
        config: Any = {"configurable": {"thread_id": "t"}}
        for number in range(6):
            await graph.ainvoke({"texts": [f"text {number}"]}, config, durability="sync")
        newest = (await graph.aget_state(config)).config["configurable"]["checkpoint_id"]
        await saver.database.write(
            lambda wire: wire.run("DELETE FROM mars_checkpoints WHERE checkpoint_id <> ?", (newest,)) and None
        )
        assert (await graph.aget_state(config)).values.get("texts", []) == []


@pytest.mark.parametrize("where", ["one file", "one connection in memory"])
async def test_a_memory_and_a_saver_share_a_database(url: str, where: str) -> None:
    """Each writes while the other does, and neither loses anything, nor finds the database busy."""
    if where == "one file":
        target: Any = url
    else:
        target = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    saver = CheckpointSaver.open(target, busy_timeout=0.001)
    async with Memory.open(target) as memory, saver:
        graph = asking(saver)

        async def turn(number: int) -> None:
            await memory.add(NewRecord(text=f"The heron was seen {number} times.", namespace=("ann",)))
            await graph.ainvoke({"count": number}, {"configurable": {"thread_id": str(number)}}, durability="sync")
            await memory.add(NewRecord(text=f"And {number} otters.", namespace=("ann",)))

        async with create_task_group() as group:
            for number in range(20):
                group.start_soon(turn, number)
        assert (await memory.stats()).records == 40
        assert len({one.config["configurable"]["thread_id"] async for one in saver.alist(None)}) == 20
    if not isinstance(target, str):
        target.dispose()


STRICT = """
import sys, tempfile
from langgraph.graph import START, StateGraph
from typing import TypedDict
from mars import CheckpointSaver

class State(TypedDict):
    texts: list[str]
    facts: dict[str, float]

with CheckpointSaver.open(sys.argv[1]) as saver:
    builder = StateGraph(State)
    builder.add_node("add", lambda state: {"texts": [*state["texts"], "x"], "facts": {"a": 1.5}})
    builder.add_edge(START, "add")
    graph = builder.compile(checkpointer=saver)
    config = {"configurable": {"thread_id": "t"}}
    graph.invoke({"texts": ["w"], "facts": {}}, config, durability="sync")
    assert graph.get_state(config).values == {"texts": ["w", "x"], "facts": {"a": 1.5}}
"""


def test_strict_msgpack(url: str) -> None:
    """Plain values go through LangGraph's strict mode without a word."""
    environment = {**os.environ, "LANGGRAPH_STRICT_MSGPACK": "true"}
    command = [sys.executable, "-W", "error", "-c", STRICT, url]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_threads_of_a_saver_end_with_it(url: str) -> None:
    """Nothing runs on after `close`."""
    before = set(threading.enumerate())
    with CheckpointSaver.open(url) as saver:
        asking(saver).invoke({"count": 1}, {"configurable": {"thread_id": "t"}}, durability="sync")
        ours = {one for one in threading.enumerate() if one not in before and one.name.startswith("mars")}
        assert ours
    assert not any(one.is_alive() for one in ours)
