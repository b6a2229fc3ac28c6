"""Whether two records say the same: near-duplicates, found exactly, and never where anything would be lost.

A text *covers* another if all words of the other stand in it in the same order, if what it adds changes no meaning, and
if the Jaccard index of their pairs of neighbouring words reaches a threshold. So "Well, I really like tea" covers "I
like tea.", and nothing that differs by a word is a duplicate: not "I don't like tea", "at 5" and "at 6", "Ann" and
"Anna", "polish" and "Polish" (case counts but at the start of a sentence). What may be added is never a negation, a
modal, a hedge, a condition, a number, a name, or a mark such as ``?`` and ``%``.

Records are near-duplicates if one text covers the other and they agree in namespace, kind, speaker, trust, subject,
relation and value; episodes, which are evidence, also in conversation, place in it and day. Records with keys never
are. All of it is a pure function of the two: no model, no vector, no threshold on a cosine.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from math import ceil
from typing import Any

from mars.memory.records import Kind, NewRecord, Record

PART = "index"
"""`Provenance.role` of a part of a key's value, which belongs to its whole."""

FILLERS = frozenset("oh um uh er erm hmm hey please really actually basically literally".split())
"""Words that say nothing anywhere."""

OPENERS = frozenset("well so yeah ok okay".split())
"""Words that say nothing at the start of a sentence."""

GUARDED = frozenset(
    """
    a no not never none nobody nothing neither nor nowhere without hardly barely scarcely rarely seldom few less least
    can could may might must shall should will would ought need let
    maybe perhaps possibly probably allegedly apparently supposedly almost nearly roughly about around
    if unless until till except but only although though however instead rather or than whether
    used formerly former once previously longer yet still already again anymore ex was were had did been
    said says say told tells thinks thought believes claims claimed heard wants wanted hopes hoped plans planned
    what when where who whom whose why how which
    all any some many much most half both every each more fewer enough another other
    before after since during ago later earlier next last now then today yesterday tomorrow tonight
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
    eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million billion dozen pair
    first second third fourth fifth twice thrice double
    i me my mine you your yours he him his she her hers it its we us our ours they them their theirs
    """.split()
)
"""Words whose addition may change what a text says."""

_APOSTROPHES = str.maketrans({"\u2019": "'", "\u2018": "'", "\u02bc": "'"})
_LEADING = "([{<\"'\u201c\u00ab*_"
_TRAILING = ".,;:!?)]}>\"'\u201d\u00bb\u3002\u3001*_\u2026"
_ENDS = frozenset(".!?:\u3002\u2026")
_PLAIN = re.compile(r"[^\W\d_]+(?:['-][^\W\d_]+)*")
_DASHES = frozenset("-\u2013\u2014")
_IRREGULAR = {"can't": "can not", "won't": "will not", "shan't": "shall not", "cannot": "can not", "i'm": "i am"}
_SHORT = (("n't", " not"), ("'re", " are"), ("'ve", " have"), ("'ll", " will"))
_DRAWN = frozenset({"span", "confidence"})


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a text, as it is compared."""

    folded: str
    """Without case."""
    exact: str
    """As it was written."""
    opens: bool
    """Whether it starts a sentence, where anything is written large."""

    def same(self, other: Word) -> bool:
        """Return whether two words are one: equal, but for the case at the start of a sentence."""
        return self.folded == other.folded and (self.opens or other.opens or self.exact == other.exact)

    @property
    def guarded(self) -> bool:
        """Whether its addition may change what a text says."""
        return self.folded in GUARDED or self.exact != self.folded or not _PLAIN.fullmatch(self.exact)


@dataclass(frozen=True, slots=True)
class Gist:
    """What a text is compared by."""

    words: tuple[Word, ...]
    """Its words in order, without fillers; a question mark is one."""
    shingles: frozenset[tuple[str, str]]
    """Pairs of neighbouring words, the two ends included."""

    @classmethod
    def of(cls, text: str) -> Gist:
        """Return the gist of a text; of one that has no words, the text itself."""
        spoken = tuple(_words(text)) or (Word(text.strip(), text.strip(), False),)
        folded = ["", *(word.folded for word in spoken), ""]
        return cls(spoken, frozenset(pairwise(folded)))

    def likeness(self, other: Gist) -> float:
        """Return the Jaccard index of the shingles, in [0, 1]."""
        shared = len(self.shingles & other.shingles)
        return shared / (len(self.shingles) + len(other.shingles) - shared)

    def covers(self, other: Gist, threshold: float) -> bool:
        """Return whether this text says all that the other says, and nothing that changes it; see the module."""
        least, most = len(other.shingles), len(self.shingles)
        if len(other.words) > len(self.words) or min(least, most) < threshold * max(least, most):
            return False
        return self.likeness(other) >= threshold and _harmless(self.words, other.words)


def _words(text: str) -> Iterator[Word]:
    opens = True
    for piece in unicodedata.normalize("NFKC", text.translate(_APOSTROPHES)).split():
        inner = piece.lstrip(_LEADING)
        bare = inner.rstrip(_TRAILING)
        tail = inner[len(bare) :]
        for exact in _spelled_out(bare or ("" if set(piece) <= _DASHES | set(_TRAILING) else piece)):
            folded = exact.casefold()
            plain = exact == folded or opens
            if not (plain and (folded in FILLERS or (opens and folded in OPENERS))):
                yield Word(folded, exact, opens)
                opens = False
        if "?" in tail:
            yield Word("?", "?", False)
        opens = opens or bool(_ENDS.intersection(tail))


def _spelled_out(word: str) -> Sequence[str]:
    """Return the words of a contraction; those of "'s" and "'d" may mean several things and stay."""
    folded = word.casefold()
    if folded in _IRREGULAR:
        return _cased(word, _IRREGULAR[folded])
    for ending, full in _SHORT:
        if folded.endswith(ending) and len(folded) > len(ending):
            return _cased(word, folded[: -len(ending)] + full)
    return [word] if word else []


def _cased(word: str, full: str) -> list[str]:
    first, *rest = full.split()
    return [word[: len(first)] if word[: len(first)].casefold() == first else first, *rest]


def _harmless(longer: Sequence[Word], shorter: Sequence[Word]) -> bool:
    """Return whether the shorter text stands in the longer one in order, and what is added is not guarded."""
    place = 0
    for word in longer:
        if place < len(shorter) and word.same(shorter[place]):
            place += 1
        elif word.guarded:
            return False
    return place == len(shorter)


def comparable(record: Record | NewRecord) -> bool:
    """Return whether a record can have duplicates at all: it has no key, and is no part of a key's value."""
    return record.key is None and record.provenance.role != PART


def matter(record: Record | NewRecord, at: datetime) -> Hashable:
    """Return what two near-duplicates have in common beside their texts; `at` is the event time."""
    fact = ((record.subject or "").casefold(), record.relation)
    episode = (record.conversation, at.date()) if record.kind is Kind.EPISODE else None
    return record.namespace, record.kind, (record.speaker or "").casefold(), record.source.trusted, fact, episode


def agree(kept: Record, other: Record | NewRecord) -> bool:
    """Return whether `kept` can stand for the other in what no text says: its value, place and time to live."""
    places = (kept.position, other.position)
    moved = kept.kind is Kind.EPISODE and None not in places and places[0] != places[1]
    outlives = kept.expires_at is None or (other.expires_at is not None and kept.expires_at >= other.expires_at)
    return outlives and not moved and _same_value(kept.value, other.value)


def _same_value(one: str | None, other: str | None) -> bool:
    if one is None or other is None:
        return one == other
    return Gist.of(one).covers(Gist.of(other), 1.0)


def conflict(kept: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether two metadata hold different values under one key; where a fact was read does not count."""
    return any(key in kept and kept[key] != value for key, value in other.items() if key not in _DRAWN)


@dataclass(frozen=True, slots=True, kw_only=True)
class DuplicateGroup:
    """Records that one of them can stand for."""

    keep: Record
    """Covers each of the others: pinned before unpinned, then the longest, the most used, the oldest."""
    others: tuple[Record, ...]
    """What `Memory.merge` may archive."""
    likeness: tuple[float, ...]
    """Jaccard index of each of the others and `keep`, in [0, 1]."""


def groups(records: Iterable[Record], threshold: float) -> list[DuplicateGroup]:
    """Return the groups of near-duplicates among active records, each record in at most one; exact.

    Pairs are found by prefix filtering (Chaudhuri et al. 2006): two sets whose Jaccard index is at least t share one of
    the ``n - ceil(t·n) + 1`` rarest of their n shingles.
    """
    matters: dict[Hashable, list[Record]] = {}
    for record in records:
        if comparable(record):
            matters.setdefault(matter(record, record.event_time), []).append(record)
    result = [group for rows in matters.values() if len(rows) > 1 for group in _groups(rows, threshold)]
    return sorted(result, key=lambda group: group.keep.id)


def _groups(rows: Sequence[Record], threshold: float) -> Iterator[DuplicateGroup]:
    gists = {row.id: Gist.of(row.text) for row in rows}
    near = _neighbours(gists, threshold)
    by_id = {row.id: row for row in rows}
    taken: set[str] = set()
    for keep in sorted(rows, key=lambda row: (not row.pinned, -len(gists[row.id].words), -row.uses, row.id)):
        if keep.id in taken:
            continue
        others = [
            by_id[one]
            for one in sorted(near.get(keep.id, ()))
            if one not in taken and agree(keep, by_id[one]) and gists[keep.id].covers(gists[one], threshold)
        ]
        if others:
            taken |= {keep.id, *(one.id for one in others)}
            likeness = tuple(gists[keep.id].likeness(gists[one.id]) for one in others)
            yield DuplicateGroup(keep=keep, others=tuple(others), likeness=likeness)


def _neighbours(gists: Mapping[str, Gist], threshold: float) -> dict[str, set[str]]:
    """Return for each text those that may reach the threshold with it."""
    counts = Counter(shingle for gist in gists.values() for shingle in gist.shingles)
    near: dict[str, set[str]] = {}
    holders: dict[tuple[str, str], list[str]] = {}
    for one, gist in gists.items():
        rarest = sorted(gist.shingles, key=lambda shingle: (counts[shingle], shingle))
        for shingle in rarest[: len(rarest) - ceil(threshold * len(rarest)) + 1]:
            for other in holders.setdefault(shingle, []):
                near.setdefault(one, set()).add(other)
                near.setdefault(other, set()).add(one)
            holders[shingle].append(one)
    return near
