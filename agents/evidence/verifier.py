"""The keyless Checker: all checks of the evidence as one verifier."""

from __future__ import annotations

from dataclasses import asdict, astuple, dataclass

from mars.agents.evidence.answer_types import FIRM
from mars.agents.evidence.answerability import FEATURES, AnswerabilityModel, Features, features, shipped_model
from mars.agents.evidence.case import SUPPORTED, Case
from mars.agents.evidence.claims import (
    citation_issues,
    content_issues,
    date_issues,
    negation_issues,
    number_issues,
    support_issues,
)
from mars.agents.evidence.contradiction import staleness_issues
from mars.agents.evidence.ownership import speaker_issues
from mars.agents.evidence.sources import Claim
from mars.agents.evidence.support import (
    ClaimModels,
    OwnershipFeatures,
    SupportFeatures,
    ownership_features,
    shipped_claim_models,
    support_features,
)
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
"""The checks of a claim by rules, most serious first."""

OWN_WORDS = 0.5
"""Share of the answerability's threshold that is asked of a claim which rests on the asked person's own words."""
HELD = 0.5
"""Share of the best record's support that the cited ones must have together, else the draft cites the wrong ones."""


@dataclass(frozen=True, slots=True)
class Composed:
    """What the models see of a claim in words of its own."""

    support: SupportFeatures
    """Whether it answers."""
    ownership: OwnershipFeatures
    """Whose words they are."""


@dataclass(frozen=True, slots=True)
class Survey:
    """Everything that is read in a review; what follows from it is `decide`'s."""

    case: Case
    """The review."""
    features: Features
    """Of the question's answerability."""
    issues: tuple[Issue, ...]
    """What the rules find."""
    composed: Composed | None
    """Of a claim in words of its own; None for a copied sentence, and where tools or nobody gave sources."""


def examine(
    review: Review,
    model: AnswerabilityModel | None = None,
    *,
    claims: ClaimModels | None = None,
    supported: float = SUPPORTED,
) -> Check:
    """Return what the evidence says of a draft; a pass is decisive, its score is the question's answerability.

    "Not known" is neither right nor wrong by evidence: it is undecided, unless what was recalled looks as if it held
    the answer and recall was not widened yet. A claim without evidence and tool results fails for want of a source.
    `model` and `claims` take the places of the shipped ones. `supported` is the least share of a paraphrase's content
    words that its sources must hold where no model weighs them.
    """
    return decide(survey(review, supported=supported), model, claims)


def survey(review: Review, *, supported: float = SUPPORTED) -> Survey:
    """Return what the rules and the features say of a draft; see `examine`."""
    case = Case(review, supported)
    found = features(review.task, case.evidence)
    if says_not_known(case.claim) or case.claim == NOTED:
        return Survey(case, found, (), None)
    is_composed = bool(case.cited) and not review.tool_results and not case.is_copied
    issues = tuple(issue for check in CHECKS for issue in check(case))
    if not is_composed:
        return Survey(case, found, issues, None)
    claim = Claim(case)
    composed = Composed(support_features(claim, found), ownership_features(claim, found))
    return Survey(case, found, (*issues, *_miscited(case, claim)), composed)


def decide(surveyed: Survey, model: AnswerabilityModel | None = None, claims: ClaimModels | None = None) -> Check:
    """Return what follows from a survey by these models, the shipped ones if None; see `examine`."""
    case, found = surveyed.case, surveyed.features
    model = model or shipped_model()
    score = model.score(found) if case.evidence else 0.0
    if says_not_known(case.claim):
        return _check_not_known(case.review, score, model)
    if case.claim == NOTED:
        return Check.undecided("evidence")
    issues = list(surveyed.issues)
    if surveyed.composed is not None:
        issues += _weigh(case, surveyed.composed, claims or shipped_claim_models())
    elif case.evidence and not case.review.tool_results and score < _needed(case, model):
        issues.append(_unanswerable(case, found, score, model))
    if issues:
        return Check.failed("evidence", *issues, score=min(score, 0.5))
    return Check.passed("evidence", decisive=True, score=score)


def _needed(case: Case, model: AnswerabilityModel) -> float:
    return model.threshold * (OWN_WORDS if case.is_own else 1.0)


def _miscited(case: Case, claim: Claim) -> list[Issue]:
    """Return the issue of a draft whose cited records together hold much less of it than one that it does not cite."""
    held = claim.held_by({item.record for item in case.cited})
    if held >= HELD * claim.most:
        return []
    best = max(claim.sources, key=lambda source: source.support).item
    return [
        Issue(
            kind=IssueKind.MISQUOTED,
            evidence=f"{', '.join(case.refs)} does not hold the claim as {best.ref} does: {best.text[:160]!r}",
            directive=f"Cite what holds the answer, such as [{best.ref}] if it is about what was asked.",
            records=case.refs,
        )
    ]


def _weigh(case: Case, composed: Composed, models: ClaimModels) -> list[Issue]:
    """Return what the two models have against a claim."""
    issues = []
    chance = models.support.chance(astuple(composed.support))
    if composed.support.mismatch >= FIRM:
        issues.append(_issue(case, IssueKind.UNANSWERED, "the answer's form is not what the question asks for"))
    elif chance < models.support.threshold:
        told = ", ".join(f"{name} {value:.2f}" for name, value in asdict(composed.support).items())
        said = f"support {chance:.2f} is below {models.support.threshold:.2f}: {told}"
        issues.append(_issue(case, IssueKind.UNSUPPORTED, said))
    owned = models.ownership.chance(astuple(composed.ownership))
    if owned < models.ownership.threshold:
        told = ", ".join(f"{name} {value:.2f}" for name, value in asdict(composed.ownership).items())
        said = f"ownership {owned:.2f} is below {models.ownership.threshold:.2f}: {told}"
        issues.append(_issue(case, IssueKind.SPEAKER, said))
    return issues


def _issue(case: Case, kind: IssueKind, evidence: str) -> Issue:
    asked = next(iter(case.asked), "the one who was asked about")
    directives = {
        IssueKind.UNANSWERED: "Answer in the form that is asked for: a time, a number, a reason, yes or no.",
        IssueKind.UNSUPPORTED: "Say what a memory about the question says, or answer that it is not known.",
        IssueKind.SPEAKER: f"Rely on what {asked} said, or answer that it is not known.",
    }
    return Issue(kind=kind, evidence=evidence, directive=directives[kind], records=case.refs)


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
