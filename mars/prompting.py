"""What the Assistant is shown: the blocks of `mars.agents.rendering`, filled from the state of a turn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from langchain_core.messages import HumanMessage, SystemMessage, message_to_dict, messages_from_dict

from mars.agents.interfaces import Evidence
from mars.agents.reflections import Plan, Reflection
from mars.agents.rendering import (
    as_line,
    block,
    render_conversation,
    render_lessons,
    render_memories,
    render_task,
)
from mars.agents.roles import Assistant, Reflector
from mars.language import words
from mars.state import State, evidence_of, task_of

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage


def assistant_prompt(assistant: Assistant, reflector: Reflector | None, state: State) -> list[BaseMessage]:
    """Return the Assistant's next prompt; the Reflector's strategy says what of a failed attempt is in it.

    ================ ================ =========================== ============
    strategy         <last_attempt>   <lessons>, the newest few   <strategy>
    ================ ================ =========================== ============
    none
    last_attempt     yes
    reflexion                         yes                         yes
    both             yes              yes                         yes
    ================ ================ =========================== ============
    """
    evidence = evidence_of(state)
    blocks = render_memories(evidence)
    if reflector is not None and reflector.reflects:
        lessons = [Reflection.from_plain(values) for values in state["lessons"] + state["reflections"]]
        blocks += render_lessons(lessons[-reflector.keep :], evidence)
        blocks += block("strategy", [as_line({"step": step}) for step in state.get("strategy", ())])
    if reflector is not None and reflector.retells and state["attempts"]:
        last = state["attempts"][-1]
        issues = [issue["directive"] for issue in last["verdict"]["issues"]]
        blocks += block("last_attempt", [as_line({"draft": last["draft"], "issues": issues})])
    blocks += render_conversation(state.get("summary", ""), state["window"])
    blocks += render_task(task_of(state))
    return [SystemMessage(assistant.prompt.text), HumanMessage(blocks), *messages_from_dict(state["scratch"])]


FIRST_SHARE = 3 / 4
"""Share of a turn's budget of words that a first draft may use which may be rejected."""


def words_left(budget: int, spent: int, *, may_retry: bool) -> int:
    """Return how many words of memories the next prompt of a turn may hold."""
    return int(budget * FIRST_SHARE) if may_retry and not spent else budget - spent


def count_words(item: Evidence) -> int:
    """Return the words of a memory, as a budget counts them."""
    return len(words(item.text))


def affordable(evidence: Sequence[Evidence], plan: Plan, budget: int) -> list[Evidence]:
    """Return the first memories that have no more words together than `budget`, named m1, m2, … anew.

    What the plan prefers goes first, for what it says to avoid nothing is spent, and the same is not said twice; else
    the order of the recall stays.
    """

    def preferred(item: Evidence) -> bool:
        late = plan.not_before is None or item.said_at >= plan.not_before
        return late and (plan.speaker is None or item.speaker == plan.speaker)

    told = once(one for one in evidence if one.record not in plan.avoid)
    return within(sorted(told, key=lambda one: not preferred(one)), budget)


def within(evidence: Iterable[Evidence], budget: int) -> list[Evidence]:
    """Return the first memories that have no more words together than the budget, named m1, m2, … anew."""
    taken: list[Evidence] = []
    for item in evidence:
        budget -= count_words(item)
        if budget < 0:
            break
        ref = f"m{len(taken) + 1}"
        taken.append(item if item.ref == ref else replace(item, ref=ref))
    return taken


def once(evidence: Iterable[Evidence]) -> list[Evidence]:
    """Return each memory once: of the same words of one speaker the newest, of a fact and its sentence the sentence."""
    newest: dict[tuple[str | None, str], Evidence] = {}
    for item in evidence:
        said = (item.speaker, item.text)
        if said not in newest or item.said_at > newest[said].said_at:
            newest[said] = item
    moments = {(item.speaker, item.said_at): item.text for item in newest.values() if item.kind != "fact"}
    return [
        item
        for item in newest.values()
        if item.kind != "fact" or not item.value or item.value not in moments.get((item.speaker, item.said_at), "")
    ]


def plain_prompt(messages: list[BaseMessage]) -> list[dict[str, Any]]:
    """Return a prompt as JSON values: LangChain's own form of each message, from which it can be rebuilt."""
    return [message_to_dict(message) for message in messages]
