"""A turn run again from its records alone: no model and no tool is called, nobody is asked, and nothing is written.

The loop is the real one. What it asks of a model, a tool or a person is answered by what the ledger and the rows of
questions have of that turn, and what it recalled last by its state. All else works anew: the order of steps, the rules,
the verifiers, and on the memory of today the recall of earlier drafts and the Checker's own search. Where the loop asks
for what is not on record, it has left the recorded path: there the rehearsal ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any

from mars.calls import Calls, placed
from mars.errors import BudgetExhausted, ConversationError
from mars.graph import compile_graph, recursion_limit
from mars.moments import Step
from mars.nodes import Loop
from mars.people import said_by_people
from mars.persistence.approvals import Asked, Decision
from mars.persistence.asks import Desk
from mars.persistence.budgets import Scope, Spending
from mars.persistence.call_rows import Call, Key
from mars.persistence.leases import Fence
from mars.persistence.ledger import Begun, Outcome, Request
from mars.state import State
from mars.watching import Watch, keep_apart, watch

__all__ = ["Records", "rehearsed"]


class _OffRecord(ConversationError):
    """The loop asks for what is not on record."""


@dataclass(slots=True)
class Records:
    """What is on record of a turn, as a ledger and as a desk."""

    calls: Sequence[Call]
    """The attempts of its calls."""
    asks: Sequence[Asked] = ()
    """What people were asked and decided."""
    stop_reason: str = ""
    """Which budget ended it, where one did: there nothing is on record either."""
    missing: Step | None = None
    """The first thing that was asked for and is not on record."""

    def call(self, request: Request) -> Call:
        """Return the outcome of a call; raise `_OffRecord` or `BudgetExhausted` where none is on record."""
        key = request.key
        found = [one for one in self.calls if one.key == key and one.state in ("done", "failed")]
        named = [one for one in found if request.kind == "model" or one.name == request.name]
        if named:
            return named[-1]
        if self.stop_reason and not found:
            raise BudgetExhausted(self.stop_reason)
        raise self.off(key, f"{request.kind} {request.name}", f"{found[-1].kind} {found[-1].name}" if found else "")

    def off(self, key: Key, wanted: str, recorded: str = "") -> _OffRecord:
        """Note what is not on record, and return what to raise."""
        self.missing = self.missing or Step(key.role, "call", key.iteration, recorded, wanted)
        return _OffRecord(f"call {key.ordinal} of the turn, of {key.role}, is not on record")


@dataclass(frozen=True, slots=True)
class RecordedLedger:
    """A ledger (`mars.persistence.ledger.Ledger`) that gives outcomes back and records nothing."""

    records: Records

    async def begin(self, request: Request, wall: float = 0.0) -> Begun:
        """Return the outcome that is on record; see `Records.call` for what is raised where there is none."""
        found = self.records.call(request)
        return Begun(attempt=found.attempt, recorded=found)

    async def settle(self, request: Request, attempt: int, outcome: Outcome, wall: float = 0.0) -> Spending:
        """Nothing was called, so nothing is spent."""
        return Spending()

    async def resolve(self, key: Key, body: Mapping[str, Any] | None, fence: Fence | None = None) -> None:
        """Refuse: an action whose outcome is not known is not settled by a rehearsal."""
        raise self.records.off(key, "the outcome of an action")

    async def spent(self, scope: Scope) -> Spending:
        """Return nothing."""
        return Spending()

    async def calls(self, conversation: str, turn: str) -> list[Call]:
        """Return the attempts that are on record."""
        return list(self.records.calls)

    async def finish(self, conversation: str, turn: str, fence: Fence | None = None) -> None:
        """Leave everything as it is."""


class RecordedDesk(Desk):
    """A desk where nobody is asked: what was decided is told."""

    def __init__(self, records: Records) -> None:
        super().__init__()
        self._records = records

    async def put(self, ask: Asked, fence: Fence | None = None) -> tuple[Asked, bool]:
        """Return what was decided of the same action; `_OffRecord` where nobody has."""
        for found in self._records.asks:
            if found.number == ask.number and found.about(ask.call) and found.decision is not None:
                return found, False
        raise self._records.off(Key(ask.conversation, ask.turn, 1, "person", ask.number), f"a decision on {ask.tool}")

    async def decide(self, ask: Asked, decision: Decision, at: datetime, fence: Fence | None = None) -> Asked:
        """Leave what was decided as it is."""
        return ask


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal(Loop):
    """A loop that recalls what is on record."""

    recalled: Mapping[str, Any]
    """``evidence``, ``lessons`` and ``iteration`` of the newest recall; empty where that is not on record."""

    @placed
    async def recall(self, state: State) -> dict[str, Any]:
        """Bring into the turn what was recalled then."""
        if state["iteration"] != self.recalled.get("iteration"):
            update: dict[str, Any] = await Loop.recall(self, state)
            return update
        found = {name: self.recalled[name] for name in ("evidence", "lessons")}
        return {**found, "scratch": said_by_people(state["scratch"]), "actions": 0}


async def rehearsed(
    loop: Loop, recalled: Mapping[str, Any], begun: Mapping[str, Any], records: Records
) -> dict[str, Any]:
    """Run a turn from its first state and its records; return the state after the last node that ended.

    `recalled` is the newest state of the turn if that has what was recalled last, else empty. `Records.missing` says
    where it left the records. What fails otherwise is raised as in any turn.
    """
    calls = replace(loop.calls, ledger=RecordedLedger(records), models=set(), _marks={}, _spent={})
    over = _over(loop, recalled, calls, records)
    graph, seen = compile_graph(over), Watch(str(begun["turn"]))

    async def run() -> None:
        watch(seen)
        keep_apart()
        await graph.ainvoke(dict(begun), {"recursion_limit": recursion_limit(over)})

    try:
        await asyncio.create_task(run())
    except _OffRecord:
        if records.missing is None:
            raise
    return seen.values


def _over(loop: Loop, recalled: Mapping[str, Any], calls: Calls, records: Records) -> Rehearsal:
    """Return a loop whose calls, and whose people, are the records."""
    judge, words, summarising = loop.judge, loop.reflector_model, loop.summarising
    same = {one.name: getattr(loop, one.name) for one in fields(Loop)}
    return replace(
        Rehearsal(**same, recalled=recalled),
        calls=calls,
        assistant_model=loop.assistant_model.through(calls),
        judge=judge.through(calls) if judge else None,
        reflector_model=words.through(calls) if words else None,
        summarising=replace(summarising, model=summarising.model.through(calls)) if summarising else None,
        people=replace(loop.people, desk=RecordedDesk(records)),
        reliability=None,
    )
