"""How far the vectors of a namespace bear out its words, and what they say beyond them: their share of the fusion.

Texts that share rare words tend to be about the same thing, and a good embedder puts them nearer to each other than to
others. So the cosines of a sample's pairs are correlated with their idf-weighted overlap of words, and the same is done
with the vectors re-paired, which shows what chance gives: Mantel's test (1967) with cyclic shifts as permutations.
Random vectors agree with no words, constant ones do not vary, and both lose their say.

Hashed words agree best of all, but say nothing new. What an embedder knows of texts that share no word is spread over
its dimensions, so the cosines of such pairs agree between one half of the dimensions and the other; hashed features lie
in one dimension each, so theirs do not. That is the second factor, a split-half reliability (Spearman 1910).

The sample is the texts with the smallest hashes. It depends on what the namespace holds and on nothing else: not on
the order of writing, the backend or a reload. docs/design/0003-recall.md says how the constants were chosen.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from mars.language import terms
from mars.memory.fusion import Floats
from mars.memory.loading import Loaded
from mars.memory.records import Vector
from mars.memory.terms import encode, hashes

Word = TypeVar("Word", str, int)
"""A word, or its hash."""

Rows = npt.NDArray[np.int64]
"""Numbers of texts, shape ``[pairs]``."""

SAMPLE = 128
"""So many texts are compared."""

SPARE = 128
"""So many more are kept, for when others are removed."""

SHIFTS = 16
"""So many times the vectors are re-paired."""

ERRORS = 3.0
"""So many standard errors of chance are taken off a correlation."""

FULL = 0.3
"""Correlations this far beyond chance earn the vectors their whole declared share."""

ENOUGH = 300.0
"""So many pairs decide alone; with fewer, the embedder's own word counts for the rest."""

CONSTANT = 1e-6
"""Cosines that differ by less than this tell nothing."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """What one sample says."""

    related: float = 0.0
    """Pairs of texts with a word in common."""
    correlation: float = 0.0
    """Of the cosines with the overlap of words, over all pairs, in [-1, 1]."""
    error: float = 0.0
    """Its standard error if the vectors meant nothing."""
    apart: float = 0.0
    """Pairs of texts without a word in common."""
    reliability: float = 0.0
    """Of these pairs: correlation of the cosines by one half of the dimensions with those by the other, in [-1, 1]."""


UNKNOWN = Agreement()
"""Of a sample without pairs that tell anything."""

WORTHLESS = Agreement(related=ENOUGH)
"""Of vectors that do not tell texts apart."""


def vector_share(parts: Sequence[Agreement]) -> float:
    """Return the part of the vectors' declared share that is borne out by these samples together, in [0, 1].

    1 where nothing is known yet, 0 where enough pairs show no more than chance.
    """
    related = math.fsum(part.related for part in parts)
    apart = math.fsum(part.apart for part in parts)
    share = 1.0
    if related > 0.0:
        correlation = math.fsum(part.related * part.correlation for part in parts) / related
        error = math.sqrt(math.fsum((part.related * part.error) ** 2 for part in parts)) / related
        share *= _borne_out(related, correlation, error)
    if apart > 0.0:
        reliability = math.fsum(part.apart * part.reliability for part in parts) / apart
        share *= _borne_out(apart, reliability, apart**-0.5)
    return round(share, 4)


def _borne_out(pairs: float, correlation: float, error: float) -> float:
    known = min(1.0, pairs / ENOUGH)
    return 1.0 - known + known * min(1.0, max(0.0, (correlation - ERRORS * error) / FULL))


@dataclass(slots=True)
class _Text:
    blob: bytes
    name: int
    """So many terms of the blob are the speaker's name."""
    rows: dict[str, int] = field(default_factory=dict)
    words: frozenset[int] | None = None

    def read(self) -> frozenset[int]:
        """Return the hashes of the words."""
        if self.words is None:
            self.words = frozenset(hashes(self.blob)[1][self.name :])
        return self.words


class Sample:
    """The texts of smallest hash among those it is told of. Not thread-safe; its owner holds a lock."""

    def __init__(self) -> None:
        self._texts: dict[str, _Text] = {}
        self._hash_of: dict[str, str] = {}
        self._largest = ""
        self._passed_over = False
        self._found: Agreement | None = None
        self._waiting: list[tuple[str, str, int, bytes, str | None]] = []

    @property
    def worn(self) -> bool:
        """Whether so many were removed that texts which were passed over belong into the sample: tell it all again."""
        return self._passed_over and len(self._texts) < SAMPLE

    def put(self, content_hash: str, name: str, row: int, text: str) -> None:
        """Note a text of this hash, the id of its record and where its vector lies, or that its vector has changed."""
        if content_hash in self._texts or not self._passed_over or content_hash <= self._largest:
            self._put(content_hash, name, row, encode(text), 0)

    def _put(self, content_hash: str, name: str, row: int, blob: bytes, own: int) -> None:
        held = self._texts.get(content_hash)
        if held is None:
            if self._passed_over and content_hash > self._largest:
                return
            held = self._texts[content_hash] = _Text(blob, own)
            self._largest = max(self._largest, content_hash)
            if len(self._texts) > SAMPLE + SPARE:
                for gone in self._texts.pop(self._largest).rows:
                    del self._hash_of[gone]
                self._largest, self._passed_over = max(self._texts), True
        held.rows[name] = row
        self._hash_of[name] = content_hash
        self._found = None

    def load(self, start: int, part: Loaded, counts: Sequence[bool]) -> None:
        """Look through many rows, numbered from `start`, for those that belong in the sample; `settle` notes them."""
        places = range(start, start + len(part))
        told = zip(part.content_hash, part.id, places, part.blobs(), part.speaker, counts, strict=True)
        if self._passed_over:
            self._waiting += [one[:5] for one in told if one[5] and one[0] <= self._largest]
        else:
            self._waiting += [one[:5] for one in told if one[5]]
        if len(self._waiting) > 4 * (SAMPLE + SPARE):
            self._narrow()

    def _narrow(self) -> None:
        least = sorted(set(map(itemgetter(0), self._waiting)))
        if len(least) > SAMPLE + SPARE:
            self._largest, self._passed_over = least[SAMPLE + SPARE - 1], True
            self._waiting = [one for one in self._waiting if one[0] <= self._largest]

    def settle(self) -> None:
        """Note what `load` has found."""
        self._narrow()
        for content_hash, name, row, blob, speaker in self._waiting:
            self._put(content_hash, name, row, blob, len(terms(speaker)) if speaker else 0)
        self._waiting.clear()

    def hash_of(self, name: str) -> str:
        """Return the hash under which a record is in the sample, "" if it is not."""
        return self._hash_of.get(name, "")

    def drop(self, content_hash: str, name: str) -> None:
        """Forget a record; one that is not in the sample is ignored."""
        held = self._texts.get(content_hash)
        if held is None or held.rows.pop(name, None) is None:
            return
        del self._hash_of[name]
        self._found = None
        if not held.rows:
            del self._texts[content_hash]

    def agreement(self, matrix: Vector) -> Agreement:
        """Compare the sample's texts that have a vector; `matrix` has shape ``[n, d]``, zero where there is none."""
        if self._found is None:
            chosen, rows = list[frozenset[int]](), list[int]()
            for content_hash in sorted(self._texts):
                held = self._texts[content_hash]
                row = held.rows[min(held.rows)]
                if len(chosen) < SAMPLE and matrix[row].any():
                    chosen.append(held.read())
                    rows.append(row)
            self._found = agreement(chosen, matrix[rows])
        return self._found


def agreement(texts: Sequence[frozenset[Word]], vectors: Vector) -> Agreement:
    """Return how far the cosines of these vectors, shape ``[n, d]``, agree with the words that the texts share.

    The order of the texts must have nothing to do with what they say, for a shift of it must re-pair them at random.
    """
    size = len(texts)
    if size < 2:
        return UNKNOWN
    wide = vectors.astype(np.float64)
    cosines = wide @ wide.T
    first, second = np.triu_indices(size, 1)
    near = cosines[first, second]
    if near.min() >= 1.0 - CONSTANT or (size > 2 and near.max() - near.min() < CONSTANT):
        return WORTHLESS
    shared = overlaps(texts)
    overlap = shared[first, second]
    apart = np.flatnonzero(overlap == 0.0)
    reliability = _reliability(wide, first[apart], second[apart])
    told = {} if reliability is None else {"apart": float(len(apart)), "reliability": reliability}
    pairs, spread = len(overlap), float(overlap.std() * near.std())
    if len(apart) == pairs or spread < 1e-9:
        return Agreement(**told)
    chance, paired = float(overlap.mean() * near.mean()), np.tile(cosines, (2, 2))
    np.fill_diagonal(shared, 0.0)

    def correlation(shift: int) -> float:
        found = float((shared * paired[shift : shift + size, shift : shift + size]).sum()) / 2.0
        return (found / pairs - chance) / spread

    shifts = sorted({1 + step * (size - 1) // SHIFTS for step in range(SHIFTS)})
    error = math.sqrt(math.fsum(correlation(shift) ** 2 for shift in shifts) / len(shifts))
    return Agreement(float(pairs - len(apart)), correlation(0), max(error, pairs**-0.5), **told)


def _reliability(vectors: Floats, first: Rows, second: Rows) -> float | None:
    """Return how far the cosines of these pairs by even and by odd dimensions agree; None if that tells nothing."""
    halves = []
    for start in (0, 1):
        half = vectors[:, start::2]
        half = half / np.maximum(np.linalg.norm(half, axis=1, keepdims=True), 1e-12)
        near = (half @ half.T)[first, second]
        if len(near) < 2 or float(near.std()) < CONSTANT:
            return None
        halves.append((near - near.mean()) / near.std())
    return float(halves[0] @ halves[1]) / len(first)


def overlaps(texts: Sequence[frozenset[Word]]) -> Floats:
    """Return the cosines of the texts' idf-weighted sets of words, shape ``[n, n]``; rarity as among these texts."""
    size = len(texts)
    found = Counter(word for words in texts for word in words)
    rarity = {word: math.log(size / count) for word, count in found.items()}
    place = {word: at for at, word in enumerate(sorted(word for word, count in found.items() if count > 1))}
    weights = np.zeros((size, len(place)), np.float64)
    for row, words in enumerate(texts):
        length = math.sqrt(math.fsum(rarity[word] ** 2 for word in words)) or 1.0
        for word in words:
            if word in place:
                weights[row, place[word]] = rarity[word] / length
    return np.asarray(weights @ weights.T)
