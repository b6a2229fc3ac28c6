"""What happens to a record after it was stored: use, review, archive and restore, forgetting, the end.

Each function runs inside one write transaction and changes records by id: missing ids raise `NotFound` before anything
is written. A record that a sweep has archived as forgotten counts as what it was before, so that sweeping hourly, once
or never comes to the same. Parts (`mars.memory.parts`) are pinned, released, put away, brought back and deleted with
their whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from mars.errors import InvalidInput, NotFound
from mars.memory.interfaces import Reader, Selection, Transaction
from mars.memory.lives import Lives
from mars.memory.parts import PARTS, in_step, parts_of, wholes_of, with_parts
from mars.memory.presets import Preset
from mars.memory.records import Change, Grade, Namespace, Record, Status, Tier, days_between
from mars.memory.settling import change, settled, undone
from mars.memory.spans import kept_spans
from mars.memory.strength import strengthen
from mars.memory.tiers import FORGOTTEN
from mars.memory.views import (
    FORGOTTEN_REASON,
    as_read,
    expired_of,
    is_expired,
    standing_at,
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


def found(reader: Reader, ids: Sequence[str], now: datetime) -> list[Record]:
    """Return the records with these ids, each once; `NotFound` names those that are not there or have expired."""
    wanted = list(dict.fromkeys(ids))
    records = [record for record in reader.get(wanted) if record is not None and not is_expired(record, now)]
    if len(records) != len(wanted):
        there = {record.id for record in records}
        missing = ", ".join(one for one in wanted if one not in there)
        raise NotFound(f"no record has the id {missing}; nothing was written: list() shows what there is")
    return records


def use(tx: Transaction, ids: Sequence[str], grade: Grade, turn: str, now: datetime, preset: Preset) -> list[Record]:
    """Grade a use of records in a turn and return them; a second grade in the same turn changes nothing.

    A part is graded as its whole is, and with it all parts of that.
    """
    asked = found(tx, ids, now)
    wholes = wholes_of(tx, asked)
    graded, revived = list[Record](), list[Record]()
    for record in {one.id: one for one in (wholes.get(one.id, one) for one in asked)}.values():
        if record.last_turn is not None and (record.last_turn == turn or tx.graded(record.id, turn)):
            continue
        before = unswept(record)
        standing = standing_at(before, preset, now)
        after, detail = _graded(before, standing.retention, grade, turn, now, preset)
        graded += change(tx, [after], "used", now, detail)
        if before.status is Status.ACTIVE and standing.tier is Tier.FORGOTTEN:
            revived.append(graded[-1])
        follow = [in_step(unswept(part), after) for part in parts_of(tx, [record])]
        graded += change(tx, follow, "used", now, {"grade": grade.value, "turn": turn, "part_of": record.id})
    return _within_capacity(tx, _merged(asked, graded), revived, preset, now)


def _graded(
    record: Record, retention: float, grade: Grade, turn: str, now: datetime, preset: Preset
) -> tuple[Record, dict[str, Any]]:
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
    changed = [replace(unswept(one), pinned=pinned) for one in with_parts(tx, records) if one.pinned != pinned]
    changed = change(tx, changed, "pinned" if pinned else "unpinned", now)
    return _within_capacity(tx, _merged(records, changed), () if pinned else changed, preset, now)


def archive(tx: Transaction, ids: Sequence[str], because: str, now: datetime) -> list[Record]:
    """Put records away; those that are archived already stay as they are."""
    if because in (FORGOTTEN_REASON, EXPIRED_REASON, REVIEW_REASON):
        raise InvalidInput(
            f"{because!r} is for what the store archives itself; nothing was written: say another reason"
        )
    records = [unswept(record) for record in found(tx, ids, now)]
    every = [unswept(record) for record in with_parts(tx, records)]
    waiting = [record for record in every if record.status is Status.QUARANTINED]
    live = [record for record in every if record.status in (Status.ACTIVE, Status.SUPERSEDED)]
    # What nobody has reviewed must not pass for reviewed by way of the archive.
    away = put_away(tx, live, because, now) + put_away(tx, waiting, REVIEW_REASON, now)
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
    away = [one for one in records if one.status is Status.ARCHIVED]
    away = [as_read(one, preset, now) or one for one in with_parts(tx, away)]
    changed = change(tx, [_restored(one, now) for one in away if one.status is Status.ARCHIVED], "restored", now)
    return _within_capacity(tx, _merged(records, changed + settled(tx, changed, now)), changed, preset, now)


def _restored(record: Record, now: datetime) -> Record:
    status = Status.ACTIVE if record.superseded_by is None else Status.SUPERSEDED
    if record.archived_because == REVIEW_REASON:
        status = Status.QUARANTINED
    return replace(
        record,
        status=status,
        archived_at=None,
        archived_because=None,
        last_strengthened=max(now, record.last_strengthened),
        known_to=record.known_to if record.superseded_by is not None else None,
    )


def review(tx: Transaction, ids: Sequence[str], passed: bool, now: datetime, preset: Preset) -> list[Record]:
    """Release quarantined records into recall, or archive them; others stay as they are."""
    records = found(tx, ids, now)
    waiting = [record for record in with_parts(tx, records) if record.status is Status.QUARANTINED]
    if passed:
        changed = change(tx, [replace(record, status=Status.ACTIVE) for record in waiting], "released", now)
        changed += settled(tx, changed, now)
    else:
        changed = put_away(tx, waiting, REVIEW_REASON, now)
    return _within_capacity(tx, _merged(records, changed), changed, preset, now)


def put_away(tx: Transaction, records: Iterable[Record], because: str, now: datetime) -> list[Record]:
    """Archive records for a reason, each with a row of history; return them."""
    away = [replace(record, status=Status.ARCHIVED, archived_at=now, archived_because=because) for record in records]
    return change(tx, away, "archived", now, {"because": because})


def undo(tx: Transaction, record: str, now: datetime, preset: Preset) -> list[Record]:
    """Take back a supersession, given either of its facts: the newer one is archived, if it is still there.

    The older ones are active again, unless a third fact takes their place. A newer one that had held before them too
    is as it was then: what is taken back is that it was told again.
    """
    (start,) = found(tx, [record], now)
    by = start.superseded_by or start.id
    (newer,) = [None if one is None or is_expired(one, now) else unswept(one) for one in tx.get([by])]
    changed = undone(tx, start, newer, by, now)
    if not changed:
        raise InvalidInput(f"{record} has superseded nothing and was not superseded; there is nothing to undo")
    return _within_capacity(tx, changed, [one for one in changed if one.id != by], preset, now)


def purge(tx: Transaction, ids: Sequence[str], force: bool, now: datetime) -> list[str]:
    """Delete for good what `doomed` says and return their ids, those of parts last; flag the records that cite them."""
    records, citing = doomed(tx, ids, force)
    flagged = [replace(one, metadata={**one.metadata, "sources_purged": True}) for one in citing]
    change(tx, flagged, "sources_purged", now)
    remove(tx, records, "purged", now)
    return [record.id for record in records]


def doomed(reader: Reader, ids: Sequence[str], force: bool) -> tuple[list[Record], list[Record]]:
    """Return the records with these ids and their parts, and what cites them, in whatever namespace.

    Raises `NotFound` for an unknown id, `InvalidInput` where something cites them, unless `force`.
    """
    records = [record for record in reader.get(list(dict.fromkeys(ids))) if record is not None]
    if len(records) != len(set(ids)):
        there = {record.id for record in records}
        missing = ", ".join(one for one in dict.fromkeys(ids) if one not in there)
        raise NotFound(f"no record has the id {missing}; nothing was purged")
    records = with_parts(reader, records)
    gone = {record.id for record in records}
    citing = [one for one in reader.citing(gone) if one.id not in gone]
    if citing and not force:
        raise InvalidInput(
            f"{citing[0].id} was derived from what would be purged; nothing was: purge it too, or say force=True"
        )
    return records, citing


def purge_archived(tx: Transaction, namespace: Namespace | None, now: datetime, preset: Preset) -> list[str]:
    """Delete for good what is `outlived`, and return the ids."""
    gone, expired = outlived(tx, namespace, now, preset)
    remove(tx, gone, "purged", now)
    remove(tx, expired, "expired", now)
    return [record.id for record in (*gone, *expired)]


def outlived(
    reader: Reader, namespace: Namespace | None, now: datetime, preset: Preset
) -> tuple[list[Record], list[Record]]:
    """Return what was archived longer ago than the audit window and no live record cites, and what has expired."""
    window = timedelta(days=preset.audit_days)
    before = now - window if now - datetime.min.replace(tzinfo=UTC) > window else datetime.min.replace(tzinfo=UTC)
    expired = reader.select(Selection(namespace=namespace, expired_at=now))
    archived = Selection(
        namespace=namespace, statuses=frozenset({Status.ARCHIVED}), archived_before=before, alive_at=now
    )
    active = frozenset({Status.ACTIVE})
    lives = reader.lives(Selection(namespace=namespace, statuses=active, alive_at=now, strengthened_before=before))
    forgotten = reader.get(lives.chosen(standings_of(lives, preset, now)[1] == FORGOTTEN))
    faded = [swept(record, preset) for record in forgotten if record is not None]
    old = reader.select(archived) + [one for one in faded if one.archived_at is not None and one.archived_at < before]
    citing = (as_read(one, preset, now) for one in reader.citing({record.id for record in old}))
    cited = {source for one in citing if one and one.status is not Status.ARCHIVED for source in one.provenance.sources}
    return sorted((record for record in old if record.id not in cited), key=lambda record: record.seq), expired


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


def displace(tx: Transaction, namespaces: Iterable[Namespace], preset: Preset, now: datetime) -> list[Record]:
    """Archive the records of lowest H·R beyond a namespace's capacity (SAGE eq. 13 to 16), H in bits; return them.

    Pinned, forgotten and quarantined records do not count. Of equals the older goes.
    """
    if preset.capacity is None:
        return []
    archived: list[Record] = []
    for namespace in sorted(set(namespaces)):
        if excess := _excess(tx.crowd(namespace), preset.capacity, preset, now):
            away = with_parts(tx, [one for one in tx.get(excess) if one is not None])
            archived += put_away(tx, (one for one in away if one.status is Status.ACTIVE), CAPACITY_REASON, now)
    return archived


def _excess(lives: Lives, capacity: int, preset: Preset, now: datetime) -> list[str]:
    """Return the ids of what is beyond the capacity, the lowest H·R first."""
    if len(lives.ids) <= capacity:
        return []
    left, tiers = standings_of(lives, preset, now)
    places = np.flatnonzero(~lives.pinned & (tiers != FORGOTTEN) & ~expired_of(lives, now))
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


def edit(
    tx: Transaction,
    record: str,
    now: datetime,
    revise: Callable[[Record], Record],
    parts: Sequence[str] | None = None,
) -> Record:
    """Replace a record by what `revise` makes of it; the history names the fields that changed, never their text.

    From now on its parts are those of these ids; with None it keeps those that it has. They live as long as it does.
    """
    (before,) = found(tx, [record], now)
    after = kept_spans(before, revise(unswept(before)))
    if parts is not None or PARTS in before.metadata:
        rest = {key: value for key, value in after.metadata.items() if key != PARTS}
        listed = before.metadata[PARTS] if parts is None else list(parts)
        after = replace(after, metadata={**rest, PARTS: listed} if listed else rest)
    names = [name for name in Record.__dataclass_fields__ if getattr(before, name) != getattr(after, name)]
    if not names:
        return before
    if before.expires_at != after.expires_at:
        follow = [replace(part, expires_at=after.expires_at) for part in parts_of(tx, [after])]
        change(tx, follow, "edited", now, {"fields": ["expires_at"]})
    detail = {"fields": names, "content_hash": [before.content_hash, after.content_hash]}
    return change(tx, [after], "edited", now, detail)[0]
