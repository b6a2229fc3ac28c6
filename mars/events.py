"""The events of a run: one typed stream, told apart by `kind`, with the role that each comes from.

=============  ==========  =================================================================================
kind           role        ``data``
=============  ==========  =================================================================================
token          assistant   ``iteration`` (the draft it belongs to, from 1), ``reply`` (which reply of the turn)
draft          assistant   ``iteration``
withdrawn      runtime     ``iteration``: this draft is not the answer; forget its tokens
verdict        checker     ``verdict``, and ``iteration`` for a draft or ``action`` for an action
reflection     reflector   ``reflection``
memory_read    memory      ``records``, ``lessons``, ``widened`` (how many times as wide as usual)
memory_write   memory      how many changes of each sort
tool           tools       ``action``, ``failed``
retry          as token    nothing: a reply broke off; forget its tokens
budget         runtime     nothing; ``text`` names the budget that is used up
interrupt      person      ``asked``: what a person has to decide (role tools: an action whose outcome is unknown)
decision       person      ``action``, ``decision``
final          runtime     what an end user may see of the result; ``result`` has all of it
=============  ==========  =================================================================================

Who listens says what is `heard`. An end user hears the Assistant, and what is asked of them, nothing of the Checker.
Tokens come as the model gives them, before anything is checked: a preview, void when a `withdrawn`, a `retry` or
another ``reply`` comes, and replaced by the final event's text, which is the checked answer. `Preview` keeps that.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, TypeAlias

from mars.agents.reflections import Reflection
from mars.agents.rendering import without_citations
from mars.agents.verdicts import Verdict
from mars.errors import InvalidSetting
from mars.results import RunResult

__all__ = ["CHECKED", "EVENTS", "EVERYTHING", "HEARD", "AnyEvent", "Event", "EventKind", "Preview", "final", "kinds"]


class EventKind(StrEnum):
    """What an event tells."""

    TOKEN = "token"
    """A piece of what the Assistant says, as its model gives it; not checked yet."""
    DRAFT = "draft"
    """A whole draft, before it is checked."""
    WITHDRAWN = "withdrawn"
    """That draft is not the answer: what was streamed of it is void."""
    VERDICT = "verdict"
    """What the Checker says of a draft or of an action."""
    REFLECTION = "reflection"
    """What the Reflector says of a rejected draft."""
    MEMORY_READ = "memory_read"
    """What was recalled."""
    MEMORY_WRITE = "memory_write"
    """What was written at the end of the turn."""
    TOOL = "tool"
    """What came of an action."""
    RETRY = "retry"
    """A reply broke off and is asked for again: what was streamed of it is void."""
    BUDGET = "budget"
    """A budget is used up."""
    INTERRUPT = "interrupt"
    """A person is asked, and the turn rests."""
    DECISION = "decision"
    """What a person decided."""
    FINAL = "final"
    """The end of the run, with its result."""


HEARD = frozenset({EventKind.TOKEN, EventKind.WITHDRAWN, EventKind.RETRY, EventKind.INTERRUPT, EventKind.FINAL})
"""What is heard unless a caller asks for something else: the Assistant as it speaks, and what a person is asked."""

CHECKED = frozenset({EventKind.INTERRUPT, EventKind.FINAL})
"""Nothing that was not checked: for where a word that was said cannot be taken back, such as a voice or a mail."""

EVERYTHING = frozenset(EventKind)
"""All of it, the Checker and the Reflector too: for programs and for those who run them, not for end users."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened in a run, and who did it; each kind has a class of its own."""

    kind: EventKind
    """What happened."""
    role: str
    """Who did it: assistant, checker, reflector, memory, tools, person, runtime, or as the team names its roles."""
    text: str = ""
    """For people: the token, the draft, the reason."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """For programs: JSON values, as the module's table says."""
    result: RunResult | None = None
    """The result, in the final event."""

    def plain(self) -> dict[str, Any]:
        """Return it as JSON values, for a wire: kind, role, text and data."""
        return {"kind": self.kind.value, "role": self.role, "text": self.text, "data": dict(self.data)}


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenEvent(Event):
    """A piece of what the Assistant says, not checked yet."""

    kind: Literal[EventKind.TOKEN] = EventKind.TOKEN

    @property
    def iteration(self) -> int:
        """The draft that it may belong to, from 1."""
        return int(self.data["iteration"])

    @property
    def reply(self) -> int:
        """Which reply of the turn it belongs to; another number begins another text."""
        return int(self.data["reply"])


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftEvent(Event):
    """A whole draft, before it is checked; with citations."""

    kind: Literal[EventKind.DRAFT] = EventKind.DRAFT

    @property
    def iteration(self) -> int:
        """Its number, from 1."""
        return int(self.data["iteration"])


@dataclass(frozen=True, slots=True, kw_only=True)
class WithdrawnEvent(Event):
    """A draft is not the answer; it does not say why, because it is for end users, too."""

    kind: Literal[EventKind.WITHDRAWN] = EventKind.WITHDRAWN

    @property
    def iteration(self) -> int:
        """The draft's number, from 1."""
        return int(self.data["iteration"])


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictEvent(Event):
    """What the Checker says of a draft or of an action; `text` is the decision."""

    kind: Literal[EventKind.VERDICT] = EventKind.VERDICT

    @property
    def verdict(self) -> Verdict:
        """Decision, score, issues, and who says so."""
        return Verdict.model_validate(self.data["verdict"])

    @property
    def action(self) -> Mapping[str, Any] | None:
        """The action it is about: tool, arguments, id; None where it is about a draft."""
        return self.data.get("action")

    @property
    def iteration(self) -> int | None:
        """The draft's number; None where it is about an action."""
        return self.data.get("iteration")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReflectionEvent(Event):
    """What the Reflector says of a rejected draft."""

    kind: Literal[EventKind.REFLECTION] = EventKind.REFLECTION

    @property
    def reflection(self) -> Reflection:
        """The lesson, with its provenance."""
        return Reflection.from_plain(dict(self.data["reflection"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryReadEvent(Event):
    """What was recalled for a draft."""

    kind: Literal[EventKind.MEMORY_READ] = EventKind.MEMORY_READ

    @property
    def records(self) -> list[Mapping[str, Any]]:
        """The records: ref, record, text, speaker, said_at, retention, relevance."""
        return list(self.data["records"])

    @property
    def lessons(self) -> list[Mapping[str, Any]]:
        """Lessons of earlier turns."""
        return list(self.data["lessons"])


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryWriteEvent(Event):
    """What was written at the end of the turn."""

    kind: Literal[EventKind.MEMORY_WRITE] = EventKind.MEMORY_WRITE

    @property
    def changes(self) -> dict[str, int]:
        """How many changes of each sort."""
        return dict(self.data)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolEvent(Event):
    """What came of an action, in the tool's own words."""

    kind: Literal[EventKind.TOOL] = EventKind.TOOL

    @property
    def action(self) -> Mapping[str, Any]:
        """Tool, arguments and id; only the tool where the call could not be read."""
        action: Mapping[str, Any] = self.data["action"]
        return action

    @property
    def failed(self) -> bool:
        """Whether it failed."""
        return bool(self.data["failed"])


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryEvent(Event):
    """A reply broke off and is asked for again."""

    kind: Literal[EventKind.RETRY] = EventKind.RETRY


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetEvent(Event):
    """A budget is used up; `text` says which."""

    kind: Literal[EventKind.BUDGET] = EventKind.BUDGET


@dataclass(frozen=True, slots=True, kw_only=True)
class InterruptEvent(Event):
    """A person is asked; the turn rests until that is decided."""

    kind: Literal[EventKind.INTERRUPT] = EventKind.INTERRUPT

    @property
    def asked(self) -> Mapping[str, Any]:
        """What is asked: tool, arguments, choices, and until when."""
        asked: Mapping[str, Any] = self.data["asked"]
        return asked


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionEvent(Event):
    """What a person decided; `text` is the choice."""

    kind: Literal[EventKind.DECISION] = EventKind.DECISION

    @property
    def decision(self) -> Mapping[str, Any]:
        """The choice, what came with it, and by whom."""
        decision: Mapping[str, Any] = self.data["decision"]
        return decision


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalEvent(Event):
    """The end of the run; `text` is the answer, without citations."""

    result: RunResult
    kind: Literal[EventKind.FINAL] = EventKind.FINAL


AnyEvent: TypeAlias = (
    TokenEvent
    | DraftEvent
    | WithdrawnEvent
    | VerdictEvent
    | ReflectionEvent
    | MemoryReadEvent
    | MemoryWriteEvent
    | ToolEvent
    | RetryEvent
    | BudgetEvent
    | InterruptEvent
    | DecisionEvent
    | FinalEvent
)
"""Any of them: a type checker knows which one by `kind`, or by `isinstance`."""

EVENTS: Mapping[EventKind, type[Event]] = {
    EventKind.TOKEN: TokenEvent,
    EventKind.DRAFT: DraftEvent,
    EventKind.WITHDRAWN: WithdrawnEvent,
    EventKind.VERDICT: VerdictEvent,
    EventKind.REFLECTION: ReflectionEvent,
    EventKind.MEMORY_READ: MemoryReadEvent,
    EventKind.MEMORY_WRITE: MemoryWriteEvent,
    EventKind.TOOL: ToolEvent,
    EventKind.RETRY: RetryEvent,
    EventKind.BUDGET: BudgetEvent,
    EventKind.INTERRUPT: InterruptEvent,
    EventKind.DECISION: DecisionEvent,
    EventKind.FINAL: FinalEvent,
}
"""The class of each kind."""


def final(result: RunResult) -> FinalEvent:
    """Return the event that ends a run; its `data` is what an end user may see: no drafts, verdicts or lessons."""
    plain = result.plain()
    seen = {name: plain[name] for name in ("answer", "status", "approved", "sources", "conversation", "turn", "asks")}
    return FinalEvent(role="runtime", text=result.answer, data=seen, result=result)


def kinds(heard: Collection[EventKind | str]) -> frozenset[EventKind]:
    """Return the kinds that somebody wants to hear, by their members or their names; the final one is always heard.

    Raises `InvalidSetting` for what is no kind.
    """
    try:
        found = {EventKind(one) for one in ([heard] if isinstance(heard, str) else heard)}
    except ValueError as error:
        raise InvalidSetting(f"heard is a set of kinds of events ({', '.join(EventKind)}): {error}") from None
    return frozenset({*found, EventKind.FINAL})


_BEGUN = re.compile(r"\s*\[(?:[mw]\d*)?$")
"""A citation that is not complete yet."""


class Preview:
    """What an end user sees of a turn while it runs: give it every event, and show `text`.

    Until `final` it is the newest reply as far as it came, without its citations, and not checked.
    """

    def __init__(self) -> None:
        self.final = False
        """Whether `text` is the checked answer."""
        self._text = ""
        self._reply = 0

    @property
    def text(self) -> str:
        """What is to be seen now; it may become shorter again."""
        return self._text if self.final else without_citations(_BEGUN.sub("", self._text))

    def add(self, event: Event) -> bool:
        """Take an event in; return whether there may be something else to be seen."""
        if isinstance(event, TokenEvent):
            self._text = event.text if event.reply != self._reply else self._text + event.text
            self._reply = event.reply
        elif isinstance(event, RetryEvent | WithdrawnEvent):
            self._text = ""
        elif isinstance(event, FinalEvent):
            self._text, self.final = event.text, True
        else:
            return False
        return True
