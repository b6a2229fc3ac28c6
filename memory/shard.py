"""One namespace in the process's memory: derived from the truth, exact over every row, dropped and rebuilt at will.

A shard holds the rows' vectors, decay columns and postings, and follows the truth by `seq`. A search is exact: a row is
scored, or a bound says that it cannot win (`mars.memory.ranking`); nothing is asked of an approximate index. Words,
neighbours and document frequencies come from all rows but those that are quarantined or failed their review, so that a
sweep, which archives what is already forgotten, changes no score. A shard may be used from several threads; a lock
serialises them.
"""

from __future__ import annotations

import math
import threading
from array import array
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime

import numpy as np

from mars.errors import InvalidSetting, InvalidVector
from mars.language import first_person
from mars.memory.agreement import Agreement, Sample, vector_share
from mars.memory.approximate import Nearby
from mars.memory.bounds import BOUNDS, Bounds, Head
from mars.memory.columns import Columns, Ids, microseconds
from mars.memory.documents import Document, Documents, which_count, words_count
from mars.memory.fading import Fading, of_tiers, standings_of
from mars.memory.filters import ANYTHING_ACTIVE, RecallFilter
from mars.memory.interfaces import Reader, Selection
from mars.memory.lexical import LexicalIndex
from mars.memory.matches import Match as Match
from mars.memory.matches import match_of, weighed
from mars.memory.presets import Preset
from mars.memory.ranking import Exact, Ranking
from mars.memory.records import Namespace, Record, Vector, check_share, check_time
from mars.memory.weights import Weights

BATCH = 2_000
"""How many records `Shard.follow` reads at a time."""

ROW_BYTES = 1_000
"""About what a row takes beside its vector."""


class Shard:
    """The rows of one namespace. `seq` says up to where it has followed the truth."""

    def __init__(
        self,
        namespace: Namespace,
        *,
        dimension: int,
        preset: Preset,
        lexical_weight: float = 1.0,
        measured: bool = False,
        bounds: Bounds = BOUNDS,
    ) -> None:
        self.namespace = namespace
        self.dimension = dimension
        self.lexical_weight = check_share(lexical_weight, "lexical_weight")
        self.measured = measured and 0.0 < lexical_weight < 1.0
        self.preset = preset
        self.bounds = bounds
        self._lock = threading.RLock()
        self._reset()

    def _reset(self) -> None:
        self.seq = 0
        self._ids = Ids()
        self._shapes = array("q")
        self._matrix: Vector = np.zeros((0, self.dimension), np.float32)
        self._head = Head(self.bounds)
        self._columns = Columns()
        self._fading = Fading(self.preset)
        self._lexical = LexicalIndex(self._ids)
        self._sample = Sample()

    def __len__(self) -> int:
        return self._ids.alive

    @property
    def nbytes(self) -> int:
        """About how many bytes the shard takes: vectors, their heads, and for each row some words and columns."""
        return self._matrix.nbytes + self._head.nbytes + ROW_BYTES * len(self._ids)

    def follow(self, reader: Reader) -> int:
        """Apply what changed in the namespace since `seq`, in batches; return how many rows. Repeatable.

        Starts afresh when more than half of the rows are gone, which gives the same answers in less memory. Vectors
        that change without their records (another embedder) are not noticed: drop the shard then.
        """
        with self._lock:
            head = reader.head()
            if head == self.seq:
                return 0
            if len(self._ids) > 2 * len(self) + 64 or self._sample.worn:
                self._reset()
            if not self._ids:
                try:
                    self._load(reader)
                except BaseException:
                    self._reset()  # half of the rows would be taken for all that there were
                    raise
                self.seq = head
                return len(self)
            applied, after = 0, self.seq
            while True:
                batch = reader.select(Selection(namespace=self.namespace, after_seq=after, limit=BATCH))
                vectors = reader.vectors([each.id for each in batch]) if batch else {}
                self.apply(batch, {name: vector for name, vector in vectors.items() if not self._holds(name, vector)})
                applied += len(batch)
                if len(batch) < BATCH:
                    break
                after = batch[-1].seq
            gone = [name for _, name, namespace in reader.removed(self.seq) if namespace == self.namespace]
            self.remove(gone)
            self.seq = head
            return applied + len(gone)

    def _load(self, reader: Reader) -> None:
        """Fill an empty shard with all that the namespace holds."""
        documents = Documents(self._ids)
        for part in reader.load(self.namespace):
            start, size = len(self._ids), len(part)
            self._reserve(start + size + part.later)
            part.fill(self._matrix[start : start + size])
            self._columns.load(start, part)
            counts = which_count(part)
            documents.add(part, counts)
            self._ids.load(part.id)
            told = (part.content_hash, part.speaker, part.conversation, part.position, part.event_time, counts)
            self._shapes.extend(map(hash, zip(*told, strict=True)))
            if self.measured:
                self._sample.load(start, part, counts)
        self._ids.settle()
        self._lexical.load(documents)
        self._sample.settle()

    def apply(self, records: Sequence[Record], vectors: Mapping[str, Vector]) -> None:
        """Add these records, or replace those that are known by the same id, whatever their order.

        `vectors` holds those of shape ``[dimension]`` that are new; a known row keeps its vector, a new one without
        has none and is found by its words. Raises `InvalidVector` for another shape.
        """
        for name, vector in vectors.items():
            if vector.shape != (self.dimension,):
                raise InvalidVector(f"record {name} has a vector of shape {vector.shape}; expected ({self.dimension},)")
        with self._lock:
            fresh = sum(self._ids.row(record.id) is None for record in records)
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
        row = self._ids.row(record.id)
        shape = _shape(record)
        if row is not None and self._shapes[row] != shape:
            kept = self._matrix[row].copy()
            self._drop(record.id)
            row, vector = None, kept if vector is None else vector
        told = self.measured and (row is None or vector is not None)
        told = told and words_count(record.status, record.archived_because)
        if row is None:
            self._reserve(len(self._ids) + 1)
            row = self._ids.append(record.id)
            self._shapes.append(shape)
            self._lexical.add(row, _document(record))
        self._columns.write(row, record)
        self._fading.touch(row)
        if vector is not None:
            self._matrix[row] = vector
            self._head.touch(row)
        if told:
            self._sample.put(record.content_hash, record.id, row, record.text)

    def _holds(self, name: str, vector: Vector) -> bool:
        """Tell whether the row of a record has this vector to the last bit; no fact of the record says."""
        row = self._ids.row(name)
        return row is not None and self._matrix[row].tobytes() == vector.tobytes()

    def remove(self, ids: Sequence[str]) -> None:
        """Forget these records; unknown ids are ignored."""
        with self._lock:
            for name in ids:
                if self._ids.row(name) is not None:
                    self._drop(name)

    def _drop(self, name: str) -> None:
        row = self._ids.drop(name)
        self._sample.drop(self._sample.hash_of(name), name)
        self._columns.drop(row)
        self._lexical.remove(row)
        self._matrix[row] = 0.0
        self._head.touch(row)

    def speakers_named(self, query: str) -> set[str]:
        """Return the words of a question that are words of a speaker's name, lower-cased."""
        with self._lock:
            return self._lexical.speakers_named(query)

    def agreement(self) -> Agreement:
        """Return how far the vectors bear out the words; see `mars.memory.agreement`."""
        with self._lock:
            return self._sample.agreement(self._matrix)

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
        weights: Weights | None = None,
    ) -> list[Match]:
        """Search this shard alone; see `search`."""
        return search(
            [self],
            query,
            vector,
            now=now,
            k=k,
            filter=filter,
            voiced=voiced,
            floor=floor,
            explain=explain,
            weights=weights,
        )

    def _ranking(
        self, query: str, queries: tuple[Vector, ...], weight: float, now: datetime, filter: RecallFilter, whole: bool
    ) -> Ranking:
        size, columns, when, known = len(self._ids), self._columns, microseconds(now), None
        if size <= self.bounds.small:
            known = standings_of(self.preset, columns, slice(size), when)
            eligible = columns.passing(of_tiers(known[1], filter.tiers), filter, when)
            ceiling = eligible.astype(np.float32)
        else:
            ceiling, eligible = self._fading.at(columns, size, when, filter.tiers)
            eligible = columns.passing(eligible, filter, when)
        lexical = self._lexical.scores(query if eligible.any() else "", whole)
        for each in queries:
            if each.shape != (self.dimension,):
                raise InvalidVector(f"the query's vector has shape {each.shape}; expected ({self.dimension},)")
        return Ranking(
            preset=self.preset,
            bounds=self.bounds,
            ids=self._ids,
            columns=columns,
            now=when,
            eligible=eligible,
            ceiling=ceiling * eligible,
            lexical=lexical,
            words=lexical.scores * eligible,
            matrix=self._matrix[:size],
            head=self._head,
            queries=() if weight == 1.0 else queries,
            weight=weight if queries else 1.0,
            known=known,
        )

    def _winners(
        self, ranking: Ranking, best: float, k: int, floor: float, nearby: Nearby | None
    ) -> tuple[Exact, list[int]]:
        rows = None if nearby is None else nearby.rows(self.namespace, self._ids, ranking, best, k, floor)
        if nearby is not None and rows is not None:
            scored, winners = ranking.among(rows, best, k, floor)
            if len(winners) == k:
                nearby.used = True
                return scored, winners
        return ranking.winners(best, k, floor)


def lexical_weights(shards: Sequence[Shard]) -> list[float]:
    """Return the share w of the lexical arm in each of these shards when they are searched together, in [0, 1].

    A shard whose vectors are `measured` gives them the part of their declared share that the rows of all of them bear
    out; 0 and 1 stand as declared, for there the other arm is not wanted.
    """
    measured = [shard.agreement() for shard in shards if shard.measured]
    borne_out = vector_share(measured)
    return [1.0 - (1.0 - each.lexical_weight) * (borne_out if each.measured else 1.0) for each in shards]


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
    nearby: Nearby | None = None,
    weights: Weights | None = None,
    whole: bool = False,
) -> list[Match]:
    """Return the k best rows of these shards by `rank`, best first, ties to the smaller id; exact over every row.

    `vector` is the query's, shape ``[d]``, of unit length; None leaves the words alone to decide. `voiced` is that of
    the question in the first person. `floor` is the least relevance of a hit, the preset's if None. What neither a
    query term nor a direction brings near is no hit, whatever the floor; but where `weights` order the hits, every row
    with that relevance is one, and the parts are scaled over all rows that pass the filter. With `nearby` the search is
    approximate, which it says itself. `whole` judges a long query by all of its words only. Raises `InvalidTime`,
    `InvalidSetting` and, for a vector of another shape, `InvalidVector`.
    """
    moment = check_time(now)
    if k < 0:
        raise InvalidSetting(f"k counts hits; got {k}")
    found: list[Match] = []
    with ExitStack() as locks:
        for shard in sorted(shards, key=id):
            locks.enter_context(shard._lock)
        queries = () if vector is None else (vector,) if voiced is None else (vector, voiced)
        shares = lexical_weights(shards)
        rankings = [
            shard._ranking(query, queries, share, moment, filter, whole)
            for shard, share in zip(shards, shares, strict=True)
        ]
        best = max((each.best() for each in rankings), default=0.0)
        floors = [each.preset.relevance_floor if floor is None else check_share(floor, "floor") for each in shards]
        if weights is not None:
            found = weighed(rankings, best, floors, weights, explain)
        else:
            for shard, each, least in zip(shards, rankings, floors, strict=True):
                scored, winners = shard._winners(each, best, k, least, nearby)
                found.extend(match_of(each, scored, at, explain) for at in winners)
    return sorted(found, key=lambda match: (-match.rank, match.id))[:k]


def _shape(record: Record) -> int:
    """Hash all that the postings of a record depend on; while it is equal, only columns change."""
    return hash(
        (
            record.content_hash,
            record.speaker,
            record.conversation,
            record.position,
            microseconds(record.event_time),
            words_count(record.status, record.archived_because),
        )
    )


def _document(record: Record) -> Document:
    if not words_count(record.status, record.archived_because):
        return Document(counts={})
    position = math.inf if record.position is None else float(record.position)
    return Document.of(
        record.text,
        speaker=record.speaker,
        said_at=record.event_time,
        conversation=record.conversation,
        place=(position, microseconds(record.event_time), record.id),
    )
