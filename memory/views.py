"""How a stored record reads at a time: its standing, and whether it is forgotten or has ceased to exist.

What is stored never says that a record is forgotten by itself: retention says it, at read. A sweep only writes down
what every read would have found. So these functions treat a swept and an unswept record alike.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np

from mars.memory.conditions import microseconds
from mars.memory.curves import Floats
from mars.memory.lives import KINDS, Lives
from mars.memory.presets import Preset
from mars.memory.records import Record, Status, Tier, days_between
from mars.memory.tiers import FORGOTTEN, Codes, Flags, Standing, lifetime, short_capable, standing, standings

FORGOTTEN_REASON = "forgotten"
"""`Record.archived_because` of what has crossed θ2."""


def standing_at(record: Record, preset: Preset, now: datetime) -> Standing:
    """Return the retention and tier of a record at `now`; τ counts from its last strengthening."""
    tau = days_between(record.last_strengthened, now)
    boosted = record.strength * record.boost
    return standing(record.kind, record.pinned, preset.curve, record.strength, boosted, tau, preset.tiers)


def standings_at(records: Iterable[Record], preset: Preset, now: datetime) -> tuple[Floats, Flags]:
    """Return the retention of many records at `now`, and whether each is forgotten; shape ``[n]``."""
    rows = list(records)
    strength = np.array([row.strength for row in rows], dtype=np.float64)
    left, codes = standings(
        preset.curve,
        preset.tiers,
        strength,
        strength * np.array([row.boost for row in rows], dtype=np.float64),
        np.array([days_between(row.last_strengthened, now) for row in rows], dtype=np.float64),
        np.array([short_capable(row.kind) for row in rows], dtype=np.bool_),
        np.array([row.pinned for row in rows], dtype=np.bool_),
    )
    return left, codes == FORGOTTEN


def standings_of(lives: Lives, preset: Preset, now: datetime) -> tuple[Floats, Codes]:
    """Return the retention at `now` and the tier code (`mars.memory.tiers.TIERS`) of each record; shape ``[n]``.

    Rounded as `standing_at` rounds, to the last bit.
    """
    tau = (microseconds(now) - lives.strengthened).astype(np.float64) / 1e6 / 86_400.0
    capable = np.isin(lives.kind, [code for code, kind in enumerate(KINDS) if short_capable(kind)])
    return standings(
        preset.curve, preset.tiers, lives.strength, lives.boosted, np.maximum(tau, 0.0), capable, lives.pinned
    )


def expired_of(lives: Lives, now: datetime) -> Flags:
    """Return of which records the time to live is over at `now`; shape ``[n]``."""
    return np.asarray(lives.expires <= microseconds(now))


def is_forgotten(record: Record, preset: Preset, now: datetime) -> bool:
    """Return whether an active record has crossed θ2 by `now`."""
    return record.status is Status.ACTIVE and standing_at(record, preset, now).tier is Tier.FORGOTTEN


def is_expired(record: Record, now: datetime) -> bool:
    """Return whether the record's time to live is over: it then exists for no read."""
    return record.expires_at is not None and record.expires_at <= now


def unswept(record: Record) -> Record:
    """Return a record as if no sweep had written down that it is forgotten."""
    if record.status is Status.ARCHIVED and record.archived_because == FORGOTTEN_REASON:
        return replace(record, status=Status.ACTIVE, archived_at=None, archived_because=None)
    return record


def swept(record: Record, preset: Preset) -> Record:
    """Return a forgotten record as a sweep writes it down: archived since the moment at which it crossed θ2."""
    boosted = record.strength * record.boost
    days = lifetime(record.kind, record.pinned, preset.curve, record.strength, boosted, preset.tiers)
    crossed = record.last_strengthened + timedelta(days=days)
    return replace(record, status=Status.ARCHIVED, archived_at=crossed, archived_because=FORGOTTEN_REASON)


def as_read(record: Record, preset: Preset, now: datetime) -> Record | None:
    """Return what a read at `now` gives for a stored record: None if it has expired, archived if it is forgotten."""
    if is_expired(record, now):
        return None
    return swept(record, preset) if is_forgotten(record, preset, now) else record
