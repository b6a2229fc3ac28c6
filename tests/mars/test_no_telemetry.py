"""Nobody is told of anything: no tracing, no analytics, and no connection of those who would like to."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

NOTING = """
import json, socket, sys
asked = []

def hook(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo", "socket.gethostbyname"):
        asked.append(event)

sys.addaudithook(hook)
"""
"""Notes every connection and every look-up of a name."""

USING = """
import anyio, chromadb
from chromadb.api.shared_system_client import SharedSystemClient
from mars import Mars
from mars.cli import main

async def work():
    async with Mars.open(sys.argv[1], index=True) as mars:
        await mars.run("My sister lives in Oslo.", user="ann", conversation="c")
        await mars.memory.recall("Where?", namespace=("ann",), exact=False)
        return [one.settings.anonymized_telemetry for one in SharedSystemClient._identifier_to_system.values()]

chroma = anyio.run(work)
assert main(["ask", "Where does my sister live?", "--db", sys.argv[1], "-n", "ann", "--json"]) == 0
"""
"""Uses memory, index, loop and command line."""

SABOTAGED = """
from contextlib import suppress

chroma = None
with suppress(ConnectionRefusedError):
    socket.create_connection(("127.0.0.1", int(sys.argv[1])))
"""
"""Connects to somebody."""

TELLING = """
from langchain_core.tracers.langchain import wait_for_all_tracers
from langsmith.utils import tracing_is_enabled
wait_for_all_tracers()
loaded = [name for name in ("posthog", "ray", "sentry_sdk", "segment") if name in sys.modules]
print(json.dumps({"asked": asked, "traced": bool(tracing_is_enabled()), "loaded": loaded, "chroma": chroma}))
"""


def noted(work: str, argument: str, **environment: str) -> dict[str, Any]:
    """Run a program in a process of its own; return what was noted of it."""
    quiet = {name: value for name, value in os.environ.items() if not name.startswith(("LANGSMITH", "LANGCHAIN"))}
    command = [sys.executable, "-W", "ignore", "-c", NOTING + work + TELLING, argument]
    done = subprocess.run(command, env={**quiet, **environment}, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_nobody_is_told_of_anything(tmp_path: Path) -> None:
    """A program that uses all of MARS opens no connection; LangSmith's tracing and Chroma's telemetry are off."""
    found = noted(USING, f"sqlite:///{tmp_path}/life.db")
    assert found == {"asked": [], "traced": False, "loaded": [], "chroma": found["chroma"]}
    assert found["chroma"]
    assert not any(found["chroma"])


def test_whoever_is_told_is_noticed() -> None:
    """A connection, and tracing that is on, are seen: the test above can fail."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # not listening: a connection is refused at once
        found = noted(SABOTAGED, str(nobody.getsockname()[1]), LANGSMITH_TRACING="true")
    assert "socket.connect" in found["asked"]
    assert found["traced"] is True


@pytest.mark.skipif(not (ROOT / "docs").is_dir(), reason="needs the repository")
def test_the_documentation_turns_the_command_lines_analytics_off() -> None:
    """LangGraph's command line reports its use unless told otherwise: where we say to call it, we say how."""
    pages = [*ROOT.glob("README.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/**/*.py")]
    text = "".join(page.read_text(encoding="utf-8") for page in pages)
    calls = re.findall(r"^ *(?:\$ )?((?:[A-Z_]+=\S+ )*)langgraph dev\b", text, re.MULTILINE)
    assert calls
    assert [before for before in calls if "LANGGRAPH_CLI_NO_ANALYTICS=1 " not in before] == []
