"""Reads that need no query: listings, the window of a conversation, facts as of a time, figures."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice
from typing import TypeVar

import numpy as np

from mars.memory.following import IndexState
from mars.memory.interfaces import Reader, Selection
from mars.memory.lives import KINDS, STATUSES
from mars.memory.presets import Preset
from mars.memory.records import Kind, Namespace, Record, Status, Tier
from mars.memory.spans import spans_of
from mars.memory.tiers import FORGOTTEN, SHORT, TIERS, Codes
from mars.memory.views import as_read, standings_of

Name = TypeVar("Name")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """What a store holds at one time."""

    url: str
    """Where it is, without secrets."""
    store_id: str
    """Its id; the ids of its records are drawn from it."""
    embedder: str
    """Id of the embedder of its vectors."""
    preset: str
    """Name of the preset it was opened with."""
    head: int
    """The newest `seq`."""
    records: int
    """Records that exist; those whose time to live is over do not."""
    namespaces: int
    """Namespaces with at least one of them."""
    by_status: Mapping[Status, int]
    """Records of each status; forgotten ones count as archived, swept or not."""
    by_kind: Mapping[Kind, int]
    """Records of each kind."""
    by_tier: Mapping[Tier, int]
    """Active records of each tier."""
    index: IndexState | None = None
    """How far the derived index is; None where it is not in use."""
    loaded: Mapping[Namespace, int] = field(default_factory=dict)
    """The namespaces that recall has in memory, with about how many bytes; the one asked longest ago first."""


def select(
    reader: Reader, selection: Selection, statuses: Collection[Status], preset: Preset, now: datetime
) -> list[Record]:
    """Return the records that a selection finds and that have one of these statuses at `now`."""
    stored = frozenset(statuses) | ({Status.ACTIVE} if Status.ARCHIVED in statuses else set())
    if not stored:
        return []
    rows = reader.each(replace(selection, statuses=stored, alive_at=now, limit=None))
    read = (as_read(record, preset, now) for record in rows)
    kept = (record for record in read if record is not None and record.status in statuses)
    return list(islice(kept, None if selection.limit is None else max(0, selection.limit)))


def window(
    reader: Reader, namespace: Namespace, conversation: str, k: int, preset: Preset, now: datetime
) -> list[Record]:
    """Return the newest k short-term records of a conversation, in its order."""
    active = frozenset({Status.ACTIVE})
    lives = reader.lives(Selection(namespace=namespace, conversation=conversation, statuses=active, alive_at=now))
    _, tiers = standings_of(lives, preset, now)
    places = np.flatnonzero(tiers == SHORT).tolist()
    places.sort(key=lambda place: (lives.event_time[place], lives.position[place], lives.ids[place]))
    rows = reader.get([lives.ids[place] for place in places[max(0, len(places) - k) :]])
    return [row for row in rows if row is not None]


def as_of(
    reader: Reader, selection: Selection, valid_at: datetime, known_at: datetime, preset: Preset, now: datetime
) -> list[Record]:
    """Return the facts that were valid at `valid_at`, as far as the store knew at `known_at`, oldest first.

    What is forgotten, put away or quarantined at `now` is not told. A supersession that was undone counts as never
    made; the history has it. A fact that held at several times is told with the beginning and the end of the one asked
    for.
    """
    result: list[Record] = []
    shown = frozenset({Status.ACTIVE, Status.SUPERSEDED})
    for stored in reader.select(replace(selection, kinds=frozenset({Kind.FACT}), statuses=shown, alive_at=now)):
        fact = as_read(stored, preset, now)
        if fact is not None and fact.status in shown:
            held = (span for span in spans_of(fact) if _held(span, valid_at, known_at))
            result += [span for span in [min(held, key=lambda span: span.valid_from, default=None)] if span is not None]
    return sorted(result, key=lambda fact: (fact.valid_from, fact.id))


def _held(span: Record, valid_at: datetime, known_at: datetime) -> bool:
    """Return whether the store held a span of a fact to be so; before it had an end, it was valid without one."""
    ends = span.valid_to if span.known_to is not None and span.known_to <= known_at else None
    return span.known_from <= known_at and span.valid_from <= valid_at and (ends is None or valid_at < ends)


def stats(reader: Reader, url: str, embedder: str, preset: Preset, now: datetime) -> Stats:
    """Count what the store holds at `now`."""
    lives = reader.lives(Selection(alive_at=now))
    _, tiers = standings_of(lives, preset, now)
    active = lives.having(Status.ACTIVE)
    forgotten = active & (tiers == FORGOTTEN)
    status = np.where(forgotten, STATUSES.index(Status.ARCHIVED), lives.status)
    return Stats(
        url=url,
        store_id=reader.meta().get("store_id", ""),
        embedder=embedder,
        preset=preset.name,
        head=reader.head(),
        records=len(lives.ids),
        namespaces=len(set(lives.namespaces)),
        by_status=_counted(STATUSES, status),
        by_kind=_counted(KINDS, lives.kind),
        by_tier=_counted(TIERS, tiers[active & ~forgotten]),
    )


def _counted(names: Sequence[Name], codes: Codes) -> dict[Name, int]:
    """Return how often each name's code is there; what is not there is left out."""
    counts = np.bincount(codes, minlength=len(names)).tolist()
    return {name: count for name, count in zip(names, counts, strict=True) if count}
