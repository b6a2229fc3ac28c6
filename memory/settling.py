"""Facts take their places among the others, inside one write transaction; and how any changed record is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from mars.memory.ids import record_id
from mars.memory.interfaces import Selection, Transaction
from mars.memory.records import Change, Kind, Record, Status
from mars.memory.superseding import TOLD, Parted, parted, reinstated, settle, successor, superseded, tellings_of


def change(
    tx: Transaction, records: Iterable[Record], event: str, now: datetime, detail: Mapping[str, Any] | None = None
) -> list[Record]:
    """Write changed records with a new `seq` and one row of history each; return them."""
    changed = [replace(record, seq=tx.next_seq()) for record in records]
    tx.update(changed)
    tx.log([Change(seq=record.seq, at=now, record=record.id, event=event, detail=detail or {}) for record in changed])
    return changed


def first_change(record: Record, detail: Mapping[str, Any] | None = None) -> Change:
    """Return the first row of a new record's history."""
    first = {"kind": record.kind, "status": record.status, "strength": record.strength, **(detail or {})}
    return Change(seq=record.seq, at=record.created_at, record=record.id, event="added", detail=first)


def of_matter(fact: Record) -> Selection:
    """Return what selects the facts about the same subject in the same relation."""
    return Selection(
        namespace=fact.namespace, kinds=frozenset({Kind.FACT}), subject=fact.subject, relation=fact.relation
    )


def part(tx: Transaction, two: Parted, now: datetime) -> list[Record]:
    """Write the two that a fact is, and return them: what holds now keeps its id, what held before is a new row."""
    fact = two.present
    if two.past is None:
        return change(tx, [fact], "parted", now, {"valid_from": fact.valid_from.isoformat()})
    seq = tx.next_seq()
    past = replace(two.past, id=record_id(now, tx.meta()["store_id"], seq), seq=seq)
    vector = tx.vectors([fact.id]).get(fact.id)
    tx.insert([past], {} if vector is None else {past.id: vector})
    tx.log([first_change(past, {"parted_from": fact.id, TOLD: two.told})])
    return [past, *change(tx, [fact], "parted", now, {"past": past.id, "valid_from": fact.valid_from.isoformat()})]


def settled(tx: Transaction, records: Iterable[Record], now: datetime) -> list[Record]:
    """Let facts that have become active, or begin earlier, take their places among the others; return what changed."""
    changed: list[Record] = []
    for record in records:
        if record.kind is not Kind.FACT or record.status is not Status.ACTIVE:
            continue
        others = tx.select(of_matter(record))
        split = parted(record, others, now, lambda fact: tellings_of(tx.history(fact.id)))
        if split:
            changed += [one for two in split for one in part(tx, two, now)]
            others = tx.select(of_matter(record))
        for one in settle(record, others, now):
            changed += change(tx, [one], "superseded", now, {"by": one.superseded_by})
    return changed


def rivals_settled(tx: Transaction, before: Record | None, after: Record | None, now: datetime) -> list[Record]:
    """Let what a key holds now take its place among the facts, and return what changed.

    Facts that the earlier value had superseded get another successor, or are active again without one.
    """
    if after is None:
        return []
    changed = settled(tx, [after], now)
    if before is None or before.id != after.id or before.kind is not Kind.FACT:
        return changed
    others = tx.select(of_matter(before))
    older = [one for one in others if one.superseded_by == before.id]
    for one in older:
        place = successor(one, others, now) if one.status is Status.SUPERSEDED else None
        moved = reinstated(one) if place is None else superseded(one, place, now)
        if moved != one:
            event, by = ("reinstated", {"undone": before.id}) if place is None else ("superseded", {"by": place.id})
            changed += change(tx, [moved], event, now, by)
    return changed
