"""Upper bounds on what a row can score, so that an exact search need not read every vector.

A few directions hold much of the length of real embeddings. With P their orthonormal rows, ``h = P x`` the head of a
row and ``r = x - Pᵀ h`` the rest, ``x · q = h · P q + r · q`` and, by Cauchy and Schwarz,
``r · q <= |r| |q - Pᵀ P q|``. The head is a sixth of the bytes, and what it rules out is never read: most rows where
vectors cluster, and, where all directions are alike, most of those in which no word was found.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mars.memory.curves import Floats
from mars.memory.fusion import Flags
from mars.memory.records import Vector

Reals = npt.NDArray[np.float32]
"""One number per row, shape ``[n]``, float32."""

SAMPLE = 4096
"""So many rows tell the directions."""

ROUNDS = 6
"""So many times the directions are refined."""

STRIDE = 16
"""One in so many rows is looked at to guess which bounds are large."""

CHUNK = 1024
"""So many rows are looked at or projected at a time: what is copied of them is soon given back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """When a shard bounds its rows instead of scoring each; the answers are the same."""

    least_rows: int = 4096
    """Below it every vector is read."""
    dimensions: int = 64
    """How many directions the head has."""
    captured: float = 0.1
    """The share of the squared length that the head must hold to be worth its bytes."""
    slack: float = 1e-3
    """What single precision may err by in a bound, as `slack_of` scales it."""
    patience: int = 1
    """So many questions are answered without a head: a process that asks once does not wait for it."""
    small: int = 128
    """In a shard of so many rows or fewer, retentions and tiers are computed in full, and every row is scored."""
    exhaustive: bool = False
    """Whether to score every row in full, without bounds: for comparison."""

    def slack_of(self, dimension: int) -> np.float32:
        """Return what is added to a bound: more than all roundings of single precision in so many dimensions."""
        return np.float32(self.slack * (1.0 + dimension / 384.0))


BOUNDS = Bounds()
"""What is right for almost everybody."""

EXHAUSTIVE = Bounds(least_rows=sys.maxsize, small=0, exhaustive=True)
"""Every row in full."""


class Head:
    """The heads of a shard's rows; follows the matrix lazily."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._directions: Vector | None = None
        self._asked = 0
        self._fitted = 0
        self._known = 0
        self._dirty: set[int] = set()
        self._heads: Vector = np.zeros((0, 0), np.float32)
        self._rest: Reals = np.zeros(0, np.float32)

    @property
    def nbytes(self) -> int:
        """How many bytes the heads take."""
        return self._heads.nbytes + self._rest.nbytes

    def touch(self, row: int) -> None:
        """Note that a row's vector has changed."""
        if row < self._known:
            self._dirty.add(row)

    def upper(self, matrix: Vector, query: Vector) -> Reals | None:
        """Return a bound from above on each row's product with the query, shape ``[n]``; None if none is of use."""
        self._asked += 1
        if self._asked <= self._bounds.patience:
            return None
        self._follow(matrix)
        directions = self._directions
        if directions is None:
            return None
        head = directions @ query
        rest = float(np.linalg.norm(query.astype(np.float64) - directions.T.astype(np.float64) @ head))
        upper: Reals = self._heads[: len(matrix)] @ head
        upper += self._rest[: len(matrix)] * np.float32(rest)
        upper += self._bounds.slack_of(matrix.shape[1])
        return upper

    def _follow(self, matrix: Vector) -> None:
        size = len(matrix)
        if size >= max(self._bounds.least_rows, 2 * self._fitted) or (self._fitted and size < self._known):
            self._fit(matrix)
        if self._directions is None:
            return
        if size > len(self._rest):
            room = size * 9 // 8 if self._known else size
            heads, rest = np.zeros((room, len(self._directions)), np.float32), np.zeros(room, np.float32)
            heads[: self._known], rest[: self._known] = self._heads[: self._known], self._rest[: self._known]
            self._heads, self._rest = heads, rest
        for start in range(self._known, size, CHUNK):
            self._project(matrix, np.arange(start, min(start + CHUNK, size)))
        self._known = size
        if self._dirty:
            self._project(matrix, np.fromiter(self._dirty, np.int64, len(self._dirty)))
            self._dirty.clear()

    def _project(self, matrix: Vector, rows: npt.NDArray[np.int64]) -> None:
        assert self._directions is not None
        whole = matrix[rows]
        heads = whole @ self._directions.T
        self._heads[rows] = heads
        self._rest[rows] = np.linalg.norm(whole - heads @ self._directions, axis=1)

    def _fit(self, matrix: Vector) -> None:
        """Find the directions that hold most of the rows' length, by subspace iteration on a sample."""
        self._fitted, self._known, self._directions = len(matrix), 0, None
        self._dirty.clear()
        sample = matrix[:: max(1, len(matrix) // SAMPLE)]
        count = min(self._bounds.dimensions, matrix.shape[1])
        self._heads, self._rest = np.zeros((0, count), np.float32), np.zeros(0, np.float32)
        moments = np.zeros((matrix.shape[1], matrix.shape[1]))
        for start in range(0, len(sample), CHUNK):
            some = sample[start : start + CHUNK].astype(np.float64)
            moments += some.T @ some
        found: Any = np.random.default_rng(0).standard_normal((matrix.shape[1], count))
        for _ in range(ROUNDS):
            found = _orthonormal(moments @ found)
        total = float(np.trace(moments))
        if total > 0.0 and float(np.sum(found * (moments @ found))) >= self._bounds.captured * total:
            self._directions = np.ascontiguousarray(found.T, dtype=np.float32)


def _orthonormal(columns: Floats) -> Floats:
    """Return orthonormal columns that span the same, zero where a column adds nothing: Gram and Schmidt, twice.

    LAPACK's QR waits for threads of its own, for seconds where others use the processor.
    """
    made = np.zeros_like(columns)
    for place in range(columns.shape[1]):
        column = columns[:, place]
        length = float(np.linalg.norm(column))
        for _ in range(2):
            column = column - made[:, :place] @ (made[:, :place].T @ column)
        left = float(np.linalg.norm(column))
        if left > 1e-9 * length:
            made[:, place] = column / left
    return made


def room_for_error(threshold: float) -> np.float32:
    """Return what a bound in single precision must reach if the row may score `threshold`."""
    return np.float32(threshold * (1.0 - 1e-5) if threshold > 1e-30 else 0.0)


def largest(upper: Reals, count: int) -> npt.NDArray[np.int64]:
    """Return the numbers of about `count` rows with the largest bounds, guessed from every 16th row; at least one.

    Rows that are tied for the last place may be left out: whoever asks scores them later if they can win.
    """
    if count >= len(upper):
        return np.arange(len(upper))
    sample = upper[::STRIDE]
    place = len(sample) - min(len(sample), count // STRIDE + 4)
    chosen = np.flatnonzero(upper >= np.partition(sample, place)[place])
    if len(chosen) <= count:
        return chosen
    near = upper[chosen]
    least = np.partition(near, len(near) - count)[len(near) - count]
    return np.flatnonzero(upper >= least)[:count]


def joined(parts: Sequence[Reals], second: Flags) -> Reals:
    """Return the first of one or two arrays, with the second where the flags say so."""
    return parts[0] if len(parts) == 1 else np.where(second, parts[1], parts[0])
