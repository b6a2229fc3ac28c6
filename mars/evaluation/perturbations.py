"""Wrong drafts made from right ones: LoCoMo's answers with one thing changed.

=========== =========================================================== ================================================
kind        what is changed                                             left out, because it may be right by accident
=========== =========================================================== ================================================
swap        another question's answer of the same category and          answers that share a content word, number or day
            conversation                                                with the right one, or an evidence turn
number      one number that is no part of a date                        a new number that the answer holds already
date        one day, month or year                                      days that overlap the right ones
negation    a "not" is put in or taken out; yes and no change places    nothing
speaker     the two who talk change places in question and answer       questions that name both or neither; where the
                                                                        other person's question has a like answer
stale       the draft stays, but a later turn of the same speaker       answers that stand in no evidence turn word for
            states another value                                        word: nothing then states the older value
=========== =========================================================== ================================================

A change that a question does not allow (an answer without a number) gives nothing. Every choice is made by a generator
that is seeded by the question, so that a draft does not depend on which others are made.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mars.agents.evidence.reading import days_named, is_negated, numbers
from mars.ingest.locomo import LocomoConversation, LocomoQuestion
from mars.language import STOP_WORDS, stem, words
from mars.language.dates import MONTHS
from mars.memory.records import NewRecord

KINDS = ("swap", "number", "date", "negation", "speaker", "stale")
"""The changes, in the order of the table above."""
SEED = 0
"""What the generators are seeded with, beside the question."""

_NUMBER_NAMES = "two three four five six seven eight nine ten eleven twelve".split()
_MONTH_NAMES = [name.capitalize() for name in MONTHS if len(name) > 3 or name == "may"]
_MONTH = re.compile(rf"\b(?:{'|'.join(_MONTH_NAMES)})\b", re.IGNORECASE)
_YEAR = re.compile(r"\b(?:19|20)\d\d\b")
_DAY = re.compile(r"(?<![\d:$])\b([12]?\d|3[01])(?=\s*(?:st|nd|rd|th)?\b)(?!:)")
_AUXILIARY = re.compile(
    r"\b(is|are|was|were|has|have|had|can|could|will|would|should|does|did|do)\b(?!\s+not\b)", re.IGNORECASE
)
_NOT = re.compile(r"\b(?:not|never)\s+", re.IGNORECASE)
_CONTRACTED = re.compile(r"\b(is|are|was|were|has|have|had|could|would|should|does|did|do)n['\u2019]t\b", re.IGNORECASE)
_STOP_STEMS = frozenset(stem(word) for word in STOP_WORDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrong:
    """A question with a draft that is wrong."""

    kind: str
    """What was changed, of `KINDS`."""
    question: str
    """The question; only `speaker` changes it."""
    draft: str
    """The wrong answer, without citations."""
    planted: NewRecord | None = None
    """A later turn that makes the draft out of date; of `stale` only."""


def perturbed(kind: str, sample: LocomoConversation, question: LocomoQuestion, seed: int = SEED) -> Wrong | None:
    """Return a wrong draft of one kind for a question with an answer, or None where the question allows none."""
    rng = random.Random(f"{seed}/{kind}/{sample.id}/{question.text}")
    made = _MAKERS[kind](sample, question, rng)
    return None if made is None or (_same(made.draft, question) and made.kind not in ("stale", "speaker")) else made


def _same(draft: str, question: LocomoQuestion) -> bool:
    return words(draft) == words(question.answer or "")


def content(text: str) -> frozenset[str]:
    """Return the stems of a text's content words, and its numbers."""
    return frozenset(stem(word) for word in words(text)) - _STOP_STEMS | numbers(text)


def _swap(sample: LocomoConversation, question: LocomoQuestion, rng: random.Random) -> Wrong | None:
    right = question.answer or ""
    others = [
        one.answer
        for one in sample.questions
        if one.answer and one.category == question.category and not set(one.evidence) & set(question.evidence)
        if not content(one.answer) & content(right) and not _overlap(one.answer, right)
    ]
    return Wrong(kind="swap", question=question.text, draft=rng.choice(others)) if others else None


def _overlap(one: str, other: str) -> bool:
    """Return whether two texts name days in common."""
    ours, theirs = days_named(one), days_named(other)
    return any(a.start <= b.end and b.start <= a.end for a in ours for b in theirs)


def _number(sample: LocomoConversation, question: LocomoQuestion, rng: random.Random) -> Wrong | None:
    answer = question.answer or ""
    dated = [(each.offset, each.offset + len(each.phrase)) for each in days_named(answer)]
    dated += [found.span() for found in _MONTH.finditer(answer)]
    free = [
        found
        for found in re.finditer(rf"(?<![\w.,])\d+(?![\w]*[a-z])(?:,\d+)*|\b(?:{'|'.join(_NUMBER_NAMES)})\b", answer)
        if not any(start <= found.start() < end for start, end in dated) and not (dated and found.group().isdigit())
    ]
    if not free:
        return None
    found = rng.choice(free)
    held = numbers(answer)
    if found.group()[0].isdigit():
        value = int(found.group().replace(",", ""))
        near = [str(value + step) for step in (-3, -2, -1, 1, 2, 3, 5, 10) if value + step > 0]
    else:
        near = _NUMBER_NAMES
    new = [each for each in near if not numbers(each) & held]
    draft = answer[: found.start()] + rng.choice(new) + answer[found.end() :]
    return Wrong(kind="number", question=question.text, draft=draft)


def _date(sample: LocomoConversation, question: LocomoQuestion, rng: random.Random) -> Wrong | None:
    answer = question.answer or ""
    named = [each for each in days_named(answer) if re.search(r"\d", each.phrase) or _MONTH.search(each.phrase)]
    if not named or (not _YEAR.search(answer) and not _MONTH.search(answer)):
        return None
    changes: list[Callable[[str, random.Random], str]] = [_other_month, _other_year, _other_day]
    rng.shuffle(changes)
    for change in changes:
        draft = change(answer, rng)
        if draft != answer and not _overlap(draft, answer):
            return Wrong(kind="date", question=question.text, draft=draft)
    return None


def _other_month(text: str, rng: random.Random) -> str:
    found = _MONTH.search(text)
    if found is None:
        return text
    other = rng.choice([name for name in _MONTH_NAMES if name.lower() != found.group().lower()])
    return text[: found.start()] + other + text[found.end() :]


def _other_year(text: str, rng: random.Random) -> str:
    found = _YEAR.search(text)
    if found is None:
        return text
    return text[: found.start()] + str(int(found.group()) + rng.choice((-2, -1, 1))) + text[found.end() :]


def _other_day(text: str, rng: random.Random) -> str:
    found = _DAY.search(text) if _MONTH.search(text) else None
    if found is None:
        return text
    day = (int(found.group(1)) - 1 + rng.choice((10, 11, 12, 13, 14))) % 28 + 1
    return text[: found.start()] + str(day) + text[found.end() :]


def _negation(sample: LocomoConversation, question: LocomoQuestion, rng: random.Random) -> Wrong | None:
    answer = question.answer or ""
    first = (words(answer) or [""])[0]
    if first in ("yes", "no", "likely yes", "likely no"):
        flipped = re.sub(r"^\W*(yes|no)", "No" if first == "yes" else "Yes", answer, count=1, flags=re.IGNORECASE)
        return Wrong(kind="negation", question=question.text, draft=flipped)
    for pattern, plain in ((_NOT, ""), (_CONTRACTED, r"\1")):
        if is_negated(answer) and pattern.search(answer):
            return Wrong(kind="negation", question=question.text, draft=pattern.sub(plain, answer, count=1))
    helped = _AUXILIARY.sub(r"\1 not", answer, count=1)
    return Wrong(kind="negation", question=question.text, draft=helped if helped != answer else f"not {answer}")


def _speaker(sample: LocomoConversation, question: LocomoQuestion, rng: random.Random) -> Wrong | None:
    pair = sorted({turn.speaker for turn in sample.turns if turn.speaker})
    if len(pair) != 2 or len([name for name in pair if name in question.text]) != 1:
        return None
    asked = _exchanged(question.text, pair)
    (other,) = (name for name in pair if name in asked)
    theirs = [one.answer or "" for one in sample.questions if other in one.text and _alike(one.text, asked)]
    if any(content(each) & content(question.answer or "") for each in theirs):
        return None
    return Wrong(kind="speaker", question=asked, draft=_exchanged(question.answer or "", pair))


def _exchanged(text: str, pair: Sequence[str]) -> str:
    one, other = pair
    return re.sub(
        rf"\b(?:{re.escape(one)}|{re.escape(other)})\b", lambda found: other if found.group() == one else one, text
    )


def _alike(one: str, other: str) -> bool:
    ours, theirs = content(one), content(other)
    return len(ours & theirs) >= 0.6 * min(len(ours), len(theirs))


def _stale(sample: LocomoConversation, question: LocomoQuestion, rng: random.Random) -> Wrong | None:
    answer = (question.answer or "").strip().rstrip(".")
    held = re.compile(rf"(?<!\w){re.escape(answer)}(?!\w)", re.IGNORECASE)
    for turn in sample.turns:
        if not answer or turn.metadata["dia_id"] not in question.evidence or turn.event_time is None:
            continue
        line = next((line for line in re.split(r"(?<=[.!?])\s+|\n", turn.text) if held.search(line)), "")
        other = _swap(sample, question, rng)
        found = held.search(line)
        if found is None or other is None or line.endswith("?") or line.startswith("[image"):
            continue
        text = (
            f"A correction of what I said before: {line[: found.start()]}{other.draft.rstrip('.')}{line[found.end() :]}"
        )
        last = sample.turns[-1]
        planted = NewRecord(
            text=text,
            namespace=turn.namespace,
            conversation=f"{sample.id}/later",
            position=0,
            speaker=turn.speaker,
            event_time=last.event_time,
            idempotency_key=f"{sample.id}/later/{question.text}",
            metadata={"dia_id": "later"},
        )
        return Wrong(kind="stale", question=question.text, draft=answer, planted=planted)
    return None


_MAKERS: dict[str, Callable[[LocomoConversation, LocomoQuestion, random.Random], Wrong | None]] = {
    "swap": _swap,
    "number": _number,
    "date": _date,
    "negation": _negation,
    "speaker": _speaker,
    "stale": _stale,
}
