"""Simple facts from what somebody says: who, in what respect, what; by rules, without a model.

``extract_facts("I moved to Lisbon last week.", "Ann")`` gives *Ann, lives in, Lisbon*. The rules are conservative: a
pattern must begin a clause (after words such as "well" or "by the way"), and questions, negations, hypotheses, plans,
reported speech and past habits never give a fact, nor does a value of more than `MAX_VALUE_WORDS` words. *I*, *my* and
*we* mean the speaker.

*Confidence* is the rule's alone, never a model's: .95 where somebody names an attribute of theirs ("my favourite tea
is", "call me", "I'm allergic to"), .9 for where they live and work, .8 for likes and dislikes, .7 for any other "my X
is Y" and "the X is now Y"; .1 less where the subject is somebody else than the speaker.

*Supersession* has a guard, because most contradictions that a looser rule sees are none: only the same subject in the
same relation, only a relation that has one value at a time, only another value, only one that is not older, and only
from somebody whose word counts (`may_replace`): people know their own matters, and others tell them from hearsay.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from mars.language import sentence_spans
from mars.memory import fact_patterns as patterns
from mars.memory.records import Kind, NewRecord, Record

MAX_VALUE_WORDS = 8
"""A longer value is a story, not a fact."""

MAX_SENTENCE = 600
"""A sentence of more characters states nothing simple."""

MAX_LISTED_WORDS = 3
"""A list ("tea, coffee and milk") is taken apart if each of its parts has at most so many words."""

UNKNOWN_SPEAKER = "user"
"""The subject of "I" where nobody is named as the speaker."""

SINGLE_VALUED = "single_valued"
"""Key of a record's metadata: whether its relation has one value at a time."""

_NEGATIONS = frozenset("no not never none nobody nothing neither nor without former formerly ex anti".split())
_ENDED = re.compile(r"([^\W\d_]{2,})[.,;:]$")
_PLAIN = re.compile(r"[^\W_]+(?:['.-][^\W_]+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One thing that somebody said to be so."""

    subject: str
    """Whom or what it is about, as it was written; the speaker for I, my and we."""
    relation: str
    """In what respect, in lower case: ``lives in``, ``favourite tea``, ``likes``."""
    value: str
    """What is so, as it was written."""
    single_valued: bool
    """Whether a later value takes the place of this one."""
    span: tuple[int, int]
    """Where in the text the value stands: ``text[start:end] == value``."""
    confidence: float
    """In [0, 1], by the rule that found it."""

    @property
    def statement(self) -> str:
        """The fact as a sentence, for reading and for recall."""
        if self.relation in patterns.VERBAL:
            return f"{self.subject} {self.relation} {self.value}."
        if self.relation == patterns.STATE:
            return f"The {self.subject} is {self.value}."
        return f"{self.subject}'s {self.relation} is {self.value}."


def extract_facts(text: str, speaker: str | None = None) -> tuple[Fact, ...]:
    """Return the facts that one turn states, in the order of the text, each once.

    `speaker` is whom I, my and we mean; `UNKNOWN_SPEAKER` if None. Never raises on any text; most texts give nothing.
    """
    found: dict[tuple[str, str, str], Fact] = {}
    for start, end in _clauses(text):
        for fact in _facts_of_clause(text, start, end, speaker or UNKNOWN_SPEAKER):
            value = normalised(fact.value, case=not fact.single_valued)
            found.setdefault((fact.subject.casefold(), fact.relation, value), fact)
    return tuple(found.values())


def contradicts(new: Record, old: Record) -> bool:
    """Return whether `new` takes the place of `old`: the guard of every supersession.

    Both are facts of one namespace about the same subject (compared without case) in the same relation; the relation
    has one value at a time; the values differ, and neither only says more precisely what the other says ("Lisbon",
    "Lisbon, Portugal"); `new` is valid from the same time on or a later one; and who says it may, by `may_replace`.
    """
    return (
        same_matter(new, old)
        and new.valid_from >= old.valid_from
        and differ(new.value or "", old.value or "")
        and may_replace(new, old)
    )


def may_replace(new: Record | NewRecord, old: Record | NewRecord) -> bool:
    """Return whether the source of `new` may correct `old`: its subject may, and whoever said `old`.

    What anybody else says of a subject is a claim of its own beside what others say: "Mara's dentist is Dr Keller.",
    said by Ben, ends neither Mara's own word nor Zoe's. Later, Mara's own word ends all of them.
    """
    return is_first_hand(new) or same_source(new, old)


def is_first_hand(fact: Record | NewRecord) -> bool:
    """Return whether a fact comes from whom it is about; of things ("the office is …"), whoever speaks of them.

    What a caller stores without a speaker is the caller's own word and counts as such; words that an untrusted source
    puts into somebody's mouth are hearsay.
    """
    if fact.speaker is None or fact.relation == patterns.STATE:
        return True
    return fact.source.trusted and fact.speaker.casefold() == (fact.subject or "").casefold()


def same_source(one: Record | NewRecord, other: Record | NewRecord) -> bool:
    """Return whether two facts were told by one speaker, or both by nobody who is named, with the same trust."""
    speakers = ((one.speaker or "").casefold(), (other.speaker or "").casefold())
    return speakers[0] == speakers[1] and one.source.trusted == other.source.trusted


def same_matter(one: Record, other: Record) -> bool:
    """Return whether two records are facts about one subject in one relation that has a single value at a time."""
    return (
        one.kind is other.kind is Kind.FACT
        and one.id != other.id
        and one.namespace == other.namespace
        and (one.subject or "").casefold() == (other.subject or "").casefold()
        and one.relation == other.relation
        and is_single_valued(one)
        and is_single_valued(other)
    )


def is_single_valued(fact: Record) -> bool:
    """Return whether the fact's relation has one value at a time; unknown relations may have many."""
    stated = fact.metadata.get(SINGLE_VALUED)
    if isinstance(stated, bool):
        return stated
    relation = fact.relation or ""
    return relation in patterns.SINGLE or relation.startswith("favourite ")


def differ(one: str, other: str) -> bool:
    """Return whether two values exclude each other: neither only says more precisely what the other says.

    One that is more precise holds the words of the other in their order, and what it adds is no negation, no sign, and
    no number beside a number.
    """
    first, second = _words(one), _words(other)
    shorter, longer = sorted((first, second), key=len)
    return not _refines(longer, shorter)


def repeats(new: str, old: str, *, single_valued: bool) -> bool:
    """Return whether to say `new` is to say `old` again, of one subject in one relation; else nothing is merged.

    Where a relation has many values the case of every letter counts: who likes Polish may like polish too. Where it has
    one, the other spelling could only contradict, and *lives in Rome* does not contradict *lives in rome*.
    """
    case = not single_valued
    return normalised(new, case=case) == normalised(old, case=case)


def normalised(value: str, *, case: bool = False) -> str:
    """Return a value for comparison: NFC, one space between words, without a leading article.

    A word of at least three letters counts without case if none but its first letter is large: ``Rome`` is ``rome``,
    ``US`` is not ``us``, ``Mb`` not ``MB``. With `case` that of each letter counts. Signs, units and marks stay:
    ``-5``, ``<5``, ``C++``, ``5"``, ``10⁵``.
    """
    words = unicodedata.normalize("NFC", value).split()
    if len(words) > 1 and words[0] in ("a", "an", "the", "The"):
        words = words[1:]
    return " ".join(words if case else map(_folded, words))


def _folded(word: str) -> str:
    small = word[:1].lower() + word[1:]
    plain = small == small.lower() and sum(map(str.isalpha, word)) > 2 and not any(map(str.isdigit, word))
    return small if plain else word


def _words(value: str) -> list[str]:
    """Return the words of a value, without a comma or another mark of prose after letters."""
    return [_ENDED.sub(r"\1", word) for word in normalised(value).split()]


def _refines(longer: list[str], shorter: list[str]) -> bool:
    place = 0
    for number, word in enumerate(longer):
        if place < len(shorter) and word == shorter[place]:
            place += 1
        elif word in _NEGATIONS or not _PLAIN.fullmatch(word) or _joins_number(longer, number):
            return False
    return place == len(shorter)


def _joins_number(words: list[str], place: int) -> bool:
    """Return whether a word has digits and stands beside another that has."""
    near = words[max(0, place - 1) : place] + words[place + 1 : place + 2]
    return any(map(str.isdigit, words[place])) and any(any(map(str.isdigit, word)) for word in near)


def _clauses(text: str) -> Iterator[tuple[int, int]]:
    """Yield the (start, end) of the clauses that may state a fact."""
    for start, end in sentence_spans(text):
        sentence = text[start:end]
        if len(sentence) > MAX_SENTENCE or "?" in sentence or patterns.UNREAL.search(sentence):
            continue
        place = start
        for joint in patterns.JOINT.finditer(sentence):
            yield place, start + joint.start()
            place = start + joint.end()
        yield place, end


def _facts_of_clause(text: str, start: int, end: int, speaker: str) -> Iterator[Fact]:
    clause = text[start:end].replace("\u2019", "'")
    if patterns.NEGATED.search(clause) or patterns.REPORTED.search(clause):
        return
    lead = patterns.LEAD.match(clause)
    offset = lead.end() if lead else 0
    for rule in patterns.RULES:
        found = rule.pattern.match(clause, offset)
        if not found:
            continue
        facts = list(_facts_of_match(rule, found, text, start, speaker))
        yield from facts
        if facts:
            return


def _facts_of_match(rule: patterns.Rule, found: re.Match[str], text: str, start: int, speaker: str) -> Iterator[Fact]:
    groups = found.groupdict()
    name = groups.get("subject")
    if name is not None and name.split()[0].casefold() in patterns.NO_NAMES:
        return
    subject = name or speaker
    relation = rule.relation_of(groups)
    if relation is None:
        return
    for group, about in (("value", relation), ("more", rule.second or relation)):
        if not groups.get(group):
            continue
        single = patterns.has_one_value(about, rule.single)
        spans = list(_values(found.string, *found.span(group), split=not single))
        if not all(rule.takes(found.string[low:high], groups) for low, high in spans):
            continue
        for low, high in spans:
            yield Fact(
                subject=subject,
                relation=about,
                value=text[start + low : start + high],
                single_valued=single,
                span=(start + low, start + high),
                confidence=round(rule.confidence - (0.1 if name and about != patterns.STATE else 0.0), 2),
            )


def _values(clause: str, low: int, high: int, *, split: bool) -> Iterator[tuple[int, int]]:
    """Yield the spans of the values between two places, trimmed; a short list is taken apart where `split`."""
    stop = patterns.STOP.search(clause, low, high)
    low, high = _trimmed(clause, low, stop.start() if stop else high)
    cuts = [(m.start(), m.end()) for m in patterns.LISTED.finditer(clause, low, high)] if split else []
    parts = list(zip([low, *(cut[1] for cut in cuts)], [*(cut[0] for cut in cuts), high], strict=True))
    if any(len(clause[begin:end].split()) > MAX_LISTED_WORDS for begin, end in parts):
        parts = [(low, high)]
    for begin, end in parts:
        begin, end = _trimmed(clause, begin, end)
        if begin < end and len(clause[begin:end].split()) <= MAX_VALUE_WORDS:
            yield begin, end


def _trimmed(clause: str, low: int, high: int) -> tuple[int, int]:
    while True:
        before = high
        high = low + len(clause[low:high].rstrip(" \t\n\r.,;:!\u2026\"\u201d'"))
        tail = patterns.TAIL.search(clause, low, high)
        if tail and tail.end() == high:
            high = tail.start()
        if high == before:
            break
    while low < high and clause[low] in " \t\n\r\"\u201c'":
        low += 1
    return low, high
