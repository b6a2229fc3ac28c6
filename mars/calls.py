"""The boundary where models and tools are called: every call goes through the ledger, under time limits and budgets.

Agents know nothing of this: they get a `mars.role_models.RoleModel` where they would get a chat model. Which call of
which turn it is comes from the node that is running, through a context variable (`placed`): calls are numbered from the
state that the node began with, so that a node that is executed again asks for the same calls.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import date
from functools import wraps
from typing import Any, TypeVar

import anyio
from anyio import CancelScope
from langchain_core.runnables.config import var_child_runnable_config
from langgraph.errors import GraphBubbleUp
from langgraph.types import Command
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from mars.errors import BudgetExhausted, CallFailed, InvalidSetting, NotFound
from mars.models.prices import Price, Prices, built_in, price_of, warn_of_stale
from mars.observability.observing import noted, observed
from mars.persistence import points
from mars.persistence.budgets import Budget, Budgets, Limits, Scope, Spending, Usage
from mars.persistence.call_rows import Call, Key
from mars.persistence.leases import Fence, fence_of
from mars.persistence.ledger import Begun, Ledger, MemoryLedger, Outcome, Request
from mars.retrying import CallPolicy, is_transient
from mars.state import State, checked, namespace_of
from mars.watching import Watch, watcher_of

Result = TypeVar("Result")


@dataclass(slots=True)
class Place:
    """Where in which turn a node runs, and how many calls it has made."""

    conversation: str
    turn: str
    iteration: int
    namespace: tuple[str, ...]
    user: str
    budget: Budget | None
    """What this turn may spend, beside what the team says."""
    calls: int
    """Calls of the turn so far: the ordinal of the next one."""
    fence: Fence | None = None
    """What the conversation's lease is checked by."""
    began: float = field(default_factory=time.monotonic)
    """When the node began, on the monotonic clock."""
    watch: Watch | None = None
    """Who is told what happens; None: LangGraph's stream."""

    @classmethod
    def of(cls, state: State) -> Place:
        """Return the place that a state is at."""
        budget = state.get("budget")
        return cls(
            conversation=state["conversation"],
            turn=state["turn"],
            iteration=state.get("iteration", 1),
            namespace=namespace_of(state),
            user=state["task"]["user"],
            budget=Budget(**budget) if budget else None,
            calls=state.get("calls", 0),
            fence=fence_of(var_child_runnable_config.get()),
            watch=watcher_of(state["turn"]),
        )

    def next(self, role: str) -> Key:
        """Return the key of the next call."""
        self.calls += 1
        return Key(self.conversation, self.turn, self.iteration, role, self.calls)

    def scopes(self, role: str) -> dict[str, Scope]:
        """Return whose spending a call of a role counts for."""
        names = {
            "turn": self.turn,
            "role": f"{self.turn}/{role}",
            "conversation": json.dumps([self.namespace, self.conversation]),
            "user": self.user,
        }
        return {kind: Scope(kind, name) for kind, name in names.items()}


_place: ContextVar[Place] = ContextVar("mars_place")


def here() -> Place:
    """Return where the running node is; raises `LookupError` outside of a node."""
    return _place.get()


def placed(node: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Wrap a node (a method of one argument, the state): its calls are numbered, and what it returns is validated."""
    validated = checked(node)

    @wraps(node)
    async def run(self: Any, state: State) -> Any:
        place = Place.of(state)
        token = _place.set(place)
        try:
            update = await validated(self, state)
        except BaseException:
            self.calls.rest(place.turn)
            raise
        finally:
            _place.reset(token)
        values: Any = update.update if isinstance(update, Command) else update
        if place.calls != state.get("calls", 0):
            values["calls"] = place.calls
        if place.watch is not None:
            place.watch.note(state, values or {})
        return update

    return run


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a model or a tool returned."""

    body: dict[str, Any]
    """JSON values, as they are recorded."""
    usage: Mapping[str, Any] | None = None
    """``usage_metadata`` of the reply, if the model gives it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be called."""

    key: Key
    """Which call it is."""
    name: str
    """Of the model or the tool."""
    kind: str = "model"
    """model or tool."""
    family: str = ""
    """Of a model: its LangChain class's name for itself, such as openai-chat."""
    hold: tuple[int, int] = (0, 0)
    """Input and output tokens to reserve."""
    careful: bool = False
    """Whether it must not be made again while its outcome is not known."""
    last: bool = False
    """Whether it is the one call that is allowed when a budget is used up."""


class OutcomeUnknown(Exception):
    """An action was begun in a process that ended, and may have had its effect."""


class _Again(Exception):
    """An attempt failed and another one may succeed."""

    def __init__(self, error: Exception, attempt: int, left: float) -> None:
        super().__init__(str(error))
        self.error, self.attempt, self.left = error, attempt, left


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """Makes calls, each recorded, limited and counted."""

    ledger: Ledger = field(default_factory=MemoryLedger)
    """Where they are recorded."""
    policy: CallPolicy = field(default_factory=CallPolicy)
    """Time limits and retries."""
    budgets: Budgets = field(default_factory=Budgets)
    """What turns, roles, conversations and users may spend."""
    prices: Prices = field(default_factory=built_in)
    """What models cost."""
    models: set[str] = field(default_factory=set)
    """Names of the models that are called."""
    _marks: dict[str, tuple[Fence | None, float]] = field(default_factory=dict)
    """Until when, on the monotonic clock, the wall time of a turn is on record, and by which lease."""
    _spent: dict[str, tuple[Fence | None, Spending]] = field(default_factory=dict)
    """What turns have spent, as this process knew it last, and by which lease."""

    async def perform(self, wanted: Wanted, make: Callable[[], Awaitable[Reply]]) -> dict[str, Any]:
        """Make a call, or return what is on record of it, as JSON values.

        Raises what the call raises when it is not to be tried again, `CallFailed` where that is on record,
        `BudgetExhausted` where no budget has room, `OutcomeUnknown` for a careful call that was cut off.
        """
        request, make = self._request(wanted), observed(wanted, make)
        try:
            return await self._attempt(request, make)
        except _Again as error:
            await anyio.sleep(self._pause(error, wanted))

        def wait(state: RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            assert isinstance(error, _Again)
            return self._pause(error, wanted)

        retrying = AsyncRetrying(retry=retry_if_exception_type(_Again), wait=wait, sleep=anyio.sleep, reraise=True)
        body: dict[str, Any] = await retrying(self._attempt, request, make)
        return body

    def _pause(self, error: _Again, wanted: Wanted) -> float:
        return min(error.left, self.policy.wait(error.attempt, error.error, "/".join(map(str, wanted.key))))

    def _request(self, wanted: Wanted) -> Request:
        price = price_of(wanted.name, self.prices) if wanted.kind == "model" else None
        return Request(
            key=wanted.key,
            kind=wanted.kind,
            name=wanted.name,
            limits=self._limits(here(), wanted.key.role),
            hold_tokens=sum(wanted.hold),
            hold_cost=price.of(*wanted.hold) if price else 0.0,
            careful=wanted.careful,
            last=wanted.last,
            fence=here().fence,
        )

    def _limits(self, place: Place, role: str) -> Limits:
        scopes = place.scopes(role)
        extra = (place.budget,) if place.budget else ()
        return tuple(
            (scope, (*self.budgets.limits(scope), *(extra if kind == "turn" else ())))
            for kind, scope in sorted(scopes.items())
        )

    async def _attempt(self, request: Request, make: Callable[[], Awaitable[Reply]]) -> dict[str, Any]:
        points.reach("call_wanted")
        begun = await self._begin(request)
        if begun.recorded is not None:
            return _recorded(begun.recorded)
        points.reach("call_intended")
        limit = self.policy.timeout if request.kind == "model" else None
        within = min((one for one in (limit, begun.left) if one is not None), default=None)
        started = time.monotonic()
        try:
            with anyio.move_on_after(within) as scope:
                reply = await make()
            if scope.cancelled_caught:
                raise _late(request, within, begun.left)
        except BaseException as error:
            await self._fail(request, begun, error, time.monotonic() - started)
            raise
        latency = time.monotonic() - started
        points.reach("call_returned")
        await self._settle(request, begun.attempt, self._outcome(request, reply, latency))
        points.reach("call_settled")
        return reply.body

    async def _begin(self, request: Request) -> Begun:
        self._spent.pop(here().turn, None)
        begun, cancelled = await _whole(self.ledger.begin(request, self._wall()))
        self._mark()
        if cancelled is not None:
            if begun.recorded is None:
                await self._settle(request, begun.attempt, Outcome(state="unissued"))
            raise cancelled
        return begun

    async def _fail(self, request: Request, begun: Begun, error: BaseException, latency: float) -> None:
        """Record an attempt that failed; raise `_Again` if there is to be another one."""
        again = isinstance(error, Exception) and is_transient(error) and begun.attempt < self.policy.attempts
        state = "retry" if again else "failed"
        if isinstance(error, GraphBubbleUp):
            state = "unissued"  # a tool that asks a person begins anew with the answer
        elif isinstance(error, BudgetExhausted) or not isinstance(error, Exception):
            state = "cancelled"
        outcome = Outcome(state=state, body=f"{type(error).__name__}: {error}", cost=0.0, latency=latency)
        await self._settle(request, begun.attempt, outcome)
        if again and isinstance(error, Exception):
            raise _Again(error, begun.attempt, math.inf if begun.wall is None else begun.wall - latency) from error

    def _outcome(self, request: Request, reply: Reply, latency: float) -> Outcome:
        usage = reply.usage or {}
        read, written = int(usage.get("input_tokens") or 0), int(usage.get("output_tokens") or 0)
        price = price_of(request.name, self.prices) if request.kind == "model" else None
        return Outcome(
            state="done",
            body=reply.body,
            input_tokens=read,
            output_tokens=written,
            cost=_cost(price, reply.usage, read, written),
            cached=usage.get("total_cost") == 0,  # langchain-core's mark of a reply out of a cache
            latency=latency,
        )

    async def _settle(self, request: Request, attempt: int, outcome: Outcome) -> None:
        """Record an outcome to the end, also when this is cancelled meanwhile."""
        noted(request.key, attempt, outcome)
        spent, cancelled = await _whole(self.ledger.settle(request, attempt, outcome, self._wall()))
        self._spent[here().turn] = (here().fence, spent)
        self._mark()
        if cancelled is not None:
            raise cancelled

    def _wall(self) -> float:
        place = here()
        fence, since = self._marks.get(place.turn, (None, place.began))
        return max(0.0, time.monotonic() - (since if fence == place.fence else place.began))

    def _mark(self) -> None:
        self._marks[here().turn] = here().fence, time.monotonic()

    def rest(self, turn: str) -> None:
        """Count no more time for a turn until it goes on: it waits for a person, or was broken off."""
        self._marks.pop(turn, None)
        self._spent.pop(turn, None)

    async def settle_action(self, conversation: str, turn: str, body: Mapping[str, Any] | None) -> None:
        """Say what came of the first lost action of a turn: its reply, or None if it did not happen."""
        lost = [
            one for one in await self.ledger.calls(conversation, turn) if (one.kind, one.state) == ("tool", "intent")
        ]
        if not lost:
            raise NotFound(f"no action of conversation {conversation!r} waits for its outcome: resume it")
        await self.ledger.resolve(lost[0].key, body)

    async def close_turn(self) -> Spending:
        """Return what the turn of the running node has spent; its wall time is complete."""
        place = here()
        fence, spent = self._spent.pop(place.turn, (None, None))
        if spent is None or fence != place.fence:
            spent = await self.ledger.spent(place.scopes("")["turn"])
        wall = spent.wall + self._wall()
        self._marks.pop(place.turn, None)
        return spent + Spending(wall=wall - spent.wall)

    async def forget(self, conversation: str, turn: str) -> None:
        """Forget the calls of a turn that is over, or given up."""
        self.rest(turn)
        await self.ledger.finish(conversation, turn)

    async def usage_of_user(self, user: str) -> Usage:
        """Return what a user has spent in all conversations."""
        return (await self.ledger.spent(Scope("user", user))).usage

    async def usage_of_conversation(self, namespace: tuple[str, ...], conversation: str) -> Usage:
        """Return what a conversation has spent in all of its turns."""
        return (await self.ledger.spent(Scope("conversation", json.dumps([namespace, conversation])))).usage

    def check_priced(self, budget: Budget | None, today: date) -> None:
        """Raise `InvalidSetting` where a budget of cost is to hold for a model without a price; warn of an old one."""
        limited = any(one.cost is not None for one in (*self.budgets.all, *((budget,) if budget else ())))
        model = next((name for name in sorted(self.models) if price_of(name, self.prices) is None), None)
        if limited and model is not None:
            raise InvalidSetting(
                f"a budget of cost cannot hold: the price table has no {model!r}; add it by Mars.open(prices="
                f'{{"{model}": Price(input=…, output=…)}}), or limit calls or tokens instead'
            )
        if limited:
            warn_of_stale(self.models, self.prices, today)

    @property
    def last_call(self) -> bool:
        """Whether the turn of the running node may answer once more when a budget is used up."""
        budget = here().budget
        return any(one.last_call for one in (*self.budgets.all, *((budget,) if budget else ())))


def _recorded(call: Call) -> dict[str, Any]:
    """Return or raise what is on record."""
    if call.state == "intent":
        raise OutcomeUnknown
    body: Any = json.loads(call.body)
    if call.state == "failed":
        raise CallFailed(body)
    return dict(body)


def _late(request: Request, within: float | None, left: float | None) -> Exception:
    if left is not None and within == left:
        return BudgetExhausted(f"the time that the budgets left ({left:g} s) was used up by {request.name}")
    return TimeoutError(f"{request.name} did not reply within {within:g} s")


def _cost(price: Price | None, usage: Mapping[str, Any] | None, read: int, written: int) -> float | None:
    if price is None or (usage is None and (price.input or price.output)):
        return None
    details = (usage or {}).get("input_token_details") or {}
    return price.of(read, written, min(read, int(details.get("cache_read") or 0)))


async def _whole(work: Coroutine[Any, Any, Result]) -> tuple[Result, asyncio.CancelledError | None]:
    """Return what `work` returns and, if this was cancelled meanwhile, with what: it is done as a whole."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task), None
    except asyncio.CancelledError as error:
        with CancelScope(shield=True):
            await asyncio.wait([task])
        return task.result(), error
