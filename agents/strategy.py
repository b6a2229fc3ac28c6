"""The strategy note: what the next attempt does differently, in a few lines that people and models can read.

It is drawn anew at each rejection from what is there already: the plan that the runtime carries out, and what the
Checker found. Nothing in it is a decision of its own: it can be inspected, and never disagrees with what happens.
"""

from __future__ import annotations

from collections.abc import Sequence

from mars.agents.reflections import Plan
from mars.agents.verdicts import Verdict

MAX_STEPS = 8
"""So many lines at most."""

MAX_LENGTH = 200
"""So many characters of a directive at most."""


def strategy_note(plan: Plan, verdicts: Sequence[Verdict], left: int) -> list[str]:
    """Return the note after a rejection: `verdicts` of the attempts so far, oldest first, and how many are left."""
    kinds = dict.fromkeys(issue.kind.value for verdict in verdicts for issue in verdict.issues)
    newest = verdicts[-1].issues if verdicts else ()
    directives = dict.fromkeys(_short(issue.directive) for issue in newest[:3] if issue.directive.strip())
    steps = [
        f"{len(verdicts)} rejected" + (f" ({', '.join(kinds)})" if kinds else "") + f", {left} left.",
        *directives,
        *_of_plan(plan),
    ]
    return steps[:MAX_STEPS]


def _of_plan(plan: Plan) -> list[str]:
    steps = []
    if plan.widen > 1:
        steps.append(f"{plan.widen} times as many memories are recalled; look among them.")
    if plan.avoid:
        steps.append(f"Do not rely on the {len(plan.avoid)} memories that the lessons name.")
    if plan.not_before:
        steps.append(f"Prefer what was said from {plan.not_before.date().isoformat()} on.")
    if plan.speaker:
        steps.append(f"Prefer {_short(plan.speaker)}'s own words.")
    if plan.abstain:
        steps.append("Answer from clear evidence only; else it is not known.")
    return steps


def _short(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= MAX_LENGTH else f"{words[:MAX_LENGTH]} …"
