"""How the Checker reads: terms and their weight, whom a sentence is about, what it says of time and number.

Pure functions of strings and `Evidence`. Nothing here is shared with the built-in reader: a check by the method that
made the draft would agree with it.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from functools import lru_cache

from mars.agents.interfaces import Evidence, Review, Task
from mars.agents.rendering import without_citations
from mars.language import query_terms, resolve_dates, sentences, stem, terms, words
from mars.language.dates import MONTHS

FIRST_PERSON = frozenset(
    (
        "i",
        "me",
        "my",
        "mine",
        "myself",
        "we",
        "us",
        "our",
        "ours",
        "i'm",
        "i've",
        "i'll",
        "i'd",
        "we're",
        "we've",
        "we'll",
    )
)
SECOND_PERSON = frozenset(("you", "your", "yours", "yourself", "you're", "you've", "you'll", "you'd"))
NEGATIONS = frozenset(
    ("not", "no", "never", "none", "nobody", "nothing", "neither", "nor", "without", "cannot", "hardly", "unable")
)
BACKGROUND = 20
"""Imagined records that hold none of a question's terms, so that rarity means something among few records too."""

FORM_WORDS = frozenset(
    stem(word)
    for word in (
        *(
            "kind",
            "type",
            "sort",
            "thing",
            "name",
            "called",
            "many",
            "much",
            "long",
            "often",
            "time",
            "date",
            "day",
            "year",
        ),
        *("say", "said", "tell", "told", "currently", "recently", "now", "did", "does", "number"),
    )
)
NUMBER_WORDS = {
    word: str(value)
    for value, word in enumerate(
        (
            *(
                "zero",
                "one",
                "two",
                "three",
                "four",
                "five",
                "six",
                "seven",
                "eight",
                "nine",
                "ten",
                "eleven",
                "twelve",
            ),
            *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"),
        )
    )
} | {"once": "1", "twice": "2", "thirty": "30", "forty": "40", "fifty": "50", "hundred": "100", "dozen": "12"}
_NUMBER = re.compile(r"(?<![\w.])\d+(?:[.,:]\d+)*")
_IN_QUOTES = re.compile(r"[\"\u201c][^\"\u201c\u201d]*[\"\u201d]")
_JOINED = re.compile(rf"(?<=\d)[`'\u2019]?\s*(?=(?:{'|'.join(MONTHS)})\b)", re.IGNORECASE)
"""Where a space is missing between a day and its month: "14September"."""
_CAPITALISED = re.compile(r"\b[A-Z]\w+")


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence of a record."""

    text: str
    """Verbatim."""
    terms: frozenset[str]
    """Its stemmed terms, stop words included."""
    own: float
    """Share in [0, 1] to which it is about its speaker: pronouns of the first person against those of the second."""


@lru_cache(maxsize=4096)
def read(text: str) -> tuple[Sentence, ...]:
    """Return the sentences of a text."""
    found = []
    for sentence in sentences(text):
        spoken = words(sentence)
        first, second = sum(w in FIRST_PERSON for w in spoken), sum(w in SECOND_PERSON for w in spoken)
        found.append(Sentence(sentence, frozenset(terms(sentence)), (first + 0.25) / (first + second + 0.25)))
    return tuple(found)


@lru_cache(maxsize=4096)
def text_terms(text: str) -> frozenset[str]:
    """Return the stemmed terms of a whole text."""
    return frozenset().union(*(sentence.terms for sentence in read(text)))


def claim(draft: str) -> str:
    """Return what a draft says, without citations, white space and quotation marks around the whole."""
    said = _JOINED.sub(" ", without_citations(draft).strip())
    inner = said[1:-1]
    return inner.strip() if _IN_QUOTES.fullmatch(said) else said


def pool(review: Review) -> tuple[Evidence, ...]:
    """Return everything recalled, each record once: the Assistant's evidence first, under its own refs."""
    seen: dict[str, Evidence] = {}
    for item in (*review.evidence, *review.wider):
        seen.setdefault(item.record, item)
    return tuple(seen.values())


def asked_about(task: Task, evidence: Iterable[Evidence]) -> frozenset[str]:
    """Return the speakers of the evidence whom a question names: by name, its beginning, or as "I" and "my"."""
    speakers = {item.speaker for item in evidence if item.speaker}
    named = [word for word in _CAPITALISED.findall(task.text) if len(word) > 2]
    asked = {speaker for speaker in speakers if any(_is_called(speaker, name) for name in named)}
    if not asked and FIRST_PERSON.intersection(words(task.text)):
        asked = {speaker for speaker in speakers if speaker.casefold() == task.user.casefold()}
    return frozenset(asked)


_POSSESSOR = re.compile(r"\b([A-Z]\w+)['\u2019]s?\b")
"""A name in the possessive: "Emma's", "Agnes'"."""


def person_asked(task: Task, evidence: Iterable[Evidence]) -> str | None:
    """Return the one person whose matter a question asks for, also if no record is theirs; None if that is not clear.

    That is the one speaker whom it names; else who asks, where it says "I" or "my"; else a name in the possessive.
    """
    asked = asked_about(task, evidence)
    if asked:
        return min(asked) if len(asked) == 1 else None
    if FIRST_PERSON.intersection(words(task.text)):
        return task.user or None
    named = set(_POSSESSOR.findall(task.text))
    return named.pop() if len(named) == 1 else None


def _is_called(speaker: str, name: str) -> bool:
    return speaker == name or any(part.startswith(name) for part in speaker.split())


_INSTRUCTION = re.compile(
    r"\s*(?:please\s+)?(?:choose|pick|select|answer|reply|respond|name|state|give|use|cite)\b[^?]*$", re.IGNORECASE
)
"""A sentence that says how to answer: "Choose among A, B and C."."""


def asked_text(text: str) -> str:
    """Return a task without the sentences that say how to answer, and offer answers; all of it if it is nothing else.

    What they name is no topic: a record about the question need not hold every answer that could be chosen.
    """
    found = sentences(text)
    kept = [sentence for sentence in found if not _INSTRUCTION.match(sentence)]
    return " ".join(kept) if kept and len(kept) < len(found) and any("?" in one for one in kept) else text


def topic(task: Task, evidence: Iterable[Evidence]) -> tuple[str, ...]:
    """Return the terms of a question that say what it is about: no stop words, names of speakers or words of form."""
    speakers = {item.speaker for item in evidence if item.speaker}
    names = {term for speaker in speakers for term in terms(speaker)}
    for name in _CAPITALISED.findall(task.text):
        if len(name) > 2 and any(_is_called(speaker, name) for speaker in speakers):
            names.add(stem(name.lower()))
    found = [term for term in query_terms(asked_text(task.text)) if term not in names]
    return tuple(term for term in found if term not in FORM_WORDS) or tuple(found)


def weights(wanted: Sequence[str], evidence: Sequence[Evidence]) -> dict[str, float]:
    """Return the inverse document frequency of each term among the evidence."""
    held = _counts(wanted, evidence)
    count = len(evidence)
    return {term: math.log(1 + (count - held[term] + 0.5) / (held[term] + 0.5)) for term in wanted}


def _counts(wanted: Sequence[str], evidence: Sequence[Evidence]) -> Counter[str]:
    terms = frozenset(wanted)
    return Counter(term for item in evidence for term in terms & text_terms(item.text))


def rarities(wanted: Sequence[str], evidence: Sequence[Evidence]) -> dict[str, float]:
    """Return how rare each term is, as if `BACKGROUND` records without it lay beside the evidence: never 0."""
    held = _counts(wanted, evidence)
    return {term: math.log(1 + (len(evidence) + BACKGROUND) / (held[term] + 1)) for term in wanted}


def share(weight: Mapping[str, float], found: Iterable[str]) -> float:
    """Return the share of the terms' weight that is found, in [0, 1]; 0 if there is nothing to find."""
    total = sum(weight.values())
    return sum(weight[term] for term in set(found) if term in weight) / total if total else 0.0


def neighbours(item: Evidence, evidence: Iterable[Evidence], before: int = 1, after: int = 1) -> Iterator[Evidence]:
    """Yield the recalled turns right before and after one in its conversation."""
    if item.conversation is None or item.position is None:
        return
    for other in evidence:
        if other.conversation == item.conversation and other.position is not None:
            step = other.position - item.position
            if step and -before <= step <= after:
                yield other


def is_negated(text: str) -> bool:
    """Return whether a text holds an odd number of negations."""
    return sum(word in NEGATIONS or word.endswith("n't") for word in words(text)) % 2 == 1


def numbers(text: str) -> frozenset[str]:
    """Return the numbers of a text in digits, those in words included."""
    digits = {found.replace(",", "") for found in _NUMBER.findall(text)}
    return frozenset(digits | {NUMBER_WORDS[word] for word in words(text) if word in NUMBER_WORDS})


_WEEKDAY = re.compile(r"\b(?:mon|tues|wednes|thurs|fri|satur|sun)day$", re.IGNORECASE)
_BARE_YEAR = re.compile(r"\b(?:19|20)\d\d\b")
_WITH_YEAR = re.compile(r"\d{4}|\b(?:ago|before|last|next)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Days:
    """A stretch of days that a text names."""

    phrase: str
    """The words."""
    start: date
    """First day."""
    end: date
    """Last day, inclusive."""
    offset: int
    """Where the phrase begins in the text."""
    has_year: bool
    """Whether the phrase fixes the year: it states it, or is relative to the day of saying."""


_YEARLESS = re.compile(
    r"(?:[a-z]{3,}\.?\s+(?:the\s+)?\d{1,2}|\d{1,2}(?:st|nd|rd|th)?\s+(?:of\s+)?[a-z]{3,})\D*$", re.IGNORECASE
)


@lru_cache(maxsize=8192)
def days_named(text: str, said_at: datetime | None = None) -> tuple[Days, ...]:
    """Return the dates of a text, relative ones counted from `said_at`; a bare "2022" is a year.

    A weekday right before a date belongs to it: "Friday, 17 July" is one day.
    """
    said = said_at or datetime.combine(date(2000, 1, 1), time(12))
    found: list[Days] = []
    ended = 0
    for each in resolve_dates(text, said):
        phrase, offset = each.phrase, each.span[0]
        if found and _WEEKDAY.search(text[:ended]) and not text[ended:offset].strip(" ,"):
            offset = found.pop().offset
            phrase = text[offset : each.span[0]] + phrase
        found.append(Days(phrase, each.start, each.end, offset, _fixes_year(phrase)))
        ended = each.span[1]
    for bare in _BARE_YEAR.finditer(text):
        if not any(each.offset <= bare.start() < each.offset + len(each.phrase) for each in found):
            year = int(bare.group())
            found.append(Days(bare.group(), date(year, 1, 1), date(year, 12, 31), bare.start(), True))
    return tuple(found)


def _fixes_year(phrase: str) -> bool:
    return not _YEARLESS.search(phrase) or bool(_WITH_YEAR.search(phrase))


def without_dates(text: str) -> str:
    """Return a text without the dates that it names."""
    for named in days_named(text):
        text = text.replace(named.phrase, " ")
    return text
