"""Facts take their places among the others, inside one write transaction; and how any changed record is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from mars.memory.interfaces import Selection, Transaction
from mars.memory.records import Change, Kind, Record, Status
from mars.memory.spans import UNTOLD, spans_of, told_of, with_spans
from mars.memory.superseding import ended, ended_by, event_of, reinstated, settle, shown

UNDONE_REASON = "undone"
"""`Record.archived_because` of a fact whose supersession was taken back."""


def change(
    tx: Transaction, records: Iterable[Record], event: str, now: datetime, detail: Mapping[str, Any] | None = None
) -> list[Record]:
    """Write changed records with a new `seq` and one row of history each; return them."""
    changed = [replace(record, seq=tx.next_seq()) for record in records]
    tx.update(changed)
    tx.log([Change(seq=record.seq, at=now, record=record.id, event=event, detail=detail or {}) for record in changed])
    return changed


def of_matter(fact: Record) -> Selection:
    """Return what selects the facts about the same subject in the same relation."""
    return Selection(
        namespace=fact.namespace, kinds=frozenset({Kind.FACT}), subject=fact.subject, relation=fact.relation
    )


def settled(tx: Transaction, records: Iterable[Record], now: datetime) -> list[Record]:
    """Let facts that have come back take their places among the others; return what changed."""
    changed: list[Record] = []
    for record in records:
        if record.kind is Kind.FACT and record.status in (Status.ACTIVE, Status.SUPERSEDED):
            for one in settle(record, tx.select(of_matter(record)), now, told_of(tx)):
                event, detail = event_of(one)
                changed += change(tx, [one], event, now, detail)
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
    for one in others:
        if ended_by(one, before.id):
            moved = _back(tx, reinstated(one, before.id), others, now)
            if moved.superseded_by is not None:
                moved = replace(moved, known_to=one.known_to or moved.known_to)
            if moved != one:
                back = moved.superseded_by is None
                event, detail = ("reinstated", {"undone": before.id}) if back else event_of(moved)
                changed += change(tx, [moved], event, now, detail)
    return changed


def _back(tx: Transaction, fact: Record, others: Sequence[Record], now: datetime) -> Record:
    """Return a fact that was reinstated with the ends that others set to it; one that is put away has none."""
    counts = fact.status in (Status.ACTIVE, Status.SUPERSEDED)
    return ended(fact, shown(others, now), now, told_of(tx)) if counts else fact


def undone(tx: Transaction, start: Record, newer: Record | None, by: str, now: datetime) -> list[Record]:
    """Take back that the fact `newer`, of the id `by`, came after others; `start` is one of these, or itself.

    What it had been before them it is again; if nothing, it is archived. The others hold on, or until a third begins.
    """
    others = [one for one in tx.select(of_matter(start)) if one.id != by]
    first = start.valid_from if start.superseded_by is None else start.valid_to
    before = [] if newer is None or first is None else [one for one in spans_of(newer) if one.valid_from < first]
    if newer is None or newer.status not in (Status.ACTIVE, Status.SUPERSEDED) or len(before) == len(spans_of(newer)):
        before = []
    since = first if before else None
    older = [one for one in others if ended_by(one, by, since)]
    back = [_back(tx, reinstated(one, by, since), others, now) for one in older]
    back = change(tx, back, "reinstated", now, {"undone": by})
    if newer is None or not back:
        return back
    if before and first is not None:
        return back + change(tx, [with_spans(newer, before)], "untold", now, {UNTOLD: first.isoformat()})
    away = replace(newer, status=Status.ARCHIVED, archived_at=now, archived_because=UNDONE_REASON, known_to=now)
    return back + change(tx, [away], "archived", now, {"because": UNDONE_REASON})
