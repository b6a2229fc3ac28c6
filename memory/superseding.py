"""How one fact takes another's place, and how that is taken back.

Nothing is overwritten: the older fact's validity ends, in the world (``valid_to``) where the newer one's begins and in
the store (``known_to``) at the time of writing. An older fact that is told after a newer one is superseded on arrival,
so that the order in which conversations are read does not matter. Hearsay (`mars.memory.facts.may_replace`) is kept
beside what the subject says of itself, and ends only what the same speaker said before.

What holds when is a function of what was told, in the order of `place`: a telling holds from its beginning until the
next one that contradicts it begins. In which order they were told, how many in one write, and which of them share a
record changes nothing. A fact that is told again is one record with as many spans as that takes (`mars.memory.spans`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from mars.memory.duplicates import comparable, conflict, united
from mars.memory.facts import (
    contradicts,
    differ,
    is_first_hand,
    is_single_valued,
    may_replace,
    repeats,
    same_matter,
    same_source,
)
from mars.memory.presets import Preset
from mars.memory.records import NewRecord, Record, Status
from mars.memory.spans import Telling, first_of, spans_of, told_as_of, with_spans
from mars.memory.views import is_expired, is_forgotten, unswept

_NEVER = datetime.max.replace(tzinfo=UTC)

ToldOf = Callable[[Record], Sequence[Telling]]
"""Looks up what the history notes of the tellings of a stored fact; called where it is to end before they begin."""


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
    for other in sorted(others, key=lambda one: one.id):
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
            # What is told in one moment as of one time is ordered by the ids of records: it has one of its own.
            told = (begins, now)
            rivals = ((one.valid_from, one.known_from) for one in _rivals(other, others, now))
            if not any(told == one or (told < one and one[0] <= other.valid_from) for one in rivals):
                after = united(other, new, [told_as_of(other, begins, now)])
                return other, replace(after, last_strengthened=max(other.last_strengthened, now))
    return None


def _one_voice(new: NewRecord, other: Record) -> bool:
    """Return whether one fact can stand for both: hearsay that agrees is no word of the subject's own."""
    return same_source(new, other) or (is_first_hand(new) and is_first_hand(other))


def _rivals(record: Record, others: Sequence[Record], now: datetime) -> Iterator[Record]:
    """Yield the spans of the facts that exclude this one, whenever they hold."""
    for other in shown(others, now):
        if same_matter(record, other) and differ(record.value or "", other.value or ""):
            yield from spans_of(other)


def shown(others: Sequence[Record], now: datetime) -> list[Record]:
    """Return those of the stored facts that count: neither put away nor waiting for a review."""
    counted = (Status.ACTIVE, Status.SUPERSEDED)
    return [other for other in map(unswept, others) if other.status in counted and not is_expired(other, now)]


def place(span: Record) -> tuple[datetime, datetime, str]:
    """Return what orders what was told: of what holds from one time on, what was told last comes last."""
    return span.valid_from, span.known_from, span.id


def settle(new: Record, others: Sequence[Record], now: datetime, told_of: ToldOf) -> list[Record]:
    """Return each record that changes because `new` was stored, told again or brought back: itself first.

    That is an older fact that it takes the place of, also one whose end was set later than `new` begins, and `new`
    itself where a fact that is valid from a later time on is already known. One that was told again as of a later time
    holds again from then on.
    """
    rows = {one.id: one for one in sorted(shown(others, now), key=lambda one: one.id) if one.id != new.id}
    fact, changed = new, dict[str, Record]()
    while True:
        for row in rows.values():
            after = _retold(_ended(row, spans_of(fact), now, told_of), fact, told_of)
            if after is not row:
                changed[row.id] = after
        rows |= changed
        after = ended(fact, rows.values(), now, told_of)
        if after is fact:
            return ([] if fact is new else [fact]) + [rows[one] for one in sorted(changed)]
        fact = after


def _retold(row: Record, fact: Record, told_of: ToldOf) -> Record:
    """Return a fact with the span that ends another one, which cannot end it; itself if its own spans do, or none does.

    So ends what somebody says of others where it came before they said themselves once more how it is.
    """
    if may_replace(fact, row) or not may_replace(row, fact) or not same_matter(row, fact):
        return row
    if not differ(row.value or "", fact.value or ""):
        return row
    spans, new, told = spans_of(row), list[Record](), told_of(row)
    for hearsay in spans_of(fact):
        for begins, known in first_of([one for one in told if (*one, row.id) > place(hearsay)]):
            within = (span for span in spans if span.valid_from <= begins and begins < (span.valid_to or _NEVER))
            if begins < (hearsay.valid_to or _NEVER):
                new += [replace(span, valid_from=begins, known_from=known) for span in within]
    shown_already = {(span.valid_from, span.known_from) for span in spans}
    new = [span for span in new if (span.valid_from, span.known_from) not in shown_already]
    return with_spans(row, [*spans, *new]) if new else row


def ended(fact: Record, rows: Iterable[Record], now: datetime, told_of: ToldOf) -> Record:
    """Return a fact with the ends that these other ones, which are shown, set to its spans; itself if that is none."""
    return _ended(fact, [span for row in rows for span in spans_of(row)], now, told_of)


def _ended(fact: Record, rivals: Sequence[Record], now: datetime, told_of: ToldOf) -> Record:
    """Return a fact with the ends that other facts' spans set; itself if that is none."""
    spans, changed = spans_of(fact), False
    told: Sequence[Telling] | None = None
    for rival in sorted(sorted(rivals, key=place, reverse=True), key=lambda one: one.valid_from):
        parts: list[Record] = []
        for span in spans:
            known = max(now, span.known_from, rival.known_from)
            sooner = span.valid_to is None or rival.valid_from < span.valid_to
            earlier = span.known_to is None or known < span.known_to
            if (sooner or earlier) and _follows(rival, span):
                changed = True
                known = known if earlier else span.known_to or known
                told = told_of(fact) if sooner and told is None else told
                parts += _parted(span, rival, known, told or ()) if sooner else [replace(span, known_to=known)]
            else:
                parts.append(span)
        spans = parts
    return with_spans(fact, spans) if changed else fact


def _follows(rival: Record, span: Record) -> bool:
    return place(rival) > place(span) and contradicts(rival, span)


def _parted(span: Record, rival: Record, known: datetime, told: Sequence[Telling]) -> list[Record]:
    """Return a span up to where its rival begins, and what was told again to hold after that."""
    before = replace(span, valid_to=rival.valid_from, known_to=known, superseded_by=rival.id)
    after = [
        one for one in told if (*one, span.id) > place(rival) and (span.valid_to is None or one[0] < span.valid_to)
    ]
    return [before, *(replace(span, valid_from=begins, known_from=since) for begins, since in first_of(after))]


def successor(record: Record, others: Sequence[Record], now: datetime) -> Record | None:
    """Return the span of a fact that takes the place of a stored one, among `others`; None if none does.

    Of those that begin at one time it is the one that the record names already, or else the one told last.
    """
    spans = [span for other in shown(others, now) for span in spans_of(other) if _follows(span, record)]
    begin = min((span.valid_from for span in spans), default=None)
    first = (span for span in spans if span.valid_from == begin)
    return max(first, key=lambda span: (span.id == record.superseded_by, place(span)), default=None)


def event_of(after: Record) -> tuple[str, dict[str, Any]]:
    """Return how the history names that `settle` changed a record, and its detail."""
    if after.superseded_by is None:
        return "parted", {"spans": len(spans_of(after))}
    return "superseded", {"by": after.superseded_by}


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


def ended_by(old: Record, by: str | None, since: datetime | None = None) -> list[Record]:
    """Return the spans of a fact that another one, of this id, ended, at `since` or later."""
    spans = [span for span in spans_of(old) if span.superseded_by == by]
    return [span for span in spans if since is None or span.valid_to is None or span.valid_to >= since]


def reinstated(old: Record, by: str | None, since: datetime | None = None) -> Record:
    """Return a fact as it was before another one took its place, as `ended_by`; what was put away since stays so."""
    again = ended_by(old, by, since)
    back = [replace(span, valid_to=None, known_to=None, superseded_by=None) for span in again]
    return with_spans(old, [*(span for span in spans_of(old) if span not in again), *back])
