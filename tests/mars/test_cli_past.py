"""`mars history`, `mars fork`, `mars replay` and `mars diff`."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from pathlib import Path

import pytest

from mars import Mars
from mars.cli import main
from mars.testing import FixedClock


@pytest.fixture
def db(tmp_path: Path) -> str:
    """A database where Ann has told where her sister lives, and asked."""
    url = f"sqlite:///{tmp_path / 'life.db'}"
    asyncio.run(_talk(url))
    return url


async def _talk(url: str) -> None:
    clock = FixedClock()
    async with Mars.open(url, clock=clock) as mars:
        for task in ("My sister lives in Oslo.", "Where does my sister live?"):
            clock.advance(hours=1)
            await mars.run(task, user="ann", conversation="c")
        await mars.name_turn("c", "the sister")


def test_going_back_from_a_terminal(db: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Ids that history shows are taken by the others; each prints for people and, with ``--json``, for programs."""

    def told(*arguments: str) -> str:
        assert main([*arguments, "--db", db]) == 0
        return capsys.readouterr().out

    shown = told("history", "c", "--checkpoints")
    second, first = json.loads(told("history", "c", "--json"))
    assert second["id"] in shown
    assert "[the sister]" in shown
    assert "Where does my sister live? -> My sister lives in Oslo." in shown
    assert json.loads(told("history", "c", "--before", "2", "--limit", "1", "--json")) == [first]
    assert "d  (ann, 1 turn)" in told("fork", "c", "--at", first["id"], "--into", "d")
    assert json.loads(told("fork", "c", "--json"))["name"] == "c~1"
    replay = json.loads(told("replay", "c", "--at", "the sister", "--json"))
    assert (replay["conversation"], replay["reproduced"]) == ("c~2", True)
    assert "the same as turn 2: 5 steps" in told("replay", "c", "--recorded")
    shown = told("diff", "c", "d")
    assert "- 2 ann: Where does my sister live?" in shown
    assert "+ Noted." in shown
    assert "no difference" in told("diff", "c", "--at", "2", "--to", "2")
    assert json.loads(told("diff", "c", "--at", "1", "--to", "2", "--json"))["said"]["both"] == 2


def test_a_replay_that_differs_says_where(db: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The step, what is on record and what came now; with ``-`` and ``+`` as in a diff."""
    with sqlite3.connect(db.removeprefix("sqlite:///")) as database:
        database.execute("UPDATE mars_calls SET body = replace(body, 'Oslo', 'Rome')")
    assert main(["replay", "c", "--recorded", "--db", db]) == 0
    shown = capsys.readouterr().out
    assert "after 1 step the draft differs, in round 1 (assistant):" in shown
    assert "- My sister lives in Oslo. [m1]" in shown
    assert "+ My sister lives in Rome. [m1]" in shown


def test_mistakes_say_what_helps(db: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown conversation or place, and a name that is taken, are one line each and exit code 2."""
    for arguments, words in (
        (["history", "x"], "never begun"),
        (["fork", "c", "--at", "9"], "mars.history('c', checkpoints=True)"),
        (["fork", "c", "--into", "c"], "name another"),
        (["replay", "x"], "never begun"),
        (["diff", "c", "x"], "never begun"),
        (["history", "c", "--db", f"{db}.none"], "there is no memory"),
    ):
        assert main([*arguments, *(["--db", db] if "--db" not in arguments else [])]) == 2
        assert words in capsys.readouterr().err
