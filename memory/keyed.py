"""What a key holds: written anew in place, removed, and given more time to live. Inside one write transaction.

`mars.memory.writing` refuses a key with another text, because a repeated write must add nothing; here the newest value
wins, as a key-value store promises. A key's value may have parts: texts of its own that are found for it, each with a
vector. Parts are records without a key that name the whole as their source; they come and go with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from mars.errors import InvalidInput
from mars.memory.interfaces import Selection, Transaction
from mars.memory.lifecycle import displace, found, remove
from mars.memory.parts import AS_PART, PARTS, in_common, in_step, parts_of
from mars.memory.preparing import Prepared, Rules, prepare
from mars.memory.records import (
    Change,
    Kind,
    Namespace,
    NewRecord,
    Provenance,
    Record,
    Vector,
    check_label,
    check_namespace,
)
from mars.memory.settling import rivals_settled
from mars.memory.views import is_expired, unswept
from mars.memory.writing import claim_embedder, new_row, revise

__all__ = ["PARTS", "Keyed", "Ready", "edit", "prepare_keyed", "purge_expired", "put", "renew"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyed:
    """What a key shall hold from now on. Raises `InvalidInput` if the record is under another key or namespace."""

    namespace: Namespace
    """Whom it belongs to."""
    key: str
    """The key, unique in the namespace."""
    record: NewRecord | None
    """The new value; None removes what is there."""
    parts: tuple[NewRecord, ...] = ()
    """Texts that are found for the value, each with a vector of its own; without keys."""

    def __post_init__(self) -> None:
        check_namespace(self.namespace)
        check_label(self.key, "key")
        if self.record is not None and (self.record.namespace, self.record.key) != (self.namespace, self.key):
            raise InvalidInput(f"the record is not under the key {self.key!r} in {self.namespace!r}")
        if any(part.namespace != self.namespace or part.key is not None for part in self.parts):
            raise InvalidInput("a part lies in the namespace of its whole and has no key of its own")
        if self.parts and self.record is not None and self.record.kind is Kind.FACT:
            raise InvalidInput("a fact is found by what it says and has no parts: give it as one text")


@dataclass(frozen=True, slots=True)
class Ready:
    """A `Keyed` with its vectors."""

    keyed: Keyed
    """What the caller gave."""
    whole: Prepared | None
    """The value; None removes."""
    parts: Sequence[Prepared]
    """Its parts."""


def prepare_keyed(values: Iterable[Keyed], now: datetime, rules: Rules) -> list[Ready]:
    """Return the values with their vectors, the last one of each key. Nothing is written; no facts are drawn."""
    last = {(value.namespace, value.key): value for value in values}
    flat = [new for value in last.values() if value.record for new in (value.record, *value.parts)]
    made = iter(prepare(flat, [now] * len(flat), replace(rules, extract_facts=False)))
    return [
        Ready(value, next(made), [next(made) for _ in value.parts]) if value.record else Ready(value, None, ())
        for value in last.values()
    ]


def put(tx: Transaction, ready: Sequence[Ready], now: datetime, rules: Rules) -> list[Record | None]:
    """Let each key hold its new value, and return the records in order; None where a key holds nothing now.

    A record that is replaced keeps its id, its time of creation, its strength and its uses; τ restarts, and what was
    archived is active again. Trust and quarantine are those of the new value: what comes from an untrusted source waits
    for its review under a key as it does without one. A fact takes its place among the others as `add` would let it.
    Raises `EmbedderMismatch` as every write does.
    """
    claim_embedder(tx, rules.embedder)
    wanted: dict[Namespace, set[str]] = {}
    for one in ready:
        wanted.setdefault(one.keyed.namespace, set()).add(one.keyed.key)
    there = {
        (holder.namespace, holder.key): holder
        for namespace, keys in wanted.items()
        for holder in tx.select(Selection(namespace=namespace, keys=frozenset(keys)))
    }
    result: list[Record | None] = []
    latest: dict[str, Record] = {}
    for one in ready:
        holder = there.get((one.keyed.namespace, one.keyed.key))
        result.append(_put(tx, one, holder, now, rules))
        for changed in rivals_settled(tx, holder, result[-1], now):
            latest[changed.id] = changed
    crowded = {one.keyed.namespace for one in ready if one.whole is not None}
    latest.update((record.id, record) for record in displace(tx, crowded, rules.preset, now))
    return [record and latest.get(record.id, record) for record in result]


def _put(tx: Transaction, one: Ready, holder: Record | None, now: datetime, rules: Rules) -> Record | None:
    if holder is not None:
        remove(tx, parts_of(tx, [holder]), "purged", now)
        if one.whole is None or is_expired(holder, now):
            remove(tx, [holder], "expired" if one.whole else "purged", now)
            holder = None
    if one.whole is None:
        return None
    fresh = new_row(tx, one.whole, rules)
    whole = fresh if holder is None else _renewed(holder, fresh, now)
    parts = [_part(tx, part, one.whole, whole, rules) for part in one.parts]
    if parts:
        whole = replace(whole, metadata={**whole.metadata, PARTS: [part.id for part in parts]})
    vectors = {part.id: made.vector for part, made in zip(parts, one.parts, strict=True) if made.vector is not None}
    vector = one.whole.vector
    if holder is None:
        tx.insert([whole, *parts], vectors if vector is None else {**vectors, whole.id: vector})
    else:
        tx.insert(parts, vectors)
        if vector is not None:
            tx.set_vectors(rules.embedder.id, {whole.id: vector})
        whole = replace(whole, seq=tx.next_seq())
        tx.update([whole])
    detail = {"kind": whole.kind.value, "parts": len(parts), "content_hash": whole.content_hash}
    told = Change(seq=whole.seq, at=now, record=whole.id, event="replaced" if holder else "added", detail=detail)
    tx.log([told, *(_added(part, whole, now) for part in parts)])
    return whole


def _added(part: Record, whole: Record, now: datetime) -> Change:
    detail = {"kind": whole.kind.value, "part_of": whole.id}
    return Change(seq=part.seq, at=now, record=part.id, event="added", detail=detail)


def _part(tx: Transaction, part: Prepared, given: Prepared, whole: Record, rules: Rules) -> Record:
    """Return the row of a part: it is trusted no more than its whole, and waits for a review with it."""
    source = given.new.source if part.new.source.trusted else part.new.source
    row = new_row(tx, replace(part, new=replace(part.new, source=source, provenance=given.new.provenance)), rules)
    return replace(in_step(row, whole), provenance=Provenance(role=AS_PART, sources=(whole.id,)))


def _renewed(holder: Record, fresh: Record, now: datetime) -> Record:
    """Return the new row with what outlives a replacement: its trust and status are those of the new text."""
    return replace(
        fresh,
        id=holder.id,
        created_at=holder.created_at,
        strength=holder.strength,
        difficulty=holder.difficulty,
        uses=holder.uses,
        last_turn=holder.last_turn,
        last_strengthened=max(now, holder.last_strengthened),
    )


def edit(
    tx: Transaction,
    record: str,
    values: Mapping[str, Any],
    vectors: Sequence[Vector],
    now: datetime,
    rules: Rules,
    parts: Sequence[str] = (),
) -> Record:
    """Change fields of a record; `vectors` are those of its text, if that is among them, and of its new `parts`.

    What the parts of an older text said is said no more: they are purged with it, and what the metadata of all of them
    had in common goes to those that take their place, or to the record itself. Raises `InvalidInput` for parts of what
    is under no key.
    """
    (before,) = found(tx, [record], now)
    if not vectors or (before.text == values["text"] and not parts):
        return revise(tx, record, values, vectors[0] if vectors else None, now, rules)
    if parts and (before.key is None or before.kind is Kind.FACT):
        raise InvalidInput(f"{record} is no value under a key, or a fact, and has no parts; nothing was written")
    old = parts_of(tx, [before])
    if not old and not parts:
        return revise(tx, record, values, vectors[0], now, rules)
    shared, draft = in_common(old), replace(unswept(before), **values)
    remove(tx, old, "purged", now)
    fresh = [
        _new_part(tx, draft, text, vector, shared, rules, now) for text, vector in zip(parts, vectors[1:], strict=True)
    ]
    tx.insert(fresh, {part.id: vector for part, vector in zip(fresh, vectors[1:], strict=True)})
    tx.log([_added(part, draft, now) for part in fresh])
    if not fresh:
        values = {**values, "metadata": {**shared, **draft.metadata}}
    return revise(tx, record, values, vectors[0], now, rules, [part.id for part in fresh])


def _new_part(
    tx: Transaction, whole: Record, text: str, vector: Vector, metadata: Mapping[str, Any], rules: Rules, now: datetime
) -> Record:
    """Return the row of a part that a whole gets later: put away, waiting or live as that is."""
    new = NewRecord(
        text=text,
        namespace=whole.namespace,
        metadata=metadata,
        source=whole.source,
        pinned=whole.pinned,
        expires_at=whole.expires_at,
        embedding=vector,
    )
    (ready,) = prepare([new], [now], replace(rules, extract_facts=False))
    return replace(
        in_step(new_row(tx, ready, rules), whole),
        provenance=Provenance(role=AS_PART, sources=(whole.id,)),
        trust=whole.trust,
        status=whole.status,
        archived_at=whole.archived_at,
        archived_because=whole.archived_because,
    )


def renew(tx: Transaction, expiries: Mapping[str, datetime], now: datetime) -> int:
    """Let records and their parts live until the given times; return how many were still there to be renewed.

    What has expired stays so. A renewal is no change of the record: the history does not name it.
    """
    live = [record for record in tx.get(list(expiries)) if record is not None and not is_expired(record, now)]
    for whole in live:
        until = expiries[whole.id]
        for record in (whole, *parts_of(tx, [whole])):
            if record.expires_at != until:
                tx.update([replace(record, expires_at=until, seq=tx.next_seq())])
    return len(live)


def purge_expired(tx: Transaction, now: datetime) -> list[Record]:
    """Delete for good every record whose time to live is over, and return what they were."""
    gone = tx.select(Selection(expired_at=now))
    remove(tx, gone, "expired", now)
    return gone
