"""The judge model's ladder: structured output, JSON, one repair, abstain (runtime.md §2).

A judge that replies with prose, two objects, a score out of range or nothing never approves by accident: what cannot be
read as exactly one valid judgement is asked for once more, and then counts as an abstention.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mars.agents.interfaces import ChatModel
from mars.agents.prompts import REPAIR, Prompt
from mars.agents.verdicts import Check, Decision, Issue, IssueKind, Verdict

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

_FENCE = re.compile(r"^\s*```[a-zA-Z]*\s*\n(.*?)\n?\s*```\s*$", re.DOTALL)


class Judgement(BaseModel):
    """What a judge model replies."""

    model_config = ConfigDict(frozen=True)

    approved: bool = Field(strict=True, description="Whether the draft may leave.")
    score: float = Field(ge=0.0, le=1.0, description="How good it is, from 0 to 1.")
    issues: tuple[Issue, ...] = Field(default=(), description="What is wrong.")
    used: tuple[str, ...] = Field(default=(), description="Ids of the memories that support the draft.")


class UnreadableJudgement(ValueError):
    """A model's text is not exactly one object of the form asked for."""


def one_object(text: str) -> Any:
    """Return the one JSON object in a reply, in whatever words; raise `UnreadableJudgement` for none or several."""
    fenced = _FENCE.match(text)
    body = (fenced.group(1) if fenced else text).strip()
    if not body:
        raise UnreadableJudgement("the reply is empty")
    start = body.find("{")
    if start < 0:
        raise UnreadableJudgement("the reply holds no JSON object")
    try:
        value, end = json.JSONDecoder().raw_decode(body, start)
    except json.JSONDecodeError as error:
        raise UnreadableJudgement(f"the JSON is broken: {error.msg}") from error
    except RecursionError:
        raise UnreadableJudgement("the JSON is too deep") from None
    if "{" in body[end:] or "{" in body[:start]:
        raise UnreadableJudgement("the reply holds more than one object")
    return value


def read_judgement(text: str) -> Judgement:
    """Return the one judgement in `text`, in whatever words; raise `UnreadableJudgement` for none or several."""
    try:
        return Judgement.model_validate(one_object(text))
    except ValidationError as error:
        first = error.errors()[0]
        raise UnreadableJudgement(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def system_text(prompt: Prompt) -> str:
    """Return a judge's system message with the kinds of issues filled in."""
    return prompt.text.replace("{kinds}", ", ".join(kind.value for kind in IssueKind))


async def ask_judge(model: ChatModel, prompt: Prompt, blocks: str) -> Verdict:
    """Return the judge's verdict on rendered blocks; an abstention if no rung of the ladder gives one."""
    from langchain_core.messages import AIMessage, HumanMessage, SystemMessage

    messages: list[BaseMessage] = [SystemMessage(system_text(prompt)), HumanMessage(blocks)]
    judged = await _structured(model, messages)
    if judged is not None:
        return _verdict(judged, "judge:structured")
    fault = ""
    for rung in ("judge:json", "judge:repair"):
        reply = await model.ainvoke(messages)
        text = reply.text if isinstance(reply.text, str) else str(reply.content)
        try:
            return _verdict(read_judgement(text), rung)
        except UnreadableJudgement as error:
            fault = str(error)
            messages = [*messages, AIMessage(text or "(empty)"), HumanMessage(REPAIR.text.replace("{error}", fault))]
    return Verdict(
        decision=Decision.ABSTAINED,
        score=0.0,
        origin="judge:abstain",
        checks=(Check.undecided(f"judge ({fault})"),),
    )


async def _structured(model: ChatModel, messages: list[BaseMessage]) -> Judgement | None:
    """Return the judgement through native structured output; None if the model has none or gives no valid one."""
    try:
        reply: Any = await model.with_structured_output(Judgement).ainvoke(messages)
        return reply if isinstance(reply, Judgement) else Judgement.model_validate(reply)
    except (AssertionError, OSError):
        raise
    except Exception:  # noqa: BLE001 - without the ability providers raise all sorts; what is down fails on the next rung
        return None


def _verdict(judged: Judgement, origin: str) -> Verdict:
    blame = tuple(dict.fromkeys(ref for issue in judged.issues for ref in issue.blame))
    return Verdict(
        decision=Decision.APPROVED if judged.approved else Decision.REJECTED,
        score=judged.score,
        issues=judged.issues,
        used=judged.used,
        blame=blame,
        origin=origin,
    )
