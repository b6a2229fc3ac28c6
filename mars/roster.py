"""The teams of one `Mars`, by name: each turn is worked on by the team that its state names.

The graph is compiled once, from a roster as from a single loop. A roster's nodes hand the state to the loop of its
team, so that a turn which is resumed goes on with the team that began it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import wraps
from typing import Any

from mars.agents.reliability import choose, reliability
from mars.errors import InvalidSetting
from mars.memory.checks import check_kind
from mars.nodes import Loop
from mars.persistence.reliability import Reliability
from mars.state import State

USUAL = ""
"""Name of the team that works where none is named."""


def _handed_on(name: str) -> Callable[[Roster, State], Awaitable[Any]]:
    """Return the node of this name, as the team of the state has it; LangGraph reads where it leads from the loop's."""

    @wraps(getattr(Loop, name))
    async def node(roster: Roster, state: State) -> Any:
        return await getattr(roster.loop_of(state.get("team", USUAL)), name)(state)

    return node


class Roster:
    """The loops of several teams, as one."""

    def __init__(self, usual: Loop, named: Mapping[str, Loop], reliability: Reliability, seed: int | str = 0) -> None:
        """Hold the usual team's loop and those of named teams; `seed` decides the draws of `choose`."""
        self.usual = usual
        """The loop of the usual team."""
        self.loops: Mapping[str, Loop] = {USUAL: usual, **named}
        """Every loop by the name of its team."""
        self.reliability = reliability
        """How the tasks of agents went."""
        self._seed = seed

    begin = _handed_on("begin")
    recall = _handed_on("recall")
    draft = _handed_on("draft")
    review_action = _handed_on("review_action")
    person = _handed_on("person")
    tools = _handed_on("tools")
    check = _handed_on("check")
    reflect = _handed_on("reflect")
    consolidate = _handed_on("consolidate")

    def loop_of(self, team: str) -> Loop:
        """Return the loop of a team; raise `InvalidSetting` for a name that no team has."""
        found = self.loops.get(team)
        if found is None:
            names = ", ".join(sorted(name for name in self.loops if name)) or "none"
            raise InvalidSetting(
                f"there is no team {team!r}: give it to Mars.open(teams=…); the named ones are {names}"
            )
        return found

    async def choose(self, asked: str | Sequence[str] | None, mark: str) -> str:
        """Return the name of the team for a task that is known by `mark`; of several, one drawn by reliability.

        The weight of a team is that of its Assistant with its model (`mars.agents.reliability`). The same seed, mark
        and history give the same team. Raises `InvalidSetting` for an unknown name or none at all.
        """
        check_kind(asked, str | Sequence | None, "team", "the name of one of Mars.open(teams=…), or several")
        names = [USUAL] if asked is None else [asked] if isinstance(asked, str) else list(dict.fromkeys(asked))
        if not names:
            raise InvalidSetting("team=[] names nobody: name the teams to choose from, or leave it out")
        for name in names:
            self.loop_of(name)
        if len(names) == 1:
            return names[0]
        weights = await self.weights()
        return choose(names, weights, self._seed, mark)

    async def weights(self) -> dict[str, float]:
        """Return the weight of each team, in (0, 1)."""
        tallies = {
            (tally.agent, tally.model): (tally.successes, tally.tasks)
            for tally in await self.reliability.tallies()
            if tally.role == "assistant"
        }
        who = {name: (loop.assistant.name, loop.assistant_model.model_name) for name, loop in self.loops.items()}
        return {name: reliability(*tallies.get(key, (0, 0))) for name, key in who.items()}

    @property
    def steps(self) -> tuple[int, int]:
        """The most iterations of any team, and the most actions in one of them."""
        loops = self.loops.values()
        return max(loop.iterations for loop in loops), max(loop.assistant.max_actions for loop in loops)
