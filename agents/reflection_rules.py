"""The keyless Reflector: a table from what is wrong to what to do about it.

================ =================================================== ===================================================
issue            plan                                                why
================ =================================================== ===================================================
stale            avoid what is to blame, prefer what was said from   the newer record names the value that holds now
                 the newer record's day on, recall twice as wide
speaker          recall twice as wide, that person's own words;      somebody else's words on the same topic were taken
                 of "my …": avoid what others say of themselves
unsupported      recall twice as wide; avoid what is to blame        the right record may lie deeper
unanswered       recall twice as wide, with the question's words     the right record may lie deeper
misquoted,       no change of recall; the directive is the lesson    the record was right, its rendering was not
no_citation,
format,
constraint
number, date,    avoid nothing, recall twice as wide                 another record may state it
negation
tool_error,      no change of recall; the error is the lesson        the way of acting was wrong, not the evidence
unsafe_action,
other
================ =================================================== ===================================================

Plans of several issues are merged, the most serious last, so that it wins. For speaker and unsupported, and where an
earlier reflection of the same task had the same cause, the plan also says to abstain: answer that it is not known
unless the evidence is clear.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from mars.agents.evidence.case import Case
from mars.agents.evidence.ownership import words_of_others
from mars.agents.evidence.reading import FIRST_PERSON, person_asked
from mars.agents.interfaces import Evidence, Review
from mars.agents.reflections import Plan, Reflection
from mars.agents.verdicts import Issue, IssueKind, Verdict
from mars.language import words

WIDER = 2
"""By how much one reflection widens recall."""


def _records(review: Review) -> dict[str, Evidence]:
    return {item.ref: item for item in (*review.wider, *review.evidence)}


def _ids(review: Review, refs: Sequence[str]) -> tuple[str, ...]:
    known = _records(review)
    return tuple(dict.fromkeys(known[ref].record for ref in refs if ref in known))


def _newer(review: Review, issue: Issue) -> Plan:
    known = _records(review)
    days: list[datetime] = [known[ref].said_at for ref in issue.records if ref in known]
    return Plan(widen=WIDER, avoid=_ids(review, issue.blame), not_before=max(days, default=None))


def _own_words(review: Review, issue: Issue) -> Plan:
    asked = person_asked(review.task, (*review.evidence, *review.wider))
    theirs = words_of_others(Case(review)) if _asks_for_own(review) else ()
    return Plan(widen=WIDER, speaker=asked, avoid=tuple(item.record for item in theirs), abstain=True)


def _asks_for_own(review: Review) -> bool:
    """Return whether the question is about the asker, so that what others say of themselves cannot answer it."""
    return bool(FIRST_PERSON.intersection(words(review.task.text)))


def _deeper(review: Review, issue: Issue) -> Plan:
    return Plan(widen=WIDER, avoid=_ids(review, issue.blame))


def _clearer(review: Review, issue: Issue) -> Plan:
    return Plan(widen=WIDER, avoid=_ids(review, issue.blame), abstain=not issue.blame)


def _as_told(review: Review, issue: Issue) -> Plan:
    return Plan(avoid=_ids(review, issue.blame))


RULES: Mapping[IssueKind, Callable[[Review, Issue], Plan]] = {
    IssueKind.STALE: _newer,
    IssueKind.SPEAKER: _own_words,
    IssueKind.UNSUPPORTED: _clearer,
    IssueKind.UNANSWERED: _deeper,
    IssueKind.NUMBER: _deeper,
    IssueKind.DATE: _deeper,
    IssueKind.NEGATION: _deeper,
    IssueKind.MISQUOTED: _as_told,
    IssueKind.NO_CITATION: _as_told,
    IssueKind.FORMAT: _as_told,
    IssueKind.CONSTRAINT: _as_told,
    IssueKind.TOOL_ERROR: _as_told,
    IssueKind.UNSAFE_ACTION: _as_told,
    IssueKind.OTHER: _as_told,
}
"""The plan for each kind of issue; every kind has one."""


def reflect_by_rules(review: Review, verdict: Verdict, earlier: Sequence[Reflection]) -> Reflection:
    """Return the reflection that the table gives for a verdict; `earlier` are those of the same task, oldest first."""
    plan = Plan()
    for issue in reversed(verdict.issues):
        plan = plan.merged(RULES[issue.kind](review, issue))
    plan = replace(plan, widen=min(plan.widen, WIDER))
    causes = tuple(dict.fromkeys(issue.kind.value for issue in verdict.issues))
    if any(set(causes) & set(reflection.causes) - {IssueKind.STALE.value} for reflection in earlier):
        plan = replace(plan, abstain=True)
    if not verdict.issues:
        plan = Plan(widen=WIDER)
    return Reflection(text=_words(review, verdict, plan), plan=plan, causes=causes, origin="rules")


def _words(review: Review, verdict: Verdict, plan: Plan) -> str:
    """Return the lesson in words; that it says to abstain is for this task alone, and stands in the plan only."""
    failures = [f"{IssueKind.TOOL_ERROR.value}: {error}." for error in review.tool_errors]
    issues = [f"{issue.kind.value}: {issue.evidence}. {issue.directive}" for issue in verdict.issues[:3]]
    faults = " ".join((*issues, *failures))
    steps = []
    if plan.widen > 1:
        steps.append("recall more memories")
    if plan.avoid:
        steps.append(f"do not rely on the {len(plan.avoid)} memor{'y' if len(plan.avoid) == 1 else 'ies'} to blame")
    if plan.not_before:
        steps.append(f"prefer what was said from {plan.not_before.date().isoformat()} on")
    if plan.speaker:
        steps.append(f"prefer {plan.speaker}'s own words")
    outcome = faults or "The draft was not approved, and no check says why."
    return f"{outcome} Next: {'; '.join(steps) or 'follow the directive'}."
