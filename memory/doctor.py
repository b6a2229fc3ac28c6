"""The doctor: reads all of a store, in batches and in one consistent view, and names everything that diverges.

Each function here reads and nothing else. `mars.memory.repairing` mends what they find.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

import numpy as np

from mars.errors import MarsError, StoreCorrupt, StoreFull, StoreUnavailable
from mars.language import token_entropy
from mars.memory.facts import contradicts, is_single_valued
from mars.memory.findings import Audit, Finding, FindingKind, IndexAudit, Stored, StoredVector
from mars.memory.ids import content_hash
from mars.memory.interfaces import Backend, Embedder, Reader, VectorIndex
from mars.memory.records import Kind, Record, Status
from mars.memory.spans import spans_of
from mars.memory.superseding import place
from mars.memory.terms import encode
from mars.memory.views import is_expired

BATCH = 500
"""So many rows are looked at at a time."""

LENGTH_SLACK = 1e-3
"""How far the length of a unit vector may be from 1."""

ENTROPY_SLACK = 1e-9
"""How far apart two computations of an entropy may be, in bits."""

LOOKS = 5
"""So often the index is compared anew if it moves on meanwhile."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What the doctor saw."""

    findings: tuple[Finding, ...]
    """Everything that is wrong, the store as a whole first, then row by row."""
    records: int
    """Records in the store."""
    vectors: int
    """Vectors in the store."""
    head: int
    """The newest `seq`."""
    index: str
    """The Chroma index: ``none``, ``in step``, ``behind`` (it follows), ``in use elsewhere`` or ``diverged``."""
    index_mark: int | None = None
    """The `seq` up to which the index has followed; None where it was not looked at."""
    index_vectors: int | None = None
    """Vectors in the index; None where it was not looked at."""
    index_problem: str | None = None
    """What keeps this memory's index from following, such as a full disk; it is tried again."""

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings


@dataclass(slots=True)
class _Walk:
    """What is kept while the rows go by."""

    graves: frozenset[str]
    facts: dict[tuple[object, ...], list[Record]] = field(default_factory=lambda: defaultdict(list))
    heirs: dict[str, list[Stored]] = field(default_factory=lambda: defaultdict(list))


def examine(reader: Reader, embedder: Embedder, now: datetime, progress: Progress | None = None) -> Diagnosis:
    """Return what is wrong with the truth as one view shows it."""
    whole, head = reader.audit(), reader.head()
    found = [*_of_the_whole(whole, head), *_of_the_meta(reader, embedder, whole)]
    walk = _Walk(graves=frozenset(one for _, one, _ in reader.removed(0)))
    done, after = 0, -(1 << 63)
    while rows := reader.stored(after, BATCH):
        for row in rows:
            found += of_row(row, embedder, walk.graves)
            _note(walk, row, now)
        done, after = done + len(rows), rows[-1].number
        if progress is not None:
            progress(done, whole.records)
    found += _dangling(reader, walk)
    found += (rival(old, new) for group in walk.facts.values() for old, new in rivals(group))
    return Diagnosis(
        findings=tuple(found), records=whole.records, vectors=whole.vectors, head=head, index="none", index_mark=None
    )


def _of_the_whole(whole: Audit, head: int) -> Iterator[Finding]:
    for told in whole.complaints:
        yield Finding(
            kind=FindingKind.DATABASE,
            message=f"the database's own check says: {told}",
            remedy="run `mars memory repair`, which rebuilds the tables' indexes; if it stays, restore a backup",
        )
    for name in whole.missing_indexes:
        yield Finding(kind=FindingKind.MISSING_TABLE_INDEX, message=f"the index {name} is not there")
    if head < whole.newest:
        message = f"the clock stands at {head:,}, but seq {whole.newest:,} was given"
        yield Finding(kind=FindingKind.CLOCK_BEHIND, message=message)
    for kind, groups in whole.repeated.items():
        for first, *others in groups:
            for number in others:
                message = f"rows {first} and {number} share their {kind.value.removeprefix('duplicate_')}"
                yield Finding(kind=kind, number=number, message=message)
    for number in whole.orphans:
        yield Finding(kind=FindingKind.ORPHAN_VECTOR, number=number, message=f"vector {number} belongs to no record")


def _of_the_meta(reader: Reader, embedder: Embedder, whole: Audit) -> Iterator[Finding]:
    meta = reader.meta()
    wanted = {"embedder": embedder.id, "dimension": str(embedder.dimension)}
    if whole.vectors and any(meta.get(key) != value for key, value in wanted.items()):
        message = f"the store does not say that its vectors are those of {embedder.id} (dimension {embedder.dimension})"
        yield Finding(kind=FindingKind.STORE_EMBEDDER, message=message)


def of_row(row: Stored, embedder: Embedder, graves: Iterable[str]) -> Iterator[Finding]:
    """Yield what a row says is wrong with it."""
    record = row.record
    if record is None:
        yield Finding(
            kind=FindingKind.UNREADABLE,
            record=row.id,
            number=row.number,
            message=f"row {row.number} is no record ({', '.join(row.crooked)})",
            remedy=f"mend the row by hand: SELECT * FROM mars_records WHERE number = {row.number}",
        )
        return
    tell = partial(Finding, record=row.id, namespace=record.namespace, number=row.number)
    if row.crooked:
        columns = ", ".join(row.crooked)
        yield tell(kind=FindingKind.DERIVED_COLUMN, message=f"{row.id}: {columns} should be stored otherwise")
    if not row.changes:
        yield tell(kind=FindingKind.NO_HISTORY, message=f"{row.id} has no history")
    if record.content_hash != content_hash(record.text):
        yield tell(kind=FindingKind.CONTENT_HASH, message=f"{row.id}: the hash is not that of the text")
    if not abs(record.entropy - token_entropy(record.text)[0]) <= ENTROPY_SLACK:
        yield tell(kind=FindingKind.ENTROPY, message=f"{row.id}: the entropy is not that of the text")
    if row.terms != encode(record.text, record.speaker):
        yield tell(kind=FindingKind.TERMS, message=f"{row.id}: the stored terms are not those of the text")
    if row.id in graves:
        yield tell(kind=FindingKind.TOMBSTONE, message=f"{row.id} is noted as purged and is there")
    if record.status is Status.SUPERSEDED and record.superseded_by is None:
        yield tell(kind=FindingKind.DANGLING_SUCCESSOR, message=f"{row.id} is superseded, nobody says by what")
    for kind, what in _of_the_vector(record, row.vector, embedder):
        yield tell(kind=kind, message=f"{row.id}: {what}")


def _of_the_vector(
    record: Record, vector: StoredVector | None, embedder: Embedder
) -> Iterator[tuple[FindingKind, str]]:
    if vector is None:
        if record.embedder is not None:
            yield FindingKind.MISSING_VECTOR, f"no vector, though {record.embedder} made one"
        return
    if {vector.embedder, record.embedder} != {embedder.id}:
        yield FindingKind.OTHER_EMBEDDER, f"the vector is not one of {embedder.id}"
    if vector.dimension != embedder.dimension or len(vector.data) != 4 * embedder.dimension:
        yield FindingKind.VECTOR_DIMENSION, f"the vector has not {embedder.dimension} dimensions"
        return
    values = np.frombuffer(vector.data, "<f4").astype(np.float64)
    length = math.sqrt(float(values @ values)) if np.isfinite(values).all() else math.nan
    if length != 0.0 and not abs(length - 1.0) <= LENGTH_SLACK:
        yield FindingKind.VECTOR_VALUES, "the vector is neither of unit length nor zero"


def _note(walk: _Walk, row: Stored, now: datetime) -> None:
    """Keep what can be judged only when all rows have gone by."""
    record = row.record
    if record is None:
        return
    if record.superseded_by is not None and record.superseded_by not in walk.graves:
        walk.heirs[record.superseded_by].append(row)
    if is_rival(record, now):
        walk.facts[matter(record)].append(record)


def is_rival(record: Record, now: datetime) -> bool:
    """Return whether a record is an active fact that others may contradict."""
    return (
        record.kind is Kind.FACT
        and record.status is Status.ACTIVE
        and not is_expired(record, now)
        and is_single_valued(record)
    )


def matter(record: Record) -> tuple[object, ...]:
    """Return what rivals have in common."""
    return record.namespace, (record.subject or "").casefold(), record.relation


def rivals(group: Sequence[Record]) -> Iterator[tuple[Record, Record]]:
    """Yield (older, newer) for each fact that another active one takes the place of; the one that holds first."""
    ordered = sorted((span for one in group for span in _without_end(one)), key=place)
    told: set[str] = set()
    for number, old in enumerate(ordered):
        new = next((one for one in ordered[number + 1 :] if contradicts(one, old)), None)
        if new is not None and old.id not in told:
            told.add(old.id)
            yield old, new


def _without_end(fact: Record) -> list[Record]:
    """Return the spans that an active fact has for as long as it is active."""
    own, *others = spans_of(fact)
    return [own, *(span for span in others if span.valid_to is None)]


def rival(old: Record, new: Record) -> Finding:
    """Return the finding of two active facts that exclude each other."""
    message = f"{old.id} and {new.id} are both active and exclude each other"
    return Finding(kind=FindingKind.RIVAL_FACTS, record=old.id, namespace=old.namespace, message=message)


def _dangling(reader: Reader, walk: _Walk) -> Iterator[Finding]:
    """Yield the facts whose successor neither is nor was."""
    targets = sorted(walk.heirs)
    for start in range(0, len(targets), BATCH):
        for one in missing(reader, targets[start : start + BATCH]):
            for row in walk.heirs[one]:
                yield Finding(
                    kind=FindingKind.DANGLING_SUCCESSOR,
                    record=row.id,
                    namespace=None if row.record is None else row.record.namespace,
                    number=row.number,
                    message=f"{row.id} is superseded by {one}, which never was",
                )


def missing(reader: Reader, ids: Sequence[str]) -> list[str]:
    """Return which of these ids no row has; one that is there and cannot be read counts as there."""
    try:
        return [one for one, record in zip(ids, reader.get(ids), strict=True) if record is None]
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError):
        if len(ids) == 1:
            return []
        return [gone for one in ids for gone in missing(reader, [one])]


def look_at_index(backend: Backend, index: VectorIndex) -> tuple[str, IndexAudit | None, tuple[Finding, ...]]:
    """Return the state of an index, what it holds if that could be read, and what is wrong with it.

    Every look has a view of its own: an index that another task moves on meanwhile is looked at again.
    """
    try:
        for _ in range(LOOKS):
            seen, head = backend.read(lambda reader: (index.audit(reader), reader.head()))
            if seen is None:
                return "none", None, ()
            moved = seen.mark > head and backend.read(lambda reader: reader.head()) >= seen.mark
            if not moved:
                break
        assert seen is not None
        if seen.findings:
            return "diverged", seen, seen.findings
        return ("in step" if seen.mark == head else "behind"), seen, ()
    except StoreUnavailable:
        return "in use elsewhere", None, ()
    except (StoreCorrupt, StoreFull) as error:
        return "diverged", None, (_damaged(error),)


def _damaged(error: MarsError) -> Finding:
    return Finding(
        kind=FindingKind.INDEX_DAMAGED,
        message=str(error),
        remedy="run `mars memory repair`, or `mars memory reindex`",
    )
