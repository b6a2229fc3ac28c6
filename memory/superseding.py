"""How one fact takes another's place, and how that is taken back.

Nothing is overwritten: the older fact's validity ends, in the world (``valid_to``) where the newer one's begins and in
the store (``known_to``) at the time of writing. An older fact that is told after a newer one is superseded on arrival,
so that the order in which conversations are read does not matter. Hearsay (`mars.memory.facts.may_replace`) is kept
beside what the subject says of itself, and ends only what the same speaker said before.

A fact that is told again is one row, from its first beginning on, and its history notes the other beginnings. When
something else turns out to have held in between, the row is parted: Rome, Oslo, Rome. One that is told again as of an
earlier time than was known gets a second row up to where the first begins, because it was not known before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain
from typing import Any

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
from mars.memory.records import Change, Kind, NewRecord, Record, Status
from mars.memory.views import is_expired, is_forgotten, unswept

TOLD = "told"
"""Key of a change's detail: [beginning, known since] of other tellings of the same fact, in ISO 8601."""

Tellings = list[tuple[datetime, datetime]]
"""(beginning, known since) of the times that a fact was told again."""

ToldOf = Callable[[Record], Tellings]
"""Looks the tellings of a stored fact up."""


@dataclass(frozen=True, slots=True)
class Retold:
    """A live fact that a new one tells again."""

    before: Record
    """As it is."""
    after: Record
    """Told again: retention is 1, and what is new about it is taken over (`mars.memory.duplicates.united`)."""
    begins: datetime
    """From when on the new one says that it is so."""
    apart: bool
    """Whether the telling is a row of its own, up to where this one begins: that it was so then was not known."""
    now: datetime
    """When it was told."""

    @property
    def detail(self) -> dict[str, Any]:
        """What the history says of it: the beginning of the other telling, that late news may part them again."""
        known = self.before.provenance.sources
        detail: dict[str, Any] = {"sources": [one for one in self.after.provenance.sources if one not in known]}
        if self.before.valid_from < self.begins:
            detail[TOLD] = [[self.begins.isoformat(), self.now.isoformat()]]
        elif self.after.valid_from < self.before.valid_from:
            detail[TOLD] = [[self.before.valid_from.isoformat(), self.before.known_from.isoformat()]]
        return detail


def repeated(new: NewRecord, trust: float, now: datetime, others: Sequence[Record], preset: Preset) -> Retold | None:
    """Return the live fact that `new`, of this trust, tells again; None if there is none.

    To be told again is a new storing of the same thing, so its time starts anew; the strength stays as it is: only a
    graded use changes it. What was something else in between is not one fact: Rome, Oslo, Rome. What begins earlier
    than was known until now is one with it only if both became known in one moment, and nothing else held before.
    """
    if new.value is None or not new.source.trusted or new.idempotency_key is not None or not comparable(new):
        return None
    begins = new.valid_from or new.event_time or now
    for other in others:
        if (
            other.status is Status.ACTIVE
            and not is_expired(other, now)
            and not is_forgotten(other, preset, now)
            and other.trust == trust
            and _says(new, other)
            and not conflict(other.metadata, new.metadata)
        ):
            rivals = [one.valid_from for one in _rivals(other, others, now) if one.valid_from <= other.valid_from]
            if any(begins < one for one in rivals) and begins < other.valid_from:
                continue
            told = replace(united(other, new, begins), last_strengthened=max(other.last_strengthened, now))
            if begins >= other.valid_from or (now == other.known_from and not rivals):
                return Retold(other, told, begins, False, now)
            same = [one for one in _shown(others, now) if _says(new, one) and one.valid_from == begins]
            known = any(one.valid_to is None or one.valid_to > begins for one in same)
            return Retold(other, replace(told, valid_from=other.valid_from), begins, not known, now)
    return None


def _says(new: NewRecord | Record, other: Record) -> bool:
    """Return whether one fact can stand for both: hearsay that agrees is no word of the subject's own."""
    return (
        new.value is not None
        and other.value is not None
        and comparable(other)
        and (same_source(new, other) or (is_first_hand(new) and is_first_hand(other)))
        and (other.subject or "").casefold() == (new.subject or "").casefold()
        and other.relation == new.relation
        and repeats(new.value, other.value, single_valued=is_single_valued(other))
    )


def _rivals(record: Record, others: Sequence[Record], now: datetime) -> Iterator[Record]:
    """Yield the facts that exclude this one, whenever they hold."""
    for other in _shown(others, now):
        if same_matter(record, other) and differ(record.value or "", other.value or ""):
            yield other


def _shown(others: Sequence[Record], now: datetime) -> list[Record]:
    shown = (Status.ACTIVE, Status.SUPERSEDED)
    return [other for other in map(unswept, others) if other.status in shown and not is_expired(other, now)]


def settle(new: Record, others: Sequence[Record], now: datetime, heir: Record | None = None) -> Iterator[Record]:
    """Yield each record that changes because `new` was stored.

    That is an older fact that `new` takes the place of, also one whose end was set later than `new` begins, and `new`
    itself where a fact that is valid from a later time on is already known; `heir` is one that says the same.
    """
    live = _shown(others, now)
    later = [other for other in live if other.valid_from > new.valid_from and contradicts(other, new)]
    if heir is not None:
        later.append(heir)
    if later:
        yield superseded(new, _first(later), now)
    yield from (superseded(other, new, now) for other in _ended(new, live))


def _ended(new: Record, live: Sequence[Record]) -> list[Record]:
    return [one for one in live if contradicts(new, one) and (one.valid_to is None or one.valid_to > new.valid_from)]


@dataclass(frozen=True, slots=True)
class Parted:
    """A fact that is two: it was told again, and something else is known now to have held in between."""

    past: Record | None
    """What holds until then, a new row without an id and with the fact's end; None if it never held."""
    present: Record
    """The fact, from when it was told again."""
    told: list[list[str]]
    """What the history says of the tellings before that."""


def parted(new: Record, others: Sequence[Record], now: datetime, told_of: ToldOf) -> list[Parted]:
    """Return the facts that `new` would end though they were told again as of a later time; none is written."""
    result = []
    for fact in _ended(new, _shown(others, now)):
        told = told_of(fact)
        later = [one for one in told if one[0] > new.valid_from and (fact.valid_to is None or one[0] < fact.valid_to)]
        if later:
            begins, known = min(later)
            empty = (fact.valid_from, fact.known_from) == (new.valid_from, new.known_from)
            past = None if empty else replace(fact, idempotency_key=None, uses=0, last_turn=None, created_at=now)
            early = [[one.isoformat() for one in both] for both in told if both[0] <= new.valid_from]
            result.append(Parted(past, replace(fact, valid_from=begins, known_from=known), early))
    return result


def tellings_of(history: Iterable[Change]) -> Tellings:
    """Return (beginning, known since) of each time that a fact was told again, but for its first."""
    told = (both for change in history for both in change.detail.get(TOLD, ()))
    return [(datetime.fromisoformat(begins), datetime.fromisoformat(known)) for begins, known in told]


def successor(record: Record, others: Sequence[Record], now: datetime) -> Record | None:
    """Return the fact that takes the place of a stored one, among `others`; None if none does."""
    after = [other for other in _shown(others, now) if follows(other, record)]
    return _first(after) if after else None


def follows(later: Record, fact: Record) -> bool:
    """Return whether `later` holds where it and `fact` both would: it excludes it, or says the same as of later."""
    return _place(later) > _place(fact) and (contradicts(later, fact) or restates(later, fact))


def restates(later: Record, fact: Record) -> bool:
    """Return whether one fact goes on with what another one says."""
    return (
        later.kind is fact.kind is Kind.FACT
        and later.id != fact.id
        and later.namespace == fact.namespace
        and later.trust == fact.trust
        and _says(later, fact)
        and not conflict(fact.metadata, later.metadata)
    )


def _place(fact: Record) -> tuple[datetime, datetime, str]:
    """Return what orders facts: of those from one time on the one told last comes last."""
    return fact.valid_from, fact.known_from, fact.id


def _first(later: Sequence[Record]) -> Record:
    """Return the fact that holds first; of those from one time on, the one told last."""
    begin = min(other.valid_from for other in later)
    return max((other for other in later if other.valid_from == begin), key=_place)


def held(facts: Iterable[Record], valid_at: datetime, known_at: datetime) -> Iterator[Record]:
    """Yield the facts of one subject and relation that the store held at `known_at` to be so at `valid_at`.

    `facts` are all that can be told. A row has the end that is known now, and since when it had one at all; what ended
    it at `known_at` follows from the beginnings of what was known then. What is gone (forgotten, put away, purged) does
    not say since when it was known: then the stored end counts, and what had been believed meanwhile is not told.
    """
    shown = {fact.id: fact for fact in facts}
    known = sorted((fact for fact in shown.values() if fact.known_from <= known_at), key=_place)
    for number, fact in enumerate(known):
        if fact.valid_from > valid_at:
            return
        if fact.superseded_by is None and not is_single_valued(fact):
            yield fact
            continue
        follow = (one for one in map(known.__getitem__, range(number + 1, len(known))) if _ends(one, fact))
        end = _end(fact, follow, shown.get(fact.superseded_by or ""), known_at)
        if end is None or valid_at < end:
            yield fact


def _end(fact: Record, later: Iterator[Record], heir: Record | None, known_at: datetime) -> datetime | None:
    """Return when a fact ends by what was known; `later`, known then, would end it; `heir` does now."""
    first = next(later, None)
    end = None if first is None else first.valid_from
    if fact.valid_to is None or fact.known_to is None or fact.known_to > known_at:
        return end
    since = fact.known_to
    whole = first is not None and heir is not None and follows(heir, fact)
    if whole and any(one.known_from <= since for one in ([] if first is None else chain([first], later))):
        return end
    return min(end or fact.valid_to, fact.valid_to)


def _ends(later: Record, fact: Record) -> bool:
    """Return whether what comes later ends a fact; of two that say the same, only one that was superseded ends."""
    return contradicts(later, fact) or (fact.superseded_by is not None and restates(later, fact))


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
