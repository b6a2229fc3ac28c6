"""The drafts on which the Checker is measured: LoCoMo's right answers and wrong ones made of them.

What goes with a draft is what a deployed agent has in its last iteration: the records recalled for the question, `K`
of them (8, widened twice by 2), and the Checker's own search for question and draft, `WIDER`. The citations are made by
one rule for right and wrong drafts alike: for each item of the answer the shown record that bears it out best
(`sources_of`), as a careful Assistant would cite, and one that is wrong would too. Neither the reference nor the
file's evidence annotation is in a review, unless `oracle` asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from mars.agents.evidence.case import Case
from mars.agents.evidence.sources import sources_of
from mars.agents.interfaces import Evidence, Review, Task
from mars.evaluation.perturbations import KINDS, Wrong, perturbed
from mars.ingest.locomo import LocomoConversation, LocomoQuestion
from mars.memory.engine import Memory
from mars.memory.interfaces import Hit
from mars.memory.sync import SyncMemory

K = 32
"""Records in the prompt of a turn's third and last iteration: 8, widened twice by 2."""
WIDER = 24
"""Records of the Checker's own search."""
FLOOR = 0.1
"""Least relevance of a recalled record, as in the loop."""
GOLD = "gold"
"""The kind of a draft that is the right answer."""
MORE_SWAPS = (1, 2)
"""Seeds of the further swaps that only the models are fitted on, where they are not judged."""

Progress = Callable[[int, int], None]
"""Called with (questions done, questions in all)."""

ASKED_AT = datetime(2024, 1, 1, tzinfo=UTC)
"""When all questions are asked: after the last session."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A draft and what the Checker is given with it."""

    conversation: str
    """The sample that it is about."""
    kind: str
    """`GOLD`, or what was changed."""
    category: str
    """The question's category."""
    review: Review
    """What the Checker is given."""
    recalled: bool
    """Whether one of the file's evidence turns is among what was recalled; only scoring reads it."""
    extra: bool = False
    """Whether it is made for fitting only."""


def made_drafts(
    samples: Sequence[LocomoConversation],
    limit: int | None = None,
    progress: Progress | None = None,
    *,
    oracle: bool = False,
) -> Iterator[Draft]:
    """Yield the drafts of some samples in the file's order.

    `limit` takes at most so many questions of each conversation, evenly. With `oracle` a draft has the evidence turns
    that the file names before all others, recalled or not, and cites those: what a perfect recall and a perfect
    Assistant could bring, which no deployed agent has.
    """
    asked = {sample.id: [one for one in sample.questions if one.answer and one.evidence] for sample in samples}
    if limit is not None:
        asked = {name: found[:: max(1, -(-len(found) // limit))] for name, found in asked.items()}
    done, total = 0, sum(map(len, asked.values()))
    with Memory.open_sync("memory:") as memory:
        for sample in samples:
            if not sample.turns:
                continue
            records = memory.add_many(sample.turns, now=ASKED_AT)
            turns = {str(record.metadata["dia_id"]): Evidence.of_record(record, "") for record in records}
            search = _Search(memory, sample.turns[0].namespace)
            for question in asked[sample.id]:
                for one, extra in _answers(sample, question):
                    yield _draft(search, sample, question, one, extra, turns if oracle else {})
                done += 1
                if progress is not None:
                    progress(done, total)


def _answers(sample: LocomoConversation, question: LocomoQuestion) -> Iterator[tuple[Wrong, bool]]:
    """Yield the right answer and its changes, each with whether it is for fitting only."""
    yield Wrong(kind=GOLD, question=question.text, draft=question.answer or ""), False
    made = [(kind, seed) for kind in KINDS for seed in (0,)] + [("swap", seed) for seed in MORE_SWAPS]
    for kind, seed in made:
        wrong = perturbed(kind, sample, question, seed)
        if wrong is not None:
            yield wrong, seed != 0


class _Search:
    """The agent's own searches; the same question's is made once."""

    def __init__(self, memory: SyncMemory, namespace: tuple[str, ...]) -> None:
        self.memory = memory
        self.namespace = namespace
        self._last: tuple[str, list[Hit]] = ("", [])

    def __call__(self, one: Wrong) -> tuple[list[Hit], list[Hit]]:
        """Return what is recalled for the question, and for question and draft together."""
        planted = self.memory.add_many([one.planted], now=ASKED_AT) if one.planted is not None else ()
        if planted or self._last[0] != one.question:
            self._last = (
                "" if planted else one.question,
                list(self.memory.recall(one.question, namespace=self.namespace, k=K, now=ASKED_AT, floor=FLOOR)),
            )
        query = f"{one.question} {one.draft}"
        wider = self.memory.recall(query, namespace=self.namespace, k=WIDER, now=ASKED_AT)
        for record in planted:
            self.memory.purge(record.id, force=True, now=ASKED_AT)
        return self._last[1], list(wider)


def _draft(
    search: _Search,
    sample: LocomoConversation,
    question: LocomoQuestion,
    one: Wrong,
    extra: bool,
    turns: dict[str, Evidence],
) -> Draft:
    hits, wider = search(one)
    found = [Evidence.of(hit, "") for hit in hits]
    if turns:
        named = [turns[name] for name in dict.fromkeys(question.evidence)]
        found = named + [item for item in found if item.record not in {each.record for each in named}]
    evidence = tuple(replace(item, ref=f"m{place}") for place, item in enumerate(found, 1))
    refs = {item.record: item.ref for item in evidence}
    review = Review(
        task=Task(id=one.question, text=one.question, user="reader", asked_at=ASKED_AT),
        draft=one.draft,
        evidence=evidence,
        wider=tuple(Evidence.of(hit, refs.get(hit.record.id, f"w{place}")) for place, hit in enumerate(wider, 1)),
        iteration=3,
        recall_widened=True,
    )
    cited = [item.ref for item in evidence[: len(set(question.evidence))]] if turns else sources_of(Case(review))
    return Draft(
        conversation=sample.id,
        kind=one.kind,
        category=question.category,
        review=replace(review, draft=" ".join((one.draft, *(f"[{ref}]" for ref in cited)))),
        recalled=any(hit.record.metadata.get("dia_id") in question.evidence for hit in (*hits, *wider)),
        extra=extra,
    )
