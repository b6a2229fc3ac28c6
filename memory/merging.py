"""How one record comes to stand for another that says the same; inside one write transaction."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from mars.errors import InvalidInput
from mars.memory.duplicates import agree, comparable, conflict, matter, outlives, said, united
from mars.memory.ids import content_hash
from mars.memory.interfaces import Selection, Transaction
from mars.memory.lifecycle import found
from mars.memory.presets import Preset
from mars.memory.records import Duplicates, Kind, Namespace, NewRecord, Record, Status
from mars.memory.settling import change
from mars.memory.spans import TOLD, lean, spans_of, told_as_of, told_of
from mars.memory.superseding import event_of, settle
from mars.memory.views import is_expired, is_forgotten

MERGED_REASON = "merged"
"""`Record.archived_because` of what was merged into another record."""


@dataclass(slots=True)
class Likes:
    """What a write knows of the records that its new ones may repeat; each text, or matter, is looked up once."""

    _rows: dict[Hashable, dict[str, Record]] = field(default_factory=dict)
    _read: set[Hashable] = field(default_factory=set)

    def twin(
        self, tx: Transaction, new: NewRecord, mode: Duplicates, at: datetime, now: datetime, preset: Preset
    ) -> Record | None:
        """Return the oldest live record that says what a new one says; or None.

        `at` is its event time. A record with an idempotency key has none: under that key it must be found again.
        """
        if not comparable(new) or new.idempotency_key is not None:
            return None
        about = matter(new, at)
        if mode is Duplicates.EXACT:
            self.look_up(tx, [new])
            known = self._rows.get((new.namespace, content_hash(new.text)), {})
        else:
            self._read_matter(tx, new, at)
            known = self._rows.get((about, said(new.text)), {})
        for _, record in sorted(known.items()):
            if (
                _live(record, preset, now)
                and matter(record, record.event_time) == about
                and agree(record, new)
                and (mode is not Duplicates.SKIP or outlives(record, new))
                and not conflict(record.metadata, new.metadata)
            ):
                return record
        return None

    def look_up(self, tx: Transaction, news: Iterable[NewRecord]) -> None:
        """Read the live records that have the very texts of new ones, in one query for each namespace and kind."""
        wanted: dict[tuple[Namespace, Kind], set[str]] = {}
        for new in news:
            known = (new.namespace, new.kind, content_hash(new.text))
            if known not in self._read:
                self._read.add(known)
                wanted.setdefault(known[:2], set()).add(known[2])
        active = frozenset({Status.ACTIVE})
        for (namespace, kind), hashes in wanted.items():
            same = Selection(
                namespace=namespace, kinds=frozenset({kind}), statuses=active, content_hashes=frozenset(hashes)
            )
            for row in tx.select(same):
                self._know(row, (namespace, row.content_hash))

    def _read_matter(self, tx: Transaction, new: NewRecord, at: datetime) -> None:
        about = matter(new, at)
        if about in self._read:
            return
        self._read.add(about)
        day = datetime(at.year, at.month, at.day, tzinfo=UTC) if new.kind is Kind.EPISODE else None
        last = None if day is None or day.date() == datetime.max.date() else day + timedelta(days=1)  # noqa: DTZ901
        rows = tx.select(
            Selection(
                namespace=new.namespace,
                kinds=frozenset({new.kind}),
                statuses=frozenset({Status.ACTIVE}),
                conversation=new.conversation if new.kind is Kind.EPISODE else None,
                subject=new.subject,
                relation=new.relation,
                since=day,
                until=last,
            )
        )
        for row in rows:
            if matter(row, row.event_time) == about:
                self._know(row, (about, said(row.text)))

    def _know(self, record: Record, place: Hashable) -> None:
        if comparable(record):
            self._rows.setdefault(place, {}).setdefault(record.id, record)

    def note(self, record: Record) -> None:
        """Let later records of the same write find this one as it is now."""
        if comparable(record):
            about = matter(record, record.event_time)
            for place in ((record.namespace, record.content_hash), (about, said(record.text))):
                self._rows.setdefault(place, {})[record.id] = record


def _live(record: Record, preset: Preset, now: datetime) -> bool:
    active = record.status is Status.ACTIVE
    return active and not is_expired(record, now) and not is_forgotten(record, preset, now)


def told_again(twin: Record, new: NewRecord, mode: Duplicates, at: datetime, now: datetime) -> Record:
    """Return what becomes of the record that a new one repeats: itself, or what unites them; `at` as for `twin`.

    Merged, its τ restarts as for a fact that is told again; its strength stays.
    """
    if mode is Duplicates.SKIP:
        return twin
    after, _ = lean(united(twin, new, [told_as_of(twin, new.valid_from or at, now)]), ())
    return replace(after, last_strengthened=max(twin.last_strengthened, now))


def merge(tx: Transaction, keep: str, ids: Sequence[str], now: datetime, preset: Preset) -> Record:
    """Archive records as merged into another one, which takes over their sources; return that one.

    Raises `InvalidInput` unless all are active, of one namespace and one kind, and `NotFound`.
    """
    kept, *others = found(tx, [keep, *(one for one in ids if one != keep)], now)
    for one in (kept, *others):
        if not _live(one, preset, now):
            raise InvalidInput(
                f"{one.id} is not active ({one.archived_because or one.status.value}); nothing was merged: restore it, "
                "or review it, first"
            )
        if (one.namespace, one.kind) != (kept.namespace, kept.kind) or not comparable(one):
            raise InvalidInput(
                f"{one.id} is of another namespace or kind than {keep}, or has a key: nothing was merged"
            )
    if not others:
        return kept
    after = kept
    for one in others:
        after = united(after, one, spans_of(one))
    sources = [one for one in after.provenance.sources if one not in kept.provenance.sources]
    detail = {"records": [one.id for one in others], "sources": sources, "pinned": [kept.pinned, after.pinned]}
    after, rivals, told = _settled(tx, after, others, now)
    (after,) = change(tx, [after], "merged", now, detail | ({TOLD: told} if told else {}))
    for one in rivals:
        event, more = event_of(one)
        change(tx, [one], event, now, more)
    away = [replace(one, status=Status.ARCHIVED, archived_at=now, archived_because=MERGED_REASON) for one in others]
    change(tx, away, "archived", now, {"because": MERGED_REASON, "into": after.id})
    return after


def _settled(
    tx: Transaction, fact: Record, others: Sequence[Record], now: datetime
) -> tuple[Record, list[Record], list[list[str]]]:
    """Let a fact that stands for others too end what it excludes: it, what changes beside it, and what was told."""
    if fact.kind is not Kind.FACT:
        return fact, [], []
    rows = tx.select(Selection(namespace=fact.namespace, subject=fact.subject, relation=fact.relation))
    moved = {one.id: one for one in settle(fact, rows, now, told_of(tx))}
    fact, told = lean(moved.pop(fact.id, fact), [moved.get(one.id, one) for one in rows])
    told += [[one.isoformat() for one in both] for other in others for both in told_of(tx)(other)]
    return fact, list(moved.values()), told
