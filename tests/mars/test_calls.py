"""Calls through the boundary: budgets, retries, time limits, and a count that agrees with the model's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import timedelta
from typing import Any

import anyio
import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.messages import BaseMessage

from mars import Assistant, Checker, Mars, Memory, Reflector, RunResult, RunStatus, Team
from mars.errors import InvalidFile, InvalidSetting
from mars.events import EVERYTHING, EventKind
from mars.models.prices import Price, StalePrice, load_prices, price_of
from mars.persistence.budgets import Budget, Budgets
from mars.retrying import CallPolicy, is_transient, retry_after
from mars.testing import FixedClock, InMemoryBackend, ScriptedModel, Step

pytestmark = pytest.mark.anyio

HOME = ("ann",)
QUESTION = "Where does Ann's sister live?"
YES = Step(structured={"approved": True, "score": 0.9, "used": ["m1"]})
ISSUE = {"kind": "unsupported", "evidence": "no source", "directive": "Find a source.", "records": [], "blame": []}
NO = Step(structured={"approved": False, "score": 0.2, "issues": [ISSUE]})
DOWN = Step(error=ConnectionError("down"))
AT_ONCE = CallPolicy(first_wait=0.0)


@pytest.fixture
async def memory(clock: FixedClock) -> AsyncIterator[Memory]:
    """A store in memory that knows something about Ann's sister."""
    async with Memory.open(InMemoryBackend(), clock=clock) as opened:
        await opened.add("My sister lives in Oslo.", namespace=HOME, speaker="ann")
        yield opened


def team(model: ScriptedModel, judge: ScriptedModel | None = None, **options: Any) -> Team:
    """A team of these models whose Reflector works by rules."""
    return Team(assistant=Assistant(model=model), checker=Checker(model=judge), reflector=Reflector(), **options)


async def run(memory: Memory, people: Team, **options: Any) -> RunResult:
    """Ask the question."""
    opening = {name: options.pop(name) for name in ("policy", "prices", "tools") if name in options}
    async with Mars.open(memory, team=people, **opening) as mars:
        return await mars.run(QUESTION, user="ann", **options)


def agree(result: RunResult, *models: ScriptedModel) -> None:
    """Assert that what was counted is what the models saw."""
    assert result.usage.calls == sum(len(model.calls) for model in models)
    read, written = (sum(model.usage[place] for model in models) for place in (0, 1))
    assert (result.usage.input_tokens, result.usage.output_tokens) == (read, written)


# The count


async def test_a_plain_turn(memory: Memory) -> None:
    """Each call and each token is counted once, and nothing else."""
    model, judge = ScriptedModel(["In Rome [m1].", "In Oslo [m1]."]), ScriptedModel([NO, YES])
    result = await run(memory, team(model, judge))
    agree(result, model, judge)
    assert result.usage.calls == 4
    assert (result.usage.retries, result.usage.failures, result.usage.cached, result.usage.maybe_paid) == (0, 0, 0, 0)
    assert result.usage.cost is None  # a scripted model has no price
    assert result.latency > 0
    assert result.stop_reason == "completed"


async def test_retries(memory: Memory) -> None:
    """A connection that fails twice is tried again; each attempt is a call, and the answer comes."""
    model, judge = ScriptedModel([DOWN, DOWN, "In Oslo [m1]."]), ScriptedModel([DOWN, YES])
    result = await run(memory, team(model, judge), policy=AT_ONCE)
    agree(result, model, judge)
    assert result.approved
    assert (result.usage.calls, result.usage.retries, result.usage.failures) == (5, 3, 3)


async def test_failures(memory: Memory) -> None:
    """What is not transient is not tried again, and is counted."""
    model = ScriptedModel([Step(error=PermissionError("no key"))])
    result = await run(memory, team(model), policy=AT_ONCE)
    agree(result, model)
    assert (result.status, result.error) == (RunStatus.TASK_ERROR, "PermissionError: no key")
    assert (result.usage.calls, result.usage.failures, result.usage.retries) == (1, 1, 0)


async def test_a_model_that_stays_down(memory: Memory) -> None:
    """After the policy's attempts the turn ends with the error."""
    model = ScriptedModel([DOWN] * 3)
    result = await run(memory, team(model), policy=AT_ONCE)
    agree(result, model)
    assert (result.status, result.usage.calls, result.usage.retries) == (RunStatus.TASK_ERROR, 3, 2)


async def test_cancellation(memory: Memory) -> None:
    """A run that is cancelled within a call leaves one cancelled call on the books of its user, and nothing held."""
    model = ScriptedModel([Step(text="In Oslo [m1].", delay=0.4)])
    async with Mars.open(memory, team=team(model)) as mars:
        task = asyncio.ensure_future(mars.run(QUESTION, user="ann"))
        while not model.calls:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        usage = await mars.calls.usage_of_user("ann")
    assert (usage.calls, usage.cancelled, usage.failures) == (len(model.calls), 1, 0)


async def test_a_cached_reply_is_no_call(memory: Memory) -> None:
    """What langchain's cache answers is counted apart, and its tokens are not counted again."""
    judgement = '{"approved": true, "score": 0.9, "issues": [], "used": ["m1"]}'
    judge = ScriptedModel([judgement], structured=False, cache=InMemoryCache())
    model = ScriptedModel(["In Oslo [m1].", "In Oslo [m1]."])
    async with Mars.open(memory, team=team(model, judge, remember=False, without=frozenset({"memory"}))) as mars:
        first = await mars.run(QUESTION, user="ann")
        second = await mars.run(QUESTION, user="ann")
    assert (first.usage.calls, first.usage.cached) == (2, 0)
    assert (second.usage.calls, second.usage.cached) == (1, 1)
    assert first.usage.calls + second.usage.calls == len(model.calls) + len(judge.calls)
    read = sum(one.usage[0] for one in (model, judge))
    assert first.usage.input_tokens + second.usage.input_tokens == read


async def test_a_structured_reply_that_is_none_is_paid_for(memory: Memory) -> None:
    """The rung that failed is a call like the next one."""
    judge = ScriptedModel(["no judgement", '{"approved": true, "score": 0.9}'])
    model = ScriptedModel(["In Oslo [m1]."])
    result = await run(memory, team(model, judge))
    agree(result, model, judge)
    assert result.usage.calls == 3


async def test_actions_are_counted_apart(memory: Memory) -> None:
    """A tool's run is no call of a model."""

    def look(where: str) -> str:
        """Look somewhere."""
        return f"nothing in {where}"

    model = ScriptedModel([Step(tool_calls=(("look", {"where": "Oslo"}),)), "In Oslo [m1]."])
    result = await run(memory, team(model), tools=[look])
    agree(result, model)
    assert (result.usage.calls, result.usage.tool_calls) == (2, 1)


async def test_a_broken_stream_is_void(memory: Memory) -> None:
    """Tokens of an attempt that broke off are followed by a retry event, and the whole reply comes after it."""

    class Breaking(ScriptedModel):
        def _stream(self, messages: list[BaseMessage], *rest: Any, **values: Any) -> Iterator[Any]:
            first = not self.calls
            for chunk in super()._stream(messages, *rest, **values):
                yield chunk
                if first:
                    raise ConnectionError("broke off")

    model = Breaking(script=["In Rome [m1].", "In Oslo [m1]."])
    async with Mars.open(memory, team=team(model), policy=AT_ONCE) as mars:
        events = [event async for event in mars.stream(QUESTION, user="ann", heard=EVERYTHING)]
    kinds = [event.kind for event in events]
    after = events[kinds.index(EventKind.RETRY) :]
    assert "".join(event.text for event in after if event.kind is EventKind.TOKEN) == "In Oslo [m1]."
    assert events[-1].result is not None
    assert events[-1].result.usage.retries == 1


# Budgets


async def test_a_budget_of_calls_ends_the_turn_with_the_best_draft(memory: Memory) -> None:
    """The third call is not made; the first draft is the answer."""
    model, judge = ScriptedModel(["In Rome [m1].", "In Oslo [m1]."]), ScriptedModel([NO, YES])
    result = await run(memory, team(model, judge, budget=Budget(calls=2)))
    agree(result, model, judge)
    assert (result.status, result.answer, result.approved) == (RunStatus.BUDGET_EXHAUSTED, "In Rome.", False)
    assert result.stop_reason == "the turn's budget of calls (2) is used up"
    assert (result.usage.calls, result.error) == (2, None)


async def test_the_tighter_of_two_budgets_holds(memory: Memory) -> None:
    """What a run allows itself and what its team allows hold both."""
    for mine, theirs in ((1, 5), (5, 1)):
        model, judge = ScriptedModel(["In Rome [m1]."]), ScriptedModel([NO])
        people = team(model, judge, budget=Budget(calls=theirs))
        result = await run(memory, people, budget=Budget(calls=mine))
        agree(result, model, judge)
        assert (result.status, result.usage.calls) == (RunStatus.BUDGET_EXHAUSTED, 1)


@pytest.mark.parametrize(
    ("budgets", "reason"),
    [
        (Budgets(roles={"checker": Budget(calls=0)}), "the role's budget of calls (0)"),
        (Budgets(conversation=Budget(calls=3)), "the conversation's budget of calls (3)"),
        (Budgets(user=Budget(calls=3)), "the user's budget of calls (3)"),
        (Budgets(turn=Budget(tokens=10)), "the turn's budget of tokens (10)"),
        (Budgets(turn=Budget(wall=0.0)), "the turn's budget of wall time (0 s)"),
        (Budgets(turn=Budget(working=0.0)), "the turn's budget of working time (0 s)"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_each_scope_and_limit(memory: Memory, budgets: Budgets, reason: str) -> None:
    """Within two turns of one conversation each budget is reached, and says which one it was."""
    model, judge = ScriptedModel(["In Oslo [m1]."] * 2), ScriptedModel([YES, YES])
    async with Mars.open(memory, team=team(model, judge, budget=budgets)) as mars:
        results = [await mars.run(QUESTION, user="ann", conversation="talk") for _ in range(2)]
        spent = await mars.calls.usage_of_user("ann")
    assert results[-1].status is RunStatus.BUDGET_EXHAUSTED
    assert results[-1].stop_reason.startswith(reason)
    assert spent.calls == len(model.calls) + len(judge.calls)


async def test_time_runs_out_within_a_call(memory: Memory) -> None:
    """A call is given only the time that is left, and the turn ends by the budget, not by an error."""
    model = ScriptedModel([Step(text="In Oslo [m1].", delay=1.0)])
    result = await run(memory, team(model, budget=Budget(wall=0.2)))
    assert (result.status, result.usage.cancelled) == (RunStatus.BUDGET_EXHAUSTED, 1)
    assert 0.15 < result.latency < 1.0


async def test_no_budget_of_time_is_passed_by_waiting(memory: Memory) -> None:
    """Where a provider asks to wait for longer than the turn has, the turn ends when its time is up."""
    model = ScriptedModel([Step(error=ConnectionError("down"))] * 3)
    policy = CallPolicy(first_wait=600.0, longest_wait=600.0)
    with anyio.fail_after(60):
        result = await run(memory, team(model, budget=Budget(wall=1.0)), policy=policy)
    assert (result.status, result.usage.calls) == (RunStatus.BUDGET_EXHAUSTED, 1)
    assert result.stop_reason == "the turn's budget of wall time (1 s) is used up"


async def test_a_last_call(memory: Memory) -> None:
    """Where it is allowed and there is no draft, the Assistant answers once more, without tools."""

    def look(where: str) -> str:
        """Look somewhere."""
        return f"nothing in {where}"

    acts = Step(tool_calls=(("look", {"where": "Oslo"}),))
    for allowed, answer in ((False, ""), (True, "In Oslo, I think.")):
        script: Sequence[Step | str] = [acts, Step(text="In Oslo, I think [m1].", expect="Answer now")]
        model, judge = ScriptedModel(script), ScriptedModel([])
        people = team(model, judge, budget=Budget(calls=2, last_call=allowed))
        quiet = ScriptedModel([YES])
        people = Team(assistant=people.assistant, checker=Checker(model=quiet), budget=people.budget)
        result = await run(memory, people, tools=[look])
        assert (result.status, result.answer) == (RunStatus.BUDGET_EXHAUSTED, answer)
        assert result.stop_reason == "the turn's budget of calls (2) is used up"
        agree(result, model, quiet)
        assert result.usage.calls == 2 + allowed


async def test_a_budget_of_cost(memory: Memory) -> None:
    """By the caller's prices; what a call may cost is reserved, so that the limit is not passed by it."""
    prices = {"mars-scripted": Price(input=1000.0, output=1000.0)}
    model, judge = ScriptedModel([Step(text="In Rome [m1].", tokens=(400, 100))]), ScriptedModel([])
    result = await run(memory, team(model, judge, budget=Budget(cost=1.0)), prices=prices)
    assert (result.status, result.usage.calls) == (RunStatus.BUDGET_EXHAUSTED, 1)
    assert result.usage.cost == pytest.approx(0.5)
    assert result.stop_reason == "the turn's budget of cost (1) is used up"


@pytest.mark.parametrize("where", ["team", "run"])
async def test_a_budget_of_cost_without_a_price_is_refused(memory: Memory, where: str) -> None:
    """Before any call, with the model's name and what helps."""
    model = ScriptedModel([])
    budget = Budget(cost=1.0)
    with pytest.raises(InvalidSetting, match=r"no 'mars-scripted'; add it by Mars.open\(prices"):
        await run(memory, team(model, budget=budget if where == "team" else None), budget=budget)


async def test_a_budget_by_an_old_price_says_so(memory: Memory) -> None:
    """Half a year after it was looked up, with the page to look at; a fresh one, and no budget of cost, are silent."""
    today, budget = memory.clock.now().date(), Budget(cost=1.0)

    async def spent(days: int, budget: Budget | None) -> RunResult:
        model = ScriptedModel([Step(text="In Rome [m1].", tokens=(4, 1))])
        old = Price(input=1.0, output=1.0, as_of=today - timedelta(days=days), source="https://prices.example")
        alone = team(model, without=frozenset({"checker"}), budget=budget)
        return await run(memory, alone, prices={"mars-scripted": old})

    with pytest.warns(StalePrice, match=r"mars-scripted.*look it up at https://prices.example"):
        await spent(184, budget)
    await spent(183, budget)  # a warning is an error here
    await spent(999, None)


def test_bad_budgets_are_refused() -> None:
    """A negative limit, no number, and a policy without attempts."""
    for values in ({"calls": -1}, {"cost": float("nan")}, {"wall": -0.1}):
        with pytest.raises(InvalidSetting, match="must be 0 or more"):
            Budget(**values)
    with pytest.raises(InvalidSetting, match="attempts"):
        CallPolicy(attempts=0)


# Prices and retries


def test_prices(tmp_path: Any) -> None:
    """Dated versions have the price of their model; a file goes before the package's table; nonsense is refused."""
    prices = load_prices()
    mini = price_of("gpt-4o-mini-2024-07-18", prices)
    assert mini is not None
    assert mini == prices["gpt-4o-mini"]
    assert all(one.source and (one.as_of or not one.output) for one in prices.values())
    assert mini.of(1_000_000, 1_000_000) == pytest.approx(0.75)
    assert mini.of(1_000_000, 0, from_cache=1_000_000) == pytest.approx(0.075)
    assert price_of("gpt-4o-maxi", prices) is None
    file = tmp_path / "prices.toml"
    file.write_text("[mine]\ninput = 1.0\noutput = 2.0\n")
    assert price_of("mine", load_prices(file)) == Price(input=1.0, output=2.0)
    for text in ("[mine]\nprice = 3", "mine = 3", "["):
        file.write_text(text)
        with pytest.raises(InvalidFile, match="no price table"):
            load_prices(file)
    with pytest.raises(InvalidFile, match="cannot be read"):
        load_prices(tmp_path / "none.toml")


class Response:
    """An HTTP response as providers' errors carry it."""

    def __init__(self, status_code: int, **headers: str) -> None:
        self.status_code = status_code
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class ProviderError(Exception):
    """An error with a response."""

    def __init__(self, status_code: int, **headers: str) -> None:
        super().__init__("no")
        self.response = Response(status_code, **headers)


def test_what_is_tried_again() -> None:
    """Connections, time-outs, 429 and 5xx; nothing that another attempt would meet again."""
    again = [ConnectionError(), TimeoutError(), ProviderError(429), ProviderError(503), ProviderError(500)]
    never = [PermissionError(), ValueError(), ProviderError(400), ProviderError(401), InvalidSetting("x")]
    assert [is_transient(error) for error in again + never] == [True] * 5 + [False] * 5


def test_how_long_is_waited() -> None:
    """As long as the provider asks, within the policy's limit; else twice as long each time, less a seeded jitter."""
    policy = CallPolicy(first_wait=1.0, longest_wait=10.0, seed=7)
    assert retry_after(ProviderError(429, retry_after="2.5")) == 2.5
    assert policy.wait(1, ProviderError(429, retry_after="2.5"), "a") == 2.5
    assert policy.wait(1, ProviderError(429, retry_after="3600"), "a") == 10.0
    assert retry_after(ProviderError(429, retry_after="Wed, 21 Oct")) is None
    dates = {"retry_after": "Wed, 21 Oct 2026 07:28:30 GMT", "date": "Wed, 21 Oct 2026 07:28:00 GMT"}
    assert retry_after(ProviderError(429, **dates)) == 30.0
    assert retry_after(ProviderError(429, retry_after=dates["date"], date=dates["retry_after"])) == 0.0
    assert retry_after(ProviderError(429, retry_after=dates["retry_after"])) is None
    assert retry_after(ProviderError(429, retry_after_ms="250", retry_after="1")) == 0.25
    assert retry_after(ProviderError(429, retry_after="inf")) is None
    waits = [policy.wait(attempt, ConnectionError(), "a") for attempt in range(1, 7)]
    assert waits == [policy.wait(attempt, ConnectionError(), "a") for attempt in range(1, 7)]
    assert waits != [policy.wait(attempt, ConnectionError(), "b") for attempt in range(1, 7)]
    for attempt, wait in enumerate(waits, 1):
        longest = min(2.0 ** (attempt - 1), 10.0)
        assert longest / 2 <= wait <= longest


async def test_a_slow_model_is_given_up(memory: Memory) -> None:
    """By the monotonic clock, as a failed attempt that is tried again."""
    model = ScriptedModel([Step(text="late", delay=3.0), "In Oslo [m1]."])
    result = await run(memory, team(model), policy=CallPolicy(timeout=1.0, first_wait=0.0))
    assert result.answer == "In Oslo."
    assert (result.usage.calls, result.usage.failures, result.usage.retries) == (2, 1, 1)


async def test_a_tool_that_hangs(memory: Memory) -> None:
    """It is given up, and the Assistant is told that it may have had its effect."""

    async def hang() -> str:
        """Wait for ever."""
        await asyncio.sleep(60)
        return ""

    told = Step(text="In Oslo [m1].", expect="no result within 0.1 s; it may have had its effect")
    model = ScriptedModel([Step(tool_calls=(("hang", {}),)), told])
    result = await run(memory, team(model), tools=[hang], policy=CallPolicy(tool_timeout=0.1))
    assert result.answer == "In Oslo."


# Across processes


async def test_a_resume_does_not_reset_a_budget(tmp_path: Any) -> None:
    """A turn that was cancelled and is resumed in another process has what is left of its budget, and no more.

    The budget that the run was given holds for the resumed one, too; nothing that was answered is asked again.
    """
    url = f"sqlite:///{tmp_path / 'run.db'}"
    model = ScriptedModel(["In Rome [m1].", Step(text="In Oslo [m1].", delay=0.4), "In Bern [m1].", "In Ulm [m1]."])
    judge = ScriptedModel([NO, NO])
    people = team(model, judge, iterations=5)
    async with Mars.open(url, team=people) as mars:
        await mars.memory.add("My sister lives in Oslo.", namespace=HOME, speaker="ann")
        asked = mars.run(QUESTION, user="ann", conversation="talk", budget=Budget(calls=5))
        task = asyncio.ensure_future(asked)
        while len(model.calls) < 2:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    async with Mars.open(url, team=people) as mars:
        result = await mars.resume("talk", on_busy="queue")
        usage = await mars.calls.usage_of_conversation(HOME, "talk")
    assert (result.status, result.stop_reason) == (
        RunStatus.BUDGET_EXHAUSTED,
        "the turn's budget of calls (5) is used up",
    )
    assert (result.usage.calls, result.usage.cancelled, result.usage.maybe_paid) == (5, 1, 0)
    assert len(model.calls) + len(judge.calls) == 5
    assert usage == result.usage
