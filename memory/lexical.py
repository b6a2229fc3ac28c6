"""The lexical arm of recall: BM25F over one namespace, with neighbours' words added at query time.

A row's postings hold its own terms only, so adding a row costs its own terms; a query spreads each term's counts to the
turns up to three places away in the same conversation, before saturation (BM25F: Robertson, Zaragoza and Taylor 2004).
A turn that ends in a question lends its words in full to the reply: "Where did you go?" - "To Rome." Dates are a field
of their own, matched by year, month, weekday and, beside a month, the day. docs/design/0003-recall.md says what each of
the constants below is worth, and how they were chosen.

Not thread-safe; its owner holds a lock.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from mars.language import query_terms, stem, words
from mars.language.dates import MONTHS, WEEKDAYS
from mars.memory.columns import Ids
from mars.memory.documents import Document as Document
from mars.memory.documents import Documents
from mars.memory.neighbours import BREVITY as BREVITY
from mars.memory.neighbours import K1 as K1
from mars.memory.neighbours import MOST, UNIT, Rows, Units
from mars.memory.neighbours import NEIGHBOURS as NEIGHBOURS
from mars.memory.neighbours import REPLY as REPLY
from mars.memory.neighbours import B as B
from mars.memory.passages import ENOUGH, passages
from mars.memory.postings import Integers, Numbers, Postings
from mars.memory.terms import term_hash

Reals = npt.NDArray[np.float32]
"""One number per row, shape ``[n]``, float32."""

BACKGROUND = 20
"""So many more rows without any of the words are imagined for `shares`: rarity means something in a small store too."""

SPEAKER_BOOST = 0.3
"""A row whose speaker the question names scores by this share more."""

QUESTION_PENALTY = 0.4
"""A row that only asks scores by this share less: questions are found by what they ask and answer nothing."""

SPARSE = 8
"""A term that is near to fewer than one in so many rows is scored where it is, another row by row."""

RARE = 64
"""A term that fewer than one in so many rows hold is spread from there; another over all rows, byte by byte."""

AROUND = 64
"""Where more than one in so many rows has changed, all are renewed: to find their neighbours takes longer."""

_NOWHERE, _NOTHING = np.zeros(0, np.int64), np.zeros(0, np.uint16)
_MONTH_TERMS = frozenset(map(stem, MONTHS))
_WEEKDAY_TERMS = frozenset(map(stem, WEEKDAYS))


@dataclass(frozen=True, slots=True)
class LexicalScores:
    """One query's scores of every row; arrays of shape ``[n]``, rows that were removed score 0."""

    scores: Reals
    """BM25F times the priors; 0 where no query term is near."""
    told: Mapping[str, np.float32]
    """Of each term that was found: its share of the query terms' idf mass."""
    idf: Mapping[str, float]
    """Inverse document frequency of each query term, found or not; a row counts where the term is near it."""
    near: Mapping[str, Units]
    """Of each term that was found: its weighted count in and around each row."""
    passages: Sequence[Mapping[str, np.float32]] = ()
    """Of each passage of a long request: what `told` is of the whole."""

    @property
    def shares(self) -> Reals:
        """Share of the query terms' idf mass that each row or a neighbour holds, in [0, 1].

        Of a long request, that of the passage of which most is held, if that is more.
        """
        return self.shares_of(np.arange(len(self.scores)))

    def shares_of(self, rows: npt.NDArray[np.int64]) -> Reals:
        """Return `shares` of these rows."""
        share = self._held(self.told, rows)
        for passage in self.passages:
            part = self._held(passage, rows)
            np.maximum(share, part, out=share, where=part >= ENOUGH)
        return np.minimum(share, np.float32(1.0))

    def _held(self, told: Mapping[str, np.float32], rows: npt.NDArray[np.int64]) -> Reals:
        parts = ((self.near[term][rows] > 0) * share for term, share in told.items())
        return sum(parts, np.zeros(len(rows), np.float32))

    def terms_of(self, row: int) -> dict[str, float]:
        """Return the idf of each query term that this row or a neighbour holds."""
        return {term: self.idf[term] for term, counts in self.near.items() if counts[row] > 0}


class LexicalIndex:
    """Postings of one namespace; rows are numbered from 0 by their owner.

    The number ``capacity`` (no row) ends each chain of neighbours, so that arrays need no special case.
    """

    def __init__(self, ids: Ids | None = None) -> None:
        """Start without any row; of an owner that keeps the ids of all rows by number, they are not kept again."""
        self._size = 0
        self._alive_count = 0
        self._postings = Postings()
        self._speakers = Postings()
        self._dates: dict[str, array[int]] = {}
        self._conversations = Numbers()
        self._talks: list[array[int]] = []
        self._names: Ids | list[str] = [] if ids is None else ids
        self._stale: set[int] = set()
        self._chained = True
        self._rows = Rows(64)

    def __len__(self) -> int:
        return self._alive_count

    def _allocate(self, capacity: int) -> None:
        grown = Rows(capacity)
        grown.take(self._rows, self._size)
        self._rows = grown

    def add(self, row: int, document: Document) -> None:
        """Index one row. A row is added once; its number is new and at most the number of rows ever added."""
        if row >= self._rows.capacity - 1:
            self._allocate(max(64, row + 2 + row // 2))
        self._size = max(self._size, row + 1)
        rows = self._rows
        for term, count in document.counts.items():
            self._postings.add(term, row, count)
        for name in document.speaker:
            self._speakers.add(name, row)
        for day in document.dates:
            self._dates.setdefault(day, array("I")).append(row)
        rows.alive[row] = 1.0
        rows.length[row] = sum(document.counts.values())
        rows.dates[row] = len(document.dates)
        rows.statement[row] = 1.0 - QUESTION_PENALTY * document.question_share
        rows.asks[row] = document.asks
        self._alive_count += 1
        rows.position[row], rows.time[row], own = document.place
        if isinstance(self._names, list):
            self._names += [""] * (row + 1 - len(self._names))
            self._names[row] = own
        if document.conversation is not None:
            self._link(row, document.conversation)
        self._stale.add(row)

    def load(self, documents: Documents) -> None:
        """Index many rows at once; the index must be empty."""
        size = documents.size
        self._allocate(max(64, size + 2))
        self._size = self._alive_count = size
        rows, self._names = self._rows, documents.ids
        words = documents.words()
        self._postings, self._speakers = words.terms, words.speakers
        self._dates, self._conversations = documents.dates, documents.conversations
        rows.alive[:size] = 1.0
        rows.length[:size], rows.dates[:size] = words.lengths, documents.dated
        rows.position[:size], rows.time[:size] = documents.positions, documents.times
        rows.statement[:size] = 1.0 - QUESTION_PENALTY * words.shares
        rows.asks[:size] = words.asks
        rows.talk[:size] = documents.talks
        self._chain(documents.order())
        self._stale.update(range(size))

    def _chain(self, order: npt.NDArray[np.int64]) -> None:
        """Make neighbours of the rows that follow each other in the same conversation."""
        rows = self._rows
        talks = rows.talk[order]
        starts = np.searchsorted(talks, np.arange(len(self._conversations) + 1)).tolist()
        self._talks = [array("q", order[start:end].tobytes()) for start, end in pairwise(starts)]
        same = talks[1:] == talks[:-1]
        before, after = order[:-1][same], order[1:][same]
        rows.next[before], rows.previous[after] = after, before
        self._chained = bool((after == before + 1).all())

    def _link(self, row: int, conversation: str) -> None:
        number = self._conversations[conversation]
        if number == len(self._talks):
            self._talks.append(array("q"))
        talk, at = self._talks[number], len(self._talks[number])
        if talk and self._place(row) < self._place(talk[-1]):
            at = bisect_left(talk, self._place(row), key=self._place)
        talk.insert(at, row)
        self._rows.talk[row] = number
        before = talk[at - 1] if at else -1
        after = talk[at + 1] if at + 1 < len(talk) else -1
        self._join(before, row)
        self._join(row, after)

    def _place(self, row: int) -> tuple[float, int, str, int]:
        return float(self._rows.position[row]), int(self._rows.time[row]), self._names[row], row

    def _join(self, before: int, after: int) -> None:
        if before >= 0:
            self._rows.next[before] = after
        if after >= 0:
            self._rows.previous[after] = before
        if before >= 0 and after >= 0 and after != before + 1:
            self._chained = False

    def remove(self, row: int) -> None:
        """Take a row out: it scores 0, lends nothing and counts nowhere. Its number is never given again."""
        self._rows.alive[row] = 0.0
        self._rows.length[row] = self._rows.dates[row] = 0.0
        self._alive_count -= 1
        if self._rows.talk[row] >= 0:
            talk = self._talks[self._rows.talk[row]]
            self._rows.talk[row] = -1
            del talk[bisect_left(talk, self._place(row), key=self._place)]
            before, after = int(self._rows.previous[row]), int(self._rows.next[row])
            self._join(before, after)
            if before < 0 <= after:
                self._rows.previous[after] = -1
            if after < 0 <= before:
                self._rows.next[before] = -1
            self._stale.update(each for each in (before, after) if each >= 0)
            self._rows.previous[row] = self._rows.next[row] = -1
        self._stale.add(row)

    def scores(self, query: str, whole: bool = False) -> LexicalScores:
        """Score every row for a question. A question without any term that is known scores 0 everywhere.

        With `whole`, the shares of a long request are those of all of it, whatever its passages say.
        """
        self._refresh()
        size, rows = self._size, self._rows
        asked = query_terms(query)
        dated = self._dated(asked)
        near = {term: found for term in asked if (found := self._near(term, term in dated)) is not None}
        total = np.zeros(size, np.float32)
        rows_with = {term: int(np.count_nonzero(near[term])) if term in near else 0 for term in asked}
        idf = {term: self._idf(count) for term, count in rows_with.items()}
        told = {term: self._idf(count, BACKGROUND) for term, count in rows_with.items()}
        part, below = np.empty(size, np.float32), np.empty(size, np.float32)
        for term, counts in near.items():
            factor = np.float32(idf[term] * (K1 + 1.0))
            if rows_with[term] * SPARSE < size:
                held = np.flatnonzero(counts != 0)
                few = counts[held].astype(np.float32)
                total[held] += few / (few + rows.norm[held]) * factor
                continue
            np.copyto(part, counts)
            np.add(part, rows.norm[:size], out=below)
            np.divide(part, below, out=part)
            part *= factor
            total += part
        total *= rows.prior[:size]
        self._boost_speakers(total, query)
        mass = sum(told.values())
        shares = {term: np.float32(told[term] / mass) for term in near}
        parts = () if whole else passages(query, told, near, self._idf(0, BACKGROUND))
        return LexicalScores(total, shares, idf, near, parts)

    def _idf(self, found: int, background: int = 0) -> float:
        return math.log1p((self._alive_count + background - found + 0.5) / (found + 0.5))

    def _dated(self, asked: Sequence[str]) -> frozenset[str]:
        """The query terms that are looked up among the dates; a bare number is a day only beside a month's name."""
        month = not _MONTH_TERMS.isdisjoint(asked)
        return frozenset(
            term
            for term in asked
            if term in _MONTH_TERMS or term in _WEEKDAY_TERMS or (term.isdecimal() and (month or len(term) == 4))
        )

    def _living(self, found: Integers) -> npt.NDArray[np.bool_] | slice:
        """Return which of these rows are there."""
        return slice(None) if self._alive_count == self._size else self._rows.alive[found] > 0.0

    def _near(self, term: str, dated: bool) -> Units | None:
        """The weighted counts of a term in and around each row, in units; None if no row holds it."""
        size, rows = self._size, self._rows
        posted, days = self._postings.find(term_hash(term)), self._dates.get(term) if dated else None
        if posted is None and days is None:
            return None
        found, counts = (_NOWHERE, _NOTHING) if posted is None else posted
        living = self._living(found)
        found, counts = found[living], counts[living]
        most = int(counts.max(initial=0)) * MOST + UNIT
        kind = np.uint8 if most < 1 << 8 else np.uint16 if most < 1 << 16 else np.uint32
        near: Units = np.zeros(rows.capacity, kind)
        if not self._conversations:
            near[found] = counts * kind(UNIT)
        elif self._chained and len(found) * RARE > size:
            near[found] = counts
            near = rows.spread_all(near, size)
        else:
            rows.spread(near, found, counts.astype(kind))
        if days is not None:
            told = np.array(days, np.int64)
            near[told[self._living(told)]] += UNIT
        return near[:size]

    def speakers_named(self, query: str) -> set[str]:
        """Return the words of a question that are words of a speaker's name, lower-cased."""
        said = {word.removesuffix("'s") for word in words(query)}
        return {word for word in said if self._speaks(word)}

    def _speaks(self, word: str) -> bool:
        """Tell whether a row that is there was said by somebody of this name."""
        told = self._speakers.find(term_hash(word))
        return told is not None and bool(self._rows.alive[told[0]].any())

    def _boost_speakers(self, total: Reals, query: str) -> None:
        named = self.speakers_named(query)
        if named:
            boosted = np.zeros(self._size, np.bool_)
            for word in named:
                told = self._speakers.find(term_hash(word))
                if told is not None:
                    boosted[told[0]] = True
            total[boosted] *= np.float32(1.0 + SPEAKER_BOOST)

    def _refresh(self) -> None:
        """Bring what depends on neighbours and means up to date with the rows that changed."""
        if not self._stale:
            return
        self._postings.compact()
        self._speakers.compact()
        rows, size = self._rows, self._size
        touched = np.fromiter(self._stale, dtype=np.int64, count=len(self._stale))
        if self._conversations:
            touched = np.arange(size) if len(touched) * AROUND > size else rows.around(touched)
            rows.relink(touched)
        rows.renew(touched, size, self._alive_count, linked=bool(self._conversations))
        self._stale.clear()
