"""The keyless Checker: all checks of the evidence as one verifier."""

from __future__ import annotations

from dataclasses import dataclass

from mars.agents.evidence.answerability import FEATURES, AnswerabilityModel, Features, features, shipped_model
from mars.agents.evidence.case import SUPPORTED, Case
from mars.agents.evidence.claims import (
    citation_issues,
    content_issues,
    date_issues,
    negation_issues,
    number_issues,
    speaker_issues,
    support_issues,
)
from mars.agents.evidence.contradiction import staleness_issues
from mars.agents.interfaces import NOTED, Review
from mars.agents.rendering import says_not_known
from mars.agents.verdicts import Check, Issue, IssueKind

CHECKS = (
    citation_issues,
    content_issues,
    staleness_issues,
    speaker_issues,
    support_issues,
    negation_issues,
    date_issues,
    number_issues,
)
"""The checks of a claim, most serious first."""


OWN_WORDS = 0.5
"""Share of the answerability's threshold that is asked of a claim which rests on the asked person's own words."""


def examine(review: Review, model: AnswerabilityModel | None = None, *, supported: float = SUPPORTED) -> Check:
    """Return what the evidence says of a draft; a pass is decisive, its score is the question's answerability.

    "Not known" is neither right nor wrong by evidence: it is undecided, unless what was recalled looks as if it held
    the answer and recall was not widened yet. A claim without evidence and tool results fails for want of a source.
    `supported` is the least share of a paraphrase's content words that its sources must hold.
    """
    case = Case(review, supported)
    model = model or shipped_model()
    found = features(review.task, case.evidence)
    score = model.score(found) if case.evidence else 0.0
    if says_not_known(case.claim):
        return _check_not_known(review, score, model)
    if case.claim == NOTED:
        return Check.undecided("evidence")
    issues = [issue for check in CHECKS for issue in check(case)]
    if case.evidence and not review.tool_results and score < model.threshold * (OWN_WORDS if case.is_own else 1.0):
        issues.append(_unanswerable(case, found, score, model))
    if issues:
        return Check.failed("evidence", *issues, score=min(score, 0.5))
    return Check.passed("evidence", decisive=True, score=score)


def _check_not_known(review: Review, score: float, model: AnswerabilityModel) -> Check:
    if score < model.threshold or review.recall_widened:
        return Check.undecided("evidence", score=round(1.0 - score, 6))
    return Check.failed(
        "evidence",
        Issue(
            kind=IssueKind.UNANSWERED,
            evidence=f"what was recalled looks as if it held the answer (answerability {score:.2f})",
            directive="Look at more memories before giving up.",
        ),
        score=0.0,
    )


def _unanswerable(case: Case, found: Features, score: float, model: AnswerabilityModel) -> Issue:
    """Return the issue of a question that the evidence is not likely to answer: about others, or about nothing."""
    about_others = len(case.asked) == 1 and found.balance < 0.0
    (asked,) = case.asked if len(case.asked) == 1 else ("",)
    return Issue(
        kind=IssueKind.SPEAKER if about_others else IssueKind.UNSUPPORTED,
        evidence=f"answerability {score:.2f} is below {model.threshold:.2f}: "
        + ", ".join(f"{name} {value:.2f}" for name, value in zip(FEATURES, found.values(), strict=True)),
        directive=f"Rely on what {asked} said, or answer that it is not known."
        if about_others
        else "Look for more, or answer that it is not known.",
        records=case.refs,
    )


@dataclass(frozen=True, slots=True)
class EvidenceVerifier:
    """Checks a draft against what was recalled, without any model (runtime.md §2)."""

    model: AnswerabilityModel | None = None
    """Scores whether the question can be answered; the shipped one if None."""
    name: str = "evidence"
    """Name in the verdict."""

    async def verify(self, review: Review) -> Check:
        """Return the check of all evidence."""
        return examine(review, self.model)
