"""What happens to a record after it was stored: use, review, archive and restore, forgetting, the end.

Each function runs inside one write transaction and changes records by id: missing ids raise `NotFound` before anything
is written. A record that a sweep has archived as forgotten counts as what it was before, so that sweeping hourly, once
or never comes to the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from mars.errors import InvalidInput, NotFound
from mars.memory.interfaces import Reader, Selection, Transaction
from mars.memory.lives import Lives
from mars.memory.presets import Preset
from mars.memory.records import Change, Grade, Kind, Namespace, Record, Status, days_between
from mars.memory.strength import strengthen
from mars.memory.superseding import reinstated, settle, successor, superseded
from mars.memory.tiers import FORGOTTEN
from mars.memory.views import (
    FORGOTTEN_REASON,
    as_read,
    expired_of,
    is_expired,
    is_forgotten,
    standing_at,
    standings_at,
    standings_of,
    swept,
    unswept,
)

CAPACITY_REASON = "capacity"
"""`Record.archived_because` of what a write displaced from a full namespace."""

REVIEW_REASON = "review"
"""`Record.archived_because` of a quarantined record that did not pass its review."""

EXPIRED_REASON = "expired"
"""`Record.archived_because` of what a sweep found past its time to live; no read shows it, `purge` deletes it."""

UNDONE_REASON = "undone"
"""`Record.archived_because` of a fact whose supersession was taken back."""


def found(reader: Reader, ids: Sequence[str], now: datetime) -> list[Record]:
    """Return the records with these ids, each once; `NotFound` names those that are not there or have expired."""
    wanted = list(dict.fromkeys(ids))
    records = [record for record in reader.get(wanted) if record is not None and not is_expired(record, now)]
    if len(records) != len(wanted):
        there = {record.id for record in records}
        missing = ", ".join(one for one in wanted if one not in there)
        raise NotFound(f"no record has the id {missing}; nothing was written: list() shows what there is")
    return records


def change(
    tx: Transaction, records: Iterable[Record], event: str, now: datetime, detail: Mapping[str, Any] | None = None
) -> list[Record]:
    """Write changed records with a new `seq` and one row of history each; return them."""
    changed = [replace(record, seq=tx.next_seq()) for record in records]
    tx.update(changed)
    tx.log([Change(seq=record.seq, at=now, record=record.id, event=event, detail=detail or {}) for record in changed])
    return changed


def use(tx: Transaction, ids: Sequence[str], grade: Grade, turn: str, now: datetime, preset: Preset) -> list[Record]:
    """Grade a use of records in a turn and return them; a second grade in the same turn changes nothing."""
    result, revived = list[Record](), list[Record]()
    for record in found(tx, ids, now):
        if record.last_turn is not None and (record.last_turn == turn or tx.graded(record.id, turn)):
            result.append(record)
            continue
        before = unswept(record)
        after, detail = _graded(before, grade, turn, now, preset)
        result += change(tx, [after], "used", now, detail)
        if is_forgotten(before, preset, now):
            revived.append(result[-1])
    return _within_capacity(tx, result, revived, preset, now)


def _graded(record: Record, grade: Grade, turn: str, now: datetime, preset: Preset) -> tuple[Record, dict[str, Any]]:
    retention = standing_at(record, preset, now).retention
    outcome = strengthen(
        preset.policy,
        grade,
        strength=record.strength,
        difficulty=record.difficulty,
        retention=retention,
        tau_days=days_between(record.last_strengthened, now),
        base=preset.base_strength[record.kind],
    )
    after = replace(
        record,
        strength=outcome.days,
        difficulty=outcome.difficulty,
        last_strengthened=max(now, record.last_strengthened) if outcome.restarts else record.last_strengthened,
        uses=record.uses + (grade is not Grade.AGAIN),
        last_turn=turn,
    )
    detail = {
        "grade": grade.value,
        "turn": turn,
        "retention": retention,
        "strength": [record.strength, after.strength],
        "difficulty": [record.difficulty, after.difficulty],
    }
    return after, detail


def pin(tx: Transaction, ids: Sequence[str], pinned: bool, now: datetime, preset: Preset) -> list[Record]:
    """Pin or unpin records; those that are so already stay as they are. An unpinned record counts for the capacity."""
    records = found(tx, ids, now)
    changed = [replace(unswept(record), pinned=pinned) for record in records if record.pinned != pinned]
    changed = change(tx, changed, "pinned" if pinned else "unpinned", now)
    return _within_capacity(tx, _merged(records, changed), () if pinned else changed, preset, now)


def archive(tx: Transaction, ids: Sequence[str], because: str, now: datetime) -> list[Record]:
    """Put records away; those that are archived already stay as they are."""
    if because in (FORGOTTEN_REASON, EXPIRED_REASON, REVIEW_REASON):
        raise InvalidInput(
            f"{because!r} is for what the store archives itself; nothing was written: say another reason"
        )
    records = [unswept(record) for record in found(tx, ids, now)]
    waiting = [record for record in records if record.status is Status.QUARANTINED]
    live = [record for record in records if record.status in (Status.ACTIVE, Status.SUPERSEDED)]
    # What nobody has reviewed must not pass for reviewed by way of the archive.
    away = _put_away(tx, live, because, now) + _put_away(tx, waiting, REVIEW_REASON, now)
    return _merged(records, away)


def restore(tx: Transaction, ids: Sequence[str], now: datetime, preset: Preset) -> list[Record]:
    """Bring archived and forgotten records back, as if strengthened now; others that are active stay as they are.

    Each comes back as what it was: superseded, or waiting for its review.
    """
    records = [as_read(record, preset, now) or record for record in found(tx, ids, now)]
    for record in records:
        if record.status is Status.SUPERSEDED:
            raise InvalidInput(
                f"{record.id} was superseded, not archived; nothing was written: use undo({record.id!r})"
            )
        if record.status is Status.QUARANTINED:
            raise InvalidInput(
                f"{record.id} is quarantined; nothing was written: use review([{record.id!r}], passed=True)"
            )
    changed = change(tx, [_restored(one, now) for one in records if one.status is Status.ARCHIVED], "restored", now)
    return _within_capacity(tx, _merged(records, changed + _settled(tx, changed, now)), changed, preset, now)


def _restored(record: Record, now: datetime) -> Record:
    status = Status.ACTIVE if record.superseded_by is None else Status.SUPERSEDED
    if record.archived_because == REVIEW_REASON:
        status = Status.QUARANTINED
    return replace(
        record,
        status=status,
        archived_at=None,
        archived_because=None,
        last_strengthened=now,
        known_to=record.known_to if record.superseded_by is not None else None,
    )


def _matter(fact: Record) -> Selection:
    """Return what selects the facts about the same subject in the same relation."""
    return Selection(
        namespace=fact.namespace, kinds=frozenset({Kind.FACT}), subject=fact.subject, relation=fact.relation
    )


def _settled(tx: Transaction, records: Iterable[Record], now: datetime) -> list[Record]:
    """Let facts that have become active take their places among the others; return what changed."""
    changed: list[Record] = []
    for record in records:
        if record.kind is Kind.FACT and record.status is Status.ACTIVE:
            for one in settle(record, tx.select(_matter(record)), now):
                changed += change(tx, [one], "superseded", now, {"by": one.superseded_by})
    return changed


def review(tx: Transaction, ids: Sequence[str], passed: bool, now: datetime, preset: Preset) -> list[Record]:
    """Release quarantined records into recall, or archive them; others stay as they are."""
    records = found(tx, ids, now)
    waiting = [record for record in records if record.status is Status.QUARANTINED]
    if passed:
        changed = change(tx, [replace(record, status=Status.ACTIVE) for record in waiting], "released", now)
        changed += _settled(tx, changed, now)
    else:
        changed = _put_away(tx, waiting, REVIEW_REASON, now)
    return _within_capacity(tx, _merged(records, changed), changed, preset, now)


def _put_away(tx: Transaction, records: Iterable[Record], because: str, now: datetime) -> list[Record]:
    away = [replace(record, status=Status.ARCHIVED, archived_at=now, archived_because=because) for record in records]
    return change(tx, away, "archived", now, {"because": because})


def undo(tx: Transaction, record: str, now: datetime, preset: Preset) -> list[Record]:
    """Take back a supersession, given either of its facts: the newer one is archived.

    The older ones are active again, unless a third fact takes their place.
    """
    (start,) = found(tx, [record], now)
    newer = start
    if start.superseded_by is not None:
        (newer,) = found(tx, [start.superseded_by], now)
    others = [one for one in tx.select(_matter(newer)) if one.id != newer.id]
    older = [one for one in others if one.superseded_by == newer.id]
    if not older:
        raise InvalidInput(f"{record} has superseded nothing and was not superseded; there is nothing to undo")
    away = replace(
        unswept(newer), status=Status.ARCHIVED, archived_at=now, archived_because=UNDONE_REASON, known_to=now
    )
    back = [reinstated(one) for one in older]
    places = {one.id: successor(one, others, now) for one in back if one.status is Status.ACTIVE}
    back = [superseded(one, next_one, now) if (next_one := places.get(one.id)) else one for one in back]
    back = change(tx, back, "reinstated", now, {"undone": newer.id})
    gone = change(tx, [away], "archived", now, {"because": UNDONE_REASON})
    return _within_capacity(tx, back + gone, back, preset, now)


def purge(tx: Transaction, ids: Sequence[str], force: bool, now: datetime) -> list[str]:
    """Delete records for good and return their ids; `force` deletes what live records cite, and flags those."""
    records = [record for record in tx.get(list(dict.fromkeys(ids))) if record is not None]
    gone = {record.id for record in records}
    if len(gone) != len(set(ids)):
        missing = ", ".join(one for one in dict.fromkeys(ids) if one not in gone)
        raise NotFound(f"no record has the id {missing}; nothing was purged")
    citing = [one for one in _citing(tx, records) if one.id not in gone]
    if citing and not force:
        raise InvalidInput(
            f"{citing[0].id} was derived from what would be purged; nothing was: purge it too, or say force=True"
        )
    flagged = [replace(one, metadata={**one.metadata, "sources_purged": True}) for one in citing]
    change(tx, flagged, "sources_purged", now)
    remove(tx, records, "purged", now)
    return [record.id for record in records]


def purge_archived(tx: Transaction, namespace: Namespace | None, now: datetime, preset: Preset) -> list[str]:
    """Delete what has expired, and what was archived longer ago than the audit window and no live record cites."""
    before = now - timedelta(days=preset.audit_days)
    expired = tx.select(Selection(namespace=namespace, expired_at=now))
    archived = Selection(
        namespace=namespace, statuses=frozenset({Status.ARCHIVED}), archived_before=before, alive_at=now
    )
    active = frozenset({Status.ACTIVE})
    lives = tx.lives(Selection(namespace=namespace, statuses=active, alive_at=now, strengthened_before=before))
    forgotten = tx.get(lives.chosen(standings_of(lives, preset, now)[1] == FORGOTTEN))
    faded = [swept(record, preset) for record in forgotten if record is not None]
    old = tx.select(archived) + [one for one in faded if one.archived_at is not None and one.archived_at < before]
    citing = (as_read(one, preset, now) for one in _citing(tx, old))
    cited = {source for one in citing if one and one.status is not Status.ARCHIVED for source in one.provenance.sources}
    gone = sorted((record for record in old if record.id not in cited), key=lambda record: record.seq)
    remove(tx, gone, "purged", now)
    remove(tx, expired, "expired", now)
    return [record.id for record in (*gone, *expired)]


def _citing(tx: Reader, records: Sequence[Record]) -> list[Record]:
    """Return the records that name one of these as their source."""
    return tx.citing({record.id for record in records}, {record.namespace for record in records})


def remove(tx: Transaction, records: Sequence[Record], event: str, now: datetime) -> None:
    """Delete records for good, with the event as the end of each one's history."""
    first = tx.head() + 1
    tx.remove(records)
    tx.log(
        [Change(seq=seq, at=now, record=record.id, event=event, detail={}) for seq, record in enumerate(records, first)]
    )


def _merged(records: Sequence[Record], changed: Sequence[Record]) -> list[Record]:
    by_id = {record.id: record for record in changed}
    return [by_id.get(record.id, record) for record in records]


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
    _put_away(tx, expired, EXPIRED_REASON, now)
    return [record.id for record in forgotten], [record.id for record in expired]


def displace(tx: Transaction, namespaces: Iterable[Namespace], preset: Preset, now: datetime) -> list[Record]:
    """Archive the records of lowest H·R beyond a namespace's capacity (SAGE eq. 13 to 16), H in bits; return them.

    Pinned, forgotten and quarantined records do not count. Of equals the older goes.
    """
    if preset.capacity is None:
        return []
    archived: list[Record] = []
    for namespace in sorted(set(namespaces)):
        active = Selection(namespace=namespace, statuses=frozenset({Status.ACTIVE}), alive_at=now)
        if tx.count(active) > preset.capacity:
            excess = tx.get(_excess(tx.lives(active), preset.capacity, preset, now))
            archived += _put_away(tx, (one for one in excess if one is not None), CAPACITY_REASON, now)
    return archived


def _excess(lives: Lives, capacity: int, preset: Preset, now: datetime) -> list[str]:
    """Return the ids of what is beyond the capacity, the lowest H·R first."""
    left, tiers = standings_of(lives, preset, now)
    places = np.flatnonzero(~lives.pinned & (tiers != FORGOTTEN))
    count = len(places) - capacity
    if count <= 0:
        return []
    scores = lives.entropy[places] * left[places]
    low = scores <= np.partition(scores, count - 1)[count - 1]
    ranked = sorted((score, lives.ids[place]) for score, place in zip(scores[low], places[low], strict=True))
    return [one for _, one in ranked[:count]]


def _within_capacity(
    tx: Transaction, records: Sequence[Record], back: Sequence[Record], preset: Preset, now: datetime
) -> list[Record]:
    """Return records as they are once what those that are back crowd out was archived, themselves perhaps."""
    crowded = {record.namespace for record in back if record.status is Status.ACTIVE}
    return _merged(records, displace(tx, crowded, preset, now))


def edit(tx: Transaction, record: str, now: datetime, revise: Callable[[Record], Record]) -> Record:
    """Replace a record by what `revise` makes of it; the history names the fields that changed, never their text."""
    (before,) = found(tx, [record], now)
    after = revise(unswept(before))
    names = [name for name in Record.__dataclass_fields__ if getattr(before, name) != getattr(after, name)]
    if not names:
        return before
    return change(
        tx, [after], "edited", now, {"fields": names, "content_hash": [before.content_hash, after.content_hash]}
    )[0]
