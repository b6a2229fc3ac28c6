"""Whose fact is it? What others say of themselves, and what they say of the one who was asked about.

"My dentist" in a question is the asker's, "Emma's dentist" Emma's. Somebody else's words about themselves do not answer
either; and what others tell of a person gives way to what that person says of the same matter, whichever came first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from mars.agents.evidence.case import Case, plain
from mars.agents.evidence.reading import FIRST_PERSON, neighbours, text_terms
from mars.agents.interfaces import Evidence
from mars.agents.verdicts import Issue, IssueKind
from mars.language import sentences, words

_MINE = re.compile(r"\b(?:my|our)\s+(?P<what>[\w\s'-]{2,40}?)\s+(?:is|are|was|were)\s+(?P<value>.+)", re.IGNORECASE)
_THEIRS = re.compile(
    r"\b(?P<who>[A-Z]\w+)['\u2019]s?\s+(?P<what>[\w\s'-]{2,40}?)\s+(?:is|are|was|were)\s+(?P<value>.+)"
)
_NOW = re.compile(r"^(?:now|currently)\s+|\s+(?:now|these days)$", re.IGNORECASE)


def speaker_issues(case: Case) -> Iterator[Issue]:
    """Yield it if the claim rests on what others say: about themselves, or against the asked person's own word."""
    person = case.person
    if person is None:
        return
    for item in case.cited:
        if not _said_by_other(case, item, person):
            continue
        if _about_themselves(case, item, person):
            yield Issue(
                kind=IssueKind.SPEAKER,
                evidence=f"{item.ref} is {item.speaker} about themselves, and the question is about {person}",
                directive=f"Rely on what {person} said, or answer that it is not known.",
                records=(item.ref,),
            )
            continue
        own = _own_word(case, item, person)
        if own is not None:
            yield Issue(
                kind=IssueKind.SPEAKER,
                evidence=f"{item.ref} is what {item.speaker} says of {person}, who says otherwise: {own.text[:160]!r}",
                directive=f"Rely on what {person} said themselves, [{own.ref}].",
                records=(item.ref,),
            )


def words_of_others(case: Case) -> tuple[Evidence, ...]:
    """Return the recalled records on the question's topic that named others said, and not about the person asked.

    Empty where the question is not about one person, and where no draft's source is among them.
    """
    person = case.person
    if person is None or not any(_said_by_other(case, item, person) for item in case.cited):
        return ()
    named = text_terms(person)
    on_topic = (item for item in case.evidence if text_terms(item.text).intersection(case.topic))
    return tuple(item for item in on_topic if _said_by_other(case, item, person) and not named & text_terms(item.text))


def _said_by_other(case: Case, item: Evidence, person: str) -> bool:
    return item.speaker is not None and item.speaker not in case.asked and not _same(item.speaker, person)


def _same(one: str | None, other: str | None) -> bool:
    return (one or "").casefold() == (other or "").casefold()


def _about_themselves(case: Case, item: Evidence, person: str) -> bool:
    """Return whether the record behind the claim is its speaker about themselves, and names nobody who was asked for.

    Where the person asked for never speaks, the turns beside it may name them: "How is Emma?" before "She is well".
    """
    if item.subject is not None:
        return _same(item.subject, item.speaker)
    behind = case.behind(item)
    if behind is None or behind.own < 1.0 or not FIRST_PERSON.intersection(words(behind.text)):
        return False
    near = () if case.asked else neighbours(item, case.evidence, before=2, after=2)
    return not any(text_terms(person) & text_terms(each.text) for each in (item, *near))


def _own_word(case: Case, item: Evidence, person: str) -> Evidence | None:
    """Return the newest record of the person's own that gives another value of the matter that the cited one gives."""
    told = _matters(item, person)
    own = [
        other
        for other in case.evidence
        if _same(other.speaker, person)
        for matter, value in _matters(other, person).items()
        if matter in told and not _agree(value, told[matter])
    ]
    return max(own, key=lambda other: other.said_at, default=None)


def _matters(item: Evidence, person: str) -> dict[str, str]:
    """Return what a record states of a person's matters: of a fact its relation and value, else "my X is Y"."""
    if item.relation and item.value:
        return {item.relation: plain(item.value)} if _same(item.subject, person) else {}
    found = {}
    for sentence in sentences(item.text):
        match = _MINE.search(sentence) if _same(item.speaker, person) else _THEIRS.search(sentence)
        if match and (match.re is _MINE or _same(match["who"], person)):
            found[match["what"].casefold()] = _NOW.sub("", plain(match["value"]))
    return found


def _agree(one: str, other: str) -> bool:
    return one in other or other in one
