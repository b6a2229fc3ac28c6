"""Recall: one question, answered exactly from every row of its namespaces, in one consistent view of the truth.

The shards of a store are derived: loaded at a namespace's first question, caught up by `seq` before every answer, so
that what another process has committed is found at the next call.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from mars.errors import InvalidSetting
from mars.memory.approximate import Nearby
from mars.memory.conditions import ABSENT, held, keys_of
from mars.memory.diversity import diversified, pool_size
from mars.memory.filters import RecallFilter
from mars.memory.following import Follower
from mars.memory.interfaces import Backend, Embedder, Reader
from mars.memory.preparing import check_embedder, embedded
from mars.memory.presets import Preset
from mars.memory.records import Hit, Namespace, Record, Vector
from mars.memory.shard import Match, Shard, lexical_weights, search, voiced
from mars.memory.views import is_expired, unswept
from mars.memory.weights import Weights

QUERY_VECTORS = 256
"""So many query vectors are kept, because an embedder costs more than a search."""

CAP = 2 << 30
"""So many bytes may the shards of a store take together, besides the one asked last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a recall asks; checked by `Memory.recall`."""

    text: str
    """The query."""
    scope: Namespace
    """The namespace, or the prefix of those that are asked."""
    below: bool
    """Whether `scope` is a prefix."""
    k: int
    """The most hits."""
    now: datetime
    """When it is asked."""
    filter: RecallFilter
    """Which records may be found."""
    floor: float
    """The least relevance of a hit, in [0, 1]."""
    whole: bool = False
    """Whether a long query is judged by all of its words only, and not by its passages too."""
    explain: bool
    """Whether hits say how their rank came about."""
    exact: bool = True
    """Whether every row is compared; else a derived index may choose the rows."""
    weights: Weights | None = None
    """Orders hits by a weighted sum instead of the rank's product."""
    diversity: float = 0.0
    """How much each hit shall differ from those before it, in [0, 1]."""


def check_cap(cap: int) -> int:
    """Return how many bytes shards may take together, else raise `InvalidSetting`."""
    if isinstance(cap, bool) or not isinstance(cap, int) or cap < 0:
        raise InvalidSetting(f"cache_bytes must be a whole number of bytes, at least 0; got {cap!r}")
    return cap


class Recaller:
    """Answers questions over one store; safe from several threads, one at a time."""

    def __init__(self, preset: Preset, embedder: Embedder, cap: int = CAP) -> None:
        self._cap = check_cap(cap)
        self._preset = preset
        self._embedder = embedder
        fixed = preset.lexical_weight
        self._lexical_weight = embedder.lexical_weight if fixed is None else fixed
        self._begin()

    def _begin(self) -> None:
        self._shards: OrderedDict[Namespace, Shard] = OrderedDict()
        self._sizes: dict[Namespace, int] = {}
        self._held = 0
        self._asked: list[Namespace] = []
        self._vectors: OrderedDict[str, Vector] = OrderedDict()
        self._lock = threading.Lock()

    def forked(self) -> None:
        """Start afresh in a child if a thread of the parent was at work, which the child does not have."""
        if self._lock.locked():
            self._begin()

    def loaded(self) -> Mapping[Namespace, int]:
        """The namespaces whose shards are in memory, with about how many bytes; the one asked longest ago first."""
        with self._lock:
            return {name: shard.nbytes for name, shard in self._shards.items()}

    def forget(self) -> None:
        """Drop every shard; they are loaded again from the truth when they are needed."""
        with self._lock:
            self._shards.clear()
            self._sizes.clear()
            self._held = 0

    @property
    def by_vectors(self) -> bool:
        """Whether vectors have a say at all."""
        return self._lexical_weight < 1.0

    def answer(self, backend: Backend, question: Question, follower: Follower | None = None) -> list[Hit]:
        """Return the hits of a question, best first; `follower` has the index for one that need not be exact."""
        vector = self._vector(question.text)
        reached = None
        if follower is not None and not question.exact:
            reached = follower.reach(backend.read(lambda reader: reader.head()))

        def work(reader: Reader) -> list[Hit]:
            nearby = None if follower is None or reached is None else Nearby(follower, reader, reached)
            return self._answer(reader, question, vector, nearby)

        # Taken before the view is opened: so a shard never falls behind what another thread has shown it.
        with self._lock:
            try:
                return backend.read(work)
            finally:
                self._evict()

    def _evict(self) -> None:
        """Drop the shards asked longest ago while all together are beyond the cap; the last one stays."""
        for name in self._asked:  # no other shard has changed since it was last weighed
            shard = self._shards.get(name)
            size = 0 if shard is None else shard.nbytes
            self._held += size - self._sizes.pop(name, 0)
            if shard is not None:
                self._sizes[name] = size
        self._asked.clear()
        while self._held > self._cap and len(self._shards) > 1:
            self._held -= self._sizes.pop(self._shards.popitem(last=False)[0])

    def _vector(self, text: str) -> Vector | None:
        if self._lexical_weight == 1.0:
            return None
        found = self._vectors.get(text)
        if found is None:
            found = self._vectors[text] = embedded([text], self._embedder)[0]
            if len(self._vectors) > QUERY_VECTORS:
                self._vectors.popitem(last=False)
        return found

    def _answer(self, reader: Reader, question: Question, vector: Vector | None, nearby: Nearby | None) -> list[Hit]:
        check_embedder(reader.meta(), self._embedder)  # it may have been changed since the store was opened
        names = [question.scope]
        if question.below:
            depth = len(question.scope)
            names = sorted(name for name in reader.namespaces() if name[:depth] == question.scope)
        shards = [shard for shard in (self._shard(reader, name) for name in names) if len(shard)]
        asked = voiced(shards, question.text) if vector is not None else None
        matches = search(
            shards,
            question.text,
            vector,
            now=question.now,
            k=pool_size(question.k) if question.diversity > 0.0 else question.k,
            filter=question.filter,
            voiced=None if asked is None else self._vector(asked),
            floor=question.floor,
            explain=question.explain,
            nearby=nearby,
            weights=question.weights,
            whole=question.whole,
        )
        hits = self._hits(reader, matches, question, exact=nearby is None or not nearby.used)
        if question.diversity == 0.0:
            return hits
        by_vectors = vector is not None and min(lexical_weights(shards), default=1.0) < 1.0
        vectors = reader.vectors([hit.record.id for hit in hits]) if by_vectors else {}
        return diversified(hits, vectors, question.k, question.diversity)

    def _shard(self, reader: Reader, namespace: Namespace) -> Shard:
        """Return the namespace's shard, caught up; an empty one is not kept."""
        self._asked.append(namespace)
        shard = self._shards.get(namespace) or Shard(
            namespace,
            dimension=self._embedder.dimension,
            preset=self._preset,
            lexical_weight=self._lexical_weight,
            measured=self._preset.lexical_weight is None,
        )
        shard.follow(reader)
        if len(shard):
            self._shards[namespace] = shard
            self._shards.move_to_end(namespace)
        else:
            self._shards.pop(namespace, None)
        return shard

    def _hits(self, reader: Reader, matches: Sequence[Match], question: Question, exact: bool) -> list[Hit]:
        records = reader.get([match.id for match in matches])
        keys = keys_of(question.filter.condition)
        return [
            Hit(
                record=unswept(record),
                rank=match.rank,
                relevance=match.relevance,
                retention=match.retention,
                tier=match.tier,
                explanation=match.explanation and replace(match.explanation, held=_held(record, keys)),
                exact=exact,
            )
            for match, record in zip(matches, records, strict=True)
            if record is not None and not is_expired(record, question.now)
        ]


def _held(record: Record, keys: Iterable[str]) -> dict[str, Any]:
    """Return what a record holds under these keys of a filter."""
    found = {key: held(record.metadata, key) for key in sorted(keys)}
    return {key: value for key, value in found.items() if value is not ABSENT}
