"""What decides how records stand, as columns: so that a count or a sweep of 100,000 builds no record.

Times are microseconds since 1970 UTC, so that differences are exact.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass, fields
from itertools import compress
from typing import Any

import numpy as np
import numpy.typing as npt

from mars.memory.records import Kind, Status

Codes = npt.NDArray[np.int8]
"""A code per record, shape ``[n]``."""

Flags = npt.NDArray[np.bool_]
"""A truth value per record, shape ``[n]``."""

Times = npt.NDArray[np.int64]
"""Microseconds since 1970 UTC, shape ``[n]``."""

Floats = npt.NDArray[np.float64]
"""A number per record, shape ``[n]``."""

KINDS = tuple(Kind)
"""The kind of each code."""

STATUSES = tuple(Status)
"""The status of each code."""

NEVER = np.iinfo(np.int64).max
"""The time that never comes."""

FIELDS = (
    "id",
    "namespace",
    "kind",
    "status",
    "pinned",
    "strength",
    "boost",
    "last_strengthened",
    "entropy",
    "event_time",
    "position",
    "expires_at",
)
"""The columns that `Lives.of` takes of each record, in its order; times in microseconds."""

_KIND_CODES = {kind.value: code for code, kind in enumerate(KINDS)}
_STATUS_CODES = {status.value: code for code, status in enumerate(STATUSES)}


@dataclass(frozen=True, slots=True)
class Lives:
    """Columns of n records in the order of their last change; see `mars.memory.views.standings_of`."""

    ids: Sequence[str]
    """Their ids."""
    namespaces: Sequence[Hashable]
    """What tells their namespaces apart."""
    kind: Codes
    """Places in `KINDS`."""
    status: Codes
    """Places in `STATUSES`, as stored."""
    pinned: Flags
    """Whether their retention is 1."""
    strength: Floats
    """S in days."""
    boosted: Floats
    """S* in days."""
    strengthened: Times
    """When their retention was last 1."""
    entropy: Floats
    """In bits."""
    event_time: Times
    """When they were said or happened."""
    position: Times
    """Place in the conversation; -1 without one."""
    expires: Times
    """When they cease to exist; `NEVER` without a time to live."""

    @classmethod
    def of(cls, rows: Iterable[Sequence[Any]]) -> Lives:
        """Return the columns of rows that hold `FIELDS`, kinds and statuses by their names."""
        columns: Sequence[Sequence[Any]] = list(zip(*rows, strict=True)) or [()] * len(FIELDS)
        ids, namespaces, kind, status, pinned, strength, boost, strengthened, entropy, at, position, expires = columns
        days = np.array(strength, np.float64)
        return cls(
            ids=ids,
            namespaces=namespaces,
            kind=np.fromiter(map(_KIND_CODES.__getitem__, kind), np.int8, len(ids)),
            status=np.fromiter(map(_STATUS_CODES.__getitem__, status), np.int8, len(ids)),
            pinned=np.array(pinned, np.bool_),
            strength=days,
            boosted=days * np.array(boost, np.float64),
            strengthened=np.array(strengthened, np.int64),
            entropy=np.array(entropy, np.float64),
            event_time=np.array(at, np.int64),
            position=np.array([-1 if one is None else one for one in position], np.int64),
            expires=np.array([NEVER if one is None else one for one in expires], np.int64),
        )

    def having(self, status: Status) -> Flags:
        """Return which records are stored with a status."""
        return np.asarray(self.status == STATUSES.index(status))

    def without(self, ids: Collection[str]) -> Lives:
        """Return the columns of the others."""
        places = [place for place, one in enumerate(self.ids) if one in ids]
        if not places:
            return self
        left = np.ones(len(self.ids), np.bool_)
        left[places] = False
        flags = left.tolist()
        return Lives(
            ids=list(compress(self.ids, flags)),
            namespaces=list(compress(self.namespaces, flags)),
            **{name: getattr(self, name)[left] for name in _ARRAYS},
        )

    def joined(self, more: Lives) -> Lives:
        """Return these columns and then those of other records."""
        if not more.ids:
            return self
        return Lives(
            ids=[*self.ids, *more.ids],
            namespaces=[*self.namespaces, *more.namespaces],
            **{name: np.concatenate([getattr(self, name), getattr(more, name)]) for name in _ARRAYS},
        )

    def chosen(self, flags: Flags) -> list[str]:
        """Return the ids of the flagged records."""
        return [self.ids[place] for place in np.flatnonzero(flags).tolist()]


_ARRAYS = tuple(one.name for one in fields(Lives) if one.name not in ("ids", "namespaces"))
