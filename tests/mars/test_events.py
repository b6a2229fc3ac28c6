"""The stream of a run: what each kind of event says, who hears it, and what nobody but a program hears."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import anyio
import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult

from mars import Assistant, Checker, Mars, Reflector, Team
from mars import events as stream
from mars.errors import InvalidSetting
from mars.events import (
    CHECKED,
    EVENTS,
    EVERYTHING,
    HEARD,
    AnyEvent,
    DraftEvent,
    Event,
    EventKind,
    FinalEvent,
    InterruptEvent,
    MemoryReadEvent,
    MemoryWriteEvent,
    Preview,
    ReflectionEvent,
    RetryEvent,
    TokenEvent,
    ToolEvent,
    VerdictEvent,
    WithdrawnEvent,
    final,
    kinds,
)
from mars.observability import RunLog
from mars.people import ask_user
from mars.persistence.budgets import Budget
from mars.testing import FixedClock, ScriptedModel, Step

pytestmark = pytest.mark.anyio

QUESTION = "Where does Ann's sister live?"
SECRET, LESSON = "SECRET-OF-THE-CHECKER", "SECRET-OF-THE-REFLECTOR"


@pytest.fixture(params=["memory:", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Runs that leave nothing, whose events go through LangGraph, and those that are kept, whose events do not."""
    return "memory:" if request.param == "memory:" else f"sqlite:///{tmp_path / 'life.db'}"


def quarrel(structured: bool = True) -> Team:
    """Return a team whose Checker rejects the first draft and approves the second, with words nobody may hear."""
    issue = {"kind": "unsupported", "evidence": SECRET, "directive": SECRET}
    bad: dict[str, Any] = {"approved": False, "score": 0.2, "issues": [issue]}
    good: dict[str, Any] = {"approved": True, "score": 0.9, "used": ["m1"]}
    if structured:
        judge = ScriptedModel([Step(structured=bad, text=SECRET), Step(structured=good, text=SECRET)])
    else:  # in prose and as JSON, by the ladder
        judge = ScriptedModel([json.dumps(bad), json.dumps(good)], structured=False)
    lesson = {"what_failed": LESSON, "cause": LESSON, "change": LESSON, "preferences": []}
    reflector = ScriptedModel(lambda _: Step(structured=lesson, text=LESSON))
    model = ScriptedModel(["She lives in Rome [m1].", "She lives in Oslo [m1]."])
    return Team(
        assistant=Assistant(model=model),
        checker=Checker(model=judge),
        reflector=Reflector(model=reflector, strategy="reflexion"),
    )


async def heard_of(url: str, team: Team, **options: Any) -> list[AnyEvent]:
    """Return the events of one turn."""
    async with Mars.open(url, team=team, clock=FixedClock()) as mars:
        await mars.memory.add("My sister lives in Oslo.", ("ann",), speaker="ann")
        return [event async for event in mars.stream(QUESTION, user="ann", **options)]


def test_every_kind_has_a_class_of_its_own() -> None:
    """`kind` tells the classes apart, for programs and for type checkers, and each says what it is."""
    assert set(EVENTS) == EVERYTHING == set(EventKind)
    assert set(get_args(AnyEvent)) == set(EVENTS.values())
    for kind, sort in EVENTS.items():
        assert get_args(get_type_hints(sort)["kind"]) == (kind,)
        assert sort.__doc__
    assert [kind for kind in EventKind if f"\n{kind.value} " not in (stream.__doc__ or "")] == []


async def test_an_end_user_hears_the_assistant_and_nobody_else(url: str) -> None:
    """By default: tokens, that a draft is withdrawn, and the end; what is put on a wire has no word of the Checker."""
    events = await heard_of(url, quarrel())
    assert {event.kind for event in events} == {EventKind.TOKEN, EventKind.WITHDRAWN, EventKind.FINAL} <= HEARD
    assert {event.role for event in events if isinstance(event, TokenEvent)} == {"assistant"}
    wire = json.dumps([event.plain() for event in events])
    assert SECRET not in wire
    assert LESSON not in wire
    assert "rejected" not in wire
    assert (events[-1].text, events[-1].data["approved"]) == ("She lives in Oslo.", True)


@pytest.mark.parametrize("structured", [True, False])
async def test_a_judge_without_structured_output_is_not_heard_either(url: str, structured: bool) -> None:
    """However the Checker's model answers, its tokens are in no event of the default; asked for, its verdict is."""
    assert SECRET not in json.dumps([event.plain() for event in await heard_of(url, quarrel(structured))])
    everything = await heard_of(url, quarrel(structured), heard=EVERYTHING)
    assert SECRET in json.dumps([event.plain() for event in everything])
    assert SECRET not in json.dumps([event.plain() for event in everything if event.kind in HEARD])


async def test_everything_is_typed_and_attributed(url: str) -> None:
    """Each event is of its kind's class, names who did it, and its typed fields can be read."""
    events = await heard_of(url, quarrel(), heard=EVERYTHING)
    assert all(type(event) is EVENTS[event.kind] for event in events)
    told = [(event.kind, event.role) for event in events if event.kind is not EventKind.TOKEN]
    read, draft = (EventKind.MEMORY_READ, "memory"), (EventKind.DRAFT, "assistant")
    verdict, again = (EventKind.VERDICT, "checker"), (EventKind.WITHDRAWN, "runtime")
    reflection, end = (
        (EventKind.REFLECTION, "reflector"),
        [(EventKind.MEMORY_WRITE, "memory"), (EventKind.FINAL, "runtime")],
    )
    assert told == [read, draft, verdict, again, reflection, read, draft, verdict, *end]
    drafts = [(event.iteration, event.text) for event in events if isinstance(event, DraftEvent)]
    assert drafts == [(1, "She lives in Rome [m1]."), (2, "She lives in Oslo [m1].")]
    verdicts = [event for event in events if isinstance(event, VerdictEvent)]
    assert [(one.iteration, one.verdict.approved, one.action) for one in verdicts] == [
        (1, False, None),
        (2, True, None),
    ]
    assert [event.iteration for event in events if isinstance(event, WithdrawnEvent)] == [1]
    assert {event.reflection.text for event in events if isinstance(event, ReflectionEvent)} != {""}
    reads = [event for event in events if isinstance(event, MemoryReadEvent)]
    assert [(one.records[0]["text"], one.lessons) for one in reads] == [("My sister lives in Oslo.", [])] * 2
    assert [sum(one.changes.values()) > 0 for one in events if isinstance(one, MemoryWriteEvent)] == [True]
    tokens = [event for event in events if isinstance(event, TokenEvent)]
    assert [(one.iteration, one.reply) for one in tokens] == [(1, tokens[0].reply)] * 5 + [(2, tokens[-1].reply)] * 5
    assert isinstance(events[-1], FinalEvent)
    assert events[-1].result.answer == "She lives in Oslo."


async def test_tools_and_budgets_are_told(url: str) -> None:
    """A tool's result with its action and whether it failed, and the budget that ended the turn."""

    def dial(name: str) -> str:
        """Dial a number."""
        raise OSError(f"{name} is engaged")

    model = ScriptedModel([Step(text="Let me call.", tool_calls=(("dial", {"name": "Bo"}),)), "No answer."])
    team = Team(without=frozenset({"checker", "reflection"}), budget=Budget(calls=1))
    async with Mars.open(url, model=model, tools=[dial], team=team) as mars:
        events = [event async for event in mars.stream("Call Bo.", heard=EVERYTHING)]
    (tool,) = [event for event in events if isinstance(event, ToolEvent)]
    assert (tool.role, tool.action["tool"], tool.failed) == ("tools", "dial", True)
    assert "Bo is engaged" in tool.text
    (reviewed,) = [event for event in events if isinstance(event, VerdictEvent)]
    assert reviewed.action == tool.action
    (spent,) = [event for event in events if event.kind is EventKind.BUDGET]
    assert "calls" in spent.text


class Halting(BaseChatModel):
    """A model that says two words and does not go on before it is let."""

    gate: Any

    @property
    def _llm_type(self) -> str:
        return "halting"

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        raise NotImplementedError

    async def _astream(
        self, messages: list[BaseMessage], *args: Any, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        yield ChatGenerationChunk(message=AIMessageChunk(content="She lives "))
        await self.gate.wait()
        yield ChatGenerationChunk(message=AIMessageChunk(content="in Oslo [m1].", chunk_position="last"))


async def test_tokens_come_while_the_model_speaks(url: str) -> None:
    """The first one is heard before the model has said the second."""
    gate = anyio.Event()
    with anyio.fail_after(60):
        async with Mars.open(url, model=Halting(gate=gate), team=Team(without=frozenset({"checker"}))) as mars:
            heard = []
            async for event in mars.stream(QUESTION, user="ann"):
                heard.append(event.text)
                gate.set()
    assert heard == ["She lives ", "in Oslo [m1].", "She lives in Oslo."]


async def test_nothing_unchecked_where_that_is_asked_for(url: str) -> None:
    """With `CHECKED` no word comes before the Checker has approved it."""
    events = await heard_of(url, quarrel(), heard=CHECKED)
    assert [(event.kind, event.text) for event in events] == [(EventKind.FINAL, "She lives in Oslo.")]


async def test_the_preview_takes_back_what_is_withdrawn(url: str) -> None:
    """It shows one draft at a time, without its citations, and ends with the answer."""
    preview, seen = Preview(), []
    for event in await heard_of(url, quarrel(), heard=EVERYTHING):
        if preview.add(event):
            seen.append(preview.text)
    first = ["She", "She lives", "She lives in", "She lives in Rome", "She lives in Rome."]
    second = [text.replace("Rome", "Oslo") for text in first]
    assert seen == [*first, "", *second, "She lives in Oslo."]
    assert preview.final


def test_the_preview_shows_no_half_citation() -> None:
    """Wherever a model cuts its tokens; and another reply, or one that is tried again, begins anew."""
    preview = Preview()

    def token(text: str, reply: int) -> Event:
        return TokenEvent(role="assistant", text=text, data={"iteration": 1, "reply": reply})

    shown = []
    for piece in ("In Oslo ", "[", "m", "1", "]", " and Rome [m2", "]."):
        preview.add(token(piece, 1))
        shown.append(preview.text)
    assert shown == ["In Oslo", "In Oslo", "In Oslo", "In Oslo", "In Oslo", "In Oslo and Rome", "In Oslo and Rome."]
    preview.add(token("Let me", 2))
    assert preview.text == "Let me"
    preview.add(RetryEvent(role="assistant"))
    assert (preview.text, preview.final) == ("", False)
    assert not preview.add(DraftEvent(role="assistant", data={"iteration": 1}))


async def test_an_earlier_draft_that_is_the_answer_withdraws_the_last(url: str) -> None:
    """Where the best draft is not the newest one, what was streamed last is void."""
    issue = {"kind": "unsupported", "evidence": "x", "directive": "y"}
    judge = ScriptedModel([Step(structured={"approved": False, "score": s, "issues": [issue]}) for s in (0.6, 0.1)])
    team = Team(
        assistant=Assistant(model=ScriptedModel(["In Oslo [m1].", "On the moon [m1]."])),
        checker=Checker(model=judge),
        iterations=2,
        without=frozenset({"reflection"}),
    )
    events = await heard_of(url, team)
    assert [event.iteration for event in events if isinstance(event, WithdrawnEvent)] == [1, 2]
    assert (events[-1].text, events[-1].data["approved"]) == ("In Oslo.", False)


async def test_a_question_is_heard_and_the_rest_is_streamed_after_it(tmp_path: Path) -> None:
    """Who is asked hears the question, whatever else is left out; `stream_resume` goes on with the tokens."""
    model = ScriptedModel([Step(tool_calls=(("ask_user", {"question": "Which Bo?"}),)), "Bo Ek, then."])
    team = Team(without=frozenset({"checker", "reflection"}))
    async with Mars.open(f"sqlite:///{tmp_path / 'a.db'}", model=model, tools=[ask_user], team=team) as mars:
        first = [event async for event in mars.stream("Call Bo.", conversation="c", heard=CHECKED)]
        (asked,) = [event for event in first if isinstance(event, InterruptEvent)]
        assert (asked.text, asked.asked["arguments"]) == ("Which Bo?", {"question": "Which Bo?"})
        assert [one["tool"] for one in first[-1].data["asks"]] == ["ask_user"]
        await mars.decide("c", {"choice": "answer", "text": "Bo Ek"})
        rest = [event async for event in mars.stream_resume("c")]
        told = [event async for event in mars.stream_resume("c", heard=EVERYTHING)]
    assert [event.text for event in rest] == ["Bo ", "Ek, ", "then.", "Bo Ek, then."]
    assert [event.kind for event in told] == [EventKind.FINAL]


@pytest.mark.parametrize("held", [True, False])
async def test_a_listener_leaves_early_and_all_is_closed(tmp_path: Path, held: bool) -> None:
    """Whether or not its stream is dropped: nothing fails afterwards, nobody holds the conversation, it is resumed."""
    url = f"sqlite:///{tmp_path / 'life.db'}"
    async with Mars.open(url) as mars:
        stream = mars.stream("What is the cat called?", user="ann", conversation="c", heard=EVERYTHING)
        async for event in stream:
            if event.kind is EventKind.MEMORY_READ:
                break
        if not held:
            del stream
    if held:
        await stream.aclose()  # type: ignore[attr-defined]
    async with Mars.open(url) as mars:
        (left,) = await mars.unfinished()
        assert not left.running
        assert (await mars.resume("c")).answer == "Not known."


async def test_observers_are_told_everything_whoever_listens(tmp_path: Path) -> None:
    """What a caller hears changes nothing of the run log."""
    path = tmp_path / "runs.jsonl"
    async with Mars.open(f"sqlite:///{tmp_path / 'a.db'}", team=quarrel(), observers=[RunLog(path)]) as mars:
        await mars.memory.add("My sister lives in Oslo.", ("ann",), speaker="ann")
        heard = [event async for event in mars.stream(QUESTION, user="ann", heard=set())]
    assert [event.kind for event in heard] == [EventKind.FINAL]
    logged = {json.loads(line)["kind"] for line in path.read_text("utf-8").splitlines()}
    assert logged >= {"token", "draft", "withdrawn", "verdict", "reflection", "memory_read", "memory_write", "final"}


def test_the_blocking_twin_streams_the_same(url: str) -> None:
    """`stream` and `stream_resume` of `Mars.open_sync` take what the others take."""
    with Mars.open_sync(url, team=quarrel()) as mars:
        events = list(mars.stream(QUESTION, user="ann", heard={"verdict"}))
    assert [event.kind.value for event in events] == ["verdict", "verdict", "final"]


@pytest.mark.parametrize("heard", [{"tokens"}, "tokens", ["final", "words"]])
async def test_no_kind_is_refused(heard: Any) -> None:
    """Before anything runs; the error names the kinds."""
    with pytest.raises(InvalidSetting, match="memory_read"):
        kinds(heard)
    async with Mars.open("memory:") as mars:
        with pytest.raises(InvalidSetting, match="memory_read"):
            await anext(aiter(mars.stream("Hello?", heard=heard)))


async def test_the_end_says_what_a_user_may_see() -> None:
    """The final event's data has no drafts, verdicts or lessons; its result has all of it, for the program."""
    async with Mars.open("memory:", team=quarrel()) as mars:
        result = await mars.run(QUESTION, user="ann")
    event = final(result)
    assert set(event.data) == {"answer", "status", "approved", "sources", "conversation", "turn", "asks"}
    assert SECRET in str(event.result)
    assert SECRET not in json.dumps(event.plain())
