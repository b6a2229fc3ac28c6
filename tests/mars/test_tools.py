"""Actions: reviewed before they run, and harmless when they fail."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatResult
from langchain_core.tools import StructuredTool, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphBubbleUp
from langgraph.graph import StateGraph
from langgraph.types import interrupt

from mars import Assistant, Check, Checker, Issue, Mars, Review, RunStatus, Team, Verifier
from mars.agents.interfaces import Action
from mars.agents.verdicts import IssueKind
from mars.agents.verifiers import CallableVerifier
from mars.errors import InvalidSetting, ModelUnavailable
from mars.events import EVERYTHING, EventKind
from mars.retrying import CallPolicy
from mars.testing import InMemoryBackend, ScriptedModel, Step
from mars.tools import MAX_OUTPUT, READ_ONLY, Toolbox, read_calls

pytestmark = pytest.mark.anyio


class Desk:
    """A desk with a drawer, so that a test sees what really happened to it."""

    def __init__(self) -> None:
        self.put: list[str] = []

    def tool(self) -> Any:
        """Return the tool that puts things into the drawer."""

        @tool
        def put(thing: str) -> str:
            """Put a thing into the drawer."""
            if thing == "bomb":
                raise RuntimeError("it went off")
            self.put.append(thing)
            return f"{thing} is in the drawer"

        return put


def calling(*things: str) -> Step:
    """Return a reply that calls the tool for each thing."""
    return Step(tool_calls=tuple(("put", {"thing": thing}) for thing in things))


YES = CallableVerifier(lambda _: True, decisive=True)


def approving(model: BaseChatModel, *action_verifiers: Verifier) -> Team:
    """Return a team whose Checker approves every draft, and looks at actions with these."""
    checker = Checker(verifiers=(YES,), action_verifiers=action_verifiers, evidence_rules=False)
    return Team(assistant=Assistant(model=model), checker=checker)


async def test_an_approved_action_runs_and_its_result_is_read() -> None:
    """The tool's words are in the Assistant's next prompt."""
    desk = Desk()
    model = ScriptedModel([calling("pen"), Step(text="Done.", expect="pen is in the drawer")])
    async with Mars.open(InMemoryBackend(), tools=[desk.tool()], team=approving(model)) as mars:
        result = await mars.run("Put the pen away", user="ann")
    assert desk.put == ["pen"]
    assert result.answer == "Done."


async def test_a_rejected_action_never_reaches_its_environment() -> None:
    """A veto comes before the side effect, and its reason goes back to the Assistant."""

    def only_pens(review: Review) -> Check:
        if review.action and review.action.arguments["thing"] == "pen":
            return Check.passed("only_pens", decisive=True)
        issue = Issue(kind=IssueKind.UNSAFE_ACTION, evidence="not a pen", directive="Put pens only.")
        return Check.failed("only_pens", issue)

    desk = Desk()
    model = ScriptedModel([calling("cake"), calling("pen"), "Done."])
    options = approving(model, CallableVerifier(only_pens))
    async with Mars.open(InMemoryBackend(), tools=[desk.tool()], team=options) as mars:
        await mars.run("Tidy up", user="ann")
    assert desk.put == ["pen"]
    assert "Rejected by the Checker: not a pen" in model.calls[1].prompt


async def test_three_rejected_actions_in_a_row_end_the_turn() -> None:
    """An Assistant that insists is stopped."""
    desk = Desk()
    wrong = Step(tool_calls=(("put", {"thing": 7}),))
    model = ScriptedModel([wrong, wrong, wrong])
    async with Mars.open(InMemoryBackend(), tools=[desk.tool()], team=approving(model)) as mars:
        result = await mars.run("Tidy up", user="ann")
    assert result.status is RunStatus.INVALID_ACTION
    assert desk.put == []


async def test_a_tool_that_raises_harms_nothing() -> None:
    """The error's words go to the Assistant, verbatim."""
    model = ScriptedModel([calling("bomb"), Step(text="It failed.", expect="RuntimeError: it went off")])
    async with Mars.open(InMemoryBackend(), tools=[Desk().tool()], team=approving(model)) as mars:
        result = await mars.run("Put the bomb away", user="ann")
    assert result.answer == "It failed."


async def test_actions_are_bounded() -> None:
    """An Assistant that only ever calls tools is cut off, and the turn ends."""
    desk = Desk()
    model = ScriptedModel(lambda _: calling("pen"))
    async with Mars.open(InMemoryBackend(), tools=[desk.tool()], team=approving(model)) as mars:
        await mars.run("Put pens away", user="ann")
    assert len(desk.put) == 15


async def test_one_reply_cannot_exceed_the_bound() -> None:
    """Of twenty calls at once fifteen run, and the Assistant is told of the others."""
    desk = Desk()
    model = ScriptedModel([calling(*map(str, range(20))), Step(text="Done.", expect="Not run: at most 15 actions")])
    async with Mars.open(InMemoryBackend(), tools=[desk.tool()], team=approving(model)) as mars:
        await mars.run("Put pens away", user="ann")
    assert desk.put == [str(number) for number in range(15)]


@pytest.mark.parametrize("text", ['{"thing": "bo', "[1]", "put it there", "[" * 10_000])
async def test_a_call_that_cannot_be_read_is_an_error_that_the_model_sees(text: str) -> None:
    """Half a JSON object is not completed to a whole one and run; the model is told, and may mend it."""
    desk = Desk()
    model = ScriptedModel(
        [Step(raw_calls=(("put", text),)), calling("pen"), Step(text="Done.", expect="pen is in the drawer")]
    )
    async with Mars.open(InMemoryBackend(), tools=[desk.tool()], team=approving(model)) as mars:
        events = [event async for event in mars.stream("Put the book away", user="ann", heard=EVERYTHING)]
    told = model.calls[1].messages[-1]
    assert isinstance(told, ToolMessage)
    assert told.status == "error"
    assert "no JSON object" in str(told.content)
    assert text[:20] in str(told.content)
    called = model.calls[1].messages[-2]
    assert isinstance(called, AIMessage)
    assert [call["id"] for call in called.invalid_tool_calls] == [told.tool_call_id]
    assert [event.data["failed"] for event in events if event.kind is EventKind.TOOL] == [True, False]
    assert desk.put == ["pen"]


@pytest.mark.parametrize("name", ["put\ud800", "put\0"])
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_a_name_that_no_database_stores_ends_no_turn(
    name: str, kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """A model that makes up the name of a tool is told that there is none, whatever characters it has."""
    url = f"sqlite:///{tmp_path / 'life.db'}" if kind == "sqlite" else request.getfixturevalue("fresh_database")()
    model = ScriptedModel([Step(tool_calls=((name, {}),)), Step(text="Done.", expect="there is no tool")])
    team = Team(assistant=Assistant(model=model), without=frozenset({"checker", "reflection"}))
    async with Mars.open(url, tools=[Desk().tool()], team=team) as mars:
        assert (await mars.run("Put the book away", user="ann")).status is RunStatus.COMPLETED


@pytest.mark.parametrize("fails", [False, True])
async def test_a_result_that_no_database_stores_ends_no_turn(fails: bool) -> None:
    """It is told without what cannot be stored, and so is the lesson that is drawn of it."""
    odd = "the page\0 ends\ud800 here"

    def fetch() -> str:
        if fails:
            raise ValueError(odd)
        return odd

    yes = Step(structured={"approved": True, "score": 0.9})
    issue = {"kind": "unsupported", "evidence": "nothing", "directive": "Look again.", "records": [], "blame": []}
    no = Step(structured={"approved": False, "score": 0.1, "issues": [issue]})
    model = ScriptedModel(
        [Step(tool_calls=(("fetch", {}),)), Step(text="Nothing.", expect="the page\ufffd ends"), Step(text="The page.")]
    )
    team = Team(assistant=Assistant(model=model), checker=Checker(model=ScriptedModel([yes, no, yes])))
    async with Mars.open(InMemoryBackend(), tools=[fetch], team=team) as mars:
        assert (await mars.run("Fetch the page", user="ann")).answer == "The page."


async def test_calls_without_an_id_get_one_each() -> None:
    """Two calls that a model names alike, or not at all, keep their own results; none is called "None"."""
    desk = Desk()
    nameless = Step(raw_calls=(("put", '{"thing": "pen"}'), ("put", '{"thing": "cup"}')))
    model = ScriptedModel([nameless, Step(text="Done.", expect="cup is in the drawer")])
    async with Mars.open(InMemoryBackend(), tools=[desk.tool()], team=approving(model)) as mars:
        await mars.run("Put them away", user="ann")
    replies = [message for message in model.calls[1].messages if isinstance(message, ToolMessage)]
    assert desk.put == ["pen", "cup"]
    assert len({message.tool_call_id for message in replies} | {"None"}) == 3


def test_ids_are_unique_within_a_reply() -> None:
    """A provider that gives one id to two calls, one of them unreadable, does not mix up their results."""
    reply = AIMessage(
        content="",
        tool_calls=[{"name": "put", "args": {}, "id": "1"}, {"name": "put", "args": {"thing": "pen"}, "id": "1"}],
        invalid_tool_calls=[{"name": None, "args": None, "id": "1", "error": "e", "type": "invalid_tool_call"}],
    )
    calls = read_calls(reply, "turn")
    ids = [action["id"] for action in calls.proposed] + [message.tool_call_id for message in calls.unreadable]
    assert ids == ["1", "turn-1", "turn-2"]
    assert [call["id"] for call in calls.reply.tool_calls] == ids[:2]


async def test_three_unreadable_calls_in_a_row_end_the_turn() -> None:
    """A model that cannot write a call is stopped like one whose calls are rejected."""
    model = ScriptedModel([Step(raw_calls=(("put", "?"),))] * 3)
    async with Mars.open(InMemoryBackend(), tools=[Desk().tool()], team=approving(model)) as mars:
        result = await mars.run("Tidy up", user="ann")
    assert result.status is RunStatus.INVALID_ACTION
    model.assert_finished()


async def test_a_model_that_cannot_stream_calls_tools() -> None:
    """A chat model without streaming gives its message as the only chunk; its calls are read all the same."""
    desk = Desk()
    scripted = ScriptedModel([calling("pen"), "Done."])

    class Whole(BaseChatModel):
        """Answers as the script does, in one piece."""

        @property
        def _llm_type(self) -> str:
            return "whole"

        def _generate(self, messages: list[BaseMessage], *rest: Any, **kwargs: Any) -> ChatResult:
            return scripted._generate(messages)

        def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
            return self

    async with Mars.open(InMemoryBackend(), tools=[desk.tool()], team=approving(Whole())) as mars:
        result = await mars.run("Tidy up.")
    assert (result.answer, desk.put) == ("Done.", ["pen"])


async def test_a_failure_is_no_evidence() -> None:
    """The words of an error support no answer, and go into the lesson as they are."""
    model = ScriptedModel([calling("bomb"), "RuntimeError: it went off", "Not known."])
    team = Team(assistant=Assistant(model=model))
    async with Mars.open(InMemoryBackend(), tools=[Desk().tool()], team=team) as mars:
        result = await mars.run("What is in the drawer?", user="ann")
    assert not result.attempts[0].verdict.approved
    assert "RuntimeError: it went off" in result.reflections[0].text


async def test_a_judge_of_actions_that_is_down_ends_the_turn() -> None:
    """Nothing runs that could not be reviewed."""
    desk = Desk()
    down = ScriptedModel([Step(error=PermissionError("no key"))])
    team = Team(assistant=Assistant(model=ScriptedModel([calling("pen")])), checker=Checker(model=down))
    async with Mars.open(InMemoryBackend(), tools=[desk.tool()], team=team) as mars:
        result = await mars.run("Put the pen away", user="ann")
    assert (result.status, desk.put) == (RunStatus.TASK_ERROR, [])


async def test_a_tool_that_changes_nothing_needs_no_review() -> None:
    """A read-only tool runs without the Checker."""
    looked: list[str] = []

    def look(where: str) -> str:
        """Look somewhere."""
        looked.append(where)
        return "nothing"

    seen: list[Review] = []

    def watch(review: Review) -> None:
        seen.append(review)

    box = Toolbox.of([look])
    box.tools["look"].metadata = {READ_ONLY: True}
    model = ScriptedModel([Step(tool_calls=(("look", {"where": "here"}),)), "Nothing."])
    tools = list(box.tools.values())
    options = approving(model, CallableVerifier(watch))
    async with Mars.open(InMemoryBackend(), tools=tools, team=options) as mars:
        await mars.run("Look", user="ann")
    assert looked == ["here"]
    assert seen == []


async def test_long_output_is_cut_and_says_so() -> None:
    """A megabyte from a tool does not fill the prompt."""

    def shout() -> str:
        """Shout."""
        return "a" * 1_000_000

    model = ScriptedModel([Step(tool_calls=(("shout", {}),)), Step(text="ok", expect="cut: 1,000,000 characters")])
    async with Mars.open(InMemoryBackend(), tools=[shout], team=approving(model)) as mars:
        await mars.run("Shout", user="ann")
    assert len(model.calls[1].prompt) < MAX_OUTPUT + 5_000


async def test_a_model_without_tools_is_refused_clearly() -> None:
    """The remedy is named before the model is asked anything."""
    with pytest.raises(ModelUnavailable, match="cannot call tools"):
        async with Mars.open(InMemoryBackend(), model=ScriptedModel([], tools=False), tools=[Desk().tool()]):
            pass


def test_two_tools_of_one_name_are_refused() -> None:
    """Names decide which tool runs, so they must differ."""
    with pytest.raises(InvalidSetting, match="put"):
        Toolbox.of([Desk().tool(), Desk().tool()])


async def test_the_same_action_with_the_same_error_ends_the_turn() -> None:
    """An Assistant that tries what just failed, and fails alike, makes no progress; another try is let be."""
    desk = Desk()
    model = ScriptedModel([calling("bomb"), calling("bomb")])
    async with Mars.open(InMemoryBackend(), tools=[desk.tool()], team=approving(model)) as mars:
        result = await mars.run("Put it away", user="ann")
    assert (result.status, len(model.calls)) == (RunStatus.NO_PROGRESS, 2)
    other = ScriptedModel([calling("bomb"), calling("pen"), "Done."])
    async with Mars.open(InMemoryBackend(), tools=[desk.tool()], team=approving(other)) as mars:
        assert (await mars.run("Put it away", user="ann")).status is RunStatus.COMPLETED


# What a tool may do, and what comes of it


def asked(tool: str, **arguments: Any) -> Step:
    """Return a reply that calls a tool."""
    return Step(tool_calls=((tool, arguments),))


def plain(function: Any, **metadata: bool) -> StructuredTool:
    """Return a tool of a function, with what it says of itself."""
    make = {"coroutine": function} if asyncio.iscoroutinefunction(function) else {"func": function}
    return StructuredTool.from_function(**make, metadata=metadata)


class Odd:
    """An object that cannot be written down."""

    def __repr__(self) -> str:
        raise ValueError("unspeakable")


async def test_whatever_a_tool_raises_is_told_verbatim() -> None:
    """An exit, a cancellation of its own, a value that cannot be shown, a megabyte of words: the turn goes on."""

    async def cancels() -> None:
        """Cancel itself."""
        raise asyncio.CancelledError

    def leaves() -> None:
        """Leave."""
        raise SystemExit(3)

    def odd() -> Odd:
        """Return what cannot be written down."""
        return Odd()

    def stops() -> None:
        """Raise what a coroutine may not."""
        raise StopIteration("done")

    def shouts() -> None:
        """Raise a megabyte."""
        raise RuntimeError("b" * 1_000_000)

    tools = [cancels, leaves, odd, stops, shouts]
    names = [tool.__name__ for tool in tools]
    model = ScriptedModel([*map(asked, names), "Done."])
    async with Mars.open(InMemoryBackend(), tools=tools, team=approving(model)) as mars:
        events = [event async for event in mars.stream("Try them all", user="ann", heard=EVERYTHING)]
    told = [event.text for event in events if event.kind is EventKind.TOOL]
    assert told[:3] == [
        "RuntimeError: the tool cancelled itself",
        "SystemExit: 3",
        "ValueError: unspeakable",
    ]
    assert "done" in told[3]
    assert told[4].startswith("RuntimeError: bbb")
    assert told[4].endswith("cut: 1,000,014 characters in all")
    assert events[-1].result is not None
    assert events[-1].result.answer == "Done."


class Mute(Exception):
    """An error that cannot be written down."""

    def __str__(self) -> str:
        raise ValueError("unspeakable")


async def test_what_would_end_a_process_is_told_too() -> None:
    """A tool's thread cannot end the loop, nor can an error that has no words; of a group each error is told."""

    def mute() -> None:
        raise Mute

    def cancels() -> None:
        raise asyncio.CancelledError("mine")

    def interrupts() -> None:
        raise KeyboardInterrupt("mine")

    def closes() -> None:
        raise GeneratorExit

    def groups() -> None:
        raise BaseExceptionGroup("many", [KeyboardInterrupt("one"), ValueError("two")])

    async def fails() -> None:
        raise ExceptionGroup("unhandled errors in a TaskGroup", [ConnectionError("port 9 is closed")])

    tools = [mute, cancels, interrupts, closes, groups, fails]
    model = ScriptedModel([*(asked(tool.__name__) for tool in tools), "Done."])
    async with Mars.open(InMemoryBackend(), tools=tools, team=approving(model)) as mars:
        events = [event async for event in mars.stream("Try them all", user="ann", heard=EVERYTHING)]
    told = [event.text for event in events if event.kind is EventKind.TOOL]
    assert told == [
        "Mute",
        "RuntimeError: CancelledError: mine",
        "RuntimeError: KeyboardInterrupt: mine",
        "RuntimeError: GeneratorExit: ",
        "RuntimeError: BaseExceptionGroup: many (2 sub-exceptions); KeyboardInterrupt: one; ValueError: two",
        "ExceptionGroup: unhandled errors in a TaskGroup (1 sub-exception); ConnectionError: port 9 is closed",
    ]
    assert events[-1].result is not None
    assert events[-1].result.answer == "Done."


def test_a_function_needs_no_docstring_but_a_name() -> None:
    """Its signature says what it is for; what has no name is refused with what to give instead."""

    def add(a: int, b: int = 1) -> int:
        return a + b

    async def later(day: str) -> str:
        return day

    tools = Toolbox.of([add, later]).tools
    assert tools["add"].description == "add(a: 'int', b: 'int' = 1) -> 'int'"
    assert tools["later"].description == "later(day: 'str') -> 'str'"
    with pytest.raises(InvalidSetting, match="a function with a name"):
        Toolbox.of([partial(add, 1)])


@pytest.mark.parametrize("status", ["success", "error"])
async def test_a_tool_may_return_its_message(status: Any) -> None:
    """LangChain's tools may: its words and whether it failed are told, and not how Python writes the object."""

    def message() -> ToolMessage:
        return ToolMessage("all gone", tool_call_id="its own", status=status)

    told = await Toolbox.of([message]).run(Action(id="a", tool="message", arguments={}))
    assert (told.content, told.status, told.tool_call_id) == ("all gone", status, "a")


async def test_a_megabyte_of_error_is_a_lesson_that_can_be_kept() -> None:
    """What a tool shouts goes into the reflection as the Assistant read it, and that is written."""

    def shouts() -> None:
        """Raise a megabyte."""
        raise RuntimeError("b" * 1_000_000)

    model = ScriptedModel([asked("shouts"), "It is in the drawer.", "Not known."])
    async with Mars.open(InMemoryBackend(), tools=[shouts], team=Team(assistant=Assistant(model=model))) as mars:
        events = [event async for event in mars.stream("Where is it?", user="ann", heard=EVERYTHING)]
    result = events[-1].result
    assert result is not None
    (written,) = (event for event in events if event.kind is EventKind.MEMORY_WRITE)
    assert written.data["lessons"] == 1
    assert result.status is RunStatus.COMPLETED
    assert "RuntimeError: bbb" in result.reflections[0].text
    assert len(result.reflections[0].text) < MAX_OUTPUT + 1_000


async def test_collections_are_told_as_json() -> None:
    """A model reads JSON; a collection that is none is told as it is written."""

    def found() -> dict[str, Any]:
        """Find."""
        return {"name": "Zoë", "at": datetime(2026, 1, 1, tzinfo=UTC), "of": [1, None]}

    def sets() -> tuple[Any, ...]:
        """Find."""
        return ({(1, 2): "pair"},)

    def none() -> None:
        """Find nothing."""

    box = Toolbox.of([found, sets, none])
    told = [(await box.run(Action(id="1", tool=name, arguments={}))).content for name in box.tools]
    assert told == [
        '{"name": "Zoë", "at": "2026-01-01 00:00:00+00:00", "of": [1, null]}',
        "({(1, 2): 'pair'},)",
        "None",
    ]


async def test_a_function_that_hangs_is_left_behind() -> None:
    """Its turn goes on in time, and neither the event loop nor anybody else waits for it."""
    release = threading.Event()

    def hang() -> str:
        """Wait for ever."""
        release.wait()
        return "late"

    told = Step(text="Done.", expect="TimeoutError: no result within 0.1 s; it may have had its effect")
    model = ScriptedModel([asked("hang"), told])
    policy = CallPolicy(tool_timeout=0.1)
    try:
        with anyio.fail_after(30):
            async with Mars.open(InMemoryBackend(), tools=[hang], team=approving(model), policy=policy) as mars:
                result = await mars.run("Hang", user="ann")
        assert result.answer == "Done."
    finally:
        release.set()


HANGING = """
import sys, threading
from mars import Mars, Team, Assistant
from mars.retrying import CallPolicy
from mars.testing import InMemoryBackend, ScriptedModel, Step

def hang() -> str:
    "Wait for ever."
    threading.Event().wait()

model = ScriptedModel([Step(tool_calls=(("hang", {}),)), "Done."])
team = Team(assistant=Assistant(model=model), without=frozenset({"checker"}))
with Mars.open_sync(InMemoryBackend(), tools=[hang], team=team, policy=CallPolicy(tool_timeout=0.1)) as mars:
    print(mars.run("Hang", user="ann").answer)
"""


def test_a_function_that_hangs_does_not_keep_the_process() -> None:
    """The program ends although a tool of it never does."""
    done = subprocess.run([sys.executable, "-c", HANGING], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "Done."), done.stderr


async def test_so_many_tools_run_at_once() -> None:
    """Two of five turns at a time are within their tools, plain or asynchronous; the others wait and then run."""
    running, most = 0, 0
    both = threading.Barrier(2, timeout=30)

    def enter(by: int) -> None:
        nonlocal running, most
        running += by
        most = max(most, running)

    def blocks() -> str:
        """Work."""
        enter(1)
        with suppress(threading.BrokenBarrierError):
            both.wait(0.2)
        enter(-1)
        return "done"

    async def waits() -> str:
        """Work."""
        enter(1)
        await anyio.sleep(0.02)
        enter(-1)
        return "done"

    async def one(mars: Mars) -> None:
        await mars.run("Work", user="ann")

    for work in (blocks, waits):
        running, most = 0, 0

        def replied(messages: Sequence[BaseMessage], name: str = work.__name__) -> Step | str:
            return "Done." if messages[-1].type == "tool" else asked(name)

        model = ScriptedModel(replied)
        policy = CallPolicy(tools_at_once=2)
        people = Team(assistant=Assistant(model=model), without=frozenset({"checker", "memory"}))
        async with Mars.open(InMemoryBackend(), tools=[work], team=people, policy=policy) as mars:
            async with anyio.create_task_group() as group:
                for _ in range(5):
                    group.start_soon(one, mars)
            spent = await mars.calls.usage_of_user("ann")
        assert (most, running, spent.tool_calls) == (2, 0, 5)


async def test_tools_that_hang_do_not_use_up_the_machine() -> None:
    """With every place taken by a function that hangs, the next one is told that it was not run, in time."""
    release = threading.Event()
    begun: list[int] = []

    def hang(number: int) -> str:
        """Wait for ever."""
        begun.append(number)
        release.wait()
        return "late"

    box = Toolbox.of([hang], at_once=2)
    try:
        with anyio.fail_after(30):
            told = [
                (await box.run(Action(id="1", tool="hang", arguments={"number": number}), limit=0.1)).content
                for number in range(3)
            ]
            assert begun == [0, 1]
            assert [("may have had its effect" in str(text)) for text in told] == [True, True, False]
            assert "it was not run" in str(told[2])
            release.set()
            reply = await box.run(Action(id="1", tool="hang", arguments={"number": 9}), limit=20)
        assert reply.content == "late"  # places come back when those that hung have ended
    finally:
        release.set()


@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "asynchronous"])
async def test_a_tool_that_may_be_run_again_is(is_async: bool) -> None:
    """One that only reads is tried again by the policy when its connection fails; each attempt is counted."""
    tries: list[str] = []

    def look(where: str) -> str:
        """Look somewhere."""
        tries.append(where)
        if len(tries) < 3:
            raise ConnectionError("refused")
        return "a pen"

    async def alook(where: str) -> str:
        """Look somewhere."""
        return look(where)

    tool = plain(alook if is_async else look, read_only=True)
    model = ScriptedModel([asked(tool.name, where="drawer"), Step(text="A pen.", expect="a pen")])
    policy = CallPolicy(first_wait=0.0)
    async with Mars.open(InMemoryBackend(), tools=[tool], team=approving(model), policy=policy) as mars:
        result = await mars.run("Look", user="ann")
    assert tries == ["drawer"] * 3
    assert (result.usage.tool_calls, result.usage.retries, result.usage.failures) == (3, 2, 0)


async def test_a_tool_that_stays_down_is_told_in_its_own_words() -> None:
    """After the policy's attempts; one whose effect may have happened, or whose error is no passing one, has one."""

    def refused() -> str:
        """Fail."""
        tries.append("refused")
        raise ConnectionError("refused")

    def wrong() -> str:
        """Fail."""
        tries.append("wrong")
        raise KeyError("wrong")

    for function, metadata, times in ((refused, True, 3), (refused, False, 1), (wrong, True, 1)):
        tries: list[str] = []
        tool = plain(function, read_only=metadata)
        model = ScriptedModel([asked(tool.name), "It failed."])
        policy = CallPolicy(first_wait=0.0)
        async with Mars.open(InMemoryBackend(), tools=[tool], team=approving(model), policy=policy) as mars:
            events = [event async for event in mars.stream("Try", user="ann", heard=EVERYTHING)]
        (told,) = (event for event in events if event.kind is EventKind.TOOL)
        assert told.data["failed"]
        assert told.text in ("ConnectionError: refused", "KeyError: 'wrong'")
        assert len(tries) == times


async def test_what_came_of_a_tool_that_was_down_stays_on_record(tmp_path: Any) -> None:
    """A turn that is resumed reads the same words, and the tool is not run again."""
    tries: list[str] = []

    def refused() -> str:
        """Fail."""
        tries.append("refused")
        raise ConnectionError("refused")

    tool = plain(refused, read_only=True)
    model = ScriptedModel([asked("refused"), Step(text="late", delay=0.4), Step(text="It failed.", expect="refused")])
    people = Team(assistant=Assistant(model=model), without=frozenset({"checker"}))
    opening: dict[str, Any] = {"team": people, "tools": [tool], "policy": CallPolicy(first_wait=0.0, attempts=2)}
    async with Mars.open(f"sqlite:///{tmp_path / 'run.db'}", **opening) as mars:
        task = asyncio.ensure_future(mars.run("Try", user="ann", conversation="talk"))
        while len(model.calls) < 2:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        result = await mars.resume("talk", on_busy="queue")
    assert (result.answer, len(tries)) == ("It failed.", 2)


async def test_a_plain_tool_may_ask_a_person() -> None:
    """An interrupt in a function that blocks comes through its thread."""

    def ask() -> str:
        """Ask."""
        return str(interrupt("really?"))

    with pytest.raises(GraphBubbleUp):
        await in_a_graph(Toolbox.of([ask]))


@pytest.mark.parametrize(("asked", "told"), [("really?", {"value": "really?"}), ({"day": 1}, {"day": 1})])
@pytest.mark.parametrize("kept", [False, True])
async def test_what_a_tool_asks_by_itself_is_told_as_it_is(
    asked: Any, told: dict[str, Any], kept: bool, tmp_path: Path
) -> None:
    """A run that waits says what for, whatever value the tool gave LangGraph; bare ones stand under ``value``."""

    def ask() -> str:
        """Ask."""
        return str(interrupt(asked))

    model = ScriptedModel(lambda said: Step(tool_calls=(("ask", {}),)))
    alone = Team(without=frozenset({"checker"}))
    url = f"sqlite:///{tmp_path}/life.db" if kept else "memory:"
    async with Mars.open(url, model=model, tools=[ask], team=alone) as mars:
        result = await mars.run("Ask.", user="ann", conversation="talk")
    assert (result.status.value, list(result.asks), result.plain()["asks"]) == ("waiting", [told], [told])


async def in_a_graph(box: Toolbox) -> None:
    """Run a tool as a node of a graph does, and raise what comes out of it."""
    caught: list[BaseException] = []

    async def node(state: dict[str, Any]) -> dict[str, Any]:
        try:
            await box.run(Action(id="1", tool="ask", arguments={}))
        except GraphBubbleUp as error:
            caught.append(error)
            raise
        return {}

    graph: Any = StateGraph(dict)
    graph.add_node("node", node)
    graph.set_entry_point("node")
    await graph.compile(checkpointer=InMemorySaver()).ainvoke({}, {"configurable": {"thread_id": "1"}})
    raise caught[0]
