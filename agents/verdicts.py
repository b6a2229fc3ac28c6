"""Verdicts: what a Checker says of a draft or an action, and how single checks become one verdict.

The rule (runtime.md §2): any failed check vetoes; else approved if at least one decisive check passed; else abstained.
An abstention is never an approval.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class IssueKind(StrEnum):
    """What is wrong with a draft; the keyless Reflector's table has a plan for each."""

    NO_CITATION = "no_citation"
    """A claim without a source."""
    MISQUOTED = "misquoted"
    """The quoted words are not in the cited record."""
    UNSUPPORTED = "unsupported"
    """The cited records do not support the claim."""
    NUMBER = "number"
    """A number that no source has."""
    DATE = "date"
    """A date that no source has, also not as a relative one."""
    NEGATION = "negation"
    """The source says the opposite."""
    SPEAKER = "speaker"
    """The source is about somebody else than the one asked about."""
    STALE = "stale"
    """A newer record contradicts the source."""
    UNANSWERED = "unanswered"
    """The question is not answered although memory may hold the answer."""
    FORMAT = "format"
    """A right answer in the wrong form is rejected too."""
    CONSTRAINT = "constraint"
    """A constraint of the task is broken."""
    TOOL_ERROR = "tool_error"
    """A tool failed; its words are the evidence."""
    UNSAFE_ACTION = "unsafe_action"
    """An action that must not run."""
    OTHER = "other"
    """What a judge model names in its own words."""


class Issue(BaseModel):
    """One thing that is wrong."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: IssueKind = Field(description="What sort of fault it is.")
    evidence: str = Field(description="What shows it: a quotation, a number, an error, verbatim.")
    directive: str = Field(description="What would mend it, as an instruction to the Assistant.")
    records: tuple[str, ...] = Field(default=(), description="Refs (m1, w2, …) of the records that show it.")
    blame: tuple[str, ...] = Field(default=(), description="Refs of the records that caused it.")


class Outcome(StrEnum):
    """How a single check ended."""

    PASSED = "passed"
    """It holds."""
    FAILED = "failed"
    """It does not: a veto."""
    UNDECIDED = "undecided"
    """The check cannot say; it counts for nothing."""


class Check(BaseModel):
    """The result of one verifier."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="Name of the verifier.")
    outcome: Outcome = Field(description="Passed, failed or undecided.")
    decisive: bool = Field(default=False, description="Whether passing it is enough for an approval.")
    score: float | None = Field(default=None, ge=0.0, le=1.0, description="How well it holds, in [0, 1], if graded.")
    issues: tuple[Issue, ...] = Field(default=(), description="What is wrong; non-empty if it failed.")

    @classmethod
    def passed(cls, name: str, *, decisive: bool = False, score: float | None = None) -> Check:
        """Return a check that holds; `score` is in [0, 1], and a `decisive` one approves where nothing fails."""
        return cls(name=name, outcome=Outcome.PASSED, decisive=decisive, score=score)

    @classmethod
    def failed(cls, name: str, *issues: Issue, score: float | None = None) -> Check:
        """Return a check that vetoes, with what is wrong; `score` is in [0, 1]."""
        return cls(name=name, outcome=Outcome.FAILED, issues=issues, score=score)

    @classmethod
    def undecided(cls, name: str, score: float | None = None) -> Check:
        """Return a check that says nothing: it neither approves nor vetoes; `score` is in [0, 1]."""
        return cls(name=name, outcome=Outcome.UNDECIDED, score=score)


class Decision(StrEnum):
    """What a Checker decides."""

    APPROVED = "approved"
    """Nothing fails, and a decisive check or the judge says yes."""
    REJECTED = "rejected"
    """A check fails, or the judge says no."""
    ABSTAINED = "abstained"
    """Nobody can tell; never an approval."""


class Verdict(BaseModel):
    """What a Checker says of a draft or an action."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    decision: Decision = Field(description="approved, rejected or abstained; an abstention is never an approval.")
    score: float = Field(ge=0.0, le=1.0, description="How good the draft is, in [0, 1].")
    issues: tuple[Issue, ...] = Field(default=(), description="What is wrong, most serious first.")
    used: tuple[str, ...] = Field(default=(), description="Refs of the records that support the draft.")
    blame: tuple[str, ...] = Field(default=(), description="Refs of the records that caused an error.")
    vetoed: bool = Field(default=False, description="Whether a verifier failed, whatever a judge says.")
    origin: str = Field(default="rules", description="Who decided: rules, or the rung of the judge's ladder.")
    checks: tuple[Check, ...] = Field(default=(), description="The single checks behind it.")
    oracle_feedback: bool = Field(default=False, description="Whether a check behind it knows a reference answer.")

    @property
    def approved(self) -> bool:
        """Whether the draft may leave."""
        return self.decision is Decision.APPROVED

    def plain(self) -> dict[str, Any]:
        """Return it as JSON values, from which it can be rebuilt."""
        values: dict[str, Any] = self.model_dump(mode="json")
        return values


def combine(checks: Sequence[Check], used: Iterable[str] = (), origin: str = "rules") -> Verdict:
    """Return the verdict that follows from single checks, by the rule in this module's first lines.

    The score is the least graded score; without any, 1 for an approval and 0 else.
    """
    failed = [check for check in checks if check.outcome is Outcome.FAILED]
    decisive = any(check.decisive and check.outcome is Outcome.PASSED for check in checks)
    decision = Decision.REJECTED if failed else Decision.APPROVED if decisive else Decision.ABSTAINED
    scores = [check.score for check in checks if check.score is not None]
    issues = tuple(issue for check in failed for issue in check.issues)
    return Verdict(
        decision=decision,
        score=min(scores) if scores else float(decision is Decision.APPROVED),
        issues=issues,
        used=tuple(used),
        blame=tuple(dict.fromkeys(ref for issue in issues for ref in issue.blame)),
        vetoed=bool(failed),
        origin=origin,
        checks=tuple(checks),
    )


def best(verdicts: Sequence[Verdict]) -> int:
    """Return the index of the best draft: approved, then no veto, then the score, then the latest."""
    if not verdicts:
        raise ValueError("there is no draft to choose from")
    keys = [(v.approved, not v.vetoed, v.score, place) for place, v in enumerate(verdicts)]
    return max(keys)[3]
