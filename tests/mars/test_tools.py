"""Actions: reviewed before they run, and harmless when they fail."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import tool

from mars import Assistant, Check, Checker, Issue, Mars, Review, RunStatus, Team, Verifier
from mars.agents.verdicts import IssueKind
from mars.agents.verifiers import CallableVerifier
from mars.errors import InvalidSetting, ModelUnavailable
from mars.results import EventKind
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


def approving(model: ScriptedModel, *action_verifiers: Verifier) -> Team:
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
        events = [event async for event in mars.stream("Put the book away", user="ann")]
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
