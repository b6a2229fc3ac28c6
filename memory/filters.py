"""Which rows may be recalled at all. A filter only ever takes away; what it cannot understand it refuses.

`mars.memory.conditions` says what may be asked of metadata and times. A row that lacks a metadata key never passes a
condition on it, also not on None: fail closed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from mars.errors import InvalidInput
from mars.memory.conditions import Condition, parse
from mars.memory.records import Kind, Status, Tier, check_time, frozen_mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class RecallFilter:
    """Conditions that all must hold. Raises `InvalidInput` or `InvalidTime` for a condition that means nothing."""

    kinds: frozenset[Kind] = frozenset()
    """Only these kinds; empty for all."""
    statuses: frozenset[Status] = frozenset({Status.ACTIVE})
    """Only these statuses; what a sweep archived as forgotten counts as active here, and its retention hides it."""
    tiers: frozenset[Tier] = frozenset({Tier.SHORT_TERM, Tier.LONG_TERM})
    """Only these tiers at the time of the recall; forgotten rows never pass, whatever is named."""
    conversation: str | None = None
    """Only this conversation."""
    after: datetime | None = None
    """Only rows whose event time is at or after this."""
    before: datetime | None = None
    """Only rows whose event time is before this."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Only rows of which this holds: keys with values or operators; see `mars.memory.conditions`."""
    condition: Condition = field(init=False, repr=False, compare=False)
    """The same, checked."""

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "kinds", frozenset(map(Kind, self.kinds)))
            object.__setattr__(self, "statuses", frozenset(map(Status, self.statuses)))
            object.__setattr__(self, "tiers", frozenset(map(Tier, self.tiers)))
        except (TypeError, ValueError) as error:
            raise InvalidInput(f"a filter names kinds, statuses and tiers as they are called: {error}") from error
        for name, said in (("after", "since"), ("before", "until")):
            moment = getattr(self, name)
            if moment is not None:
                object.__setattr__(self, name, check_time(moment, said))
        object.__setattr__(self, "condition", parse(self.metadata))
        object.__setattr__(self, "metadata", frozen_mapping(self.metadata))


ANYTHING_ACTIVE = RecallFilter()
"""The filter of a plain recall."""
