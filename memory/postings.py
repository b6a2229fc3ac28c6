"""Which rows hold which term: one flat array for what was there at first, and small ones for what came later."""

from __future__ import annotations

from array import array
from mmap import mmap

import numpy as np
import numpy.typing as npt

__all__ = ["TF_BITS", "TF_MASK", "Counts", "Gathered", "Hashes", "Integers", "Numbers", "Postings"]

TF_BITS = 12
"""A posting that came later is ``row << TF_BITS | count``."""

TF_MASK = (1 << TF_BITS) - 1
"""The largest count that is kept."""

PILE = 4096
"""So many postings may come later before they are put in order; then as many as there were before."""

PIECE_BITS = 17
"""About 2 to the power of so many terms are sorted at a time: what that takes is soon given back."""

Integers = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]
"""Hashes of terms as `mars.memory.terms` makes them, shape ``[n]``."""
Counts = npt.NDArray[np.uint16]
"""How often a term occurs in each of some rows, shape ``[n]``."""


class Numbers(dict[str, int]):
    """Numbers strings in the order in which they are first asked for."""

    def __missing__(self, key: str) -> int:
        number = self[key] = len(self)
        return number


class Gathered:
    """Terms and their rows, on their way to postings.

    They lie in memory of their own, which the system has back when this is let go; of the C library's heap, as much
    would be kept by the process.
    """

    def __init__(self, room: int) -> None:
        """Start without any, with room for so many terms."""
        self._size = 0
        self._make(room)

    def _make(self, room: int) -> None:
        self._hashes: Hashes = np.frombuffer(mmap(-1, max(1, room) * 8), np.uint64)
        self._rows = np.frombuffer(mmap(-1, max(1, room) * 4), np.uint32)

    def add(self, hashes: Hashes, rows: npt.NDArray[np.uint32]) -> None:
        """Take some terms and the row of each; rows ascend."""
        end = self._size + len(hashes)
        if end > len(self._hashes):
            kept = self._hashes[: self._size], self._rows[: self._size]
            self._make(2 * end)
            self._hashes[: self._size], self._rows[: self._size] = kept
        self._hashes[self._size : end], self._rows[self._size : end] = hashes, rows
        self._size = end

    def postings(self) -> Postings:
        """Return the rows of each term."""
        return Postings.of(self._hashes[: self._size], self._rows[: self._size])


class Postings:
    """The rows of each hashed term, in the order of their numbers if they are added so."""

    def __init__(self) -> None:
        """Start without any row."""
        self._hashes: Hashes = np.zeros(0, np.uint64)
        self._starts = np.zeros(1, np.int64)
        self._rows = np.zeros(0, np.uint32)
        self._counts: Counts = np.zeros(0, np.uint16)
        self._later: dict[int, array[int]] = {}
        self._added = 0

    @classmethod
    def of(cls, hashes: Hashes, rows: npt.NDArray[np.uint32]) -> Postings:
        """Return the postings of a sequence of terms, given the row of each; rows ascend."""
        made = cls()
        bits = max(0, len(hashes).bit_length() - PIECE_BITS)
        if not bits:
            pieces = [_sorted(hashes, rows)]
        else:
            piece_of = (hashes >> np.uint64(64 - bits)).astype(np.uint16)
            pieces = [_sorted(hashes[own], rows[own]) for own in (piece_of == at for at in range(1 << bits))]
        of, sizes, held, counts = (list(part) for part in zip(*pieces, strict=True))
        made._hashes, made._rows, made._counts = np.concatenate(of), np.concatenate(held), np.concatenate(counts)
        made._starts = np.cumsum(np.concatenate([np.zeros(1, np.int64), *sizes]))
        return made

    def add(self, term: int, row: int, count: int = 1) -> None:
        """Note that a row holds a term so often."""
        posted = self._later.get(term)
        posted = self._later.setdefault(term, array("q")) if posted is None else posted
        posted.append(row << TF_BITS | min(count, TF_MASK))
        self._added += 1

    def compact(self, least: int = PILE) -> None:
        """Put what came later into the flat array, once it is more than what lies there and more than `least`."""
        if self._added <= max(least, len(self._rows)):
            return
        sizes = [len(posted) for posted in self._later.values()]
        entries = np.concatenate([np.frombuffer(posted, np.int64) for posted in self._later.values()])
        known = np.repeat(self._hashes, np.diff(self._starts))
        hashes = np.concatenate([known, np.repeat(np.array(list(self._later), np.uint64), sizes)])
        rows = np.concatenate([self._rows, (entries >> TF_BITS).astype(np.uint32)])
        counts = np.concatenate([self._counts, (entries & TF_MASK).astype(np.uint16)])
        order = _order(hashes)
        hashes, self._rows, self._counts = hashes[order], rows[order], counts[order]
        heads = np.flatnonzero(np.diff(hashes, prepend=~hashes[:1]))
        self._hashes, self._starts = hashes[heads], np.append(heads, len(hashes))
        self._later.clear()
        self._added = 0

    def find(self, term: int) -> tuple[Integers, Counts] | None:
        """Return the rows of a term and how often each holds it; None if none ever did."""
        at, later = self._at(term), self._later.get(term)
        if at is None and later is None:
            return None
        parts: list[tuple[Integers, Counts]] = []
        if at is not None:
            start, end = self._starts[at : at + 2].tolist()
            parts.append((self._rows[start:end].astype(np.int64), self._counts[start:end]))
        if later is not None:
            entries = np.array(later, np.int64)
            parts.append((entries >> TF_BITS, (entries & TF_MASK).astype(np.uint16)))
        if len(parts) == 1:
            return parts[0]
        return np.concatenate([rows for rows, _ in parts]), np.concatenate([counts for _, counts in parts])

    def _at(self, term: int) -> int | None:
        if not len(self._hashes):
            return None
        at = int(np.searchsorted(self._hashes, np.uint64(term)))
        return at if at < len(self._hashes) and int(self._hashes[at]) == term else None


def _sorted(hashes: Hashes, rows: npt.NDArray[np.uint32]) -> tuple[Hashes, Integers, npt.NDArray[np.uint32], Counts]:
    """Return the distinct hashes in ascending order, how many rows each has, then the rows and counts of all."""
    order = _order(hashes)
    hashes, rows = hashes[order], rows[order]
    fresh = np.ones(len(hashes), np.bool_)
    np.not_equal(hashes[1:], hashes[:-1], out=fresh[1:])
    heads = np.flatnonzero(fresh)
    fresh[1:] |= rows[1:] != rows[:-1]
    first = np.flatnonzero(fresh)
    counts = np.minimum(np.diff(first, append=len(hashes)), TF_MASK).astype(np.uint16)
    sizes = np.diff(np.searchsorted(first, heads), append=len(first))
    return hashes[heads], sizes, rows[first], counts


def _order(hashes: Hashes) -> Integers:
    """Return what sorts the hashes, equal ones in their order.

    Whole numbers sort twice as fast as their places: the upper bits of a hash and the place make one number. Where two
    hashes differ in the lower bits alone, which they nearly never do, the places are sorted.
    """
    low = np.uint64(len(hashes).bit_length())
    keys = hashes >> low << low
    keys |= np.arange(len(hashes), dtype=np.uint64)
    keys.sort()
    order = (keys & ((np.uint64(1) << low) - np.uint64(1))).astype(np.int64)
    keys >>= low
    found = hashes[order]
    if np.array_equal(keys[1:] == keys[:-1], found[1:] == found[:-1]):
        return order
    return np.argsort(hashes, kind="stable")
