"""`review_memory`: may what an untrusted source said take part in recall? (memory.md §9, Trust)

By rules alone. Text that speaks to a model instead of about the world fails and is archived. Text that trusted records
say too, in as many words, with the same numbers, days and polarity, passes: it brings nothing new that could harm. All
else is left undecided, so it stays in quarantine until a person or a judge decides; being harmless to look at is no
support.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from mars.agents.evidence.reading import days_named, is_negated, numbers
from mars.agents.verdicts import Decision
from mars.language import STOP_WORDS, sentences, stem, words
from mars.memory.interfaces import Record

SUPPORT = 0.9
"""Share of a sentence's content words that one sentence of one trusted record must hold."""

_STOP_STEMS = frozenset(stem(word) for word in STOP_WORDS)
_INJECTION = re.compile(
    r"\b(?:ignore|disregard|forget|override|bypass)\b[^.!?\n]{0,40}\b(?:instructions?|prompts?|rules|guidelines|above"
    r"|previous|prior|earlier|everything|safety|polic(?:y|ies))\b"
    r"|\b(?:new|updated|real|actual|hidden|following)\s+(?:system\s+)?(?:instructions?|prompt)\b"
    r"|\b(?:system|developer)\s*(?:prompt|message|override|note)\b"
    r"|\byou\s+(?:are\s+now|must\s+now|must\s+always|have\s+been\s+told)\b|\bfrom\s+now\s+on,?\s+(?:you|always|answer)\b"
    r"|\b(?:pretend|act|behave)\s+(?:to\s+be|as\s+(?:if|an?|the|though))\b|\bjailbreak|\bDAN\s+mode\b"
    r"|\b(?:do\s+not|don't|never)\s+(?:tell|inform|reveal|mention)\b[^.!?\n]{0,30}\b(?:user|anyone|human)\b"
    r"|\b(?:assistant|ai|model|agent|chatbot|llm)\b[^.!?\n]{0,20}\b(?:must|should|shall|please|has\s+to)\b"
    r"|\b(?:call|invoke|run|execute|use)\s+(?:the\s+)?(?:\w+\s+)?(?:tool|function|command|shell)\b"
    r"|\b(?:reply|respond|answer|output|print|repeat)\s+(?:only|exactly|with|verbatim)\b"
    r"|\b(?:send|forward|upload|post|email|exfiltrate)\b[^.!?\n]{0,60}(?:https?://|\w@\w|\bpasswords?\b|\bapi\s+keys?\b)"
    r"|</?\s*(?:system|assistant|user|memories|task|instructions?|lessons?|tool_results?|verdict)\b"
    r"|\[/?INST\]|<\|\w+\|>|^\s*(?:system|assistant|developer|user)\s*:|!\[[^\]]*\]\(https?://",
    re.IGNORECASE | re.MULTILINE,
)
_HIDDEN = frozenset(("Cf", "Co"))
"""Unicode categories of what a reader cannot see: format marks, private use."""


def injection(text: str) -> str | None:
    """Return the words of a text that speak to a model rather than about the world, or None; hidden marks count."""
    if any(unicodedata.category(mark) in _HIDDEN and mark not in "\u200d\ufe0f" for mark in text):
        return "it holds marks that a reader cannot see"
    found = _INJECTION.search(unicodedata.normalize("NFKC", text))
    return found.group()[:120] if found else None


def supported(text: str, trusted: Iterable[str]) -> bool:
    """Return whether trusted texts say every sentence of a text too: words, numbers, days and polarity."""
    known = [sentence for each in trusted for sentence in sentences(each)]
    said = sentences(text)
    return bool(said) and all(any(_says(other, sentence) for other in known) for sentence in said)


def _says(known: str, sentence: str) -> bool:
    content = [stem(word) for word in words(sentence) if stem(word) not in _STOP_STEMS]
    held = {stem(word) for word in words(known)}
    return (
        len(content) > 1
        and sum(term in held for term in content) >= SUPPORT * len(content)
        and numbers(sentence) <= numbers(known)
        and {each.phrase.lower() for each in days_named(sentence)} <= {e.phrase.lower() for e in days_named(known)}
        and is_negated(sentence) == is_negated(known)
    )


def review_memory(batch: Sequence[Record], support: Mapping[str, Sequence[Record]]) -> dict[str, Decision]:
    """Return for each record of a batch, by its id, whether it may take part in recall.

    `support` holds for an id the records that were recalled for its text; only those of trusted sources count, and only
    if they were derived from nothing in the batch. Rejected: to be archived. Abstained: stays where it is.
    """
    waiting = {record.id for record in batch}
    decided = {}
    for record in batch:
        trusted = [
            other.text
            for other in support.get(record.id, ())
            if other.source.trusted and other.id != record.id and not waiting.intersection(other.provenance.sources)
        ]
        if injection(record.text) is not None:
            decided[record.id] = Decision.REJECTED
        elif supported(record.text, trusted):
            decided[record.id] = Decision.APPROVED
        else:
            decided[record.id] = Decision.ABSTAINED
    return decided
