"""Checks of what a draft claims against the records it cites: words, numbers, dates, negation, and whose they are.

Each takes a `Case` and yields the issues it finds; none of them looks at how the draft was made.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import date

from mars.agents.evidence.case import Case, plain
from mars.agents.evidence.contradiction import tells_a_change
from mars.agents.evidence.reading import (
    FORM_WORDS,
    NEGATIONS,
    NUMBER_WORDS,
    Days,
    asked_text,
    days_named,
    is_negated,
    numbers,
    text_terms,
    without_dates,
)
from mars.agents.interfaces import Evidence
from mars.agents.verdicts import Issue, IssueKind
from mars.language import QUESTION_WORDS, STOP_WORDS, sentences, stem, words

PARAPHRASE = 0.6
"""Share of a claim's content words that a sentence must hold to say the same or the opposite."""
ON_TOPIC = 0.3
"""Share of the question's terms, by rarity, that the cited record and its neighbours must hold."""
ON_TOPIC_LIGHTLY = 0.2
"""The same for a record that tells a change, or one's own words about oneself: people name their topic less then."""

_COUNTED_FROM = re.compile(r"\b(?:before|after|prior\s+to|of)\s*(?:the\s+)?$", re.IGNORECASE)
_COUNTING = re.compile(r"\s*\b(?:before|after|prior\s+to)\s+(?=\d|[A-Z])")
_YEARS = re.compile(rf"\b(\d{{1,2}}|{'|'.join(NUMBER_WORDS)})\s+years\b(?!\s+(?:ago|old|later))", re.IGNORECASE)
_ONE = re.compile(r"\b(?:this|that|another|the|no|each|every|which|some|any)\s+one\b|\bone\s+of\b", re.IGNORECASE)
"""Where "one" is no number."""
_QUOTED = re.compile(r"[\"\u201c]([^\"\u201d]{3,})[\"\u201d]")
_NAME = re.compile(r"(?<=[\w,;] )[A-Z]\w+|\b[A-Z]\w+(?=['\u2019]s\b)")
"""Words that are names by their form: capitalised within a sentence, or with a possessive."""
_CLAUSES = re.compile(r"[,;:.!?\n\u2014]|\s-\s|\bbut\b|\bbecause\b|\bso\b")
STOP_STEMS = frozenset(stem(word) for word in STOP_WORDS)
_SHORT_CLAUSES = re.compile(rf"{_CLAUSES.pattern}|\band\b")
ANSWER_WORDS = frozenset(stem(word) for word in "yes no likely probably because since due both".split())
_PASSING = STOP_STEMS | FORM_WORDS | ANSWER_WORDS
"""Words that need no source."""
_DISLIKING = frozenset(
    stem(word)
    for word in (
        *("hate", "dislike", "avoid", "stop", "quit", "refuse", "fail", "lack", "miss", "skip", "allergic", "lactose"),
        *("intolerant", "cancel", "except", "against", "fear", "afraid", "worst", "least", "away"),
    )
)


def citation_issues(case: Case) -> Iterator[Issue]:
    """Yield what is wrong with the sources: none, one that does not exist, words that are not in it."""
    shown = {item.ref for item in case.review.evidence}
    missing = [ref for ref in case.refs if ref not in shown]
    if missing:
        yield Issue(
            kind=IssueKind.MISQUOTED,
            evidence=f"{', '.join(missing)} is not among the memories",
            directive="Cite only memories of the prompt, by their ids.",
        )
    from_tool = any(case.is_verbatim(text) for text in case.review.tool_results)
    if not case.refs and not from_tool:
        yield Issue(
            kind=IssueKind.NO_CITATION,
            evidence=f"{case.claim[:200]!r} cites no memory and stands in no tool result",
            directive="Cite the memory that the answer rests on by its id, such as [m1].",
        )
    for quoted in _QUOTED.findall(case.claim):
        if case.sources and not any(plain(quoted) in plain(text) for text in case.sources):
            yield Issue(
                kind=IssueKind.MISQUOTED,
                evidence=f"{quoted!r} is not in {', '.join(case.refs) or 'any source'}",
                directive="Quote the cited memory word for word, or do not use quotation marks.",
                records=case.refs,
            )


def support_issues(case: Case) -> Iterator[Issue]:
    """Yield it if the sources do not hold the claim's words, or are not about what was asked."""
    if not case.cited:
        return
    lacking = _unsupported_words(case)
    if lacking:
        yield Issue(
            kind=IssueKind.UNSUPPORTED,
            evidence=f"{', '.join(case.refs)} does not say: {' '.join(lacking[:12])}",
            directive="Say only what the cited memory says, in its own words.",
            records=case.refs,
        )
        return
    off = [item for item in case.cited if not _on_topic(case, item)]
    if len(off) == len(case.cited):
        yield Issue(
            kind=IssueKind.UNSUPPORTED,
            evidence=f"{off[0].ref} is about something else: {off[0].text[:160]!r}",
            directive="Rely on a memory about what was asked, or answer that it is not known.",
            records=tuple(item.ref for item in off),
        )


def _on_topic(case: Case, item: Evidence) -> bool:
    lightly = case.is_own or tells_a_change(item.text)
    return case.coverage(item) >= (ON_TOPIC_LIGHTLY if lightly else ON_TOPIC)


def content_issues(case: Case) -> Iterator[Issue]:
    """Yield it if the draft says nothing that answers: no content at all, or only the question's own words."""
    asked = text_terms(asked_text(case.review.task.text))
    said = text_terms(case.claim)
    if not case.claim or not (said - STOP_STEMS - asked or numbers(case.claim)):
        wholes = {plain(sentence) for text in case.sources for sentence in sentences(text)}
        confirms = not QUESTION_WORDS.intersection(case.question) and any(map(case.is_verbatim, case.sources))
        if said - STOP_STEMS and (confirms or plain(case.claim) in wholes):
            return
        yield Issue(
            kind=IssueKind.UNANSWERED,
            evidence=f"{case.claim[:200]!r} says nothing beyond the question",
            directive="State the answer, in the cited memory's words.",
            records=case.refs,
        )


def _unknown_names(case: Case) -> list[str]:
    """Return the names in the claim that no recalled record and no source holds."""
    said = without_dates(case.claim)
    known = set(_PASSING | text_terms(case.review.task.text) | text_terms(case.review.task.user))
    for text in (*case.sources, *(item.text for item in case.evidence)):
        known |= text_terms(text)
    for item in case.cited:
        known |= text_terms(item.speaker or "")
    return [name for name in _NAME.findall(said) if not text_terms(name) <= known]


def _unsupported_words(case: Case) -> list[str]:
    """Return the claim's content words that no source holds: names that were recalled nowhere, others if too many.

    Dates, numbers and the question's own words are left out.
    """
    if any(case.is_verbatim(text) for text in case.sources):
        return []
    unknown = _unknown_names(case)
    if unknown:
        return unknown
    asked = text_terms(case.review.task.text) | text_terms(case.review.task.user)
    held = {term for text in case.sources for term in text_terms(text)}
    held |= {term for item in case.cited for term in text_terms(item.speaker or "")}
    said = words(without_dates(case.claim))
    content = [word for word in said if stem(word) not in _PASSING | asked and not word[0].isdigit()]
    lacking = [word for word in content if stem(word) not in held]
    return lacking if content and len(lacking) > (1.0 - case.supported) * len(content) else []


def number_issues(case: Case) -> Iterator[Issue]:
    """Yield it for numbers of the claim that no source has; those of dates are checked as dates."""
    said = without_dates(case.claim)
    held = {number for text in (*case.sources, case.review.task.text) for number in numbers(text)}
    if "many" in case.question and len(case.cited) > 1:
        held.add(str(len(case.cited)))  # a count of events, each of which is cited
    unknown = sorted(numbers(_ONE.sub(" ", said)) - held)
    if unknown and case.sources:
        yield Issue(
            kind=IssueKind.NUMBER,
            evidence=f"no source has the number {', '.join(unknown)}",
            directive="State numbers as the cited memory states them.",
            records=case.refs,
        )


def date_issues(case: Case) -> Iterator[Issue]:
    """Yield it for dates of the claim that no source names, in full or relative to the day it was said."""
    if not case.sources:
        return
    for named in days_named(case.claim, case.review.task.asked_at):
        phrase = _in_digits(named.phrase)
        if any(phrase in _in_digits(text) for text in (*case.sources, case.review.task.text)):
            continue
        if counted_from_saying(case, named, case.cited):
            continue
        if not any(agrees(named, other) for item in case.cited for other in dates_of(case, item)):
            yield Issue(
                kind=IssueKind.DATE,
                evidence=f"{named.phrase!r} is no date that {', '.join(case.refs) or 'a source'} names",
                directive="Count relative dates from the day of the cited memory.",
                records=case.refs,
            )


def _in_digits(text: str) -> str:
    """Return a text as it is compared, its number words in digits: "ten years ago" is "10 years ago"."""
    return " ".join(NUMBER_WORDS.get(word, word) for word in plain(text).split())


def counted_from_saying(case: Case, named: Days, items: Iterable[Evidence]) -> bool:
    """Return whether a date is part of one counted from the day of a record: "the Friday before 9 June 2023"."""
    after = case.claim[named.offset + len(named.phrase) :]
    if _COUNTING.match(after):
        return True  # a weekday; the date that it is counted from is checked itself
    inner = _COUNTING.search(named.phrase)
    anchors = days_named(named.phrase[inner.end() :]) if inner else (named,)
    counted = inner is not None or bool(_COUNTED_FROM.search(case.claim[: named.offset]))
    said = {item.said_at.date() for item in items}
    return counted and any(each.start in said for each in anchors)


def dates_of(case: Case, item: Evidence) -> Iterator[Days]:
    """Yield the dates that a record supports: those it names, and its own day if the sentence behind names none."""
    yield from days_named(item.text, item.said_at)
    yield from _begun(item)
    for phrase, days in item.resolved.items():
        start, _, end = days.partition("/")
        try:
            yield Days(phrase, date.fromisoformat(start), date.fromisoformat(end or start), 0, True)
        except ValueError:
            continue
    behind = case.behind(item)
    if behind is None or not days_named(behind.text, item.said_at):
        said = item.said_at.date()
        yield Days("", said, said, 0, True)


def _begun(item: Evidence) -> Iterator[Days]:
    """Yield the year in which something began that has gone on for so many years: "we have had him for 10 years"."""
    for found in _YEARS.finditer(item.text):
        count = NUMBER_WORDS.get(found.group(1).lower(), found.group(1))
        year = item.said_at.year - int(count)
        if year > 1900:
            yield Days(found.group(), date(year, 1, 1), date(year, 12, 31), found.start(), True)


def agrees(stated: Days, known: Days) -> bool:
    """Return whether a stated date is the known one, or a month or year that holds it."""
    if not stated.has_year:
        return (stated.start.month, stated.start.day) == (known.start.month, known.start.day)
    if not known.has_year:
        return (stated.start.month, stated.start.day) == (known.start.month, known.start.day)
    if (stated.start, stated.end) == (known.start, known.end):
        return True
    if stated.start == stated.end == known.start:
        return (known.end - known.start).days < 7
    within = stated.start <= known.start and known.end <= stated.end
    across = (known.end - known.start).days < 14 and stated.start <= known.end and known.start <= stated.end
    return (stated.end - stated.start).days >= 27 and (within or across)


def negation_issues(case: Case) -> Iterator[Issue]:
    """Yield it if the claim and the sentence behind it differ in negation, or the question's negation is not met."""
    if case.sources and is_negated(case.claim) and not _asks_negated(case) and not _denied(case):
        yield Issue(
            kind=IssueKind.NEGATION,
            evidence=f"{case.claim[:200]!r} denies what {', '.join(case.refs) or 'its source'} does not deny",
            directive="Keep the negation of the cited memory.",
            records=case.refs,
        )
        return
    for item in case.cited:
        behind = case.behind(item)
        if behind is None:
            continue
        said, held = text_terms(case.claim) - STOP_STEMS, behind.terms - STOP_STEMS
        comparable = case.is_verbatim(behind.text) or (len(said) > 2 and len(said & held) >= PARAPHRASE * len(said))
        # A few words that turn into its opposite what the sentence says.
        comparable |= bool(said) and said <= held and is_negated(case.claim) and not _asks_negated(case)
        if comparable and is_negated(_clause(case, behind.text)) != is_negated(case.claim):
            yield Issue(
                kind=IssueKind.NEGATION,
                evidence=f"{item.ref} says: {behind.text[:200]!r}",
                directive="Keep the negation of the cited memory.",
                records=(item.ref,),
            )
        elif _asks_negated(case) and not (is_negated(behind.text) or behind.terms & _DISLIKING):
            yield Issue(
                kind=IssueKind.NEGATION,
                evidence=f"the question asks what is not so, and {item.ref} says what is: {behind.text[:160]!r}",
                directive="Look for a memory that says what is not so.",
                records=(item.ref,),
            )


def _denied(case: Case) -> bool:
    """Return whether a source holds a negation in a clause about what the claim or the question is about."""
    about = (text_terms(case.claim) | set(case.topic)) - STOP_STEMS
    clauses = (part for text in case.sources for part in _CLAUSES.split(text))
    return any(is_negated(part) or text_terms(part) & _DISLIKING for part in clauses if text_terms(part) & about)


def _clause(case: Case, sentence: str) -> str:
    """Return the clauses of a sentence that the claim lies in; all of it where the claim is no part of it.

    Of clauses that hold as many of a paraphrase's words, one that agrees with it in negation is taken.
    """
    said = plain(case.claim)
    if not case.is_verbatim(sentence):
        terms = text_terms(said) - STOP_STEMS
        shared = [(len(text_terms(part) & terms), part) for part in _SHORT_CLAUSES.split(sentence)]
        most = max(count for count, _ in shared)
        kept = [part for count, part in shared if count == most]
        alike = [part for part in kept if is_negated(part) == is_negated(case.claim)]
        return (alike or kept)[0] if most else sentence
    clauses = _CLAUSES.split(sentence)
    inside = [part for part in clauses if plain(part) and (plain(part) in said or said in plain(part))]
    return " ".join(inside) if inside else sentence


def _asks_negated(case: Case) -> bool:
    """Return whether a question asks what is not so; titles and conditions in it do not count."""
    asked = re.split(r"\bif\b|\bwho\s+(?:has|have|did|do|does)n't\b", _QUOTED.sub(" ", case.review.task.text))[0]
    return any(word.endswith("n't") or word in NEGATIONS for word in words(asked))
