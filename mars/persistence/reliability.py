"""How the tasks of agents went, as rows: one for each agent and turn, so that a turn counts once however often it ends.

The tallies are counted from these rows whenever they are asked for: there is no counter that could be wrong. A memory
without a database keeps them as long as it is open.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from mars.memory.backends.wire import Wire
from mars.persistence.database import Database
from mars.persistence.leases import Fence

__all__ = ["Reliability", "Tally", "Task", "count", "note"]


class Task(NamedTuple):
    """How a turn went for one agent."""

    turn: str
    """Id of the turn."""
    role: str
    """assistant or reflector."""
    agent: str
    """Name of the agent."""
    model: str
    """Name of its model."""
    success: bool
    """Whether the task was a success."""


class Tally(NamedTuple):
    """The tasks of an agent with a model."""

    role: str
    """assistant or reflector."""
    agent: str
    """Name of the agent."""
    model: str
    """Name of its model."""
    tasks: int
    """How many turns it worked on."""
    successes: int
    """How many of them were a success."""


def note(wire: Wire, tasks: Sequence[Task]) -> None:
    """Store how a turn went, within a transaction of the caller's; what is there of a turn and role stays."""
    rows: list[tuple[Any, ...]] = [(*task[:4], int(task.success)) for task in tasks]
    if rows:
        statement = "INSERT INTO mars_tasks VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
        wire.run(statement if wire.dialect == "sqlite" else statement.replace("?", "%s"), rows)


def count(wire: Wire) -> list[Tally]:
    """Return the tallies, within a snapshot of the caller's, by role, agent and model."""
    rows = wire.run(
        "SELECT role, agent, model, COUNT(*), SUM(success) FROM mars_tasks "
        "GROUP BY role, agent, model ORDER BY role, agent, model"
    )
    return [Tally(role, agent, model, int(tasks), int(successes)) for role, agent, model, tasks, successes in rows]


class Reliability:
    """Where it is kept how tasks went."""

    def __init__(self, database: Database | None = None) -> None:
        """Keep it in an open database; without one, in this object."""
        self._database = database
        self._held: dict[tuple[str, str], Task] = {}

    async def note(self, tasks: Sequence[Task], fence: Fence | None = None) -> None:
        """Store how a turn went; once for each turn and role. Raises what the database raises.

        For a run with a lease the end of its turn stores it, in one transaction.
        """
        if self._database is not None and tasks:
            if fence is None:
                await self._database.write(lambda wire: note(wire, tasks))
            else:
                self._database.defer(lambda wire: note(wire, tasks), of=fence)
        elif self._database is None:
            for task in tasks:
                self._held.setdefault((task.turn, task.role), task)

    async def tallies(self) -> list[Tally]:
        """Return the tallies of all agents, by role, agent and model."""
        if self._database is not None:
            return await self._database.read(count)
        tasks = Counter(task[1:4] for task in self._held.values())
        good = Counter(task[1:4] for task in self._held.values() if task.success)
        return [Tally(*key, tasks=tasks[key], successes=good[key]) for key in sorted(tasks)]
