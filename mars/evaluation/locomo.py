"""Evidence recall on LoCoMo: how many of the turns that hold an answer are among the first k recalled.

No model reads or judges anything. R@k is the share of a question's evidence turns among the first k of its own
conversation, averaged over the questions; MRR is the mean of 1 / place of the first evidence turn, 0 if none is found.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from mars.errors import InvalidInput
from mars.ingest.locomo import CATEGORIES, LocomoConversation, LocomoQuestion, conversations
from mars.memory.embedding import HashingEmbedder
from mars.memory.engine import Memory
from mars.memory.interfaces import Embedder
from mars.memory.presets import DEFAULT, Preset
from mars.memory.sync import SyncMemory

CUTS = (5, 10, 20)
"""The numbers of turns after which recall is measured."""

DRAWS = 10_000
"""So many times conversations are drawn for an interval, at most."""

DEPTH = 100
"""How many turns are recalled per question; evidence below adds nothing to MRR."""

ARMS: Mapping[str, float | None] = {"fused": None, "lexical": 1.0, "vector": 0.0}
"""The arms of recall, by the share of words in the fusion: what the rows lead to, words alone, vectors alone."""

Progress = Callable[[int, int], None]
"""Called with (questions done, questions in all)."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What was recalled for one question."""

    conversation: str
    """The sample that it is about."""
    question: LocomoQuestion
    """The question with its evidence."""
    recalled: tuple[str, ...]
    """Ids of the turns recalled, best first."""

    def recall(self, k: int) -> float:
        """Return the share of the evidence turns among the first k."""
        gold = set(self.question.evidence)
        return len(gold.intersection(self.recalled[:k])) / len(gold)

    def reciprocal_rank(self) -> float:
        """Return 1 / the place of the first evidence turn, from 1; 0 if none was recalled."""
        gold = set(self.question.evidence)
        return next((1.0 / place for place, name in enumerate(self.recalled, start=1) if name in gold), 0.0)


@dataclass(frozen=True, slots=True)
class LocomoReport:
    """The outcome of an evaluation."""

    answered: tuple[Answered, ...]
    """Every question that was asked; for paired comparisons."""
    skipped: int
    """Questions without a usable evidence id."""
    embedder: str
    """Id of the embedder."""
    seconds: float
    """How long it took, storing included, on the wall clock."""
    weights: Mapping[str, float] = field(default_factory=dict)
    """Share of the lexical arm in the fusion, by conversation: what its rows led to; 1 for words alone."""
    by_category: Mapping[str, tuple[Answered, ...]] = field(init=False)
    """The same questions by category; adversarial ones apart."""

    def __post_init__(self) -> None:
        split = {
            name: tuple(one for one in self.answered if one.question.category == name) for name in CATEGORIES.values()
        }
        object.__setattr__(self, "by_category", split)

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON values, with the keys that `mars eval locomo --json` promises."""
        return {
            "questions": len(self.answered),
            "skipped": self.skipped,
            "recall": _recalls(self.answered),
            "mrr": _mean(one.reciprocal_rank() for one in self.answered),
            "by_category": {
                name: {
                    "questions": len(asked),
                    **_recalls(asked),
                    "mrr": _mean(one.reciprocal_rank() for one in asked),
                }
                for name, asked in self.by_category.items()
            },
            "embedder": self.embedder,
            "seconds": round(self.seconds, 3),
        }


def _recalls(asked: Sequence[Answered]) -> dict[str, float]:
    return {str(k): _mean(one.recall(k) for one in asked) for k in CUTS}


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found) if found else 0.0


def paired(ours: Sequence[Answered], theirs: Sequence[Answered], k: int = 10) -> dict[str, Any]:
    """Return the mean difference of R@k over the same questions, and its 95 % bootstrap interval by conversation.

    Keys: `mean`, `low`, `high`, and `by_conversation` with the mean of each. Raises `InvalidInput` unless both answered
    the same questions in the same order.
    """
    if [(one.conversation, one.question) for one in ours] != [(one.conversation, one.question) for one in theirs]:
        raise InvalidInput("a paired comparison needs the same questions in the same order on both sides")
    by_conversation: dict[str, list[float]] = {}
    for one, other in zip(ours, theirs, strict=True):
        by_conversation.setdefault(one.conversation, []).append(one.recall(k) - other.recall(k))
    low, high = _interval(list(by_conversation.values()))
    return {
        "mean": _mean(each for differences in by_conversation.values() for each in differences),
        "low": low,
        "high": high,
        "by_conversation": {name: _mean(differences) for name, differences in by_conversation.items()},
    }


def _interval(groups: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Return the 2.5 % and 97.5 % quantiles of the mean over whole groups drawn with replacement.

    All draws if there are few enough, else `DRAWS` of a fixed seed.
    """
    size = len(groups)
    if not size:
        return 0.0, 0.0
    sums, counts = np.array([math.fsum(each) for each in groups]), np.array([len(each) for each in groups])
    if size**size <= DRAWS:
        drawn = np.array(list(product(range(size), repeat=size)))
    else:
        drawn = np.random.default_rng(0).integers(size, size=(DRAWS, size))
    low, high = np.quantile(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1), [0.025, 0.975])
    return float(low), float(high)


def evaluate_locomo(
    path: str | Path,
    *,
    embedder: Embedder | None = None,
    preset: str | Preset = "default",
    decay: bool = False,
    progress: Progress | None = None,
) -> LocomoReport:
    """Store a LoCoMo file's turns in a memory of their own and ask its questions.

    Without `decay` everything is stored and asked at one time. With it each turn is stored at its own time and the
    questions are asked at the conversation's last turn, with no use in between: the worst case.
    `embedder` is the built-in hashed n-grams if None. Raises `InvalidFile` for what is no LoCoMo file.
    """
    started = time.perf_counter()
    samples = conversations(path)
    asked = [(sample, one) for sample in samples for one in sample.questions if one.evidence]
    answered: list[Answered] = []
    embedder = HashingEmbedder() if embedder is None else embedder
    weights: dict[str, float] = {}
    with Memory.open_sync("memory:", embedder=embedder, preset=preset) as memory:
        for sample in samples:
            moment = _store(memory, sample, decay)
            for question in (one for of, one in asked if of is sample):
                hits = memory.recall(question.text, namespace=sample.turns[0].namespace, k=DEPTH, now=moment, floor=0.0)
                recalled = tuple(str(hit.record.metadata["dia_id"]) for hit in hits)
                answered.append(Answered(sample.id, question, recalled))
                if progress is not None:
                    progress(len(answered), len(asked))
            if answered and answered[-1].conversation == sample.id:
                weights[sample.id] = _weight(memory, sample, answered[-1].question.text, moment)
    skipped = sum(len(sample.questions) for sample in samples) - len(asked)
    return LocomoReport(tuple(answered), skipped, embedder.id, time.perf_counter() - started, weights)


def evaluate_arms(
    path: str | Path, *, embedder: Embedder | None = None, progress: Progress | None = None
) -> dict[str, dict[str, LocomoReport]]:
    """Return the reports of each arm of `ARMS`, ``without_decay`` and ``with_decay``; else as `evaluate_locomo`."""
    reports: dict[str, dict[str, LocomoReport]] = {}
    runs = list(product(ARMS, (False, True)))
    for number, (arm, decay) in enumerate(runs):

        def told(done: int, total: int, number: int = number) -> None:
            if progress is not None:
                progress(number * total + done, len(runs) * total)

        chosen = DEFAULT.but(lexical_weight=ARMS[arm])
        report = evaluate_locomo(path, embedder=embedder, preset=chosen, decay=decay, progress=told)
        reports.setdefault(arm, {})["with_decay" if decay else "without_decay"] = report
    return reports


def _weight(memory: SyncMemory, sample: LocomoConversation, question: str, now: datetime) -> float:
    """Return the share of the lexical arm in a recall from this conversation; 1 if nothing is found."""
    hits = memory.recall(question, namespace=sample.turns[0].namespace, k=1, now=now, floor=0.0, explain=True)
    return hits[0].explanation.lexical_weight if hits and hits[0].explanation else 1.0


def _store(memory: SyncMemory, sample: LocomoConversation, decay: bool) -> datetime:
    """Store a sample's turns and return the time at which to ask."""
    fixed = datetime(2024, 1, 1, tzinfo=UTC)
    times = [turn.event_time or fixed for turn in sample.turns] if decay else [fixed] * len(sample.turns)
    if sample.turns:
        memory.add_many(sample.turns, now=times)
    return max(times, default=fixed)
