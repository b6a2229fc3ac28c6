"""A simulated user talks to the real runtime, turn by turn, for a bounded number of turns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from mars.agents.users import Exchange, Satisfaction, SimulatedUser
from mars.errors import InvalidSetting, ModelOutputError
from mars.memory.interfaces import Namespace
from mars.results import RunResult, RunStatus
from mars.runtime import Mars

BROKEN = frozenset({RunStatus.CANCELLED, RunStatus.WAITING, RunStatus.TASK_ERROR, RunStatus.BUDGET_EXHAUSTED})
"""Ends of a turn after which a simulated user has nobody to talk to."""


class DialogueEnd(StrEnum):
    """Why a dialogue ended; exactly one."""

    SATISFIED = "satisfied"
    """The user said so, or its script was at its end."""
    TURN_LIMIT = "turn_limit"
    """The turns were used up."""
    BROKEN = "broken"
    """A turn ended without anybody who could go on: cancelled, waiting, out of budget, or with a failed model."""
    UNUSABLE = "unusable"
    """The model that plays the user gave no usable reply; `error` says what was wrong with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialogue:
    """What came of a dialogue."""

    user: str
    """Who talked."""
    ended: DialogueEnd
    """Why it ended."""
    exchanges: tuple[Exchange, ...]
    """What was said, oldest first."""
    results: tuple[RunResult, ...]
    """The result of every turn, oldest first."""
    error: str | None = None
    """What was wrong with the user's reply, if it was unusable."""

    def plain(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "user": self.user,
            "ended": self.ended.value,
            "exchanges": [one._asdict() for one in self.exchanges],
            "results": [result.plain() for result in self.results],
            "error": self.error,
        }


async def simulate_dialogue(
    mars: Mars,
    user: SimulatedUser,
    max_turns: int = 8,
    *,
    namespace: Namespace | None = None,
    conversation: str | None = None,
    constraints: Sequence[str] = (),
    team: str | Sequence[str] | None = None,
    now: datetime | None = None,
) -> Dialogue:
    """Let a user talk until it is satisfied, and return every turn's result; at most `max_turns` turns are run.

    The user is shown what was said and nothing more of a result; its persona and goal reach nobody else. The other
    arguments are those of `Mars.run`. Raises `InvalidSetting` for `max_turns` < 1, and what `Mars.run` and a user's own
    model raise.
    """
    if isinstance(max_turns, bool) or not isinstance(max_turns, int) or max_turns < 1:
        raise InvalidSetting(f"max_turns must be a whole number of at least 1; got {max_turns!r}")
    exchanges: list[Exchange] = []
    results: list[RunResult] = []

    def over(ended: DialogueEnd, error: str | None = None) -> Dialogue:
        return Dialogue(
            user=user.user.name, ended=ended, exchanges=tuple(exchanges), results=tuple(results), error=error
        )

    while True:
        try:
            reply = await user.reply(tuple(exchanges))
        except ModelOutputError as error:
            return over(DialogueEnd.UNUSABLE, str(error))
        if reply.satisfaction is Satisfaction.SATISFIED:
            return over(DialogueEnd.SATISFIED)
        if len(results) == max_turns:
            return over(DialogueEnd.TURN_LIMIT)
        result = await mars.run(
            reply.text,
            user=user.user,
            namespace=namespace,
            conversation=conversation,
            constraints=constraints,
            team=team,
            now=now,
        )
        conversation = result.conversation
        exchanges.append(Exchange(reply.text, result.answer))
        results.append(result)
        if result.status in BROKEN:
            return over(DialogueEnd.BROKEN)
