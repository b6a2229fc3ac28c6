"""The run log: what stands in it, that lines are whole, and what reads it."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt

from mars import Assistant, Mars, Team
from mars.cli import main
from mars.errors import InvalidFile, NotFound
from mars.events import EVERYTHING, Event, EventKind
from mars.observability import Began, RunLog, read_runs, timeline
from mars.observability.appending import append, hide, secrets_of
from mars.observability.observing import observations
from mars.observability.reading import find_run
from mars.subgraph import agent_graph
from mars.testing import ScriptedModel, Step

ALONE = Team(without=frozenset({"checker", "reflection"}))
FIELDS = ["run", "kind", "at", "offset", "conversation", "turn", "iteration", "role", "text", "data"]


def lines_of(path: Path) -> list[dict[str, Any]]:
    """Every line of a log; raises where one is no JSON."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def kinds(lines: Sequence[dict[str, Any]]) -> list[str]:
    """Kinds of lines, tokens left out."""
    return [line["kind"] for line in lines if line["kind"] != "token"]


@pytest.mark.parametrize("kept", [True, False], ids=["kept", "passing"])
async def test_every_event_is_a_line(kept: bool, tmp_path: Path) -> None:
    """Header first, result last, and between them what `stream` yields, in the same order, whoever listens."""
    path, url = tmp_path / "runs.jsonl", f"sqlite:///{tmp_path}/life.db" if kept else "memory:"
    heard: list[Event] = []
    async with Mars.open(url, observers=[RunLog(path)]) as mars:
        await mars.run("My sister lives in Oslo.", user="ann", conversation="c")
        async for event in mars.stream("Where does my sister live?", user="ann", conversation="c", heard=EVERYTHING):
            heard.append(event)
    told, asked = read_runs(path)
    assert kinds(told.lines) == ["header", "memory_read", "call", "draft", "verdict", "memory_write", "final"]
    lines = [line for line in asked.lines if line["kind"] not in ("header", "call")]
    assert [(line["kind"], line["role"], line["text"]) for line in lines] == [
        (event.kind.value, event.role, event.text) for event in heard
    ]
    assert [line["data"] for line in lines[:-1]] == [json.loads(json.dumps(event.data)) for event in heard[:-1]]
    result = heard[-1].result
    assert result is not None
    assert lines[-1]["data"] == json.loads(json.dumps(result.plain()))
    assert {line["turn"] for line in lines} == {result.turn}
    for line in asked.lines:
        assert list(line)[:10] == FIELDS
    header = asked.lines[0]
    assert (header["format"], header["process"], header["data"]["user"]) == (1, os.getpid(), "ann")
    offsets = [line["offset"] for line in asked.lines]
    assert offsets == sorted(offsets)
    (call,) = [line for line in asked.lines if line["kind"] == "call"]
    assert call["data"]["name"] == "mars-reader-1"
    assert (asked.status, asked.task, asked.conversation) == ("completed", "Where does my sister live?", "c")


async def test_who_logs_nothing_is_told_nothing(tmp_path: Path) -> None:
    """Without an observer, no code of a run sees one; with one, it does: the test can fail."""
    seen: list[int] = []

    def look(_: object) -> str:
        seen.append(len(observations()))
        return "Hm."

    for observers in ([], [RunLog(tmp_path / "runs.jsonl")]):
        async with Mars.open("memory:", model=ScriptedModel(look), team=ALONE, observers=observers) as mars:
            await mars.run("Who?")
            assert observations() == ()
    assert seen == [0, 1]


async def test_a_run_that_breaks_says_so(tmp_path: Path) -> None:
    """Cancelled, refused, or left by its listener: the last line tells, and the file is whole."""
    path, began = tmp_path / "runs.jsonl", anyio.Event()

    async def hang() -> str:
        """Wait for ever."""
        began.set()
        await anyio.sleep_forever()
        return ""

    model = ScriptedModel(lambda _: Step(tool_calls=(("hang", {}),)))
    async with Mars.open(
        f"sqlite:///{tmp_path}/a.db", model=model, tools=[hang], team=ALONE, observers=[RunLog(path)]
    ) as mars:
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: mars.run("Wait.", conversation="c"))
            await began.wait()
            with pytest.raises(Exception, match="another run holds"):
                await mars.run("And this?", conversation="c")
            group.cancel_scope.cancel()
        async for event in mars.stream("Wait again.", conversation="d", heard=EVERYTHING):
            if event.kind is EventKind.MEMORY_READ:
                break
    ends = {run.conversation: (run.status, run.lines[-1]["text"].partition(":")[0]) for run in read_runs(path)}
    first, busy, _ = read_runs(path)
    assert (first.status, first.lines[-1]["text"].partition(":")[0]) == ("broken", "CancelledError")
    assert (busy.status, busy.lines[-1]["text"].partition(":")[0]) == ("broken", "ConversationBusy")
    assert ends["d"] == ("broken", "GeneratorExit")


class Broken:
    """An observer that fails at everything."""

    def begin(self, began: Began) -> Any:
        """Fail."""
        raise RuntimeError("no disk")

    async def flush(self) -> None:
        """Fail."""
        raise RuntimeError("no disk")


async def test_an_observer_that_fails_harms_no_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the run and the other observers go on."""
    path = tmp_path / "runs.jsonl"
    async with Mars.open("memory:", observers=[Broken(), RunLog(path)]) as mars:
        assert (await mars.run("My cat is called Miso.")).answer == "Noted."
    assert "Broken failed; the run goes on" in caplog.text
    assert read_runs(path)[0].status == "completed"


async def test_a_log_that_cannot_be_written_harms_no_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A folder that is gone costs the lines, once told, and nothing else."""
    folder = tmp_path / "gone"
    folder.mkdir()
    log = RunLog(folder / "runs.jsonl")
    folder.rmdir()
    async with Mars.open("memory:", observers=[log]) as mars:
        assert (await mars.run("My cat is called Miso.")).answer == "Noted."
    assert "cannot be written" in caplog.text


async def test_a_graph_within_a_graph_is_logged(tmp_path: Path) -> None:
    """What `agent_graph` runs in a host's graph is a run like any other."""
    path = tmp_path / "runs.jsonl"
    async with Mars.open("memory:", observers=[RunLog(path)]) as mars:
        graph = agent_graph(mars).compile()
        await graph.ainvoke({"messages": [("user", "My cat is called Miso.")]})
    (run,) = read_runs(path)
    assert kinds(run.lines)[0] == "header"
    assert kinds(run.lines)[-1] == "final"
    assert "draft" in kinds(run.lines)


async def test_an_interrupt_in_a_host_is_no_failure(tmp_path: Path) -> None:
    """Where the host's user has to answer, the run says so; what goes on with the answer is another run."""
    path = tmp_path / "runs.jsonl"

    def book() -> str:
        """Book a table."""
        return f"Booked for {interrupt('Which day?')}."

    model = ScriptedModel(lambda said: "Done." if said[-1].type == "tool" else Step(tool_calls=(("book", {}),)))
    config: Any = {"configurable": {"thread_id": "1"}}
    async with Mars.open("memory:", model=model, tools=[book], team=ALONE, observers=[RunLog(path)]) as mars:
        graph = agent_graph(mars).compile(checkpointer=InMemorySaver())
        await graph.ainvoke({"messages": [("user", "Book a table.")]}, config)
        await graph.ainvoke(Command(resume="Tuesday"), config)
    first, second = read_runs(path)
    assert (first.status, second.status) == ("interrupted", "completed")
    assert "interrupted" in timeline([first])


# What must not be in it

KEY = "sk-proj-abcdefghijklmnopqrstuvwx"


async def test_keys_and_prompts_are_left_out(tmp_path: Path) -> None:
    """A key in an error or a task is hidden; a prompt is there only where team and log both ask for it."""
    path = tmp_path / "runs.jsonl"
    os.environ["MARS_TEST_SECRET"] = 'pass"word-of-ours'
    try:
        log = RunLog(path)
    finally:
        del os.environ["MARS_TEST_SECRET"]
    model = ScriptedModel([Step(error=ValueError(f"Incorrect API key {KEY}")), "Hm."])
    team = Team(assistant=Assistant(model=model), keep_prompts=True, without=ALONE.without)
    async with Mars.open("memory:", team=team, observers=[log]) as mars:
        await mars.run('Is pass"word-of-ours good? Or Bearer abcdef0123456789?')
        await mars.run("Who?")
    text = path.read_text()
    assert KEY not in text
    assert "of-ours" not in text
    assert "abcdef0123456789" not in text
    assert text.count("***") >= 3
    assert "Rely only on the memories" not in text
    team = Team(assistant=Assistant(model=ScriptedModel(["Hm."])), keep_prompts=True, iterations=1)
    async with Mars.open("memory:", team=team, observers=[RunLog(path, prompts=True)]) as mars:
        await mars.run("Who?")
    assert "Rely only on the memories" in path.read_text()


def test_short_words_of_the_environment_are_no_keys() -> None:
    """Only values long enough and under a telling name are hidden; the longest first."""
    found = secrets_of({"A_KEY": "1234567", "B_TOKEN": "12345678", "C_KEY": "1234567890", "PLAIN": "a-long-value"})
    assert found == ("1234567890", "12345678")
    assert hide("12345678 1234567890 1234567 a-long-value", found) == "*** *** 1234567 a-long-value"
    assert hide("postgresql://ann:geheim@db/x", ()) == "postgresql://***@db/x"


@pytest.mark.parametrize(
    "key",
    [
        "sk-ant-api03-abcdefghijklmnop",
        "gsk_abcdefghijklmnopqrstuvwx",
        "hf_abcdefghijklmnopqrstuvwx",
        "github_pat_11ABCDEFG0abcdefghijkl",
        "ghs_abcdefghijklmnopqrstuvwx",
        "AKIAIOSFODNN7EXAMPLE",
        "AIzaSyA-1234567890abcdefghijklmnopqrstuv",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJl",
    ],
)
def test_keys_of_other_providers_are_blotted_out(key: str) -> None:
    """Those of clouds and of code, too, also where a line begins with one; words that begin alike stay."""
    assert hide(f'{{"text": "It is {key}."}}', ()) == '{"text": "It is ***."}'
    assert hide(json.dumps(f"It is:\n{key}\n\t{key}\r\n"), ()) == json.dumps("It is:\n***\n\t***\r\n")
    assert hide("a skateboard, eyJ, AKIA, npm-run and hf_short", ()) == "a skateboard, eyJ, AKIA, npm-run and hf_short"


async def test_the_file_is_its_owners(tmp_path: Path) -> None:
    """Nobody else may read what was said."""
    path = tmp_path / "runs.jsonl"
    async with Mars.open("memory:", observers=[RunLog(path)]) as mars:
        await mars.run("Who?")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_tokens_may_be_left_out(tmp_path: Path) -> None:
    """Without `tokens` there is no line for each of them, and all others."""
    path = tmp_path / "runs.jsonl"
    async with Mars.open(
        "memory:", model=ScriptedModel(["One two three."]), team=ALONE, observers=[RunLog(path, tokens=False)]
    ) as mars:
        await mars.run("Who?")
    found = [line["kind"] for line in lines_of(path)]
    assert "token" not in found
    assert found[-1] == "final"


# Whole lines

WRITER = """
import sys
from pathlib import Path
from mars.observability.appending import Appender
appender = Appender(Path(sys.argv[1]))
number = 0
print("ready", flush=True)
while True:
    line = '{"run": "%s", "kind": "draft", "number": %d, "text": "%s"}' % (sys.argv[2], number, "x" * (number % 9000))
    appender.put(line)
    number += 1
    if number % 50 == 0:
        appender.flush()
    if len(sys.argv) > 3 and number == int(sys.argv[3]):
        break
"""


def writer(path: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start a process that writes lines."""
    return subprocess.Popen([sys.executable, "-c", WRITER, str(path), *arguments], stdout=subprocess.PIPE, text=True)


def torn(path: Path) -> int:
    """How many lines of a file are no JSON."""
    bad = 0
    for line in path.read_bytes().splitlines():
        try:
            json.loads(line)
        except ValueError:
            bad += 1
    return bad


def test_processes_write_whole_lines_together(tmp_path: Path) -> None:
    """Lines of several processes are whole, and each one's are all there in their order."""
    path = tmp_path / "runs.jsonl"
    together = [writer(path, name, "400") for name in "abc"]
    for one in together:
        assert one.wait(60) == 0
        assert one.stdout is not None
        one.stdout.close()
    numbers: dict[str, list[int]] = {}
    for line in lines_of(path):
        numbers.setdefault(line["run"], []).append(line["number"])
    assert numbers == {name: list(range(400)) for name in "abc"}


def test_a_kill_leaves_whole_lines(tmp_path: Path) -> None:
    """Whoever writes after a kill begins a line of their own: at most the killed one's last line is lost."""
    path, killed = tmp_path / "runs.jsonl", 3
    for number in range(killed):
        one = writer(path, f"k{number}")
        assert one.stdout is not None
        one.stdout.readline()
        while not path.exists() or path.stat().st_size < (number + 1) * 300_000:
            assert one.poll() is None
        one.send_signal(signal.SIGKILL)
        one.wait(60)
        one.stdout.close()
    append(path, b'{"run": "last", "kind": "draft"}\n')
    assert torn(path) <= killed
    assert json.loads(path.read_bytes().splitlines()[-1])["run"] == "last"


def test_a_torn_line_costs_itself_only(tmp_path: Path) -> None:
    """Half a line is left out and counted, the next one begins a new line; plain appending would lose both."""
    path = tmp_path / "runs.jsonl"
    header = {"run": "a", "kind": "header", "at": "2026-01-01T00:00:00+00:00", "offset": 0.0, "format": 1, "data": {}}
    path.write_text(json.dumps(header) + '\n{"run": "a", "kind": "dra')
    with path.open("a") as sabotaged:
        sabotaged.write('{"run": "a", "kind": "verdict"}\n')
    assert torn(path) == 1
    assert len(lines_of_what_can_be_read(path)) == 1
    path.write_text(json.dumps(header) + '\n{"run": "a", "kind": "dra')
    append(path, b'{"run": "a", "kind": "final", "offset": 1.5, "data": {"status": "completed"}}\n')
    (run,) = read_runs(path)
    assert (run.torn, run.status, run.seconds) == (1, "completed", 1.5)


def lines_of_what_can_be_read(path: Path) -> list[dict[str, Any]]:
    """The lines of the runs of a log."""
    return [line for run in read_runs(path) for line in run.lines]


def test_a_child_of_a_fork_writes_too(tmp_path: Path) -> None:
    """A process that was forked after the log was used writes its lines, and ends."""
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from mars.observability.appending import Appender\n"
        "appender = Appender(Path(sys.argv[1]))\n"
        "appender.put('parent'); appender.flush()\n"
        "child = os.fork()\n"
        "appender.put('child' if child == 0 else 'parent again')\n"
        "if child:\n"
        "    os.waitpid(child, 0)\n"
    )
    path = tmp_path / "runs.jsonl"
    subprocess.run([sys.executable, "-W", "ignore", "-c", code, str(path)], check=True, timeout=60)
    assert sorted(path.read_text().split("\n")) == ["", "child", "parent", "parent again"]


def test_what_is_no_text_is_written_all_the_same(tmp_path: Path) -> None:
    """Lone surrogates, NUL and line separators stand in one line each, and come back."""
    path, words = tmp_path / "runs.jsonl", "a\ud800b\0c\u2028d\ne"
    log = RunLog(path)
    seen = log.begin(Began("run", ("ann",), None, words, "ann"))
    seen.end(None, ValueError(words))
    anyio.run(log.flush)
    assert len(path.read_bytes().splitlines()) == 2
    (run,) = read_runs(path)
    assert run.task == words
    assert run.lines[-1]["text"] == f"ValueError: {words}"


# Reading


def test_what_is_no_log_is_refused(tmp_path: Path) -> None:
    """Another file is neither read nor added to; a newer format, a missing file and folder are named."""
    other = tmp_path / "notes.txt"
    other.write_text("Dear diary")
    for use in (RunLog, read_runs):
        with pytest.raises(InvalidFile, match="no run log"):
            use(other)
    assert other.read_text() == "Dear diary"
    with pytest.raises(InvalidFile, match="MARS_RUN_LOG"):
        read_runs(tmp_path / "nowhere.jsonl")
    with pytest.raises(InvalidFile, match="no folder"):
        RunLog(tmp_path / "nowhere" / "runs.jsonl")
    newer = tmp_path / "newer.jsonl"
    newer.write_text('{"run": "a", "kind": "header", "format": 2, "offset": 0, "data": {}}\n')
    (run,) = read_runs(newer)
    for show in (run.summary, lambda: timeline([run])):
        with pytest.raises(InvalidFile, match="format 2"):
            show()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log of two runs."""
    path = tmp_path / "runs.jsonl"

    async def fill() -> None:
        async with Mars.open("memory:", observers=[RunLog(path)]) as mars:
            await mars.run("My sister lives in Oslo.", user="ann", conversation="c")
            await mars.run("Where does my sister live?", user="ann", conversation="c")

    anyio.run(fill)
    return path


def test_runs_are_found(log: Path) -> None:
    """By id, its beginning, conversation, or as the last one; what fits nothing or several is refused."""
    runs = read_runs(log)
    assert find_run(runs, runs[0].id) is runs[0]
    assert find_run(runs, "last") is find_run(runs, "c") is find_run(runs, runs[1].id[:8]) is runs[1]
    for wanted in ("nobody", ""):
        with pytest.raises(NotFound):
            find_run(runs, wanted)
    runs[0].id = "c" + runs[0].id[1:]  # as the conversation is named
    assert find_run(runs, "c") is runs[1]
    runs[0].id = runs[1].id[:6] + "000000"
    with pytest.raises(NotFound, match="2 runs"):
        find_run(runs, runs[1].id[:6])


def test_the_commands_list_and_show(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`mars runs` for people and for programs; a page is written once."""
    assert main(["runs", "list", "--log", str(log), "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert (second["task"], second["status"], second["approved"]) == ("Where does my sister live?", "completed", True)
    assert main(["runs", "list", "--log", str(log)]) == 0
    shown = capsys.readouterr().out
    assert first["run"] in shown
    assert "completed" in shown
    assert main(["runs", "list", "--log", str(log), "--status", "broken", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    assert main(["runs", "show", second["run"], "--log", str(log)]) == 0
    assert "verdict" in capsys.readouterr().out
    assert main(["runs", "show", "last", "--log", str(log), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["events"]) == second["lines"]
    page = log.with_name("page.html")
    show = ["runs", "show", "last", "--log", str(log), "--html", str(page)]
    assert main(show) == 0
    assert "Where does my sister live?" in page.read_text()
    assert main(show) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main([*show, "--overwrite"]) == 0
    assert main(["runs", "show", "nope", "--log", str(log)]) == 2


def test_commands_log_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With MARS_RUN_LOG, `mars ask` leaves its run in the log, which `mars runs` reads by itself."""
    path, db = tmp_path / "runs.jsonl", f"sqlite:///{tmp_path}/life.db"

    async def tell() -> None:
        async with Mars.open(db) as mars:
            await mars.run("My sister lives in Oslo.", user="ann")

    anyio.run(tell)
    monkeypatch.setenv("MARS_RUN_LOG", str(path))
    assert main(["ask", "Where does my sister live?", "--db", db, "-n", "ann"]) == 0
    (run,) = read_runs(path)
    assert (run.task, run.status) == ("Where does my sister live?", "completed")
    assert main(["runs", "show", "last"]) == 0
