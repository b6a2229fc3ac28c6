"""Reads that need no query: listings, the window of a conversation, facts as of a time, figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from mars.memory.interfaces import Reader, Selection
from mars.memory.presets import Preset
from mars.memory.records import Kind, Namespace, Record, Status, Tier
from mars.memory.views import as_read, is_expired, standing_at


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


def select(
    reader: Reader, selection: Selection, statuses: Collection[Status], preset: Preset, now: datetime
) -> list[Record]:
    """Return the records that a selection finds and that have one of these statuses at `now`."""
    read = (as_read(record, preset, now) for record in reader.select(replace(selection, limit=None)))
    kept = [record for record in read if record is not None and record.status in statuses]
    return kept[: selection.limit]


def window(
    reader: Reader, namespace: Namespace, conversation: str, k: int, preset: Preset, now: datetime
) -> list[Record]:
    """Return the newest k short-term records of a conversation, in its order."""
    active = frozenset({Status.ACTIVE})
    rows = [
        row
        for row in reader.select(Selection(namespace=namespace, conversation=conversation, statuses=active))
        if not is_expired(row, now) and standing_at(row, preset, now).tier is Tier.SHORT_TERM
    ]
    rows.sort(key=lambda row: (row.event_time, row.position if row.position is not None else -1, row.id))
    return rows[max(0, len(rows) - k) :]


def as_of(
    reader: Reader, selection: Selection, valid_at: datetime, known_at: datetime, preset: Preset, now: datetime
) -> list[Record]:
    """Return the facts that were valid at `valid_at`, as far as the store knew at `known_at`, oldest first.

    What is forgotten, put away or quarantined at `now` is not told. A supersession that was undone counts as never
    made; the history has it.
    """
    result = []
    for stored in reader.select(replace(selection, kinds=frozenset({Kind.FACT}))):
        fact = as_read(stored, preset, now)
        if fact is None or fact.known_from > known_at or fact.status not in (Status.ACTIVE, Status.SUPERSEDED):
            continue
        # Before it was superseded the store held the fact to be valid without an end.
        ends = fact.valid_to if fact.known_to is not None and fact.known_to <= known_at else None
        if fact.valid_from <= valid_at and (ends is None or valid_at < ends):
            result.append(fact)
    return sorted(result, key=lambda fact: (fact.valid_from, fact.id))


def stats(reader: Reader, url: str, embedder: str, preset: Preset, now: datetime) -> Stats:
    """Count what the store holds at `now`."""
    seen = [as_read(record, preset, now) for record in reader.select(Selection())]
    records = [record for record in seen if record is not None]
    tiers = Counter(standing_at(record, preset, now).tier for record in records if record.status is Status.ACTIVE)
    return Stats(
        url=url,
        store_id=reader.meta().get("store_id", ""),
        embedder=embedder,
        preset=preset.name,
        head=reader.head(),
        records=len(records),
        namespaces=len({record.namespace for record in records}),
        by_status=dict(Counter(record.status for record in records)),
        by_kind=dict(Counter(record.kind for record in records)),
        by_tier=dict(tiers),
    )
