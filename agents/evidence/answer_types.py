"""Does an answer have the form that its question asks for? "When" wants a time, "how many" a number.

Rules of words only (Li and Roth 2002 call them question classes). They say no where the forms exclude each other, and
nothing where they could go together.
"""

from __future__ import annotations

import re
from functools import lru_cache

from mars.agents.evidence.reading import NUMBER_WORDS, days_named, numbers, without_dates
from mars.language import words

FIRM = 1.0
"""A form that cannot answer."""
DOUBTFUL = 0.6
"""A form that seldom answers."""
SHORT = 6
"""Words up to which an answer is nothing but its form: a longer one may name a date beside what was asked."""

_AUXILIARIES = frozenset(
    "would does do did is are has have will can could was were had should may might must shall".split()
)
_ASKS = {
    "time": r"^(?:and |so |but )?when\b|\b(?:since|until|by) when\b"
    r"|\b(?:what|which) (?:\w+ )?(?:date|day|week|weekend|month|year|time|season)\b",
    "span": r"\bhow long\b|\bhow many (?:years|months|weeks|days|hours|minutes)\b",
    "frequency": r"\bhow (?:often|frequently)\b|\bhow many times\b",
    "amount": r"\bhow (?:many|much|old|far|tall|big|large)\b"
    r"|\b(?:what|which) (?:\w+ ){0,3}(?:number|score|amount|price|total|age|percentage|code|pin)\b",
    "manner": r"\bhow\b",
    "reason": r"\bwhy\b|\breasons?\b|\bmotivat",
    "deed": r"\bwhat (?:do|does|did|has|have|will|is|was|are|were)\b.*\b(?:do|doing|done|plans?|planning)\b",
}
_ASKED = {name: re.compile(pattern) for name, pattern in _ASKS.items()}
_UNIT = r"(?:second|minute|hour|day|night|week|weekend|month|year|decade)s?"
_SPAN = re.compile(
    rf"(?:\d+|\b(?:a|an|few|several|{'|'.join(NUMBER_WORDS)}))\s+{_UNIT}\b|\bsince\b|\bfor\s+(?:a|over|about)\b",
    re.IGNORECASE,
)
_FREQUENCY = re.compile(r"\b(?:once|[Tt]wice|times|every|daily|weekly|monthly|yearly|often|always|usually|regularly)\b")
_SEASON = re.compile(r"\b(?:spring|summer|autumn|fall|winter)\b(?! [A-Z])")
_CLOCK = re.compile(r"\b\d{1,2}(?::\d\d|\s*(?:am|pm|o'clock)\b)|\b(?:noon|midnight|morning|afternoon|evening|night)\b")
_COUNT = re.compile(rf"\W*(?:\d[\d,.]*|{'|'.join(NUMBER_WORDS)})(?:\s+times?)?\W*", re.IGNORECASE)
_YES_OR_NO = re.compile(r"\W*(?:likely\s+|probably\s+)?(?:yes|no)\b(?!\s+\w+(?:s|ed)?\s*$)", re.IGNORECASE)
_MEANS = re.compile(r"\W*(?:by|through|with)\b", re.IGNORECASE)
_CAUSE = re.compile(r"\W*(?:because|to)\b", re.IGNORECASE)


@lru_cache(maxsize=4096)
def asked_for(question: str) -> frozenset[str]:
    """Return the forms that a question asks for: time, span, frequency, amount, manner, reason, deed, yes or no."""
    spoken = words(question)
    text = " ".join(spoken)
    found = {name for name, pattern in _ASKED.items() if pattern.search(text)}
    if (spoken and spoken[0] in _AUXILIARIES) or "yes or no" in text:
        found.add("yes or no")
    return frozenset(found)


def mismatch(question: str, answer: str) -> float:
    """Return how badly an answer's form fits what a question asks for: 0, `DOUBTFUL` or `FIRM`."""
    asked, form = asked_for(question), _forms(answer)
    is_short = len(words(answer)) <= SHORT
    timed = asked & {"time", "span", "frequency"}
    counted = timed | asked & {"amount"}
    if (
        ("time" in asked and not form & {"time", "span"})
        or ("span" in asked and not form & {"span", "time", "amount"})
        or ("frequency" in asked and not form & {"frequency", "amount", "span"})
        or ("amount" in asked and not form & {"amount", "frequency"})
        or ("yes or no" in form and "yes or no" not in asked)
        or ("count" in form and not counted)
        or ("reason" in asked and len(words(answer)) == 1)
        or (is_short and "date" in form and not timed)
        or (is_short and "span" in form and not counted)
        or (is_short and "frequency" in form and not counted | asked & {"manner"})
    ):
        return FIRM
    doubtful = (
        ("yes or no" in asked and "yes or no" not in form)
        or ("means" in form and not asked & {"manner", "reason"})
        or ("cause" in form and not asked & {"manner", "reason", "deed"} and "what" not in words(question))
    )
    return DOUBTFUL if doubtful else 0.0


@lru_cache(maxsize=4096)
def _forms(answer: str) -> frozenset[str]:
    named = days_named(answer)
    tests = {
        "date": bool(named or _SEASON.search(answer)),
        "time": bool(named or _SEASON.search(answer) or _CLOCK.search(answer)),
        "span": bool(_SPAN.search(answer)),
        "frequency": bool(_FREQUENCY.search(answer)),
        "amount": bool(numbers(without_dates(answer))),
        "count": bool(_COUNT.fullmatch(answer)),
        "yes or no": bool(_YES_OR_NO.match(answer)),
        "means": bool(_MEANS.match(answer)),
        "cause": bool(_CAUSE.match(answer)),
    }
    return frozenset(name for name, holds in tests.items() if holds)
