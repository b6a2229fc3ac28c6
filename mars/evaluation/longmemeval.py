"""Evidence recall on LongMemEval: how many of the turns, and of the sessions, that hold an answer are recalled first.

No model reads or judges anything. R@k of turns is the share of a question's evidence turns among the first k recalled
of its own chat; R@k of sessions is that of its evidence sessions among the first k distinct sessions of the turns
recalled. Means are over the questions of a type; questions without an answer have no evidence and are counted apart.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mars.evaluation.locomo import CUTS, DEPTH
from mars.ingest.longmemeval import ABSTENTION, LongMemEvalQuestion, questions
from mars.memory.embedding import HashingEmbedder
from mars.memory.engine import Memory
from mars.memory.interfaces import Embedder
from mars.memory.presets import Preset

Progress = Callable[[int, int], None]
"""Called with (questions done, questions in all)."""


@dataclass(frozen=True, slots=True)
class Found:
    """What was recalled for one question."""

    category: str
    """Its question type."""
    turns: tuple[frozenset[str], tuple[str, ...]]
    """Evidence turns, and the turns recalled, best first."""
    sessions: tuple[frozenset[str], tuple[str, ...]]
    """Evidence sessions, and the sessions of the turns recalled, each once, best first."""


@dataclass(frozen=True, slots=True)
class LongMemEvalReport:
    """The outcome of an evaluation."""

    found: tuple[Found, ...]
    """Every question with evidence."""
    abstentions: int
    """Questions that have no answer; nothing can be recalled for them."""
    skipped: int
    """Other questions without evidence."""
    embedder: str
    """Id of the embedder."""
    decay: bool
    """Whether each turn was stored at its own time and asked for at the question's."""
    seconds: float
    """How long it took, storing included, on the wall clock."""

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        categories = sorted({one.category for one in self.found})
        return {
            "questions": len(self.found),
            "abstentions": self.abstentions,
            "skipped": self.skipped,
            **_figures(self.found),
            "by_category": {
                name: {"questions": len(of), **_figures(of)}
                for name in categories
                if (of := [one for one in self.found if one.category == name])
            },
            "embedder": self.embedder,
            "decay": self.decay,
            "seconds": round(self.seconds, 3),
        }


def _figures(found: Sequence[Found]) -> dict[str, Any]:
    return {
        "turns": _recalls([one.turns for one in found if one.turns[0]]),
        "sessions": _recalls([one.sessions for one in found if one.sessions[0]]),
    }


def _recalls(pairs: Sequence[tuple[frozenset[str], tuple[str, ...]]]) -> dict[str, float]:
    values = {str(k): _mean([len(gold & set(got[:k])) / len(gold) for gold, got in pairs]) for k in CUTS}
    ranks = [next((1 / place for place, name in enumerate(got, 1) if name in gold), 0.0) for gold, got in pairs]
    return {**values, "mrr": _mean(ranks)}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def evaluate_longmemeval(
    path: str | Path,
    *,
    embedder: Embedder | None = None,
    preset: str | Preset = "default",
    decay: bool = False,
    limit: int | None = None,
    progress: Progress | None = None,
) -> LongMemEvalReport:
    """Store each question's chat in a memory of its own and ask the question.

    Without `decay` everything is stored and asked at one time. With it each turn is stored at its own time and the
    question is asked at its own, with no use in between: the worst case. `limit` takes the first so many questions.
    `embedder` is the built-in hashed n-grams if None. Raises `InvalidFile` for what is no LongMemEval file.
    """
    started = time.perf_counter()
    embedder = HashingEmbedder() if embedder is None else embedder
    asked = list(questions(path))[:limit]
    found, abstentions, skipped = [], 0, 0
    for place, question in enumerate(asked, start=1):
        if question.category == ABSTENTION:
            abstentions += 1
        elif not question.evidence and not question.sessions:
            skipped += 1
        else:
            found.append(_asked(question, embedder, preset, decay))
        if progress is not None:
            progress(place, len(asked))
    return LongMemEvalReport(tuple(found), abstentions, skipped, embedder.id, decay, time.perf_counter() - started)


def _asked(question: LongMemEvalQuestion, embedder: Embedder, preset: str | Preset, decay: bool) -> Found:
    fixed = datetime(2024, 1, 1, tzinfo=UTC)
    times = [turn.event_time or fixed if decay else fixed for turn in question.turns]
    now = max([*times, *([question.asked_at] if decay and question.asked_at else [])], default=fixed)
    with Memory.open_sync("memory:", embedder=embedder, preset=preset) as memory:
        memory.add_many(question.turns, now=times)
        namespace = question.turns[0].namespace
        hits = memory.recall(question.text, namespace=namespace, k=DEPTH, now=now, floor=0.0)
    turns = tuple(dict.fromkeys(str(hit.record.metadata["turn_id"]) for hit in hits))
    sessions = tuple(dict.fromkeys(str(hit.record.metadata["session"]) for hit in hits))
    return Found(
        question.category,
        (frozenset(question.evidence), turns),
        (frozenset(question.sessions), sessions),
    )
