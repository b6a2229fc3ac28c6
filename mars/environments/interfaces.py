"""The protocol of an environment; read this first.

An environment asks for one thing after another, offers tools, and scores what came of each request. One that is played
is one episode: whatever state it has (a table, a shelf, a calendar) is its own. The agent gets the request's words, the
tools' results and what it remembers. Only `Environment.score` knows what is right, and it is called after the turn.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

    from mars.agents.interfaces import Verifier
    from mars.memory.interfaces import Namespace, NewRecord
    from mars.results import RunResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What somebody in an environment wants of the agent; never with a reference answer."""

    id: str
    """Unique in its environment."""
    text: str
    """The words that the agent gets."""
    user: str = "user"
    """Who asks."""
    at: datetime | None = None
    """When, with a zone; the memory's clock says if None."""
    constraints: tuple[str, ...] = ()
    """What the answer must respect, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """How a request was answered."""

    value: float
    """From 0, not at all, to 1, fully."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """What else was found; JSON values."""

    @property
    def passed(self) -> bool:
        """Whether it was answered fully."""
        return self.value >= 1.0


FAILED_TURNS = "failed_turns"
"""The count of turns that broke off with an error; what they are asked counts as answered wrongly."""


class Environment(Protocol):
    """Something that an agent acts in."""

    @property
    def tools(self) -> Sequence[BaseTool | Callable[..., Any]]:
        """What the agent may do: langchain-core tools, or functions with type hints and a docstring."""

    @property
    def verifiers(self) -> Sequence[Verifier]:
        """What the Checker asks about each proposed action before it runs; they know the rules, never the truth."""

    def requests(self) -> AsyncIterator[Request]:
        """Yield the requests in order; when one is yielded, the environment is as the agent is to find it."""

    async def score(self, request: Request, result: RunResult) -> Score:
        """Return how a request was answered, from the answer and from the environment's state; may know the truth."""


@runtime_checkable
class Discovering(Protocol):
    """An environment that finds out things about itself which are worth remembering beyond the turn."""

    def discoveries(self, namespace: Namespace) -> Sequence[NewRecord]:
        """Return what the agent's actions brought to light since the last call, as records of a namespace."""
