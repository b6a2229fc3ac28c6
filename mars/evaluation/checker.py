"""Whether the keyless Checker lets right answers through and stops wrong ones: LoCoMo's answers and their changes.

Each right answer, and each wrong one made of it (`mars.evaluation.perturbations`), is a draft with what a deployed
agent would have beside it (`mars.evaluation.checker_drafts`). The Checker sees neither the right answer nor the
evidence annotation nor the category; only scoring does. Its models are fitted on the other conversations of the file,
never on the one that is being judged: all figures are of held-out conversations.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mars.agents.evidence import AnswerabilityModel, Survey, decide, survey
from mars.agents.evidence.reading import text_terms
from mars.agents.interfaces import Review
from mars.agents.rendering import citations, without_citations
from mars.agents.verdicts import Check, Decision, Issue, IssueKind, combine
from mars.evaluation.answers import Progress, held_out_models
from mars.evaluation.checker_drafts import GOLD, Draft, made_drafts
from mars.evaluation.claim_models import SWAPS_REJECTED, Example, held_out_claim_models
from mars.evaluation.perturbations import KINDS
from mars.ingest.locomo import conversations

OVERLAP = 0.5
"""Share of a draft's terms that the cited records must hold for the baseline `token_overlap`."""
CURVE = (0.9, 0.95, 0.97, 0.98, 0.99)
"""Shares of swaps that the support's threshold rejects where it is fitted, at which the trade-off is shown."""

Judge = Callable[[Review, AnswerabilityModel | None], Check]
"""A Checker, or one to compare it with."""


@dataclass(frozen=True, slots=True)
class CheckerReport:
    """All drafts with what each Checker decided."""

    drafts: tuple[Draft, ...]
    """In the order of the file."""
    decisions: Mapping[str, tuple[Decision, ...]]
    """By the name of the Checker, one for each draft."""
    seconds: float
    """How long it took, on the wall clock."""
    cpu_ms_per_check: float
    """Processor time of one check, in milliseconds."""
    oracle: bool = False
    """Whether the drafts had, and cited, the evidence that the file names."""

    def figures(self, name: str, drafts: Callable[[Draft], bool] = lambda draft: True) -> dict[str, Any]:
        """Return one Checker's figures over some drafts: `accept_gold`, `abstain` (of right answers), `reject`."""
        of: dict[str, list[Decision]] = {kind: [] for kind in (GOLD, *KINDS)}
        for draft, decision in zip(self.drafts, self.decisions[name], strict=True):
            if drafts(draft):
                of[draft.kind].append(decision)
        return {
            "accept_gold": _share(of[GOLD], Decision.APPROVED),
            "abstain": _share(of[GOLD], Decision.ABSTAINED),
            "reject": {kind: _share(of[kind], Decision.REJECTED) for kind in KINDS},
        }

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON values, with the keys that `mars eval checker --json` promises.

        `accept_gold`, `abstain`: share of the right answers that were approved, and left undecided, which is neither;
        `reject`: share of each kind of wrong drafts that were rejected. `recalled`: the same where at least one
        evidence turn was recalled. `curve`: right answers accepted and swaps rejected as the threshold rises. `drafts`:
        how many of each kind. `oracle_feedback`: whether drafts had the annotated evidence. No draft of a kind is null.
        """
        gold = [draft for draft in self.drafts if draft.kind == GOLD]
        return {
            **self.figures("checker"),
            "recalled": {
                **self.figures("checker", lambda draft: draft.recalled),
                "share": round(sum(draft.recalled for draft in gold) / max(1, len(gold)), 6),
            },
            "accept_by_category": {
                name: self.figures("checker", partial(_is_of, name))["accept_gold"]
                for name in sorted({draft.category for draft in gold})
            },
            "baselines": {name: self.figures(name) for name in BASELINES},
            "curve": [
                {
                    "fitted_to_reject": value,
                    "accept_gold": (figures := self.figures(_name_of(value)))["accept_gold"],
                    "reject_swap": figures["reject"]["swap"],
                }
                for value in CURVE
                if _name_of(value) in self.decisions
            ],
            "drafts": {kind: sum(draft.kind == kind for draft in self.drafts) for kind in (GOLD, *KINDS)},
            "cpu_ms_per_check": round(self.cpu_ms_per_check, 3),
            "seconds": round(self.seconds, 3),
            "oracle_feedback": self.oracle,
        }


def _is_of(category: str, draft: Draft) -> bool:
    return draft.category == category


def _name_of(value: float) -> str:
    return f"swaps={value}"


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
    check: Judge | None = None,
    limit: int | None = None,
    oracle: bool = False,
    progress: Progress | None = None,
) -> CheckerReport:
    """Let the Checker and the baselines judge a LoCoMo file's answers and their changes.

    `check` takes the Checker's place, for comparison. `limit` takes at most so many questions of each conversation,
    evenly. `oracle` gives every draft the annotated evidence, and the report says so. Raises `InvalidFile` for what is
    no LoCoMo file.
    """
    started = time.perf_counter()
    samples = conversations(path)
    made = list(made_drafts(samples, limit, progress, oracle=oracle))
    drafts = tuple(draft for draft in made if not draft.extra)
    spent = time.process_time()
    if check is None:
        surveys = [survey(draft.review) for draft in made]
        spent = time.process_time() - spent
        decisions = _decisions(made, surveys, held_out_models(samples, limit))
    else:
        decisions = {"checker": tuple(_decision(check(draft.review, None)) for draft in drafts)}
        spent = time.process_time() - spent
    for name, judge in BASELINES.items():
        decisions[name] = tuple(_decision(judge(draft.review, None)) for draft in drafts)
    per_check = 1e3 * spent / max(1, len(made))
    return CheckerReport(drafts, decisions, time.perf_counter() - started, per_check, oracle)


def _decisions(
    made: Sequence[Draft], surveys: Sequence[Survey], models: Mapping[str, AnswerabilityModel]
) -> dict[str, tuple[Decision, ...]]:
    """Return the Checker's decisions and those of the curve, each by models of the other conversations."""
    examples: dict[str, list[Example]] = {}
    for draft, surveyed in zip(made, surveys, strict=True):
        examples.setdefault(draft.conversation, []).append(Example.of(draft.kind, surveyed))
    decisions = {}
    for name, value in {"checker": SWAPS_REJECTED, **{_name_of(value): value for value in CURVE}}.items():
        claims = held_out_claim_models(examples, swaps=value)
        decisions[name] = tuple(
            _decision(decide(surveyed, models[draft.conversation], claims[draft.conversation]))
            for draft, surveyed in zip(made, surveys, strict=True)
            if not draft.extra
        )
    return decisions


def _decision(check: Check) -> Decision:
    return combine([check]).decision


def _share(decisions: Iterable[Decision], wanted: Decision) -> float | None:
    found = [decision is wanted for decision in decisions]
    return round(sum(found) / len(found), 6) if found else None
