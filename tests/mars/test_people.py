"""People in the loop: actions that wait for approval, questions of the Assistant's, and what is kept of both."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage, message_to_dict, messages_from_dict
from langchain_core.messages.tool import invalid_tool_call, tool_call
from langchain_core.tools import StructuredTool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from pydantic import Field
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from mars import Budget, Checker, Mars, RunStatus, Team
from mars.errors import InvalidInput, InvalidSetting, NotFound
from mars.events import EVERYTHING, EventKind
from mars.people import BY_PERSON, NOBODY, ask_user, said_by_people
from mars.persistence.approvals import Approval, Asked, Decision
from mars.subgraph import Asker, agent_graph
from mars.testing import ScriptedModel, Step

ALONE = frozenset({"checker", "reflection"})


class Till:
    """A tool with a side effect, and what it did."""

    def __init__(self) -> None:
        self.paid: list[tuple[int, str]] = []

    def pay(self, amount: int, to: str) -> str:
        """Pay somebody."""
        self.paid.append((amount, to))
        return f"paid {amount} to {to}"


def told(*calls: tuple[str, dict[str, Any]]) -> ScriptedModel:
    """Return a model that makes these calls at once and then says what the last of them returned."""

    def reply(messages: Any) -> Step | str:
        last = messages[-1]
        return f"So: {last.content}" if last.type == "tool" else Step(tool_calls=calls)

    return ScriptedModel(reply)


PAY = ("pay", {"amount": 5, "to": "Bo"})


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'life.db'}"
    make: Callable[[], str] = request.getfixturevalue("fresh_database")
    return make()


def opening(url: str, till: Till, model: ScriptedModel, **changes: Any) -> Any:
    """Return what opens a Mars whose payments need approval."""
    team = Team(**{"approval": Approval(), "without": ALONE, **changes})
    return Mars.open(url, model=model, tools=[till.pay, ask_user], team=team)


@pytest.mark.parametrize(
    ("decision", "paid", "answer"),
    [
        ("approve", [(5, "Bo")], "So: paid 5 to Bo"),
        ("reject", [], "So: Not allowed by a person: no reason given"),
        ({"choice": "reject", "text": "Bo is a crook."}, [], "So: Not allowed by a person: Bo is a crook."),
        ({"choice": "edit", "arguments": {"amount": 4, "to": "Cy"}}, [(4, "Cy")], "So: paid 4 to Cy"),
        ({"choice": "answer", "text": "I paid him myself."}, [], "So: I paid him myself."),
    ],
)
async def test_each_decision(url: str, decision: Any, paid: list[tuple[int, str]], answer: str) -> None:
    """Nothing runs before it is decided; each step may be another process, and a row says who decided."""
    till = Till()
    async with opening(url, till, told(PAY)) as mars:
        first = await mars.run("Pay Bo.", conversation="bill")
        assert first.status is RunStatus.WAITING
        assert [(ask["tool"], ask["arguments"]) for ask in first.asks] == [PAY]
    async with opening(url, till, told(PAY)) as mars:
        waiting = await mars.resume("bill")
        assert waiting.status is RunStatus.WAITING
        assert till.paid == []
        await mars.decide("bill", {"by": "ann", **({"choice": decision} if isinstance(decision, str) else decision)})
    async with opening(url, till, told(PAY)) as mars:
        result = await mars.resume("bill")
        (row,) = await mars.asked("bill")
    assert (result.status, result.answer) == (RunStatus.COMPLETED, answer)
    assert till.paid == paid
    assert row.decision is not None
    assert row.decided_at is not None
    assert row.decision.by == "ann"
    assert row.asked_at <= row.decided_at


async def test_what_needs_nobody_runs_at_once(tmp_path: Path) -> None:
    """Without a policy, or for tools that only read, nobody is asked: this is what the tests above would miss."""
    till = Till()
    async with opening(f"sqlite:///{tmp_path / 'a.db'}", till, told(PAY), approval=None) as mars:
        assert (await mars.run("Pay Bo.")).status is RunStatus.COMPLETED
    assert till.paid == [(5, "Bo")]
    look = StructuredTool.from_function(lambda: "fine", name="look", description="Look.", metadata={"read_only": True})
    team = Team(approval=Approval(), without=ALONE)
    async with Mars.open("memory:", model=told(("look", {})), tools=[look], team=team) as mars:
        assert (await mars.run("Look.")).answer == "So: fine"
    assert Approval(tools=("look",)).needed("look", True)
    assert not Approval(tools=("look",)).needed("pay", False)


async def test_one_after_the_other(url: str) -> None:
    """A question and two payments of one reply are asked one at a time, and run together once all are decided."""
    till = Till()
    calls = (("ask_user", {"question": "How much?"}), PAY, ("pay", {"amount": 7, "to": "Cy"}))
    async with opening(url, till, told(*calls)) as mars:
        result = await mars.run("Pay them.", conversation="bill")
        for decision in ({"choice": "answer", "text": "five"}, "approve", "approve"):
            assert result.status is RunStatus.WAITING
            assert till.paid == []
            await mars.decide("bill", decision)
            result = await mars.resume("bill")
        rows = await mars.asked("bill")
    assert till.paid == [(5, "Bo"), (7, "Cy")]
    assert [(row.kind, row.tool) for row in rows] == [
        ("question", "ask_user"),
        ("approval", "pay"),
        ("approval", "pay"),
    ]
    assert result.status is RunStatus.COMPLETED


def test_the_tool_says_what_it_is_for() -> None:
    """The model reads an instruction, with the one argument."""
    assert ask_user.description.startswith("Ask the user one short question")
    assert list(ask_user.args) == ["question"]


async def test_the_same_id_is_another_action(url: str) -> None:
    """A model that gives two calls the same id does not get the second for the approval of the first."""
    till, rounds = Till(), iter([PAY, ("pay", {"amount": 900, "to": "Bo"}), None])

    def reply(messages: Any) -> Any:
        call = next(rounds)
        return "Done." if call is None else Step(tool_calls=(call,))

    async with opening(url, till, ScriptedModel(reply)) as mars:
        await mars.run("Pay Bo.", conversation="bill")
        await mars.decide("bill", "approve")
        second = await mars.resume("bill")
        assert second.status is RunStatus.WAITING
        assert second.asks[0]["arguments"]["amount"] == 900
        assert till.paid == [(5, "Bo")]


class OneId(GenericFakeChatModel):
    """A model that gives every call the same id, as some local ones do."""

    read: list[list[int]] = Field(default_factory=list)
    """The amounts of the payments in each prompt."""

    def bind_tools(self, tools: Any, **options: Any) -> Any:
        """Take no notice of the tools."""
        return self

    async def astream(self, input: Any, config: Any = None, **options: Any) -> Any:
        """Note what it reads, and reply whole."""
        self.read.append([call["args"]["amount"] for message in input for call in getattr(message, "tool_calls", [])])
        yield next(self.messages)


async def test_an_edit_changes_no_earlier_call(tmp_path: Path) -> None:
    """Where a model gives every call the same id, what the Assistant reads of those that ran stays as it was."""
    till = Till()

    def replies() -> Iterator[AIMessage]:
        for amount in (5, 900):
            yield AIMessage("", tool_calls=[{"name": "pay", "args": {"amount": amount, "to": "Bo"}, "id": "1"}])
        yield AIMessage("Done.")

    model = OneId(messages=replies())
    async with Mars.open(
        f"sqlite:///{tmp_path / 'a.db'}", model=model, tools=[till.pay], team=Team(approval=Approval(), without=ALONE)
    ) as mars:
        await mars.run("Pay Bo.", conversation="bill")
        await mars.decide("bill", "approve")
        assert (await mars.resume("bill")).status is RunStatus.WAITING
        await mars.decide("bill", {"choice": "edit", "arguments": {"amount": 9, "to": "Bo"}})
        await mars.resume("bill")
    assert till.paid == [(5, "Bo"), (9, "Bo")]
    assert model.read == [[], [5], [5, 9]]


async def test_what_was_asked_is_decided_whatever_the_policy_is_by_then(url: str) -> None:
    """A rejection holds where the policy was relaxed meanwhile; where nobody had been asked yet, the turn goes on."""
    till, calls = Till(), (PAY, ("pay", {"amount": 7, "to": "Cy"}))
    async with opening(url, till, told(*calls)) as mars:
        await mars.run("Pay them.", conversation="bill")
        await mars.decide("bill", "reject")
    async with opening(url, till, told(*calls), approval=None) as mars:
        assert (await mars.resume("bill")).status is RunStatus.COMPLETED
        assert len(await mars.asked("bill")) == 1
    assert till.paid == [(7, "Cy")]


async def test_an_approval_is_for_what_was_asked(url: str) -> None:
    """A policy that was changed while a turn rests does not give one action the approval of another."""
    till, calls = Till(), (PAY, ("ask_user", {"question": "Why?"}))
    policy = Approval(tools=("pay", "ask_user"))
    async with opening(url, till, told(*reversed(calls)), approval=policy) as mars:
        await mars.run("Pay Bo.", conversation="bill")
        await mars.decide("bill", {"choice": "answer", "text": "a debt"})
    both = StructuredTool.from_function(lambda question: "none", name="ask_user", description="Ask.")
    team = Team(approval=Approval(tools=("pay",)), without=ALONE)
    async with Mars.open(url, model=told(*calls), tools=[till.pay, both], team=team) as mars:
        assert (await mars.resume("bill")).status is RunStatus.WAITING
        rows = await mars.asked("bill")
    assert [(row.tool, row.decision is None) for row in rows] == [("ask_user", False), ("pay", True)]
    assert till.paid == []


@pytest.mark.parametrize("hosted", [False, True])
async def test_the_time_of_a_person_is_not_the_turns(tmp_path: Path, hosted: bool) -> None:
    """Time budgets count while a process works on a turn, not while it waits; also where that process goes on."""
    till, wait = Till(), 1.0
    url = "memory:" if hosted else f"sqlite:///{tmp_path / 'a.db'}"
    async with opening(url, till, told(PAY), budget=Budget(wall=wait)) as mars:
        graph = agent_graph(mars).compile(checkpointer=InMemorySaver())
        config: Any = {"configurable": {"thread_id": "1"}}
        if hosted:
            await graph.ainvoke({"messages": [("user", "Pay Bo.")]}, config)
        else:
            await mars.run("Pay Bo.", conversation="bill")
        await asyncio.sleep(wait + 0.1)
        if hosted:
            last = await graph.ainvoke(Command(resume="approve"), config)
            status = last["messages"][-1].response_metadata["mars"]["status"]
        else:
            await mars.decide("bill", "approve")
            status = (await mars.resume("bill")).status
    assert status == RunStatus.COMPLETED
    assert till.paid == [(5, "Bo")]


PROCESS = """
import asyncio, os, sys
from pathlib import Path
from mars import Mars, Team
from mars.persistence.approvals import Approval
from mars.testing import ScriptedModel, Step

till = Path(sys.argv[2])

def pay(amount: int, to: str) -> str:
    "Pay somebody."
    with till.open("a") as file:
        file.write(f"{amount} {to}\\n")
    return "paid"

def reply(messages):
    return "Paid." if messages[-1].type == "tool" else Step(tool_calls=(("pay", {"amount": 5, "to": "Bo"}),))

async def main():
    team = Team(approval=Approval(), without=frozenset({"checker", "reflection"}))
    async with Mars.open(sys.argv[1], model=ScriptedModel(reply), tools=[pay], team=team) as mars:
        if sys.argv[3] == "ask":
            result = await mars.run("Pay Bo.", conversation="bill")
            print(result.status.value, flush=True)
            os._exit(0)  # nothing is closed
        decided = await mars.decide("bill", {"choice": "edit", "arguments": {"amount": 4, "to": "Cy"}, "by": "ann"})
        print(decided.decision.by, (await mars.resume("bill")).answer, flush=True)
        os._exit(0)

asyncio.run(main())
"""
"""A program that asks and ends, or decides and goes on; in each process the model, the tools and the store are new."""


def test_a_question_outlives_its_process(url: str, tmp_path: Path) -> None:
    """It is asked in a process that ends without closing anything, decided and done in another, and read in a third."""
    till = tmp_path / "till.txt"
    said = [
        subprocess.run(
            [sys.executable, "-c", PROCESS, url, str(till), step],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        ).stdout
        for step in ("ask", "decide")
    ]
    assert said == ["waiting\n", "ann Paid.\n"]
    assert till.read_text() == "4 Cy\n"
    with Mars.open_sync(url) as mars:
        (row,) = mars.asked("bill")
        assert mars.result("bill").answer == "Paid."
    assert row.decision is not None
    assert (row.tool, row.arguments, row.decision.choice, row.decision.by) == ("pay", PAY[1], "edit", "ann")


async def test_two_decide_at_once(fresh_database: Callable[[], str]) -> None:
    """On PostgreSQL, too, the first decision stands: the second one waits for it, and is told."""
    url, till = fresh_database(), Till()
    async with opening(url, till, told(PAY)) as mars:
        await mars.run("Pay Bo.", conversation="bill")
        (asked,) = await mars.asked("bill")
        engine = create_engine(url, poolclass=NullPool)
        with engine.connect() as other, engine.connect() as watcher:
            first = json.dumps(Decision(choice="reject", by="bea").plain())
            other.execute(text("UPDATE mars_asks SET decision = :first"), {"first": first})
            second = asyncio.create_task(mars.decide("bill", {"choice": "approve", "by": "ann"}))
            blocked = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
            while not (second.done() or watcher.execute(blocked).scalar()):
                await asyncio.sleep(0.01)
            other.commit()
        with pytest.raises(InvalidInput, match="decided before: reject by bea"):
            await second
        (row,) = await mars.asked("bill")
    assert row.decision is not None
    assert (asked.decision, row.decision.by) == (None, "bea")


@pytest.mark.parametrize(("default", "paid"), [("reject", []), ("approve", [(5, "Bo")])])
async def test_an_expired_ask_gets_the_default(url: str, default: Any, paid: list[tuple[int, str]]) -> None:
    """It is asked in any case; where nobody decided in time, resuming decides, and the row says so."""
    till = Till()
    approval = Approval(expires=1e-6, default=default)
    async with opening(url, till, told(PAY), approval=approval) as mars:
        assert (await mars.run("Pay Bo.", conversation="bill")).status is RunStatus.WAITING
        assert (await mars.resume("bill")).status is RunStatus.COMPLETED
        (row,) = await mars.asked("bill")
    assert till.paid == paid
    assert row.decision == Decision(choice=default, by=NOBODY)


async def test_the_checker_goes_first(tmp_path: Path) -> None:
    """What the Checker rejects, no person is bothered with."""
    no = Step(
        structured={"approved": False, "score": 0.0, "issues": [{"kind": "policy", "evidence": "x", "directive": "y"}]}
    )
    till = Till()
    model = ScriptedModel([Step(tool_calls=(PAY,)), "Not done."])
    team = Team(
        approval=Approval(),
        checker=Checker(model=ScriptedModel(lambda _: no)),
        without=frozenset({"reflection"}),
        iterations=1,
    )
    async with Mars.open(f"sqlite:///{tmp_path / 'a.db'}", model=model, tools=[till.pay], team=team) as mars:
        await mars.run("Pay Bo.", conversation="bill")
        assert await mars.asked("bill") == []
    assert till.paid == []


async def test_the_first_decision_stands(url: str) -> None:
    """Nothing is decided twice, nothing that was not asked, and nothing that is no answer to what was asked."""
    till = Till()
    async with opening(url, till, told(("ask_user", {"question": "How much?"}))) as mars:
        with pytest.raises(NotFound):
            await mars.decide("bill", "approve")
        await mars.run("Pay Bo.", conversation="bill")
        with pytest.raises(InvalidInput, match="answer or reject"):
            await mars.decide("bill", "approve")
        await mars.decide("bill", {"choice": "answer", "text": "five"})
        with pytest.raises(NotFound, match="waits"):
            await mars.decide("bill", "reject")
        asked = (await mars.asked("bill"))[0]
        desk = mars.roster.usual.people.desk
        with pytest.raises(InvalidInput, match="decided before"):
            await desk.decide(asked, Decision(choice="reject"), asked.asked_at)
        with pytest.raises(InvalidInput, match="decided before"):
            await desk.decide(asked, Decision(choice="answer", text="six"), asked.asked_at)
        await desk.decide(asked, Decision(choice="answer", text="five", by="whoever says the same"), asked.asked_at)
        assert (await mars.resume("bill")).answer == "So: five"


@pytest.mark.parametrize("remember", [True, False])
async def test_what_a_user_answers_is_remembered(url: str, remember: bool) -> None:
    """As all that the user tells, by the team's policy: nobody is asked again; a bare word keeps its question."""
    team = Team(remember=remember)
    async with Mars.open(url, tools=[ask_user], team=team) as mars:
        assert (await mars.run("Where does my sister live?", user="ann", conversation="c")).status is RunStatus.WAITING
        await mars.decide("c", {"choice": "answer", "text": "My sister lives in Oslo."})
        await mars.resume("c")
        again = await mars.run("Where does my sister live?", user="ann", conversation="d")
        assert (again.status is RunStatus.COMPLETED) is remember
        assert again.answer == ("My sister lives in Oslo." if remember else "")
        await mars.run("What is the cat called?", user="ann", conversation="e")
        await mars.decide("e", {"choice": "answer", "text": "Miso"})
        await mars.resume("e")
        await mars.run("Who was Bo?", user="ann", conversation="f")
        await mars.decide("f", "reject")
        await mars.resume("f")
        texts = [one.text for one in await mars.memory.list(("ann",)) if one.speaker == "ann"]
    told = ["My sister lives in Oslo.", "What is the cat called?\nMiso"]
    assert [one for one in told if one in texts] == (told if remember else [])
    assert not any("Bo" in one for one in texts)


def judging(*approved: bool) -> ScriptedModel:
    """Return a judge that says these, in order."""
    issues = [{"kind": "unsupported", "evidence": "nothing says so", "directive": "Say what was told."}]
    said = [{"approved": yes, "score": float(yes), "issues": [] if yes else issues} for yes in approved]
    return ScriptedModel([Step(structured=one) for one in said])


async def test_each_draft_of_a_turn_has_what_was_answered(url: str) -> None:
    """A rejected draft takes the results of tools with it, but not what a person said; nobody is asked again."""
    till = Till()
    where: tuple[str, dict[str, Any]] = ("ask_user", {"question": "Where does she live?"})
    look = StructuredTool.from_function(lambda: "seen", name="look", description="Look.", metadata={"read_only": True})
    script = (Step(text="I ask.", tool_calls=(("look", {}), where, PAY)), "In Rome.", "In Bonn.", "In Oslo.")
    model, judge = ScriptedModel(script), judging(False, False, False, True)  # the payment, and two drafts
    team = Team(checker=Checker(model=judge), approval=Approval(), without=frozenset({"reflection"}))
    tools: list[Any] = [till.pay, look, ask_user]
    async with Mars.open(url, model=model, tools=tools, team=team) as mars:
        assert (await mars.run("Where is my sister?", conversation="c")).status is RunStatus.WAITING
        await mars.decide("c", {"choice": "answer", "text": "She lives in Oslo."})
    async with Mars.open(url, model=model, tools=tools, team=team) as mars:  # the rest is another process's
        result = await mars.resume("c")
        rows = await mars.asked("c")
        replay = await mars.replay("c", recorded=True)
    assert (result.status, result.answer, len(rows)) == (RunStatus.COMPLETED, "In Oslo.", 1)
    assert (replay.first_difference, till.paid) == (None, [])
    first, *later = model.calls[1:]
    assert ["seen" in first.prompt, "Rejected by the Checker" in first.prompt] == [True, True]
    for call in later:
        said, answered = call.messages[2:]
        assert isinstance(said, AIMessage)
        assert isinstance(answered, ToolMessage)
        assert (said.text, [(one["name"], one["args"]) for one in said.tool_calls]) == ("I ask.", [where])
        assert (answered.content, answered.tool_call_id) == ("She lives in Oslo.", said.tool_calls[0]["id"])
    told = [call.prompt.partition("<tool_results>")[2] for call in judge.calls[1:]]
    assert ["She lives in Oslo." in one for one in told] == [True, True, True]
    assert ["seen" in one for one in told] == [True, False, False]


def test_what_is_kept_of_a_reply_holds_no_other_call() -> None:
    """Some providers hold a call also in the words of a message; one without its result would be refused."""
    calls = [tool_call(name=name, args={}, id=name) for name in ("ask_user", "look")]
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "s"}
    blocks: list[Any] = [{"type": "tool_use", "id": call["id"], "name": call["name"], "input": {}} for call in calls]
    bad = invalid_tool_call(name="pay", args="{", id="pay", error=None)
    reply = AIMessage([thought, *blocks], tool_calls=calls, invalid_tool_calls=[bad])
    answer = ToolMessage("Oslo", tool_call_id="ask_user", artifact=BY_PERSON)
    others = [ToolMessage("seen", tool_call_id="look"), ToolMessage("Not run", tool_call_id="pay", status="error")]
    nothing = AIMessage("", tool_calls=calls[1:])
    scratch = [message_to_dict(one) for one in (nothing, others[0], reply, *others, answer)]
    said, answered = messages_from_dict(said_by_people(scratch))
    assert isinstance(said, AIMessage)
    assert (said.content, [call["id"] for call in said.tool_calls]) == ([thought, blocks[0]], ["ask_user"])
    assert (said.invalid_tool_calls, answered.content) == ([], "Oslo")
    assert said_by_people([message_to_dict(one) for one in (said, answered)]) == [
        message_to_dict(said),
        message_to_dict(answered),
    ]


async def test_the_reader_reads_an_answer_in_its_second_draft(tmp_path: Path) -> None:
    """With no model at all: it asks once, and says again what it was told, as the user's word."""
    team = Team(checker=Checker(model=judging(False, True)))
    async with Mars.open(f"sqlite:///{tmp_path / 'a.db'}", tools=[ask_user], team=team) as mars:
        await mars.run("Where does my sister live?", user="ann", conversation="c")
        await mars.decide("c", {"choice": "answer", "text": "My sister lives in Oslo."})
        result = await mars.resume("c")
        rows = await mars.asked("c")
    assert (result.status, result.answer, len(rows)) == (RunStatus.COMPLETED, "My sister lives in Oslo.", 1)
    assert [attempt.verdict.approved for attempt in result.attempts] == [False, True]


@pytest.mark.parametrize(
    "decision", [{"choice": "reject", "text": "Bo is a crook."}, {"choice": "answer", "text": "Ann paid in May."}]
)
async def test_each_draft_has_what_was_said_instead_of_running(url: str, decision: Any) -> None:
    """The reason of a rejection, and an answer in the place of a result, are before each later draft too."""
    till, model = Till(), ScriptedModel([Step(tool_calls=(PAY,)), "Bo is paid.", "Bo is not paid."])
    team = Team(
        checker=Checker(model=judging(True, False, True)), approval=Approval(), without=frozenset({"reflection"})
    )
    async with Mars.open(url, model=model, tools=[till.pay], team=team) as mars:
        await mars.run("Pay Bo.", conversation="c")
        await mars.decide("c", decision)
        await mars.resume("c")
        assert (len(await mars.asked("c")), till.paid) == (1, [])
    assert [decision["text"] in call.prompt for call in model.calls] == [False, True, True]


async def test_events_tell_of_both(tmp_path: Path) -> None:
    """Who watches the stream sees what is asked and what was decided."""
    till = Till()
    async with opening(f"sqlite:///{tmp_path / 'a.db'}", till, told(PAY), approval=Approval(expires=1e-6)) as mars:
        first = [event async for event in mars.stream("Pay Bo.", conversation="bill", heard=EVERYTHING)]
        (asked,) = [event for event in first if event.kind is EventKind.INTERRUPT]
        assert (asked.role, asked.text) == ("person", "may pay run?")
        assert asked.data["asked"]["arguments"] == PAY[1]


async def test_in_a_hosts_graph() -> None:
    """LangGraph's interrupt asks, and `Command(resume=…)` decides; a decision that is none leaves the question open."""
    till = Till()
    async with opening("memory:", till, told(("ask_user", {"question": "Who?"}), PAY)) as mars:
        graph = agent_graph(mars).compile(checkpointer=InMemorySaver())
        config: Any = {"configurable": {"thread_id": "1"}}
        first = await graph.ainvoke({"messages": [("user", "Pay Bo.")]}, config)
        assert first["__interrupt__"][0].value["arguments"] == {"question": "Who?"}
        second = await graph.ainvoke(Command(resume={"choice": "answer", "text": "Bo"}), config)
        assert second["__interrupt__"][0].value["tool"] == "pay"
        again = await graph.ainvoke(Command(resume="as you like"), config)
        assert "decide by" in again["__interrupt__"][0].value["problem"]
        assert till.paid == []
        third = await graph.ainvoke(Command(resume="approve"), config)
        assert third["messages"][-1].text == "So: paid 5 to Bo"
    assert till.paid == [(5, "Bo")]


async def test_a_host_resumes_without_the_context() -> None:
    """LangGraph keeps no context; a host that resumes without it goes on with the same turn, and hears its words."""
    till = Till()
    async with opening("memory:", till, told(PAY)) as mars:
        graph = agent_graph(mars).compile(checkpointer=InMemorySaver())
        config: Any = {"configurable": {"thread_id": "1"}}
        await graph.ainvoke({"messages": [("user", "Pay Bo.")]}, config, context=Asker(user="ann"))
        heard = [part async for part in graph.astream(Command(resume="approve"), config, stream_mode="custom")]
    assert till.paid == [(5, "Bo")]
    assert "".join(part["text"] for part in heard if part["kind"] == "token") == "So: paid 5 to Bo"


async def test_a_host_is_asked_again() -> None:
    """What was approved is not approved in another host's thread of the same name, nor after going back in time."""
    till, amounts = Till(), [5, 900, 5]

    def reply(messages: Any) -> Any:
        return (
            "Done." if messages[-1].type == "tool" else Step(tool_calls=(("pay", {"amount": amounts[0], "to": "Bo"}),))
        )

    async with opening("memory:", till, ScriptedModel(reply)) as mars:
        config: Any = {"configurable": {"thread_id": "1"}}
        for choice in ("approve", "reject", "reject"):
            graph = agent_graph(mars).compile(checkpointer=InMemorySaver())
            first = await graph.ainvoke({"messages": [HumanMessage("Pay Bo.", id="m")]}, config)
            assert first["__interrupt__"][0].value["arguments"]["amount"] == amounts.pop(0)
            amounts.append(0)
            last = await graph.ainvoke(Command(resume=choice), config)
            assert last["messages"][-1].text == "Done."
        rows = await mars.roster.usual.people.desk.of(("user",), "1")
    assert till.paid == [(5, "Bo")]
    assert [row.decision.choice for row in rows if row.decision] == ["approve", "reject", "reject"]


def test_the_policy_is_data() -> None:
    """A team's file says who needs approval; it reads back as it was."""
    team = Team(approval=Approval(tools=("pay",), expires=60.0, default="approve"))
    assert Team.from_plain(team.plain()) == team
    assert Team.from_plain({"approval": {}}).approval == Approval()
    with pytest.raises(InvalidSetting, match="tools, expires, default"):
        Team.from_plain({"approval": {"tool": "pay"}})
    with pytest.raises(InvalidSetting, match="expires"):
        Approval(expires=0)
    with pytest.raises(InvalidSetting, match="default"):
        Approval(default="edit")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "value",
    [
        None,
        "perhaps",
        {},
        {"choice": "maybe"},
        {"choice": "edit"},
        {"choice": "approve", "arguments": {}},
        {"choice": "edit", "arguments": [1]},
        {"choice": "edit", "arguments": {"amount": object()}},
        {"choice": "edit", "arguments": {1: 2}},
        {"choice": "answer"},
        {"choice": "reject", "text": 1},
        {"choice": "approve", "who": "ann"},
    ],
)
def test_bad_decisions(value: object) -> None:
    """What is no decision is refused with what one looks like, before anything is written."""
    with pytest.raises(InvalidInput):
        Decision.of(value)


def test_what_is_asked_is_plain() -> None:
    """A row is shown as JSON values."""
    from datetime import UTC, datetime

    at = datetime(2026, 1, 1, tzinfo=UTC)
    asked = Asked(
        namespace=("ann",),
        conversation="c",
        turn="t",
        number=1,
        kind="approval",
        tool="pay",
        asked_at=at,
        expires_at=at,
    )
    assert asked.plain()["choices"] == ["approve", "edit", "reject", "answer"]
    assert asked.plain()["expires_at"] == at.isoformat()
