"""The past of conversations: history, fork, replay and diff, on both databases and in plain code.

Where a database is named ``blocking``, the same test runs on SQLite by the blocking twin.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import anyio
import pytest
from langchain_core.tools import StructuredTool
from langgraph.checkpoint.memory import InMemorySaver

from mars import Assistant, Budget, Checker, Mars, RunStatus, Team
from mars.agents.roles import Reflector, Summariser
from mars.errors import (
    ConversationBusy,
    ConversationExists,
    HistoryPruned,
    InvalidInput,
    InvalidSetting,
    NotFound,
    TurnUnfinished,
)
from mars.holding import thread_of
from mars.moments import first_difference, steps_of
from mars.persistence.approvals import Approval
from mars.persistence.branching import Branch
from mars.persistence.budgets import Usage
from mars.persistence.database import Database
from mars.persistence.leases import Leases
from mars.persistence.turns import KEPT
from mars.runtime import SyncMars
from mars.testing import FixedClock, ScriptedModel, Step

pytestmark = pytest.mark.anyio

ALONE = frozenset({"checker", "reflection"})
PAY = ("pay", {"amount": 5, "to": "Bo"})
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


class Blocking:
    """A `SyncMars` with the methods of a `Mars`; each call blocks a worker thread."""

    def __init__(self, twin: SyncMars) -> None:
        self._twin = twin

    async def __aenter__(self) -> Self:
        await anyio.to_thread.run_sync(self._twin.open)
        return self

    async def __aexit__(self, *error: object) -> None:
        await anyio.to_thread.run_sync(self._twin.close)

    def __getattr__(self, name: str) -> Any:
        if name not in vars(SyncMars):
            return getattr(self._twin.original, name)
        method = getattr(self._twin, name)
        return lambda *words, **options: anyio.to_thread.run_sync(partial(method, *words, **options))


class Where:
    """A database, and how a `Mars` is opened on it."""

    def __init__(self, url: str, blocking: bool) -> None:
        self.url = url
        self.blocking = blocking

    def open(self, **options: Any) -> Any:
        """Return what is to be entered."""
        return Blocking(Mars.open_sync(self.url, **options)) if self.blocking else Mars.open(self.url, **options)


@pytest.fixture(params=["sqlite", "postgres", "blocking"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Where:
    """An empty database of each kind."""
    if request.param == "postgres":
        make: Callable[[], str] = request.getfixturevalue("fresh_database")
        return Where(make(), False)
    return Where(f"sqlite:///{tmp_path / 'life.db'}", request.param == "blocking")


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Where:
    """An empty database of each kind, for what the blocking twin need not show again."""
    if request.param == "postgres":
        make: Callable[[], str] = request.getfixturevalue("fresh_database")
        return Where(make(), False)
    return Where(f"sqlite:///{tmp_path / 'life.db'}", False)


@pytest.fixture
def file(tmp_path: Path) -> Where:
    """An empty SQLite file."""
    return Where(f"sqlite:///{tmp_path / 'life.db'}", False)


class Till:
    """A tool with a side effect, and what it did."""

    def __init__(self) -> None:
        self.paid: list[tuple[int, str]] = []

    def pay(self, amount: int, to: str) -> str:
        """Pay somebody."""
        self.paid.append((amount, to))
        return f"paid {amount} to {to}"


def payer() -> ScriptedModel:
    """Return a model that pays and then says what came of it."""

    def reply(messages: Any) -> Step | str:
        last = messages[-1]
        return f"So: {last.content}" if last.type == "tool" else Step(tool_calls=(PAY,))

    return ScriptedModel(reply)


def answers(*replies: Any, **options: Any) -> Team:
    """Return a team whose Assistant says these, unchecked."""
    return Team(assistant=Assistant(model=ScriptedModel(list(replies))), without=ALONE, **options)


async def talk(mars: Any, clock: FixedClock, *tasks: str, conversation: str = "c") -> list[Any]:
    """Run turns of Ann's conversation, an hour apart."""
    results = []
    for task in tasks:
        clock.advance(hours=1)
        results.append(await mars.run(task, user="ann", conversation=conversation))
    return results


async def everything(mars: Any, conversation: str) -> list[Any]:
    """Return all that can be read of a conversation."""
    (listed,) = [one for one in await mars.conversations() if one.name == conversation]
    moments = await mars.history(conversation, limit=50, checkpoints=True)
    usage = await mars.calls.usage_of_conversation(("ann",), conversation)
    said, asked = await mars.transcript(conversation), await mars.asked(conversation)
    return [listed, moments, said, asked, usage]


async def rows_of(url: str, thread: str) -> list[Any]:
    """Return every row of a conversation's thread, of all tables of the runs that have one."""
    database = Database(url)
    await anyio.to_thread.run_sync(database.open)
    mark = "?" if database.dialect == "sqlite" else "%s"
    tables = ("mars_conversations", "mars_turns", "mars_transcript", "mars_checkpoints", "mars_checkpoint_writes")

    def look(wire: Any) -> list[Any]:
        found = []
        for table in tables:
            rows = wire.run(f"SELECT * FROM {table} WHERE thread_id = {mark}", (thread,)).fetchall()
            found.append((table, sorted(map(repr, rows))))
        return found

    try:
        return await database.read(look)
    finally:
        await anyio.to_thread.run_sync(database.close)


# History


async def test_history_tells_what_each_turn_held(where: Where) -> None:
    """The newest first, by the domain's time, with what was asked, answered, judged and spent; pages follow."""
    clock = FixedClock()
    began = clock.now()
    async with where.open(clock=clock) as mars:
        await talk(mars, clock, "My sister lives in Oslo.", "Where does my sister live?", "Where does my cat live?")
        await mars.name_turn("c", "the cat")
        third, second, first = await mars.history("c")
        assert [one.number for one in (third, second, first)] == [3, 2, 1]
        assert (second.task, second.answer) == ("Where does my sister live?", "My sister lives in Oslo.")
        assert (second.status, second.decision, second.next, second.waiting) == ("completed", "approved", "", False)
        assert (second.at.hour - began.hour, second.parent, second.kept) == (2, first.id, True)
        assert second.usage.calls == 1
        assert (third.name, first.parent, first.kind) == ("the cat", None, "turn")
        assert await mars.history("c", limit=1) == [third]
        for before in (3, "3", third.id, "the cat"):
            assert await mars.history("c", before=before, limit=1) == [second]
        assert await mars.history("c", before=1) == []
        turn, last = await mars.history("c", before=3, limit=1, checkpoints=True)
        assert (turn, last.kind, last.draft) == (second, "checkpoint", "My sister lives in Oslo. [m1]")
        assert all(one.plain()["conversation"] == "c" for one in (turn, last))


async def test_history_of_a_turn_that_waits(store: Where) -> None:
    """Each checkpoint of a half-done turn says which node runs next; the newest says that a person is waited for."""
    till = Till()
    async with store.open(model=payer(), tools=[till.pay], team=Team(approval=Approval(), without=ALONE)) as mars:
        await mars.run("Pay Bo.", user="ann", conversation="c")
        turn, *steps = await mars.history("c", checkpoints=True)
    assert (turn.status, turn.waiting, turn.next, turn.usage.calls) == ("waiting", True, "person", 1)
    assert [one.next for one in steps] == ["person", "review_action", "assistant", "recall"]
    assert [one.waiting for one in steps] == [True, False, False, False]
    assert [one.parent for one in steps[:-1]] == [one.id for one in steps[1:]]


async def test_history_of_what_is_kept_no_longer(file: Where) -> None:
    """Of turns that left the window the words are told, and that no more is kept; a fork of one names the remedy."""
    model = ScriptedModel(lambda _: "Noted.")
    team = Team(assistant=Assistant(model=model), without=ALONE)
    async with file.open(team=team, clock=FixedClock()) as mars:
        for number in range(KEPT + 2):
            await mars.run(f"Number {number}?", user="ann", conversation="c")
            if number == 0:
                await mars.name_turn("c", "the first")
        first, second, third = reversed(await mars.history("c", before=4))
        assert [one.kept for one in (first, second, third)] == [True, False, True]
        assert (second.task, second.answer) == ("Number 1?", "Noted.")
        before = await rows_of(file.url, thread_of(("ann",), "c"))
        for at in (2, second.id):
            for attempt in (mars.fork, mars.replay, partial(mars.replay, recorded=True)):
                with pytest.raises(HistoryPruned, match=r"mars\.name_turn"):
                    await attempt("c", at=at)
        with pytest.raises(HistoryPruned):
            await mars.diff(("c", 2), ("c", 3))
        assert await rows_of(file.url, thread_of(("ann",), "c")) == before
        assert [one.name for one in await mars.conversations()] == ["c"]
        assert (await mars.fork("c", at="the first")).turns == 1
        for at, kept in ((2, 0), (3, 1), (1, 1)):  # the ledger's rows go with the checkpoint, and stay with a name
            turn = (await mars.history("c", before=at + 1, limit=1))[0]
            assert len(await mars.calls.ledger.calls("c", turn.id)) == kept


# Fork


async def test_a_fork_goes_on_by_itself(where: Where) -> None:
    """It has the words and turns until there; what either does then, the other does not see; nothing is paid twice."""
    clock = FixedClock()
    budget = Team(window=1)
    async with where.open(clock=clock, team=budget) as mars:
        results = await talk(
            mars, clock, "My sister lives in Oslo.", "My cat is called Miso.", "Where does my sister live?", "And now?"
        )
        before, user = await everything(mars, "c"), await mars.calls.usage_of_user("ann")
        forked = await mars.fork("c", at=2, into="other")
        assert (forked.name, forked.namespace, forked.turns, forked.turn) == ("other", ("ann",), 2, None)
        assert await everything(mars, "c") == before
        assert await mars.calls.usage_of_user("ann") == user
        assert (await mars.calls.usage_of_conversation(("ann",), "other")).calls == 0
        assert [one.text for one in await mars.transcript("other")] == [one.text for one in before[2][:4]]
        inherited = await mars.result("other", turn=results[1].turn)
        assert inherited == replace(results[1], conversation="other")
        model_window = (await mars.history("other"))[0]
        assert (model_window.number, model_window.answer) == (2, "Noted.")
        again = await talk(mars, clock, "Where does my sister live?", conversation="other")
        assert (again[0].answer, again[0].conversation) == ("My sister lives in Oslo.", "other")
        assert again[0].turn != results[2].turn
        assert await everything(mars, "c") == before
        assert (await mars.calls.usage_of_conversation(("ann",), "other")).calls == 1
        other = await everything(mars, "other")
        await talk(mars, clock, "Thanks.")
        assert await everything(mars, "other") == other
        assert (await mars.fork("c", at=results[0].turn)).name == "c~1"
        newest = await mars.fork("c")
        assert (newest.name, newest.turns) == ("c~2", 5)


async def test_a_copy_beside_a_run_has_the_past_too(store: Where) -> None:
    """What `on_busy="fork"` makes is what `mars.fork` makes after the last turn that is over: history and results."""
    clock = FixedClock()
    async with store.open(clock=clock, team=Team(window=1), lease=600.0) as mars:
        told = ("My sister lives in Oslo.", "My cat is called Miso.")
        first, second = await talk(mars, clock, *told)
        forked = await mars.fork("c", into="forked")
        claim = await mars._durable.journal.claim(thread_of(("ann",), "c"), "c", "somebody else", None)
        before, user = await everything(mars, "c"), await mars.calls.usage_of_user("ann")
        copied = await mars.run("Where does my sister live?", user="ann", conversation="c", on_busy="fork")
        assert (copied.conversation, copied.answer) == ("c~1", "My sister lives in Oslo.")
        assert await everything(mars, "c") == before
        assert (await mars.calls.usage_of_user("ann")).calls == user.calls + 1
        await mars._durable.journal.leave(claim.fence)
        again = await mars.run("Where does my sister live?", user="ann", conversation=forked.name)
        assert again.answer == copied.answer
        for place, turn in ((1, first), (2, second)):
            moment, other = [(await mars.history(name))[-place] for name in ("c~1", "forked")]
            assert replace(moment, conversation="forked", id=other.id) == other
            assert await mars.result("c~1", turn=turn.turn) == replace(turn, conversation="c~1")
        assert (await mars.diff(("c", 2), ("c~1", 2))).changed == {}
        assert [one.turns for one in await mars.conversations()] == [2, 3, 3]


async def test_two_processes_copy_beside_a_run_at_once(fresh_database: Callable[[], str]) -> None:
    """Each gets a copy of its own: who comes second waits for the first, and takes the next name."""
    url = fresh_database()
    async with Where(url, False).open(team=answers("Miso.")) as mars:
        await mars.run("What is my cat called?", user="ann", conversation="c")
        journal, source, other = mars._durable.journal, thread_of(("ann",), "c"), Database(url)
        await anyio.to_thread.run_sync(other.open)
        begun, go_on, made = threading.Event(), threading.Event(), []

        def target(number: int) -> tuple[str, str]:
            return thread_of(("ann",), f"c~{number}"), f"c~{number}"

        def first(wire: Any) -> None:
            Leases(wire).look(source, "c")
            Leases(wire).make(*target(1))
            begun.set()
            go_on.wait(30)

        async def second() -> None:
            await anyio.to_thread.run_sync(begun.wait, 30)
            made.append(await journal.fork(source, target))

        def waiting(wire: Any) -> bool:
            return bool(wire.run("SELECT count(*) FROM pg_locks WHERE NOT granted", ()).fetchone()[0])

        try:
            with anyio.fail_after(30):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(other.write, first)
                    tasks.start_soon(second)
                    while not await other.read(waiting):
                        await anyio.sleep(0.01)
                    go_on.set()
        finally:
            go_on.set()
            await anyio.to_thread.run_sync(other.close)
        assert made == [target(2)]
        assert [one.text for one in await mars.transcript("c~2")] == ["What is my cat called?", "Miso."]


async def test_the_summary_is_that_of_the_place(file: Where) -> None:
    """A fork begins with the running summary as it was there, not with what was said later."""
    clock, prompts = FixedClock(), []

    def reply(messages: Any) -> str:
        prompts.append("\n".join(str(one.content) for one in messages))
        return "Noted."

    team = Team(assistant=Assistant(model=ScriptedModel(reply)), without=ALONE, window=1)
    async with file.open(clock=clock, team=team) as mars:
        await talk(mars, clock, *(f"My number {name} is red." for name in ("one", "two", "three", "four", "five")))
        await mars.fork("c", at=3, into="d")
        await talk(mars, clock, "And now?", conversation="d")
    earlier = prompts[-1][prompts[-1].rindex("<earlier>") : prompts[-1].rindex("</earlier>")]
    assert "number two" in earlier
    assert "number four" not in earlier


async def test_what_is_wrong_is_refused_before_anything_is_written(store: Where) -> None:
    """Unknown conversation, turn or checkpoint, a target that is there, a bad name, and a saver that is not ours."""
    clock = FixedClock()
    async with store.open(clock=clock) as mars:
        await talk(mars, clock, "My sister lives in Oslo.", "Where does my sister live?")
        before = await mars.conversations()
        wrong: list[tuple[Any, type[Exception], dict[str, Any]]] = [
            ("d", NotFound, {}),
            ("c", NotFound, {"at": 3}),
            ("c", NotFound, {"at": "1f1e5a22-3f19-6fef-801a-08f912e86b78"}),
            ("c", ConversationExists, {"into": "c"}),
            ("c", InvalidInput, {"into": ""}),
            ("c", InvalidInput, {"at": "\0"}),
            ("c", InvalidInput, {"at": 1.0}),
            ("c", InvalidInput, {"at": True}),
            ("c", InvalidInput, {"at": 10**30}),
        ]
        for name, kind, options in wrong:
            for attempt in (mars.fork, mars.replay):
                with pytest.raises(kind):
                    await attempt(name, **options)
        with pytest.raises(InvalidSetting, match="effects is one of"):
            await mars.replay("c", effects="twice")
        with pytest.raises(InvalidSetting, match="limit"):
            await mars.history("c", limit=0)
        assert await mars.conversations() == before
    async with store.open(checkpointer=None) as mars:
        with pytest.raises(InvalidSetting, match="runs leave nothing"):
            await mars.fork("c")


async def test_somebody_elses_saver(file: Where) -> None:
    """Its history is told and compared; a fork is refused, since its rows are not ours to copy."""
    clock = FixedClock()
    async with file.open(clock=clock, checkpointer=InMemorySaver()) as mars:
        await talk(mars, clock, "My sister lives in Oslo.", "Where does my sister live?")
        second, first = await mars.history("c")
        assert (second.answer, first.kept) == ("My sister lives in Oslo.", True)
        assert not (await mars.diff(first, second)).same
        assert (await mars.replay("c", recorded=True)).reproduced
        for attempt in (mars.fork, mars.replay):
            with pytest.raises(InvalidSetting, match="CheckpointSaver"):
                await attempt("c")
        assert [one.name for one in await mars.conversations()] == ["c"]


class Gate:
    """A model, and a tool that only reads, that wait until they are let go."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.let_go = threading.Event()

    def reply(self, _: Any) -> str:
        """Wait, and reply."""
        self.entered.set()
        assert self.let_go.wait(20)
        return "Never heard."

    def look(self) -> str:
        """Look."""
        self.reply(None)
        return "fine"

    async def leave(self, run: Any, *checks: Any) -> None:
        """Cancel a run that waits here, after these checks."""
        task = asyncio.ensure_future(run)
        assert await anyio.to_thread.run_sync(self.entered.wait, 20)
        for check in checks:
            await check()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        self.let_go.set()


async def left_half_done(where: Where) -> None:
    """Leave a turn whose first call is under way; while it runs it is neither forked nor replayed."""
    gate = Gate()
    team = Team(assistant=Assistant(model=ScriptedModel(gate.reply)), without=ALONE)
    async with Mars.open(where.url, team=team) as mars:

        async def refused() -> None:
            for attempt in (mars.fork, mars.replay):
                with pytest.raises(ConversationBusy):
                    await attempt("c")
            assert (await mars.history("c"))[0].status == "running"
            assert [one.name for one in await mars.conversations()] == ["c"]

        await gate.leave(mars.run("Where is Oslo?", user="ann", conversation="c"), refused)


async def test_a_half_done_turn_is_forked_and_both_are_finished(store: Where) -> None:
    """While it runs it is refused; then each has its own turn of its own id, with its own calls and its own end."""
    await left_half_done(store)
    async with store.open(team=answers("In Norway.", "In the north.")) as mars:
        (turn, *steps) = await mars.history("c", checkpoints=True)
        assert (turn.status, turn.next) == ("interrupted", "assistant")
        forked = await mars.fork("c")
        assert (forked.turns, forked.why, forked.task) == (1, "interrupted", "Where is Oslo?")
        assert forked.turn != turn.turn
        for step in steps:
            assert (await mars.fork("c", at=step.id)).turn is not None
        assert (await mars.resume(forked.name)).answer == "In Norway."
        assert (await mars.result(forked.name)).usage.calls == 1
        (still,) = [one for one in await mars.unfinished() if one.name == "c"]
        assert (still.turn, still.why) == (turn.turn, "interrupted")
        assert (await mars.resume("c")).answer == "In the north."
        assert [one.text for one in await mars.transcript(forked.name)] == ["Where is Oslo?", "In Norway."]


async def test_what_was_decided_there_does_not_hold_here(store: Where) -> None:
    """A fork of a turn that waits has a question of its own; deciding one leaves the other waiting."""
    till = Till()
    async with store.open(model=payer(), tools=[till.pay], team=Team(approval=Approval(), without=ALONE)) as mars:
        await mars.run("Pay Bo.", user="ann", conversation="c")
        forked = await mars.fork("c", into="d")
        assert forked.why == "waiting"
        (asked,) = await mars.asked("d")
        assert (asked.turn, asked.conversation, asked.decision) == (forked.turn, "d", None)
        await mars.decide("c", "approve")
        late = await mars.fork("c", into="e")  # decided, and not gone on yet
        assert await mars.asked("e") == []
        assert (await mars.resume("e")).status is RunStatus.WAITING
        assert (late.turns, till.paid) == (1, [])
        await mars.decide("d", {"choice": "reject", "by": "ann"})
        assert (await mars.resume("d")).answer == "So: Not allowed by a person: no reason given"
        assert (await mars.resume("c")).answer == "So: paid 5 to Bo"
        assert till.paid == [(5, "Bo")]
        assert (await mars.replay("c", recorded=True)).reproduced
        with pytest.raises(HistoryPruned, match="taken up half done"):
            await mars.replay("d", recorded=True)


async def test_an_action_is_not_run_by_both(store: Where) -> None:
    """A turn that is about to act is not copied as it stands; from an earlier place its action waits for a person."""
    till, gate = Till(), Gate()
    look = StructuredTool.from_function(gate.look, name="look", description="Look.", metadata={"read_only": True})
    model = ScriptedModel(
        [Step(tool_calls=(("look", {}), PAY)), Step(tool_calls=(("look", {}), PAY)), "Paid.", "Done."]
    )
    team = Team(assistant=Assistant(model=model), without=ALONE)
    async with Mars.open(store.url, tools=[till.pay, look], team=team) as mars:
        await gate.leave(mars.run("Pay Bo.", user="ann", conversation="c"))
        turn, *steps = await mars.history("c", checkpoints=True)
        assert turn.next == "tools"
        for attempt in (mars.fork, partial(mars.replay, at=steps[0].id)):
            with pytest.raises(TurnUnfinished, match="about to run pay"):
                await attempt("c")
        earlier = next(one for one in steps if one.next == "assistant")
        forked = await mars.fork("c", at=earlier.id)
        assert (await mars.resume(forked.name)).status is RunStatus.WAITING
        assert till.paid == []
        assert (await mars.resume("c")).answer == "Paid."
        assert till.paid == [(5, "Bo")]
        await mars.decide(forked.name, "approve")
        assert (await mars.resume(forked.name)).answer == "Done."
        assert till.paid == [(5, "Bo")] * 2


class Shared(Branch):
    """Sabotaged: the turn of the copy keeps its id, so that both conversations have one turn between them."""

    def turn_id(self, old: str, thread: str) -> str:
        """Return the same id."""
        return old


@pytest.mark.parametrize("sabotaged", [False, True])
async def test_a_turn_that_is_shared_would_be_found(file: Where, sabotaged: bool) -> None:
    """What the original has spent stays on record when its copy is finished; of a shared turn it is forgotten."""
    team = Team(assistant=Assistant(model=payer()), without=ALONE, approval=Approval())
    async with Mars.open(file.url, tools=[Till().pay], team=team) as mars:
        await mars.run("Pay Bo.", user="ann", conversation="c")
        before = (await mars.history("c"))[0].usage
        made = (Shared if sabotaged else Branch)(
            source=thread_of(("ann",), "c"),
            named="c",
            at=None,
            targets=lambda _: (thread_of(("ann",), "d"), "d"),
            begin=None,
            mark=lambda _: {},
            check=lambda _, __: None,
        )
        await mars._conversations.journal.branch(made)
        await mars.decide("d", "reject")
        await mars.resume("d")
        assert (await mars.history("c"))[0].usage == (Usage() if sabotaged else before)


# Replay


async def test_a_replay_is_a_turn_of_its_own(where: Where) -> None:
    """Fresh calls in another conversation; the original and the memory stay as they were; later words are not known."""
    clock = FixedClock()
    async with where.open(clock=clock) as mars:
        await talk(mars, clock, "My sister lives in Oslo.", "Where does my sister live?", "My sister lives in Rome.")
        before, records = await everything(mars, "c"), await mars.memory.list(namespace=("ann",))
        replay = await mars.replay("c", at=2)
        assert (replay.conversation, replay.recorded, replay.of.number) == ("c~1", False, 2)
        assert (replay.result.answer, replay.result.usage.calls) == ("My sister lives in Oslo.", 1)
        assert (replay.reproduced, replay.same_steps) == (True, 5)
        assert replay.plain()["reproduced"] is True
        assert [one.text for one in await mars.transcript("c~1")] == [one.text for one in before[2][:4]]
        assert await everything(mars, "c") == before
        told = await mars.replay("c", at=1, into="again")
        assert (told.result.answer, [one.number for one in await mars.history("again")]) == ("Noted.", [1])
        assert await mars.memory.list(namespace=("ann",)) == records
        assert [one.tasks for one in await mars.roster.reliability.tallies()] == [1]
        (after,) = await talk(mars, clock, "My dog is called Rex.", conversation="again")
        assert after.answer == "Noted."
        assert len(await mars.memory.list(namespace=("ann",))) == len(records) + 1


async def test_a_replay_tells_where_it_went_another_way(file: Where) -> None:
    """Another model may say something else: the first step that differs is told, and all of it is compared."""
    async with file.open(team=answers("In Norway.")) as mars:
        await mars.run("Where is Oslo?", user="ann", conversation="c")
    async with file.open(team=answers("In Sweden.")) as mars:
        replay = await mars.replay("c")
        assert not replay.reproduced
        step = replay.first_difference
        assert (step.what, step.recorded, step.replayed) == ("draft", "In Norway.", "In Sweden.")
        found = await mars.diff("c", "c~1")
        assert found.changed == {"answer": ("In Norway.", "In Sweden.")}


@pytest.mark.parametrize("effects", ["ask", "run"])
async def test_an_effect_does_not_happen_twice_unasked(store: Where, effects: Any) -> None:
    """By default a payment waits for a person in a replay, with no policy too; with ``run`` it would be made again."""
    till = Till()
    async with store.open(model=payer(), tools=[till.pay], team=Team(without=ALONE)) as mars:
        await mars.run("Pay Bo.", user="ann", conversation="c")
        assert till.paid == [(5, "Bo")]
        replay = await mars.replay("c", effects=effects)
        assert till.paid == [(5, "Bo")] * (1 if effects == "ask" else 2)
        assert replay.result.status is (RunStatus.WAITING if effects == "ask" else RunStatus.COMPLETED)
        if effects == "ask":
            assert [ask["tool"] for ask in replay.result.asks] == ["pay"]
            await mars.decide("c~1", {"choice": "answer", "text": "paid 5 to Bo"})
            again = await mars.resume("c~1")
            assert (again.answer, till.paid) == ("So: paid 5 to Bo", [(5, "Bo")])
        (found,) = (await mars.diff("c", "c~1")).tools.a or [None]
        assert (found is None) is (effects == "run")


async def test_from_the_midst_of_a_turn(file: Where) -> None:
    """From a checkpoint only what comes after it is done again, by fresh calls."""
    till, model = Till(), payer()
    team = Team(assistant=Assistant(model=model), approval=Approval(), without=ALONE)
    async with file.open(tools=[till.pay], team=team) as mars:
        await mars.run("Pay Bo.", user="ann", conversation="c")
        steps = (await mars.history("c", checkpoints=True))[1:]
        by_node = {one.next: one for one in steps}
        made = len(model.calls)
        late = await mars.replay("c", at=by_node["review_action"].id)
        assert (late.result.status, len(model.calls) - made) == (RunStatus.WAITING, 0)
        early = await mars.replay("c", at=by_node["assistant"].id)
        assert (early.result.status, len(model.calls) - made) == (RunStatus.WAITING, 1)
        whole = await mars.replay("c")
        assert (whole.result.status, len(model.calls) - made) == (RunStatus.WAITING, 2)


def checked_team(judge: Any, *drafts: Any, **options: Any) -> Team:
    """Return a team with a judge, a Reflector with a model, and an Assistant that says these."""
    return Team(
        assistant=Assistant(model=ScriptedModel(list(drafts))),
        checker=Checker(model=ScriptedModel(list(judge))),
        reflector=Reflector(model=ScriptedModel(["Look again."] * 3)),
        **options,
    )


async def test_from_the_records_alone(store: Where) -> None:
    """Tools, a person, two drafts, verdicts, a lesson: all of it is reproduced, nobody is asked, nothing is written."""
    till, clock = Till(), FixedClock()
    drafts = (Step(tool_calls=(PAY,)), "Guess one.", "In Norway.")
    team = checked_team((YES, NO, YES), *drafts, approval=Approval())
    async with store.open(clock=clock, tools=[till.pay], team=team) as mars:
        await mars.memory.add("Oslo is in Norway.", ("ann",))
        clock.advance(hours=1)
        await mars.run("Where is Oslo?", user="ann", conversation="c")
        half = await mars.replay("c", recorded=True)
        assert (half.reproduced, half.result, half.first_difference) == (True, None, None)
        await mars.decide("c", "approve")
        original = await mars.resume("c")
        clock.advance(hours=1)
        await mars.memory.add("Oslo is in Sweden, people say.", ("ann",))
    idle = checked_team((), approval=Approval())
    async with store.open(clock=clock, tools=[till.pay], team=idle) as mars:
        before = await everything(mars, "c"), await rows_of(store.url, thread_of(("ann",), "c"))
        records = await mars.memory.list(namespace=("ann",))
        replay = await mars.replay("c", recorded=True)
        assert (replay.reproduced, replay.recorded, replay.conversation) == (True, True, None)
        assert replay.first_difference is None
        assert {**replay.result.plain(), "usage": 0, "latency": 0} == {**original.plain(), "usage": 0, "latency": 0}
        assert (await everything(mars, "c"), await rows_of(store.url, thread_of(("ann",), "c"))) == before
        assert await mars.memory.list(namespace=("ann",)) == records
        assert [one.name for one in await mars.conversations()] == ["c"]
    assert till.paid == [(5, "Bo")]


async def test_the_first_step_that_differs(file: Where) -> None:
    """A loop with other limits leaves the records where it must: the step is named, and what it asked for."""
    async with file.open(team=checked_team((NO, YES), "Guess one.", "In Norway.")) as mars:
        await mars.run("Where is Oslo?", user="ann", conversation="c")
        assert (await mars.replay("c", recorded=True)).reproduced
    async with file.open(team=checked_team((), iterations=1)) as mars:
        replay = await mars.replay("c", recorded=True)
        step = replay.first_difference
        assert (step.what, step.iteration, step.recorded) == ("draft", 2, "In Norway.")
        assert step.replayed.startswith("end 1:")
    async with file.open(team=answers()) as mars:  # nobody checks there
        replay = await mars.replay("c", recorded=True)
        assert (replay.first_difference.role, replay.first_difference.what) == ("checker", "verdict")
    with sqlite3.connect(file.url.removeprefix("sqlite:///")) as database:
        database.execute("UPDATE mars_calls SET body = replace(body, 'Guess one.', 'Guess two.')")
    async with file.open(team=checked_team(())) as mars:
        step = (await mars.replay("c", recorded=True)).first_difference
        assert (step.role, step.what, step.recorded, step.replayed) == (
            "assistant",
            "draft",
            "Guess one.",
            "Guess two.",
        )
    with sqlite3.connect(file.url.removeprefix("sqlite:///")) as database:
        database.execute("DELETE FROM mars_calls WHERE iteration = 2")
    async with file.open(team=checked_team(())) as mars:
        replay = await mars.replay("c", recorded=True)
        assert replay.result is None
    with sqlite3.connect(file.url.removeprefix("sqlite:///")) as database:
        database.execute("DELETE FROM mars_calls")
    async with file.open(team=checked_team(())) as mars:
        with pytest.raises(HistoryPruned, match="fresh calls"):
            await mars.replay("c", recorded=True)


@pytest.mark.parametrize("way", ["budget", "last call", "error", "summariser"])
async def test_ends_that_are_on_record(file: Where, way: str) -> None:
    """A budget that ended the turn, a provider that failed, a Summariser that was asked: each is reproduced."""
    options: dict[str, Any] = {}
    replies: list[Any] = ["One.", "Two.", "Three."]
    if way == "budget":
        options = {"budget": Budget(calls=0)}
    if way == "last call":
        options = {"budget": Budget(calls=0, last_call=True)}
    if way == "error":
        replies = [Step(error=PermissionError("no key"))] * 3
    if way == "summariser":
        options = {"window": 1, "summariser": Summariser(model=ScriptedModel(["They talked."] * 3))}
    async with file.open(team=answers(*replies, **options)) as mars:
        for number in range(3):
            await mars.run(f"Number {number}?", user="ann", conversation="c")
        original = await mars.result("c")
        replay = await mars.replay("c", recorded=True)
    expected = {
        "budget": "budget_exhausted",
        "last call": "completed",
        "error": "task_error",
        "summariser": "completed",
    }
    assert original.status.value == expected[way]
    assert replay.first_difference is None
    assert replay.result.status == original.status


# Diff


async def test_what_differs_between_two_moments(where: Where) -> None:
    """Words, drafts with verdicts, records, lessons and tools, each side's own and how many both have; and the cost."""
    clock = FixedClock()
    async with where.open(clock=clock) as mars:
        await talk(mars, clock, "My sister lives in Oslo.", "My cat is called Miso.", "Where does my sister live?")
        await mars.fork("c", at=2, into="d")
        await talk(mars, clock, "What is my cat called?", conversation="d")
        same = await mars.diff("c", ("c", 3))
        assert same.same
        assert (same.said.both, same.records.both, same.usage[0]) == (
            6,
            len(same.records.a) + same.records.both,
            same.usage[1],
        )
        found = await mars.diff("c", "d")
        assert not found.same
        assert found.changed["task"] == ("Where does my sister live?", "What is my cat called?")
        assert found.said.both == 4
        assert [one.text for one in found.said.b] == ["What is my cat called?", "My cat is called Miso."]
        assert [one.decision for one in (*found.drafts.a, *found.drafts.b)] == ["approved", "approved"]
        third, second, _ = await mars.history("c")
        assert (await mars.diff(third, second)).changed["answer"] == ("My sister lives in Oslo.", "Noted.")
        plain = found.plain()
        assert plain["said"]["both"] == 4
        assert plain["a"]["conversation"] == "c"
        with pytest.raises(NotFound):
            await mars.diff("c", ("c", 9))


async def test_the_tools_of_all_iterations_are_compared(file: Where) -> None:
    """Also those of an earlier draft, with their arguments, which only the ledger has by the end."""
    drafts = (
        Step(tool_calls=(PAY,)),
        "Guess one.",
        Step(tool_calls=(("pay", {"amount": 6, "to": "Bo"}),)),
        "In Norway.",
    )
    async with file.open(tools=[Till().pay], team=checked_team((YES, NO, YES, YES), *drafts)) as mars:
        await mars.run("Where is Oslo?", user="ann", conversation="c")
        await mars.run("And now?", user="ann", conversation="d", budget=Budget(calls=0))
        found = await mars.diff("c", "d")
    amounts = [(one.arguments, one.result) for one in found.tools.a]
    assert amounts == [(f'{{"amount": {n}, "to": "Bo"}}', f"paid {n} to Bo") for n in (5, 6)]
    assert [one.draft for one in found.drafts.a] == ["Guess one.", "In Norway."]
    assert found.lessons.a
    assert found.changed["status"] == ("completed", "budget_exhausted")


def test_steps_are_compared_in_order() -> None:
    """A record that ends early says nothing of what follows; a whole one is not reproduced by more than it has."""
    state: dict[str, Any] = {"task": {"text": "Where?"}, "iteration": 1, "draft": "Here.", "evidence": []}
    steps = steps_of(state)
    assert [one.what for one in steps] == ["task", "recall", "draft"]
    assert first_difference(steps, steps, whole=True) == (3, None)
    assert first_difference(steps[:2], steps, whole=False) == (2, None)
    same, extra = first_difference(steps[:2], steps, whole=True)
    assert (same, extra) == (2, steps[2]._replace(recorded="", replayed="Here."))
    assert first_difference(steps, steps[:1], whole=True) == (1, steps[2])
    assert steps_of({}) == []


# Crashes


HARNESS = Path(__file__).parent / "past_under_fire.py"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks processes; run it on Linux or macOS")
def test_a_fork_is_whole_or_not_there(store: Where) -> None:
    """Killed before its commit, nothing of it is there; after it, all of it; a paid call is not paid for again.

    Sabotaged by a commit in its midst, the same kill leaves half a conversation.
    """
    command = [sys.executable, str(HARNESS), store.url]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert result.returncode == 0, result.stderr
    figures = json.loads(result.stdout.splitlines()[-1])
    assert figures.pop("sabotaged") == "torn"
    assert figures == {"killed": 6, "torn": 0, "absent": 3, "whole": 1, "finished": 1, "paid_again": 0}
