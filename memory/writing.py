"""How prepared records come into the store: inside one write transaction, and idempotent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType
from typing import Any

from mars.errors import InvalidInput
from mars.language import token_entropy
from mars.memory.facts import is_single_valued
from mars.memory.ids import content_hash, record_id, was_changed
from mars.memory.interfaces import Embedder, Selection, Transaction
from mars.memory.lifecycle import REVIEW_REASON, displace, edit, found
from mars.memory.merging import Likes, told_again
from mars.memory.outcomes import Added
from mars.memory.preparing import CHANGING_FROM, Prepared, Rules, check_embedder, prepare
from mars.memory.presets import Preset
from mars.memory.records import (
    Change,
    Draft,
    Duplicates,
    Kind,
    Namespace,
    NewRecord,
    Provenance,
    Record,
    Status,
    Vector,
    sealed,
)
from mars.memory.spans import TOLD, Telling, lean, tellings_of, without_spans
from mars.memory.strength import FIRST_DIFFICULTY
from mars.memory.superseding import event_of, repeated, settle
from mars.memory.views import is_expired

_NOTHING: Mapping[str, Record] = MappingProxyType({})


@dataclass(slots=True)
class _Batch:
    """What one write has done so far; `pending` is not yet in the store."""

    pending: dict[str, Record] = field(default_factory=dict)
    latest: dict[str, Record] = field(default_factory=dict)
    vectors: dict[str, Vector] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    known: dict[tuple[Namespace, str, str], str] = field(default_factory=dict)
    facts: dict[tuple[Namespace, str, str | None], list[str]] = field(default_factory=dict)
    likes: Likes = field(default_factory=Likes)
    told: dict[str, list[Change]] = field(default_factory=dict)
    spared: bool = False

    def remember(self, record: Record) -> None:
        """Let later records of the same batch find this one by its keys."""
        self.latest[record.id] = record
        for sort, key in (("idempotency", record.idempotency_key), ("key", record.key)):
            if key is not None:
                self.known[record.namespace, sort, key] = record.id

    def find(self, namespace: Namespace, sort: str, key: str | None) -> Record | None:
        """Return the record under a key of this sort, if one is known."""
        found = None if key is None else self.known.get((namespace, sort, key))
        return None if found is None else self.latest[found]

    def flush(self, tx: Transaction) -> None:
        """Write what is pending."""
        tx.insert(list(self.pending.values()), self.vectors)
        tx.log(self.changes)
        self.pending, self.vectors, self.changes, self.facts, self.told = {}, {}, [], {}, {}


def store(tx: Transaction, ready: Sequence[Prepared], rules: Rules) -> Added:
    """Write prepared records in this transaction; what is there under the same key or idempotency key is returned.

    Facts supersede older ones by the guard of `mars.memory.facts.contradicts`; a fact that is told again restarts τ of
    the one that is there. Raises `EmbedderMismatch` if the store's vectors come from another embedder, `InvalidInput`
    if a key holds another text.
    """
    claim_embedder(tx, rules.embedder)
    if all(stands_alone(one, rules) for one in ready):
        return _append(tx, ready, rules)
    batch = _Batch()
    _look_up(tx, ready, batch)
    exact = [one.new for one in ready if rules.of_duplicates(one.new.kind) is Duplicates.EXACT]
    batch.likes.look_up(tx, [new for new in exact if new.value is None and new.idempotency_key is None])
    result: list[str] = []
    facts: list[str] = []
    added = 0
    for one in ready:
        there = _there(tx, one, batch)
        if there is not None:
            result.append(there.id)
            continue
        if one.vector is None:  # it was there when this write was prepared, and was purged since
            (one,) = prepare([one.new], [one.now], rules)
        record = _insert(tx, one, rules, batch)
        result.append(record.id)
        if batch.spared:
            continue
        added += 1
        for fact in one.facts:
            drawn = replace(fact, new=replace(fact.new, provenance=_from(record)))
            told = _insert(tx, drawn, rules, batch)
            facts += () if batch.spared else (told.id,)
    batch.flush(tx)
    latest = batch.latest
    if added:
        crowded = {one.new.namespace for one in ready}
        latest.update({record.id: record for record in displace(tx, crowded, rules.preset, max(o.now for o in ready))})
    return Added([latest[one] for one in result], added, [latest[one] for one in dict.fromkeys(facts)])


def stands_alone(one: Prepared, rules: Rules) -> bool:
    """Tell whether a record depends on no other and no other on it, so that storing it reads nothing."""
    new = one.new
    return (
        new.key is None
        and new.idempotency_key is None
        and new.kind is not Kind.FACT
        and not new.provenance.sources
        and not one.facts
        and one.vector is not None
        and rules.preset.capacity is None
        and rules.of_duplicates(new.kind) is Duplicates.KEEP
    )


def _append(tx: Transaction, ready: Sequence[Prepared], rules: Rules) -> Added:
    """Write records that stand alone."""
    records = [new_row(tx, one, rules) for one in ready]
    vectors = {record.id: one.vector for record, one in zip(records, ready, strict=True) if one.vector is not None}
    tx.insert(records, vectors)
    tx.log([_added(record) for record in records])
    return Added(records, len(records))


def _added(record: Record) -> Change:
    detail = {"kind": record.kind, "status": record.status, "strength": record.strength}
    return Change(seq=record.seq, at=record.created_at, record=record.id, event="added", detail=detail)


def _from(episode: Record) -> Provenance:
    return replace(episode.provenance, role="extractor", sources=(episode.id,))


def _look_up(tx: Transaction, ready: Sequence[Prepared], batch: _Batch) -> None:
    """Read what is there under the batch's keys, in a few queries for the whole batch."""
    wanted: dict[Namespace, tuple[set[str], set[str]]] = {}
    for one in ready:
        idempotency, keys = wanted.setdefault(one.new.namespace, (set(), set()))
        if one.new.idempotency_key is not None:
            idempotency.add(one.new.idempotency_key)
        if one.new.key is not None:
            keys.add(one.new.key)
    for namespace, (idempotency, keys) in wanted.items():
        found: list[Record] = []
        if idempotency:
            found += tx.select(Selection(namespace=namespace, idempotency_keys=frozenset(idempotency)))
        if keys:
            found += tx.select(Selection(namespace=namespace, keys=frozenset(keys)))
        for record in found:
            batch.remember(record)


def _there(tx: Transaction, one: Prepared, batch: _Batch) -> Record | None:
    """Return the record that a write of `one` would repeat; one whose time to live is over makes room."""
    new = one.new
    same = batch.find(new.namespace, "idempotency", new.idempotency_key)
    found = same or batch.find(new.namespace, "key", new.key)
    if found is None:
        return None
    if is_expired(found, one.now):
        batch.flush(tx)
        tx.remove([found])
        tx.log([Change(seq=tx.head(), at=one.now, record=found.id, event="expired", detail={})])
        batch.known = {key: record for key, record in batch.known.items() if record != found.id}
        return None
    if same is None and found.text != new.text:
        raise InvalidInput(
            f"the key {new.key!r} holds another text in {new.namespace!r}; nothing was written: change it by "
            f"edit({found.id!r}, text=…), or use another key"
        )
    return found


def _insert(tx: Transaction, one: Prepared, rules: Rules, batch: _Batch) -> Record:
    """Note one new record and what follows from it; return it, or the record that it repeats."""
    batch.spared = False
    others = _facts_like(tx, one.new, batch) if one.new.kind is Kind.FACT else []
    trust, status = _trust(tx, one.new, rules.preset, batch.pending)
    again = repeated(one.new, trust, one.now, others, rules.preset)
    if again is not None and status is Status.ACTIVE:
        return _repeat(tx, *again, others, one.now, batch)
    twin = _told_again(tx, one, rules, batch)
    if twin is not None:
        return twin
    record = new_row(tx, one, rules, batch.pending)
    batch.pending[record.id] = record
    if one.vector is not None:
        batch.vectors[record.id] = one.vector
    batch.remember(record)
    batch.likes.note(record)
    batch.changes.append(_added(record))
    if record.kind is Kind.FACT:
        batch.facts.setdefault(_matter(one.new), []).append(record.id)
        _settle(tx, record, others, one.now, batch)
    return batch.latest[record.id]


def _settle(tx: Transaction, record: Record, others: Sequence[Record], now: datetime, batch: _Batch) -> None:
    """Let an active fact take the place of those that it excludes."""
    if record.status is Status.ACTIVE:
        for changed in settle(record, others, now, lambda fact: _tellings(tx, fact, batch)):
            _change(tx, changed, *event_of(changed), now, batch)


def _tellings(tx: Transaction, fact: Record, batch: _Batch) -> list[Telling]:
    """Return the tellings that a fact's history notes, of this write too; one that never changed has none."""
    stored = [] if fact.id in batch.pending or not was_changed(fact.id, fact.seq) else tx.history(fact.id)
    return tellings_of([*stored, *batch.told.get(fact.id, ())])


def _repeat(
    tx: Transaction, before: Record, after: Record, others: Sequence[Record], now: datetime, batch: _Batch
) -> Record:
    """Note that a fact was told again, and what follows if it holds at other times too now."""
    detail: dict[str, Any] = {
        "sources": [source for source in after.provenance.sources if source not in before.provenance.sources]
    }
    moved = {one.id: one for one in settle(after, others, now, lambda fact: _tellings(tx, fact, batch))}
    after = moved.pop(after.id, after)
    after, told = lean(after, [moved.get(one.id, one) for one in others if one.id != after.id])
    if told:
        detail[TOLD] = told
    after = _change(tx, after, "repeated", detail, now, batch)
    batch.told.setdefault(after.id, []).append(batch.changes[-1])
    for one in moved.values():
        _change(tx, one, *event_of(one), now, batch)
    batch.spared = True
    return after


def _told_again(tx: Transaction, one: Prepared, rules: Rules, batch: _Batch) -> Record | None:
    """Return the record that says what a new one says, as it is now, if the rules spare the new one; else None."""
    mode, new = rules.of_duplicates(one.new.kind), one.new
    if mode is Duplicates.KEEP or new.value is not None:  # a fact's value decides whether it is told again
        return None
    at = new.event_time or one.now
    twin = batch.likes.twin(tx, new, mode, at, one.now, rules.preset)
    trust, status = _trust(tx, new, rules.preset, batch.pending)
    if twin is None or trust != twin.trust or status is not Status.ACTIVE:
        return None
    batch.latest.setdefault(twin.id, twin)
    after = told_again(twin, new, mode, at, one.now)
    if after is not twin:
        sources = [source for source in after.provenance.sources if source not in twin.provenance.sources]
        detail = {"sources": sources, "content_hash": content_hash(new.text)}
        after = _change(tx, after, "merged", detail, one.now, batch)
    batch.spared = True
    return after


def _matter(new: NewRecord | Record) -> tuple[Namespace, str, str | None]:
    return new.namespace, (new.subject or "").casefold(), new.relation


def _facts_like(tx: Transaction, new: NewRecord | Record, batch: _Batch) -> list[Record]:
    """Return the store's and the batch's facts about the same subject in the same relation, oldest first."""
    kinds = frozenset({Kind.FACT})
    matter = Selection(namespace=new.namespace, kinds=kinds, subject=new.subject, relation=new.relation)
    return [*tx.select(matter), *(batch.pending[one] for one in batch.facts.get(_matter(new), ()))]


def _change(
    tx: Transaction, record: Record, event: str, detail: dict[str, Any], now: datetime, batch: _Batch
) -> Record:
    """Note a changed record in the batch, or in the store if it is there already."""
    record = replace(record, seq=tx.next_seq())
    batch.latest[record.id] = record
    batch.likes.note(record)
    if record.id in batch.pending:
        batch.pending[record.id] = record
    else:
        tx.update([record])
    batch.changes.append(Change(seq=record.seq, at=now, record=record.id, event=event, detail=detail))
    return record


def new_row(tx: Transaction, one: Prepared, rules: Rules, pending: Mapping[str, Record] = _NOTHING) -> Record:
    """Return the row of a new record, with an id and the next `seq`; nothing is written yet.

    `pending` are records of the same write by id that are not in the store yet.
    """
    new, preset = one.new, rules.preset
    trust, status = _trust(tx, new, preset, pending)
    seq = tx.next_seq()
    event_time = new.event_time or one.now
    draft = Draft(
        id=record_id(one.now, rules.store_id, seq),
        seq=seq,
        text=new.text,
        namespace=new.namespace,
        kind=new.kind,
        status=status,
        short_text=new.short_text,
        key=new.key,
        conversation=new.conversation,
        position=new.position,
        speaker=new.speaker,
        created_at=one.now,
        event_time=event_time,
        last_strengthened=one.now,
        strength=preset.initial_strength(new.kind, new.importance, one.entropy, trusted=trust >= 1.0),
        boost=1.0,
        difficulty=FIRST_DIFFICULTY,
        uses=0,
        last_turn=None,
        importance=new.importance,
        entropy=one.bits,
        pinned=new.pinned,
        subject=new.subject,
        relation=new.relation,
        value=new.value,
        valid_from=new.valid_from or event_time,
        valid_to=None,
        known_from=one.now,
        known_to=None,
        superseded_by=None,
        archived_at=None,
        archived_because=None,
        expires_at=new.expires_at,
        source=new.source,
        trust=trust,
        provenance=new.provenance,
        idempotency_key=new.idempotency_key,
        content_hash=content_hash(new.text),
        embedder=rules.embedder.id,
        metadata=new.metadata if new.kind is not Kind.FACT else without_spans(new.metadata),
    )
    return sealed(draft)


def _trust(tx: Transaction, new: NewRecord, preset: Preset, pending: Mapping[str, Record]) -> tuple[float, Status]:
    """Return trust and first status: an untrusted source is quarantined, and what derives from one inherits both."""
    trusted = new.source.trusted
    trust, status = (1.0, Status.ACTIVE) if trusted else (preset.untrusted_trust, Status.QUARANTINED)
    if new.provenance.sources:
        stored = tx.get([source for source in new.provenance.sources if source not in pending])
        fresh = [pending[source] for source in new.provenance.sources if source in pending]
        for source in (*stored, *fresh):
            if source is not None:
                trust = min(trust, source.trust)
                if source.status is Status.QUARANTINED or source.archived_because == REVIEW_REASON:
                    status = Status.QUARANTINED
    return trust, status


def claim_embedder(tx: Transaction, embedder: Embedder) -> None:
    """Note the store's embedder at its first vector; raise `EmbedderMismatch` if it is another one."""
    meta = tx.meta()
    if meta.get("embedder") == embedder.id and not meta.get(CHANGING_FROM):
        return
    check_embedder(meta, embedder)
    if "embedder" not in meta:
        tx.set_meta({"embedder": embedder.id, "dimension": str(embedder.dimension)})


def revise(
    tx: Transaction,
    record: str,
    values: Mapping[str, Any],
    vector: Vector | None,
    now: datetime,
    rules: Rules,
    parts: Sequence[str] | None = None,
) -> Record:
    """Change the given fields of a record, and its vector with its text; return it. `parts` as for `lifecycle.edit`.

    A fact whose relation has one value at a time from now on takes the place of others, or gives way.
    """
    if vector is not None:
        found(tx, [record], now)
        values = {**values, "entropy": token_entropy(values["text"])[0], "embedder": rules.embedder.id}
        claim_embedder(tx, rules.embedder)
        tx.set_vectors(rules.embedder.id, {record: vector})
    (before,) = found(tx, [record], now)
    after = edit(tx, record, now, lambda old: replace(old, **values), parts)
    if after.kind is Kind.FACT and is_single_valued(after) and not is_single_valued(before):
        batch = _Batch()
        _settle(tx, after, [other for other in _facts_like(tx, after, batch) if other.id != after.id], now, batch)
        tx.log(batch.changes)
        return batch.latest.get(after.id, after)
    return after
