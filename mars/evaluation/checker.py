"""Whether the keyless Checker lets right answers through and stops wrong ones: LoCoMo's answers and their changes.

Each right answer, and each wrong one made of it (`mars.evaluation.perturbations`), is a draft. What the Checker is
given is what a deployed agent has in its last iteration: the records recalled for the question, `K` of them (8, widened
twice by 2), and the Checker's own search for question and draft, 24. A draft cites those of the file's evidence turns
that were recalled, whatever the draft says, as an Assistant cites what it read; where none was recalled it cites
nothing, and is rejected. The Checker sees neither the right answer nor the category; only scoring does.

The answerability model is fitted on the other conversations of the file, never on the one that is being judged.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from mars.agents.evidence import AnswerabilityModel, examine
from mars.agents.evidence.reading import text_terms
from mars.agents.interfaces import Evidence, Review, Task
from mars.agents.rendering import citations, without_citations
from mars.agents.verdicts import Check, Decision, Issue, IssueKind, combine
from mars.evaluation.answers import Progress, held_out_models
from mars.evaluation.perturbations import KINDS, Wrong, perturbed
from mars.ingest.locomo import LocomoConversation, LocomoQuestion, conversations
from mars.memory.engine import Memory
from mars.memory.sync import SyncMemory

K = 32
"""Records in the prompt of a turn's third and last iteration: 8, widened twice by 2."""
WIDER = 24
"""Records of the Checker's own search."""
FLOOR = 0.1
"""Least relevance of a recalled record, as in the loop."""
OVERLAP = 0.5
"""Share of a draft's terms that the cited records must hold for the baseline `token_overlap`."""
CURVE = (0.01, 0.2, 0.3, 0.4, 0.6)
"""The values of the Checker's `supported` at which the trade-off is shown."""
GOLD = "gold"
"""The kind of a draft that is the right answer."""

Judge = Callable[[Review, AnswerabilityModel | None], Check]
"""A Checker, or one to compare it with."""

_ASKED_AT = datetime(2024, 1, 1, tzinfo=UTC)


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


@dataclass(frozen=True, slots=True)
class CheckerReport:
    """All drafts with what each Checker decided."""

    drafts: tuple[Draft, ...]
    """In the order of the file."""
    decisions: Mapping[str, tuple[Decision | None, ...]]
    """By the name of the Checker, one for each draft; None where it was not asked."""
    seconds: float
    """How long it took, on the wall clock."""

    def figures(self, name: str, drafts: Callable[[Draft], bool] = lambda draft: True) -> dict[str, Any]:
        """Return one Checker's figures over some drafts: `accept_gold`, `abstain` (of right answers), `reject`."""
        of: dict[str, list[Decision]] = {kind: [] for kind in (GOLD, *KINDS)}
        for draft, decision in zip(self.drafts, self.decisions[name], strict=True):
            if decision is not None and drafts(draft):
                of[draft.kind].append(decision)
        return {
            "accept_gold": _share(of[GOLD], Decision.APPROVED),
            "abstain": _share(of[GOLD], Decision.ABSTAINED),
            "reject": {kind: _share(of[kind], Decision.REJECTED) for kind in KINDS},
        }

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON values, with the keys that `mars eval checker --json` promises.

        `accept_gold`, `abstain`: share of the right answers that were approved, and left undecided; `reject`: share of
        each kind of wrong drafts that were rejected. `recalled`: the same where at least one evidence turn was
        recalled, so that the draft has a source. `curve`: right answers accepted and swaps rejected as the share of a
        paraphrase's words that its source must hold rises. `drafts`: how many of each kind. No draft of a kind is null.
        """
        gold = [draft for draft in self.drafts if draft.kind == GOLD]
        return {
            **self.figures("checker"),
            "recalled": {
                **self.figures("checker", lambda draft: bool(citations(draft.review.draft))),
                "share": round(sum(bool(citations(draft.review.draft)) for draft in gold) / max(1, len(gold)), 6),
            },
            "accept_by_category": {
                name: self.figures("checker", partial(_is_of, name))["accept_gold"]
                for name in sorted({draft.category for draft in gold})
            },
            "baselines": {name: self.figures(name) for name in BASELINES},
            "curve": [
                {
                    "supported": value,
                    "accept_gold": (figures := self.figures(f"supported={value}"))["accept_gold"],
                    "reject_swap": figures["reject"]["swap"],
                }
                for value in CURVE
            ],
            "drafts": {kind: sum(draft.kind == kind for draft in self.drafts) for kind in (GOLD, *KINDS)},
            "seconds": round(self.seconds, 3),
        }


def _is_of(category: str, draft: Draft) -> bool:
    return draft.category == category


def always_approve(review: Review, model: AnswerabilityModel | None) -> Check:
    """Approve everything: the Checker that is none."""
    return Check.passed("always_approve", decisive=True)


def token_overlap(review: Review, model: AnswerabilityModel | None) -> Check:
    """Approve what shares enough of its terms with the records that it cites, whatever it says."""
    cited = set(citations(review.draft))
    held = {term for item in review.evidence if item.ref in cited for term in text_terms(item.text)}
    said = text_terms(without_citations(review.draft))
    if said and len(said & held) >= OVERLAP * len(said):
        return Check.passed("token_overlap", decisive=True)
    issue = Issue(kind=IssueKind.UNSUPPORTED, evidence="too few words in common", directive="Use the source's words.")
    return Check.failed("token_overlap", issue)


BASELINES: Mapping[str, Judge] = {"always_approve": always_approve, "token_overlap": token_overlap}
"""What the Checker is compared with."""


def evaluate_checker(
    path: str | Path,
    *,
    check: Judge = examine,
    limit: int | None = None,
    progress: Progress | None = None,
) -> CheckerReport:
    """Let the Checker and the baselines judge a LoCoMo file's answers and their changes.

    `check` takes the Checker's place, for comparison. `limit` takes at most so many questions of each conversation,
    evenly. Raises `InvalidFile` for what is no LoCoMo file.
    """
    started = time.perf_counter()
    samples = conversations(path)
    models = held_out_models(samples, limit)
    drafts = tuple(_drafts(samples, limit, progress))
    judges: dict[str, Judge] = {"checker": check, **BASELINES}
    decisions: dict[str, tuple[Decision | None, ...]] = {
        name: tuple(_decided(judge, models, draft) for draft in drafts) for name, judge in judges.items()
    }
    for value in CURVE:
        judge = partial(examine, supported=value)
        decisions[f"supported={value}"] = tuple(
            _decided(judge, models, draft) if draft.kind in (GOLD, "swap") else None for draft in drafts
        )
    return CheckerReport(drafts, decisions, time.perf_counter() - started)


def _decided(judge: Judge, models: Mapping[str, AnswerabilityModel], draft: Draft) -> Decision:
    return combine([judge(draft.review, models[draft.conversation])]).decision


def _drafts(samples: Sequence[LocomoConversation], limit: int | None, progress: Progress | None) -> Iterator[Draft]:
    asked = {sample.id: [one for one in sample.questions if one.answer and one.evidence] for sample in samples}
    if limit is not None:
        asked = {name: found[:: max(1, -(-len(found) // limit))] for name, found in asked.items()}
    done, total = 0, sum(map(len, asked.values()))
    with Memory.open_sync("memory:") as memory:
        for sample in samples:
            if not sample.turns:
                continue
            memory.add_many(sample.turns, now=_ASKED_AT)
            for question in asked[sample.id]:
                right = Wrong(kind=GOLD, question=question.text, draft=question.answer or "")
                made = (perturbed(kind, sample, question) for kind in KINDS)
                for one in (right, *(wrong for wrong in made if wrong is not None)):
                    yield _draft(memory, sample, question, one)
                done += 1
                if progress is not None:
                    progress(done, total)


def _draft(memory: SyncMemory, sample: LocomoConversation, question: LocomoQuestion, one: Wrong) -> Draft:
    planted = memory.add_many([one.planted], now=_ASKED_AT) if one.planted is not None else ()
    namespace = sample.turns[0].namespace
    hits = memory.recall(one.question, namespace=namespace, k=K, now=_ASKED_AT, floor=FLOOR)
    wider = memory.recall(f"{one.question} {one.draft}", namespace=namespace, k=WIDER, now=_ASKED_AT)
    for record in planted:
        memory.purge(record.id, force=True, now=_ASKED_AT)
    evidence = tuple(Evidence.of(hit, f"m{place}") for place, hit in enumerate(hits, 1))
    refs = {item.record: item.ref for item in evidence}
    cited = [
        item.ref for item, hit in zip(evidence, hits, strict=True) if hit.record.metadata["dia_id"] in question.evidence
    ]
    review = Review(
        task=Task(id=one.question, text=one.question, user="reader", asked_at=_ASKED_AT),
        draft=" ".join((one.draft, *(f"[{ref}]" for ref in cited))),
        evidence=evidence,
        wider=tuple(Evidence.of(hit, refs.get(hit.record.id, f"w{place}")) for place, hit in enumerate(wider, 1)),
        iteration=3,
        recall_widened=True,
    )
    return Draft(conversation=sample.id, kind=one.kind, category=question.category, review=review)


def _share(decisions: Iterable[Decision], wanted: Decision) -> float | None:
    found = [decision is wanted for decision in decisions]
    return round(sum(found) / len(found), 6) if found else None
