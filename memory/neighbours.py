"""Who is near whom in conversations, and what words near a row come to: the columns of the lexical index.

Weighted counts are whole numbers of units, so that any order of adding them gives the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mars.memory.postings import Integers

__all__ = ["BREVITY", "K1", "LENT", "MOST", "NEIGHBOURS", "REPLY", "SHIFTS", "UNIT", "B", "Rows", "Units"]

Units = npt.NDArray[np.unsignedinteger[Any]]
"""A weighted count of each row in units of 1/20, shape ``[n]``; as few bytes each as the largest needs."""

K1, B = 1.2, 0.75
"""BM25's saturation and length normalisation, at their textbook values."""

NEIGHBOURS = (0.6, 0.3, 0.15)
"""Weights of the words one, two and three turns away."""

REPLY = 1.0
"""Weight of a question's words in the turn after it, instead of the first of `NEIGHBOURS`."""

BREVITY = 0.2
"""A row of this share of the mean length scores half: "Thanks!" has words to find it by only from its neighbours."""

UNIT = 20
"""A word counts so many units: every weight above is a whole number of them, so that counts are summed exactly."""

SHIFTS = len(NEIGHBOURS)
"""So far do words reach."""

LENT = [round(weight * UNIT) for weight in NEIGHBOURS]
"""The same in units."""

MOST = UNIT + round(REPLY * UNIT) + sum(LENT[1:]) + sum(LENT)
"""What a word that every row within reach holds once comes to."""


class Rows:
    """The columns of the index; the row ``capacity - 1`` is nobody."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.alive = np.zeros(capacity, np.float32)
        self.length = np.zeros(capacity, np.float32)
        self.dates = np.zeros(capacity, np.float32)
        self.around_length = np.zeros(capacity, np.float32)
        self.statement = np.zeros(capacity, np.float32)
        self.asks = np.zeros(capacity, np.bool_)
        self.position = np.zeros(capacity, np.float64)
        self.time = np.zeros(capacity, np.int64)
        self.norm = np.ones(capacity, np.float32)
        self.prior = np.zeros(capacity, np.float32)
        self.talk = np.full(capacity, -1, np.int32)
        self.next = np.full(capacity, -1, np.int32)
        self.previous = np.full(capacity, -1, np.int32)
        self.borrowed = np.zeros((2 * SHIFTS, capacity), np.uint8)

    def take(self, other: Rows, size: int) -> None:
        """Copy the first `size` rows of another set of columns."""
        for name, column in vars(other).items():
            if name != "capacity":
                getattr(self, name)[..., :size] = column[..., :size]

    def around(self, touched: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """These rows and all within reach of them, each once."""
        reached = [touched]
        for links in (self.next, self.previous):
            front = touched
            for _ in range(SHIFTS):
                front = links[front].astype(np.int64)
                front = front[front >= 0]
                reached.append(front)
        return np.unique(np.concatenate(reached))

    def relink(self, touched: npt.NDArray[np.int64]) -> None:
        """Find how many units of each of their words these rows borrow from those before them and after them."""
        for offset, links in ((0, self.previous), (SHIFTS, self.next)):
            front: npt.NDArray[np.integer[Any]] = touched
            for step, lent in enumerate(LENT):
                front = links[front]
                self.borrowed[offset + step, touched] = np.where(front < 0, 0, lent)
        before = self.previous[touched]
        replies = touched[(before >= 0) & self.asks[before]]
        self.borrowed[0, replies] = round(REPLY * UNIT)

    def spread(self, near: Units, found: Integers, counts: Units) -> None:
        """Add the counts of a rare term in these rows to what is near them; nobody's may come to anything."""
        near[found] += counts * near.dtype.type(UNIT)
        for lent, links in ((0, self.next), (SHIFTS, self.previous)):
            front: npt.NDArray[np.integer[Any]] = found
            for step in range(SHIFTS):
                front = links[front]
                near[front] += self.borrowed[lent + step, front] * counts

    def spread_all(self, own: Units, size: int) -> Units:
        """Return what is near to each row of a frequent term, when all neighbours have neighbouring numbers."""
        near = own * own.dtype.type(UNIT)
        part = np.empty_like(own)
        for step in range(1, min(SHIFTS, size - 1) + 1):
            later, earlier = slice(step, size), slice(0, size - step)
            for offset, to, source in ((0, later, earlier), (SHIFTS, earlier, later)):
                lent = self.borrowed[offset + step - 1, to]
                near[to] += np.multiply(own[source], lent, out=part[to])
        return near

    def renew(self, touched: npt.NDArray[np.int64], size: int, living: int, linked: bool = True) -> None:
        """Recompute lengths around these rows, then the norms and priors of all, which depend on the means.

        Where no row has ever had a neighbour, none is `linked`.
        """
        around = self.length[touched] + self.dates[touched]
        for offset, links in ((0, self.previous), (SHIFTS, self.next)) if linked else ():
            front: npt.NDArray[np.integer[Any]] = touched
            for step in range(offset, offset + SHIFTS):
                front = links[front]
                around += self.borrowed[step, touched] * self.length[front] / np.float32(UNIT)
        self.around_length[touched] = around
        length = self.length[:size]
        count = max(1, living)
        mean_around = max(float(self.around_length[:size].sum(dtype=np.float64)) / count, 1e-9)
        mean = float(length.sum(dtype=np.float64)) / count
        self.norm[:size] = UNIT * K1 * (1.0 - B + B * self.around_length[:size] / mean_around)
        self.prior[:size] = (
            self.statement[:size] * length / np.maximum(length + BREVITY * mean, 1e-9) * self.alive[:size]
        )
