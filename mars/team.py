"""Who works in the loop, with which prompts, models and tools, and by which limits: data, chosen per task."""

from __future__ import annotations

from dataclasses import dataclass, field

from mars.agents.roles import Assistant, Checker, Reflector
from mars.errors import InvalidSetting

SWITCHES = ("checker", "reflection", "memory")
"""What can be switched off for an ablation: off means no calls and no rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Team:
    """Who works in the loop, and by which limits."""

    assistant: Assistant = field(default_factory=Assistant)
    """Drafts the answer."""
    checker: Checker = field(default_factory=Checker)
    """Checks actions and drafts."""
    reflector: Reflector = field(default_factory=Reflector)
    """Draws the lessons."""
    iterations: int = 3
    """The most drafts of one turn, N >= 1."""
    k: int = 8
    """How many records the first recall of a turn brings."""
    floor: float = 0.1
    """Least relevance of a recalled record, in [0, 1]."""
    window: int = 6
    """How many of the conversation's newest turns the prompt holds."""
    remember: bool = True
    """Whether what the user tells, and the turn itself, is stored."""
    without: frozenset[str] = frozenset()
    """Switches that are off: checker, reflection, memory."""

    def __post_init__(self) -> None:
        if self.iterations < 1:
            raise InvalidSetting(f"iterations must be 1 or more; got {self.iterations}")
        if self.k < 1:
            raise InvalidSetting(f"k must be 1 or more; got {self.k}")
        unknown = self.without - set(SWITCHES)
        if unknown:
            raise InvalidSetting(f"without knows {', '.join(SWITCHES)}; got {', '.join(sorted(unknown))}")
