"""The reader's method: the best lexically supported sentence, and the date that it names.

Pure functions of strings; the same prompt gives the same answer. Support is the share of the question's terms, weighted
by how rare they are among the passages, that a sentence holds; the rest of its passage and its speaker's name count
too. It knows no synonyms, does not reason over two passages and does not notice that one passage contradicts another:
that is the Checker's work.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time
from typing import NamedTuple

from mars.language import (
    QUESTION_WORDS,
    Granularity,
    ResolvedDate,
    query_terms,
    resolve_dates,
    sentences,
    stem,
    terms,
    words,
)
from mars.language.dates import MONTHS
from mars.models.prompt_parts import Lessons, Passage, Prompt

ENOUGH = 0.25
"""Support, in [0, 1], below which the answer is not known."""
CLEAR = 0.9
"""Support that a lesson to abstain still lets through."""
RELAXED = 0.2
"""Support that is enough for what a lesson asks to prefer."""

_BACKGROUND = 20
"""Imagined passages that hold none of the terms, so that rarity means something among few passages too."""
_REST, _ASIDE, _TYPED, _OWN, _ORDER = 0.6, 0.5, 0.3, 0.2, 0.05
"""Weights: a term elsewhere in the passage, a sentence that asks, one of the wanted type, own words, the order."""
_FORM_WORDS = frozenset(
    stem(word)
    for word in """
    kind type sort thing name many much long often time date day recent recently currently describe mention
    say said tell told share remember know does did
    """.split()
)
_FORM_WEIGHT = 0.3
_FIRST_PERSON = frozenset(("i", "me", "my", "mine", "myself", "we", "us", "our", "ours", "i'm", "i've", "i'll", "i'd"))
_AMOUNT = frozenset(("many", "much", "long", "often", "old"))
_NUMBER = re.compile(
    r"\b(?:\d[\d.,:]*|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|dozen|once|twice)\b", re.IGNORECASE
)
_PLACE = re.compile(r"\b(?:in|at|to|from|near|on)\s+(?:the\s+|a\s+|my\s+|our\s+)?[\w']+", re.IGNORECASE)
_NAME = re.compile(r"(?<=\s)[A-Z][a-z]+")
_BARE_DAY = re.compile(r"[a-z]{3,}\.?\s*(?:the\s+)?\d|\d(?:st|nd|rd|th)?\s+(?:of\s+)?[a-z]{3,}|day\b")
_PUT_ASIDE = re.compile(
    r"\b(?:instead\s+of|rather\s+than|not|no\s+longer|from)\s+(?:on\s+|the\s+|\w+day,?\s+)*$", re.IGNORECASE
)
_SEASONS = frozenset(("spring", "summer", "autumn", "fall", "winter"))
_PAST = frozenset(("did", "was", "were", "had", "has", "have"))
_ANCHORED = re.compile(r"\d{4}|\b(?:last|past|next|this|to|yester)|ago\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The answer that the passages support best."""

    words: str
    """A verbatim sentence, or the date that it states."""
    sentence: str
    """The verbatim sentence behind it."""
    ref: str
    """Ref of its passage; empty for plain text from a tool."""
    support: float
    """Lexical support, in [0, 1]."""
    day: date | None = None
    """The first day that the words name, for a question about time."""


class _Asked(NamedTuple):
    spoken: Sequence[str]
    word: str
    in_time: bool
    user: str
    wanted: Mapping[str, float]
    mass: float


class _Read(NamedTuple):
    passage: Passage
    terms: frozenset[str]
    speaker: frozenset[str]


class _Candidate(NamedTuple):
    passage: Passage
    sentence: str
    support: float
    score: float


def extract(prompt: Prompt) -> Found | None:
    """Return the best-supported answer, or None if nothing supports one well enough."""
    passages = [item for item in prompt.passages if item.ref not in prompt.lessons.avoid or not item.ref]
    named = {name: frozenset(terms(name)) for name in {item.speaker for item in passages}}
    read = [_Read(item, frozenset(terms(item.text)), named[item.speaker]) for item in passages]
    wanted = _term_weights(prompt.question, read)
    if not wanted:
        return None
    spoken = words(prompt.question)
    word = next((each for each in spoken if each in QUESTION_WORDS), "")
    asked = _Asked(spoken, word, _wants_time(spoken), prompt.user.casefold(), wanted, sum(wanted.values()))
    candidates = [each for place, item in enumerate(read) for each in _candidates(asked, item, place)]
    chosen = _chosen(candidates, prompt.lessons)
    return None if chosen is None else _answer(prompt.question, chosen)


def _chosen(candidates: Sequence[_Candidate], lessons: Lessons) -> _Candidate | None:
    """Return the best candidate; what a lesson prefers comes first, wherever it has some support."""
    preferred = [each for each in candidates if _preferred(each.passage, lessons)]
    enough = CLEAR if lessons.abstain else ENOUGH
    pools: list[tuple[Iterable[_Candidate], float]] = [(candidates, enough)]
    if len(preferred) < len(candidates):
        pools.insert(0, (preferred, CLEAR if lessons.abstain else RELAXED))
    for pool, least in pools:
        best = max((each for each in pool if each.support >= least), key=lambda each: each.score, default=None)
        if best is not None:
            return best
    return None


def _preferred(passage: Passage, lessons: Lessons) -> bool:
    if lessons.not_before and (passage.day is None or passage.day < lessons.not_before):
        return False
    return not lessons.speaker or passage.speaker.casefold() == lessons.speaker.casefold()


def _term_weights(question: str, read: Sequence[_Read]) -> dict[str, float]:
    """Return the question's terms with their rarity among the passages."""
    total, wanted = len(read) + _BACKGROUND, query_terms(question)
    held = {term: sum(term in item.terms or term in item.speaker for item in read) for term in wanted}
    return {
        term: math.log(1 + total / (held[term] + 1)) * (_FORM_WEIGHT if term in _FORM_WORDS else 1.0) for term in wanted
    }


def _candidates(asked: _Asked, read: _Read, place: int) -> Iterable[_Candidate]:
    item, wanted = read.passage, asked.wanted
    own_words = not _FIRST_PERSON.isdisjoint(asked.spoken) and item.speaker.casefold() == asked.user
    for sentence in sentences(item.text):
        own = (read.terms if sentence == item.text else frozenset(terms(sentence))) | read.speaker
        found = rest = 0.0
        for term, weight in wanted.items():
            if term in own:
                found += weight
            elif term in read.terms:
                rest += weight
        support = (found + _REST * rest) / asked.mass
        score = support * (_ASIDE if sentence.rstrip().endswith("?") else 1.0) + _ORDER / (1 + place)
        score += _TYPED * _has_wanted_type(asked, sentence, item) + _OWN * own_words
        yield _Candidate(item, sentence, support, score)


def _has_wanted_type(question: _Asked, sentence: str, item: Passage) -> bool:
    """Return whether a sentence holds the sort of thing that the question asks for."""
    spoken, asked = question.spoken, question.word
    if question.in_time:
        return bool(_dates(sentence, item))
    if asked == "how" and _AMOUNT.intersection(spoken):
        return bool(_NUMBER.search(sentence))
    if asked in ("who", "whom", "whose"):
        known = {*spoken, *words(item.speaker)}
        return any(name.lower() not in known for name in _NAME.findall(sentence))
    return asked == "where" and bool(_PLACE.search(sentence))


def _wants_time(spoken: Sequence[str]) -> bool:
    asked = next((place for place, word in enumerate(spoken) if word in QUESTION_WORDS), None)
    if asked is None:
        return False
    if spoken[asked] == "when":
        return True
    return spoken[asked] in ("what", "which") and bool(
        {"date", "day", "month", "year"}.intersection(spoken[asked + 1 : asked + 3])
    )


def _dates(sentence: str, item: Passage) -> list[ResolvedDate]:
    """Return the dates of a sentence; "Tuesday" right before "14 March" is part of that date."""
    found: list[ResolvedDate] = []
    for each in resolve_dates(sentence, datetime.combine(item.day or date(2000, 1, 1), time(12))):
        before = found[-1] if found else None
        if before and before.phrase.lower().endswith("day") and not sentence[before.span[1] : each.span[0]].strip(" ,"):
            start = before.span[0] + len(before.phrase) - len(before.phrase.split()[-1])
            found[-1] = replace(each, phrase=sentence[start : each.span[1]], span=(start, each.span[1]))
        else:
            found.append(each)
    return found


def _answer(question: str, chosen: _Candidate) -> Found:
    item, support = chosen.passage, min(chosen.support, 1.0)
    stated: tuple[str, date | None] | None = None
    if _wants_time(words(question)):
        stated = _stated_date(question, chosen)
    return Found(
        words=stated[0] if stated else chosen.sentence.strip(),
        sentence=chosen.sentence.strip(),
        ref=item.ref,
        support=support,
        day=stated[1] if stated else None,
    )


def _stated_date(question: str, chosen: _Candidate) -> tuple[str, date | None] | None:
    """Return the date that a sentence names, in words; for the past, the day it was said if it names none.

    Of several dates the first counts that is not put aside ("instead of the 14th", "not on Monday", "from 3 to 5 May").
    """
    item, past = chosen.passage, bool(_PAST.intersection(words(question)))
    found = _dates(chosen.sentence, item)
    kept = [each for each in found if not _PUT_ASIDE.search(chosen.sentence[: each.span[0]])] or found
    if not kept:
        return (in_words(item.day), item.day) if past and item.day else None
    first, given = kept[0], item.dates.get(kept[0].phrase, "")
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}", given) and _is_anchored(first, past):
        return in_words(date.fromisoformat(given)), date.fromisoformat(given)
    if item.day is None or not _is_anchored(first, past):
        return first.phrase.strip(" .,"), None
    return _in_words(first, item.day), first.start


def _is_anchored(found: ResolvedDate, past: bool) -> bool:
    """Return whether year and direction of a date are more than a guess, so that it may be stated in full."""
    phrase = found.phrase.lower()
    return past or not _BARE_DAY.search(phrase) or bool(_ANCHORED.search(phrase))


def _in_words(found: ResolvedDate, said: date) -> str:
    if found.granularity is Granularity.DAY:
        return in_words(found.start)
    if found.granularity is Granularity.MONTH:
        return f"{MONTHS[found.start.month - 1].capitalize()} {found.start.year}"
    if found.granularity is Granularity.YEAR:
        return str(found.start.year)
    if found.granularity is Granularity.SEASON:
        named = next((word for word in words(found.phrase) if word in _SEASONS), found.granularity.value)
        return f"{named} {found.end.year}"
    if 0 < (said - found.end).days <= 7:
        return f"the {found.granularity.value} before {in_words(said)}"
    return f"the {found.granularity.value} of {in_words(found.start)}"


def in_words(day: date) -> str:
    """Return a day as "7 May 2023"."""
    return f"{day.day} {MONTHS[day.month - 1].capitalize()} {day.year}"
