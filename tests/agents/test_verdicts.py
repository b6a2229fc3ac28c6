"""Verdicts: how checks become one, and which draft is the best."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mars.agents.verdicts import Check, Decision, Issue, IssueKind, Outcome, Verdict, best, combine

ISSUE = Issue(kind=IssueKind.NUMBER, evidence="7 is in no source", directive="Use the source's number.", blame=("m1",))

CHECKS = st.sampled_from(
    [
        Check.passed("a"),
        Check.passed("b", decisive=True),
        Check.passed("c", decisive=True, score=0.8),
        Check.undecided("d"),
        Check.undecided("e", score=0.1),
        Check.failed("f", ISSUE),
        Check.failed("g", ISSUE, score=0.2),
    ]
)


@given(st.lists(CHECKS, max_size=6))
def test_any_failure_vetoes_and_nothing_decisive_never_approves(checks: list[Check]) -> None:
    """A draft is approved exactly if nothing failed and something decisive passed."""
    verdict = combine(checks)
    failed = any(check.outcome is Outcome.FAILED for check in checks)
    decisive = any(check.decisive and check.outcome is Outcome.PASSED for check in checks)
    assert verdict.approved == (decisive and not failed)
    assert verdict.vetoed == failed
    assert (verdict.decision is Decision.ABSTAINED) == (not failed and not decisive)


def test_a_verdict_names_whom_the_issues_blame() -> None:
    """The records to blame are those of the issues, each once."""
    assert combine([Check.failed("a", ISSUE), Check.failed("b", ISSUE)]).blame == ("m1",)


def test_the_score_is_the_least_graded_one() -> None:
    """One weak check is not averaged away."""
    assert combine([Check.passed("a", decisive=True, score=0.9), Check.undecided("b", score=0.3)]).score == 0.3


def verdict(decision: Decision, score: float, vetoed: bool = False) -> Verdict:
    """Return a verdict with these three."""
    return Verdict(decision=decision, score=score, vetoed=vetoed)


def test_the_best_draft_is_approved_then_unvetoed_then_scored_then_latest() -> None:
    """The best draft is returned, not the last."""
    rejected, abstained, approved = Decision.REJECTED, Decision.ABSTAINED, Decision.APPROVED
    assert best([verdict(rejected, 0.9, True), verdict(abstained, 0.1)]) == 1
    assert best([verdict(rejected, 0.9), verdict(rejected, 0.2)]) == 0
    assert best([verdict(rejected, 0.5), verdict(rejected, 0.5)]) == 1
    assert best([verdict(approved, 0.1), verdict(rejected, 1.0)]) == 0
