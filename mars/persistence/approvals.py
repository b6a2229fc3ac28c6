"""What a person is asked, and what a person decides: approval of actions, and questions of the Assistant.

The Checker judges whether an action is right; a person decides whether it may happen. Which actions need one is data
(`Approval`), what is asked is data (`Asked`), and so is the answer (`Decision`), so that all three outlive the process.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Literal, get_args

from mars.errors import InvalidInput, InvalidSetting

AskKind = Literal["approval", "question"]
"""An action that waits for a person, or a question of the Assistant's."""

Choice = Literal["approve", "edit", "reject", "answer"]
"""Run it; run it with other arguments; do not run it; do not run it, this is what it would have returned."""

CHOICES: Mapping[AskKind, tuple[Choice, ...]] = {
    "approval": ("approve", "edit", "reject", "answer"),
    "question": ("answer", "reject"),
}
"""What can be decided of what is asked."""

CHANGES = "*"
"""As the name of a tool in `Approval.tools`: every tool that does not say that it only reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """Which actions need a person, and what happens where none decides."""

    tools: tuple[str, ...] = (CHANGES,)
    """Names of tools; `CHANGES` stands for all that may change something."""
    expires: float | None = None
    """Seconds after which `default` is decided when the turn is resumed; None waits for ever."""
    default: Literal["approve", "reject"] = "reject"
    """What is decided of an action that nobody decided in time. A question is then declined."""

    def __post_init__(self) -> None:
        if self.expires is not None and not (math.isfinite(self.expires) and self.expires > 0):
            raise InvalidSetting(f"expires is a positive number of seconds, or None; got {self.expires!r}")
        if self.default not in ("approve", "reject"):
            raise InvalidSetting(f"default is approve or reject; got {self.default!r}")

    def needed(self, tool: str, read_only: bool) -> bool:
        """Return whether an action of this tool needs a person."""
        return tool in self.tools or (CHANGES in self.tools and not read_only)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a person decided."""

    choice: Choice
    """approve, edit, reject or answer."""
    arguments: Mapping[str, Any] | None = None
    """The arguments to run it with, for edit."""
    text: str = ""
    """Why, for reject; the answer, for answer."""
    by: str = ""
    """Who decided; empty where nobody said."""

    def __post_init__(self) -> None:
        if self.choice not in get_args(Choice):
            raise InvalidInput(f"a decision is approve, edit, reject or answer; got {self.choice!r}")
        if (self.arguments is not None) is not (self.choice == "edit"):
            raise InvalidInput('edit, and only edit, has arguments: {"choice": "edit", "arguments": {…}}')
        if self.choice == "edit" and not isinstance(self.arguments, Mapping):
            raise InvalidInput(f"arguments are an object; got {type(self.arguments).__name__}")
        if self.arguments is not None and not _is_json(self.arguments):
            raise InvalidInput("arguments are JSON values under names, as the tool would be called with")
        if not isinstance(self.text, str) or not isinstance(self.by, str):
            raise InvalidInput("text and by are text")
        if self.choice == "answer" and not self.text.strip():
            raise InvalidInput('an answer has a text: {"choice": "answer", "text": "…"}')

    @classmethod
    def of(cls, value: object) -> Decision:
        """Return the decision that a value is or describes; `InvalidInput` says what it has to look like."""
        if isinstance(value, Decision):
            return value
        if isinstance(value, str) and value in ("approve", "reject"):
            return cls(choice=value)  # type: ignore[arg-type]
        known = set(cls.__dataclass_fields__)
        if not isinstance(value, Mapping) or "choice" not in value or not set(value) <= known:
            raise InvalidInput(
                'decide by {"choice": "approve" | "edit" | "reject" | "answer", "arguments": {…}, "text": "…", '
                f'"by": "…"}}; got {value!r}'
            )
        return cls(**value)

    def plain(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a person is asked; a row that stays."""

    namespace: tuple[str, ...]
    """Whose conversation it is."""
    conversation: str
    """The conversation whose turn waits."""
    turn: str
    """Id of the turn."""
    number: int
    """Which of the turn it is: the ordinal of the action among the turn's calls."""
    kind: AskKind
    """approval or question."""
    tool: str
    """Name of the tool."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """What it would be called with; JSON values."""
    asked_at: datetime
    """When, in UTC, by the machine's clock."""
    expires_at: datetime | None = None
    """When the default is decided, if the turn is resumed after it."""
    default: Literal["approve", "reject"] = "reject"
    """What is decided then."""
    decision: Decision | None = None
    """What was decided."""
    decided_at: datetime | None = None
    """When."""

    @property
    def choices(self) -> tuple[Choice, ...]:
        """What can be decided."""
        return CHOICES[self.kind]

    @property
    def call(self) -> Mapping[str, Any]:
        """The action that it is about, as the state has it."""
        return {"tool": self.tool, "arguments": dict(self.arguments)}

    def about(self, action: Mapping[str, Any]) -> bool:
        """Return whether it is about this action: the same tool with the same arguments."""
        return self.tool == action["tool"] and _text(self.arguments) == _text(action["arguments"])

    def check(self, decision: Decision) -> Decision:
        """Return the decision if it can be taken here; else raise `InvalidInput`."""
        if decision.choice not in self.choices:
            raise InvalidInput(f"{self.kind} {self.number} takes {' or '.join(self.choices)}; got {decision.choice}")
        return decision

    def plain(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "namespace": list(self.namespace),
            "conversation": self.conversation,
            "turn": self.turn,
            "number": self.number,
            "kind": self.kind,
            "tool": self.tool,
            "arguments": dict(self.arguments),
            "choices": list(self.choices),
            "asked_at": self.asked_at.isoformat(),
            "expires_at": self.expires_at.isoformat() if self.expires_at else None,
            "default": self.default,
            "decision": self.decision.plain() if self.decision else None,
            "decided_at": self.decided_at.isoformat() if self.decided_at else None,
        }


def _text(arguments: Mapping[str, Any]) -> str:
    return json.dumps(dict(arguments), sort_keys=True)


def _is_json(arguments: Mapping[str, Any]) -> bool:
    try:
        return bool(json.loads(json.dumps(dict(arguments))) == dict(arguments))
    except (TypeError, ValueError, RecursionError):
        return False
