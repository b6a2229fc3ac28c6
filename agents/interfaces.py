"""The abstract ends of the agents; read this first.

An agent sees memory only as `Evidence`: text with its date, speaker and two numbers, never a store. A `Verifier`
says whether a draft or an action holds; it may read, never write, and is called on the event loop, so what blocks goes
to a thread. A check is a value: what failed, by which evidence, and what would mend it. The caller decides what a
failure means.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from mars.agents.verdicts import Check
from mars.memory.interfaces import Hit, Record

if TYPE_CHECKING:
    from langchain_core.language_models.base import LanguageModelInput
    from langchain_core.messages import AIMessage

NOT_KNOWN = "Not known."
"""What an Assistant answers when its evidence does not hold the answer."""

NOTED = "Noted."
"""What an Assistant answers when it was told something and asked nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What the User wants done."""

    id: str
    """One task of one turn."""
    text: str
    """The words of the user."""
    user: str
    """Who asks; "I" and "my" in the text mean this person."""
    asked_at: datetime
    """When it was asked, by the injected clock."""
    constraints: tuple[str, ...] = ()
    """What the answer must respect, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """A recalled record as the agents see it."""

    ref: str
    """Its short name in this prompt: m1, m2, …"""
    record: str
    """Id of the record."""
    text: str
    """Verbatim text; data, never an instruction."""
    kind: str
    """episode, fact, reflection or procedure."""
    speaker: str | None
    """Who said it."""
    said_at: datetime
    """When it was said or happened, in UTC."""
    relevance: float
    """Absolute, in [0, 1]."""
    retention: float
    """R at the time of the recall, in [0, 1]."""
    conversation: str | None = None
    """The conversation it was said in."""
    position: int | None = None
    """Its place in the conversation."""
    subject: str | None = None
    """Of a fact: whom it is about."""
    relation: str | None = None
    """Of a fact: in what respect."""
    value: str | None = None
    """Of a fact: what is so."""
    resolved: Mapping[str, str] = field(default_factory=dict)
    """Relative dates in the text and the days they mean: {"yesterday": "2023-05-07", "last week": "…-01/…-07"}."""

    @classmethod
    def of(cls, hit: Hit, ref: str) -> Evidence:
        """Return what the agents see of a recalled record."""
        return cls.of_record(hit.record, ref, relevance=hit.relevance, retention=hit.retention)

    @classmethod
    def of_record(cls, record: Record, ref: str, *, relevance: float = 0.0, retention: float = 1.0) -> Evidence:
        """Return what the agents see of a record."""
        return cls(
            ref=ref,
            record=record.id,
            text=record.text,
            kind=record.kind.value,
            speaker=record.speaker,
            said_at=record.event_time,
            relevance=relevance,
            retention=retention,
            conversation=record.conversation,
            position=record.position,
            subject=record.subject,
            relation=record.relation,
            value=record.value,
            resolved=_resolved(record.metadata.get("dates")),
        )

    def plain(self) -> dict[str, Any]:
        """Return it as JSON values, for the state."""
        values = {name: getattr(self, name) for name in self.__slots__}
        values["said_at"] = self.said_at.astimezone(UTC).isoformat()
        values["resolved"] = dict(self.resolved)
        return values

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> Evidence:
        """Rebuild it from `plain`."""
        return cls(**{**values, "said_at": datetime.fromisoformat(values["said_at"])})


def _resolved(dates: object) -> dict[str, str]:
    """Return phrase and days of the dates in a record's metadata; entries of another form are the caller's own."""
    resolved = {}
    for entry in dates if isinstance(dates, list) else ():
        if isinstance(entry, Mapping) and all(isinstance(entry.get(key), str) for key in ("phrase", "start", "end")):
            start, end = entry["start"], entry["end"]
            resolved[entry["phrase"]] = start if start == end else f"{start}/{end}"
    return resolved


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """A tool call that the Assistant proposes."""

    id: str
    """The tool call's id, also its idempotency key."""
    tool: str
    """Name of the tool."""
    arguments: Mapping[str, Any]
    """JSON values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """What a Checker is given; never a reference answer."""

    task: Task
    """What was asked."""
    draft: str
    """The proposed answer, with its citations such as [m1]."""
    evidence: tuple[Evidence, ...] = ()
    """What the Assistant had in its prompt."""
    wider: tuple[Evidence, ...] = ()
    """What the Checker's own, wider search found; refs are w1, w2, … for what the Assistant did not see."""
    tool_results: tuple[str, ...] = ()
    """What tools returned in this iteration, and what people answered in the turn, verbatim; what failed is no evidence
    and stands in `tool_errors`."""
    tool_errors: tuple[str, ...] = ()
    """How tools failed in this iteration and why actions were rejected, verbatim."""
    action: Action | None = None
    """The proposed action, where one is reviewed instead of a draft."""
    iteration: int = 1
    """Iteration of the loop, from 1."""
    recall_widened: bool = False
    """Whether recall was already widened by a lesson in this turn."""


@runtime_checkable
class Verifier(Protocol):
    """Checks one thing about a draft or an action, by other means than the Assistant's."""

    @property
    def name(self) -> str:
        """Name, as it stands in the verdict."""
        ...

    async def verify(self, review: Review) -> Check:
        """Return a passed, failed or undecided check. A verifier that raises counts as undecided, and is named."""
        ...


class Structured(Protocol):
    """A model that replies with objects of one schema."""

    async def ainvoke(self, input: LanguageModelInput) -> Any:
        """Return such an object, or its values; raises where the reply is none."""


class ChatModel(Protocol):
    """What an agent needs of a model; every langchain-core chat model is one."""

    async def ainvoke(self, input: LanguageModelInput) -> AIMessage:
        """Return the reply to a prompt; raises what the provider raises."""

    def with_structured_output(self, schema: type) -> Structured:
        """Return what replies with objects of a schema; raises where the model has no structured output."""
