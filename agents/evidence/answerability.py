"""Answerability: does what was recalled hold an answer about the person who was asked about?

A question about the wrong person finds the right topic in somebody else's words. So the score rests on whom the
supporting sentences are about: a sentence is about its speaker as far as it says "I" and "my", and about the others
as far as it says "you" and "your". Four features, described below, enter a logistic model whose coefficients are data
(``answerability.json``); ``python -m mars.evaluation.answers FILE --fit`` makes them anew. No feature knows the draft,
a reference or the question's category.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from importlib.resources import files

from mars.agents.evidence.logistic import Logistic
from mars.agents.evidence.reading import asked_about, read, share, topic, weights
from mars.agents.interfaces import Evidence, Task

BEST = 8
"""So many of the best sentences of each side are summed, so that a wider recall does not count as more support."""


@dataclass(frozen=True, slots=True)
class Features:
    """What the model sees of one question and what was recalled for it."""

    support: float
    """Sum of squared shares of the question's terms in the best sentences about the person asked about, >= 0."""
    margin: float
    """`support` less the same sum of sentences about others."""
    balance: float
    """`margin` by the sum of both, in [-1, 1]; 1 where the question names nobody who speaks."""
    ownership: float
    """How much more the asked person's sentences hold the question's terms than others' do, by rarity, in [-1, 1]."""

    def values(self) -> tuple[float, ...]:
        """Return them in the order of the fields."""
        return tuple(getattr(self, name) for name in FEATURES)


FEATURES = tuple(field.name for field in fields(Features))
"""Names of the features, in the model's order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerabilityModel(Logistic):
    """The logistic model of `Features`."""

    def score(self, features: Features) -> float:
        """Return the chance that the recalled evidence holds the answer, in (0, 1)."""
        return self.chance(features.values())


@lru_cache(maxsize=1)
def shipped_model() -> AnswerabilityModel:
    """Return the model in ``answerability.json``."""
    data = json.loads(files("mars.agents.evidence").joinpath("answerability.json").read_text("utf-8"))
    return AnswerabilityModel.of(data)


def features(task: Task, evidence: Sequence[Evidence]) -> Features:
    """Return the features of a question and of everything that was recalled for it, best first."""
    wanted = topic(task, evidence)
    asked = asked_about(task, evidence)
    weight = weights(wanted, evidence)
    sides: tuple[list[float], list[float]] = ([], [])
    mentions = {term: [0.0, 0.0] for term in wanted}
    for item in evidence:
        speaker = int(len(asked) == 1 and item.speaker not in asked)
        addressed = int(len(asked) == 1 and not speaker)
        for sentence in read(item.text):
            found = share(weight, sentence.terms) ** 2
            for side, part in ((speaker, sentence.own), (addressed, 1.0 - sentence.own)):
                sides[side].append(found * part)
                for term in weight.keys() & sentence.terms:
                    mentions[term][side] += part
    mine, others = (math.fsum(sorted(values, reverse=True)[:BEST]) for values in sides)
    owned = (
        weight[term] * (ours - theirs) / (ours + theirs) for term, (ours, theirs) in mentions.items() if ours + theirs
    )
    return Features(
        support=mine,
        margin=mine - others,
        balance=(mine - others) / (mine + others) if mine + others else 0.0,
        ownership=math.fsum(owned) / (sum(weight.values()) or 1.0),
    )
