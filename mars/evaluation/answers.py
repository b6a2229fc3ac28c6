"""Answers on LoCoMo by the built-in reader, and whether the keyless Checker lets the right ones through.

Each question goes once through the real pieces: recall, the prompt, the reader, the Checker's own wider search, the
Checker. Nothing in them sees the right answer, the evidence ids or the category; those are read here, to score. The
answerability model is fitted on the other conversations of the file, never on the one being asked about.

No judge is involved, so the measures are coarse. *Token F1* compares lower-cased words without articles and
punctuation. An answer counts as *right* if the question has an answer and the draft's F1 is at least `RIGHT`, or it
cites a turn that the file names as evidence. *Abstained* is everything that is not approved.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from langchain_core.messages import HumanMessage, SystemMessage

from mars.agents.evidence import AnswerabilityModel, Features, examine, features, shipped_model
from mars.agents.evidence.reading import pool
from mars.agents.interfaces import NOT_KNOWN, Evidence, Review, Task
from mars.agents.prompts import ASSISTANT
from mars.agents.rendering import citations, render_memories, render_task, without_citations
from mars.agents.verdicts import Check, combine
from mars.errors import InvalidInput
from mars.evaluation.locomo_defects import defect_of
from mars.evaluation.logistic import auc, fit_answerability
from mars.ingest.locomo import CATEGORIES, LocomoConversation, LocomoQuestion, conversations
from mars.memory.engine import Memory
from mars.memory.sync import SyncMemory
from mars.models.reader import ReaderModel

K = 8
"""Records in the Assistant's prompt, as in the loop."""
WIDER = 3
"""The Checker's own search is so many times as wide."""
FLOOR = 0.1
"""Least relevance of a recalled record, as in the loop."""
RIGHT = 0.5
"""Token F1 from which an answer counts as right."""

Progress = Callable[[int, int], None]
"""Called with (questions done, questions in all)."""
Examine = Callable[[Review, AnswerabilityModel | None], Check]
"""A Checker of drafts; `mars.agents.evidence.examine`, or another one to compare it with."""

_ASKED_AT = datetime(2024, 1, 1, tzinfo=UTC)
_ARTICLES = frozenset(("a", "an", "the"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One question, its draft and what became of it."""

    conversation: str
    """The sample that it is about."""
    question: LocomoQuestion
    """The question, with what the file says of it."""
    review: Review
    """What the Checker was given."""
    features: Features
    """The features of its answerability."""
    f1: float
    """Token F1 of the draft against the file's answer; 0 where there is none."""
    cites_evidence: bool
    """Whether the draft cites a turn that the file names as evidence."""
    approved: bool = False
    """Whether the Checker approved."""
    score: float = 0.0
    """Answerability in (0, 1), by a model that never saw this conversation."""

    @property
    def answerable(self) -> bool:
        """Whether the question has an answer in the conversation."""
        return self.question.category != CATEGORIES[5]

    @property
    def answered(self) -> bool:
        """Whether the reader gave an answer."""
        return self.review.draft.strip() != NOT_KNOWN

    @property
    def right(self) -> bool:
        """Whether the draft counts as right."""
        return self.answerable and self.answered and (self.f1 >= RIGHT or self.cites_evidence)


@dataclass(frozen=True, slots=True)
class AnswersReport:
    """The outcome of an evaluation."""

    answers: tuple[Answer, ...]
    """Every question, in the file's order."""
    seconds: float
    """How long it took, storing included, on the wall clock."""

    def auc(self, conversation: str | None = None) -> float:
        """Return the area under the curve of the answerability, over all questions or one conversation's."""
        of = [one for one in self.answers if conversation in (None, one.conversation)]
        return auc([one.score for one in of], [one.answerable for one in of])

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON values, with the keys that `mars eval answers --json` promises.

        `answer_f1`: mean F1 over answerable questions, whether approved or not; `support_rate`: share of the answers to
        them that cite a turn named as evidence; `abstain_adversarial`, `abstain_answerable`: share of these questions
        whose answer was not approved; `approved_right`, `approved_wrong`: share of the right and of the other answers
        (to adversarial questions too) that were approved; `auc`: answerable against adversarial, held out. NaN is null.
        `known_bad`: questions whose answer in the file is known to be wrong; they are scored all the same.
        """
        answerable = [one for one in self.answers if one.answerable]
        given = [one for one in self.answers if one.answered]
        values = {
            "answer_f1": _mean(one.f1 for one in answerable),
            "support_rate": _mean(one.cites_evidence for one in answerable if one.answered),
            "abstain_adversarial": _mean(not one.approved for one in self.answers if not one.answerable),
            "abstain_answerable": _mean(not one.approved for one in answerable),
            "approved_wrong": _mean(one.approved for one in given if not one.right),
            "approved_right": _mean(one.approved for one in given if one.right),
            "auc": self.auc(),
        }
        names = dict.fromkeys(one.conversation for one in self.answers)
        return {
            **{name: _plain(value) for name, value in values.items()},
            "questions": len(self.answers),
            "auc_by_conversation": {name: _plain(self.auc(name)) for name in names},
            "f1_by_category": {
                name: _plain(_mean(one.f1 for one in answerable if one.question.category == name))
                for name in CATEGORIES.values()
                if name != CATEGORIES[5]
            },
            "known_bad": list(self._known_bad()),
            "seconds": round(self.seconds, 3),
        }

    def _known_bad(self) -> Iterator[dict[str, str]]:
        for one in self.answers:
            if defect := defect_of(one.conversation, one.question):
                what = {"conversation": one.conversation, "question": one.question.text}
                yield {**what, "why": defect.why, "note": defect.note}


def evaluate_answers(
    path: str | Path,
    *,
    check: Examine = examine,
    model: AnswerabilityModel | None = None,
    limit: int | None = None,
    progress: Progress | None = None,
) -> AnswersReport:
    """Ask a LoCoMo file's questions of the built-in reader and let the Checker judge its answers.

    `check` takes the Checker's place, for comparison. `model` scores all conversations; if None, one is fitted for each
    conversation on the others (the shipped one is taken if there are no others). `limit` takes at most so many
    questions of each conversation, evenly. Raises `InvalidFile` for what is no LoCoMo file.
    """
    started = time.perf_counter()
    drafted = _draft_all(conversations(path), limit, progress)
    models = {name: model or _model_without(name, drafted) for name in {one.conversation for one in drafted}}
    answers = tuple(_judged(one, check, models[one.conversation]) for one in drafted)
    return AnswersReport(answers, time.perf_counter() - started)


def fit_model(path: str | Path, progress: Progress | None = None) -> AnswerabilityModel:
    """Return the answerability model fitted on all conversations of a LoCoMo file: what is shipped."""
    drafted = _draft_all(conversations(path), None, progress)
    return fit_answerability([one.features for one in drafted], [one.answerable for one in drafted])


def held_out_models(
    samples: Sequence[LocomoConversation], limit: int | None = None
) -> Mapping[str, AnswerabilityModel]:
    """Return for each conversation the answerability model fitted on the others."""
    drafted = _draft_all(samples, limit, None)
    return {sample.id: _model_without(sample.id, drafted) for sample in samples}


def token_f1(answer: str, expected: str) -> float:
    """Return the harmonic mean of the shares of words that two texts have in common, in [0, 1] (SQuAD's measure)."""
    said, wanted = _tokens(answer), _tokens(expected)
    common = sum((said & wanted).values())
    return 2.0 * common / (said.total() + wanted.total()) if common else 0.0


def _tokens(text: str) -> Counter[str]:
    return Counter(word for word in re.findall(r"\w+", text.lower()) if word not in _ARTICLES)


def _draft_all(samples: Sequence[LocomoConversation], limit: int | None, progress: Progress | None) -> list[Answer]:
    asked = {sample.id: _evenly(sample.questions, limit) for sample in samples}
    total = sum(map(len, asked.values()))
    reader = ReaderModel()
    drafted: list[Answer] = []
    with Memory.open_sync("memory:") as memory:
        for sample in samples:
            if not sample.turns:
                continue
            memory.add_many(sample.turns, now=_ASKED_AT)
            for question in asked[sample.id]:
                drafted.append(_draft(memory, reader, sample, question))
                if progress is not None:
                    progress(len(drafted), total)
    return drafted


def _evenly(questions: Sequence[LocomoQuestion], limit: int | None) -> Sequence[LocomoQuestion]:
    return questions if limit is None else questions[:: max(1, -(-len(questions) // limit))]


def _draft(memory: SyncMemory, reader: ReaderModel, sample: LocomoConversation, question: LocomoQuestion) -> Answer:
    task = Task(id=question.text, text=question.text, user="reader", asked_at=_ASKED_AT)
    namespace = sample.turns[0].namespace

    turn_ids: dict[str, object] = {}

    def recalled(query: str, k: int, prefix: str, floor: float | None) -> tuple[Evidence, ...]:
        hits = memory.recall(query, namespace=namespace, k=k, now=_ASKED_AT, floor=floor)
        turn_ids.update((f"{prefix}{place}", hit.record.metadata["dia_id"]) for place, hit in enumerate(hits, 1))
        return tuple(Evidence.of(hit, f"{prefix}{place}") for place, hit in enumerate(hits, 1))

    evidence = recalled(question.text, K, "m", FLOOR)
    messages = [SystemMessage(ASSISTANT.text), HumanMessage(render_memories(evidence) + render_task(task))]
    draft = str(reader.invoke(messages).text)
    wider = recalled(f"{question.text} {without_citations(draft)}", K * WIDER, "w", None)
    review = Review(task=task, draft=draft, evidence=evidence, wider=wider)
    return Answer(
        conversation=sample.id,
        question=question,
        review=review,
        features=features(task, pool(review)),
        f1=token_f1(without_citations(draft), question.answer) if question.answer is not None else 0.0,
        cites_evidence=any(turn_ids.get(ref) in question.evidence for ref in citations(draft)),
    )


def _model_without(name: str, drafted: Sequence[Answer]) -> AnswerabilityModel:
    others = [one for one in drafted if one.conversation != name]
    try:
        return fit_answerability([one.features for one in others], [one.answerable for one in others])
    except InvalidInput:
        return shipped_model()


def _judged(one: Answer, check: Examine, model: AnswerabilityModel) -> Answer:
    verdict = combine([check(one.review, model)])
    return replace(one, approved=verdict.approved, score=model.score(one.features))


def _mean(values: Iterable[float]) -> float:
    found = [float(value) for value in values]
    return sum(found) / len(found) if found else float("nan")


def _plain(value: float) -> float | None:
    return None if value != value else round(value, 6)


def save_model(model: AnswerabilityModel, path: Path, source: str) -> None:
    """Write a model as the data that ships with the package, with the file's name that it was fitted on."""
    rounded: Mapping[str, Any] = json.loads(json.dumps(asdict(model)), parse_float=lambda text: round(float(text), 6))
    path.write_text(json.dumps({"fitted_on": source, **rounded}, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    import argparse

    import mars.agents.evidence as shipped

    parser = argparse.ArgumentParser(description="Score the reader's answers on LoCoMo, or fit the answerability anew.")
    parser.add_argument("file", type=Path, help="a LoCoMo file")
    parser.add_argument("--fit", action="store_true", help="fit on all conversations and replace the shipped model")
    options = parser.parse_args()
    if options.fit:
        target = Path(str(shipped.__file__)).with_name("answerability.json")
        save_model(fit_model(options.file), target, options.file.name)
        print(f"wrote {target}")
    else:
        print(json.dumps(evaluate_answers(options.file).as_dict(), indent=2))
