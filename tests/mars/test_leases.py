"""One writer per conversation, from threads and processes; whoever lost its lease writes nothing (tasks: see
`test_conversations.py`)."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from mars import Assistant, CheckpointSaver, Mars, RunResult, RunStatus, Team
from mars.errors import ConversationBusy
from mars.holding import OnBusy, Run, thread_of
from mars.persistence.journal import Claim
from mars.persistence.leases import Fence, Leases
from mars.runtime import SyncMars
from mars.testing import ScriptedModel, Step
from mars.watching import Watch

SCRIPT = str(Path(__file__).with_name("kept_turns.py"))
WAYS: tuple[OnBusy, ...] = ("reject", "queue", "cancel", "fork")


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'life.db'}"
    make: Callable[[], str] = request.getfixturevalue("fresh_database")
    return make()


def team(reply: Callable[..., Step | str]) -> Team:
    """Return a team whose Assistant replies so, and whom nobody checks."""
    return Team(assistant=Assistant(model=ScriptedModel(reply)), without=frozenset({"checker"}))


class Held:
    """Conversations that are held by a thread each: its model waits until it is let go."""

    def __init__(self) -> None:
        self.asked: dict[str, threading.Event] = {way: threading.Event() for way in WAYS}
        self.go: dict[str, threading.Event] = {way: threading.Event() for way in WAYS}
        self.ended: dict[str, RunResult] = {}
        self.teams: dict[str, Team] = {way: team(self._reply(way)) for way in WAYS}

    def _reply(self, way: str) -> Callable[..., Step]:
        def wait(_: object) -> Step:
            self.asked[way].set()
            assert self.go[way].wait(60)
            return Step(text="The first.")

        return wait

    def start(self, mars: SyncMars, way: str) -> threading.Thread:
        """Start a run in a thread; return when its model was asked."""

        def work() -> None:
            self.ended[way] = mars.run("Where?", user="ann", conversation=way, team=way)

        thread = threading.Thread(target=work)
        thread.start()
        assert self.asked[way].wait(60)
        return thread


@pytest.mark.parametrize("shared", [True, False], ids=["one runtime", "two runtimes"])
def test_threads(url: str, shared: bool) -> None:
    """Each policy, where a thread has the conversation: of one runtime, and of two with an event loop each."""
    held = Held()
    with ExitStack() as stack:
        usual = team(lambda _: "The second.")
        first = stack.enter_context(Mars.open_sync(url, team=usual, teams=held.teams, lease=1.0))
        other = first if shared else stack.enter_context(Mars.open_sync(url, team=usual, lease=1.0))
        threads = {way: held.start(first, way) for way in WAYS}

        def second(way: OnBusy) -> RunResult:
            return other.run("Where?", user="ann", conversation=way, on_busy=way)

        with pytest.raises(ConversationBusy, match="on_busy='queue'"):
            second("reject")
        copy = second("fork")
        letting_go = threading.Timer(0.3, held.go["cancel"].set)  # a model that is waited for cannot be interrupted
        letting_go.start()
        later = second("cancel")
        held.go["queue"].set()
        queued = second("queue")
        for way in WAYS:
            held.go[way].set()
        for thread in (*threads.values(), letting_go):
            thread.join(60)
        said = {way: [one.text for one in first.transcript(way)][1::2] for way in (*WAYS, "fork~1")}
        assert first.unfinished() == []
    assert (copy.conversation, queued.answer, later.status) == ("fork~1", "The second.", RunStatus.COMPLETED)
    assert {way: result.status.value for way, result in held.ended.items()} == ENDED
    assert said == SAID


@pytest.mark.anyio
async def test_a_refusal_says_who_until_when_and_what_helps(url: str) -> None:
    """A process that was killed holds its conversation until its lease ends, by the clock of the database."""
    thread = thread_of(("ann",), "c")
    async with Mars.open(url, team=team(lambda _: "Noted.")) as mars, CheckpointSaver.open(url) as saver:
        await mars.run("One?", user="ann", conversation="c")
        began = datetime.now(UTC)
        await saver.database.write(lambda wire: Leases(wire).take(thread, 1, "4711", 600.0))
        with pytest.raises(ConversationBusy, match="on_busy='queue'") as refused:
            await mars.run("Two?", user="ann", conversation="c")
        words = str(refused.value)
        assert "process 4711" in words
        assert "--wait" in words
        until = datetime.fromisoformat(words.partition("its lease ends at ")[2].partition(" ")[0])
        assert timedelta(minutes=9) < until - began < timedelta(minutes=11)
        await saver.database.write(lambda wire: Leases(wire).take(thread, 2, "4711", 0.0))
        assert (await mars.run("Three?", user="ann", conversation="c")).status is RunStatus.COMPLETED


ENDED = {"reject": "completed", "queue": "completed", "cancel": "cancelled", "fork": "completed"}
SAID = {
    "reject": ["The first."],
    "queue": ["The first.", "The second."],
    "cancel": ["The second."],
    "fork": ["The first."],
    "fork~1": ["The second."],
}


def test_threads_of_one_runtime_take_turns(url: str) -> None:
    """Four threads that queue for one conversation by one runtime lose no turn and overwrite none."""
    with Mars.open_sync(url, team=team(lambda _: "Noted.")) as mars:

        def work(number: int) -> None:
            for turn in range(3):
                mars.run(f"{number}-{turn}?", user="ann", conversation="c", on_busy="queue")

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        words = mars.transcript("c")
    assert [one.turn for one in words[::2]] == list(range(1, 13))
    assert sorted(one.text for one in words[::2]) == [f"{number}-{turn}?" for number in range(4) for turn in range(3)]


@pytest.fixture
def process(url: str) -> Iterator[subprocess.Popen[str]]:
    """A process that holds a conversation for each policy, and one whose lease is to run out unnoticed."""
    command = [sys.executable, SCRIPT, "hold", url, *WAYS, "paused"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert [process.stdout.readline() for _ in range(5)] == ["asked\n"] * 5
            yield process
        finally:
            process.kill()


@pytest.mark.anyio
async def test_processes(url: str, process: subprocess.Popen[str]) -> None:
    """Each policy, where another process has the conversation; and one that was paused past its lease is fenced out."""
    usual = team(lambda _: "The second.")
    async with Mars.open(url, team=usual, teams={"paused": usual}) as mars:

        async def second(way: OnBusy) -> RunResult:
            return await mars.run("Where?", user="ann", conversation=way, on_busy=way)

        with pytest.raises(ConversationBusy):
            await second("reject")
        copy, later = await second("fork"), await second("cancel")
        with pytest.raises(ConversationBusy):
            await mars.resume("paused")
        async with CheckpointSaver.open(url) as saver:
            await saver.database.write(lambda wire: Leases(wire).take(thread_of(("ann",), "paused"), 0, "it", 0.0))
        resumed = await mars.resume("paused")
        queued: list[RunResult] = []

        async def wait() -> None:
            queued.append(await second("queue"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            out, _ = await anyio.to_thread.run_sync(process.communicate, "go\n")
        said = {way: [one.text for one in await mars.transcript(way)][1::2] for way in (*SAID, "paused")}
        assert await mars.unfinished() == []
    assert json.loads(out) == {**ENDED, "paused": "LeaseLost"}
    assert said == {**SAID, "paused": ["The second."]}
    assert [one.answer for one in (copy, later, resumed, *queued)] == ["The second."] * 4


# Fencing


async def after_the_takeover(url: str, *, fenced: bool) -> AsyncIterator[Any]:
    """Yield what is there after another run took a conversation over, and again after the late one has gone on.

    Without a fence the run that took over has no higher token than the one before it.
    """
    held = Held()
    where: dict[str, Any] = {"user": "ann", "conversation": "reject"}
    async with Mars.open(url, teams=held.teams, lease=600) as mars, CheckpointSaver.open(url) as saver:

        async def late() -> None:
            held.ended["late"] = await mars.run("Where?", **where, team="reject")

        async def seen() -> Any:
            place: Any = {"configurable": {"thread_id": thread_of(("ann",), "reject")}}
            kept = [one.config async for one in saver.alist(place)]
            return [one.text for one in await mars.transcript("reject")], kept

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(late)
            await anyio.to_thread.run_sync(held.asked["reject"].wait, 60)
            async with Mars.open(url, team=team(lambda _: "The second.")) as other:
                await other.run("Where?", **where, on_busy="cancel")
            if not fenced:
                await saver.database.write(lambda wire: wire.run("UPDATE mars_conversations SET token = 1", ()))
            yield await seen()
            held.go["reject"].set()
        yield await seen()
        yield held.ended["late"].status


@pytest.mark.anyio
async def test_a_late_writer_commits_nothing(url: str) -> None:
    """Its words and its checkpoints are refused; its caller is told that it was cancelled."""
    before, after, status = [found async for found in after_the_takeover(url, fenced=True)]
    assert before == after
    assert before[0] == ["Where?", "The second."]
    assert status is RunStatus.CANCELLED


@pytest.mark.anyio
async def test_without_the_fence_it_would(url: str) -> None:
    """Sabotage: with a token that does not rise, the late writer's words and checkpoints get in."""
    before, after, status = [found async for found in after_the_takeover(url, fenced=False)]
    assert "The first." in after[0]
    assert before[1] != after[1]
    assert status is RunStatus.COMPLETED


async def test_a_run_that_is_ended_before_its_graph_begins_ends() -> None:
    """Its task is cancelled before its first line; whoever follows it still hears of the end."""
    begun: list[int] = []

    async def graph() -> AsyncGenerator[dict[str, Any], None]:
        begun.append(1)
        yield {}

    run = Run(Claim(Fence("thread", 1), None, False))
    run.stop("cancelled")
    with anyio.fail_after(10):
        assert [event async for event in run.follow(graph(), Watch("turn"), True)] == []
    assert begun == []
