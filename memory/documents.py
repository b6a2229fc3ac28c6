"""What the lexical index needs to know of a row, read from one record or from many at once."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from math import inf

import numpy as np
import numpy.typing as npt

from mars.language import lexical_date_terms, stem
from mars.memory.columns import Ids
from mars.memory.lifecycle import REVIEW_REASON
from mars.memory.loading import Loaded
from mars.memory.postings import Gathered, Integers, Numbers, Postings
from mars.memory.records import Status
from mars.memory.terms import ASKS, EMPTY, HEAD_WORDS, encode, hashes, head

__all__ = ["Document", "Documents", "Place", "Words", "which_count", "words_count"]

Place = tuple[float, int, str]
"""Position in a conversation (infinite if unknown), then the time said in microseconds, then the id: a total order."""

Reals = npt.NDArray[np.float64]

_ARCHIVED, _QUARANTINED = Status.ARCHIVED.value, Status.QUARANTINED.value
_WORD = 8
_NONE = np.zeros(0, np.int64)
_DAY = 86_400_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def which_count(part: Loaded) -> Sequence[bool]:
    """Tell of which rows the words take part."""
    if _ARCHIVED in part.status or _QUARANTINED in part.status:
        return list(map(words_count, part.status, part.archived_because))
    return [True] * len(part)


def words_count(status: str, archived_because: str | None) -> bool:
    """Tell whether a record's words take part: not before its review, and not after one that it failed."""
    if status == _ARCHIVED:
        return archived_because != REVIEW_REASON
    return status != _QUARANTINED


@dataclass(frozen=True, slots=True)
class Document:
    """What the index needs to know of one row."""

    counts: Mapping[int, int]
    """How often each stemmed term, by its hash, occurs in the text and the speaker's name."""
    dates: tuple[str, ...] = ()
    """Stemmed year, month, day and weekday."""
    speaker: tuple[int, ...] = ()
    """Hashes of the words of the speaker's name, lower-cased, as a question would use them."""
    asks: bool = False
    """Whether the text ends in a question."""
    question_share: float = 0.0
    """Share of its sentences that are questions, in [0, 1]."""
    conversation: str | None = None
    """Rows of one conversation are neighbours, in the order of `place`; None for none."""
    place: Place = (0.0, 0, "")
    """Where in the conversation."""

    @classmethod
    def of(
        cls,
        text: str,
        *,
        speaker: str | None = None,
        said_at: datetime | None = None,
        conversation: str | None = None,
        place: Place = (0.0, 0, ""),
    ) -> Document:
        """Read a record's text; the speaker's name counts as part of it."""
        blob = encode(text, speaker)
        _, bits, _, asked, said = head(blob)
        name, found = hashes(blob)
        return cls(
            counts=Counter(found),
            dates=() if said_at is None else _date_terms(said_at.year, said_at.month, said_at.day),
            speaker=tuple(name),
            asks=bool(bits & ASKS),
            question_share=asked / said if said else 0.0,
            conversation=conversation,
            place=place,
        )


@lru_cache(maxsize=4096)
def _date_terms(year: int, month: int, day: int) -> tuple[str, ...]:
    return tuple(map(stem, lexical_date_terms(datetime(year, month, day))))  # noqa: DTZ001 - a calendar day has no zone


@dataclass(frozen=True, slots=True)
class Words:
    """What the blobs of many rows hold, numbered from 0."""

    terms: Postings
    """The rows of each term."""
    speakers: Postings
    """The rows of each word of a speaker's name."""
    lengths: Integers
    """How many terms each row has, shape ``[n]``."""
    asks: npt.NDArray[np.bool_]
    """Whether each row ends in a question, shape ``[n]``."""
    shares: Reals
    """Share of each row's sentences that are questions, in [0, 1], shape ``[n]``."""

    @classmethod
    def of(cls, parts: Sequence[tuple[bytes, Integers]]) -> Words:
        """Read blobs, part by part: those of a part lie one after the other and are of so many bytes each."""
        most = sum(len(blobs) for blobs, _ in parts) // _WORD
        terms, names = Gathered(most), Gathered(0)
        lengths, asks, shares, start = [_NONE], [_NONE > 0], [np.zeros(0)], 0
        for blobs, sizes in parts:
            joined, sizes = np.frombuffer(blobs, "<u8"), sizes // _WORD
            starts = np.cumsum(sizes) - sizes
            first, said = joined[starts], joined[starts + 1]
            named = np.minimum((first >> np.uint64(16) & np.uint64(0xFFFF)).astype(np.int64), sizes - HEAD_WORDS)
            rows = np.repeat(np.arange(start, start + len(sizes), dtype=np.uint32), sizes)
            spoken, plain = _runs(starts + HEAD_WORDS, named), np.ones(len(joined), np.bool_)
            plain[starts] = plain[starts + 1] = plain[spoken] = False
            terms.add(joined[plain], rows[plain])
            names.add(joined[spoken], rows[spoken])
            lengths.append(sizes - HEAD_WORDS - named)
            asks.append((first >> np.uint64(8) & np.uint64(ASKS)).astype(np.bool_))
            shares.append((first >> np.uint64(32)) / np.maximum(said, np.uint64(1)).astype(np.float64))
            start += len(sizes)
        return cls(
            terms=terms.postings(),
            speakers=names.postings(),
            lengths=np.concatenate(lengths),
            asks=np.concatenate(asks),
            shares=np.concatenate(shares),
        )


def _runs(starts: Integers, sizes: Integers) -> Integers:
    """Return the places of runs of these sizes that start at these places."""
    within = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.repeat(starts, sizes) + within


class Documents:
    """What the index needs to know of many rows, numbered from 0."""

    def __init__(self, ids: Ids) -> None:
        """Start without any row; `ids` gets to know theirs."""
        self.ids = ids
        """Their ids."""
        self.size = 0
        """How many they are."""
        self.dates: dict[str, array[int]] = {}
        """The rows of each term of a date."""
        self.conversations = Numbers()
        """The number of each conversation."""
        self._blobs: list[tuple[bytes, Integers]] = []
        self._dated: list[Reals] = []
        self._talks: list[Integers] = []
        self._positions: list[Reals] = []
        self._times: list[Integers] = []

    def add(self, part: Loaded, counts: Sequence[bool]) -> None:
        """Take the next rows, and of which the words count."""
        start, blobs = self.size, part.blobs()
        self.size += len(part)
        if not all(counts):
            blobs = [blob if own else EMPTY for blob, own in zip(blobs, counts, strict=True)]
        self._blobs.append((b"".join(blobs), np.fromiter(map(len, blobs), np.int64, len(blobs))))
        self._date(start, part.event_time, counts)
        self._talks.append(self._numbered(part.conversation, counts))
        self._positions.append(np.array([inf if place is None else place for place in part.position], np.float64))
        self._times.append(np.array(part.event_time, np.int64))

    def words(self) -> Words:
        """Return what the rows say, and let go of their blobs."""
        found = Words.of(self._blobs)
        self._blobs.clear()
        return found

    @property
    def dated(self) -> Reals:
        """How many terms of a date each row has, shape ``[n]``."""
        return np.concatenate([np.zeros(0), *self._dated])

    @property
    def positions(self) -> Reals:
        """The place of each row in its conversation, shape ``[n]``."""
        return np.concatenate([np.zeros(0), *self._positions])

    @property
    def times(self) -> Integers:
        """When each row was said, in microseconds, shape ``[n]``."""
        return np.concatenate([np.zeros(0, np.int64), *self._times])

    @property
    def talks(self) -> Integers:
        """The number of each row's conversation in `conversations`, -1 for none, shape ``[n]``."""
        return np.concatenate([np.zeros(0, np.int64), *self._talks])

    def order(self) -> Integers:
        """Return the rows that are in conversations, by conversation and place."""
        positions, times, talks = self.positions, self.times, self.talks
        order = np.lexsort((times, positions, talks))[int((talks < 0).sum()) :]
        after, before = order[1:], order[:-1]
        tied = np.logical_and.reduce([part[after] == part[before] for part in (talks, positions, times)])
        for talk in sorted(set(talks[after[tied]].tolist())):  # `np.unique` would import masked arrays, for 30 ms
            start, end = np.searchsorted(talks[order], [talk, talk + 1]).tolist()
            members = order[start:end].tolist()
            order[start:end] = sorted(members, key=lambda row: (positions[row], times[row], self.ids[row]))
        return order

    def _numbered(self, talks: Sequence[str | None], counts: Sequence[bool]) -> Integers:
        known = self.conversations
        numbers = (known[talk] if talk is not None and own else -1 for talk, own in zip(talks, counts, strict=True))
        return np.fromiter(numbers, np.int64, len(talks))

    def _date(self, start: int, times: Sequence[int], counts: Sequence[bool]) -> None:
        days = np.array(times, np.int64) // _DAY
        own, sizes = np.array(counts, np.bool_), np.zeros(len(days))
        order = np.argsort(days, kind="stable")
        order = order[own[order]]
        for rows in np.split(order, np.flatnonzero(np.diff(days[order])) + 1) if len(order) else ():
            date = _EPOCH + timedelta(days=int(days[rows[0]]))
            named = _date_terms(date.year, date.month, date.day)
            sizes[rows] = len(named)
            packed = (rows + start).astype(np.uint32).tobytes()
            for term in named:
                self.dates.setdefault(term, array("I")).frombytes(packed)
        self._dated.append(sizes)
