"""One namespace in the process's memory: derived from the truth, exact over every row, dropped and rebuilt at will.

A shard holds the rows' vectors, decay columns and postings, and follows the truth by `seq`. Every search scores every
row (memory.md §6: exact); nothing is asked of an approximate index. Words, neighbours and document frequencies come
from all rows but those that are quarantined or failed their review, so that a sweep, which archives what is already
forgotten, changes no score. A shard may be used from several threads; a lock serialises them.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from mars.errors import InvalidVector
from mars.language import first_person
from mars.memory.columns import Columns, microseconds
from mars.memory.curves import Floats
from mars.memory.filters import ANYTHING_ACTIVE, RecallFilter
from mars.memory.fusion import Flags, bounded, cosines, fusion, relevance, top
from mars.memory.interfaces import Reader, Selection
from mars.memory.lexical import Document, LexicalIndex, LexicalScores
from mars.memory.lifecycle import REVIEW_REASON
from mars.memory.presets import Preset
from mars.memory.records import Explanation, Namespace, Record, Status, Tier, Vector, check_share, check_time
from mars.memory.tiers import TIERS, Codes, standings

BATCH = 2_000
"""How many records `Shard.follow` reads at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """One row found, before its record is fetched from the truth; fields as in `mars.memory.records.Hit`."""

    id: str
    """Id of the record."""
    rank: float
    """For ordering only."""
    relevance: float
    """Absolute, in [0, 1]."""
    retention: float
    """R at the time of the search, in [0, 1]."""
    tier: Tier
    """Short-term or long-term."""
    explanation: Explanation | None = None
    """The parts of the rank, if asked for."""


@dataclass(frozen=True, slots=True)
class _Scored:
    """Every row's numbers of one shard for one search; arrays of shape ``[n]``."""

    ids: Sequence[str]
    lexical: LexicalScores
    cosine: Floats | None
    weight: float
    relevance: Floats
    retention: Floats
    tiers: Codes
    remembered: Floats
    mattering: Floats
    trust: Floats
    eligible: Flags

    def best(self) -> float:
        """The largest lexical score of a row that may be recalled."""
        return float(self.lexical.scores.max(where=self.eligible, initial=0.0))

    def matches(self, best: float, k: int, floor: float, explain: bool) -> list[Match]:
        """The k best rows, `best` being the largest lexical score of the whole search."""
        fused = fusion(self.lexical.scores.astype(np.float64), self.cosine, self.weight, best)
        rank = fused * self.remembered * self.mattering * self.trust
        rows = top(rank, self.eligible & (self.relevance >= floor) & (fused > 0.0), self.ids, k)
        return [
            Match(
                id=self.ids[row],
                rank=float(rank[row]),
                relevance=float(self.relevance[row]),
                retention=float(self.retention[row]),
                tier=TIERS[int(self.tiers[row])],
                explanation=self._explanation(row, float(fused[row])) if explain else None,
            )
            for row in rows
        ]

    def _explanation(self, row: int, fused: float) -> Explanation:
        return Explanation(
            lexical=float(self.lexical.scores[row]),
            cosine=0.0 if self.cosine is None else float(self.cosine[row]),
            lexical_weight=self.weight,
            fusion=fused,
            retention_factor=float(self.remembered[row]),
            importance_factor=float(self.mattering[row]),
            terms=self.lexical.terms_of(row),
        )


class Shard:
    """The rows of one namespace. `seq` says up to where it has followed the truth."""

    def __init__(self, namespace: Namespace, *, dimension: int, preset: Preset, lexical_weight: float = 1.0) -> None:
        self.namespace = namespace
        self.dimension = dimension
        self.lexical_weight = check_share(lexical_weight, "lexical_weight")
        self.preset = preset
        self._lock = threading.RLock()
        self._reset()

    def _reset(self) -> None:
        self.seq = 0
        self._ids: list[str] = []
        self._row_of: dict[str, int] = {}
        self._shape_of: dict[str, tuple[object, ...]] = {}
        self._vector_of: dict[str, tuple[str | None, str]] = {}
        self._matrix: Vector = np.zeros((0, self.dimension), np.float32)
        self._columns = Columns()
        self._lexical = LexicalIndex()

    def __len__(self) -> int:
        return len(self._row_of)

    @property
    def nbytes(self) -> int:
        """About how many bytes the vectors take."""
        return self._matrix.nbytes

    def follow(self, reader: Reader) -> int:
        """Apply what changed in the namespace since `seq`, in batches; return how many rows. Repeatable.

        Starts afresh when more than half of the rows are gone, which gives the same answers in less memory. Vectors
        that change without their records (another embedder) are not noticed: drop the shard then.
        """
        with self._lock:
            head = reader.head()
            if head == self.seq:
                return 0
            if len(self._ids) > 2 * len(self) + 64:
                self._reset()
            applied, after = 0, self.seq
            while True:
                batch = reader.select(Selection(namespace=self.namespace, after_seq=after, limit=BATCH))
                changed = [
                    each.id for each in batch if self._vector_of.get(each.id) != (each.embedder, each.content_hash)
                ]
                self.apply(batch, reader.vectors(changed) if changed else {})
                applied += len(batch)
                if len(batch) < BATCH:
                    break
                after = batch[-1].seq
            gone = [name for _, name, namespace in reader.removed(self.seq) if namespace == self.namespace]
            self.remove(gone)
            self.seq = head
            return applied + len(gone)

    def apply(self, records: Sequence[Record], vectors: Mapping[str, Vector]) -> None:
        """Add these records, or replace those that are known by the same id, whatever their order.

        `vectors` holds those of shape ``[dimension]`` that are new; a known row keeps its vector, a new one without
        has none and is found by its words. Raises `InvalidVector` for another shape.
        """
        for name, vector in vectors.items():
            if vector.shape != (self.dimension,):
                raise InvalidVector(f"record {name} has a vector of shape {vector.shape}; expected ({self.dimension},)")
        with self._lock:
            fresh = sum(record.id not in self._row_of for record in records)
            self._reserve(len(self._ids) + fresh)
            for record in records:
                self._put(record, vectors.get(record.id))

    def _reserve(self, rows: int) -> None:
        self._columns.reserve(rows)
        if rows > len(self._matrix):
            grown = np.zeros((max(rows, 64, len(self._matrix) * 9 // 8), self.dimension), np.float32)
            grown[: len(self._ids)] = self._matrix[: len(self._ids)]
            self._matrix = grown

    def _put(self, record: Record, vector: Vector | None) -> None:
        row = self._row_of.get(record.id)
        shape = _shape(record)
        if row is not None and self._shape_of[record.id] != shape:
            kept = self._matrix[row].copy()
            self._drop(record.id)
            row, vector = None, kept if vector is None else vector
        if row is None:
            row = len(self._ids)
            self._reserve(row + 1)
            self._ids.append(record.id)
            self._row_of[record.id] = row
            self._lexical.add(row, _document(record))
        self._shape_of[record.id] = shape
        self._vector_of[record.id] = _vector_key(record)
        self._columns.write(row, record)
        if vector is not None:
            self._matrix[row] = vector

    def remove(self, ids: Sequence[str]) -> None:
        """Forget these records; unknown ids are ignored."""
        with self._lock:
            for name in ids:
                if name in self._row_of:
                    self._drop(name)

    def _drop(self, name: str) -> None:
        row = self._row_of.pop(name)
        del self._shape_of[name], self._vector_of[name]
        self._columns.drop(row)
        self._lexical.remove(row)
        self._matrix[row] = 0.0

    def speakers_named(self, query: str) -> set[str]:
        """Return the words of a question that are words of a speaker's name, lower-cased."""
        with self._lock:
            return self._lexical.speakers_named(query)

    def search(
        self,
        query: str,
        vector: Vector | None,
        *,
        now: datetime,
        k: int,
        filter: RecallFilter = ANYTHING_ACTIVE,
        voiced: Vector | None = None,
        floor: float | None = None,
        explain: bool = False,
    ) -> list[Match]:
        """Search this shard alone; see `search`."""
        return search([self], query, vector, now=now, k=k, filter=filter, voiced=voiced, floor=floor, explain=explain)

    def _score(
        self, query: str, vector: Vector | None, voiced: Vector | None, now: datetime, filter: RecallFilter
    ) -> _Scored:
        with self._lock:
            size, columns, preset = len(self._ids), self._columns, self.preset
            retention, tiers = standings(
                preset.curve,
                preset.tiers,
                columns.strength[:size],
                columns.boosted[:size],
                columns.ages(size, now),
                columns.capable[:size],
                columns.pinned[:size],
            )
            lexical = self._lexical.scores(query)
            cosine = None if vector is None or self.lexical_weight == 1.0 else self._cosines(vector, voiced)
            weight = 1.0 if cosine is None else self.lexical_weight
            return _Scored(
                ids=self._ids,
                lexical=lexical,
                cosine=cosine,
                weight=weight,
                relevance=relevance(lexical.shares.astype(np.float64), cosine, weight),
                retention=retention,
                tiers=tiers,
                remembered=bounded(retention, preset.retention_floor),
                mattering=bounded(columns.importance[:size], preset.importance_floor),
                trust=columns.trust[:size].copy(),
                eligible=columns.passing(size, filter, now, tiers),
            )

    def _cosines(self, vector: Vector, voiced: Vector | None) -> Floats:
        size = len(self._ids)
        plain = cosines(self._matrix[:size], vector)
        if voiced is None:
            return plain
        return np.where(self._columns.spoken[:size], cosines(self._matrix[:size], voiced), plain)


def voiced(shards: Iterable[Shard], query: str) -> str | None:
    """Return the question as one of the shards' speakers would have said it; None if it names none of them.

    Embed it beside the question and give both vectors to `search`: what somebody said is compared with the one, all
    else with the other.
    """
    named = set[str]().union(*(shard.speakers_named(query) for shard in shards))
    return first_person(query, named) if named else None


def search(
    shards: Sequence[Shard],
    query: str,
    vector: Vector | None,
    *,
    now: datetime,
    k: int,
    filter: RecallFilter = ANYTHING_ACTIVE,
    voiced: Vector | None = None,
    floor: float | None = None,
    explain: bool = False,
) -> list[Match]:
    """Return the k best rows of these shards by `rank`, best first, ties to the smaller id; exact over every row.

    `vector` is the query's, shape ``[d]``, of unit length; None leaves the words alone to decide. `voiced` is that of
    the question in the first person. `floor` is the least relevance of a hit, the preset's if None. What neither a
    query term nor a direction brings near is no hit, whatever the floor. Raises `InvalidTime`, `InvalidSetting` and,
    for a vector of another shape, `InvalidVector`.
    """
    moment = check_time(now)
    scored = [shard._score(query, vector, voiced, moment, filter) for shard in shards]
    best = max((each.best() for each in scored), default=0.0)
    found: list[Match] = []
    for shard, each in zip(shards, scored, strict=True):
        least = shard.preset.relevance_floor if floor is None else check_share(floor, "floor")
        found.extend(each.matches(best, k, least, explain))
    return sorted(found, key=lambda match: (-match.rank, match.id))[:k]


def _vector_key(record: Record) -> tuple[str | None, str]:
    """What a record's vector depends on."""
    return record.embedder, record.content_hash


def _counts(record: Record) -> bool:
    """Whether a record's words take part: not before its review, and not after one that it failed."""
    if record.status is Status.ARCHIVED:
        return record.archived_because != REVIEW_REASON
    return record.status is not Status.QUARANTINED


def _shape(record: Record) -> tuple[object, ...]:
    """All that the postings of a record depend on; while it is equal, only columns change."""
    return (
        record.content_hash,
        record.speaker,
        record.conversation,
        record.position,
        record.event_time,
        _counts(record),
    )


def _document(record: Record) -> Document:
    if not _counts(record):
        return Document(counts={})
    position = math.inf if record.position is None else float(record.position)
    return Document.of(
        record.text,
        speaker=record.speaker,
        said_at=record.event_time,
        conversation=record.conversation,
        place=(position, microseconds(record.event_time), record.id),
    )
