"""Does something newer contradict what a draft rests on?

A newer record contradicts the cited one if it is the same person's, about the same topic, and gives another value in
one of four ways: it is a fact in the same respect; it says that something has changed ("moved to", "instead", "no
longer"); it holds another date, time or number of as many digits ("the gate wants 7788"); or it says the same sentence
with another end ("my favourite colour is green"). A question about the past is contradicted by a correction only, for
two trips are two trips, and by the same words with another deadline, for a thing has one deadline at a time. What
others tell of somebody corrects nobody but themselves. Few false alarms matter more than finding every change.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from difflib import SequenceMatcher

from mars.agents.evidence.case import Case, plain
from mars.agents.evidence.reading import days_named, neighbours, numbers, share, text_terms
from mars.agents.interfaces import Evidence
from mars.agents.verdicts import Issue, IssueKind
from mars.language import STOP_WORDS, sentences, stem, words
from mars.language.dates import MONTHS, WEEKDAYS

SAME_TOPIC = 0.5
"""Share of the topic, by rarity, that the newer record must hold of what the cited one holds."""
CHANGED_TOPIC = 0.28
"""The same where the newer sentence says that something has changed."""
CHANGED_VALUE = 0.2
"""The same where, besides, it holds a value of the same sort: a date, a time, a number, a name."""

_CHANGED = re.compile(
    r"\b(?:re-?scheduled|postponed|brought\s+forward|pushed\s+back|cancell?ed|called\s+off|renamed|replaced|rebooked"
    r"|reassigned|repainted|relocated|changed(?!\s+the\s+game)|switched|swapped|shifted|(?:i|we|was|been)\s+reset"
    r"|(?:moved|pushed(?!\s+(?:me|us|him|her|them))|delayed|transferred|upgraded)\b(?:\s+\w+){0,5}?\s+(?:to|from|until|into)"
    r"|(?:was|were|has|have|been|got|had)\s+(?:been\s+)?moved"
    r"|no\s+longer|not\b[^.!?]{0,40}\bany\s?more|anymore|instead(?!\s+of\s+\w+ing\b)|correction|turn(?:s|ed)\s+out"
    r"|change\s+of\s+plans?|i\s+was\s+wrong|i\s+(?:made\s+a\s+mistake|misspoke)"
    r"|mixed\b[^.!?]{0,20}\bup|got\b[^.!?]{0,20}\bwrong"
    r"|from\s+now\s+on|(?:is|are|it's)\s+now|new\s+(?:date|time|place|number|address|home)"
    r"|(?<!right )(?<=\w\s)now(?=\s*(?:[.,;:!]|$)))\b",
    re.IGNORECASE,
)
_CORRECTED = re.compile(
    r"\b(?:correction|i\s+was\s+wrong|mixed\b[^.!?]{0,20}\bup|got\b[^.!?]{0,20}\bwrong"
    r"|i\s+(?:made\s+a\s+mistake|misspoke)|turn(?:s|ed)\s+out|wasn't|was\s+not)\b",
    re.IGNORECASE,
)
_HARDLY_CHANGED = re.compile(
    r"\b(?:turn(?:s|ed)\s+out|anymore|new\s+home|from\s+now\s+on|now(?=\s*(?:[.,;:!]|$)))\b"
    r"|\b(?:pushed\s+back|changed\s+(?:me|us|them|my|our|their))\b",
    re.IGNORECASE,
)
"""What seldom tells of another value, unless its sentence names the topic itself."""
_CANCELLED = re.compile(r"\b(?:cancell?ed|called\s+off|not\s+happening)\b", re.IGNORECASE)
_PERHAPS_CHANGED = re.compile(r"\b(?:actually|now|new|these\s+days|nowadays|currently|lately|since)\b", re.IGNORECASE)
_HINGE = frozenset(
    """
    is are was am be at in on to for as by from with called named works work lives live has have costs starts start
    begins ends leaves prefer drive
    """.split()
)
_PUT_ASIDE = re.compile(
    r"\b(?:instead\s+of|rather\s+than|not|no\s+longer|from|used\s+to\s+be|wasn't|isn't)\W+(?:(?!to\b)\w+\W+){0,3}$",
    re.I,
)
_DEADLINE = re.compile(
    r"\b(?:by|until|till|before|not\s+later\s+than|at\s+the\s+latest(?:\s+on)?|due(?:\s+(?:on|by|at|in))?)\s+(?:the\s+)?$",
    re.IGNORECASE,
)
"""What stands right before a date or time that is a deadline."""
_DEADLINE_MOVED = "a newer deadline"
_DATED = frozenset((*MONTHS, *WEEKDAYS))
_STOP_STEMS = frozenset(stem(word) for word in STOP_WORDS)
_CLOCK = re.compile(r"\b\d{1,2}(?::\d{2}|\s*(?:am|pm|o'clock))\b", re.IGNORECASE)
_NAME = re.compile(r"(?<=[\w,;:]\s)[A-Z][a-z]\w+")
_SUBJECTS = frozenset(("i", "we", "i'm", "i've", "we're", "we've"))
_RELATED = (
    frozenset(("live", "move", "reloc", "home", "address")),
    frozenset(("work", "job", "employ", "compani", "join", "hire")),
    frozenset(("appoint", "meet", "session", "visit")),
)
"""Stems of words that name the same respect."""


def tells_a_change(text: str) -> bool:
    """Return whether a text says that something is otherwise than before."""
    return bool(_CHANGED.search(text))


@dataclass(frozen=True, slots=True)
class Newer:
    """A newer record that contradicts."""

    item: Evidence
    """The record."""
    how: str
    """In words: a newer fact, a change, another value."""
    sentence: str
    """The sentence that shows it, verbatim."""


def staleness_issues(case: Case) -> Iterator[Issue]:
    """Yield it if a newer record of the same person on the same topic gives another value than the draft's source."""
    for cited in case.cited:
        newer = contradiction(case, cited)
        if newer is None:
            continue
        same = [item.ref for item in case.evidence if _repeats(case, cited, item, newer.item)]
        day = newer.item.said_at.date().isoformat()
        yield Issue(
            kind=IssueKind.STALE,
            evidence=f"{newer.item.ref} ({day}) is {newer.how} than {cited.ref}: {newer.sentence[:200]!r}",
            directive=f"Do not rely on {cited.ref}; answer from {newer.item.ref}, said on {day}, or later.",
            records=(newer.item.ref,),
            blame=tuple(dict.fromkeys((cited.ref, *same))),
        )


def contradiction(case: Case, cited: Evidence) -> Newer | None:
    """Return the newest record that contradicts a cited one, unless a still newer one repeats the draft's value."""
    topical = _with_related(cited.text).intersection(case.topic)
    if not topical:
        return None
    later = sorted((item for item in case.evidence if _is_later(item, cited)), key=_age, reverse=True)
    for item in later:
        if not _same_person(case, item, cited):
            continue
        found = _contradicts(case, cited, item, topical)
        if found is not None:
            return found
        if _states_value(case, item) and share(case.weight, topical & text_terms(item.text)) > 0:
            return None
    return None


def _age(item: Evidence) -> tuple[float, int]:
    return item.said_at.timestamp(), item.position if item.position is not None else -1


def _is_later(item: Evidence, cited: Evidence) -> bool:
    if item.record == cited.record:
        return False
    if item.conversation == cited.conversation and None not in (item.position, cited.position):
        return _age(item)[0] >= _age(cited)[0] and (item.position or 0) > (cited.position or 0)
    return item.said_at > cited.said_at


def _same_person(case: Case, item: Evidence, cited: Evidence) -> bool:
    """Return whether two records are about one person: the same speaker, or a fact about the one asked about."""
    if item.kind == "fact" or cited.kind == "fact":
        people = {
            name.casefold() for name in (*case.asked, case.review.task.user, cited.speaker or "", cited.subject or "")
        }
        return (item.subject or item.speaker or "").casefold() in people and _may_correct(item, cited)
    return item.speaker == cited.speaker


def _may_correct(item: Evidence, cited: Evidence) -> bool:
    """Return whether a fact comes from whom it is about, from the cited record's speaker, or from nobody named."""
    if item.speaker is None or item.subject is None:
        return True
    return item.speaker.casefold() in (item.subject.casefold(), (cited.speaker or "").casefold())


def _contradicts(case: Case, cited: Evidence, item: Evidence, topical: set[str]) -> Newer | None:
    if item.kind == "fact" and item.relation and item.value:
        if (
            topical & _with_related(f"I {item.relation}")
            and plain(item.value) not in plain(case.claim)
            and _fits(case, cited, item)
        ):
            return Newer(item, "a newer fact", item.text)
        return None
    for sentence in sentences(item.text):
        if sentence.rstrip().endswith("?") or sentence.startswith("[image:"):
            continue
        how = _how(case, cited, item, sentence, topical)
        if how and (how == _DEADLINE_MOVED or _other_value(case, cited, item, sentence)):
            return Newer(item, how, sentence)
    return None


def _fits(case: Case, cited: Evidence, item: Evidence) -> bool:
    """Return whether a fact is of the respect that the cited record speaks of: the words before its value."""
    if cited.relation:
        return cited.relation == item.relation
    said = text_terms(item.relation or "") - _STOP_STEMS
    return bool(said) and said <= _with_related(cited.text) | _with_related(case.review.task.text)


def _how(case: Case, cited: Evidence, item: Evidence, sentence: str, topical: set[str]) -> str:
    """Return in which way a sentence may contradict the cited record, in words; empty if in none."""
    turns = [turn for turn in neighbours(item, case.evidence, before=2, after=0) if turn.record != cited.record]
    here = _with_related(sentence)
    around = here.union(text_terms(item.text), *(text_terms(turn.text) for turn in turns))
    needed = {term: case.rarity[term] for term in topical}
    if _other_deadline(cited, item, sentence):
        return _DEADLINE_MOVED
    if case.about_the_past:
        told = _CORRECTED.search(sentence) or (not case.says_past and _now_otherwise(cited, sentence))
        return "a newer correction" if told and share(needed, here) >= SAME_TOPIC else ""
    if case.is_list and not _CORRECTED.search(sentence):
        return ""  # one more is no other
    if _CHANGED.search(sentence):
        if _HARDLY_CHANGED.search(sentence) and not share(needed, here):
            return ""
        alike = bool(_sorts(case, case.claim, cited) & _sorts(case, sentence, item))
        return "a newer change" if share(needed, around) >= (CHANGED_VALUE if alike else CHANGED_TOPIC) else ""
    if share(needed, here) < SAME_TOPIC or _another_matter(case, cited, sentence):
        return ""
    measured = _sorts(case, case.claim, cited) & _sorts(case, sentence, item) - {"name"}
    return "a newer statement of another value" if measured or _same_frame(cited.text, sentence) else ""


def _other_deadline(cited: Evidence, item: Evidence, sentence: str) -> bool:
    """Return whether a sentence and one of the cited record are the same but for the date of a deadline."""
    stated = _without_deadline(sentence, item)
    if stated is None:
        return False
    frame, days = stated
    before = (_without_deadline(each, cited) for each in sentences(cited.text))
    return any(each is not None and each[0] == frame and each[1] != days for each in before)


def _without_deadline(sentence: str, item: Evidence) -> tuple[list[str], tuple[date, date]] | None:
    """Return the words of a sentence without its deadline, and the deadline's first and last day; None without one."""
    for named in days_named(sentence, item.said_at):
        before, after = sentence[: named.offset], sentence[named.offset + len(named.phrase) :]
        if _DEADLINE.search(before):
            return _spoken(f"{before} {after}"), (named.start, named.end)
    return None


def _sorts(case: Case, text: str, item: Evidence) -> set[str]:
    """Return which sorts of values a text holds: a date, a time of day, a number of so many digits, a name."""
    if _CLOCK.search(text):
        return {"time"}
    if days_named(text, item.said_at):
        return {"date"}
    asked = {word.lower() for word in _NAME.findall(case.review.task.text)}
    found = {f"{len(number)} digits" for number in numbers(text)}
    return found | {"name" for name in _NAME.findall(text) if name.lower() not in asked}


def _same_frame(old: str, new: str) -> bool:
    """Return whether a sentence of the old text and the new one run alike up to a hinge such as "is", then differ."""
    after = _spoken(new)
    for sentence in sentences(old):
        before = _spoken(sentence)
        for place, word in enumerate(before):
            if word not in _HINGE or place < 2:
                continue
            head = before[: place + 1]
            start = next((at for at in range(len(after)) if after[at : at + len(head)] == head), None)
            if start is not None and _differ(before[place + 1 :], after[start + len(head) :]):
                return True
    return False


def _another_matter(case: Case, cited: Evidence, sentence: str) -> bool:
    """Return whether a sentence runs like one of the cited record but for a part asked for and a name or thing.

    Asked what is due on 3 May, "I owe Ann the lamp, due on 5 May" is no newer word on Bob's vase, due on that day.
    """
    after = _spoken(sentence)
    for before in map(_spoken, sentences(cited.text)):
        steps = SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
        parts = [(before[start:end], after[at:to]) for step, start, end, at, to in steps if step == "replace"]
        alike = sum(end - start for step, start, end, _, _ in steps if step == "equal")
        if len(parts) < 2 or 2 * alike < max(len(before), len(after)):
            continue
        asked = any(set(old).intersection(case.question) and not set(new) & set(case.question) for old, new in parts)
        if asked and any(not any(word in _DATED or word[0].isdigit() for word in old + new) for old, new in parts):
            return True
    return False


def _now_otherwise(cited: Evidence, sentence: str) -> bool:
    """Return whether a sentence tells a change, or repeats one of the cited record but for a number ("on hook 127")."""
    if _CHANGED.search(sentence):
        return True
    after = _spoken(sentence)
    for before in map(_spoken, sentences(cited.text)):
        other = [pair for pair in zip(before, after, strict=False) if pair[0] != pair[1]]
        if len(before) == len(after) and len(other) == 1 and all(word[0].isdigit() for word in other[0]):
            return True
    return False


def _spoken(sentence: str) -> list[str]:
    """Return the words of a sentence without those that only colour it."""
    return [word for word in words(sentence.replace("'s ", " is ")) if not _PERHAPS_CHANGED.fullmatch(word)]


def _differ(old: list[str], new: list[str]) -> bool:
    return bool(old and new) and old[: len(new)] != new[: len(old)]


def _other_value(case: Case, cited: Evidence, item: Evidence, sentence: str) -> bool:
    """Return whether a sentence gives a value that is not the draft's: a date, a number, or other words."""
    if _CANCELLED.search(sentence):
        return True
    stated = days_named(case.claim, case.review.task.asked_at) or days_named(cited.text, cited.said_at)
    if stated and "when" in case.question:
        named = days_named(sentence, item.said_at)
        kept = [day for day in named if not _PUT_ASIDE.search(sentence[: day.offset])]
        return bool(kept) and not any(
            (d.start.month, d.start.day) == (s.start.month, s.start.day) for d in kept for s in stated
        )
    new = _value(case, sentence) - _value(case, cited.text)
    return bool(new) and not (_states_value(case, item) and not _CHANGED.search(sentence))


def _value(case: Case, text: str) -> set[str]:
    """Return the terms of a text that are neither the question's nor stop words nor words of change."""
    stripped = _PERHAPS_CHANGED.sub(" ", _CHANGED.sub(" ", text))
    return set(text_terms(stripped)) - _STOP_STEMS - text_terms(case.review.task.text) | set(numbers(stripped))


def _states_value(case: Case, item: Evidence) -> bool:
    """Return whether a record says what the draft says, and does not put it aside."""
    value = _value(case, case.claim)
    held = [s for s in sentences(item.text) if value and value <= text_terms(s) | numbers(s)]
    return any(not _put_aside(s, value) for s in held)


def _put_aside(sentence: str, value: Iterable[str]) -> bool:
    lowered = sentence.lower()
    starts = [found.start() for found in re.finditer(r"\w+", lowered) if stem(found.group()) in set(value)]
    return bool(starts) and bool(_PUT_ASIDE.search(sentence[: starts[0]]))


def _repeats(case: Case, cited: Evidence, item: Evidence, newer: Evidence) -> bool:
    """Return whether an older record gives the same value as the cited one."""
    return (
        item.record != newer.record
        and _is_later(newer, item)
        and _same_person(case, item, cited)
        and _states_value(case, item)
    )


def _with_related(text: str) -> set[str]:
    """Return a text's terms, and those of the same respect where its speaker is the subject ("I moved")."""
    found = set(text_terms(text))
    if _SUBJECTS.intersection(words(text)):
        for group in _RELATED:
            if group & found:
                found |= group
    return found
