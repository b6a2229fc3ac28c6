"""Approximate recall: a derived index says which rows may be near by vector, and only these are scored.

What is approximate is the choice of rows, nothing else: of the rows chosen, every number is computed as in an exact
search, from the truth. Chosen are the rows that the index holds near the question, the best of those that share words
with it, and those that changed after the `seq` that the index has reached. So nothing that was deleted, put away or
changed is answered as the index has it. Where choosing is of no use, or would leave fewer hits than were asked for, a
namespace is searched exactly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mars.memory.bounds import largest
from mars.memory.following import Follower
from mars.memory.interfaces import Reader, Selection
from mars.memory.ranking import GATHER, Ranking, Rows
from mars.memory.records import Namespace

__all__ = ["ApproximateRecall", "Nearby"]

WIDTH = 20
"""So many rows for each hit that is wanted are asked of the index, and as many taken by their words."""

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
    """Median time of the approximate ones."""


class Nearby:
    """Chooses the rows of each shard that one approximate search scores, within one view of the truth."""

    def __init__(self, follower: Follower, reader: Reader, reached: int) -> None:
        """Ask the index of `follower`, which has `reached` this `seq`; `reader` is the view of the search."""
        self._follower = follower
        self._reader = reader
        self._reached = reached
        self.used = False
        """Whether rows of any shard were left out."""

    def rows(self, namespace: Namespace, row_of: Mapping[str, int], ranking: Ranking, k: int) -> Rows | None:
        """Return the numbers of the rows to score, ascending; None where all of them are to be searched exactly."""
        eligible = int(np.count_nonzero(ranking.eligible))
        if not ranking.queries or not eligible or k == 0 or self._reached > self._reader.head():
            return None
        # The index knows nothing of filters: the fewer rows pass, the more have to be asked for.
        width = math.ceil(max(LEAST, WIDTH * k) * len(row_of) / eligible)
        newer = self._newer(namespace)
        if newer is None or width * GATHER > len(row_of):
            return None
        ids = set(newer)
        for query in ranking.queries:
            near = self._follower.candidates(namespace, query, width)
            if near is None:
                return None
            ids.update(near)
        named = np.fromiter((row_of[one] for one in ids if one in row_of), np.int64)
        worded = ranking.words * ranking.ceiling
        best = largest(worded, width)
        return np.unique(np.concatenate([named, best[worded[best] > 0.0]]))

    def _newer(self, namespace: Namespace) -> list[str] | None:
        """Return the ids of the records that changed since the index, None if they are too many."""
        selection = Selection(namespace=namespace, after_seq=self._reached, limit=NEWER + 1)
        found = self._reader.select(selection) if self._reached < self._reader.head() else []
        return None if len(found) > NEWER else [each.id for each in found]
