"""Run every example as its docstring says, look at what comes of it, and print a line for each.

    make examples        or: python -m benchmarks.examples [--only chat.py] [--folder EXAMPLES] [--json]

Scripts run in processes of their own, in an empty folder; servers are asked over HTTP and the web chat is typed into in
headless Chromium, where that is here; the notebook runs in a real kernel. Everything is keyless. Exit status 1: one
failed, and how it did is printed. `--folder` takes another copy of `examples/`: a spoilt one must fail.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
PATIENCE = 120.0
"""Seconds until an example that does not get on is given up."""

TELL, ASK = "My sister Ana lives in Porto.", "Where does Ana live?"


@dataclass(frozen=True)
class Example:
    """An example and how it is tried."""

    name: str
    """Its file or folder in `examples/`."""
    try_it: Callable[[Path, Path], None]
    """Runs the file in a folder that is empty; raises `AssertionError` where something else came of it."""
    needs: tuple[str, ...] = ()
    """Packages that it needs beside MARS."""
    slow: bool = False
    """Whether it takes more than some seconds."""


def surroundings(scratch: Path, **more: str) -> dict[str, str]:
    """Return an environment in which nothing of this machine's user is seen or written."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("MARS_") or name == "MARS_OFFLINE"}
    return {**own, "HOME": str(scratch), "PYTHONUNBUFFERED": "1", **more}


def output_of(command: list[str], scratch: Path, typed: str = "") -> str:
    """Run a command to its end with what is typed; return what it printed."""
    done = subprocess.run(
        command,
        cwd=scratch,
        env=surroundings(scratch),
        input=typed,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, f"exit status {done.returncode}: {done.stderr}"
    return done.stdout


def script(*expected: str) -> Callable[[Path, Path], None]:
    """Return what runs a script and looks for texts in what it prints, in this order."""

    def try_it(example: Path, scratch: Path) -> None:
        in_order(output_of([sys.executable, str(example)], scratch), *expected)

    return try_it


def in_order(text: str, *expected: str) -> None:
    """Raise `AssertionError` unless a text holds others, one after the other."""
    place = 0
    for one in expected:
        place = text.find(one, place)
        assert place >= 0, f"{one!r} is missing, or comes too early, in {text!r}"
        place += len(one)


def chat(example: Path, scratch: Path) -> None:
    """Tell in one process, ask in another; the end of what is typed comes while a question waits, and it still does."""
    command = [sys.executable, str(example)]
    in_order(output_of(command, scratch, f"{TELL}\n{ASK}\nWhat is the shoe size of Ana?\n"), "Noted.", "Porto.")
    again = output_of(command, scratch, f"Ana has shoe size 44.\n{ASK}\n")
    in_order(again, "You had asked: What is the shoe size of Ana?", "It asks you", "shoe size 44", "lives in Porto.")


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def serving(command: list[str], folder: Path, scratch: Path, port: int, **environment: str) -> Iterator[str]:
    """Run a server; yield its address once it takes connections."""
    log = scratch / "server.log"
    with log.open("w") as out:
        env = surroundings(scratch, PORT=str(port), **environment)
        server = subprocess.Popen(command, cwd=folder, env=env, stdout=out, stderr=out, start_new_session=True)
        try:
            deadline = time.monotonic() + PATIENCE
            while not listens(port):
                assert server.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port}"
        finally:
            if server.poll() is None:
                os.killpg(server.pid, signal.SIGTERM)
            try:
                server.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)
                raise


def listens(port: int) -> bool:
    """Return whether somebody takes connections at a port."""
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def heard(text: str) -> list[dict[str, Any]]:
    """Return what server-sent events hold."""
    return [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: ")]


def fastapi_app(example: Path, scratch: Path) -> None:
    """Tell, ask, and ask for nothing."""
    import httpx

    db = f"sqlite:///{scratch}/life.db"
    with serving([sys.executable, str(example)], scratch, scratch, free_port(), MARS_DB=db) as address:
        told, asked, bad = (
            httpx.post(f"{address}/ask", json={"user": "ann", "text": text}, timeout=PATIENCE)
            for text in (TELL, ASK, " ")
        )
    assert told.json()["answer"] == "Noted."
    assert asked.json() == {"answer": TELL, "approved": True, "sources": [TELL]}
    assert (bad.status_code, "empty" in bad.text) == (422, True)


def gunicorn_app(example: Path, scratch: Path) -> None:
    """Ask until both workers have answered from what one of them was told."""
    import httpx

    port, db = free_port(), f"sqlite:///{scratch}/life.db"
    config = str(example.with_name("gunicorn_conf.py"))
    command = [sys.executable, "-m", "gunicorn", "-c", config, "-b", f"127.0.0.1:{port}", "gunicorn_app:application"]

    def ask(text: str) -> tuple[str, list[dict[str, Any]]]:
        reply = httpx.post(f"{address}/ann", content=text, timeout=PATIENCE)
        return reply.headers["X-Worker"], heard(reply.text)

    with serving(command, example.parent, scratch, port, MARS_DB=db) as address, ThreadPoolExecutor(4) as threads:
        assert ask(TELL)[1][-1] == {"text": "Noted.", "final": True}
        workers, deadline = set[str](), time.monotonic() + PATIENCE
        while len(workers) < 2:
            assert time.monotonic() < deadline, f"only {workers} answered"
            for worker, events in threads.map(ask, [ASK] * 4):
                assert events[-1] == {"text": TELL, "final": True}, events
                assert len(events) > 3, "it came at once, not word by word"
                workers.add(worker)


def web_chat(example: Path, scratch: Path) -> None:
    """Tell it something over HTTP; ask for it in the page, as a person does, where there is a browser."""
    import httpx

    from benchmarks.browsing import running
    from benchmarks.timeline_page import browser

    db = f"sqlite:///{scratch}/life.db"
    with serving([sys.executable, str(example)], scratch, scratch, free_port(), MARS_DB=db) as address:
        told = heard(httpx.post(f"{address}/talks/one", json={"text": TELL, "key": "1"}, timeout=PATIENCE).text)
        assert (told[-1]["text"], told[-1]["final"]) == ("Noted.", True)
        if browser():
            with running() as chromium:
                tab = chromium.open(f"{address}/#two")
                tab.type(ASK)
                tab.wait("document.querySelector('.sources')")
                in_order(tab.value("document.querySelector('main').innerText"), ASK, TELL, "from:", TELL)


def notebook(example: Path, scratch: Path) -> None:
    """Run the notebook in a kernel; what it prints is what is printed in the file."""
    import nbformat
    from nbclient import NotebookClient

    def printed(cells: Any) -> list[str]:
        outputs = [one for cell in cells for one in cell.get("outputs", ())]
        return [one["text"] if one["output_type"] == "stream" else one["data"]["text/plain"] for one in outputs]

    pages: Any = nbformat.read(example, as_version=4)  # type: ignore[no-untyped-call]
    before = printed(pages.cells)
    NotebookClient(pages, timeout=int(PATIENCE), resources={"metadata": {"path": str(scratch)}}).execute(
        env=surroundings(scratch)
    )
    assert before
    assert printed(pages.cells) == before


def served(example: Path, scratch: Path) -> None:
    """Serve it by `langgraph dev`, and have the official client tell it something and ask for it."""
    from langgraph_sdk import get_sync_client

    folder, port = scratch / "served", free_port()
    shutil.copytree(example, folder)  # the server leaves a folder of its own where it runs
    command = [sys.executable, "-m", "langgraph_cli", "dev", "--no-browser", "--no-reload", "--port", str(port)]
    quiet = {"LANGGRAPH_CLI_NO_ANALYTICS": "1", "LANGSMITH_TRACING": "false", "MARS_DB": f"{scratch}/life.db"}
    with serving(command, folder, scratch, port, **quiet) as address, get_sync_client(url=address) as client:
        thread = client.threads.create()["thread_id"]
        for text, answer in ((TELL, "Noted."), (ASK, TELL)):
            asked: Any = {"messages": [{"role": "user", "content": text}]}
            values: Any = client.runs.wait(thread, "mars", input=asked)
            assert values["messages"][-1]["content"] == answer, values


def quick(example: Path, scratch: Path) -> None:
    """Let every variant live through half a year, and draw the page."""
    printed = output_of([*MARS, "simulate", str(example), "--json"], scratch)
    report = json.loads(printed.splitlines()[-1])
    assert report["oracle"] is not None
    assert len(report["variants"]) >= 8


def facts(example: Path, scratch: Path) -> None:
    """Live the demo's sixty days with these facts."""
    report = json.loads(output_of([*MARS, "demo", "--facts", str(example), "--json"], scratch))
    assert report["days"] == 60


MARS = [sys.executable, "-c", "from mars.cli import main; main()"]

ALL = (
    Example("remembering.py", script("lives in Porto.", "Not known.")),
    Example("chat.py", chat),
    Example("web_chat.py", web_chat, ("fastapi", "uvicorn", "httpx", "websockets")),
    Example("fastapi_app.py", fastapi_app, ("fastapi", "uvicorn", "httpx")),
    Example("gunicorn_app.py", gunicorn_app, ("gunicorn", "httpx")),
    Example("notebook.ipynb", notebook, ("nbclient", "ipykernel")),
    Example("subgraph.py", script("Noted.", "Order 17 left", "5 Mill Lane", "ask_memory", "5 Mill Lane")),
    Example("store_in_a_graph.py", script("Miso", "bob: What is the cat called?", "I know nothing")),
    Example("database_agent.py", script("Done.", '["12"]', "approved: False", "has 3 columns", "UPDATE", "SELECT")),
    Example("own_environment.py", script("with memory: 4 of 4", "without: 0 of 4")),
    Example("served", served, ("langgraph_api",), slow=True),
    Example("facts.json", facts, slow=True),
    Example("quick.toml", quick, slow=True),
)
"""Every example that runs in under two minutes."""


def tried(example: Example, folder: Path) -> tuple[str, float]:
    """Return what came of an example, and the seconds it took."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        try:
            example.try_it(folder / example.name, Path(scratch))
            outcome = "ran"
        except Exception as error:  # noqa: BLE001 - whatever it is, the others run too
            outcome = f"failed: {type(error).__name__}: {error}"
    return outcome, round(time.perf_counter() - began, 1)


def main() -> None:
    """Print a line for each example, or one of JSON for all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=[one.name for one in ALL], help="this one")
    parser.add_argument("--folder", type=Path, default=EXAMPLES, help="where the examples are")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    given = parser.parse_args()
    rows = []
    for example in ALL:
        if given.only and example.name not in given.only:
            continue
        outcome, seconds = tried(example, given.folder.resolve())
        rows.append({"name": example.name, "outcome": outcome, "seconds": seconds})
        if not given.json:
            print(f"{example.name:<20} {seconds:>6.1f} s  {outcome}", flush=True)
    failed = sum(row["outcome"] != "ran" for row in rows)
    if given.json:
        from benchmarks.timeline_page import browser

        ran = {"examples": len(rows), "ran": len(rows) - failed, "failed": failed, "browser": browser() is not None}
        print(json.dumps({**ran, "rows": rows}))
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
