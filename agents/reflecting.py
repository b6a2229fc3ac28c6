"""How a Reflector comes to its reflection: the rules make the plan, a model may find the words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mars.agents.interfaces import ChatModel, Review
from mars.agents.reflection_rules import reflect_by_rules
from mars.agents.reflections import Reflection
from mars.agents.rendering import (
    as_line,
    block,
    citations,
    render_lessons,
    render_memories,
    render_task,
    render_tools,
    without_refs,
)
from mars.agents.roles import Reflector
from mars.agents.verdicts import Verdict


async def reflect(
    reflector: Reflector,
    model: ChatModel | None,
    review: Review,
    verdict: Verdict,
    earlier: Sequence[Reflection],
) -> Reflection:
    """Return the lesson of a rejected draft (Reflexion §3, MARS §3.2); `earlier` holds the newest ones, oldest first.

    The plan, which the runtime carries out, always follows from the verdict's issues by the documented table; a model
    adds its own words. A model that says nothing leaves the rules' words. Refs become what they stand for, because the
    next recall gives them to other records.
    """
    by_rules = reflect_by_rules(review, verdict, earlier)
    lesson = by_rules if model is None else await _in_words_of(model, reflector, review, verdict, earlier, by_rules)
    text, records = without_refs(lesson.text, (*review.wider, *review.evidence), citations(review.draft))
    from_tools = bool(review.tool_results or review.tool_errors)
    return replace(lesson, text=text, records=records, task=review.task.text, from_tools=from_tools)


async def _in_words_of(
    model: ChatModel,
    reflector: Reflector,
    review: Review,
    verdict: Verdict,
    earlier: Sequence[Reflection],
    by_rules: Reflection,
) -> Reflection:
    from langchain_core.messages import HumanMessage, SystemMessage

    issues = [issue.model_dump(mode="json") for issue in verdict.issues]
    blocks = (
        render_task(review.task)
        + render_memories(review.evidence)
        + render_tools(review)
        + block("draft", [as_line({"text": review.draft})])
        + block("verdict", [as_line({"decision": verdict.decision.value, "score": verdict.score, "issues": issues})])
        + render_lessons(earlier, review.evidence)
    )
    reply = await model.ainvoke([SystemMessage(reflector.prompt.text), HumanMessage(blocks)])
    words = reply.text.strip()
    return replace(by_rules, text=words, origin=_name_of(model)) if words else by_rules


def _name_of(model: ChatModel) -> str:
    name = getattr(model, "model_name", None) or getattr(model, "_llm_type", "model")
    return str(name)
