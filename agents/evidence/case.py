"""One draft under review, read once for all checks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from mars.agents.evidence.reading import (
    Sentence,
    asked_about,
    claim,
    neighbours,
    person_asked,
    pool,
    rarities,
    read,
    share,
    text_terms,
    topic,
    weights,
)
from mars.agents.interfaces import Evidence, Review
from mars.agents.rendering import citations
from mars.language import lexical_date_terms, stem, words

SUPPORTED = 0.3
"""Share of a claim's content words beyond the question's that its sources must hold where it is no quotation."""
OWN = 0.3
"""Share to which a sentence must be about its speaker to count as their own words about themselves."""

_PRESENT = frozenset(
    ("is", "are", "am", "do", "does", "will", "can", "what's", "who's", "where's", "when's", "how's", "i'm", "should")
)
_PAST = frozenset(
    """
    did was were had has have would could been went came got made took gave said told saw found bought brought met began
    wrote won lost left felt held kept led ran sang sold sent spent spoke stood taught thought became built chose fell
    flew grew heard knew paid rode rose sat slept swam threw wore before after ago last yesterday past previous
    previously earlier first ever
    """.split()
)
_LIST = re.compile(r",|;|&|\band\b", re.IGNORECASE)


def plain(text: str) -> str:
    """Return a text so that two that differ in case, white space and closing punctuation only are equal."""
    return " ".join(text.casefold().split()).strip(" .!?,;:\"'\u201c\u201d")


@dataclass(frozen=True)
class Case:
    """A review, with what the checks need to know about it."""

    review: Review
    """What the Checker was given."""
    supported: float = SUPPORTED
    """Least share of a claim's content words beyond the question's that its sources must hold, in [0, 1]."""

    @cached_property
    def claim(self) -> str:
        """What the draft says, without citations."""
        return claim(self.review.draft)

    @cached_property
    def evidence(self) -> tuple[Evidence, ...]:
        """Everything recalled, each record once, best first."""
        return pool(self.review)

    @cached_property
    def by_ref(self) -> Mapping[str, Evidence]:
        """Ref to evidence, the Checker's own refs included."""
        return {item.ref: item for item in (*self.review.wider, *self.review.evidence)}

    @cached_property
    def refs(self) -> tuple[str, ...]:
        """The refs that the draft cites."""
        return citations(self.review.draft)

    @cached_property
    def cited(self) -> tuple[Evidence, ...]:
        """The cited records that exist."""
        return tuple(self.by_ref[ref] for ref in self.refs if ref in self.by_ref)

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """The texts that the draft may rest on: its cited records, and what tools returned."""
        return (*(item.text for item in self.cited), *self.review.tool_results)

    @cached_property
    def asked(self) -> frozenset[str]:
        """The speakers whom the question is about."""
        return asked_about(self.review.task, self.evidence)

    @cached_property
    def person(self) -> str | None:
        """The one person whose matter the question asks for, whether they speak or not; None if that is not clear."""
        return person_asked(self.review.task, self.evidence)

    @cached_property
    def topic(self) -> tuple[str, ...]:
        """The terms that say what the question is about."""
        return topic(self.review.task, self.evidence)

    @cached_property
    def weight(self) -> Mapping[str, float]:
        """The rarity of each of these terms among the evidence."""
        return weights(self.topic, self.evidence)

    @cached_property
    def rarity(self) -> Mapping[str, float]:
        """The same as if `BACKGROUND` records without it lay beside the evidence: never 0."""
        return rarities(self.topic, self.evidence)

    @cached_property
    def question(self) -> tuple[str, ...]:
        """The question's words."""
        return tuple(words(self.review.task.text))

    @cached_property
    def is_list(self) -> bool:
        """Whether the claim names several things, each with a source: "pottery and painting [m1] [m4]"."""
        return len(self.cited) > 1 and bool(_LIST.search(self.claim))

    @cached_property
    def is_copied(self) -> bool:
        """Whether the draft holds a whole sentence of a record that it cites, word for word."""
        behind = (self.behind(item) for item in self.cited)
        return any(each is not None and plain(each.text) in plain(self.claim) for each in behind)

    @property
    def is_own(self) -> bool:
        """Whether the draft picks its words from what the one person asked about says of themselves.

        A whole sentence, copied, picks nothing: it stands in its source whatever was asked.
        """
        behind = [(item, self.behind(item)) for item in self.cited]
        if self.is_copied:
            return False
        own = all(item.speaker in self.asked and each is not None and each.own >= OWN for item, each in behind)
        return len(self.asked) == 1 and bool(self.cited) and own

    @property
    def about_the_past(self) -> bool:
        """Whether the question asks what happened, not what is or will be so."""
        return not _PRESENT.intersection(self.question)

    @property
    def says_past(self) -> bool:
        """Whether a word of the question puts it into the past; "Which hook holds the coat?" has none."""
        return any(word in _PAST or word.endswith("ed") for word in self.question)

    def is_verbatim(self, text: str) -> bool:
        """Return whether the claim stands in a text word for word."""
        said = re.escape(plain(self.claim))
        return bool(said) and bool(re.search(rf"(?<!\w){said}(?!\w)", plain(text)))

    def coverage(self, item: Evidence) -> float:
        """Return the share of the question's terms, by rarity, in a record, its date and its neighbours, in [0, 1]."""
        held = set(text_terms(item.text)) | {stem(word) for word in lexical_date_terms(item.said_at)}
        for turn in neighbours(item, self.evidence, before=2, after=2):
            held |= text_terms(turn.text)
        if item.relation:
            held |= text_terms(item.relation)
        return share(self.rarity, held)

    def behind(self, item: Evidence) -> Sentence | None:
        """Return the sentence of a record that the claim rests on: the one that holds it, else the best on topic."""
        sentences = read(item.text)
        holding = next((each for each in sentences if self.is_verbatim(each.text)), None)
        said = text_terms(self.claim)
        return holding or max(
            sentences,
            key=lambda each: (share(self.weight, each.terms), len(said & each.terms)),
            default=None,
        )
