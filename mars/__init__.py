"""MARS: an agent that remembers, is checked, and gets better.

`Mars` runs the loop, `Memory` is the store, and what else most programs need is exported here. The rest is in
`mars.memory`, `mars.agents` and `mars.testing`. Nothing heavy is imported before it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mars.exports import lazy_exports

if TYPE_CHECKING:
    from mars.agents.interfaces import Review, Task, Verifier
    from mars.agents.reflections import Reflection
    from mars.agents.roles import Assistant, Checker, Reflector, User
    from mars.agents.verdicts import Check, Issue, Verdict
    from mars.errors import MarsError
    from mars.events import Event
    from mars.integrations.store import MemoryStore
    from mars.memory.engine import Memory
    from mars.memory.records import Hit, NewRecord, Record
    from mars.models.reader import ReaderModel
    from mars.persistence.budgets import Budget, Budgets
    from mars.persistence.saver import CheckpointSaver
    from mars.results import RunResult, RunStatus
    from mars.runtime import Mars
    from mars.team import Team

__all__ = [
    "Assistant",
    "Budget",
    "Budgets",
    "Check",
    "Checker",
    "CheckpointSaver",
    "Event",
    "Hit",
    "Issue",
    "Mars",
    "MarsError",
    "Memory",
    "MemoryStore",
    "NewRecord",
    "ReaderModel",
    "Record",
    "Reflection",
    "Reflector",
    "Review",
    "RunResult",
    "RunStatus",
    "Task",
    "Team",
    "User",
    "Verdict",
    "Verifier",
]

__version__ = "0.1.0"

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "mars.agents.interfaces": ("Review", "Task", "Verifier"),
        "mars.agents.reflections": ("Reflection",),
        "mars.agents.roles": ("Assistant", "Checker", "Reflector", "User"),
        "mars.agents.verdicts": ("Check", "Issue", "Verdict"),
        "mars.errors": ("MarsError",),
        "mars.events": ("Event",),
        "mars.integrations.store": ("MemoryStore",),
        "mars.memory.engine": ("Memory",),
        "mars.memory.records": ("Hit", "NewRecord", "Record"),
        "mars.models.reader": ("ReaderModel",),
        "mars.persistence.budgets": ("Budget", "Budgets"),
        "mars.persistence.saver": ("CheckpointSaver",),
        "mars.results": ("RunResult", "RunStatus"),
        "mars.runtime": ("Mars",),
        "mars.team": ("Team",),
    },
)
