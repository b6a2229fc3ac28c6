"""The spans of a fact: one record, though it may have held at several times, or be known of since several.

A record's own fields tell one span: since when and until when it is so, and since when each is known. What else is to
be told stands in its metadata, under `ALSO_HELD`: Rome until May, something else, and Rome again; or Rome since May, as
was known in June, and since April, as was known in July. The text is kept once, so that what deletes it deletes all.

A telling that says nothing new of the spans is only noted in the history (`TOLD`), which is read again where something
else turns out to have held in between.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from mars.memory.interfaces import Reader
from mars.memory.records import Change, Kind, Record, Status

ALSO_HELD = "also_held"
"""Key of a fact's metadata: its other spans, [valid from, valid to, known from, known to, superseded by] each."""

TOLD = "told"
"""Key of a change's detail: [valid from, known from] of tellings that its record does not show."""

UNTOLD = "untold_from"
"""Key of a change's detail: tellings as of this time or later ones were taken back."""

Telling = tuple[datetime, datetime]
"""Since when a fact is said to be so, and since when that is known."""


def spans_of(fact: Record) -> list[Record]:
    """Return the fact once for each of its spans, its own first; a list that somebody made up adds none."""
    listed = fact.metadata.get(ALSO_HELD)
    if not listed or fact.kind is not Kind.FACT:
        return [fact]
    try:
        return [fact, *(_span(fact, *one) for one in listed)]
    except (TypeError, ValueError):
        return [fact]


def _span(fact: Record, begins: str, ends: str | None, known: str, known_to: str | None, by: str | None) -> Record:
    return replace(
        fact,
        valid_from=_time(begins),
        valid_to=None if ends is None else _time(ends),
        known_from=_time(known),
        known_to=None if known_to is None else _time(known_to),
        superseded_by=None if by is None else str(by),
    )


def _time(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(text)
    return moment


def told_as_of(fact: Record, begins: datetime, known: datetime) -> Record:
    """Return a fact as another telling of it says: so since `begins`, as is known since `known`, and without an end."""
    return replace(fact, valid_from=begins, known_from=known, valid_to=None, known_to=None, superseded_by=None)


def with_spans(fact: Record, spans: Iterable[Record]) -> Record:
    """Return the fact with these spans and no other: its own is what still holds, the first of that, or what held last.

    It is active while one of them has no end, unless it is put away or waits for its review.
    """
    once: dict[Telling, Record] = {}
    for span in spans:
        same = once.get(key := (span.valid_from, span.known_from))
        if same is None or (span.valid_to is not None and (same.valid_to is None or span.valid_to < same.valid_to)):
            once[key] = span
    ordered = [once[key] for key in sorted(once)]
    own = next((one for one in ordered if one.valid_to is None), None)
    place = Status.SUPERSEDED if own is None else Status.ACTIVE
    own = own or max(ordered, key=lambda one: one.valid_to or one.valid_from)
    metadata = fact.metadata
    if ALSO_HELD in metadata or len(ordered) > 1:
        others = [_listed(one) for one in ordered if one is not own]
        metadata = {**without_spans(metadata), **({ALSO_HELD: others} if others else {})}
    return replace(
        fact,
        status=place if fact.status in (Status.ACTIVE, Status.SUPERSEDED) else fact.status,
        valid_from=own.valid_from,
        valid_to=own.valid_to,
        known_from=own.known_from,
        known_to=own.known_to,
        superseded_by=own.superseded_by,
        metadata=metadata,
    )


def _listed(span: Record) -> list[str | None]:
    ends = None if span.valid_to is None else span.valid_to.isoformat()
    known_to = None if span.known_to is None else span.known_to.isoformat()
    return [span.valid_from.isoformat(), ends, span.known_from.isoformat(), known_to, span.superseded_by]


def without_spans(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the metadata of a fact without its spans, which only the store writes."""
    return {key: value for key, value in metadata.items() if key != ALSO_HELD} if ALSO_HELD in metadata else metadata


def lean(fact: Record, rows: Iterable[Record]) -> tuple[Record, list[list[str]]]:
    """Return a fact without the spans that another one covers, and what the history has to say of these (`TOLD`).

    Where one of the other `rows` of its matter ends, the span that ends it stays.
    """
    spans = spans_of(fact)
    if len(spans) == 1:
        return fact, []
    ends = {one.valid_to for row in rows for one in spans_of(row) if one.superseded_by == fact.id}
    left: list[Record] = []
    dropped: list[list[str]] = []
    for span in sorted(spans, key=lambda one: (one.valid_from, one.known_from)):
        covered = any(one.valid_to is None and one.known_from <= span.known_from for one in left)
        if covered and span.valid_to is None and span.valid_from not in ends:
            dropped.append([span.valid_from.isoformat(), span.known_from.isoformat()])
        else:
            left.append(span)
    return with_spans(fact, left), dropped


def kept_spans(before: Record, after: Record) -> Record:
    """Return a fact whose metadata were written anew with the spans that it has."""
    if before.kind is not Kind.FACT or before.metadata.get(ALSO_HELD) == after.metadata.get(ALSO_HELD):
        return after
    held = {ALSO_HELD: before.metadata[ALSO_HELD]} if ALSO_HELD in before.metadata else {}
    return replace(after, metadata={**without_spans(after.metadata), **held})


def tellings_of(history: Iterable[Change]) -> list[Telling]:
    """Return the tellings of a fact that its history notes, but for those that were taken back."""
    told: list[Telling] = []
    for change in history:
        if UNTOLD in change.detail:
            first = _time(change.detail[UNTOLD])
            told = [one for one in told if one[0] < first]
        told += [(_time(begins), _time(known)) for begins, known in change.detail.get(TOLD, ())]
    return told


def told_of(reader: Reader) -> Callable[[Record], list[Telling]]:
    """Return what looks up the tellings that the history of a stored fact notes."""
    return lambda fact: tellings_of(reader.history(fact.id))


def first_of(tellings: Collection[Telling]) -> list[Telling]:
    """Return those of these tellings that none of the others covers, in order."""
    result: list[Telling] = []
    for begins, known in sorted(tellings):
        if all(one[1] > known for one in result):
            result.append((begins, known))
    return result
