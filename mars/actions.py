"""Actions through the ledger: run once, and after a crash never again without knowing what came of it."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Mapping
from typing import Any, Literal

from langchain_core.messages import ToolMessage
from langgraph.types import interrupt

from mars.agents.interfaces import Action
from mars.calls import Calls, OutcomeUnknown, Reply, Wanted, here
from mars.errors import CallFailed, InvalidInput
from mars.events import EventKind
from mars.persistence.call_rows import Key
from mars.persistence.transcript import storable
from mars.telling import emit
from mars.tools import Toolbox, ToolDown

DONE_BEFORE = "This was done before; its result is not known."
"""What the Assistant is told of an action that had its effect in a process that ended."""


async def act(calls: Calls, toolbox: Toolbox, action: Action) -> ToolMessage:
    """Run an action, or return what is on record of it.

    A tool that may be run again and fails as a connection does is tried again by the policy, each attempt on record.
    One that was cut off by the end of a process is run again only where that does no harm: a tool that only reads, one
    that says it is idempotent, or one that takes the action's ``idempotency_key``. Else its ``was_done`` is asked with
    that key, and where there is none, a person: the graph is interrupted, and goes on with what the person says.
    """
    key = here().next("tools")
    mark = idempotency_key(key)

    async def make() -> Reply:
        message = await toolbox.run(action, mark, calls.policy.tool_timeout)
        failed, told = message.status == "error", str(message.content)
        return Reply(body={"content": told, "failed": failed, "arguments": dict(action.arguments)})

    wanted = Wanted(key=key, kind="tool", name=action.tool, careful=not toolbox.repeatable(action.tool))
    try:
        body = await calls.perform(wanted, make)
    except OutcomeUnknown:
        await calls.ledger.resolve(key, await _found_out(toolbox, action, mark), here().fence)
        body = await calls.perform(wanted, make)
    except ToolDown as error:
        return toolbox.reply(action, str(error), failed=True)
    except CallFailed as error:  # the same, on record
        return toolbox.reply(action, str(error).removeprefix(f"{ToolDown.__name__}: "), failed=True)
    status: Literal["success", "error"] = "error" if body["failed"] else "success"
    return ToolMessage(content=body["content"], tool_call_id=action.id, name=action.tool, status=status)


def settled(result: object = None) -> dict[str, Any]:
    """Return what is recorded of an action that happened in a process that ended."""
    return {"content": DONE_BEFORE if result is None or result is True else storable(str(result)), "failed": False}


async def _found_out(toolbox: Toolbox, action: Action, mark: str) -> dict[str, Any] | None:
    """Return what came of an action, by its tool's `was_done` or by a person; None if it did not happen."""
    was_done = toolbox.was_done(action.tool)
    if was_done is not None:
        answer = was_done(mark)
        answer = await answer if inspect.isawaitable(answer) else answer
        return None if answer is None or answer is False else settled(answer)
    asked = {
        "reason": "outcome_unknown",
        "tool": action.tool,
        "arguments": dict(action.arguments),
        "idempotency_key": mark,
    }
    emit(EventKind.INTERRUPT, "tools", f"whether {action.tool} was done is not known: say so and resume", asked=asked)
    decision = interrupt({**asked, "answer": {"done": "true or false", "result": "what it returned, if known"}})
    if not isinstance(decision, Mapping) or not isinstance(decision.get("done"), bool):
        raise InvalidInput(
            f'say what came of {action.tool}: {{"done": true, "result": "…"}} or {{"done": false}}; got {decision!r}'
        )
    return settled(decision.get("result")) if decision["done"] else None


def idempotency_key(key: Key) -> str:
    """Return what an action is known by to its environment: the same in every attempt."""
    return hashlib.blake2b(json.dumps(key).encode(), digest_size=16).hexdigest()
