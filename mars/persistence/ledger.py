"""The ledger of calls: an intent is committed before a model or a tool is called, its outcome after.

Guarantees. *No repeat*: a call whose outcome is committed is never made again; the outcome is given back instead, its
error too. *Counted*: an intent without an outcome, which only the end of a process leaves, is lost: a model is asked
again in a new attempt, and the lost one counts as `Usage.maybe_paid`; a tool with side effects is left to the caller to
decide about. *Bounded*: an intent reserves what the call may cost, in one transaction with the check of every budget,
and the outcome settles it; both are rows, so that a new process begins with what was spent. What a lost or a cancelled
call reserved stays spent for its budgets, since nobody knows what it cost, and so does what a reply reserved whose
model does not say what it used.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from mars.errors import NotFound
from mars.memory.backends.wire import Wire
from mars.persistence import leases
from mars.persistence.budgets import Limits, Scope, Spending, check
from mars.persistence.call_rows import Call, HeldRows, Key, Rows, StoredRows
from mars.persistence.database import Database
from mars.persistence.leases import Fence

__all__ = ["Begun", "DatabaseLedger", "Key", "Ledger", "MemoryLedger", "Outcome", "Request"]

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A call that is to be made."""

    key: Key
    """Which call it is."""
    kind: str
    """model or tool."""
    name: str
    """Of the model or the tool."""
    limits: Limits
    """The scopes that it counts for, with their budgets."""
    hold_tokens: int = 0
    """Tokens that are reserved for it."""
    hold_cost: float = 0.0
    """Cost that is reserved for it."""
    careful: bool = False
    """Whether a lost attempt forbids another: a side effect may have happened."""
    last: bool = False
    """Whether it is the one call that is allowed when a budget is used up."""
    fence: Fence | None = None
    """What the lease of the conversation is checked by, in each transaction that writes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of an attempt."""

    state: str
    """done, failed, retry, cancelled; or unissued: the call was never made, and its intent goes."""
    body: Mapping[str, Any] | str = ""
    """The reply as JSON values, or the words of the error."""
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float | None = None
    """None where the price is not known."""
    cached: bool = False
    """Whether no provider was asked."""
    latency: float = 0.0
    """Seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """What the ledger says of a request: make the call, or take what is there."""

    attempt: int
    """Number of the attempt, from 1."""
    recorded: Call | None = None
    """The attempt whose outcome is committed: no call is to be made. One in the state ``intent`` was lost while a side
    effect may have happened."""
    left: float | None = None
    """How many seconds the budgets leave."""
    wall: float | None = None
    """How many of them may be spent with waiting, too."""


class Ledger(Protocol):
    """Records calls; see the module for the guarantees."""

    async def begin(self, request: Request, wall: float = 0.0) -> Begun:
        """Commit the intent of a call; `wall` are the seconds since the last row of this turn.

        Raises `BudgetExhausted`, with nothing written, where a budget has no room for it.
        """

    async def settle(self, request: Request, attempt: int, outcome: Outcome, wall: float = 0.0) -> Spending:
        """Commit the outcome of an attempt; does nothing where it has one. Return what its turn has spent then."""

    async def resolve(self, key: Key, body: Mapping[str, Any] | None, fence: Fence | None = None) -> None:
        """Say what came of a lost action: its reply, or None if it did not happen and may be tried again.

        Raises `NotFound` where no such action is waiting.
        """

    async def spent(self, scope: Scope) -> Spending:
        """Return the totals of a scope."""

    async def calls(self, conversation: str, turn: str) -> list[Call]:
        """Return the attempts of a turn that are still there, in their order."""

    async def finish(self, conversation: str, turn: str, fence: Fence | None = None) -> None:
        """Forget the attempts and the total of a turn that is over; those of its conversation and its user stay."""


class MemoryLedger:
    """A ledger that lasts as long as its process: counts and budgets, without a database."""

    def __init__(self) -> None:
        self._rows = HeldRows()

    async def begin(self, request: Request, wall: float = 0.0) -> Begun:
        """See `Ledger.begin`."""
        return begin(self._rows, request, wall)

    async def settle(self, request: Request, attempt: int, outcome: Outcome, wall: float = 0.0) -> Spending:
        """See `Ledger.settle`."""
        return settle(self._rows, request, attempt, outcome, wall)

    async def resolve(self, key: Key, body: Mapping[str, Any] | None, fence: Fence | None = None) -> None:
        """See `Ledger.resolve`."""
        resolve(self._rows, key, body)

    async def spent(self, scope: Scope) -> Spending:
        """See `Ledger.spent`."""
        return self._rows.spent([scope])[scope]

    async def calls(self, conversation: str, turn: str) -> list[Call]:
        """See `Ledger.calls`."""
        return self._rows.of_turn(conversation, turn)

    async def finish(self, conversation: str, turn: str, fence: Fence | None = None) -> None:
        """See `Ledger.finish`."""
        finish(self._rows, conversation, turn)


class DatabaseLedger:
    """A ledger in the database of the runs: what it has acknowledged survives the death of the process."""

    def __init__(self, database: Database) -> None:
        """Read and write an open database. Writes raise `LeaseLost` where the conversation's lease was taken over."""
        self._database = database

    async def begin(self, request: Request, wall: float = 0.0) -> Begun:
        """See `Ledger.begin`."""
        return await self._write(request.fence, lambda rows: begin(rows, request, wall))

    async def settle(self, request: Request, attempt: int, outcome: Outcome, wall: float = 0.0) -> Spending:
        """See `Ledger.settle`."""
        return await self._write(request.fence, lambda rows: settle(rows, request, attempt, outcome, wall))

    async def resolve(self, key: Key, body: Mapping[str, Any] | None, fence: Fence | None = None) -> None:
        """See `Ledger.resolve`."""
        await self._write(fence, lambda rows: resolve(rows, key, body))

    async def spent(self, scope: Scope) -> Spending:
        """See `Ledger.spent`."""
        return await self._database.read(lambda wire: StoredRows(wire).spent([scope])[scope])

    async def calls(self, conversation: str, turn: str) -> list[Call]:
        """See `Ledger.calls`."""
        return await self._database.read(lambda wire: StoredRows(wire).of_turn(conversation, turn))

    async def finish(self, conversation: str, turn: str, fence: Fence | None = None) -> None:
        """See `Ledger.finish`."""
        await self._write(fence, lambda rows: finish(rows, conversation, turn))

    async def _write(self, fence: Fence | None, work: Callable[[Rows], Result]) -> Result:
        def transact(wire: Wire) -> Result:
            leases.check(wire, fence)
            return work(StoredRows(wire))

        return await self._database.write(transact)


def begin(rows: Rows, request: Request, wall: float) -> Begun:
    """Do what `Ledger.begin` does, within a transaction."""
    rows.begin()
    earlier = rows.attempts(request.key)
    last = earlier[-1] if earlier else None
    if last is not None and (last.state in ("done", "failed") or (last.state == "intent" and request.careful)):
        return Begun(attempt=last.attempt, recorded=last)
    lost = last is not None and last.state == "intent"
    is_model = request.kind == "model"
    change = Spending(
        wall=wall,
        retries=int(last is not None and last.state == "retry"),
        maybe_paid=int(lost and is_model),
        last_calls=int(request.last),
        held_calls=int(is_model),
        held_tokens=request.hold_tokens,
        held_cost=request.hold_cost,
    )
    limited = request.last or any(budgets for _, budgets in request.limits)
    spent = rows.spent(scope for scope, _ in request.limits) if limited else {}
    left = wall_left = None
    if limited and not (request.last and _never_last(request, spent)):
        left = check(request.limits, {scope: total + change for scope, total in spent.items()})
        walls = [(one.wall, spent[scope].wall) for scope, budgets in request.limits for one in budgets]
        wall_left = min((limit - used - wall for limit, used in walls if limit is not None), default=None)
    if lost and last is not None:
        rows.put(last._replace(state="lost"))
    attempt = last.attempt + 1 if last is not None else 1
    rows.put(
        Call(*request.key, attempt, request.kind, request.name, "intent", "", request.hold_tokens, request.hold_cost)
    )
    rows.spend(dict.fromkeys((scope for scope, _ in request.limits), change))
    return Begun(attempt=attempt, left=left, wall=wall_left)


def _never_last(request: Request, spent: Mapping[Scope, Spending]) -> bool:
    """Whether the turn has not had its last call."""
    return all(not total.last_calls for scope, total in spent.items() if scope.kind == "turn")


def settle(rows: Rows, request: Request, attempt: int, outcome: Outcome, wall: float) -> Spending:
    """Do what `Ledger.settle` does, within a transaction."""
    rows.begin()
    _settle(rows, request, attempt, outcome, wall)
    return sum(rows.spent(scope for scope, _ in request.limits if scope.kind == "turn").values(), Spending())


def _settle(rows: Rows, request: Request, attempt: int, outcome: Outcome, wall: float) -> None:
    call = next((one for one in rows.attempts(request.key) if one.attempt == attempt), None)
    if call is None or call.state != "intent":
        return
    made = outcome.state != "unissued" and not outcome.cached
    is_model, cancelled = call.kind == "model", outcome.state == "cancelled"
    untold = is_model and made and outcome.state == "done" and not (outcome.input_tokens or outcome.output_tokens)
    change = Spending(
        calls=int(is_model and made),
        tool_calls=int(not is_model and made),
        failures=int(is_model and outcome.state in ("failed", "retry")),
        cancelled=int(is_model and cancelled),
        cached=int(outcome.cached),
        unpriced=int(is_model and made and outcome.cost is None),
        input_tokens=outcome.input_tokens if made else 0,
        output_tokens=outcome.output_tokens if made else 0,
        cost=outcome.cost or 0.0 if made else 0.0,
        wall=wall,
        working=outcome.latency,
        held_calls=-int(is_model),
        held_tokens=0 if cancelled or untold else -call.held_tokens,
        held_cost=0.0 if cancelled or untold else -call.held_cost,
    )
    rows.spend({scope: change for scope, _ in request.limits})
    if outcome.state == "unissued":
        rows.remove(call)
        return
    rows.put(
        call._replace(
            state=outcome.state,
            body=_text(outcome.body),
            input_tokens=change.input_tokens,
            output_tokens=change.output_tokens,
            cost=outcome.cost,
            latency=outcome.latency,
        )
    )


def resolve(rows: Rows, key: Key, body: Mapping[str, Any] | None) -> None:
    """Do what `Ledger.resolve` does, within a transaction."""
    rows.begin()
    earlier = rows.attempts(key)
    if not earlier or earlier[-1].state != "intent":
        raise NotFound("no call with this key waits for its outcome: it has one, or its turn is over")
    rows.put(earlier[-1]._replace(state="lost" if body is None else "done", body=_text(body or "")))


def finish(rows: Rows, conversation: str, turn: str) -> None:
    """Do what `Ledger.finish` does, within a transaction."""
    rows.begin()
    rows.remove_turn(conversation, turn)


def close(rows: StoredRows, conversation: str, turn: str, leaving: str | None) -> None:
    """Forget the total of a turn that is over, and the attempts of one whose last checkpoint is kept no longer."""
    rows.begin()
    rows.forget_totals(turn)
    if leaving is not None:
        rows.remove_calls(conversation, leaving)


def _text(body: Mapping[str, Any] | str) -> str:
    """Return a body as ASCII JSON, which every database stores; what is no JSON becomes its text."""
    return json.dumps(body, default=str)
