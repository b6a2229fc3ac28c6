"""`mars conversations`, `mars resume` and `mars decide`."""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from mars import Assistant, Mars, Team
from mars.cli import main
from mars.persistence.approvals import Approval
from mars.testing import ScriptedModel, Step

QUESTION = "Where does my sister live?"


@pytest.fixture
def left(tmp_path: Path) -> str:
    """A database where Ann has told where her sister lives, and a question rests half done."""
    url = f"sqlite:///{tmp_path / 'life.db'}"
    asyncio.run(_leave(url))
    return url


async def _leave(url: str) -> None:
    asked = threading.Event()

    def wait(_: object) -> Step:
        asked.set()
        return Step(text="Never heard.", delay=0.3)

    async with Mars.open(url) as mars:
        await mars.run("My sister lives in Oslo.", user="ann", conversation="c")
    team = Team(assistant=Assistant(model=ScriptedModel(wait)))
    async with Mars.open(url, team=team) as mars:
        task = asyncio.ensure_future(mars.run(QUESTION, user="ann", conversation="c"))
        assert await asyncio.to_thread(asked.wait, 20)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def test_what_rests_is_listed_and_finished(left: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The list names the conversation and the task; resume answers it; then nothing is unfinished."""
    assert main(["conversations", "--db", left, "--unfinished"]) == 0
    shown = capsys.readouterr().out
    assert "interrupted" in shown
    assert main(["conversations", "--db", left, "--json"]) == 0
    (one,) = json.loads(capsys.readouterr().out)
    assert (one["name"], one["namespace"], one["turns"], one["task"]) == ("c", ["ann"], 2, QUESTION)
    assert main(["resume", "c", "--db", left, "-n", "ann", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["answer"] == "My sister lives in Oslo."
    assert main(["resume", "c", "--db", left, "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert main(["conversations", "c", "--db", left, "-n", "ann", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == again
    assert (again["answer"], again["task"]) == ("My sister lives in Oslo.", QUESTION)
    assert main(["conversations", "c", "--turn", again["turn"], "--db", left]) == 0
    shown = capsys.readouterr().out
    assert QUESTION in shown
    assert "My sister lives in Oslo." in shown
    assert main(["conversations", "--db", left, "--unfinished", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    assert main(["conversations", "--db", left, "--unfinished"]) == 0
    assert "Nothing is unfinished." in capsys.readouterr().out


def test_mistakes_say_what_helps(left: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown conversation, and a database that is not there, are one line each and exit code 2."""
    assert main(["resume", "d", "--db", left]) == 2
    assert "never begun" in capsys.readouterr().err
    assert main(["conversations", "c", "--db", left]) == 2
    assert "mars.resume('c')" in capsys.readouterr().err
    assert main(["conversations", "c", "--turn", "x", "--db", left]) == 2
    assert "no turn 'x' that is over" in capsys.readouterr().err
    assert main(["conversations", "--turn", "x", "--db", left]) == 2
    assert "needs the conversation's name" in capsys.readouterr().err
    assert main(["conversations", "--db", str(tmp_path / "none.db")]) == 2
    assert "there is no memory" in capsys.readouterr().err


@pytest.fixture
def waiting(tmp_path: Path) -> str:
    """A database where a payment waits for a person."""
    url = f"sqlite:///{tmp_path / 'till.db'}"

    def pay(amount: int) -> str:
        """Pay."""
        return f"paid {amount}"

    model = ScriptedModel([Step(tool_calls=(("pay", {"amount": 5}),))])
    team = Team(approval=Approval(), without=frozenset({"checker"}))
    with Mars.open_sync(url, model=model, tools=[pay], team=team) as mars:
        mars.run("Pay.", conversation="bill")
    return url


def test_what_waits_is_shown_and_decided(waiting: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Without an option it shows what is asked; with one it decides, once; JSON has the row."""
    assert main(["decide", "bill", "--db", waiting]) == 0
    assert "waits" in capsys.readouterr().out
    assert main(["decide", "bill", "--db", waiting, "--edit", '{"amount": 4}', "--by", "ann", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["decision"] == {"choice": "edit", "arguments": {"amount": 4}, "text": "", "by": "ann"}
    assert main(["decide", "bill", "--db", waiting, "--reject", "no"]) == 2
    assert "waits" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [["--approve", "--reject", "x"], ["--edit", "{"], ["--answer", " "]])
def test_what_is_no_decision(waiting: str, wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Two decisions at once, no JSON, an empty answer: nothing is written."""
    assert main(["decide", "bill", "--db", waiting, *wrong]) != 0
    capsys.readouterr()
    assert main(["decide", "bill", "--db", waiting, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["decision"] is None


def test_what_others_say_does_not_command_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither what a model proposes nor what a user asks can move the cursor, hide or turn round what is shown."""
    url, evil = f"sqlite:///{tmp_path / 'life.db'}", "\x1b[2K\x9b1A\u202e\x7f"
    model = ScriptedModel([Step(tool_calls=((f"pay{evil}", {"to": evil}),))])
    team = Team(approval=Approval(), without=frozenset({"checker", "reflection"}))

    async def ask() -> None:
        async with Mars.open(url, model=model, team=team) as mars:
            await mars.run(f"Pay{evil}", user="ann", conversation="c")

    asyncio.run(ask())
    assert main(["decide", "c", "--db", url]) == 0
    assert main(["conversations", "--db", url]) == 0
    shown = capsys.readouterr().out
    assert "pay\N{REPLACEMENT CHARACTER}" in shown
    assert not set(evil) - set("[2K1A") & set(shown)
