"""What the Assistant is shown: the blocks of `mars.agents.rendering`, filled from the state of a turn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.messages import HumanMessage, SystemMessage, message_to_dict, messages_from_dict

from mars.agents.reflections import Reflection
from mars.agents.rendering import (
    as_line,
    block,
    render_conversation,
    render_lessons,
    render_memories,
    render_task,
)
from mars.agents.roles import Assistant, Reflector
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


def plain_prompt(messages: list[BaseMessage]) -> list[dict[str, Any]]:
    """Return a prompt as JSON values: LangChain's own form of each message, from which it can be rebuilt."""
    return [message_to_dict(message) for message in messages]
