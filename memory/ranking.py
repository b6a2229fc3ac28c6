"""One exact search of one shard: what can still win is found by bounds, and scored in full.

Every number of a hit is computed row by row in double precision, so that it does not depend on which other rows were
scored beside it: a search with bounds and one without give the same bits. Bounds are computed in single precision, with
more slack than it can err.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mars.memory.bounds import Bounds, Head, Reals, joined, largest, room_for_error
from mars.memory.columns import Columns, Ids
from mars.memory.curves import Floats
from mars.memory.fading import standings_of
from mars.memory.fusion import Flags, bounded, cosines, fusion, relevance, top
from mars.memory.lexical import LexicalScores
from mars.memory.presets import Preset
from mars.memory.records import Vector
from mars.memory.tiers import Codes

Rows = npt.NDArray[np.int64]
"""Numbers of rows, ascending."""

SEEDS = 32
"""So many rows are scored in full at first, beside two for each hit that is wanted."""

RELEVANCE_SLACK = 1e-5
"""More than single precision can err in a relevance."""

FEW = 128
"""So many rows or fewer are scored in full at once."""

BLOCK = 256
"""So many rows are read at a time."""

GATHER = 4
"""One in so many rows may be left before the whole matrix is read instead of those rows."""


@dataclass(frozen=True, slots=True)
class Exact:
    """Rows scored in full; arrays of shape ``[m]``, in the order of `rows`."""

    rows: Rows
    lexical: Floats
    cosine: Floats | None
    fused: Floats
    relevance: Floats
    retention: Floats
    tiers: Codes
    remembered: Floats
    mattering: Floats
    rank: Floats
    hits: Flags


@dataclass(slots=True, kw_only=True)
class Ranking:
    """All rows of one shard for one question; used while the shard's lock is held."""

    preset: Preset
    bounds: Bounds
    ids: Ids
    columns: Columns
    now: int
    """When it is asked, in microseconds."""
    eligible: Flags
    ceiling: Reals
    """Bound from above on each row's factors, 0 where it is not eligible."""
    lexical: LexicalScores
    words: Reals
    """Lexical scores, 0 where a row is not eligible."""
    matrix: Vector
    head: Head
    queries: tuple[Vector, ...]
    """The question's vector and perhaps that of the question in the first person; none for words alone."""
    weight: float
    known: tuple[Floats, Codes] | None = None
    """Retention and tier code of every row in full, where they are so few that this takes less than bounds on them."""

    def best(self) -> float:
        """The largest lexical score of a row that may be recalled."""
        return float(self.words.max(initial=0.0))

    def winners(self, best: float, k: int, floor: float) -> tuple[Exact, list[int]]:
        """Return rows scored in full, and which of them are the k best hits, in order."""
        size = len(self.words)
        if not self.eligible.any():
            return self._top(np.arange(0), best, k, floor)
        if self.bounds.exhaustive or k == 0:
            return self._top(np.arange(size if k else 0), best, k, floor)
        if self.known is not None:
            return self._top(np.arange(size) if self.queries else np.flatnonzero(self.words > 0.0), best, k, floor)
        if not self.queries:
            return self._choose(np.flatnonzero(self.words > 0.0), self._upper, best, k, floor)
        rows = None if size < self.bounds.least_rows else self._survivors(best, k, floor)
        if rows is None or len(rows) * GATHER > size:
            whole = self._upper(None, best, self._near(None))
            return self._choose(None, lambda _, __: whole, best, k, floor)
        if len(rows) <= FEW:
            return self._top(rows, best, k, floor)
        return self._choose(rows, lambda rows, best: self._upper(rows, best, self._near(rows)), best, k, floor)

    def contenders(self, rows: Rows, best: float, k: int, floor: float, cosine: float) -> Rows | None:
        """Return these rows and those that can still win if no other row has a cosine above `cosine`, ascending.

        None if there are fewer than k hits among these rows, so that nothing is ruled out.
        """
        scored = self.exact(rows, best, floor)
        found = np.sort(scored.rank[scored.hits])
        if len(found) < k:
            return None
        upper = self._upper(None, best, np.full(len(self.words), cosine, np.float32))
        return np.union1d(rows, np.flatnonzero(upper >= room_for_error(float(found[-k]))))

    def among(self, rows: Rows, best: float, k: int, floor: float) -> tuple[Exact, list[int]]:
        """Return these rows scored in full, and which of them are the k best hits, in order; the others are no hits."""
        return self._top(rows, best, k, floor)

    def _survivors(self, best: float, k: int, floor: float) -> Rows:
        """Return the rows that the head cannot rule out, or the cosine's limit of 1 where there is no head."""
        parts = [self.head.upper(self.matrix, query) for query in self.queries]
        heads = [part for part in parts if part is not None]
        limit = joined(heads, self.columns.spoken[: len(self.words)]) if heads else None
        upper = self._upper(None, best, limit)
        seeds = self.exact(largest(upper, 2 * k + SEEDS), best, floor)
        found = np.sort(seeds.rank[seeds.hits])
        return np.flatnonzero(upper >= room_for_error(float(found[-k]) if len(found) >= k else 0.0))

    def _near(self, rows: Rows | None) -> Reals:
        """Return bounds on the cosines that are off by no more than the slack; of all rows if None."""
        spoken = self.columns.spoken[: len(self.words)]
        if rows is None:
            near = joined([self.matrix @ query for query in self.queries], spoken)
        else:
            near = joined(_products(self.matrix, rows, self.queries), spoken[rows])
        near += self.bounds.slack_of(self.matrix.shape[1]) / np.float32(8.0)
        return near

    def _upper(self, rows: Rows | None, best: float, cosine: Reals | None = None) -> Reals:
        """Return bounds on the rank, given bounds on the cosine: 1 if None."""
        words = self.words if rows is None else self.words[rows]
        upper = words * np.float32((self.weight if self.queries else 1.0) / best if best > 0.0 else 0.0)
        if self.queries:
            share = np.float32(1.0 - self.weight)
            if cosine is None:
                upper += share * np.float32(1.0001)
            else:
                limit = np.minimum(np.maximum(cosine, np.float32(0.0), out=cosine), np.float32(1.0001), out=cosine)
                limit *= share
                upper += limit
        upper *= self.ceiling if rows is None else self.ceiling[rows]
        return upper

    def _choose(
        self, rows: Rows | None, bound: Callable[[Rows | None, float], Reals], best: float, k: int, floor: float
    ) -> tuple[Exact, list[int]]:
        """Score the likeliest of these rows, then all that can still win; more of them while there are too few hits."""
        upper = bound(rows, best)
        seeds, narrowed = 2 * k + SEEDS, False
        while seeds < len(upper):
            scored = self.exact(_numbers(rows, largest(upper, seeds)), best, floor)
            found = np.sort(scored.rank[scored.hits])
            if len(found) >= k:
                left = np.flatnonzero(upper >= room_for_error(float(found[-k])))
                return self._top(_numbers(rows, left), best, k, floor)
            if not narrowed:
                kept = np.flatnonzero(self._may_be_hits(rows, floor))
                rows, upper, narrowed = _numbers(rows, kept), upper[kept], True
            seeds *= 8
        return self._top(_numbers(rows, np.arange(len(upper))), best, k, floor)

    def _may_be_hits(self, rows: Rows | None, floor: float) -> Flags:
        """Return which of these rows a bound on their relevance does not rule out."""
        bound = self.lexical.shares_of(np.arange(len(self.words)) if rows is None else rows)
        if self.queries:
            bound *= np.float32(self.weight)
            bound += np.maximum(self._near(rows), np.float32(0.0)) * np.float32(1.0 - self.weight)
        return (bound > 0.0) & (bound >= floor - RELEVANCE_SLACK)

    def _top(self, rows: Rows, best: float, k: int, floor: float) -> tuple[Exact, list[int]]:
        scored = self.exact(rows, best, floor)
        return scored, top(scored.rank, scored.hits, [self.ids[row] for row in scored.rows.tolist()], k)

    def exact(self, rows: Rows, best: float, floor: float) -> Exact:
        """Score the eligible ones of these rows in full."""
        rows = rows[self.eligible[rows]]
        columns, preset, weight = self.columns, self.preset, self.weight
        if self.known is None:
            retention, tiers = standings_of(preset, columns, rows, self.now)
        else:
            retention, tiers = self.known[0][rows], self.known[1][rows]
        cosine = self._cosines(rows) if self.queries else None
        lexical = self.lexical.scores[rows].astype(np.float64)
        fused = fusion(lexical, cosine, weight, best)
        near = relevance(self.lexical.shares_of(rows).astype(np.float64), cosine, weight)
        remembered = bounded(retention, preset.retention_floor)
        mattering = bounded(columns.importance[rows], preset.importance_floor)
        return Exact(
            rows=rows,
            lexical=lexical,
            cosine=cosine,
            fused=fused,
            relevance=near,
            retention=retention,
            tiers=tiers,
            remembered=remembered,
            mattering=mattering,
            rank=fused * remembered * mattering * columns.trust[rows],
            hits=(near >= floor) & (fused > 0.0),
        )

    def _cosines(self, rows: Rows) -> Floats:
        found = [cosines(self.matrix, query, rows) for query in self.queries]
        return found[0] if len(found) == 1 else np.where(self.columns.spoken[rows], found[1], found[0])


def _products(matrix: Vector, rows: Rows, queries: Sequence[Vector]) -> list[Reals]:
    """Return the products of these rows with each query, in blocks that stay in the processor's cache."""
    found = [np.empty(len(rows), np.float32) for _ in queries]
    block = np.empty((BLOCK, matrix.shape[1]), np.float32)
    for start in range(0, len(rows), BLOCK):
        numbers = rows[start : start + BLOCK]
        part = np.take(matrix, numbers, axis=0, out=block[: len(numbers)], mode="clip")
        for query, out in zip(queries, found, strict=True):
            np.dot(part, query, out=out[start : start + BLOCK])
    return found


def _numbers(rows: Rows | None, chosen: Rows) -> Rows:
    """Return the numbers of the rows chosen among these; among all if None."""
    return chosen if rows is None else rows[chosen]
