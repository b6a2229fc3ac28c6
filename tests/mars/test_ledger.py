"""The ledger of calls in memory, on SQLite and on PostgreSQL: the same rules on each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from mars.errors import BudgetExhausted, LeaseLost, NotFound
from mars.persistence.budgets import Budget, Scope
from mars.persistence.call_rows import Key
from mars.persistence.database import Database
from mars.persistence.leases import Fence
from mars.persistence.ledger import DatabaseLedger, Ledger, MemoryLedger, Outcome, Request

pytestmark = pytest.mark.anyio

TURN, USER = Scope("turn", "t"), Scope("user", "ann")
KEY = Key("talk", "t", 1, "assistant", 1)
ASK = Request(key=KEY, kind="model", name="m", limits=((TURN, ()), (USER, ())), hold_tokens=100, hold_cost=0.5)
DONE = Outcome(
    state="done", body={"content": "In Oslo \u0000 \ud83d\ude00"}, input_tokens=7, output_tokens=2, cost=0.25
)


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def ledgers(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Callable[[], Ledger]]:
    """Return a maker of ledgers: each call is another one over the same rows, as in a new process."""
    if request.param == "memory":
        only = MemoryLedger()
        yield lambda: only
        return
    url = (
        f"sqlite:///{tmp_path / 'run.db'}" if request.param == "sqlite" else request.getfixturevalue("fresh_database")()
    )
    database = Database(url)
    await to_thread.run_sync(database.open)
    try:
        yield lambda: DatabaseLedger(database)
    finally:
        await to_thread.run_sync(database.close)


def limited(request: Request, budget: Budget, scope: Scope = TURN) -> Request:
    """Return a request under a budget."""
    return replace(request, limits=tuple((one, (budget,) if one == scope else ()) for one, _ in request.limits))


async def test_a_committed_outcome_is_given_back(ledgers: Callable[[], Ledger]) -> None:
    """To whoever asks again, with every character of it, and without a second charge."""
    begun = await ledgers().begin(ASK)
    assert (begun.attempt, begun.recorded) == (1, None)
    await ledgers().settle(ASK, 1, DONE)
    again = await ledgers().begin(ASK)
    assert again.recorded is not None
    assert (again.recorded.state, again.recorded.input_tokens, again.recorded.cost) == ("done", 7, 0.25)
    assert '"In Oslo \\u0000 \\ud83d\\ude00"' in again.recorded.body
    spent = await ledgers().spent(TURN)
    assert spent.usage.plain() == {
        "calls": 1,
        "tool_calls": 0,
        "input_tokens": 7,
        "output_tokens": 2,
        "cost": 0.25,
        "retries": 0,
        "failures": 0,
        "cancelled": 0,
        "cached": 0,
        "maybe_paid": 0,
    }
    assert (spent.held_calls, spent.held_tokens, spent.held_cost) == (0, 0, 0.0)
    assert await ledgers().spent(USER) == spent


async def test_a_lost_call_is_made_again_and_stays_charged(ledgers: Callable[[], Ledger]) -> None:
    """It counts as maybe paid, and what it reserved stays spent for budgets."""
    await ledgers().begin(ASK)
    begun = await ledgers().begin(ASK)
    assert (begun.attempt, begun.recorded) == (2, None)
    await ledgers().settle(ASK, 2, DONE)
    spent = await ledgers().spent(TURN)
    assert (spent.usage.calls, spent.usage.maybe_paid, spent.usage.input_tokens) == (1, 1, 7)
    assert (spent.held_calls, spent.held_tokens, spent.held_cost) == (1, 100, 0.5)
    assert [call.state for call in await ledgers().calls("talk", "t")] == ["lost", "done"]
    await ledgers().settle(ASK, 1, DONE)  # too late: nobody waits for it
    assert await ledgers().spent(TURN) == spent


async def test_a_lost_action_waits_for_its_outcome(ledgers: Callable[[], Ledger]) -> None:
    """It is not begun again until somebody says what came of it; then it is over, or may be tried again."""
    action = replace(ASK, kind="tool", name="post", careful=True, hold_tokens=0, hold_cost=0.0)
    with pytest.raises(NotFound, match="waits for its outcome"):
        await ledgers().resolve(KEY, None)
    await ledgers().begin(action)
    waiting = await ledgers().begin(action)
    assert waiting.recorded is not None
    assert waiting.recorded.state == "intent"
    await ledgers().resolve(KEY, None)
    assert (await ledgers().begin(action)).attempt == 2
    await ledgers().resolve(KEY, {"content": "posted", "failed": False})
    over = await ledgers().begin(action)
    assert over.recorded is not None
    assert (over.recorded.state, over.recorded.attempt) == ("done", 2)
    assert (await ledgers().spent(TURN)).usage.maybe_paid == 0


async def test_failed_attempts(ledgers: Callable[[], Ledger]) -> None:
    """One that is to be tried again makes room for the next; a final one is given back."""
    await ledgers().begin(ASK)
    await ledgers().settle(ASK, 1, Outcome(state="retry", body="ConnectionError: down", cost=0.0))
    assert (await ledgers().begin(ASK)).attempt == 2
    await ledgers().settle(ASK, 2, Outcome(state="failed", body="PermissionError: no key", cost=0.0))
    final = await ledgers().begin(ASK)
    assert final.recorded is not None
    assert (final.recorded.state, final.recorded.body) == ("failed", '"PermissionError: no key"')
    usage = (await ledgers().spent(TURN)).usage
    assert (usage.calls, usage.failures, usage.retries, usage.cost) == (2, 2, 1, 0.0)


async def test_what_was_never_called_leaves_nothing(ledgers: Callable[[], Ledger]) -> None:
    """The intent goes with what it reserved."""
    await ledgers().begin(ASK)
    await ledgers().settle(ASK, 1, Outcome(state="unissued"))
    spent = await ledgers().spent(TURN)
    assert (spent.usage.calls, spent.held_calls, spent.held_tokens) == (0, 0, 0)
    assert await ledgers().calls("talk", "t") == []
    assert (await ledgers().begin(ASK)).attempt == 1


async def test_a_budget_is_reserved_with_the_intent(ledgers: Callable[[], Ledger]) -> None:
    """Of many calls that begin at once, in two processes' worth of ledgers, just as many pass as there is room for."""
    passed: list[Key] = []
    first, second = ledgers(), ledgers()

    async def begin(number: int) -> None:
        request = limited(replace(ASK, key=KEY._replace(ordinal=number)), Budget(calls=5), USER)
        try:
            await (first if number % 2 else second).begin(request)
        except BudgetExhausted:
            return
        passed.append(request.key)

    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(begin, number)
    assert len(passed) == 5
    assert (await ledgers().spent(USER)).held_calls == 5
    assert len(await ledgers().calls("talk", "t")) == 5


@pytest.mark.parametrize("budget", [Budget(tokens=199), Budget(cost=0.9), Budget(calls=1)])
async def test_a_new_process_begins_with_what_was_spent(ledgers: Callable[[], Ledger], budget: Budget) -> None:
    """What one ledger reserved, another one counts; nothing of a refused call is written."""
    await ledgers().begin(limited(ASK, budget))
    other = limited(replace(ASK, key=KEY._replace(ordinal=2)), budget)
    with pytest.raises(BudgetExhausted, match="the turn's budget of"):
        await ledgers().begin(other)
    assert len(await ledgers().calls("talk", "t")) == 1


async def test_the_last_call_is_one(ledgers: Callable[[], Ledger]) -> None:
    """A used-up budget lets one call pass that says that it is the turn's last; no other one, also after a restart."""
    last = limited(replace(ASK, last=True), Budget(calls=0))
    await ledgers().begin(last)
    await ledgers().settle(last, 1, DONE)
    assert (await ledgers().begin(last)).recorded is not None
    with pytest.raises(BudgetExhausted):
        await ledgers().begin(replace(last, key=KEY._replace(ordinal=2)))


async def test_finishing_keeps_the_totals(ledgers: Callable[[], Ledger]) -> None:
    """The attempts and the total of a turn go, those of another stay, and what a user has spent is not forgotten."""
    role = Scope("role", "t/assistant")
    ask = replace(ASK, limits=(*ASK.limits, (role, ())))
    other = replace(ASK, key=KEY._replace(turn="u"), limits=((Scope("turn", "u"), ()), (USER, ())))
    for request in (ask, other):
        await ledgers().begin(request)
        await ledgers().settle(request, 1, DONE)
    before = await ledgers().spent(USER)
    await ledgers().finish("talk", "t")
    assert await ledgers().calls("talk", "t") == []
    assert len(await ledgers().calls("talk", "u")) == 1
    assert await ledgers().spent(USER) == before
    assert [(await ledgers().spent(scope)).calls for scope in (TURN, role, Scope("turn", "u"))] == [0, 0, 1]
    assert before.usage.calls == 2


async def test_a_lost_lease_stops_the_ledger(tmp_path: Path) -> None:
    """A run whose conversation was taken over records nothing and calls nothing."""
    database = Database(f"sqlite:///{tmp_path / 'run.db'}")
    await to_thread.run_sync(database.open)
    try:
        ledger = DatabaseLedger(database)
        with pytest.raises(LeaseLost):
            await ledger.begin(replace(ASK, fence=Fence("talk", 3)))
        assert await ledger.calls("talk", "t") == []
    finally:
        await to_thread.run_sync(database.close)
