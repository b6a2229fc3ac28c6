"""Whether two records say the same, and what one takes over from another; never where anything would be lost.

Two texts say the same if they have the same words in the same order. Of how they are written only this is ignored: the
marks of prose at the end of the whole text, the space between words, and the few sounds of `FILLERS`. Everything else
counts: a comma ("No, smoking"), a sign (``<5 mg``), a unit (``5"``), a number, a line break, the case of a letter
("Polish", "polish"). So "I like tea." and "I like, uh" differ, "I like tea." and "I uh like tea!" do not.

Records are near-duplicates if their texts say the same and they agree in namespace, kind, speaker, trust, subject,
relation and value; episodes, which are evidence, also in conversation, place in it and day. Records with keys never
are. All of it is a pure function of the two: no model, no vector, no threshold.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from mars.memory.facts import normalised
from mars.memory.records import Kind, NewRecord, Record
from mars.memory.spans import ALSO_HELD, spans_of, with_spans, without_spans

PART = "index"
"""`Provenance.role` of a part of a key's value, which belongs to its whole."""

FILLERS = frozenset({"uh", "uhm", "umm", "erm", "hmm"})
"""Sounds that say nothing; they count as such only in small letters, with or without a comma."""

_PIECE = re.compile(r"\n[^\S\n]*|\S+")
_ENDED = re.compile(r"([^\W\d_]{2,})[.!\u2026\u3002]+$")
_DRAWN = frozenset({"span", "confidence"})
_OWN = _DRAWN | {ALSO_HELD}


def said(text: str) -> tuple[str, ...]:
    """Return what a text is compared by: its words and line breaks as they were written; see the module."""
    pieces: list[str] = _PIECE.findall(unicodedata.normalize("NFC", text).strip())
    words = [piece for piece in pieces if piece.removesuffix(",") not in FILLERS]
    if words:
        words[-1] = _ENDED.sub(r"\1", words[-1])
    return tuple(words or pieces)


def comparable(record: Record | NewRecord) -> bool:
    """Return whether a record can have duplicates at all: it has no key, and is no part of a key's value."""
    return record.key is None and record.provenance.role != PART


def matter(record: Record | NewRecord, at: datetime) -> Hashable:
    """Return what two near-duplicates have in common beside their texts; `at` is the event time."""
    fact = ((record.subject or "").casefold(), record.relation)
    episode = (record.conversation, at.date()) if record.kind is Kind.EPISODE else None
    return record.namespace, record.kind, (record.speaker or "").casefold(), record.source.trusted, fact, episode


def agree(kept: Record, other: Record | NewRecord) -> bool:
    """Return whether `kept` can stand for the other in what no text says: its value and its place."""
    places = (kept.position, other.position)
    moved = kept.kind is Kind.EPISODE and None not in places and places[0] != places[1]
    return not moved and same_value(kept.value, other.value)


def same_value(one: str | None, other: str | None) -> bool:
    """Return whether two facts have one value, or both none."""
    if one is None or other is None:
        return one == other
    return normalised(one) == normalised(other)


def outlives(kept: Record, other: Record | NewRecord) -> bool:
    """Return whether `kept` lives at least as long as the other may."""
    return kept.expires_at is None or (other.expires_at is not None and kept.expires_at >= other.expires_at)


def conflict(kept: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether two metadata hold different values under one key; where a fact was read does not count."""
    return any(key in kept and kept[key] != value for key, value in other.items() if key not in _OWN)


def united(kept: Record, other: Record | NewRecord, spans: Iterable[Record]) -> Record:
    """Return `kept` with what the other has beside its text; `spans` are those of the other, if they are facts.

    Sources and metadata under new keys are added; the greater importance, a pin and the later time to live win, and
    none wins over any. Each span is known since it was: to be told as of an earlier time is to know more only now.
    """
    sources = dict.fromkeys((*kept.provenance.sources, *other.provenance.sources))
    sources.pop(kept.id, None)
    added = without_spans(other.metadata) if kept.kind is Kind.FACT else other.metadata
    after = replace(
        kept,
        provenance=replace(kept.provenance, sources=tuple(sources)),
        importance=max(kept.importance, other.importance),
        pinned=kept.pinned or other.pinned,
        metadata={**added, **kept.metadata},
        expires_at=kept.expires_at if outlives(kept, other) else other.expires_at,
    )
    if kept.kind is Kind.FACT:
        return with_spans(after, [*spans_of(after), *spans])
    return replace(after, valid_from=min(kept.valid_from, *(span.valid_from for span in spans)))


@dataclass(frozen=True, slots=True, kw_only=True)
class DuplicateGroup:
    """Records that one of them can stand for."""

    keep: Record
    """Says what each of the others says: pinned before unpinned, then the most used, the oldest."""
    others: tuple[Record, ...]
    """What `Memory.merge` may archive."""


def groups(records: Iterable[Record]) -> list[DuplicateGroup]:
    """Return the groups of near-duplicates among active records, each record in at most one; exact."""
    alike: dict[Hashable, list[Record]] = {}
    for record in records:
        if comparable(record):
            alike.setdefault((matter(record, record.event_time), said(record.text)), []).append(record)
    result = [group for rows in alike.values() if len(rows) > 1 for group in _groups(rows)]
    return sorted(result, key=lambda group: group.keep.id)


def _groups(rows: Sequence[Record]) -> Iterator[DuplicateGroup]:
    taken: set[str] = set()
    for keep in sorted(rows, key=lambda row: (not row.pinned, -row.uses, row.id)):
        if keep.id in taken:
            continue
        taken.add(keep.id)
        others = [one for one in sorted(rows, key=lambda row: row.id) if one.id not in taken and agree(keep, one)]
        if others:
            taken |= {one.id for one in others}
            yield DuplicateGroup(keep=keep, others=tuple(others))
