"""What may be spent, and what was: `Budget` limits a scope, `Usage` tells what it cost.

Scopes are nested: a role within a turn, a turn within a conversation, and a user with all conversations. Each counts on
its own, and a call is made only where every budget on its way has room for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from operator import add, attrgetter
from typing import Any, NamedTuple, Self

from mars.errors import BudgetExhausted, InvalidSetting

LIMITS = ("calls", "tokens", "cost", "wall", "working")
"""What a budget limits."""

SCOPES = ("turn", "role", "conversation", "user")
"""What a budget is for."""


class Scope(NamedTuple):
    """Whose spending is counted together."""

    kind: str
    """One of `SCOPES`."""
    name: str
    """Id of the turn, turn and role, namespace and name of the conversation, or name of the user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The most that may be spent; None means no limit."""

    calls: int | None = None
    """Calls of models, retries among them; those answered by a cache cost nothing."""
    tokens: int | None = None
    """Input and output tokens together."""
    cost: float | None = None
    """In the currency of the price table, which is US dollars."""
    wall: float | None = None
    """Seconds on the monotonic clock while a process works on a turn, waiting included."""
    working: float | None = None
    """Seconds within calls of models and tools."""
    last_call: bool = False
    """Whether the Assistant may answer once more when a turn without any draft runs out."""

    def __post_init__(self) -> None:
        for name in LIMITS:
            limit = getattr(self, name)
            number = isinstance(limit, int | float) and not isinstance(limit, bool)
            if limit is not None and not (number and limit >= 0):
                raise InvalidSetting(f"a budget's {name} must be 0 or more; got {limit!r}")

    def plain(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Budgets:
    """Budgets of several scopes."""

    turn: Budget | None = None
    """Of each turn."""
    conversation: Budget | None = None
    """Of each conversation, all of its turns together."""
    user: Budget | None = None
    """Of each user, by name, all conversations together."""
    roles: Mapping[str, Budget] = field(default_factory=dict)
    """Of a role within each turn: assistant, checker, reflector, or the name that the role was given."""

    @classmethod
    def of(cls, budget: Budget | Budgets | None) -> Budgets:
        """Return budgets; a single one is that of each turn."""
        return budget if isinstance(budget, Budgets) else cls(turn=budget)

    def limits(self, scope: Scope) -> Iterable[Budget]:
        """Yield what limits a scope."""
        role = scope.name.rpartition("/")[2]
        found = self.roles.get(role) if scope.kind == "role" else getattr(self, scope.kind)
        if found is not None:
            yield found

    @property
    def all(self) -> tuple[Budget, ...]:
        """Every budget."""
        several = (self.turn, self.conversation, self.user, *self.roles.values())
        return tuple(budget for budget in several if budget is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What was spent, as far as outcomes were recorded."""

    calls: int = 0
    """Calls that reached a model: answered, failed or cancelled."""
    tool_calls: int = 0
    """Actions that were run."""
    input_tokens: int = 0
    """Tokens read, as the models say."""
    output_tokens: int = 0
    """Tokens written, as the models say."""
    cost: float | None = 0.0
    """By the price table; None where a model has no price in it."""
    retries: int = 0
    """Attempts after one that failed; they are among the calls, or among the tool calls."""
    failures: int = 0
    """Calls that ended in an error; they are among the calls."""
    cancelled: int = 0
    """Calls that were cancelled; they are among the calls, their tokens are not known."""
    cached: int = 0
    """Replies out of a model's cache; they are not among the calls."""
    maybe_paid: int = 0
    """Calls cut off by the end of a process; whether they reached the model is not known. Not among the calls."""

    def plain(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return dict(zip(TOLD, _told(self), strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """The totals of a scope, or a change of them; the fields are the columns of `mars.persistence.tables.spending`."""

    calls: int = 0
    tool_calls: int = 0
    retries: int = 0
    failures: int = 0
    cancelled: int = 0
    cached: int = 0
    maybe_paid: int = 0
    unpriced: int = 0
    last_calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0
    wall: float = 0.0
    working: float = 0.0
    held_calls: int = 0
    held_tokens: int = 0
    held_cost: float = 0.0

    def __add__(self, other: Spending) -> Spending:
        return Spending.of(map(add, _values(self), _values(other)))

    def values(self) -> tuple[float, ...]:
        """Return the values in the order of the columns."""
        return _values(self)

    @classmethod
    def of(cls, values: Iterable[float]) -> Self:
        """Return what `values` gave."""
        named: dict[str, Any] = dict(zip(NAMES, values, strict=True))
        return cls(**named)

    @property
    def usage(self) -> Usage:
        """What the caller is told."""
        shared: dict[str, Any] = dict(zip(TOLD, _told(self), strict=True))
        return Usage(**{**shared, "cost": None if self.unpriced else self.cost})

    def over(self, scope: Scope, budget: Budget) -> str | None:
        """Return which limit these totals, with what is held, go beyond; None if there is none."""
        spent = {
            "calls": self.calls + self.held_calls,
            "tokens": self.input_tokens + self.output_tokens + self.held_tokens,
            "cost": self.cost + self.held_cost,
        }
        for name, amount in spent.items():
            limit = getattr(budget, name)
            if limit is not None and amount > limit:
                return f"the {scope.kind}'s budget of {name} ({limit:g}) is used up"
        for name in ("wall", "working"):
            limit = getattr(budget, name)
            if limit is not None and getattr(self, name) >= limit:
                return f"the {scope.kind}'s budget of {name} time ({limit:g} s) is used up"
        return None

    def left(self, budget: Budget) -> float | None:
        """Return how many seconds are left; None without a limit."""
        limits = ((budget.wall, self.wall), (budget.working, self.working))
        found = [limit - spent for limit, spent in limits if limit is not None]
        return min(found) if found else None


NAMES = tuple(one.name for one in fields(Spending))
"""The columns of `Spending`, in their order."""

_values: Callable[[Spending], tuple[Any, ...]] = attrgetter(*NAMES)  # `astuple` copies each number deeply

TOLD = tuple(one.name for one in fields(Usage))
"""The fields of `Usage`, in their order."""

_told: Callable[[Usage | Spending], tuple[Any, ...]] = attrgetter(*TOLD)

Limits = tuple[tuple[Scope, tuple[Budget, ...]], ...]
"""Every scope that a call counts for, with its budgets."""


def check(limits: Limits, totals: Mapping[Scope, Spending]) -> float | None:
    """Return how many seconds the tightest budget leaves, None without one; raise `BudgetExhausted` if one is over."""
    left: list[float] = []
    for scope, budgets in limits:
        for budget in budgets:
            reason = totals[scope].over(scope, budget)
            if reason:
                raise BudgetExhausted(reason)
            seconds = totals[scope].left(budget)
            if seconds is not None:
                left.append(seconds)
    return min(left) if left else None
