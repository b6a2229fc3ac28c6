"""`langgraph dev` serves MARS, and the official client talks to it: threads, streams, interrupts, errors."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("langgraph_api", reason="langgraph-cli[inmem] is not here")

import httpx
from langgraph_sdk import get_client

from mars import Memory
from mars.observability import read_runs

EXAMPLE = Path(__file__).parents[2] / "examples" / "served"

ASKING = """
from contextlib import asynccontextmanager
from langgraph.types import interrupt
from mars import Mars, Team
from mars.subgraph import agent_graph
from mars.testing import ScriptedModel, Step

def book(place: str) -> str:
    '''Book a table.'''
    return f"Booked {place} on {interrupt({'question': 'Which day?'})}."

def replies(messages):
    last = messages[-1]
    return f"Done: {last.content}" if last.type == "tool" else Step(tool_calls=(("book", {"place": "Aldo's"}),))

@asynccontextmanager
async def agent():
    async with Mars.open("memory:", model=ScriptedModel(replies), tools=[book], team=Team(without={"checker"})) as mars:
        yield agent_graph(mars).compile()
"""


BLOCKING = """
import time

from langgraph.graph import START, MessagesState, StateGraph

async def sleep(state: MessagesState):
    time.sleep(0.01)

agent = StateGraph(MessagesState).add_node("sleep", sleep).add_edge(START, "sleep").compile()
"""


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def served(folder: Path, log: Path, **environment: str) -> Iterator[str]:
    """Run `langgraph dev` on the graphs of a folder; yield its address once it answers."""
    port = free_port()
    line = ["-m", "langgraph_cli", "dev", "--no-browser", "--no-reload", "--port", str(port)]
    quiet = {"LANGGRAPH_CLI_NO_ANALYTICS": "1", "LANGSMITH_TRACING": "false", "PYTHONUNBUFFERED": "1"}
    address = f"http://127.0.0.1:{port}"
    with log.open("w") as out:
        server = subprocess.Popen(
            [sys.executable, *line],
            cwd=folder,
            env={**os.environ, **quiet, **environment},
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + 90
            while not answers(address):
                assert server.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
            yield address
        finally:
            if server.poll() is None:
                os.killpg(server.pid, signal.SIGTERM)
            server.wait(30)


def answers(address: str) -> bool:
    """Whether a server is up."""
    try:
        return httpx.get(f"{address}/ok", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


async def test_the_example_is_served(tmp_path: Path) -> None:
    """A thread of two turns, streamed: the Assistant's words, the answer, nothing else; and nothing blocks the loop."""
    db, log = tmp_path / "life.db", tmp_path / "server.log"
    shutil.copytree(EXAMPLE, tmp_path / "served")  # the server leaves a folder of its own where it runs
    async with Memory.open(f"sqlite:///{db}") as memory:
        await memory.add("The cat is called Miso.", ("ann",))
    runs = tmp_path / "runs.jsonl"
    with served(tmp_path / "served", log, MARS_DB=str(db), MARS_RUN_LOG=str(runs)) as address:
        async with get_client(url=address) as client:
            thread = (await client.threads.create())["thread_id"]
            asked: Any = {"messages": [{"role": "user", "content": "What is the cat called?"}]}
            parts = []
            for _ in range(2):
                run = client.runs.stream(
                    thread, "mars", input=asked, context={"user": "ann"}, stream_mode=["values", "custom", "updates"]
                )
                parts += [(part.event, part.data) async for part in run]
            values: Any = (await client.threads.get_state(thread))["values"]
            (assistant,) = await client.assistants.search()
            schemas: Any = await client.assistants.get_schemas(assistant["assistant_id"])
    assert [event for event, _ in parts if event == "error"] == [], parts
    assert [one["content"] for one in values["messages"]] == ["What is the cat called?", "The cat is called Miso."] * 2
    tokens = "".join(data["text"] for event, data in parts if event == "custom")
    assert tokens.count("Miso") == 2
    assert "verdict" not in str(parts)
    assert "user" in schemas["context_schema"]["properties"]
    assert "messages" in schemas["input_schema"]["properties"]
    assert [run.status for run in read_runs(runs)] == ["completed"] * 2
    assert "BlockingError" not in log.read_text()


async def test_interrupted_and_resumed(tmp_path: Path) -> None:
    """A run stops where a tool asks, shows the question, and goes on with the answer that comes over HTTP."""
    (tmp_path / "langgraph.json").write_text(
        '{"dependencies": ["."], "graphs": {"mars": "./agent.py:agent", "blocking": "./block.py:agent"}}'
    )
    (tmp_path / "agent.py").write_text(ASKING)
    (tmp_path / "block.py").write_text(BLOCKING)
    log = tmp_path / "server.log"
    with served(tmp_path, log) as address:
        async with get_client(url=address) as client:
            thread = (await client.threads.create())["thread_id"]
            asked: Any = {"messages": [{"role": "user", "content": "Book a table."}]}
            first: Any = await client.runs.wait(thread, "mars", input=asked)
            assert first["__interrupt__"][0]["value"] == {"question": "Which day?"}
            assert (await client.threads.get(thread))["status"] == "interrupted"
            second: Any = await client.runs.wait(thread, "mars", command={"resume": "Tuesday"})
            refused: Any = await client.runs.wait(
                (await client.threads.create())["thread_id"], "mars", input={"messages": []}, raise_error=False
            )
            before = log.read_text()
            await client.runs.wait(None, "blocking", input=asked, raise_error=False)
    assert second["messages"][-1]["content"] == "Done: Booked Aldo's on Tuesday."
    assert "InvalidInput" in str(refused)
    assert "BlockingError" not in before
    assert "BlockingError" in log.read_text(), "the server no longer notices what blocks its loop"
