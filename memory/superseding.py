"""How one fact takes another's place, and how that is taken back.

Nothing is overwritten: the older fact's validity ends, in the world (``valid_to``) where the newer one's begins and in
the store (``known_to``) at the time of writing. An older fact that is told after a newer one is superseded on arrival,
so that the order in which conversations are read does not matter. Hearsay (`mars.memory.facts.may_replace`) is kept
beside what the subject says of itself, and ends only what the same speaker said before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from mars.memory.duplicates import comparable, conflict, united
from mars.memory.facts import (
    contradicts,
    differ,
    is_first_hand,
    is_single_valued,
    repeats,
    same_matter,
    same_source,
)
from mars.memory.presets import Preset
from mars.memory.records import NewRecord, Record, Status
from mars.memory.views import is_expired, is_forgotten, unswept


def repeated(
    new: NewRecord, trust: float, now: datetime, others: Sequence[Record], preset: Preset
) -> tuple[Record, Record] | None:
    """Return the live fact that `new`, of this trust, tells again, before and after; None if there is none.

    To be told again is a new storing of the same thing, so retention is 1 again, and what is new about it is taken over
    (`mars.memory.duplicates.united`). The strength stays as it is: only a graded use changes it. What was something
    else in between is not one fact: Rome, Oslo, Rome.
    """
    if new.value is None or not new.source.trusted or new.idempotency_key is not None or not comparable(new):
        return None
    begins = new.valid_from or new.event_time or now
    for other in others:
        if (
            other.status is Status.ACTIVE
            and not is_expired(other, now)
            and not is_forgotten(other, preset, now)
            and comparable(other)
            and other.trust == trust
            and _one_voice(new, other)
            and (other.subject or "").casefold() == (new.subject or "").casefold()
            and other.relation == new.relation
            and other.value is not None
            and repeats(new.value, other.value, single_valued=is_single_valued(other))
            and not conflict(other.metadata, new.metadata)
        ):
            after = replace(united(other, new, begins), last_strengthened=max(other.last_strengthened, now))
            if not any(begins <= rival.valid_from <= other.valid_from for rival in _rivals(after, others, now)):
                return other, after
    return None


def _one_voice(new: NewRecord, other: Record) -> bool:
    """Return whether one fact can stand for both: hearsay that agrees is no word of the subject's own."""
    return same_source(new, other) or (is_first_hand(new) and is_first_hand(other))


def _rivals(record: Record, others: Sequence[Record], now: datetime) -> Iterator[Record]:
    """Yield the facts that exclude this one, whenever they hold."""
    for other in _shown(others, now):
        if same_matter(record, other) and differ(record.value or "", other.value or ""):
            yield other


def _shown(others: Sequence[Record], now: datetime) -> list[Record]:
    shown = (Status.ACTIVE, Status.SUPERSEDED)
    return [other for other in map(unswept, others) if other.status in shown and not is_expired(other, now)]


def settle(new: Record, others: Sequence[Record], now: datetime) -> Iterator[Record]:
    """Yield each record that changes because `new` was stored.

    That is an older fact that `new` takes the place of, also one whose end was set later than `new` begins, and `new`
    itself where a fact that is valid from a later time on is already known.
    """
    live = _shown(others, now)
    later = [other for other in live if other.valid_from > new.valid_from and contradicts(other, new)]
    if later:
        yield superseded(new, _first(later), now)
    for other in live:
        if contradicts(new, other) and (other.valid_to is None or other.valid_to > new.valid_from):
            yield superseded(other, new, now)


def successor(record: Record, others: Sequence[Record], now: datetime) -> Record | None:
    """Return the fact that takes the place of a stored one, among `others`; None if none does."""
    after = [
        other
        for other in _shown(others, now)
        if (other.valid_from, other.id) > (record.valid_from, record.id) and contradicts(other, record)
    ]
    return _first(after) if after else None


def _first(later: Sequence[Record]) -> Record:
    """Return the fact that holds first; of those from one time on, the one told last."""
    begin = min(other.valid_from for other in later)
    return max((other for other in later if other.valid_from == begin), key=lambda other: other.id)


def superseded(old: Record, new: Record, now: datetime) -> Record:
    """Return `old` with `new` in its place; the store has known its end since the first time that one was set."""
    known_to = old.known_to if old.superseded_by is not None else None
    return replace(
        old,
        status=Status.SUPERSEDED,
        valid_to=new.valid_from,
        known_to=known_to or max(now, old.known_from),
        superseded_by=new.id,
    )


def reinstated(old: Record) -> Record:
    """Return a superseded fact as it was before; one that was put away since stays so."""
    status = Status.ACTIVE if old.status is Status.SUPERSEDED else old.status
    return replace(old, status=status, valid_to=None, known_to=None, superseded_by=None)
