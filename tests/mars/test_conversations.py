"""Durable conversations: what is resumed, what is refused, and what is left; in plain code, too.

Where a database is named ``blocking``, the same test runs on SQLite by the blocking twin, each call in a worker thread.
"""

from __future__ import annotations

import asyncio
import inspect
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any, Self

import anyio
import anyio.lowlevel
import pytest
from langchain_core.messages import BaseMessage
from langgraph.checkpoint.memory import InMemorySaver

from mars import Assistant, Checker, CheckpointSaver, Event, Mars, RunResult, RunStatus, Team
from mars.agents.roles import Summariser
from mars.errors import (
    ConversationBusy,
    InvalidInput,
    InvalidNamespace,
    InvalidSetting,
    LeaseLost,
    NotFound,
    StateMismatch,
    StoreUnavailable,
    TurnUnfinished,
)
from mars.events import EVERYTHING, EventKind
from mars.graph import compile_graph
from mars.holding import thread_of
from mars.memory import points
from mars.memory.interfaces import Kind
from mars.persistence.budgets import Budget, Budgets
from mars.persistence.leases import Leases
from mars.persistence.turns import KEPT
from mars.runtime import SyncMars
from mars.summary import LIMIT
from mars.testing import FixedClock, InMemoryBackend, ScriptedModel, Step

pytestmark = pytest.mark.anyio

THREAD = thread_of(("ann",), "c")
YES = Step(structured={"approved": True, "score": 0.9})
NO = Step(
    structured={
        "approved": False,
        "score": 0.2,
        "issues": [
            {"kind": "unsupported", "evidence": "no source", "directive": "Find one.", "records": [], "blame": []}
        ],
    }
)


class Gate:
    """A scripted model whose first call waits until it is let go; every call is counted."""

    def __init__(self, *replies: str) -> None:
        self.entered = threading.Event()
        self.let_go = threading.Event()
        self.asked: list[str] = []
        self.replies = list(replies)
        self.model = ScriptedModel(self._reply)

    def _reply(self, messages: Sequence[BaseMessage]) -> Step:
        self.asked.append("\n".join(str(message.content) for message in messages))
        place = len(self.asked) - 1
        if place == 0:
            self.entered.set()
            assert self.let_go.wait(20)
        return Step(text=self.replies[min(place, len(self.replies) - 1)])

    async def reached(self) -> None:
        """Wait until the first call is under way."""
        assert await anyio.to_thread.run_sync(self.entered.wait, 20)


@pytest.fixture(scope="module")
def postgres_url(postgres: dict[str, Any], postgres_server: str) -> Iterator[str]:
    """One server's database for this file."""
    with postgres["database"](postgres_server, "conversations") as url:
        yield url


class Blocking:
    """A `SyncMars` with the methods of a `Mars`, so that one test holds for both; each call blocks a worker thread."""

    def __init__(self, twin: SyncMars) -> None:
        self._twin = twin

    async def __aenter__(self) -> Self:
        await anyio.to_thread.run_sync(self._twin.open)
        return self

    async def __aexit__(self, *error: object) -> None:
        await anyio.to_thread.run_sync(self._twin.close)

    async def stream(self, *words: Any, **options: Any) -> AsyncIterator[Event]:
        """Yield what the twin's stream yields."""
        events = self._twin.stream(*words, **options)
        try:
            while (event := await anyio.to_thread.run_sync(next, events, None)) is not None:
                yield event
        finally:
            await anyio.to_thread.run_sync(events.close)  # type: ignore[attr-defined]

    def __getattr__(self, name: str) -> Any:
        if name not in vars(SyncMars):
            return getattr(self._twin.original, name)
        method = getattr(self._twin, name)
        return lambda *words, **options: anyio.to_thread.run_sync(partial(method, *words, **options))


class Opened:
    """Opens a `Mars`, or its blocking twin where the test's database was named so."""

    blocking = False

    def __call__(self, url: Any, **options: Any) -> Any:
        """Return what is to be entered."""
        return Blocking(Mars.open_sync(url, **options)) if self.blocking else Mars.open(url, **options)


opened = Opened()


@pytest.fixture(params=["sqlite", "postgres", "blocking"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database of each kind."""
    opened.blocking = request.param == "blocking"
    if request.param == "postgres":
        make: Callable[[], str] = request.getfixturevalue("fresh_database")
        yield make()
    else:
        yield f"sqlite:///{tmp_path / 'life.db'}"
    opened.blocking = False


@pytest.fixture(params=["sqlite", "blocking"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a SQLite file."""
    opened.blocking = request.param == "blocking"
    yield f"sqlite:///{tmp_path / 'life.db'}"
    opened.blocking = False


def team(model: ScriptedModel, judge: ScriptedModel | None = None, **options: Any) -> Team:
    """Return a team whose Assistant is `model`; without a judge each draft leaves unchecked."""
    without = frozenset() if judge is not None else frozenset({"checker"})
    return Team(assistant=Assistant(model=model), checker=Checker(model=judge), without=without, **options)


async def said(mars: Any, **options: Any) -> RunResult:
    """Run one turn of Ann's conversation."""
    result: RunResult = await mars.run("Where is Oslo?", user="ann", conversation="c", **options)
    return result


async def left_half_done(url: str, *, clock: FixedClock | None = None, **options: Any) -> None:
    """Leave a turn as a crash would: its first call is under way, what came before is saved."""
    gate = Gate("Never heard.")
    async with Mars.open(url, team=team(gate.model), clock=clock, **options) as mars:
        task = asyncio.ensure_future(said(mars))
        await gate.reached()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        gate.let_go.set()


# Resuming


async def test_an_unfinished_turn_is_resumed(url: str) -> None:
    """What another `Mars` left half done is listed, and finished with the result of an uninterrupted run."""
    clock = FixedClock()
    await left_half_done(url, clock=clock)
    async with opened(url, team=team(ScriptedModel(["In Norway."])), clock=clock) as mars:
        (listed,) = await mars.unfinished()
        assert (listed.name, listed.namespace, listed.task, listed.why) == (
            "c",
            ("ann",),
            "Where is Oslo?",
            "interrupted",
        )
        result = await mars.resume("c")
        assert await mars.unfinished() == []
        assert await mars.resume("c") == result
    async with opened(InMemoryBackend(), team=team(ScriptedModel(["In Norway."])), clock=clock) as other:
        whole = await said(other)
    spent = {"usage": 0, "latency": 0.0}  # the call that was cut off counts, too
    assert {**result.plain(), **spent} == {**whole.plain(), **spent}


async def test_a_turn_that_was_never_saved_begins_anew(file: str, tmp_path: Path) -> None:
    """Killed between its first row and its first checkpoint, a turn is run from its input."""
    await left_half_done(file)
    with sqlite3.connect(tmp_path / "life.db") as database:
        database.execute("DELETE FROM mars_checkpoints")
        database.execute("DELETE FROM mars_checkpoint_writes")
    async with opened(file, team=team(ScriptedModel(["In Norway."]))) as mars:
        assert (await mars.resume("c")).answer == "In Norway."


async def test_a_turn_that_was_saved_to_its_end_runs_nothing(file: str) -> None:
    """Killed between its last checkpoint and its end, a turn is only finished; no model is asked, not even by `run`."""
    async with opened(file, team=team(ScriptedModel(["In Norway."]))) as mars:
        first = await said(mars)
    with sqlite3.connect(file.removeprefix("sqlite:///")) as database:
        database.execute(
            """UPDATE mars_turns SET input = '{"task": {"text": "x"}, "conversation": "c"}', status = ''"""
        )
        database.execute("DELETE FROM mars_transcript")
    async with opened(file, team=team(ScriptedModel(["In Sweden."]))) as mars:
        assert (await mars.resume("c")).answer == first.answer
        assert [one.text for one in await mars.transcript("c")] == ["Where is Oslo?", "In Norway."]
        assert (await said(mars)).answer == "In Sweden."


class Cut(InMemorySaver):
    """A saver that fails at one checkpoint, which LangGraph writes after what the tasks before it wrote."""

    at: str = ""
    """The node that the checkpoint would lead to; empty: it does not fail."""

    async def aput(self, config: Any, checkpoint: Any, metadata: Any, new_versions: Any) -> Any:
        """Fail, or store the checkpoint."""
        if self.at and f"branch:to:{self.at}" in checkpoint["updated_channels"]:
            raise StoreUnavailable("cut off")
        return await super().aput(config, checkpoint, metadata, new_versions)


@pytest.mark.parametrize("node", ["checker", "reflect", "consolidate"])
async def test_nothing_next_and_yet_unfinished(file: str, node: str) -> None:
    """Cut off between a step's writes and its checkpoint, `next` is empty: what counts are the snapshot's tasks.

    Resume goes on with what the step had written; neither the step nor any call is repeated.
    """
    saver, judge, model = Cut(), ScriptedModel([NO, YES]), ScriptedModel(["Guess one.", "In Norway."])
    saver.at = node
    options: dict[str, Any] = {"team": team(model, judge), "checkpointer": saver}
    async with opened(file, **options) as mars:
        with pytest.raises(StoreUnavailable, match="cut off"):
            await said(mars)
        place: Any = {"configurable": {"thread_id": THREAD}}
        snapshot = await compile_graph(mars.roster, saver).aget_state(place)
        made = (len(model.calls), len(judge.calls))
    assert snapshot.next == ()
    assert [task.name for task in snapshot.tasks] == [{"checker": "assistant"}.get(node, "checker")]
    assert made == {"checker": (1, 0), "reflect": (1, 1), "consolidate": (2, 2)}[node]
    saver.at = ""
    async with opened(file, **options) as mars:
        (listed,) = await mars.unfinished()
        assert (listed.turn, listed.why) == (snapshot.metadata["turn"], "interrupted")  # type: ignore[index,typeddict-item]
        with pytest.raises(TurnUnfinished):
            await said(mars)
        result = await mars.resume("c")
        assert [one.text for one in await mars.transcript("c")] == ["Where is Oslo?", "In Norway."]
    assert [attempt.draft for attempt in result.attempts] == ["Guess one.", "In Norway."]
    assert (result.approved, result.usage.calls, result.usage.maybe_paid) == (True, 4, 0)
    judge.assert_finished()
    model.assert_finished()


@pytest.mark.parametrize("foreign", [False, True], ids=["our saver", "somebody else's"])
async def test_the_result_of_a_turn_that_is_over(file: str, foreign: bool) -> None:
    """It is asked for again, of the last turn or of any that is kept, with nothing run; what is half done has none."""
    model = ScriptedModel(["One.", "Two.", "Four."])
    saver = InMemorySaver() if foreign else "same"
    async with opened(file, team=team(model), checkpointer=saver) as mars:
        with pytest.raises(NotFound, match="never begun"):
            await mars.result("c")
        first, second = await said(mars), await said(mars)
        assert first != second
        assert await mars.result("c") == await mars.resume("c") == second
        assert await mars.result("c", turn=first.turn, namespace=("ann",)) == first
        with pytest.raises(NotFound, match="no turn 'none' that is over"):
            await mars.result("c", turn="none")
    await left_half_done(file, checkpointer=saver)
    async with opened(file, team=team(model), checkpointer=saver) as mars:
        (listed,) = await mars.unfinished()
        for turn in (None, listed.turn):
            with pytest.raises(TurnUnfinished, match=r"mars\.resume\('c'\)"):
                await mars.result("c", turn=turn)
        assert await mars.result("c", turn=second.turn) == second
        fourth = await said(mars, on_unfinished="abandon")
        assert listed.turn is not None
        given_up = await mars.result("c", turn=listed.turn)
        assert (given_up.status, given_up.answer) == (RunStatus.CANCELLED, "")
        assert await mars.resume("c") == fourth
    assert len(model.calls) == 3


async def test_a_turn_that_somebody_else_finishes_meanwhile(file: str) -> None:
    """Whoever waits to resume a running turn gets the result that its run had, and asks nothing."""
    gate, idle = Gate("In Norway."), ScriptedModel([])
    results: list[RunResult] = []
    async with opened(file, team=team(gate.model)) as mars, opened(file, team=team(idle)) as other:

        async def keep(work: Any) -> None:
            results.append(await work)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(keep, said(mars))
            await gate.reached()
            tasks.start_soon(keep, other.resume("c", on_busy="queue"))
            tasks.start_soon(anyio.to_thread.run_sync, _later, gate)
    assert results[0] == results[1]
    assert (results[0].answer, idle.calls) == ("In Norway.", [])


async def test_new_input_on_a_half_finished_turn(file: str) -> None:
    """It is refused with the remedy, or the turn is finished first, or given up: the caller says which."""
    await left_half_done(file)
    async with opened(file, team=team(ScriptedModel(["In Norway.", "Still there.", "There too."]))) as mars:
        with pytest.raises(TurnUnfinished, match=r"mars\.resume\('c'\)"):
            await said(mars)
        result = await said(mars, on_unfinished="finish")
        assert result.answer == "Still there."
        assert [one.text for one in await mars.transcript("c")][1::2] == ["In Norway.", "Still there."]
        with pytest.raises(InvalidSetting, match="on_unfinished is one of"):
            await said(mars, on_unfinished="ignore")
    async with opened(f"{file}.other", team=team(ScriptedModel(["There too."]))) as mars:
        await left_half_done(f"{file}.other")
        result = await said(mars, on_unfinished="abandon")
        assert (result.answer, len(result.attempts)) == ("There too.", 1)
        assert await mars.unfinished() == []


async def test_counters_do_not_leak_between_turns(file: str) -> None:
    """Iterations, attempts and reflections of a turn are its own, a cancelled one's too."""
    judge = ScriptedModel([NO, YES, YES])
    async with opened(file, team=team(ScriptedModel(["One.", "Two.", "Three."]), judge)) as mars:
        first, second = await said(mars), await said(mars)
    assert (first.iterations, second.iterations) == (2, 1)
    assert [attempt.iteration for attempt in second.attempts] == [1]
    assert second.reflections == ()
    gate = Gate("Four.")
    async with opened(file, team=team(gate.model)) as mars, anyio.create_task_group() as tasks:
        ended: list[RunResult] = []

        async def run() -> None:
            ended.append(await said(mars))

        tasks.start_soon(run)
        await gate.reached()
        assert await mars.cancel("c")
        gate.let_go.set()
    assert (ended[0].status, ended[0].iterations, ended[0].answer) == (RunStatus.CANCELLED, 0, "")


async def test_an_older_state_is_migrated_and_a_newer_one_refused(file: str) -> None:
    """A half finished turn of version 1 goes on; one of a version to come names the remedy."""
    await left_half_done(file)
    async with CheckpointSaver.open(file) as saver:
        found = saver.get_tuple({"configurable": {"thread_id": THREAD}})
        assert found is not None
        for version in (99, 1):
            values = {**found.checkpoint["channel_values"], "version": version}
            if version == 1:
                del values["summary"]
            parent = found.parent_config or {"configurable": {"thread_id": THREAD, "checkpoint_ns": ""}}
            saver.put(parent, {**found.checkpoint, "channel_values": values}, found.metadata, {})
            async with opened(file, team=team(ScriptedModel(["In Norway."]))) as mars:
                if version == 99:
                    with pytest.raises(StateMismatch, match=r"version 99 .* on_unfinished=\"abandon\""):
                        await mars.resume("c")
                else:
                    assert (await mars.resume("c")).answer == "In Norway."


async def test_resume_needs_no_context(file: str) -> None:
    """A turn of another user and namespace resumes by its name alone; two of one name want the namespace."""
    await left_half_done(file)
    async with opened(file, team=team(ScriptedModel(["In Norway.", "Here.", "There."]))) as mars:
        await mars.run("And now?", user="bob", conversation="c")
        assert (await mars.resume("c")).turn
        with pytest.raises(InvalidNamespace, match="several namespaces"):
            await mars.transcript("c")
        assert len(await mars.transcript("c", namespace=("bob",))) == 2
        with pytest.raises(NotFound, match="never begun"):
            await mars.resume("d")


async def test_without_a_database_nothing_is_kept() -> None:
    """A memory in dictionaries keeps no runs, and says how to have them kept."""
    async with opened("memory:", team=team(ScriptedModel(["In Norway."]))) as mars:
        await said(mars)
        with pytest.raises(InvalidSetting, match="checkpointer=URL"):
            await mars.resume("c")


async def test_a_saver_of_somebody_else(file: str) -> None:
    """Checkpoints go where the caller wants them; resume works all the same."""
    saver = InMemorySaver()
    await left_half_done(file, checkpointer=saver)
    async with opened(file, team=team(ScriptedModel(["In Norway."])), checkpointer=saver) as mars:
        assert (await mars.resume("c")).answer == "In Norway."
    assert saver.get_tuple({"configurable": {"thread_id": THREAD}}) is not None


# One writer


async def test_two_runs_of_one_conversation(url: str) -> None:
    """The second is rejected, or waits for the first; none of the answers is lost."""
    gate = Gate("One.", "Two.", "Three.")
    async with opened(url, team=team(gate.model)) as mars, opened(url, team=team(gate.model)) as other:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(said, mars)
            await gate.reached()
            for one in (mars, other):
                with pytest.raises(ConversationBusy, match="on_busy='queue'"):
                    await said(one)
                tasks.start_soon(partial(said, one, on_busy="queue"))
            await anyio.sleep(0.05)
            assert (await mars.unfinished())[0].running
            gate.let_go.set()
        words = [one.text for one in await mars.transcript("c")]
        assert words[1::2] == ["One.", "Two.", "Three."]
    with pytest.raises(InvalidSetting, match="on_busy is one of"):
        async with opened("sqlite:///:memory:") as mars:
            await said(mars, on_busy="barge in")


@pytest.mark.parametrize("same", [True, False], ids=["here", "elsewhere"])
async def test_a_later_run_takes_the_place_of_an_earlier_one(url: str, same: bool) -> None:
    """With `cancel` the first run ends as cancelled, here and in another `Mars`, and nothing of it is answered."""
    gate = Gate("One.", "Two.")
    first: list[RunResult] = []
    async with AsyncExitStack() as stack:
        mars = await stack.enter_async_context(opened(url, team=team(gate.model), lease=0.3))
        other = team(ScriptedModel(["Other."]))
        elsewhere = await stack.enter_async_context(opened(url, team=other, lease=0.3))

        async def run() -> None:
            first.append(await said(mars))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await gate.reached()
            if same:
                tasks.start_soon(anyio.to_thread.run_sync, _later, gate)
            second = await said(mars if same else elsewhere, on_busy="cancel")
            gate.let_go.set()
        assert first[0].status is RunStatus.CANCELLED
        assert second.status is RunStatus.COMPLETED
        assert [one.text for one in await mars.transcript("c")] == ["Where is Oslo?", second.answer]
        assert await mars.unfinished() == []


def _later(gate: Gate) -> None:
    gate.let_go.wait(0.3)
    gate.let_go.set()


async def test_a_copy_goes_on_beside(file: str) -> None:
    """With `fork` the second run has what was said before, under a name of its own."""
    async with opened(file, team=team(ScriptedModel(["Zero."]))) as mars:
        await said(mars)
    gate = Gate("One.", "Two.")
    async with opened(file, team=team(gate.model)) as mars, anyio.create_task_group() as tasks:
        tasks.start_soon(said, mars)
        await gate.reached()
        tasks.start_soon(anyio.to_thread.run_sync, _later, gate)
        result = await said(mars, on_busy="fork")
        assert result.conversation == "c~1"
        texts = [one.text for one in await mars.transcript("c~1")]
        assert texts == ["Where is Oslo?", "Zero.", "Where is Oslo?", result.answer]


async def test_a_lost_lease_lets_nothing_through(file: str) -> None:
    """Whoever was paused past its lease writes nothing any more: the fence is checked in the write's transaction."""
    gate = Gate("Too late.")
    async with opened(file, team=team(gate.model), lease=600) as mars, CheckpointSaver.open(file) as saver:
        raised: list[BaseException] = []

        async def run() -> None:
            try:
                await said(mars)
            except LeaseLost as error:
                raised.append(error)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await gate.reached()
            before = [one.config for one in saver.list({"configurable": {"thread_id": THREAD}})]
            await saver.database.write(lambda wire: Leases(wire).take(THREAD, 1, "somebody else", 5))
            gate.let_go.set()
        assert "taken over" in str(raised[0])
        assert [one.config for one in saver.list({"configurable": {"thread_id": THREAD}})] == before


async def test_a_lease_that_ran_out_is_taken_over(url: str) -> None:
    """A holder that gives no sign of life loses its conversation after the lease, by the database's clock."""
    await left_half_done(url)
    async with CheckpointSaver.open(url) as saver, opened(url, team=team(ScriptedModel(["In Norway."]))) as mars:
        await saver.database.write(lambda wire: Leases(wire).take(THREAD, 1, "a killed process", 2.0))
        with pytest.raises(ConversationBusy):
            await mars.resume("c")
        assert (await mars.resume("c", on_busy="queue")).answer == "In Norway."


async def test_the_heartbeat_keeps_a_long_run(file: str) -> None:
    """A call that takes longer than the lease loses nothing: the lease is renewed meanwhile."""
    slow = ScriptedModel([Step(text="In Norway.", delay=0.8)])
    async with AsyncExitStack() as stack:
        mars = await stack.enter_async_context(opened(file, team=team(slow), lease=0.3))
        other = await stack.enter_async_context(opened(file))
        tasks = await stack.enter_async_context(anyio.create_task_group())
        tasks.start_soon(said, mars)
        await anyio.sleep(0.6)
        with pytest.raises(ConversationBusy):
            await said(other)


# Cancelling


async def test_a_cancelled_run_is_resumed(url: str) -> None:
    """`cancel` ends the run in mid-call with its state saved, from another `Mars` too; the call is then made again."""
    gate = Gate("Never heard.", "In Norway.")
    async with opened(url, team=team(gate.model), lease=0.3) as mars, opened(url, lease=0.3) as other:
        results: list[RunResult] = []

        async def run() -> None:
            results.append(await said(mars))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await gate.reached()
            assert await other.cancel("c")
            while not results:
                await anyio.sleep(0.01)
            gate.let_go.set()
        assert results[0].status is RunStatus.CANCELLED
        assert [one.why for one in await other.unfinished()] == ["cancelled"]
        assert not await other.cancel("c")
        result = await mars.resume("c")
    assert (result.status, result.answer) == (RunStatus.COMPLETED, "In Norway.")


async def test_a_cancelled_task_is_resumed(file: str) -> None:
    """A task that is cancelled in mid-call gives its lease back at once; its turn is saved and resumed."""
    gate = Gate("Never heard.", "In Norway.")
    async with Mars.open(file, team=team(gate.model)) as mars:
        task = asyncio.ensure_future(said(mars))
        await gate.reached()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        gate.let_go.set()
        assert task.cancelled()
        assert [one.running for one in await mars.unfinished()] == [False]
        assert (await mars.resume("c")).answer == "In Norway."


async def test_a_task_that_is_cancelled_while_it_takes_its_conversation_gives_it_back(tmp_path: Path) -> None:
    """Its lease is committed when it is gone already: nobody is kept waiting for a holder that there is not."""
    arrived, let_go = threading.Event(), threading.Event()

    def hold(point: str) -> None:
        if point == "run_before_commit" and not arrived.is_set():
            arrived.set()
            assert let_go.wait(20)

    async with Mars.open(f"sqlite:///{tmp_path / 'life.db'}", team=team(ScriptedModel(["In Norway."]))) as mars:
        points.watch(hold)
        try:
            task = asyncio.ensure_future(said(mars))
            assert await anyio.to_thread.run_sync(arrived.wait, 20)
            task.cancel()
            await anyio.lowlevel.checkpoint()
            let_go.set()
            with suppress(asyncio.CancelledError):
                await task
        finally:
            let_go.set()
            points.watch(None)
        assert task.cancelled()
        assert [one.running for one in await mars.unfinished()] == [False]
        assert (await mars.resume("c")).answer == "In Norway."


async def test_a_stream_that_is_left_is_resumed(file: str) -> None:
    """Whoever stops listening leaves a turn that can be resumed."""
    async with opened(file, team=team(ScriptedModel(["In Norway.", "In Norway."]))) as mars:
        stream = mars.stream("Where is Oslo?", user="ann", conversation="c")
        async for _ in stream:
            break
        await stream.aclose()
        assert (await mars.resume("c")).answer == "In Norway."


def test_each_turn_in_an_event_loop_of_its_own(tmp_path: Path) -> None:
    """What `asyncio.run` opens, another one uses, and a third one closes, without a word."""
    opening = Mars.open(f"sqlite:///{tmp_path / 'life.db'}", team=team(ScriptedModel(["In Norway.", "Yes."])))
    mars = asyncio.run(opening.__aenter__())
    assert [asyncio.run(said(mars)).answer for _ in range(2)] == ["In Norway.", "Yes."]
    asyncio.run(opening.__aexit__(None, None, None))


async def test_a_run_that_is_replaced_before_its_own_turn_begins(tmp_path: Path) -> None:
    """It was finishing the turn before, so it has no result to tell: it raises, and nothing of its task is written."""
    url = f"sqlite:///{tmp_path / 'life.db'}"
    await left_half_done(url)
    gate = Gate("Too late.")
    errors: list[type[Exception]] = []
    async with (
        Mars.open(url, team=team(gate.model)) as mars,
        Mars.open(url, team=team(ScriptedModel(["In."]))) as other,
    ):

        async def finishing() -> None:
            try:
                await mars.run("And Rome?", user="ann", conversation="c", on_unfinished="finish")
            except (LeaseLost, TurnUnfinished) as error:
                errors.append(type(error))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(finishing)
            await gate.reached()
            assert (await said(other, on_busy="cancel")).answer == "In."
            gate.let_go.set()
        assert errors == [TurnUnfinished]
        assert [one.text for one in await other.transcript("c")] == ["Where is Oslo?", "In."]


async def test_a_stream_that_is_left_has_ended_with_its_generator(tmp_path: Path) -> None:
    """When the stream is closed, the call that was under way is settled, and the lease is free: nothing comes later."""
    model = ScriptedModel([Step(text="In Norway.", delay=0.02)])
    async with Mars.open(f"sqlite:///{tmp_path / 'life.db'}", team=team(model)) as mars:
        stream = mars.stream("Where is Oslo?", user="ann", conversation="c", heard=EVERYTHING)
        async for event in stream:
            if event.kind is EventKind.TOKEN:
                break
        await stream.aclose()  # type: ignore[attr-defined]
        (listed,) = await mars.unfinished()
        assert not listed.running
        calls = await mars.calls.ledger.calls("c", listed.turn or "")
        assert [call.state for call in calls] == ["cancelled"]


async def test_draining_ends_runs_at_their_next_step(file: str) -> None:
    """A drained run is saved after the step it was in; no further one begins; another `Mars` finishes it."""
    gate = Gate("In Norway.")
    async with opened(file, team=team(gate.model)) as mars:
        results: list[RunResult] = []

        async def run() -> None:
            results.append(await said(mars))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await gate.reached()
            mars.drain()
            gate.let_go.set()
        assert results[0].status is RunStatus.CANCELLED
        with pytest.raises(ConversationBusy, match="shutting down"):
            await said(mars)
    async with opened(file, team=team(ScriptedModel([]))) as mars:
        assert (await mars.resume("c")).answer == "In Norway."
    assert len(gate.asked) == 1


# What is left


async def test_retention_keeps_the_newest_turns_and_the_named(url: str) -> None:
    """One checkpoint of each of the newest turns stays, and those of named and broken off turns."""
    replies = ScriptedModel(lambda _: "Noted.")
    async with opened(url, team=team(replies)) as mars:
        await mars.run("Turn 1.", user="ann", conversation="c")
        await mars.name_turn("c", "the beginning")
    await left_half_done(url)
    async with opened(url, team=team(replies)) as mars:
        for number in range(3, KEPT + 6):
            await mars.run(f"Turn {number}.", user="ann", conversation="c", on_unfinished="abandon")
        async with CheckpointSaver.open(url) as saver:
            kept = [one.metadata async for one in saver.alist({"configurable": {"thread_id": THREAD}})]
        assert len(kept) == KEPT + 2
        assert len({values["turn"] for values in kept}) == KEPT + 2  # type: ignore[typeddict-item]
        words = await mars.transcript("c")
        assert len(words) == 2 * (KEPT + 4)
        async with CheckpointSaver.open(url) as saver:
            turns = await saver.database.read(
                lambda wire: wire.run("SELECT turn FROM mars_turns ORDER BY number", ()).fetchall()
            )
        assert (await mars.result("c", turn=turns[0][0])).task == "Turn 1."
        with pytest.raises(NotFound, match="but its words"):
            await mars.result("c", turn=turns[2][0])


async def test_the_window_is_bounded_and_the_rest_is_summarised(file: str) -> None:
    """The prompt holds the newest turns word for word, and before them a summary that never grows past its limit."""
    model = ScriptedModel(lambda _: "Noted.")
    async with opened(file, team=team(model, window=2)) as mars:
        for number in range(60):
            await mars.run(f"I have seen whale number {number} near Bergen.", user="ann", conversation="c")
        assert len(await mars.transcript("c")) == 120
        records = await mars.memory.list(namespace=("ann", "turns"), kinds=frozenset(Kind))
    prompt = model.calls[-1].prompt
    talk = prompt[prompt.rindex("<conversation>") : prompt.rindex("</conversation>")]
    earlier = prompt[prompt.rindex("<earlier>") : prompt.rindex("</earlier>")]
    assert ("number 58" in talk, "number 57" in talk, "number 56" in talk) == (True, True, False)
    assert "number 56" in earlier
    assert LIMIT / 2 < len(earlier) < 2 * LIMIT
    assert records == []


async def beside_the_transcript(saver: CheckpointSaver) -> int:
    """Return the bytes that a database holds of runs, other than what was said."""
    tables = {"mars_checkpoints": "body", "mars_checkpoint_writes": "body", "mars_calls": "body", "mars_turns": "input"}
    union = " UNION ALL ".join(f"SELECT COALESCE(SUM(LENGTH({body})), 0) FROM {name}" for name, body in tables.items())
    rows = await saver.database.read(lambda wire: wire.run(union, ()).fetchall())
    return sum(int(row[0]) for row in rows)


@pytest.mark.parametrize("ours", [True, False])
async def test_a_conversation_stays_flat(tmp_path: Path, ours: bool) -> None:
    """Beside the words, 60 turns leave no more than 30; with a saver that nobody trims, twice as many checkpoints.

    `python -m benchmarks.runtime_size` measures the file and the time of 1,000 turns.
    """
    place: Any = {"configurable": {"thread_id": THREAD}}
    model, sizes = ScriptedModel(lambda _: "Noted."), []
    async with CheckpointSaver.open(f"sqlite:///{tmp_path / 'life.db'}") as own:
        saver = own if ours else InMemorySaver()
        async with Mars.open("memory:", checkpointer=saver, team=team(model)) as mars:
            for turn in range(1, 61):
                await mars.run("Where is the whale?", user="ann", conversation="c")
                if turn % 30 == 0:
                    sizes.append((len([one async for one in saver.alist(place)]), await beside_the_transcript(own)))
    (before, rows), (after, more) = sizes
    assert (before == after == KEPT) is ours
    assert (after == 2 * before) is not ours
    assert more <= 1.1 * rows


async def test_words_that_no_database_stores(url: str) -> None:
    """Drafts, verdicts and lessons with NUL or a lone surrogate end a turn like any other, and can be stored."""
    odd = "Find\0 a source\ud800."
    issue = {"kind": "unsupported", "evidence": odd, "directive": odd, "records": [], "blame": []}
    judge = ScriptedModel([Step(structured={"approved": False, "score": 0.2, "issues": [issue]}), YES])
    team = Team(
        assistant=Assistant(model=ScriptedModel(["On the moon\0.", "In\0 Norway\ud800."])), checker=Checker(model=judge)
    )
    async with opened(url, team=team) as mars:
        result = await said(mars)
        assert (result.status, result.iterations) == (RunStatus.COMPLETED, 2)
        assert result.answer.replace("\ufffd", "") == "In Norway."
        assert (await mars.transcript("c"))[1].text == result.answer
        assert await mars.unfinished() == []


def test_the_blocking_twin_has_every_method() -> None:
    """Each asynchronous method of `Mars` has its twin, with the same parameters."""
    for name, method in vars(Mars).items():
        if name.startswith("_") or not (inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method)):
            continue
        twin = inspect.signature(vars(SyncMars)[name])
        assert list(twin.parameters.values()) == list(inspect.signature(method).parameters.values()), name


# A key has one turn


async def test_a_key_has_one_turn(url: str) -> None:
    """Asked again, by whomever, it gives that turn's result; a turn without the key is another one."""
    async with opened(url, team=team(ScriptedModel(["In Norway.", "In the north."]))) as mars:
        first = await said(mars, key="1")
        assert (await said(mars, key="1")).plain() == first.plain()
    async with opened(url, team=team(ScriptedModel(["In the north."]))) as mars:
        again = [event async for event in mars.stream("Where is Oslo?", user="ann", conversation="c", key="1")]
        assert [event.result and event.result.plain() for event in again] == [first.plain()]
        assert (await said(mars)).answer == "In the north."
        assert len([one for one in await mars.transcript("c") if one.source == "user"]) == 2
        with pytest.raises(InvalidInput, match=r"another task.*'Where is Oslo"):
            await mars.run("Where is Rome?", user="ann", conversation="c", key="1")


async def test_a_keys_turn_that_never_began_begins_and_one_that_is_half_done_goes_on(file: str) -> None:
    """Whoever was killed at whatever point asks again: here before the first row, then within the first call."""
    async with opened(file, team=team(ScriptedModel(["In Norway."]))) as mars:
        assert (await mars.run("Where is Rome?", user="ann", conversation="c", key="0")).answer == "In Norway."
    gate = Gate("Never heard.")
    async with Mars.open(file, team=team(gate.model)) as mars:
        task = asyncio.ensure_future(said(mars, key="1"))
        await gate.reached()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        gate.let_go.set()
    async with opened(file, team=team(ScriptedModel(["In Norway."]))) as mars:
        assert (await mars.run("Where is Rome?", user="ann", conversation="c", key="0")).answer == "In Norway."
        with pytest.raises(TurnUnfinished):
            await said(mars, key="2")
        rest = (await mars.unfinished())[0].turn
        result = await said(mars, key="1")
        assert (result.turn, result.answer) == (rest, "In Norway.")
        assert [one.turns for one in await mars.conversations()] == [2]


async def test_two_runs_of_one_key(url: str) -> None:
    """The second one waits in line and gets the first one's result; no model is asked for it."""
    gate = Gate("In Norway.")
    async with opened(url, team=team(gate.model)) as mars:
        first = asyncio.ensure_future(said(mars, key="1"))
        await gate.reached()
        with pytest.raises(ConversationBusy):
            await said(mars, key="1")
        second = asyncio.ensure_future(said(mars, key="1", on_busy="queue"))
        await anyio.sleep(0)
        gate.let_go.set()
        assert (await first).plain() == (await second).plain()
        assert len(gate.asked) == 1
        with pytest.raises(InvalidSetting, match="no copy"):
            await said(mars, key="1", on_busy="fork")


async def test_without_a_key_asking_again_is_a_turn_of_its_own(file: str) -> None:
    """The sabotage: the same words without the key are asked, paid for and noted twice."""
    model = ScriptedModel(["In Norway.", "In Norway."])
    async with opened(file, team=team(model)) as mars:
        assert (await said(mars)).turn != (await said(mars)).turn
        assert len(model.calls) == 2


async def test_a_key_needs_a_conversation_that_is_kept(file: str) -> None:
    """Else nobody could say whether its turn was begun."""
    async with opened(file, team=team(ScriptedModel(["In Norway."]))) as mars:
        with pytest.raises(InvalidSetting, match="name that, too"):
            await mars.run("Where is Oslo?", user="ann", key="1")
    async with opened("memory:", team=team(ScriptedModel(["In Norway."]))) as mars:
        with pytest.raises(InvalidSetting, match="leave nothing"):
            await said(mars, key="1")


# A summary in a model's words


async def talked(mars: Any, turns: int, **options: Any) -> RunResult:
    """Run so many turns of Ann's conversation."""
    for number in range(turns):
        result: RunResult = await mars.run(f"Whale {number} is near Bergen.", user="ann", conversation="c", **options)
    return result


async def test_a_summariser_rewrites_what_the_rule_made(url: str) -> None:
    """It reads the notes so far and the turn that leaves; its words are bounded, shown, kept, and its calls counted."""
    notes = ScriptedModel(lambda messages: Step(text=f"Notes {messages[-1].text.count('Notes') + 1}.\n" + "x" * 9999))
    model = ScriptedModel(lambda _: "Noted.")
    async with opened(url, team=team(model, window=1, summariser=Summariser(model=notes))) as mars:
        result = await talked(mars, 3)
    assert result.usage.calls == 2
    assert [("Whale 0" in call.prompt, "Whale 1" in call.prompt) for call in notes.calls] == [(True, False)]
    async with opened(url, team=team(model, window=1, summariser=Summariser(model=notes))) as mars:
        await talked(mars, 1)
    assert "Notes 1." in notes.calls[1].prompt
    assert "Whale 1 is near Bergen" in notes.calls[1].prompt
    earlier = model.calls[-1].prompt.partition("<earlier>")[2].partition("</earlier>")[0]
    assert "Notes 2." in earlier
    assert "Whale" not in earlier
    assert len(earlier) < 2 * LIMIT


@pytest.mark.parametrize("why", ["no model", "down", "nothing said", "no budget"])
async def test_the_rules_summary_stays_where_no_model_rewrites_it(file: str, why: str) -> None:
    """The default model is never asked; one that fails, or has no budget, ends no turn."""
    model, notes = ScriptedModel(lambda _: "Noted."), ScriptedModel([Step(error=ValueError("down"))])
    if why == "nothing said":
        notes = ScriptedModel([" \n"])
    asked = None if why == "no model" else Summariser(model=notes)
    budget = Budgets(roles={"summariser": Budget(calls=0)}) if why == "no budget" else None
    options: dict[str, Any] = {} if asked is None else {"summariser": asked}
    async with opened(file, model=model, team=team(model, window=1, budget=budget, **options)) as mars:
        result = await talked(mars, 3)
    assert (result.status, len(notes.calls)) == (RunStatus.COMPLETED, int(why in ("down", "nothing said")))
    assert '"summary": "ann: Whale 0 is near Bergen."' in model.calls[-1].prompt
    assert len(model.calls) == 3


async def test_a_resumed_turn_asks_its_summariser_once(file: str) -> None:
    """What it said is on record before the draft begins, and the turn that rests goes on with it."""
    notes, gate = ScriptedModel(["Notes."]), Gate("Never heard.")
    async with Mars.open(file, team=team(ScriptedModel(lambda _: "Noted."), window=1)) as mars:
        await talked(mars, 2)
    async with Mars.open(file, team=team(gate.model, window=1, summariser=Summariser(model=notes))) as mars:
        task = asyncio.ensure_future(talked(mars, 1))
        await gate.reached()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        gate.let_go.set()
    model = ScriptedModel(["Noted."])
    async with opened(file, team=team(model, window=1, summariser=Summariser(model=notes))) as mars:
        await mars.resume("c")
    assert len(notes.calls) == 1
    assert '"summary": "Notes."' in model.calls[0].prompt
