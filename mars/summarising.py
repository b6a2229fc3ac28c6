"""The running summary in a model's words, where a team has a `Summariser` with one (`Team.summariser`).

The rule of `mars.summary` is always there: it makes the summary that a turn begins with, in the transaction that begins
it, and it stays where the model fails or no budget has room. The model rewrites it once, in the first node of a turn
that something has left the window of: a call like any other, with its row in the ledger and its place in the budgets.
What it says is cut to the rule's size, kept when the turn ends, and what leaves next is added to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_core.messages import HumanMessage, SystemMessage

from mars.agents.rendering import render_conversation
from mars.agents.roles import Summariser
from mars.summary import bounded
from mars.telling import failure

if TYPE_CHECKING:
    from mars.role_models import RoleModel
    from mars.state import State


@dataclass(frozen=True, slots=True)
class Summarising:
    """A role and its model."""

    role: Summariser
    """Whose prompt is read."""
    model: RoleModel
    """Who is asked."""

    async def rewritten(self, state: State) -> dict[str, Any]:
        """Return what changes of the state: the summary in the model's words, or as the rule made it if that fails."""
        words = render_conversation(state.get("summary", ""), state["leaving"])
        try:
            reply = await self.model.ainvoke([SystemMessage(self.role.prompt.text), HumanMessage(words)])
        except Exception as error:  # noqa: BLE001 - a provider may raise anything
            failure(error)  # raises what is no failure of a model
            return {"leaving": []}
        return {"leaving": [], "summary": bounded(reply.text) or state.get("summary", "")}
