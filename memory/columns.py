"""The columns of a shard: what filters, decay and ranking need of each row, as arrays that grow.

Times are microseconds since 1970 UTC, so that differences are exact.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mars.memory.conditions import ABSENT, EVENT_TIME, Ask, Condition, Never, keys_of
from mars.memory.conditions import microseconds as microseconds
from mars.memory.curves import Floats
from mars.memory.filters import RecallFilter
from mars.memory.loading import Loaded
from mars.memory.records import Kind, Record, Status
from mars.memory.tiers import Flags, short_capable
from mars.memory.values import Coded, Metadata
from mars.memory.views import FORGOTTEN_REASON, unswept

Integers = npt.NDArray[np.int64]
"""One whole number per row, shape ``[n]``."""

LONGEST_ID = 64
"""Ids of more characters are kept as strings."""

NEVER = np.iinfo(np.int64).max
"""The time that never comes, in microseconds."""

# An enumeration of strings is found in a dictionary by its values too: a database's rows need no conversion.
_KINDS: dict[str, int] = {kind: code for code, kind in enumerate(Kind)}
_STATUSES: dict[str, int] = {status: code for code, status in enumerate(Status)}
_CAPABLE = np.array([short_capable(kind) for kind in Kind])


class Ids:
    """The id of each row, and the row of each id that is there; rows are numbered from 0 as they come.

    Ids that were loaded are kept as bytes of one width, in the order of the rows, which is nearly always their own:
    half of what strings take, and no dictionary. Those that came later, or are no short ASCII, are strings.
    """

    def __init__(self) -> None:
        self._packed: npt.NDArray[np.bytes_] = np.zeros(0, "S1")
        self._parts: list[npt.NDArray[np.bytes_]] = []
        self._order: Integers | None = None
        self._sorted = True
        self._later: list[str] = []
        self._rows: dict[str, int] = {}
        self._gone: set[int] = set()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def alive(self) -> int:
        """How many rows are there."""
        return self._count - len(self._gone)

    def load(self, names: Sequence[str]) -> None:
        """Number the next rows; `settle` ends this."""
        joined = "".join(names)
        if self._later or not joined.isascii() or "\0" in joined or max(map(len, names)) > LONGEST_ID:
            for name in names:
                self.append(name)
            return
        self._parts.append(np.array(names, np.bytes_))
        self._count += len(names)

    def settle(self) -> None:
        """Put together what was loaded."""
        if self._parts:
            self._packed = np.concatenate(self._parts)
            self._parts.clear()
            self._sorted = bool((self._packed[1:] > self._packed[:-1]).all())

    def append(self, name: str) -> int:
        """Number the next row, of an id that no row has."""
        row = self._rows[name] = self._count
        self._later.append(name)
        self._count += 1
        return row

    def __getitem__(self, row: int) -> str:
        """Return the id of a row, also of one that is gone."""
        loaded = len(self._packed)
        return self._later[row - loaded] if row >= loaded else self._packed[row].decode()

    def row(self, name: str) -> int | None:
        """Return the row of an id, None if it has none."""
        found = self._rows.get(name)
        if found is not None or not len(self._packed):
            return found
        if not self._sorted and self._order is None:
            self._order = np.argsort(self._packed, kind="stable")
        if not name.isascii() or "\0" in name or len(name) > self._packed.itemsize:
            return None
        key = np.array(name.encode(), self._packed.dtype)
        at = int(np.searchsorted(self._packed, key, sorter=self._order))
        if at < len(self._packed):
            row = at if self._order is None else int(self._order[at])
            if self._packed[row] == key and row not in self._gone:
                return row
        return None

    def drop(self, name: str) -> int:
        """Take the row of an id out and return its number, which is never given again."""
        row = self.row(name)
        if row is None:
            raise KeyError(name)
        self._rows.pop(name, None)
        self._gone.add(row)
        return row


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
        self._conversation = Coded(capacity)
        self._metadata = Metadata(capacity)
        self._capacity = capacity
        self._expiring = False

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
        self._conversation.reserve(capacity)
        self._metadata.reserve(capacity)
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
        self._expiring |= record.expires_at is not None
        self.importance[row] = record.importance
        self.trust[row] = record.trust
        self._conversation.write(row, ABSENT if record.conversation is None else record.conversation)
        self._metadata.write(row, record.metadata)

    def load(self, start: int, part: Loaded) -> None:
        """Set every column of the rows from `start` on, for which there is room and nothing was set before."""
        to = slice(start, start + len(part))
        self.alive[to] = True
        self.kind[to] = list(map(_KINDS.__getitem__, part.kind))
        self.status[to] = _statuses(part)
        self.capable[to] = _CAPABLE[self.kind[to]]
        self.pinned[to] = part.pinned
        self.spoken[to] = list(map(bool, part.speaker))
        self.strength[to] = part.strength
        self.boosted[to] = self.strength[to] * np.array(part.boost, np.float64)
        self.strengthened[to] = part.last_strengthened
        self.event_time[to] = part.event_time
        self.expires[to] = NEVER
        for row, time in enumerate(part.expires_at, start) if part.expires_at.count(None) < len(part) else ():
            self.expires[row] = NEVER if time is None else time
            self._expiring = True
        self.importance[to] = part.importance
        self.trust[to] = part.trust
        self._conversation.load(
            [row for row, talk in enumerate(part.conversation, start) if talk is not None],
            [talk for talk in part.conversation if talk is not None],
        )
        self._metadata.load(start, part.metadata)

    def drop(self, row: int) -> None:
        """Take a row out; it passes no filter any more."""
        self.alive[row] = False

    def ages(self, now: int, rows: slice | Integers) -> Floats:
        """Return τ in days of some rows: since their last strengthening, 0 if the clock went backwards.

        `now` is in microseconds. Rounded as `mars.memory.records.days_between` rounds, so that a sweep and a recall
        agree to the last bit.
        """
        days = (now - self.strengthened[rows]).astype(np.float64)
        days /= 1e6
        days /= 86_400.0
        return np.maximum(days, 0.0, out=days)

    def passing(self, flags: Flags, filter: RecallFilter, now: int) -> Flags:
        """Clear the flags of the rows that may not be recalled; tiers apart. `now` is in microseconds."""
        size = len(flags)
        flags &= self.alive[:size]
        if self._expiring:
            flags &= self.expires[:size] > now
        flags &= _among(self.status[:size], [_STATUSES[status] for status in filter.statuses])
        if filter.kinds:
            flags &= _among(self.kind[:size], [_KINDS[kind] for kind in filter.kinds])
        if filter.after is not None:
            flags &= self.event_time[:size] >= microseconds(filter.after)
        if filter.before is not None:
            flags &= self.event_time[:size] < microseconds(filter.before)
        if filter.conversation is not None:
            flags &= self._conversation.equal(size, filter.conversation)
        if filter.metadata:
            keys = keys_of(filter.condition)
            self._metadata.read({*keys, *(key.split(".")[0] for key in keys)})
            flags &= self._holds(filter.condition, size, True)
        return flags

    def _holds(self, condition: Condition, size: int, wanted: bool) -> Flags:
        """Return of which rows a condition is certainly `wanted`, True or False; of some it is neither."""
        if isinstance(condition, Ask):
            return self._answers(condition, size, wanted)
        if isinstance(condition, Never):
            return self._holds(condition.part, size, not wanted)
        every = condition.either != wanted
        flags = np.full(size, every, np.bool_)
        for part in condition.parts:
            if every:
                flags &= self._holds(part, size, wanted)
            else:
                flags |= self._holds(part, size, wanted)
        return flags

    def _answers(self, ask: Ask, size: int, wanted: bool) -> Flags:
        if ask.key == EVENT_TIME:
            found = _timed(self.event_time[:size], ask)
            return found if wanted else ~found
        flags = np.zeros(size, np.bool_)
        whole = self._metadata.under(ask.key)
        if whole is not None:
            flags |= whole.find(size, ask, wanted)
        first, *path = ask.key.split(".")
        outer = self._metadata.under(first) if path else None
        if outer is not None:
            found = outer.find_inside(size, tuple(path), ask, wanted)
            flags |= found if whole is None else found & ~whole.has(size)
        return flags


def _statuses(part: Loaded) -> list[int]:
    """Return the codes of the statuses, as if no sweep had written down what is forgotten."""
    codes = list(map(_STATUSES.__getitem__, part.status))
    if FORGOTTEN_REASON in part.archived_because:
        for row, (code, because) in enumerate(zip(codes, part.archived_because, strict=True)):
            if code == _STATUSES[Status.ARCHIVED] and because == FORGOTTEN_REASON:
                codes[row] = _STATUSES[Status.ACTIVE]
    return codes


def _timed(times: Integers, ask: Ask) -> Flags:
    """Return for which times, in microseconds, an operator holds."""
    match ask.operator:
        case "$in" | "$nin":
            found: Flags = np.isin(times, np.array(ask.operand, np.int64))
            return ~found if ask.operator == "$nin" else found
        case "$eq":
            return np.asarray(times == ask.operand)
        case "$ne":
            return np.asarray(times != ask.operand)
        case "$gt":
            return np.asarray(times > ask.operand)
        case "$gte":
            return np.asarray(times >= ask.operand)
        case "$lt":
            return np.asarray(times < ask.operand)
        case _:
            return np.asarray(times <= ask.operand)


def _among(codes: npt.NDArray[np.int8], wanted: list[int]) -> Flags:
    if not wanted:
        return np.zeros(len(codes), np.bool_)
    found: Flags = codes == wanted[0]
    for code in wanted[1:]:
        found |= codes == code
    return found
