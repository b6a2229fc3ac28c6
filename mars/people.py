"""People in the loop: an action that needs approval waits for one, and so does a question of the Assistant's.

Each is asked in a node of its own, one at a time, before anything runs. The turn then rests, in this process or after
it: the question is a row, the decision is written into it, and the node goes on with what is there. In a host's graph
LangGraph's `interrupt` brings the decision. Nobody is asked twice.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Any, Literal

from langchain_core.messages import message_to_dict
from langchain_core.tools import BaseTool, StructuredTool
from langgraph.types import Command, interrupt

from mars.agents.interfaces import Action
from mars.calls import here
from mars.errors import InvalidInput, ScriptError
from mars.events import EventKind
from mars.persistence.approvals import CHANGES, Approval, Asked, Decision
from mars.persistence.asks import Desk
from mars.persistence.call_rows import Key
from mars.state import State, namespace_of
from mars.telling import emit
from mars.tools import ASKS, READ_ONLY, Toolbox

__all__ = ["People", "ask_user"]

CLEARED = "cleared"
"""Marks a pending action that a person has let pass, until all of them are through."""

NOBODY = "nobody answered in time"
"""Who decided, where the default did."""

DECLINED = "The user does not answer this. Go on without it."
"""What the Assistant is told of a question that was declined without a word."""

BY_PERSON = {"by": "person"}
"""The artifact of a reply that a person gave; no model is sent it."""

_CALLS = frozenset({"tool_use", "tool_call", "function_call", "invalid_tool_call"})
"""Types of the blocks in which providers keep a call of a tool in the words of a message, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """Who is asked, and about what."""

    approval: Approval | None = None
    """Which actions need a person; None: none do."""
    desk: Desk = field(default_factory=Desk)
    """Where it is kept what was asked and decided."""

    def within(self, state: State) -> People:
        """Return who is asked in a turn: in one that has been before, about every action that may change something."""
        if state.get("replay", {}).get("effects") != "ask":
            return self
        approval = self.approval or Approval()
        return replace(self, approval=replace(approval, tools=(*approval.tools, CHANGES)))

    def wanted(self, toolbox: Toolbox, values: Mapping[str, Any]) -> bool:
        """Return whether a pending action waits for a person."""
        if values.get(CLEARED):
            return False
        tool = values["tool"]
        return toolbox.asks(tool) or (self.approval is not None and self.approval.needed(tool, toolbox.read_only(tool)))

    def next(self, toolbox: Toolbox, pending: Sequence[Mapping[str, Any]]) -> Literal["person", "tools", "assistant"]:
        """Return where actions go that the Checker has let pass."""
        if any(self.wanted(toolbox, values) for values in pending):
            return "person"
        return "tools" if pending else "assistant"

    async def decide(self, toolbox: Toolbox, state: State) -> Command[Literal["person", "tools", "assistant"]]:
        """Have the first waiting action of a state decided; return where the turn goes with it.

        Interrupts the graph where nobody has decided yet.
        """
        place, pending = here(), [dict(values) for values in state["pending"]]
        key = place.next("person")
        number = await self._waiting(toolbox, key, pending)
        if number is None:  # the policy was changed while the turn rested, and nobody had been asked yet
            return Command(goto=self.next(toolbox, pending), update={"pending": _passed(pending)})
        action = Action(**pending[number])
        asked, new = await self.desk.put(self._ask(toolbox, action, key), place.fence)
        decision = asked.decision or self._default(asked, new)
        if decision is None:
            emit(EventKind.INTERRUPT, "person", _words(asked), asked=asked.plain())
            decision = _told(asked)
        await self.desk.decide(asked, decision, datetime.now(UTC), place.fence)
        emit(EventKind.DECISION, "person", decision.choice, action=pending[number], decision=decision.plain())
        update = _applied(toolbox, action, decision, asked, list(state["scratch"]), pending, number)
        goto = self.next(toolbox, update["pending"])
        if goto == "tools":
            update["pending"] = _passed(update["pending"])
        return Command(goto=goto, update=update)

    async def _waiting(self, toolbox: Toolbox, key: Key, pending: Sequence[Mapping[str, Any]]) -> int | None:
        """Return the place of the action to decide on: what was asked before, whatever the policy is by now."""
        asked = await self.desk.asked(key) if here().fence else None
        open_ = [number for number, values in enumerate(pending) if not values.get(CLEARED)]
        again = (number for number in open_ if asked is not None and asked.about(pending[number]))
        wanted = (number for number in open_ if self.wanted(toolbox, pending[number]))
        return next(again, next(wanted, None))

    def _ask(self, toolbox: Toolbox, action: Action, key: Key) -> Asked:
        place, approval = here(), self.approval or Approval()
        now = datetime.now(UTC)
        question = toolbox.asks(action.tool)
        return Asked(
            namespace=place.namespace,
            conversation=key.conversation,
            turn=key.turn,
            number=key.ordinal,
            kind="question" if question else "approval",
            tool=action.tool,
            arguments=dict(action.arguments),
            asked_at=now,
            expires_at=now + timedelta(seconds=approval.expires) if approval.expires is not None else None,
            default="reject" if question else approval.default,
        )

    async def answers(self, toolbox: Toolbox, state: State) -> tuple[tuple[str, str], ...]:
        """Return what the user was asked in a turn, and answered; in order of time."""
        if not any(toolbox.asks(name) for name in toolbox.tools):
            return ()
        asked = await self.desk.of(namespace_of(state), state["conversation"])
        told = [one for one in asked if one.turn == state["turn"] and one.kind == "question"]
        return tuple(
            (str(one.arguments.get("question", "")), one.decision.text)
            for one in told
            if one.decision is not None and one.decision.choice == "answer"
        )

    def _default(self, asked: Asked, new: bool) -> Decision | None:
        """Return what is decided of an ask whose time is over; a new one is asked first, whatever its time."""
        if new or asked.expires_at is None or datetime.now(UTC) < asked.expires_at:
            return None
        return Decision(choice=asked.default, by=NOBODY)


def _unanswered(question: str) -> str:
    """Ask the user one short question, only if the task cannot be done without the answer."""
    raise ScriptError(f"a person answers questions, in a node of its own; nobody was asked {question!r}")


ask_user: BaseTool = StructuredTool.from_function(_unanswered, name="ask_user", metadata={READ_ONLY: True, ASKS: True})
"""The tool by which an Assistant asks the user: ``Mars.open(…, tools=[ask_user])``."""


def said_by_people(scratch: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return of a draft's calls and replies those in which a person spoke, for the drafts that come after it.

    What the Checker said of other calls of the same message, and what came of them, is left out.
    """
    kept: list[dict[str, Any]] = []
    for place, message in enumerate(scratch):
        if message["type"] == "tool":
            kept += [dict(message)] if _by_person(message) else []
            continue
        replies = takewhile(lambda one: one["type"] == "tool", scratch[place + 1 :])
        answered = {one["data"]["tool_call_id"] for one in replies if _by_person(one)}
        if answered:
            kept.append({**message, "data": _only(message["data"], answered)})
    return kept


def _by_person(message: Mapping[str, Any]) -> bool:
    return bool(message["data"].get("artifact") == BY_PERSON)


def _only(data: Mapping[str, Any], ids: Collection[str]) -> dict[str, Any]:
    """Return a message of the Assistant's with no other calls than these."""
    content = data["content"]
    if isinstance(content, list):
        content = [one for one in content if not (isinstance(one, dict) and _other_call(one, ids))]
    calls = [call for call in data["tool_calls"] if call["id"] in ids]
    return {**data, "content": content, "tool_calls": calls, "invalid_tool_calls": []}


def _other_call(block: Mapping[str, Any], ids: Collection[str]) -> bool:
    return block.get("type") in _CALLS and block.get("call_id", block.get("id")) not in ids


def _words(asked: Asked) -> str:
    if asked.kind == "question":
        return str(asked.arguments.get("question", ""))
    return f"may {asked.tool} run?"


def _told(asked: Asked) -> Decision:
    """Return what LangGraph's user decided; one that is no decision is asked again, and told why."""
    question = {"reason": asked.kind, **asked.plain()}
    while True:
        try:
            return asked.check(Decision.of(interrupt(question)))
        except InvalidInput as error:
            question = {**question, "problem": str(error)}


def _applied(
    toolbox: Toolbox,
    action: Action,
    decision: Decision,
    asked: Asked,
    scratch: list[dict[str, Any]],
    pending: list[dict[str, Any]],
    number: int,
) -> dict[str, Any]:
    """Return the state's actions after a decision on the one at place `number`."""
    if decision.choice in ("approve", "edit"):
        if decision.arguments is not None:
            scratch = _edited(scratch, action.id, decision.arguments)
            pending[number]["arguments"] = dict(decision.arguments)
        pending[number][CLEARED] = True
    else:
        del pending[number]
        told = decision.text
        if decision.choice == "reject":
            told = f"Not allowed by a person: {decision.text or 'no reason given'}"
            if asked.kind == "question":
                told = decision.text or DECLINED
        reply = toolbox.reply(action, told, failed=decision.choice == "reject")
        scratch.append(message_to_dict(reply.model_copy(update={"artifact": dict(BY_PERSON)})))
    return {"scratch": scratch, "pending": pending}


def _passed(pending: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return pending actions without the marks of who let them pass."""
    return [{name: value for name, value in values.items() if name != CLEARED} for values in pending]


def _edited(scratch: list[dict[str, Any]], id: str, arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return messages in which the newest call of this id has other arguments: what the Assistant reads is what ran."""
    for place in reversed(range(len(scratch))):
        message, calls = scratch[place], scratch[place]["data"].get("tool_calls") or []
        if any(call["id"] == id for call in calls):
            changed = [{**call, "args": dict(arguments)} if call["id"] == id else call for call in calls]
            mended = {**message, "data": {**message["data"], "tool_calls": changed}}
            return [*scratch[:place], mended, *scratch[place + 1 :]]
    return scratch
