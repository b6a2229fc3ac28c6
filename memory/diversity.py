"""Hits that are not all alike: maximal marginal relevance over the best rows (Carbonell and Goldstein 1998).

Each next hit is the one of largest ``(1 - d) · rank / best rank - d · likeness``, where the likeness is the largest to
a hit that was chosen before. With d = 0 that is the order by rank. The choice is among the exact best `pool_size` rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from mars.language import query_terms
from mars.memory.fusion import Floats
from mars.memory.records import Hit, Record, Vector

POOL = 50
"""At least so many of the best rows are chosen from."""

FACTOR = 4
"""And at least so many for each hit that is wanted."""


def pool_size(k: int) -> int:
    """Return from how many of the best rows k hits are chosen."""
    return max(POOL, FACTOR * k) if k else 0


def likeness(records: Sequence[Record], vectors: Mapping[str, Vector]) -> Floats:
    """Return how alike each two records are, in [0, 1], shape ``[n, n]``.

    That is the cosine where both have one of the `vectors`, not below 0; else the share of their words that they have
    in common (Jaccard), stems without stop words.
    """
    words = [frozenset(query_terms(record.text)) for record in records]
    alike = np.eye(len(records))
    for row, left in enumerate(words):
        for column in range(row):
            either = len(left | words[column])
            alike[row, column] = alike[column, row] = len(left & words[column]) / either if either else 0.0
    known = [row for row, record in enumerate(records) if record.id in vectors and vectors[record.id].any()]
    if known:
        wide = np.array([vectors[records[row].id] for row in known], np.float64)
        alike[np.ix_(known, known)] = np.clip((wide[:, None, :] * wide[None, :, :]).sum(axis=2), 0.0, 1.0)
    return alike


def diverse(ranks: Sequence[float], alike: Floats, k: int, diversity: float) -> list[tuple[int, float]]:
    """Return the numbers of up to k rows in the order of choice, each with its likeness to those before it.

    `ranks` are given best first and not negative, `alike` has shape ``[n, n]``, `diversity` is d in [0, 1]. Ties go to
    the better rank.
    """
    left = list(range(len(ranks)))
    best = max(ranks, default=0.0) or 1.0
    repeated = np.zeros(len(ranks))
    chosen: list[tuple[int, float]] = []
    while left and len(chosen) < k:
        row = max(left, key=lambda at: ((1.0 - diversity) * ranks[at] / best - diversity * repeated[at], -at))
        left.remove(row)
        chosen.append((row, float(repeated[row])))
        repeated = np.maximum(repeated, alike[row])
    return chosen


def diversified(hits: Sequence[Hit], vectors: Mapping[str, Vector], k: int, diversity: float) -> list[Hit]:
    """Return up to k of these hits, which come best first, in the order of choice; explanations tell the likeness."""
    records = [hit.record for hit in hits]
    chosen = diverse([hit.rank for hit in hits], likeness(records, vectors), k, diversity)
    told = [(hits[row], alike) for row, alike in chosen]
    return [
        replace(hit, explanation=hit.explanation and replace(hit.explanation, likeness=alike)) for hit, alike in told
    ]
