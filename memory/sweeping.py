"""What a sweep writes down: that records are forgotten or past their time to live, as every read has found already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from mars.memory.interfaces import Reader, Selection, Transaction
from mars.memory.lifecycle import EXPIRED_REASON, put_away
from mars.memory.presets import Preset
from mars.memory.records import Namespace, Record, Status
from mars.memory.settling import change
from mars.memory.tiers import FORGOTTEN
from mars.memory.views import FORGOTTEN_REASON, expired_of, is_expired, standings_at, standings_of, swept


@dataclass(frozen=True, slots=True)
class Due:
    """What a sweep is to archive."""

    forgotten: list[str]
    """Ids of what has crossed θ2."""
    expired: list[str]
    """Ids of what is past its time to live."""
    kept: int
    """Active records that stay."""


def due(records: Sequence[Record], preset: Preset, now: datetime) -> tuple[list[Record], list[Record]]:
    """Return which of these records a sweep at `now` archives: as forgotten, and as expired."""
    shown = (Status.ACTIVE, Status.SUPERSEDED)
    expired = [one for one in records if is_expired(one, now) and one.status in shown]
    live = [one for one in records if one.status is Status.ACTIVE and not is_expired(one, now)]
    _, gone = standings_at(live, preset, now)
    return [record for record, forgotten in zip(live, gone.tolist(), strict=True) if forgotten], expired


def look_due(reader: Reader, namespace: Namespace | None, preset: Preset, now: datetime) -> Due:
    """Return what a sweep of a namespace, or of the whole store, would archive at `now`."""
    shown = frozenset({Status.ACTIVE, Status.SUPERSEDED})
    lives = reader.lives(Selection(namespace=namespace, statuses=shown))
    active, over = lives.having(Status.ACTIVE), expired_of(lives, now)
    gone = active & ~over & (standings_of(lives, preset, now)[1] == FORGOTTEN)
    return Due(lives.chosen(gone), lives.chosen(over), int((active & ~over & ~gone).sum()))


def settle_due(tx: Transaction, ids: Sequence[str], preset: Preset, now: datetime) -> tuple[list[str], list[str]]:
    """Archive what is still due of these records, one that was used meanwhile not; return the ids."""
    forgotten, expired = due([record for record in tx.get(ids) if record is not None], preset, now)
    change(tx, [swept(record, preset) for record in forgotten], "archived", now, {"because": FORGOTTEN_REASON})
    put_away(tx, expired, EXPIRED_REASON, now)
    return [record.id for record in forgotten], [record.id for record in expired]
