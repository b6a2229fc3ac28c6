"""The rows of the ledger within one transaction: in a database, or in memory for what needs to outlive nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, Protocol

from mars.memory.backends.wire import Wire
from mars.persistence.budgets import NAMES, Scope, Spending
from mars.persistence.checkpoints import in_postgresql

LEDGER_LOCK = 0x6D61726C
"""PostgreSQL: held by a transaction that reserves or settles, so that two processes cannot both take the last call."""


class Key(NamedTuple):
    """Which call it is; the same when its node is executed again."""

    conversation: str
    turn: str
    iteration: int
    role: str
    ordinal: int
    """Place among the calls of the turn."""


class Call(NamedTuple):
    """An attempt at a call; the fields are the columns of `mars.persistence.tables.calls`."""

    conversation: str
    turn: str
    iteration: int
    role: str
    ordinal: int
    attempt: int
    """From 1."""
    kind: str
    """model or tool."""
    name: str
    """Of the model or the tool."""
    state: str
    """intent, done, failed (for good), retry (failed, and to be tried again), cancelled, lost."""
    body: str = ""
    """The reply as JSON, or the words of the error."""
    held_tokens: int = 0
    held_cost: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float | None = None
    """None where the price is not known."""
    latency: float = 0.0
    """Seconds."""

    @property
    def key(self) -> Key:
        """Which call it is an attempt at."""
        return Key(*self[:5])

    def unpaid(self, conversation: str, turn: str) -> Call:
        """Return the same outcome on record for another turn, which has not paid for it."""
        key = (conversation, turn, self.iteration, self.role, self.ordinal, self.attempt)
        return Call(*key, self.kind, self.name, self.state, self.body, cost=0.0)


class Rows(Protocol):
    """What the ledger reads and writes."""

    def begin(self) -> None:
        """Keep every other process out until the transaction ends."""

    def attempts(self, key: Key) -> list[Call]:
        """Return the attempts at a call, oldest first."""

    def put(self, call: Call) -> None:
        """Store an attempt; replaces."""

    def remove(self, call: Call) -> None:
        """Forget an attempt."""

    def of_turn(self, conversation: str, turn: str) -> list[Call]:
        """Return every attempt of a turn."""

    def remove_turn(self, conversation: str, turn: str) -> None:
        """Forget the attempts of a turn, and the totals of the turn and its roles."""

    def spent(self, scopes: Iterable[Scope]) -> dict[Scope, Spending]:
        """Return the totals of scopes."""

    def spend(self, changes: Mapping[Scope, Spending]) -> None:
        """Add to the totals of scopes."""


@dataclass(frozen=True, slots=True)
class Statements:
    """SQL text with positional parameters, ready for the driver."""

    attempts: str = (
        "SELECT * FROM mars_calls WHERE conversation = ? AND turn = ? AND iteration = ? AND role = ? AND ordinal = ? "
        "ORDER BY attempt"
    )
    put: str = (
        f"INSERT INTO mars_calls VALUES ({', '.join('?' * len(Call._fields))}) "
        "ON CONFLICT (conversation, turn, iteration, role, ordinal, attempt) DO UPDATE SET "
        + ", ".join(f"{name} = excluded.{name}" for name in Call._fields[6:])
    )
    remove: str = (
        "DELETE FROM mars_calls WHERE conversation = ? AND turn = ? AND iteration = ? AND role = ? AND ordinal = ? "
        "AND attempt = ?"
    )
    of_turn: str = "SELECT * FROM mars_calls WHERE conversation = ? AND turn = ? ORDER BY ordinal, attempt"
    remove_turn: str = "DELETE FROM mars_calls WHERE conversation = ? AND turn = ?"
    forget: str = (
        "DELETE FROM mars_spending WHERE (scope = 'turn' AND name = ?) OR (scope = 'role' AND name >= ? AND name < ?)"
    )
    spent: str = f"SELECT {', '.join(NAMES)} FROM mars_spending WHERE scope = ? AND name = ?"
    spend: str = (
        f"INSERT INTO mars_spending (scope, name, {', '.join(NAMES)}) VALUES (?, ?, {', '.join('?' * len(NAMES))}) "
        "ON CONFLICT (scope, name) DO UPDATE SET "
        + ", ".join(f"{name} = mars_spending.{name} + excluded.{name}" for name in NAMES)
    )


@lru_cache(maxsize=2)
def statements(dialect: str) -> Statements:
    """Return the statements for ``sqlite`` or ``postgresql``."""
    if dialect == "sqlite":
        return Statements()
    found = Statements()
    return Statements(**{name: in_postgresql(getattr(found, name)) for name in Statements.__slots__})


class StoredRows:
    """The rows of a database, within one transaction or snapshot of a connection."""

    def __init__(self, wire: Wire) -> None:
        """Read and write on a connection whose transaction the caller begins and ends."""
        self._wire = wire
        self._sql = statements(wire.dialect)

    def begin(self) -> None:
        """Keep every other process out; SQLite's transaction does so already."""
        if self._wire.dialect != "sqlite":
            self._wire.run(f"SELECT pg_advisory_xact_lock({LEDGER_LOCK})")

    def attempts(self, key: Key) -> list[Call]:
        """Return the attempts at a call, oldest first."""
        return [Call(*row) for row in self._wire.run(self._sql.attempts, tuple(key)).fetchall()]

    def put(self, call: Call) -> None:
        """Store an attempt; replaces."""
        self._wire.run(self._sql.put, tuple(call))

    def remove(self, call: Call) -> None:
        """Forget an attempt."""
        self._wire.run(self._sql.remove, call[:6])

    def of_turn(self, conversation: str, turn: str) -> list[Call]:
        """Return every attempt of a turn."""
        return [Call(*row) for row in self._wire.run(self._sql.of_turn, (conversation, turn)).fetchall()]

    def remove_turn(self, conversation: str, turn: str) -> None:
        """Forget the attempts of a turn, and the totals of the turn and its roles."""
        self.remove_calls(conversation, turn)
        self.forget_totals(turn)

    def remove_calls(self, conversation: str, turn: str) -> None:
        """Forget the attempts of a turn."""
        self._wire.run(self._sql.remove_turn, (conversation, turn))

    def forget_totals(self, turn: str) -> None:
        """Forget the totals of a turn and its roles."""
        self._wire.run(self._sql.forget, (turn, f"{turn}/", f"{turn}0"))  # "0" follows "/"

    def spent(self, scopes: Iterable[Scope]) -> dict[Scope, Spending]:
        """Return the totals of scopes."""
        found = {}
        for scope in scopes:
            row = self._wire.run(self._sql.spent, tuple(scope)).fetchone()
            found[scope] = Spending.of(row) if row else Spending()
        return found

    def spend(self, changes: Mapping[Scope, Spending]) -> None:
        """Add to the totals of scopes."""
        self._wire.run(self._sql.spend, [(*scope, *change.values()) for scope, change in changes.items()])


class HeldRows:
    """The rows of one process, by turn, so that what a finished turn leaves is found at once."""

    def __init__(self) -> None:
        self._calls: dict[tuple[str, str], dict[Key, dict[int, Call]]] = {}
        self._totals: dict[Scope, Spending] = {}
        self._passing: dict[str, set[Scope]] = {}

    def begin(self) -> None:
        """Nothing else can come in between."""

    def attempts(self, key: Key) -> list[Call]:
        """Return the attempts at a call, oldest first."""
        return list(self._calls.get(key[:2], {}).get(key, {}).values())

    def put(self, call: Call) -> None:
        """Store an attempt; replaces."""
        self._calls.setdefault(call[:2], {}).setdefault(call.key, {})[call.attempt] = call

    def remove(self, call: Call) -> None:
        """Forget an attempt."""
        self._calls.get(call[:2], {}).get(call.key, {}).pop(call.attempt, None)

    def of_turn(self, conversation: str, turn: str) -> list[Call]:
        """Return every attempt of a turn."""
        found = [call for calls in self._calls.get((conversation, turn), {}).values() for call in calls.values()]
        return sorted(found, key=lambda call: (call.ordinal, call.attempt))

    def remove_turn(self, conversation: str, turn: str) -> None:
        """Forget the attempts of a turn, and the totals of the turn, its roles and a conversation without a name."""
        self._calls.pop((conversation, turn), None)
        for scope in self._passing.pop(turn, ()):
            self._totals.pop(scope, None)

    def spent(self, scopes: Iterable[Scope]) -> dict[Scope, Spending]:
        """Return the totals of scopes."""
        return {scope: self._totals.get(scope, Spending()) for scope in scopes}

    def spend(self, changes: Mapping[Scope, Spending]) -> None:
        """Add to the totals of scopes."""
        turn = next((scope.name for scope in changes if scope.kind == "turn"), None)
        for scope, change in changes.items():
            self._totals[scope] = self._totals.get(scope, Spending()) + change
            if turn is not None and (scope.kind in ("turn", "role") or scope.name.endswith(f'"{turn}"]')):
                self._passing.setdefault(turn, set()).add(scope)
