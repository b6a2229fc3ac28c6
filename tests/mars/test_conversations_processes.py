"""Durable conversations among processes: killed at every commit, told to end, taken over, taking turns."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from mars import Assistant, Mars, Team
from mars.testing import ScriptedModel

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform == "win32", reason="processes are forked and sent signals"),
]

SCRIPT = str(Path(__file__).with_name("kept_turns.py"))


def started(*arguments: str) -> subprocess.Popen[str]:
    """Start a process."""
    return subprocess.Popen([sys.executable, SCRIPT, *arguments], stdout=subprocess.PIPE, text=True)


def lines(*arguments: str) -> list[dict[str, Any]]:
    """Return what a process printed, each line an object."""
    done = subprocess.run(
        [sys.executable, SCRIPT, *arguments], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def wrong(rows: list[dict[str, Any]]) -> list[int]:
    """Return after which commits the result was another one than without a kill, or a call was made once too often."""
    *killed, whole = rows
    found = []
    for row in killed:
        same = row["result"] in (whole["result"], None) and all(row[key] == whole[key] for key in ("said", "records"))
        again = Counter(row["calls"]) - Counter(whole["calls"])
        if not same or again.total() > 1:
            found.append(row["hits"])
    return found


def test_killed_at_every_commit(tmp_path: Path) -> None:
    """After SIGKILL at each commit of a turn, resume gives the result of an uninterrupted run, words and records too;
    at most the one call that was in flight is made again."""
    rows = lines("kill", f"sqlite:///{tmp_path / 'life.db'}")
    assert len(rows) > 12
    assert wrong(rows) == []
    repeated = sum((Counter(row["calls"]) - Counter(rows[-1]["calls"])).total() for row in rows)
    assert repeated <= 8


def test_the_witness_notices(tmp_path: Path) -> None:
    """Sabotage: a result that differs, or two calls made again, is found."""
    whole = {"hits": 0, "result": 1, "said": [], "records": [], "calls": ["draft 1"]}
    assert wrong([{**whole, "hits": 3, "result": 2}, whole]) == [3]
    assert wrong([{**whole, "hits": 4, "calls": ["draft 1"] * 3}, whole]) == [4]
    assert wrong([{**whole, "hits": 5, "calls": ["draft 1"] * 2}, whole]) == []
    assert wrong([{**whole, "hits": 6, "result": None, "said": ["other"]}, whole]) == [6]


async def test_sigterm_drains_to_a_saved_checkpoint(tmp_path: Path) -> None:
    """SIGTERM lets the step under way end; the process ends by itself, and the turn is resumed without a call."""
    url = f"sqlite:///{tmp_path / 'life.db'}"
    process = started("serve", url)
    assert process.stdout is not None
    assert process.stdout.readline() == "asked\n"
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=60)[0] == "cancelled\n"
    assert process.returncode == 0
    model = ScriptedModel([])
    async with Mars.open(url, team=Team(assistant=Assistant(model=model), without=frozenset({"checker"}))) as mars:
        result = await mars.resume("c")
    assert (result.answer, model.calls) == ("In Norway.", [])


async def test_the_lease_of_a_killed_process_is_taken_over(tmp_path: Path) -> None:
    """Until the lease runs out nobody resumes; then the turn is finished elsewhere."""
    url = f"sqlite:///{tmp_path / 'life.db'}"
    process = started("serve", url)
    assert process.stdout is not None
    assert process.stdout.readline() == "asked\n"
    process.kill()
    process.communicate(timeout=60)
    team = Team(assistant=Assistant(model=ScriptedModel(["In Norway."])), without=frozenset({"checker"}))
    async with Mars.open(url, team=team) as mars:
        assert [one.running for one in await mars.unfinished()] == [True]
        result = await mars.resume("c", on_busy="queue")
    assert result.answer == "In Norway."


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_processes_take_turns(request: pytest.FixtureRequest, tmp_path: Path, kind: str) -> None:
    """Processes of their own that queue for one conversation lose no turn and overwrite none."""
    url = f"sqlite:///{tmp_path / 'life.db'}"
    if kind == "postgres":
        url = request.getfixturevalue("fresh_database")()
    async with Mars.open(url):
        processes = [started("say", url, "4", "queue") for _ in range(3)]
        assert [process.wait(timeout=120) for process in processes] == [0, 0, 0]
        for process in processes:
            process.communicate()
    async with Mars.open(url) as mars:
        words = await mars.transcript("c")
        assert await mars.unfinished() == []
    assert [one.turn for one in words[::2]] == list(range(1, 13))
    assert Counter(one.text for one in words[::2]) == Counter({f"Turn {number}?": 3 for number in range(4)})
