"""Actions whose process was killed within them: run again only where that does no harm."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import anyio
import pytest
from langchain_core.messages import BaseMessage, ToolMessage
from langchain_core.tools import InjectedToolArg, StructuredTool

from mars import Assistant, Mars, RunResult, RunStatus, Team
from mars.actions import DONE_BEFORE
from mars.errors import NotFound
from mars.events import EventKind
from mars.testing import ScriptedModel, Step

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="forks; run it on Linux or macOS"),
]

CHILD = """
import anyio, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from test_actions import begun
from mars.testing import KillPoint
KillPoint(sys.argv[4], int(sys.argv[5])).__enter__()
anyio.run(begun, sys.argv[2], Path(sys.argv[3]), sys.argv[6])
"""


class Desk:
    """Where letters are posted: a file that outlives every process."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def posted(self) -> list[str]:
        """Return the keys of the letters that were posted."""
        return self.path.read_text().split("\n")[:-1] if self.path.exists() else []

    def tool(self, kind: str) -> StructuredTool:
        """Return the tool that posts, in a kind of its own."""

        def post(text: str, idempotency_key: Annotated[str, InjectedToolArg] = "") -> str:
            """Post a letter."""
            with self.path.open("a") as file:
                file.write(f"{idempotency_key}\n")
            return f"posted: {text}"

        def plain(text: str) -> str:
            """Post a letter."""
            return post(text, "no key")

        if kind == "plain":
            return StructuredTool.from_function(plain, name="post")
        if kind == "idempotent":
            return StructuredTool.from_function(plain, name="post", metadata={"idempotent": True})
        return StructuredTool.from_function(post, metadata={"was_done": lambda key: key in self.posted()})


def replied(messages: Sequence[BaseMessage]) -> Step | str:
    """Post once, then say what came of it."""
    last = messages[-1]
    return str(last.content) if isinstance(last, ToolMessage) else Step(tool_calls=(("post", {"text": "hello"}),))


def opened(url: str, folder: Path, kind: str) -> Any:
    """Open a Mars with a desk."""
    team = Team(assistant=Assistant(model=ScriptedModel(replied)), without=frozenset({"checker", "memory"}))
    return Mars.open(url, team=team, tools=[Desk(folder / "desk").tool(kind)], lease=0.4)


async def begun(url: str, folder: Path, kind: str) -> RunResult:
    """Run the turn."""
    async with opened(url, folder, kind) as mars:
        result: RunResult = await mars.run("Post a letter.", user="ann", conversation="talk")
        return result


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'run.db'}"
    make: Callable[[], str] = request.getfixturevalue("fresh_database")
    return make()


async def kill(url: str, folder: Path, point: str, kind: str) -> Desk:
    """Run the turn in a process that dies within its second call, which is the action."""
    import subprocess
    import sys

    command = [sys.executable, "-c", CHILD, str(Path(__file__).parent), url, str(folder), point, "2", kind]
    result = await anyio.run_process(command, check=False, stderr=subprocess.PIPE)
    assert result.returncode == -9, result.stderr.decode()
    return Desk(folder / "desk")


async def test_a_tool_that_knows_what_was_done(url: str, tmp_path: Path) -> None:
    """It is asked with the action's key: what was done is not done again, what was not is done once."""
    for point, answer in (("call_returned", DONE_BEFORE), ("call_intended", "posted: hello")):
        folder = tmp_path / point
        folder.mkdir()
        desk = await kill(url, folder, point, "was_done")
        async with opened(url, folder, "was_done") as mars:
            result = await mars.resume("talk", on_busy="queue")
        assert (result.status, result.answer) == (RunStatus.COMPLETED, answer)
        assert len(desk.posted()) == 1
        assert desk.posted() != ["no key"]
        assert result.usage.maybe_paid == 0


async def test_an_idempotent_tool_is_run_again(url: str, tmp_path: Path) -> None:
    """Because it says that this does no harm."""
    desk = await kill(url, tmp_path, "call_returned", "idempotent")
    async with opened(url, tmp_path, "idempotent") as mars:
        result = await mars.resume("talk", on_busy="queue")
    assert (result.status, result.answer) == (RunStatus.COMPLETED, "posted: hello")
    assert len(desk.posted()) == 2


@pytest.mark.parametrize(("done", "answer", "letters"), [(True, "it is there", 1), (False, "posted: hello", 2)])
async def test_a_person_is_asked_about_any_other_tool(
    url: str, tmp_path: Path, done: bool, answer: str, letters: int
) -> None:
    """The run waits, as often as it is resumed, until somebody says what came of the action; nothing is posted so."""
    desk = await kill(url, tmp_path, "call_returned", "plain")
    async with opened(url, tmp_path, "plain") as mars:
        for _ in range(2):
            result = await mars.resume("talk", on_busy="queue")
            assert (result.status, result.answer, result.usage.calls) == (RunStatus.WAITING, "", 1)
        assert desk.posted() == ["no key"]
        await mars.settle_action("talk", done=done, result="it is there" if done else None)
        with pytest.raises(NotFound, match="waits for its outcome"):
            await mars.settle_action("talk", done=done)
        result = await mars.resume("talk")
    assert (result.status, result.answer, result.usage.calls) == (RunStatus.COMPLETED, answer, 2)
    assert len(desk.posted()) == letters


async def test_the_question_is_an_event(url: str, tmp_path: Path) -> None:
    """It names the tool, its arguments and the action's key."""
    await kill(url, tmp_path, "call_intended", "plain")
    async with opened(url, tmp_path, "plain") as mars:
        conversations = mars._conversations
        events = [event async for event in await conversations.resume("talk", None, "queue")]
    asked = next(event for event in events if event.kind is EventKind.INTERRUPT)
    assert (asked.asked["tool"], asked.asked["arguments"]) == ("post", {"text": "hello"})
    assert len(asked.asked["idempotency_key"]) == 32
