"""How a Checker comes to its verdict: verifiers, then the judge or the evidence rules."""

from __future__ import annotations

from collections.abc import Sequence

from mars.agents.interfaces import NOTED, ChatModel, Review, Verifier
from mars.agents.judge import ask_judge
from mars.agents.rendering import as_line, block, citations, render_memories, render_task, render_tools, says_not_known
from mars.agents.roles import Checker
from mars.agents.verdicts import Check, Decision, Outcome, Verdict, combine
from mars.language import asks


class NoClaimVerifier:
    """Passes an acknowledgement: what claims nothing cannot be wrong."""

    name = "no_claim"

    async def verify(self, review: Review) -> Check:
        """Return a decisive pass for exactly the acknowledgement that the prompt allows, where nothing was asked."""
        if review.draft.strip() == NOTED and not asks(review.task.text):
            return Check.passed(self.name, decisive=True, score=1.0)
        return Check.undecided(self.name)


async def run_verifiers(verifiers: Sequence[Verifier], review: Review) -> list[Check]:
    """Return the checks of all verifiers, in order; one that raises is undecided, and its name tells the error."""
    checks = []
    for verifier in verifiers:
        try:
            checks.append(await verifier.verify(review))
        except Exception as error:  # noqa: BLE001 - a broken verifier of the user's must neither pass nor stop the loop
            checks.append(Check.undecided(f"{verifier.name} ({type(error).__name__}: {error})"))
    return checks


async def review_output(checker: Checker, judge: ChatModel | None, review: Review) -> Verdict:
    """Return the verdict on a draft (MARS): any failed verifier vetoes, then the judge or the rules decide.

    Where a verifier knows a reference answer, the verdict is labelled `oracle_feedback`.
    """
    return _labelled(checker, await _output_verdict(checker, judge, review))


async def _output_verdict(checker: Checker, judge: ChatModel | None, review: Review) -> Verdict:
    verifiers: list[Verifier] = [NoClaimVerifier(), *checker.verifiers]
    if checker.uses_rules:
        from mars.agents.evidence import EvidenceVerifier

        verifiers.append(EvidenceVerifier())
    checks = await run_verifiers(verifiers, review)
    by_rules = combine(checks, used=citations(review.draft))
    if judge is None or by_rules.vetoed or checks[0].outcome is Outcome.PASSED:
        return by_rules
    blocks = render_task(review.task) + render_memories(review.evidence) + _evidence(review) + _draft(review)
    judged = await ask_judge(judge, checker.prompt, blocks)
    update: dict[str, object] = {"checks": (*checks, *judged.checks), "used": judged.used or citations(review.draft)}
    if judged.approved and says_not_known(review.draft):
        update["decision"] = Decision.ABSTAINED  # it may leave, but there is no answer to approve
    return judged.model_copy(update=update)


async def review_action(checker: Checker, judge: ChatModel | None, review: Review, arguments: Verifier) -> Verdict:
    """Return the verdict on a proposed action (CMAT): a rejected one never reaches its environment."""
    return _labelled(checker, await _action_verdict(checker, judge, review, arguments))


async def _action_verdict(checker: Checker, judge: ChatModel | None, review: Review, arguments: Verifier) -> Verdict:
    checks = await run_verifiers([arguments, *checker.action_verifiers], review)
    by_rules = combine(checks)
    if judge is None or by_rules.vetoed or review.action is None:
        return by_rules
    action = as_line({"tool": review.action.tool, "arguments": dict(review.action.arguments)})
    blocks = render_task(review.task) + render_memories(review.evidence) + block("action", [action])
    judged = await ask_judge(judge, checker.action_prompt, blocks)
    return judged.model_copy(update={"checks": (*checks, *judged.checks)})


def _labelled(checker: Checker, verdict: Verdict) -> Verdict:
    return verdict.model_copy(update={"oracle_feedback": True}) if checker.oracle_feedback else verdict


def _evidence(review: Review) -> str:
    """Return what the Checker found beyond the Assistant's memories, and what the tools returned."""
    seen = {item.record for item in review.evidence}
    found = render_memories([item for item in review.wider if item.record not in seen])
    found = found.replace("<memories>", "<evidence>").replace("</memories>", "</evidence>")
    return found + render_tools(review)


def _draft(review: Review) -> str:
    return block("draft", [as_line({"text": review.draft})])
