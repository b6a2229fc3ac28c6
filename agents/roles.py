"""The roles of the loop, as data: who sees what with which prompt and model (runtime.md §1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from mars.agents.interfaces import Verifier
from mars.agents.prompts import ACTION_CHECKER, ASSISTANT, CHECKER, REFLECTOR, SUMMARISER, Prompt
from mars.errors import InvalidSetting

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

Strategy = Literal["none", "last_attempt", "reflexion", "both"]
"""What the next attempt sees of the failed one: nothing, its draft and verdict, the reflections, or both.

As in Reflexion's released code, ``none`` and ``last_attempt`` never ask the Reflector.
"""

STRATEGIES: tuple[Strategy, ...] = ("none", "last_attempt", "reflexion", "both")


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Who sets the task. May be a person, a script or a model."""

    name: str
    """Label of the user; the first label of the default namespace. "I" in a task means this person."""
    persona: str | None = None
    """Who the user is, in words; for simulated users."""
    goal: str | None = None
    """What the user is after, in words; for simulated users."""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise InvalidSetting(f"a user needs a name, a string that is not blank; got {self.name!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Assistant:
    """Works on the task with tools and memory, and drafts the answer. Never sees a reference answer."""

    name: str = "assistant"
    """Label in events and records."""
    prompt: Prompt = ASSISTANT
    """Its system message."""
    model: BaseChatModel | str | None = None
    """Its chat model; the runtime's default model if None."""
    max_actions: int = 15
    """The most tool calls in one iteration (AgentBench's database rounds)."""
    tools: tuple[str, ...] | None = None
    """Names of the tools that it may use, of those that Mars was opened with; None: all of them."""

    def __post_init__(self) -> None:
        if self.max_actions < 0:
            raise InvalidSetting(f"max_actions must be 0 or more; got {self.max_actions}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checker:
    """Verifies actions before they run and answers before they leave. Reads, never writes."""

    name: str = "checker"
    """Label in events and records."""
    prompt: Prompt = CHECKER
    """System message of the judge model, for drafts."""
    action_prompt: Prompt = ACTION_CHECKER
    """System message of the judge model, for actions."""
    model: BaseChatModel | str | None = None
    """The judge; without one, the evidence rules decide."""
    verifiers: tuple[Verifier, ...] = ()
    """Checks of drafts that veto, whatever a judge says."""
    action_verifiers: tuple[Verifier, ...] = ()
    """Checks of actions that veto."""
    evidence_rules: bool | None = None
    """Whether the built-in evidence rules check drafts; None: only where there is no judge model."""

    def __post_init__(self) -> None:
        for verifier in (*self.verifiers, *self.action_verifiers):
            if not callable(getattr(verifier, "verify", None)):
                raise InvalidSetting(
                    f"a verifier has a name and a method verify(review); got {verifier!r}: wrap a function in "
                    "mars.agents.verifiers.CallableVerifier"
                )

    @property
    def oracle_feedback(self) -> bool:
        """Whether a verifier of it says that it knows a reference answer; its verdicts are labelled then."""
        return any(getattr(verifier, "oracle", False) for verifier in (*self.verifiers, *self.action_verifiers))

    @property
    def uses_rules(self) -> bool:
        """Whether the evidence rules take part."""
        return self.model is None if self.evidence_rules is None else self.evidence_rules


@dataclass(frozen=True, slots=True, kw_only=True)
class Reflector:
    """Says what went wrong and what to do instead; what it says goes to long-term memory."""

    name: str = "reflector"
    """Label in events and records."""
    prompt: Prompt = REFLECTOR
    """System message of the model."""
    model: BaseChatModel | str | None = None
    """Its chat model; without one, the documented rules turn issues into plans."""
    strategy: Strategy = "reflexion"
    """What the next attempt sees of the failed one."""
    keep: int = 3
    """How many reflections are kept for one task, and shown."""

    def __post_init__(self) -> None:
        if self.strategy not in STRATEGIES:
            raise InvalidSetting(f"strategy must be one of {', '.join(STRATEGIES)}; got {self.strategy!r}")
        if self.keep < 1:
            raise InvalidSetting(f"keep must be 1 or more; got {self.keep}; use strategy='none' for no reflections")

    @property
    def reflects(self) -> bool:
        """Whether reflections are drawn, shown and kept."""
        return self.strategy in ("reflexion", "both")

    @property
    def retells(self) -> bool:
        """Whether the next attempt sees the failed draft and its verdict."""
        return self.strategy in ("last_attempt", "both")


@dataclass(frozen=True, slots=True, kw_only=True)
class Summariser:
    """Keeps the running summary of what left the window of a conversation."""

    name: str = "summariser"
    """Label in the ledger and in budgets."""
    prompt: Prompt = SUMMARISER
    """System message of the model."""
    model: BaseChatModel | str | None = None
    """Its chat model; without one, whatever the runtime's default is, the rule of `mars.summary` does its work."""
