"""Approximate recall: a derived index says which rows may be near by vector, and only these are scored.

What is approximate is the choice of rows, nothing else: of the rows chosen, every number is computed as in an exact
search, from the truth. Chosen are the rows that the index holds near the question, the best of those that share words
with it, those that could still win if no other row were nearer than the index says (the threshold algorithm of Fagin,
Lotem and Naor, 2001), and those that changed after the `seq` that the index has reached. With an index that is never
wrong the answer would be exact. Nothing that was deleted, put away or changed is answered as the index has it. Where
choosing is of no use, or would leave fewer hits than were asked for, a namespace is searched exactly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from statistics import fmean, median

import numpy as np

from mars.memory.bounds import largest
from mars.memory.columns import Ids
from mars.memory.following import Follower
from mars.memory.interfaces import Reader, Selection
from mars.memory.ranking import GATHER, Ranking, Rows
from mars.memory.records import Hit, Namespace, Status

__all__ = ["ApproximateRecall", "Asked", "Nearby", "sampled", "summary"]

WIDTH = 20
"""So many rows for each hit that is wanted are asked of the index."""

LEAST = 100
"""At least so many."""

NEWER = 2_000
"""With more rows than these that the index has not seen, a namespace is searched exactly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApproximateRecall:
    """How much of what an exact recall finds an approximate one finds too, measured on a sample of questions."""

    recall: float | None
    """Mean share, in [0, 1], of the exact k best that were found; over the questions that were answered approximately.
    None if there were none."""
    lowest: float | None
    """The smallest share of a question."""
    questions: int
    """Questions that were asked and have an exact answer."""
    approximate: int
    """How many of them were answered approximately; the others were answered exactly, for the reasons of
    `Memory.recall`."""
    k: int
    """The most hits of each."""
    seed: int
    """What the sample was drawn with."""
    exact_ms: float | None
    """Median time of the exact answers, in milliseconds."""
    approximate_ms: float | None
    """Median time of the approximate ones; their vectors and shards are at hand in both."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One question of the sample, answered in both ways."""

    exact: Sequence[Hit]
    near: Sequence[Hit]
    exact_seconds: float
    near_seconds: float

    @property
    def approximate(self) -> bool:
        """Whether an index chose the rows."""
        return not all(hit.exact for hit in self.near)

    @property
    def share(self) -> float:
        """The share of the exact hits that were found, in [0, 1]."""
        return len({hit.record.id for hit in self.exact} & {hit.record.id for hit in self.near}) / len(self.exact)


def summary(asked: Sequence[Asked], k: int, seed: int) -> ApproximateRecall:
    """Return what the sample shows. Questions without an exact hit show nothing."""
    answered = [each for each in asked if each.exact]
    near = [each for each in answered if each.approximate]
    shares = [each.share for each in near]
    return ApproximateRecall(
        recall=fmean(shares) if shares else None,
        lowest=min(shares, default=None),
        questions=len(answered),
        approximate=len(near),
        k=k,
        seed=seed,
        exact_ms=median(each.exact_seconds for each in near) * 1000.0 if near else None,
        approximate_ms=median(each.near_seconds for each in near) * 1000.0 if near else None,
    )


def sampled(reader: Reader, namespace: Namespace | None, count: int, seed: int) -> list[tuple[Namespace, str]]:
    """Return namespaces and texts of about `count` active records, drawn by `seq` with this seed; fewer if few."""
    head = reader.head()
    active = Selection(namespace=namespace, statuses=frozenset({Status.ACTIVE}), limit=1)
    drawn = Random(seed).sample(range(head), min(count, head))
    found = [each for after in drawn for each in reader.select(replace(active, after_seq=after))]
    return list({each.id: (each.namespace, each.text) for each in found}.values())


class Nearby:
    """Chooses the rows of each shard that one approximate search scores, within one view of the truth."""

    def __init__(self, follower: Follower, reader: Reader, reached: int) -> None:
        """Ask the index of `follower`, which has `reached` this `seq`; `reader` is the view of the search."""
        self._follower = follower
        self._reader = reader
        self._reached = reached
        self.used = False
        """Whether rows of any shard were left out."""

    def rows(
        self, namespace: Namespace, known: Ids, ranking: Ranking, best: float, k: int, floor: float
    ) -> Rows | None:
        """Return the numbers of the rows to score, ascending; None where all of them are to be searched exactly."""
        eligible = int(np.count_nonzero(ranking.eligible))
        if not ranking.queries or not eligible or k == 0 or self._reached > self._reader.head():
            return None
        # The index knows nothing of filters: the fewer rows pass, the more have to be asked for.
        width = math.ceil(max(LEAST, WIDTH * k) * known.alive / eligible)
        newer = self._newer(namespace)
        if newer is None or width * GATHER > known.alive:
            return None
        ids, nearest = set(newer), -1.0
        for query in ranking.queries:
            near = self._follower.candidates(namespace, query, width)
            if not near:
                return None
            ids.update(one for one, _ in near)
            nearest = max(nearest, min(cosine for _, cosine in near))
        named = np.fromiter((row for row in map(known.row, ids) if row is not None), np.int64)
        chosen = np.union1d(named, largest(ranking.words * ranking.ceiling, 2 * k))
        left = ranking.contenders(chosen, best, k, floor, nearest)
        return None if left is None or len(left) * GATHER > known.alive else left

    def _newer(self, namespace: Namespace) -> list[str] | None:
        """Return the ids of the records that changed since the index, None if they are too many."""
        selection = Selection(namespace=namespace, after_seq=self._reached, limit=NEWER + 1)
        found = self._reader.select(selection) if self._reached < self._reader.head() else []
        return None if len(found) > NEWER else [each.id for each in found]
