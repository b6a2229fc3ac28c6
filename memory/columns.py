"""The columns of a shard: what filters, decay and ranking need of each row, as arrays that grow.

Times are microseconds since 1970 UTC, so that differences are exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from mars.errors import InvalidInput
from mars.memory.curves import Floats
from mars.memory.filters import RecallFilter, canonical
from mars.memory.records import Kind, Record, Status, Tier
from mars.memory.tiers import FORGOTTEN, TIERS, Codes, Flags, short_capable
from mars.memory.views import unswept

Integers = npt.NDArray[np.int64]
"""One whole number per row, shape ``[n]``."""

NEVER = np.iinfo(np.int64).max
"""The time that never comes, in microseconds."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_KINDS = {kind: code for code, kind in enumerate(Kind)}
_STATUSES = {status: code for code, status in enumerate(Status)}
_MISSING, _NOWHERE = -1, -2


def microseconds(moment: datetime) -> int:
    """Return the microseconds from 1970 UTC to an aware datetime, exactly."""
    age = moment - _EPOCH
    return (age.days * 86_400 + age.seconds) * 1_000_000 + age.microseconds


class Columns:
    """One value per row and column; rows are numbered from 0 by their owner."""

    def __init__(self, capacity: int = 64) -> None:
        self.alive = np.zeros(capacity, np.bool_)
        self.kind = np.zeros(capacity, np.int8)
        self.status = np.zeros(capacity, np.int8)
        self.capable = np.zeros(capacity, np.bool_)
        self.pinned = np.zeros(capacity, np.bool_)
        self.spoken = np.zeros(capacity, np.bool_)
        self.strength = np.ones(capacity, np.float64)
        self.boosted = np.ones(capacity, np.float64)
        self.strengthened = np.zeros(capacity, np.int64)
        self.event_time = np.zeros(capacity, np.int64)
        self.expires = np.full(capacity, NEVER, np.int64)
        self.importance = np.zeros(capacity, np.float64)
        self.trust = np.ones(capacity, np.float64)
        self._conversation = _Coded(capacity)
        self._metadata: dict[str, _Coded] = {}
        self._capacity = capacity

    def reserve(self, rows: int) -> None:
        """Make room for so many rows."""
        if rows <= self._capacity:
            return
        capacity = max(rows, self._capacity + self._capacity // 2)
        for name, column in vars(self).items():
            if isinstance(column, np.ndarray):
                grown = np.zeros(capacity, column.dtype)
                grown[: self._capacity] = column
                setattr(self, name, grown)
        for coded in (self._conversation, *self._metadata.values()):
            coded.reserve(capacity)
        self._capacity = capacity

    def write(self, row: int, record: Record) -> None:
        """Set every column of a row from its record."""
        self.alive[row] = True
        self.kind[row] = _KINDS[record.kind]
        self.status[row] = _STATUSES[unswept(record).status]
        self.capable[row] = short_capable(record.kind)
        self.pinned[row] = record.pinned
        self.spoken[row] = bool(record.speaker)
        self.strength[row] = record.strength
        self.boosted[row] = record.strength * record.boost
        self.strengthened[row] = microseconds(record.last_strengthened)
        self.event_time[row] = microseconds(record.event_time)
        self.expires[row] = NEVER if record.expires_at is None else microseconds(record.expires_at)
        self.importance[row] = record.importance
        self.trust[row] = record.trust
        self._conversation.write(row, record.conversation)
        self._write_metadata(row, record.metadata)

    def _write_metadata(self, row: int, metadata: Mapping[str, Any]) -> None:
        for key, coded in self._metadata.items():
            if key not in metadata:
                coded.write(row, None)
        for key, value in metadata.items():
            if key not in self._metadata:
                self._metadata[key] = _Coded(self._capacity)
            try:
                self._metadata[key].write(row, canonical(value))
            except InvalidInput:
                self._metadata[key].write(row, None)

    def drop(self, row: int) -> None:
        """Take a row out; it passes no filter any more."""
        self.alive[row] = False

    def ages(self, size: int, now: datetime) -> Floats:
        """Return τ in days of the first `size` rows: since their last strengthening, 0 if the clock went backwards.

        Rounded as `mars.memory.records.days_between` rounds, so that a sweep and a recall agree to the last bit.
        """
        seconds = (microseconds(now) - self.strengthened[:size]).astype(np.float64) / 1e6
        return np.asarray(np.maximum(seconds / 86_400.0, 0.0), dtype=np.float64)

    def passing(self, size: int, filter: RecallFilter, now: datetime, tiers: Codes) -> Flags:
        """Return which of the first `size` rows may be recalled; `tiers` are their codes at `now`."""
        flags: Flags = self.alive[:size] & (tiers != FORGOTTEN) & (self.expires[:size] > microseconds(now))
        flags &= _among(self.status[:size], [_STATUSES[status] for status in filter.statuses])
        if filter.kinds:
            flags &= _among(self.kind[:size], [_KINDS[kind] for kind in filter.kinds])
        if not filter.tiers >= {Tier.SHORT_TERM, Tier.LONG_TERM}:
            flags &= _among(tiers, [TIERS.index(tier) for tier in filter.tiers])
        if filter.after is not None:
            flags &= self.event_time[:size] >= microseconds(filter.after)
        if filter.before is not None:
            flags &= self.event_time[:size] < microseconds(filter.before)
        if filter.conversation is not None:
            flags &= self._conversation.equal(size, filter.conversation)
        for key, value in filter.metadata.items():
            if key not in self._metadata:
                return np.zeros(size, np.bool_)
            flags &= self._metadata[key].equal(size, canonical(value))
        return flags


def _among(codes: npt.NDArray[np.int8], wanted: list[int]) -> Flags:
    found = np.zeros(len(codes), np.bool_)
    for code in wanted:
        found |= codes == code
    return found


class _Coded:
    """A column of strings, kept as one number per distinct value."""

    def __init__(self, capacity: int) -> None:
        self._codes = np.full(capacity, _MISSING, np.int32)
        self._known: dict[str, int] = {}

    def reserve(self, capacity: int) -> None:
        grown = np.full(capacity, _MISSING, np.int32)
        grown[: len(self._codes)] = self._codes
        self._codes = grown

    def write(self, row: int, value: str | None) -> None:
        self._codes[row] = _MISSING if value is None else self._known.setdefault(value, len(self._known))

    def equal(self, size: int, value: str) -> Flags:
        code = self._known.get(value)
        return np.asarray(self._codes[:size] == (_NOWHERE if code is None else code))
