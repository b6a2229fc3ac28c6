"""What people were asked and what they decided, as rows that are never deleted: one for each approval and question.

A node asks by a row, and finds the decision there when it is executed again; so the answer is durable before the turn
goes on, and who allowed what can be read afterwards. A memory without a database keeps the rows as long as it is open.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from mars.errors import InvalidInput, NotFound
from mars.memory.backends.wire import Wire
from mars.persistence import leases
from mars.persistence.approvals import Asked, Decision
from mars.persistence.call_rows import Key
from mars.persistence.database import Database
from mars.persistence.leases import Fence
from mars.persistence.transcript import EPOCH, MICROSECOND

__all__ = ["Desk", "copy_open"]

COLUMNS = (
    "namespace, conversation, turn, number, kind, tool, arguments, asked_at, expires_at, default_choice, decision, "
    "decided_at"
)

PLACE = "conversation = ? AND turn = ? AND number = ?"
"""Which ask is meant."""


class Desk:
    """Where people are asked."""

    def __init__(self, database: Database | None = None) -> None:
        """Keep the rows in an open database; without one, in this object."""
        self._database = database
        self._held: dict[tuple[str, str, int], Asked] = {}

    async def asked(self, key: Key) -> Asked | None:
        """Return what was asked at a place of a turn."""
        place = (key.conversation, key.turn, key.ordinal)
        if self._database is None:
            return self._held.get(place)
        found = await self._database.read(lambda wire: _found(wire, PLACE, place))
        return found[0] if found else None

    async def put(self, ask: Asked, fence: Fence | None = None) -> tuple[Asked, bool]:
        """Store what is asked unless it was asked before; return what is stored, and whether it is new.

        Without a fence it is LangGraph that keeps the decision, and it can go back in time: what was decided before, or
        was about another action, is left alone, and this is asked under the next free number.
        """

        def stored(get: Callable[[int], Asked | None]) -> tuple[Asked, bool]:
            number = ask.number
            while (found := get(number)) is not None:
                if found.about(ask.call) and (fence is not None or found.decision is None):
                    return found, False
                number += 1
            return replace(ask, number=number), True

        if self._database is None:
            asked, new = stored(lambda number: self._held.get((ask.conversation, ask.turn, number)))
            self._held[asked.conversation, asked.turn, asked.number] = asked
            return asked, new

        def work(wire: Wire) -> tuple[Asked, bool]:
            leases.check(wire, fence)
            place = (ask.conversation, ask.turn)
            asked, new = stored(lambda number: next(iter(_found(wire, PLACE, (*place, number))), None))
            if new:
                _run(wire, f"INSERT INTO mars_asks ({COLUMNS}) VALUES ({', '.join('?' * 12)})", [_row(asked)])
            return asked, new

        return await self._database.write(work)

    async def decide(self, ask: Asked, decision: Decision, at: datetime, fence: Fence | None = None) -> Asked:
        """Store what was decided; return it.

        Raises `NotFound` where it was never asked, and `InvalidInput` where something else was decided before.
        """
        key = (ask.conversation, ask.turn, ask.number)
        decided = replace(ask, decision=decision, decided_at=at)

        def allowed(found: Asked | None) -> bool:
            """Whether there is something to write."""
            if found is None:
                raise NotFound(f"nobody was asked {ask.kind} {ask.number} of turn {ask.turn!r}")
            if found.decision is None:
                return True
            if replace(found.decision, by="") != replace(decision, by=""):
                raise InvalidInput(
                    f"{ask.kind} {ask.number} of turn {ask.turn!r} was decided before: {found.decision.choice}"
                    + (f" by {found.decision.by}" if found.decision.by else "")
                )
            return False

        if self._database is None:
            if allowed(self._held.get(key)):
                self._held[key] = decided
            return self._held[key]

        def work(wire: Wire) -> Asked:
            leases.check(wire, fence)
            found = _found(wire, PLACE, key, lock=True)
            if not allowed(found[0] if found else None):
                return found[0]
            values = (json.dumps(decision.plain()), _stored(at), *key)
            _run(wire, f"UPDATE mars_asks SET decision = ?, decided_at = ? WHERE {PLACE}", [values])
            return decided

        return await self._database.write(work)

    async def of(self, namespace: tuple[str, ...], conversation: str) -> list[Asked]:
        """Return what was asked in a conversation, in order of time."""
        if self._database is not None:
            where, values = "namespace = ? AND conversation = ?", (json.dumps(namespace), conversation)
            return await self._database.read(lambda wire: _found(wire, where, values))
        place = (namespace, conversation)
        held = [ask for ask in self._held.values() if (ask.namespace, ask.conversation) == place]
        return sorted(held, key=lambda ask: (ask.asked_at, ask.number))


def copy_open(wire: Wire, source: tuple[str, str], target: tuple[str, str], after: int) -> bool:
    """Copy what nobody has decided yet, after a number, from one (conversation, turn) to another; False for nothing.

    What was decided is not copied: it was decided for that conversation.
    """
    rest = COLUMNS.removeprefix("namespace, conversation, turn, ")
    copied = _run(
        wire,
        f"INSERT INTO mars_asks ({COLUMNS}) SELECT namespace, CAST(? AS TEXT), CAST(? AS TEXT), {rest} FROM mars_asks "
        "WHERE conversation = ? AND turn = ? AND number > ? AND decision = ''",
        (*target, *source, after),
    ).rowcount
    return bool(copied)


def _found(wire: Wire, where: str, values: tuple[Any, ...], *, lock: bool = False) -> list[Asked]:
    """Return rows; with `lock` nobody else writes them until the transaction ends, as SQLite's does in any case."""
    locked = " FOR UPDATE" if lock and wire.dialect != "sqlite" else ""
    order = f"ORDER BY asked_at, number{locked}"
    rows = _run(wire, f"SELECT {COLUMNS} FROM mars_asks WHERE {where} {order}", values).fetchall()
    return [
        Asked(
            namespace=tuple(json.loads(row[0])),
            conversation=row[1],
            turn=row[2],
            number=row[3],
            kind=row[4],
            tool=row[5],
            arguments=json.loads(row[6]),
            asked_at=EPOCH + row[7] * MICROSECOND,
            expires_at=None if row[8] is None else EPOCH + row[8] * MICROSECOND,
            default=row[9],
            decision=Decision(**json.loads(row[10])) if row[10] else None,
            decided_at=None if row[11] is None else EPOCH + row[11] * MICROSECOND,
        )
        for row in rows
    ]


def _row(ask: Asked) -> tuple[Any, ...]:
    return (
        json.dumps(ask.namespace),
        ask.conversation,
        ask.turn,
        ask.number,
        ask.kind,
        ask.tool,
        json.dumps(dict(ask.arguments)),
        _stored(ask.asked_at),
        None if ask.expires_at is None else _stored(ask.expires_at),
        ask.default,
        json.dumps(ask.decision.plain()) if ask.decision else "",
        None if ask.decided_at is None else _stored(ask.decided_at),
    )


def _stored(at: datetime) -> int:
    since: timedelta = at - EPOCH
    return since // MICROSECOND


def _run(wire: Wire, statement: str, parameters: Any) -> Any:
    return wire.run(statement if wire.dialect == "sqlite" else statement.replace("?", "%s"), parameters)
