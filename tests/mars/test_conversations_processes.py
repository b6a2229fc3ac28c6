"""Durable conversations among processes: told to end, taken over, taking turns."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from mars import Assistant, Mars, Team
from mars.testing import ScriptedModel

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform == "win32", reason="processes are forked and sent signals"),
]

SCRIPT = str(Path(__file__).with_name("kept_turns.py"))


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'life.db'}"
    make: Callable[[], str] = request.getfixturevalue("fresh_database")
    return make()


def started(*arguments: str) -> subprocess.Popen[str]:
    """Start a process."""
    return subprocess.Popen([sys.executable, SCRIPT, *arguments], stdout=subprocess.PIPE, text=True)


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


async def test_sigterm_that_drains_nothing_costs_the_call(tmp_path: Path) -> None:
    """The sabotage: the process dies at once, and who resumes the turn has to make its call again."""
    url = f"sqlite:///{tmp_path / 'life.db'}"
    process = started("deaf", url)
    assert process.stdout is not None
    assert process.stdout.readline() == "asked\n"
    process.send_signal(signal.SIGTERM)
    assert (process.communicate(timeout=60)[0], process.returncode) == ("", -signal.SIGTERM)
    model = ScriptedModel(["In Norway."])
    async with Mars.open(url, team=Team(assistant=Assistant(model=model), without=frozenset({"checker"}))) as mars:
        assert (await mars.resume("c", on_busy="queue")).usage.maybe_paid == len(model.calls) == 1


async def test_the_lease_of_a_killed_process_is_taken_over(url: str) -> None:
    """Until the lease runs out nobody resumes; then the turn is finished elsewhere."""
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


async def test_processes_take_turns(url: str) -> None:
    """Processes of their own that queue for one conversation lose no turn and overwrite none."""
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
