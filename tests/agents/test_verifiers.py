"""Verifiers that veto: callables, regular expressions, JSON schemas, arguments."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from mars.agents.checking import review_action, review_output, run_verifiers
from mars.agents.interfaces import Action, Evidence, Review, Task
from mars.agents.roles import Checker
from mars.agents.verdicts import Check, Decision, IssueKind, Outcome
from mars.agents.verifiers import (
    ArgumentsVerifier,
    CallableVerifier,
    CitationVerifier,
    JSONSchemaVerifier,
    NumericVerifier,
    RegexVerifier,
)
from mars.errors import InvalidSetting
from mars.testing import ScriptedModel, Step

TASK = Task(id="t", text="How many?", user="ann", asked_at=datetime(2026, 1, 1, tzinfo=UTC))
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}


def review(draft: str = "42 [m1]", action: Action | None = None) -> Review:
    """Return a review of a draft or an action."""
    return Review(task=TASK, draft=draft, action=action)


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (True, Outcome.PASSED),
        (None, Outcome.PASSED),
        (False, Outcome.FAILED),
        ("too small", Outcome.FAILED),
        (Check.undecided("mine"), Outcome.UNDECIDED),
    ],
)
async def test_a_callable_says_yes_no_or_why(answer: bool | str | Check | None, outcome: Outcome) -> None:
    """What a function returns becomes a check, and its words the evidence."""
    check = await CallableVerifier(lambda _: answer).verify(review())
    assert check.outcome is outcome
    if isinstance(answer, str):
        assert check.issues[0].evidence == answer


async def test_an_async_callable_is_awaited() -> None:
    """A coroutine function is a callable too."""

    async def small(_: Review) -> str:
        return "too small"

    assert (await CallableVerifier(small).verify(review())).outcome is Outcome.FAILED


async def test_a_verifier_that_raises_is_undecided_and_named() -> None:
    """A broken verifier neither passes nor stops the loop."""

    def broken(_: Review) -> bool:
        raise ZeroDivisionError("oops")

    checks = await run_verifiers([CallableVerifier(broken, name="mine")], review())
    assert checks[0].outcome is Outcome.UNDECIDED
    assert checks[0].name == "mine (ZeroDivisionError: oops)"


async def test_a_right_answer_in_the_wrong_format_is_rejected() -> None:
    """The pattern must match the whole answer, citations apart."""
    verifier = RegexVerifier(r"\d+")
    assert (await verifier.verify(review("42 [m1]"))).outcome is Outcome.PASSED
    failed = await verifier.verify(review("It is 42 [m1]"))
    assert failed.issues[0].kind is IssueKind.FORMAT


async def test_a_schema_is_held_against_the_answer() -> None:
    """JSON that the schema forbids, or no JSON at all, fails with the place of the fault."""
    verifier = JSONSchemaVerifier(SCHEMA)
    assert (await verifier.verify(review('{"n": 1}'))).outcome is Outcome.PASSED
    assert "n: 'x' is not of type" in (await verifier.verify(review('{"n": "x"}'))).issues[0].evidence
    assert "not JSON" in (await verifier.verify(review("n = 1"))).issues[0].evidence


def test_a_bad_verifier_is_refused_when_it_is_made() -> None:
    """A pattern or a schema that is none is the caller's mistake, said at once."""
    with pytest.raises(InvalidSetting):
        RegexVerifier("(")
    with pytest.raises(InvalidSetting):
        JSONSchemaVerifier({"type": "nonsense"})


async def test_a_veto_stands_whatever_the_judge_says() -> None:
    """The judge is not even asked once a verifier has failed."""
    judge = ScriptedModel([Step(structured={"approved": True, "score": 1.0})])
    checker = Checker(model=judge, verifiers=(RegexVerifier("yes|no"),))
    verdict = await review_output(checker, judge, review("perhaps"))
    assert verdict.decision is Decision.REJECTED
    assert verdict.vetoed
    assert judge.calls == []


async def test_without_a_decisive_check_the_checker_abstains() -> None:
    """Passing a check that decides nothing is no approval."""
    checker = Checker(verifiers=(RegexVerifier(".*"),), evidence_rules=False)
    verdict = await review_output(checker, None, review())
    assert verdict.decision is Decision.ABSTAINED


@pytest.mark.parametrize(
    ("action", "approved"),
    [
        (Action(id="1", tool="count", arguments={"n": 3}), True),
        (Action(id="1", tool="count", arguments={"n": "three"}), False),
        (Action(id="1", tool="count", arguments={"n": 3, "rm": "-rf"}), False),
        (Action(id="1", tool="drop", arguments={}), False),
    ],
)
async def test_an_action_needs_a_known_tool_and_valid_arguments(action: Action, approved: bool) -> None:
    """Unknown tools and arguments that the schema forbids never reach the environment."""
    verdict = await review_action(Checker(), None, review("", action), ArgumentsVerifier({"count": SCHEMA}))
    assert verdict.approved == approved


@pytest.mark.parametrize(
    ("verifier", "draft", "outcome"),
    [
        (NumericVerifier("12.5"), "It is 12.5 [m1].", Outcome.PASSED),
        (NumericVerifier("12.5"), "It is 12.6", Outcome.FAILED),
        (NumericVerifier("12.5", absolute="0.1"), "12.6", Outcome.PASSED),
        (NumericVerifier("12.5", absolute="0.1"), "12.61", Outcome.FAILED),
        (NumericVerifier("1000", relative="0.01"), "1,010", Outcome.PASSED),
        (NumericVerifier("1000", relative="0.01"), "1,011", Outcome.FAILED),
        (NumericVerifier("3 km"), "3000 m", Outcome.PASSED),
        (NumericVerifier("3 km"), "3 kg", Outcome.FAILED),
        (NumericVerifier("3 km"), "3", Outcome.FAILED),
        (NumericVerifier("50%"), "0.5", Outcome.PASSED),
        (NumericVerifier("$40"), "$40", Outcome.PASSED),
        (NumericVerifier("$40"), "40", Outcome.FAILED),
        (NumericVerifier("3 cats"), "3 cat", Outcome.PASSED),
        (NumericVerifier("0.3"), "between 0.1 and 0.3", Outcome.FAILED),
        (NumericVerifier("-2"), "It was -2", Outcome.PASSED),
        (NumericVerifier("5"), "many", Outcome.FAILED),
    ],
)
async def test_a_number_is_held_against_its_tolerance(verifier: NumericVerifier, draft: str, outcome: Outcome) -> None:
    """Exactly one quantity, in a unit that converts exactly, no further off than is allowed."""
    checked = await verifier.verify(review(draft))
    assert checked.outcome is outcome
    assert all(verifier.expected not in issue.directive for issue in checked.issues)


@pytest.mark.parametrize(
    "settings", [{"expected": "many"}, {"expected": "1", "absolute": "-1"}, {"expected": "1", "relative": "x"}]
)
def test_a_bad_tolerance_is_refused(settings: dict[str, str]) -> None:
    """What could never be checked is refused when it is made."""
    with pytest.raises(InvalidSetting):
        NumericVerifier(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("draft", "outcome"),
    [
        ("She went to Oslo [m1].", Outcome.PASSED),
        ("She went to Oslo.", Outcome.FAILED),
        ("She went to Oslo [m2].", Outcome.FAILED),
        ("She bought an aeroplane in Patagonia [m1].", Outcome.FAILED),
        ("Not known.", Outcome.UNDECIDED),
    ],
)
async def test_citations_are_a_verifier_of_their_own(draft: str, outcome: Outcome) -> None:
    """A source must be cited, exist and hold the words; not knowing needs none."""
    said = Evidence(
        ref="m1",
        record="r1",
        text="Caroline went to Oslo by train.",
        kind="episode",
        speaker="Bob",
        said_at=datetime(2024, 1, 1, tzinfo=UTC),
        relevance=0.9,
        retention=1.0,
    )
    asked = replace(TASK, text="Where did she go by train?")
    checked = await CitationVerifier().verify(replace(review(), task=asked, draft=draft, evidence=(said,)))
    assert checked.outcome is outcome, checked.issues
