"""How one record comes to stand for another that says the same; inside one write transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from mars.errors import InvalidInput
from mars.memory.duplicates import Gist, agree, comparable, conflict, matter
from mars.memory.interfaces import Selection, Transaction
from mars.memory.lifecycle import change, found
from mars.memory.presets import Preset
from mars.memory.records import Duplicates, Kind, NewRecord, Record, Status
from mars.memory.views import is_expired, is_forgotten

MERGED_REASON = "merged"
"""`Record.archived_because` of what was merged into another record."""


@dataclass(slots=True)
class Likes:
    """What a write knows of the records that its new ones may repeat: each matter is read once."""

    _matters: dict[object, dict[str, tuple[Record, Gist]]] = field(default_factory=dict)

    def twin(self, tx: Transaction, new: NewRecord, at: datetime, now: datetime, preset: Preset) -> Record | None:
        """Return the live record that says all that a new one says, the likest, of equals the oldest; or None.

        `at` is its event time.
        """
        if not comparable(new):
            return None
        gist, least = Gist.of(new.text), preset.duplicate_likeness
        best: tuple[float, str] | None = None
        twin = None
        for record, other in self._of(tx, new, at).values():
            if not (other.covers(gist, least) and agree(record, new) and _live(record, preset, now)):
                continue
            rank = (-other.likeness(gist), record.id)
            if not conflict(record.metadata, new.metadata) and (best is None or rank < best):
                best, twin = rank, record
        return twin

    def _of(self, tx: Transaction, new: NewRecord, at: datetime) -> dict[str, tuple[Record, Gist]]:
        about = matter(new, at)
        if about not in self._matters:
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
            same = (row for row in rows if comparable(row) and matter(row, row.event_time) == about)
            self._matters[about] = {row.id: (row, Gist.of(row.text)) for row in same}
        return self._matters[about]

    def note(self, record: Record) -> None:
        """Let later records of the same write find this one as it is now."""
        if comparable(record):
            known = self._matters.get(matter(record, record.event_time))
            if known is not None:
                known[record.id] = (record, known[record.id][1] if record.id in known else Gist.of(record.text))


def _live(record: Record, preset: Preset, now: datetime) -> bool:
    active = record.status is Status.ACTIVE
    return active and not is_expired(record, now) and not is_forgotten(record, preset, now)


def told_again(twin: Record, new: NewRecord, mode: Duplicates, now: datetime) -> Record:
    """Return what becomes of the record that a new one repeats: itself, or what takes over the new one's sources.

    Merged, its τ restarts as for a fact that is told again; its strength stays.
    """
    if mode is Duplicates.SKIP:
        return twin
    return replace(united(twin, new), last_strengthened=max(twin.last_strengthened, now))


def united(kept: Record, other: Record | NewRecord) -> Record:
    """Return `kept` with what the other has beside its text: sources, importance, pin, metadata under new keys."""
    sources = dict.fromkeys((*kept.provenance.sources, *other.provenance.sources))
    sources.pop(kept.id, None)
    return replace(
        kept,
        provenance=replace(kept.provenance, sources=tuple(sources)),
        importance=max(kept.importance, other.importance),
        pinned=kept.pinned or other.pinned,
        metadata={**other.metadata, **kept.metadata},
    )


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
        after = united(after, one)
    sources = [one for one in after.provenance.sources if one not in kept.provenance.sources]
    detail = {"records": [one.id for one in others], "sources": sources, "pinned": [kept.pinned, after.pinned]}
    (after,) = change(tx, [after], "merged", now, detail)
    away = [replace(one, status=Status.ARCHIVED, archived_at=now, archived_because=MERGED_REASON) for one in others]
    change(tx, away, "archived", now, {"because": MERGED_REASON, "into": after.id})
    return after
