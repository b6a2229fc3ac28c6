"""The loop, with scripted models: who is asked when, when it ends, and what stays."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from mars import Assistant, Checker, Mars, Memory, Reflector, Review, RunStatus, Team
from mars.agents.roles import Strategy
from mars.agents.verifiers import CallableVerifier, RegexVerifier
from mars.consolidation import TURNS
from mars.errors import InvalidInput, InvalidSetting, InvalidUpdate
from mars.events import EVERYTHING, EventKind
from mars.memory.interfaces import Kind
from mars.retrying import CallPolicy
from mars.state import check_update
from mars.testing import FixedClock, InMemoryBackend, ScriptedModel, Step

pytestmark = pytest.mark.anyio

HOME = ("ann",)
QUESTION = "Where does Ann's sister live?"
AT_ONCE = CallPolicy(first_wait=0.0)
YES = Step(structured={"approved": True, "score": 0.9, "used": ["m1"]})


def no(score: float = 0.2, kind: str = "unsupported", blame: tuple[str, ...] = ()) -> Step:
    """Return a judge's rejection."""
    issue = {"kind": kind, "evidence": "no source", "directive": "Find a source.", "records": [], "blame": list(blame)}
    return Step(structured={"approved": False, "score": score, "issues": [issue]})


@pytest.fixture
async def memory(clock: FixedClock) -> AsyncIterator[Memory]:
    """A store in memory that knows two things about Ann's sister."""
    async with Memory.open(InMemoryBackend(), clock=clock) as opened:
        for text in ("My sister lives in Oslo.", "My sister has a boat."):
            await opened.add(text, namespace=HOME, speaker="ann")
            clock.advance(days=1)
        yield opened


def team(model: ScriptedModel, judge: ScriptedModel | None, strategy: Strategy = "reflexion", **options: Any) -> Team:
    """Return a team whose Assistant is `model`, whose Checker asks `judge`, and whose Reflector works by rules."""
    roles: dict[str, Any] = {"checker": Checker(model=judge), "reflector": Reflector(strategy=strategy)}
    return Team(assistant=Assistant(model=model), **{**roles, **options})


async def test_an_approved_first_draft_ends_the_turn(memory: Memory) -> None:
    """The loop stops exactly when the Checker approves, and the user sees no citation."""
    model, judge = ScriptedModel(["She lives in Oslo [m1]."]), ScriptedModel([YES])
    async with Mars.open(memory, team=team(model, judge)) as mars:
        result = await mars.run(QUESTION, user="ann")
    assert (result.answer, result.status, result.approved) == ("She lives in Oslo.", RunStatus.COMPLETED, True)
    assert [source.text for source in result.sources] == ["My sister lives in Oslo."]
    assert result.iterations == 1
    model.assert_finished()
    judge.assert_finished()


async def test_a_rejected_draft_is_reflected_on_and_tried_again(memory: Memory) -> None:
    """The second prompt holds the lesson of the first rejection."""
    model = ScriptedModel(["In Rome [m2].", Step(text="In Oslo [m1].", expect="<lessons>")])
    judge = ScriptedModel([no(blame=("m2",)), YES])
    async with Mars.open(memory, team=team(model, judge)) as mars:
        result = await mars.run(QUESTION, user="ann")
    assert result.answer == "In Oslo."
    assert result.approved
    assert result.iterations == 2
    assert len(result.reflections) == 1


async def test_the_lesson_is_recalled_the_next_time(memory: Memory) -> None:
    """A reflection is a record, and the same question brings it back before the first draft."""
    model = ScriptedModel(["In Rome [m2].", "In Oslo [m1].", Step(text="In Oslo [m1].", expect="<lessons>")])
    judge = ScriptedModel([no(), YES, YES])
    reflector = Reflector(model=ScriptedModel(["The boat says nothing about a home; look for where she lives."]))
    async with Mars.open(memory, team=team(model, judge, reflector=reflector)) as mars:
        await mars.run(QUESTION, user="ann")
        again = await mars.run(QUESTION, user="ann")
    assert again.iterations == 1
    assert "look for where she lives" in model.calls[-1].prompt


@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_the_iteration_limit_returns_the_best_draft(memory: Memory, limit: int) -> None:
    """N drafts at most; the best by score is returned, not the last, and is not approved."""
    model = ScriptedModel([f"Guess {place} [m1]." for place in range(limit)])
    judge = ScriptedModel([no(score=0.5 - 0.1 * place) for place in range(limit)])
    async with Mars.open(memory, team=team(model, judge, iterations=limit)) as mars:
        result = await mars.run(QUESTION, user="ann")
    assert result.status is RunStatus.ITERATION_LIMIT
    assert result.answer == "Guess 0."
    assert not result.approved
    assert result.iterations == limit


async def test_no_iteration_at_all_is_refused() -> None:
    """N < 1 is a mistake, said at once."""
    with pytest.raises(InvalidSetting, match="iterations"):
        Team(iterations=0)


async def test_the_same_draft_twice_is_no_progress(memory: Memory) -> None:
    """Repetition ends the turn before the limit."""
    model, judge = ScriptedModel(["Rome [m1].", "Rome [m2]."]), ScriptedModel([no(), no()])
    async with Mars.open(memory, team=team(model, judge, iterations=5)) as mars:
        result = await mars.run(QUESTION, user="ann")
    assert result.status is RunStatus.NO_PROGRESS
    assert result.iterations == 2


async def test_an_abstaining_judge_never_approves(memory: Memory) -> None:
    """A judge that answers in prose lets nothing through."""
    model = ScriptedModel([f"Guess {place} [m1]." for place in range(3)])
    judge = ScriptedModel(lambda _: "I think this is fine!", structured=False)
    async with Mars.open(memory, team=team(model, judge)) as mars:
        result = await mars.run(QUESTION, user="ann")
    assert not result.approved
    assert result.status in (RunStatus.ITERATION_LIMIT, RunStatus.NO_PROGRESS)


async def test_a_wrong_format_to_the_end_is_named(memory: Memory) -> None:
    """If only the form was wrong, the status says so."""
    model = ScriptedModel(["Oslo, I think [m1].", "It is Oslo [m1]."])
    verifier = RegexVerifier("[A-Z][a-z]+")
    async with Mars.open(memory, team=team(model, None, iterations=2), verifiers=[verifier]) as mars:
        result = await mars.run(QUESTION, user="ann")
    assert result.status is RunStatus.INVALID_FORMAT


async def test_only_cited_records_of_an_approved_answer_are_strengthened(memory: Memory) -> None:
    """Being recalled changes nothing; being cited by an approved answer does, once."""
    before = {record.text: record for record in await memory.list(namespace=HOME)}
    model, judge = ScriptedModel(["Oslo [m1] [m1]."]), ScriptedModel([YES])
    async with Mars.open(memory, team=team(model, judge)) as mars:
        result = await mars.run(QUESTION, user="ann")
    after = {record.text: record for record in await memory.list(namespace=HOME)}
    cited = result.sources[0].text
    assert after[cited].uses == before[cited].uses + 1
    assert after[cited].strength > before[cited].strength
    for text in set(before) - {cited}:
        assert after[text] == before[text]


async def test_a_rejected_answer_strengthens_nothing_and_blame_weakens(memory: Memory) -> None:
    """The record that the Checker names as the cause is graded Again."""
    before = {record.text: record for record in await memory.list(namespace=HOME)}
    model = ScriptedModel(["Rome [m1]."])
    judge = ScriptedModel([no(blame=("m1",))])
    async with Mars.open(memory, team=team(model, judge, iterations=1)) as mars:
        result = await mars.run(QUESTION, user="ann")
    after = {record.text: record for record in await memory.list(namespace=HOME)}
    blamed = result.sources[0].text
    assert after[blamed].strength < before[blamed].strength
    assert all(after[text].uses == before[text].uses for text in before)


async def test_not_known_is_completed_and_rests_on_nothing(clock: FixedClock) -> None:
    """An empty memory gives an honest end: completed, not approved, no sources."""
    async with Mars.open(InMemoryBackend(), clock=clock) as mars:
        result = await mars.run("What is the capital of my heart?", user="ann")
    assert (result.answer, result.status, result.approved) == ("Not known.", RunStatus.COMPLETED, False)
    assert result.sources == ()


async def test_counters_do_not_leak_into_the_next_turn(memory: Memory) -> None:
    """Each turn has all its iterations."""
    model = ScriptedModel(["a [m1].", "b [m1].", "c [m1].", "d [m1]."])
    judge = ScriptedModel([no(), no(), no(), no()])
    async with Mars.open(memory, team=team(model, judge, iterations=2)) as mars:
        first = await mars.run(QUESTION, user="ann", conversation="c")
        second = await mars.run(QUESTION, user="ann", conversation="c")
    assert (first.iterations, second.iterations) == (2, 2)


async def test_what_the_user_tells_is_remembered_and_questions_are_not_evidence(clock: FixedClock) -> None:
    """A statement becomes an episode; a question and its answer are kept apart, as a turn."""
    async with Mars.open(InMemoryBackend(), clock=clock) as mars:
        told = await mars.run("My dog is called Rex.", user="ann", conversation="c")
        clock.advance(days=1)
        asked = await mars.run("What is my dog called?", user="ann", conversation="c")
        records = await mars.memory.list(namespace=HOME)
        turns = await mars.memory.list(namespace=(*HOME, TURNS))
    assert told.answer == "Noted."
    assert "Rex" in asked.answer
    assert asked.approved
    assert [r.text for r in records if r.kind is Kind.EPISODE] == ["My dog is called Rex."]
    assert [t.text for t in turns] == ["My dog is called Rex.", "Noted.", "What is my dog called?", asked.answer]


async def test_a_turn_gives_its_facts_once(clock: FixedClock) -> None:
    """Facts are drawn from what the user told, not again from the turn that is kept beside it."""
    async with Mars.open(InMemoryBackend(), clock=clock, extract_facts=True) as mars:
        await mars.run("I live in Rome.", user="ann")
        facts = await mars.memory.list(namespace_prefix=HOME, kinds={Kind.FACT})
    assert [(fact.namespace, fact.value) for fact in facts] == [(HOME, "Rome")]


@pytest.mark.parametrize("switch", ["checker", "reflection", "memory"])
async def test_off_means_no_calls_and_no_rows(memory: Memory, switch: str) -> None:
    """An ablation switch leaves no trace of what it switches off."""
    count = len(await memory.list(namespace=HOME))
    model = ScriptedModel(["x [m1].", "y [m1]."])
    judge = ScriptedModel([no(), no()])
    options = team(model, judge, iterations=2, without=frozenset({switch}))
    async with Mars.open(memory, team=options) as mars:
        result = await mars.run(QUESTION, user="ann")
    reflections = [r for r in await memory.list(namespace=HOME) if r.kind is Kind.REFLECTION]
    if switch == "checker":
        assert judge.calls == []
        assert (result.iterations, result.approved) == (1, False)
    if switch == "reflection":
        assert reflections == []
        assert result.reflections == ()
    if switch == "memory":
        assert "<memories>" not in model.calls[0].messages[1].content
        assert len(await memory.list(namespace=HOME)) == count


@pytest.mark.parametrize(
    ("strategy", "lesson", "last"),
    [("none", False, False), ("last_attempt", False, True), ("reflexion", True, False), ("both", True, True)],
)
async def test_the_strategy_decides_what_the_next_attempt_sees(
    memory: Memory, strategy: Strategy, lesson: bool, last: bool
) -> None:
    """Nothing, the failed draft, the lesson, or both."""
    model, judge = ScriptedModel(["x [m1].", "y [m1]."]), ScriptedModel([no(), YES])
    async with Mars.open(memory, team=team(model, judge, strategy)) as mars:
        await mars.run(QUESTION, user="ann")
    prompt = model.calls[1].messages[1].content
    assert ("<lessons>" in prompt, "<last_attempt>" in prompt) == (lesson, last)


async def test_events_carry_their_role_and_the_last_holds_the_result(memory: Memory) -> None:
    """The stream tells what happened in order; tokens are the Assistant's only."""
    model, judge = ScriptedModel(["In Rome [m2].", "In Oslo [m1]."]), ScriptedModel([no(), YES])
    async with Mars.open(memory, team=team(model, judge)) as mars:
        events = [event async for event in mars.stream(QUESTION, user="ann", heard=EVERYTHING)]
    kinds = [event.kind for event in events if event.kind is not EventKind.TOKEN]
    read, draft, verdict = EventKind.MEMORY_READ, EventKind.DRAFT, EventKind.VERDICT
    again = [EventKind.WITHDRAWN, EventKind.REFLECTION]
    end = [EventKind.MEMORY_WRITE, EventKind.FINAL]
    assert kinds == [read, draft, verdict, *again, read, draft, verdict, *end]
    assert {event.role for event in events if event.kind is EventKind.TOKEN} == {"assistant"}
    assert "".join(e.text for e in events if e.kind is EventKind.TOKEN) == "In Rome [m2].In Oslo [m1]."
    assert events[-1].result is not None
    assert events[-1].result.answer == "In Oslo."


async def test_a_failing_model_ends_with_what_was_done(memory: Memory) -> None:
    """The provider's words are in the result; the first draft is not lost."""
    model = ScriptedModel(["Oslo, perhaps [m1].", *[Step(error=ConnectionError("the provider is down"))] * 3])
    async with Mars.open(memory, team=team(model, ScriptedModel([no()])), policy=AT_ONCE) as mars:
        result = await mars.run(QUESTION, user="ann")
    assert result.status is RunStatus.TASK_ERROR
    assert result.error == "ConnectionError: the provider is down"
    assert result.answer == "Oslo, perhaps."


@pytest.mark.parametrize("who", ["checker", "reflector"])
async def test_any_failing_model_ends_with_what_was_done(memory: Memory, who: str) -> None:
    """A judge or a Reflector that is down costs neither the draft nor the words of the error."""
    down = ScriptedModel([Step(error=ConnectionError("down"))] * 3)
    judge = down if who == "checker" else ScriptedModel([no()])
    model = ScriptedModel(["Oslo, perhaps [m1]."])
    async with Mars.open(memory, team=team(model, judge, reflector=Reflector(model=down)), policy=AT_ONCE) as mars:
        result = await mars.run(QUESTION, user="ann")
    assert (result.status, result.error) == (RunStatus.TASK_ERROR, "ConnectionError: down")
    assert (result.answer, result.approved) == ("Oslo, perhaps.", False)


async def test_the_verdict_is_that_on_the_answer(memory: Memory) -> None:
    """Where an earlier draft is returned, so is the verdict on it."""
    model, judge = ScriptedModel(["Guess 1 [m1].", "Guess 2 [m1]."]), ScriptedModel([no(score=0.5), no(score=0.1)])
    async with Mars.open(memory, team=team(model, judge, iterations=2)) as mars:
        result = await mars.run(QUESTION, user="ann")
    assert result.verdict is not None
    assert (result.answer, result.verdict.score) == ("Guess 1.", 0.5)


@pytest.mark.parametrize("words", ["Not known.", "not known [m1]"])
async def test_not_known_is_never_approved(memory: Memory, words: str) -> None:
    """Also where a judge likes it: the turn is completed, without sources, and nothing is strengthened."""
    async with Mars.open(memory, team=team(ScriptedModel([words]), ScriptedModel([YES]))) as mars:
        result = await mars.run(QUESTION, user="ann")
    assert (result.status, result.approved, result.sources) == (RunStatus.COMPLETED, False, ())
    assert all(record.uses == 0 for record in await memory.list(namespace=HOME))


async def test_a_question_is_not_noted(memory: Memory) -> None:
    """An acknowledgement answers no question, with a question mark or without."""
    model = ScriptedModel(["Noted.", "Noted."])
    async with Mars.open(memory, team=team(model, None)) as mars:
        result = await mars.run("Tell me where my sister lives.", user="ann")
    assert not result.approved


async def test_what_is_deleted_in_mid_turn_costs_no_answer(memory: Memory) -> None:
    """A cited record that somebody deletes before the turn ends is not strengthened, and the answer stands."""

    async def delete(review: Review) -> bool:
        await memory.purge(review.evidence[0].record)
        return True

    verifier = CallableVerifier(delete, decisive=True)
    model = ScriptedModel(["In Oslo [m1] [m2]."])
    async with Mars.open(
        memory, team=team(model, None, checker=Checker(evidence_rules=False)), verifiers=[verifier]
    ) as mars:
        result = await mars.run(QUESTION, user="ann")
    assert result.approved
    assert [record.uses for record in await memory.list(namespace=HOME)] == [1]


async def test_the_window_is_that_of_the_time_of_asking(clock: FixedClock) -> None:
    """Only short-term turns enter a prompt unasked, and `now` says which those are."""
    model = ScriptedModel(lambda _: "Noted.")
    async with Mars.open(InMemoryBackend(), clock=clock, team=Team(assistant=Assistant(model=model))) as mars:
        for days in (0, 1, 60):
            await mars.run(f"It is day {days}.", user="ann", conversation="c", now=clock.now() + timedelta(days=days))
    assert ["<conversation>" in str(call.messages[1].content) for call in model.calls] == [False, True, False]


async def test_bad_input_is_refused_before_anything_happens(memory: Memory) -> None:
    """An empty task, a bad namespace and an empty user name never reach a model."""
    model = ScriptedModel([])
    async with Mars.open(memory, model=model) as mars:
        for wrong in ({"task": "  "}, {"task": "x", "namespace": ()}, {"task": "x", "user": " "}):
            with pytest.raises(InvalidInput):
                await mars.run(**wrong)
        with pytest.raises(InvalidInput):
            await mars.run("x", now=mars.memory.clock.now().replace(tzinfo=None))
    assert model.calls == []


async def test_no_prompt_holds_a_verifiers_reference(memory: Memory) -> None:
    """What a verifier knows stays with the verifier: a canary in it reaches no model."""
    canary = "CANARY-7f3a"

    def scorer(review: Review) -> bool:
        return canary in review.draft

    model, judge = ScriptedModel(["a [m1].", "b [m1]."]), ScriptedModel(lambda _: YES)
    options = team(model, judge, iterations=2)
    async with Mars.open(memory, team=options, verifiers=[CallableVerifier(scorer)]) as mars:
        result = await mars.run(QUESTION, user="ann")
    assert not result.approved
    assert all(canary not in call.prompt for call in (*model.calls, *judge.calls))


async def test_a_later_time_of_asking_is_what_memory_sees(clock: FixedClock) -> None:
    """`now` decides what is still retained."""
    async with Mars.open(InMemoryBackend(), clock=clock, preset="paper") as mars:
        await mars.run("My dog is called Rex.", user="ann")
        soon = await mars.run("What is my dog called?", user="ann", now=clock.now() + timedelta(hours=1))
    assert "Rex" in soon.answer
    async with Mars.open(InMemoryBackend(), clock=clock, preset="paper") as mars:
        await mars.run("My dog is called Rex.", user="ann")
        late = await mars.run("What is my dog called?", user="ann", now=clock.now() + timedelta(days=30))
    assert late.answer == "Not known."


async def test_what_open_returns_names_what_to_enter(memory: Memory) -> None:
    """`Mars.open` without ``async with`` says so; what looks for an attribute is told that there is none."""
    opening: Any = Mars.open(memory)
    with pytest.raises(AttributeError, match=r"'run' before it is entered: write `async with Mars\.open"):
        opening.run("Where?")
    assert not hasattr(opening, "memory")


def test_the_sync_twin_gives_the_same(clock: FixedClock) -> None:
    """Code without an event loop runs and streams the same loop."""
    with Mars.open_sync(InMemoryBackend(), clock=clock) as mars:
        mars.run("My dog is called Rex.", user="ann")
        events = list(mars.stream("What is my dog called?", user="ann", heard=EVERYTHING))
    assert events[-1].result is not None
    assert "Rex" in events[-1].result.answer


def test_a_node_cannot_put_just_anything_into_the_state() -> None:
    """Unknown keys and values that are not plain are refused."""
    with pytest.raises(InvalidUpdate, match="no key"):
        check_update("n", {"colour": "red"})
    with pytest.raises(InvalidUpdate, match="not plain"):
        check_update("n", {"evidence": [object()]})
