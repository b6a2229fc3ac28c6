"""Support: do the recalled memories answer the question with this claim, and whose words are they?

For claims in words of their own; a copied sentence is judged by the rules. A few features of the claim's sources, of
which `surprise` does most: had the records that hold the claim been strewn at random among all that was recalled, how
seldom would one of them lie that near the question? Two logistic models (``claims.json``) weigh them: `support` tells a
right answer from the answer to another question, `ownership` from the answer about somebody else.
``python -m mars.evaluation.claim_models FILE`` makes them anew. No feature knows a reference.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

from mars.agents.evidence.answer_types import mismatch
from mars.agents.evidence.answerability import Features
from mars.agents.evidence.logistic import Logistic
from mars.agents.evidence.reading import BACKGROUND
from mars.agents.evidence.sources import Claim

HOLDS = 0.6
"""Share of the best record's support from which another record holds the claim too; of an item, from which one does."""
LEAST = 0.2
"""Least support of a record that counts as holding the claim."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SupportFeatures:
    """What the model of support sees of a claim. Shares are by rarity, in [0, 1]."""

    surprise: float
    """-ln of the chance that a record that holds the claim lies so near the question by accident, >= 0."""
    item_surprise: float
    """The same for the best item of a list."""
    source: float
    """Of the best source: its support times its topic times its place in the recall, by the claim's information."""
    sentence: float
    """Greatest product of the shares of question and claim in one sentence."""
    verbatim: float
    """1 where the best source holds the claim word for word."""
    around: float
    """Greatest share of the claim in a record and the turns beside it."""
    shown: float
    """Share of the claim in all records of the prompt together."""
    topic: float
    """Greatest share of the question in one record."""
    answerable: float
    """`Features.support` of the question."""
    mismatch: float
    """How badly the claim's form fits what is asked for; see `mismatch`."""
    asked_terms: float
    """ln(1 + number of the question's terms)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnershipFeatures:
    """What the model of ownership sees: whose words answer, the asked person's or another's."""

    balance: float
    """`Features.balance` of the question."""
    margin: float
    """`Features.margin` of the question."""
    lead: float
    """Best source among the asked person's records less the best among others', in [-1, 1]."""
    rival: float
    """Best source among others' records, in [0, 1]."""
    voice: float
    """Share to which the best source's sentence is about the one asked about, in [0, 1]."""
    one_asked: float
    """1 where the question names one person who speaks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimModels:
    """Both models of a claim."""

    support: Logistic
    """Of `SupportFeatures`."""
    ownership: Logistic
    """Of `OwnershipFeatures`."""


@lru_cache(maxsize=1)
def shipped_claim_models() -> ClaimModels:
    """Return the models in ``claims.json``."""
    data = json.loads(files("mars.agents.evidence").joinpath("claims.json").read_text("utf-8"))
    return ClaimModels(support=Logistic.of(data["support"]), ownership=Logistic.of(data["ownership"]))


def support_features(claim: Claim, question: Features) -> SupportFeatures:
    """Return the features of a claim's support, with those of the question's answerability."""
    near = sorted(claim.sources, key=lambda source: -source.nearness)
    least = max(HOLDS * claim.most, LEAST)
    surprise = _surprise([source.support >= least for source in near])
    items = [_surprise([claim.share(item, source.words) >= HOLDS for source in near]) for item in claim.items]
    best = claim.best
    return SupportFeatures(
        surprise=surprise,
        item_surprise=max(items, default=surprise),
        source=best.strength * claim.information if best else 0.0,
        sentence=max((source.sentence for source in near), default=0.0),
        verbatim=float(best is not None and claim.case.is_verbatim(best.item.text)),
        around=max((source.around for source in near), default=0.0),
        shown=claim.held_by({item.record for item in claim.case.review.evidence}),
        topic=max((source.own_topic for source in near), default=0.0),
        answerable=question.support,
        mismatch=mismatch(claim.case.review.task.text, claim.case.claim),
        asked_terms=math.log1p(len(claim.case.topic)),
    )


def ownership_features(claim: Claim, question: Features) -> OwnershipFeatures:
    """Return the features of whose words they are, with those of the question's answerability."""
    theirs = max((source.strength * source.asked for source in claim.sources), default=0.0)
    rival = max((source.strength * (1.0 - source.asked) for source in claim.sources), default=0.0)
    best, voice = claim.best, 0.5
    if best is not None:
        behind = claim.case.behind(best.item)
        own = behind.own if behind else 0.5
        voice = own * best.asked + (1.0 - own) * (1.0 - best.asked)
    return OwnershipFeatures(
        balance=question.balance,
        margin=question.margin,
        lead=theirs - rival,
        rival=rival,
        voice=voice,
        one_asked=float(len(claim.case.asked) == 1),
    )


def _surprise(holds: Sequence[bool]) -> float:
    """Return -ln of the chance that the first record that holds lies so far front among so many, strewn at random.

    `BACKGROUND` records that do not hold are imagined behind them, so that it means something among few.
    """
    if True not in holds:
        return 0.0
    front = (holds.index(True) + 1) / (len(holds) + BACKGROUND)
    return -math.log(max(1e-6, 1.0 - (1.0 - front) ** sum(holds)))
