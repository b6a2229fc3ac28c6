"""Whether words ask or tell."""

from __future__ import annotations

from mars.language.tokens import sentences, words

QUESTION_WORDS = frozenset(("who", "whom", "whose", "what", "which", "when", "where", "why", "how"))
"""Words that open a question about one thing."""

_OPENING = QUESTION_WORDS | frozenset(
    """
    is are was were am do does did can could will would shall should has have had may might tell remind
    """.split()
)


def asks(text: str) -> bool:
    """Return whether a text wants an answer: it has a question mark, or begins the way questions do."""
    return "?" in text or _opens_a_question(text)


def tells(text: str) -> bool:
    """Return whether a text tells something, beside or instead of asking: a sentence of two words or more does."""
    return any(
        len(words(sentence)) > 1 and not sentence.rstrip().endswith("?") and not _opens_a_question(sentence)
        for sentence in sentences(text)
    )


def _opens_a_question(text: str) -> bool:
    spoken = words(text)
    return bool(spoken) and spoken[0].split("'")[0] in _OPENING
