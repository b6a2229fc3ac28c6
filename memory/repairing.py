"""How what the doctor found is mended: inside write transactions, each of which looks again before it changes anything.

What is derived is computed again from the text; what two rows share that must be unique stays with one of them, and the
other keeps its text. What nobody can decide is left as it is, and stays in the diagnosis. Every change is in the
history as ``repaired``, with what was found.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from mars.language import token_entropy
from mars.memory import points
from mars.memory.doctor import Diagnosis, is_rival, missing, of_row, rivals
from mars.memory.findings import Finding, FindingKind, Stored
from mars.memory.ids import content_hash, record_id
from mars.memory.interfaces import Selection, Transaction
from mars.memory.preparing import Rules, check_embedder, embedded
from mars.memory.records import Change, Kind, Record, Status, Vector
from mars.memory.spans import spans_of, told_of, with_spans
from mars.memory.superseding import ended, reinstated, shown, successor, superseded

WHOLE = frozenset(
    {
        FindingKind.CLOCK_BEHIND,
        FindingKind.DUPLICATE_ID,
        FindingKind.DUPLICATE_SEQ,
        FindingKind.DUPLICATE_KEY,
        FindingKind.DUPLICATE_IDEMPOTENCY_KEY,
        FindingKind.ORPHAN_VECTOR,
        FindingKind.STORE_EMBEDDER,
    }
)
"""Findings about the store as a whole: mended in one transaction."""

TABLES = frozenset({FindingKind.DATABASE, FindingKind.MISSING_TABLE_INDEX})
"""Findings that the database mends itself."""

ROWS = frozenset(
    {
        FindingKind.CONTENT_HASH,
        FindingKind.DANGLING_SUCCESSOR,
        FindingKind.DERIVED_COLUMN,
        FindingKind.ENTROPY,
        FindingKind.MISSING_VECTOR,
        FindingKind.NO_HISTORY,
        FindingKind.OTHER_EMBEDDER,
        FindingKind.TERMS,
        FindingKind.TOMBSTONE,
        FindingKind.VECTOR_DIMENSION,
        FindingKind.VECTOR_VALUES,
    }
)
"""Findings about single rows: mended in batches."""

EMBEDS = frozenset(
    {
        FindingKind.CONTENT_HASH,
        FindingKind.MISSING_VECTOR,
        FindingKind.OTHER_EMBEDDER,
        FindingKind.VECTOR_DIMENSION,
        FindingKind.VECTOR_VALUES,
    }
)
"""Of these, what needs a new vector; a wrong hash may mean that the text is not the one that was embedded."""

INDEX = frozenset(kind for kind in FindingKind if kind.value.startswith("index_"))
"""Findings about the derived index, which is rebuilt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """What a repair has mended, or would mend."""

    mended: tuple[Finding, ...]
    """What was wrong and is not any more; with `dry_run`, what a repair would set about."""
    left: tuple[Finding, ...]
    """What is still wrong: see the remedy of each."""
    dry_run: bool
    """Whether nothing was written."""
    diagnosis: Diagnosis
    """What the doctor saw last."""

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong any more."""
        return self.diagnosis.clean


def mend_whole(tx: Transaction, rules: Rules, now: datetime) -> None:
    """Mend what concerns the store as a whole: clock, shared ids and keys, orphans, the store's own facts.

    As `mend_rows` it raises `EmbedderMismatch` where the vectors are, or are becoming, another embedder's.
    """
    check_embedder(tx.meta(), rules.embedder)
    whole = tx.audit()
    tx.advance(whole.newest)
    _part(tx, whole.repeated, rules, now)
    tx.drop_orphans()
    if whole.vectors:
        tx.set_meta({"embedder": rules.embedder.id, "dimension": str(rules.embedder.dimension)})
    points.reach("repair_whole")


def _part(
    tx: Transaction,
    repeated: Mapping[FindingKind, tuple[tuple[int, ...], ...]],
    rules: Rules,
    now: datetime,
) -> None:
    """Let rows that share what must be unique share it no more.

    An id and an idempotency key stay with the row that was stored first, a key with the one that was changed last.
    """
    rows: dict[int, Record] = {}
    details: dict[int, dict[str, Any]] = {}
    for kind, groups in repeated.items():
        for numbers in groups:
            group = {number: rows.get(number) or _row(tx, number) for number in numbers}
            known = {number: record for number, record in group.items() if record is not None}
            for number in _losers(kind, known):
                detail = details.setdefault(number, {"found": []})
                detail["found"].append(kind.value)
                rows[number] = _parted(tx, kind, known[number], detail, rules, now)
    tx.rewrite(rows)
    tx.log([Change(seq=r.seq, at=now, record=r.id, event="repaired", detail=details[n]) for n, r in rows.items()])


def _losers(kind: FindingKind, group: Mapping[int, Record]) -> list[int]:
    if kind is FindingKind.DUPLICATE_KEY:
        return sorted(group, key=lambda number: (group[number].seq, number))[:-1]
    return sorted(group)[1:]


def _parted(
    tx: Transaction, kind: FindingKind, record: Record, detail: dict[str, Any], rules: Rules, now: datetime
) -> Record:
    seq = tx.next_seq()
    if kind is FindingKind.DUPLICATE_ID:
        detail["was"] = record.id
        return replace(record, seq=seq, id=record_id(now, rules.store_id, seq))
    if kind is FindingKind.DUPLICATE_KEY:
        detail["key"] = record.key
        return replace(record, seq=seq, key=None)
    if kind is FindingKind.DUPLICATE_IDEMPOTENCY_KEY:
        detail["idempotency_key"] = record.idempotency_key
        return replace(record, seq=seq, idempotency_key=None)
    return replace(record, seq=seq)


def _row(tx: Transaction, number: int) -> Record | None:
    row = _stored(tx, number)
    return None if row is None else row.record


def _stored(tx: Transaction, number: int) -> Stored | None:
    found = tx.stored(number - 1, 1)
    return found[0] if found and found[0].number == number else None


def to_embed(findings: Collection[Finding]) -> list[int]:
    """Return the numbers of the rows that need a new vector."""
    return sorted({one.number for one in findings if one.number is not None and one.kind in EMBEDS})


def embed_again(texts: Mapping[int, str], rules: Rules) -> dict[int, tuple[str, Vector]]:
    """Return for each row the text that was embedded and its vector."""
    made = embedded(list(texts.values()), rules.embedder)
    return {number: (text, vector) for (number, text), vector in zip(texts.items(), made, strict=True)}


def mend_rows(
    tx: Transaction, numbers: Sequence[int], vectors: Mapping[int, tuple[str, Vector]], rules: Rules, now: datetime
) -> None:
    """Mend what these rows say is wrong with them now; one that changed meanwhile waits for the next round."""
    check_embedder(tx.meta(), rules.embedder)
    graves = {one for _, one, _ in tx.removed(0)}
    for number in numbers:
        row = _stored(tx, number)
        if row is None or row.record is None:
            continue
        kinds = {one.kind for one in of_row(row, rules.embedder, graves)}
        heir = row.record.superseded_by
        if heir is not None and heir not in graves and missing(tx, [heir]):
            kinds.add(FindingKind.DANGLING_SUCCESSOR)
        text, vector = vectors.get(number, (None, None))
        if kinds and (text == row.record.text or not kinds & EMBEDS):
            _mend_row(tx, row.record, kinds, vector, rules, now)
            points.reach("repair_row")


def _mend_row(
    tx: Transaction, record: Record, kinds: set[FindingKind], vector: Vector | None, rules: Rules, now: datetime
) -> None:
    after = replace(record, content_hash=content_hash(record.text))
    if FindingKind.ENTROPY in kinds:
        after = replace(after, entropy=token_entropy(record.text)[0])
    if FindingKind.DANGLING_SUCCESSOR in kinds:
        after = _succeeded(tx, after, now)
    if vector is not None and kinds & EMBEDS:
        tx.set_vectors(rules.embedder.id, {record.id: vector})
        after = replace(after, embedder=rules.embedder.id)
    if FindingKind.TOMBSTONE in kinds:
        tx.exhume([record.id])
    if kinds != {FindingKind.NO_HISTORY}:
        after = replace(after, seq=tx.next_seq())
        tx.update([after])
    detail = {"found": sorted(kind.value for kind in kinds)}
    tx.log([Change(seq=after.seq, at=now, record=record.id, event="repaired", detail=detail)])


def _succeeded(tx: Transaction, record: Record, now: datetime) -> Record:
    """Return a fact with the successor that the store holds, or as it was before it was superseded."""
    heir = successor(record, _about(tx, record), now)
    return reinstated(record, record.superseded_by) if heir is None else superseded(record, heir, now)


def _about(tx: Transaction, record: Record) -> list[Record]:
    """Return the facts about the same subject in the same relation."""
    wanted = Selection(
        namespace=record.namespace, kinds=frozenset({Kind.FACT}), subject=record.subject, relation=record.relation
    )
    return tx.select(wanted)


def mend_rivals(tx: Transaction, ids: Sequence[str], now: datetime) -> None:
    """Let each of these facts give way to the active one that takes its place."""
    for record in tx.get(ids):
        if record is None or record.status is not Status.ACTIVE:
            continue
        about = _about(tx, record)
        is_one = record.id in {old.id for old, _ in rivals([one for one in about if is_rival(one, now)])}
        new = successor(record, about, now) if is_one else None
        if new is not None:
            after = superseded(record, new, now)
            after = with_spans(after, spans_of(after))
            if after.status is Status.ACTIVE:
                after = ended(after, shown(about, now), now, told_of(tx))
            after = replace(after, seq=tx.next_seq())
            tx.update([after])
            detail = {"found": [FindingKind.RIVAL_FACTS.value], "by": new.id}
            tx.log([Change(seq=after.seq, at=now, record=record.id, event="repaired", detail=detail)])
            points.reach("repair_rival")


def telling(progress: Callable[[int, int], None] | None, done: int, of: int) -> None:
    """Tell how far a repair is, if somebody wants to know."""
    if progress is not None:
        progress(done, of)
