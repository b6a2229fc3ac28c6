"""The recalled records as sources of a claim: how much of it each holds, and how near each is to the question.

Each record is read for the claim (content words by rarity, dates, numbers), for the question (in itself, and with the
turns around it), for its place in the question's own recall, and for who spoke. Nothing here knows what a draft cites.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Set
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, lru_cache

from mars.agents.evidence.case import Case
from mars.agents.evidence.claims import ANSWER_WORDS, STOP_STEMS, agrees, counted_from_saying, dates_of
from mars.agents.evidence.reading import (
    BACKGROUND,
    FORM_WORDS,
    NUMBER_WORDS,
    days_named,
    numbers,
    read,
    text_terms,
    without_dates,
)
from mars.agents.interfaces import Evidence
from mars.language import lexical_date_terms, stem, words

BESIDE = 1
"""Turns on each side in which the rest of an answer may stand."""
WITHIN = 2
"""Turns on each side that belong to what a record is about."""
UNRANKED = 40
"""Place of a record that the question's own recall did not bring."""

_ITEMS = re.compile(r",|;|\band\b|\bor\b|&|\n", re.IGNORECASE)
_EMPTY_WORDS = STOP_STEMS | FORM_WORDS | ANSWER_WORDS | {stem(word) for word in NUMBER_WORDS}


@dataclass(frozen=True, slots=True)
class Source:
    """A recalled record as a source of the claim; all shares in [0, 1]."""

    item: Evidence
    """The record."""
    words: frozenset[str]
    """Its terms, and those of its day."""
    figures: tuple[float, ...]
    """Shares of the claim's dates and numbers that it holds; see `Claim.figures`."""
    support: float
    """Mean of these shares and of that of the claim's words, of those that there are."""
    around: float
    """The same with the turns beside it."""
    topic: float
    """Share of the question in it and the turns around it."""
    own_topic: float
    """Share of the question in it alone."""
    sentence: float
    """Greatest product of the shares of question and claim in one of its sentences."""
    reached: float
    """1 for the first record of the question's recall, less for later ones."""
    asked: float
    """1 if the one asked about said it, 0 if another did, 0.5 where the question names not one speaker."""

    @property
    def strength(self) -> float:
        """How well it answers with the claim."""
        return self.support * self.topic * self.reached

    @property
    def nearness(self) -> float:
        """How near it is to the question, whatever the claim."""
        return self.topic * (0.3 + self.reached) * (0.7 + 0.3 * self.asked)

    def rank(self, support: float) -> float:
        """Return how fit it is to be cited for what it supports so much."""
        return (support + 0.05) * (self.topic + 0.1) * (self.reached + 0.3) * (0.6 + 0.4 * self.asked)


class Claim:
    """A claim, read against every recalled record."""

    def __init__(self, case: Case) -> None:
        self.case = case
        """What is under review."""
        self._texts = [text_terms(item.text) for item in case.evidence]
        self._names = {term for item in case.evidence for term in text_terms(item.speaker or "")}
        self._asked = text_terms(case.review.task.text)
        self._weighed: dict[Collection[str], tuple[float, list[tuple[float, frozenset[str]]]]] = {}
        self.terms = self._content(case.claim)
        """Content words beyond the question's, all of them where there are no others; no names of speakers."""
        self.days = days_named(case.claim, case.review.task.asked_at)
        """Dates that it names."""
        self.numbers = numbers(without_dates(case.claim)) - {"1"}
        """Numbers that are no dates."""

    def _content(self, text: str) -> frozenset[str]:
        said = {stem(word) for word in words(without_dates(text)) if not word[0].isdigit()}
        said -= _EMPTY_WORDS | self._names | {""}
        return frozenset(said - self._asked or said)

    @cached_property
    def items(self) -> tuple[frozenset[str], ...]:
        """The terms of each item of a list; one where it is none."""
        parts = (self._content(part) & self.terms for part in _ITEMS.split(self.case.claim))
        return tuple(part for part in parts if part)

    @property
    def information(self) -> float:
        """How much there is to find: ln(1 + rarities of its terms, 3 for each date, 2 for each number)."""
        return math.log1p(sum(map(self._rarity, self.terms)) + 3 * len(self.days) + 2 * len(self.numbers))

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset().union(*self._texts)

    def _rarity(self, term: str) -> float:
        count = sum(term in held for held in self._texts)
        return math.log(1 + (len(self._texts) + BACKGROUND) / (count + 1))

    def share(self, wanted: Collection[str], held: frozenset[str]) -> float:
        """Return the share of some terms, by rarity, that others hold; 0 if there is nothing to find."""
        weighed = self._weighed.get(wanted)
        if weighed is None:
            terms = [(self._rarity(term), self._forms(term)) for term in wanted]
            weighed = self._weighed[wanted] = (sum(rarity for rarity, _ in terms), terms)
        total, terms = weighed
        return sum(rarity for rarity, forms in terms if not forms.isdisjoint(held)) / total if total else 0.0

    def _forms(self, term: str) -> frozenset[str]:
        """Return a term and, if nothing recalled holds it, what begins like it: "counselor" for "counsel"."""
        near = () if term in self._known else (other for other in self._known if _begin_alike(term, other))
        return frozenset((term, *near))

    def figures(self, item: Evidence) -> tuple[float, ...]:
        """Return the shares of the claim's dates and of its numbers that a record holds, of those that it has."""
        parts = []
        if self.days:
            known = tuple(dates_of(self.case, item))
            named = (
                any(agrees(day, other) for other in known) or counted_from_saying(self.case, day, (item,))
                for day in self.days
            )
            parts.append(sum(named) / len(self.days))
        if self.numbers:
            parts.append(len(self.numbers & numbers(item.text)) / len(self.numbers))
        return tuple(parts)

    @cached_property
    def sources(self) -> tuple[Source, ...]:
        """Every recalled record, in the order of the recall."""
        places = {item.record: place for place, item in enumerate(self.case.review.evidence)}
        turns = {(item.conversation, item.position): text_terms(item.text) for item in self.case.evidence}
        return tuple(self._source(item, places.get(item.record, UNRANKED), turns) for item in self.case.evidence)

    def _source(
        self, item: Evidence, place: int, turns: Mapping[tuple[str | None, int | None], frozenset[str]]
    ) -> Source:
        own = text_terms(item.text) | _day_terms(item.said_at)
        beside = within = own
        if item.position is not None:
            for step in range(-WITHIN, WITHIN + 1):
                near = turns.get((item.conversation, item.position + step), frozenset())
                within |= near
                beside = beside | near if abs(step) <= BESIDE else beside
        topic = self.case.topic
        asked = self.case.asked
        joint = (
            self.share(topic, sentence.terms) * (self.share(self.terms, sentence.terms) if self.terms else 1.0)
            for sentence in read(item.text)
        )
        figures = self.figures(item)
        return Source(
            item=item,
            words=own,
            figures=figures,
            support=self._mean(self.terms, own, figures),
            around=self._mean(self.terms, beside, figures),
            topic=self.share(topic, within),
            own_topic=self.share(topic, own),
            sentence=max(joint, default=0.0),
            reached=1.0 / (1.0 + place / 4.0),
            asked=0.5 if len(asked) != 1 else float(item.speaker in asked),
        )

    def _mean(self, terms: frozenset[str], held: frozenset[str], figures: tuple[float, ...]) -> float:
        parts = (self.share(terms, held), *figures) if terms else figures
        return sum(parts) / len(parts) if parts else 0.0

    def rank(self, item: frozenset[str], source: Source) -> float:
        """Return how well a source bears out one item of the claim, to say which to cite."""
        return source.rank(self._mean(item, source.words, source.figures))

    @cached_property
    def best(self) -> Source | None:
        """The best source; None where nothing was recalled."""
        return max(self.sources, key=lambda source: source.rank(source.support), default=None)

    @cached_property
    def most(self) -> float:
        """Greatest support of a record."""
        return max((source.support for source in self.sources), default=0.0)

    def held_by(self, records: Set[str]) -> float:
        """Return the mean share of the claim's words, dates and numbers that some records hold together."""
        chosen = [source for source in self.sources if source.item.record in records]
        held: frozenset[str] = frozenset().union(*(source.words for source in chosen))
        parts = [self.share(self.terms, held)] if self.terms else []
        parts += [max(column) for column in zip(*(source.figures for source in chosen), strict=True)]
        return sum(parts) / len(parts) if parts else 0.0


def sources_of(case: Case) -> tuple[str, ...]:
    """Return the refs that a careful Assistant cites for what a draft says: for each item the best record shown."""
    claim = Claim(case)
    shown = {item.record for item in case.review.evidence}
    sources = [source for source in claim.sources if source.item.record in shown]
    cited: dict[str, None] = {}
    for item in claim.items or (frozenset(),):
        ranks = [claim.rank(item, source) for source in sources]
        if ranks:
            cited[sources[ranks.index(max(ranks))].item.ref] = None
    return tuple(cited)


def _begin_alike(one: str, other: str) -> bool:
    short = min(len(one), len(other))
    return short >= 5 and abs(len(one) - len(other)) <= 4 and one[: short - 1][:6] == other[: short - 1][:6]


@lru_cache(maxsize=4096)
def _day_terms(moment: datetime) -> frozenset[str]:
    return frozenset(stem(word) for word in lexical_date_terms(moment))
