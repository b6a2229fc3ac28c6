"""How one number orders the rows, and another says how good a hit is (memory.md §6). Pure functions of arrays.

``rank = fusion · retention_factor · importance_factor · trust`` orders and means nothing by itself; ``relevance`` in
[0, 1] has one meaning on every backend, and the floor applies to it before any decay. Scores are fused, not ranks:
reciprocal rank fusion flattens the lexical margins (LoCoMo R@10 .566 against .794).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mars.errors import InvalidSetting, InvalidVector
from mars.memory.records import Vector, check_share

Floats = npt.NDArray[np.float64]
"""One number per row, shape ``[n]``, float64."""

Flags = npt.NDArray[np.bool_]
"""One truth value per row, shape ``[n]``."""

CHUNK = 1024
"""So many rows are multiplied at a time."""


def cosines(matrix: Vector, query: Vector, rows: npt.NDArray[np.int64] | None = None) -> Floats:
    """Return the cosine of each row with the query, in [-1, 1]; both of unit length or zero.

    `matrix` has shape ``[n, d]``, `query` ``[d]``; the result ``[n]``, or one number for each of `rows`. Summed in
    double precision row by row, so that it does not depend on the other rows. Raises `InvalidVector` for another
    dimension.
    """
    if query.shape != matrix.shape[1:]:
        raise InvalidVector(f"the query's vector has shape {query.shape}; the rows have {matrix.shape[1]} dimensions")
    numbers = np.arange(len(matrix)) if rows is None else rows
    wide = query.astype(np.float64)
    found = np.empty(len(numbers), np.float64)
    for start in range(0, len(numbers), CHUNK):
        chunk = matrix[numbers[start : start + CHUNK]] * wide
        chunk.sum(axis=1, out=found[start : start + CHUNK])
    return np.clip(found, -1.0, 1.0, out=found)


def fusion(lexical: Floats, cosine: Floats | None, weight: float, best: float) -> Floats:
    """Return ``w · lexical / best + (1 - w) · max(cosine, 0)``, in [0, 1] where no lexical score exceeds `best`.

    `best` is the largest lexical score of all rows that may be recalled; where it is 0, so is the lexical part. Without
    cosines (None) the lexical part stands alone, whatever `weight` is: a missing arm must not halve the other.
    """
    check_share(weight, "the lexical weight")
    words = lexical / best if best > 0.0 else np.zeros_like(lexical)
    if cosine is None or weight == 1.0:
        return words
    return weight * words + (1.0 - weight) * np.maximum(cosine, 0.0)


def relevance(share: Floats, cosine: Floats | None, weight: float) -> Floats:
    """Return ``w · share + (1 - w) · max(cosine, 0)``, in [0, 1]: absolute, whatever else the store holds.

    `share` is the share of the query terms' idf mass that was found in and around each row.
    """
    check_share(weight, "the lexical weight")
    if cosine is None or weight == 1.0:
        return np.clip(share, 0.0, 1.0)
    return np.clip(weight * share + (1.0 - weight) * np.maximum(cosine, 0.0), 0.0, 1.0)


def bounded(share: Floats, floor: float) -> Floats:
    """Return ``floor + (1 - floor) · share``: a factor that can cost a row no more than ``1 - floor`` of its score.

    `share` is the retention or the importance of each row, in [0, 1]; a floor of 1 switches it off.
    """
    check_share(floor, "a floor")
    return floor + (1.0 - floor) * share


def top(rank: Floats, eligible: Flags, names: Sequence[str], k: int) -> list[int]:
    """Return the numbers of the k eligible rows of highest rank, best first; ties go to the smaller name.

    `names` holds one string per row (record ids, which are ordered by time). Exact: every row takes part. Raises
    `InvalidSetting` for a negative k.
    """
    if k < 0:
        raise InvalidSetting(f"k counts hits; got {k}")
    rows = np.flatnonzero(eligible)
    if k == 0 or not len(rows):
        return []
    if k < len(rows):
        last = np.partition(rank[rows], len(rows) - k)[len(rows) - k]
        rows = rows[rank[rows] >= last]
    return sorted(rows.tolist(), key=lambda row: (-rank[row], names[row]))[:k]
