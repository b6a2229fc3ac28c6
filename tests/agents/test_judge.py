"""The judge's ladder: every way in which a model can fail to judge."""

from __future__ import annotations

import pytest

from mars.agents.judge import UnreadableJudgement, ask_judge, read_judgement
from mars.agents.prompts import CHECKER
from mars.agents.verdicts import Decision
from mars.testing import ScriptedModel, Step

GOOD = '{"approved": true, "score": 0.9, "issues": [], "used": ["m1"]}'
BAD = (
    '{"approved": false, "score": 0.1, "issues": [{"kind": "date", "evidence": "1999", "directive": "Use 2001.", '
    '"records": ["m1"], "blame": ["m1"]}], "used": []}'
)

UNREADABLE = {
    "prose": "Looks good to me, approved!",
    "two objects": f"{GOOD}\n{BAD}",
    "score out of range": '{"approved": true, "score": 7}',
    "empty": "   ",
    "refusal": "I'm sorry, but I cannot help with that.",
    "a word for a truth value": '{"approved": "yes", "score": 0.9}',
    "cut off": '{"approved": true, "score": 0.9, "issues": [',
    "unknown kind": '{"approved": false, "score": 0, "issues": [{"kind": "vibes", "evidence": "", "directive": ""}]}',
    "a list": "[true, 0.9]",
}


@pytest.mark.parametrize("reply", UNREADABLE.values(), ids=UNREADABLE.keys())
async def test_what_cannot_be_read_twice_is_an_abstention(reply: str) -> None:
    """A judge that gives no valid judgement, also when asked again, abstains; it never approves by accident."""
    model = ScriptedModel([reply, reply], structured=False)
    verdict = await ask_judge(model, CHECKER, "<draft>…</draft>")
    assert verdict.decision is Decision.ABSTAINED
    assert not verdict.approved
    model.assert_finished()


@pytest.mark.parametrize("reply", UNREADABLE.values(), ids=UNREADABLE.keys())
async def test_one_repair_is_asked_for_and_taken(reply: str) -> None:
    """A judge that mends its reply when told what is wrong is believed."""
    model = ScriptedModel([reply, Step(text=GOOD, expect="not one valid JSON object")], structured=False)
    verdict = await ask_judge(model, CHECKER, "<draft>…</draft>")
    assert verdict.approved
    assert verdict.origin == "judge:repair"


@pytest.mark.parametrize("reply", [GOOD, f"```json\n{GOOD}\n```", f"Here it is:\n{GOOD}"])
async def test_one_object_is_read_bare_or_fenced(reply: str) -> None:
    """Exactly one JSON object is enough, whatever stands around it."""
    verdict = await ask_judge(ScriptedModel([reply], structured=False), CHECKER, "")
    assert verdict.approved
    assert verdict.used == ("m1",)


async def test_structured_output_comes_first() -> None:
    """A model with structured output is asked once."""
    model = ScriptedModel([Step(structured={"approved": False, "score": 0.2})])
    verdict = await ask_judge(model, CHECKER, "")
    assert verdict.decision is Decision.REJECTED
    assert verdict.origin == "judge:structured"
    assert [call.mode for call in model.calls] == ["structured"]


async def test_invalid_structured_output_falls_to_the_next_rung() -> None:
    """An object that breaks the schema is not believed, and JSON is asked for."""
    model = ScriptedModel([Step(structured={"approved": True, "score": 3}), BAD])
    verdict = await ask_judge(model, CHECKER, "")
    assert verdict.origin == "judge:json"
    assert verdict.blame == ("m1",)


async def test_a_provider_that_refuses_structured_output_is_asked_in_words() -> None:
    """Whatever a provider raises for want of structured output, the next rung is tried."""
    model = ScriptedModel([Step(error=ValueError("response_format is not supported")), GOOD])
    assert (await ask_judge(model, CHECKER, "")).origin == "judge:json"


async def test_a_failing_provider_is_not_an_abstention() -> None:
    """An error of the provider is the caller's to see, not a verdict."""
    with pytest.raises(ConnectionError):
        await ask_judge(ScriptedModel([Step(error=ConnectionError("down"))], structured=False), CHECKER, "")


def test_the_fault_is_named() -> None:
    """The repair prompt can say what was wrong."""
    with pytest.raises(UnreadableJudgement, match="score"):
        read_judgement('{"approved": true, "score": -1}')
