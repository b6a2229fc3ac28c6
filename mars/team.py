"""Who works in the loop, with which prompts, models and tools, and by which limits: data, chosen per task.

A file holds one team, or several under ``teams``, as TOML or JSON:

```toml
[teams.careful]
iterations = 4
assistant = { name = "analyst", model = "openai:gpt-4o", tools = ["search"], prompt = "You answer from …" }
checker = { model = "openai:gpt-4o-mini" }
reflector = { strategy = "both", keep = 3 }
budget = { turn = { calls = 12 }, user = { cost = 5.0 } }
```

What a file cannot hold (verifiers, models that are objects) is given in code.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from mars.agents.prompts import Prompt
from mars.agents.roles import Assistant, Checker, Reflector, Summariser
from mars.errors import InvalidFile, InvalidSetting
from mars.memory.checks import check_kind
from mars.persistence.approvals import Approval
from mars.persistence.budgets import Budget, Budgets

SWITCHES = ("checker", "reflection", "memory", "decay")
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
    summariser: Summariser = field(default_factory=Summariser)
    """Keeps the running summary; with a model of its own only, else the rule does."""
    iterations: int = 3
    """The most drafts of one turn, N >= 1."""
    k: int = 8
    """How many records the first recall of a turn brings."""
    floor: float = 0.1
    """Least relevance of a recalled record, in [0, 1]."""
    memory_words: int | None = None
    """The most words of memories in all prompts of one turn together; three quarters of them for a first draft that may
    be rejected, the rest for the later ones. None: as many as `k` records have, and the plans' wider recalls bring."""
    window: int = 6
    """How many of the conversation's newest turns the prompt holds."""
    remember: bool = True
    """Whether what the user tells, and the turn itself, is stored."""
    keep_prompts: bool = False
    """Whether each attempt keeps the Assistant's prompt, for trajectories to train on."""
    budget: Budget | Budgets | None = None
    """What may be spent: a single budget is that of each turn."""
    approval: Approval | None = None
    """Which actions need a person, after the Checker; None: none do."""
    without: frozenset[str] = frozenset()
    """Switches that are off: checker, reflection, memory, decay."""

    def __post_init__(self) -> None:
        if self.iterations < 1:
            raise InvalidSetting(f"iterations must be 1 or more; got {self.iterations}")
        if self.k < 1:
            raise InvalidSetting(f"k must be 1 or more; got {self.k}")
        if not 0.0 <= self.floor <= 1.0:
            raise InvalidSetting(f"floor must lie in [0, 1]; got {self.floor!r}")
        if self.memory_words is not None and self.memory_words < 1:
            raise InvalidSetting(f"memory_words must be 1 or more, or None; got {self.memory_words}")
        if self.window < 0:
            raise InvalidSetting(f"window must be 0 or more; got {self.window}")
        unknown = self.without - set(SWITCHES)
        if unknown:
            raise InvalidSetting(f"without knows {', '.join(SWITCHES)}; got {', '.join(sorted(unknown))}")

    @classmethod
    def from_plain(cls, values: Mapping[str, Any], where: str = "the team") -> Team:
        """Return the team that JSON values describe; what they leave out is as in `Team()`.

        Raises `InvalidSetting` that names `where`, the key, and what is allowed there.
        """
        return _team(_read(_TeamValues, values, where), where)

    @classmethod
    def from_file(cls, path: str | Path, name: str | None = None) -> Team:
        """Return the team in a TOML or JSON file; with several in it, the one of this name.

        Raises `InvalidFile` for a file that cannot be read, and else as `from_plain`.
        """
        teams = read_teams(path)
        if name is None and len(teams) == 1:
            return next(iter(teams.values()))
        if name not in teams:
            asked = "name one of them" if name is None else f"there is no team {name!r}"
            raise InvalidSetting(f"{path}: {asked}: {', '.join(teams)}")
        return teams[name]

    def plain(self) -> dict[str, Any]:
        """Return the team as JSON values that `from_plain` takes; values that are as in `Team()` are left out.

        Raises `InvalidSetting` for a model that is an object and for verifiers: they are code, not data.
        """
        roles = {name: _plain_role(name, getattr(self, name), type(getattr(self, name))()) for name in _ROLES}
        limits = {name: getattr(self, name) for name in _LIMITS if getattr(self, name) != getattr(Team(), name)}
        values: dict[str, Any] = {**{name: role for name, role in roles.items() if role}, **limits}
        if self.budget is not None:
            values["budget"] = _plain_budget(self.budget)
        if self.approval is not None:
            values["approval"] = {**asdict(self.approval), "tools": list(self.approval.tools)}
        return {**values, "without": sorted(self.without)} if self.without else values


_ROLES = ("assistant", "checker", "reflector", "summariser")
_LIMITS = ("iterations", "k", "floor", "memory_words", "window", "remember", "keep_prompts")
_CODE = ("verifiers", "action_verifiers")


class _Values(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _PromptValues(_Values):
    name: str
    version: int
    text: str


class _RoleValues(_Values):
    name: str | None = None
    prompt: _PromptValues | None = None
    model: str | None = None

    @field_validator("prompt", "action_prompt", mode="before", check_fields=False)
    @classmethod
    def _words(cls, value: object) -> object:
        """Take words alone for a prompt of version 1 that has no name of its own."""
        return {"name": "", "version": 1, "text": value} if isinstance(value, str) else value


class _AssistantValues(_RoleValues):
    max_actions: int | None = None
    tools: list[str] | None = None


class _CheckerValues(_RoleValues):
    action_prompt: _PromptValues | None = None
    evidence_rules: bool | None = None


class _ReflectorValues(_RoleValues):
    strategy: str | None = None
    keep: int | None = None


class _ApprovalValues(_Values):
    tools: list[str] | None = None
    expires: float | None = None
    default: Literal["approve", "reject"] | None = None


class _TeamValues(_Values):
    assistant: _AssistantValues | None = None
    checker: _CheckerValues | None = None
    reflector: _ReflectorValues | None = None
    summariser: _RoleValues | None = None
    iterations: int | None = None
    k: int | None = None
    floor: float | None = None
    memory_words: int | None = None
    window: int | None = None
    remember: bool | None = None
    keep_prompts: bool | None = None
    without: list[str] | None = None
    budget: dict[str, Any] | None = None
    approval: _ApprovalValues | None = None


class _BudgetValues(_Values):
    calls: int | None = None
    tokens: int | None = None
    cost: float | None = None
    wall: float | None = None
    working: float | None = None
    last_call: bool = False


class _BudgetsValues(_Values):
    turn: dict[str, Any] | None = None
    conversation: dict[str, Any] | None = None
    user: dict[str, Any] | None = None
    roles: dict[str, dict[str, Any]] = {}


Read = TypeVar("Read", bound=BaseModel)
Role = TypeVar("Role", Assistant, Checker, Reflector, Summariser)


def read_teams(path: str | Path) -> dict[str, Team]:
    """Return the teams of a TOML or JSON file by name; one that holds a single team gives it the name of the file.

    Raises `InvalidFile` for a file that is missing or of another format, `InvalidSetting` for what it says.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
        values = json.loads(text) if file.suffix.lower() == ".json" else tomllib.loads(text)
    except OSError as error:
        raise InvalidFile(f"the team's file {file} cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        form = "JSON" if file.suffix.lower() == ".json" else "TOML (name it .json if it is JSON)"
        raise InvalidFile(f"{file} is no {form}: {error}") from None
    if not isinstance(values, dict):
        raise InvalidFile(f"{file} holds no object; write the team's keys, or several teams under `teams`")
    if "teams" not in values:
        return {file.stem: Team.from_plain(values, str(file))}
    named, others = values["teams"], sorted(set(values) - {"teams"})
    if others or not isinstance(named, dict) or not named:
        raise InvalidSetting(
            f"{file}: `teams` maps names to teams, and nothing stands beside it; got {others or named}"
        )
    return {name: Team.from_plain(team, f"{file}: teams.{name}") for name, team in named.items()}


def check_team(team: object, name: str = "team") -> None:
    """Raise `InvalidSetting` where something is no `Team`."""
    check_kind(team, Team, name, "a mars.Team, such as Team(iterations=2) or Team.from_plain({…})")


def named_teams(teams: Mapping[str, Team] | str | Path | None) -> dict[str, Team]:
    """Return teams by name, read from a file where a path is given; raise `InvalidSetting` for an empty name."""
    named = read_teams(teams) if isinstance(teams, str | Path) else dict(teams or {})
    if any(not isinstance(name, str) or not name.strip() for name in named):
        raise InvalidSetting('a team needs a name: teams={"careful": Team(…)}')
    for name, team in named.items():
        check_team(team, f"teams[{name!r}]")
    return named


def _read(kind: type[Read], values: object, where: str) -> Read:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"] if str(part) in _KEYS) or "a team"
        if first["type"] == "extra_forbidden":
            *path, key = map(str, first["loc"])
            if key in _CODE:
                raise InvalidSetting(f"{where}: {key} are code: give them to Mars.open(), not in a file") from None
            raise InvalidSetting(
                f"{where}: there is no {key!r}; known are {', '.join(_owner(kind, path).model_fields)}"
            ) from None
        raise InvalidSetting(f"{where}: {place}: {first['msg']}") from None


def _owner(kind: type[BaseModel], path: list[str]) -> type[BaseModel]:
    """Return what has the keys at a path within a team."""
    if not path:
        return kind
    return _OF_ROLE[path[0]] if len(path) == 1 else _PromptValues


_OF_ROLE: dict[str, type[BaseModel]] = {
    "assistant": _AssistantValues,
    "checker": _CheckerValues,
    "reflector": _ReflectorValues,
    "summariser": _RoleValues,
    "approval": _ApprovalValues,
}
_KINDS: tuple[type[BaseModel], ...] = (_TeamValues, _PromptValues, _BudgetValues, _BudgetsValues, *_OF_ROLE.values())
_KEYS = {name for kind in _KINDS for name in kind.model_fields}


def _team(values: _TeamValues, where: str) -> Team:
    given = {name: getattr(values, name) for name in _LIMITS if getattr(values, name) is not None}
    try:
        return Team(
            assistant=_role(Assistant(), values.assistant),
            checker=_role(Checker(), values.checker),
            reflector=_role(Reflector(), values.reflector),
            summariser=_role(Summariser(), values.summariser),
            without=frozenset(values.without or ()),
            budget=None if values.budget is None else _budget(values.budget, "budget"),
            approval=None if values.approval is None else _approval(values.approval),
            **given,
        )
    except InvalidSetting as error:
        raise InvalidSetting(f"{where}: {error}") from None


def _approval(values: _ApprovalValues) -> Approval:
    given = {name: value for name, value in values if value is not None}
    return Approval(**{**given, "tools": tuple(given["tools"])} if "tools" in given else given)


def _budget(values: Mapping[str, Any], where: str) -> Budget | Budgets:
    """Return the budgets by their scope, or a single one, which is that of each turn."""
    if not set(values) & set(_BudgetsValues.model_fields):
        return _single(values, where)
    read = _read(_BudgetsValues, values, where)
    scopes = {name: getattr(read, name) for name in ("turn", "conversation", "user") if getattr(read, name) is not None}
    return Budgets(
        **{name: _single(one, f"{where}.{name}") for name, one in scopes.items()},
        roles={role: _single(one, f"{where}.roles.{role}") for role, one in read.roles.items()},
    )


def _single(values: Mapping[str, Any], where: str) -> Budget:
    return Budget(**_read(_BudgetValues, values, where).model_dump())


def _plain_budget(budget: Budget | Budgets) -> dict[str, Any]:
    if isinstance(budget, Budget):
        return {name: value for name, value in budget.plain().items() if value is not None}
    scopes = {name: getattr(budget, name) for name in ("turn", "conversation", "user") if getattr(budget, name)}
    found: dict[str, Any] = {name: _plain_budget(one) for name, one in scopes.items()}
    return {**found, "roles": {role: _plain_budget(one) for role, one in budget.roles.items()}}


def _role(role: Role, values: _RoleValues | None) -> Role:
    """Return a role with the values of a file; a prompt without a name bears the role's."""
    changes: dict[str, Any] = {}
    for name, value in values or ():
        if value is None:
            continue
        if isinstance(value, _PromptValues):
            value = Prompt(name=value.name or f"{role.name}_{name}", version=value.version, text=value.text)
        changes[name] = tuple(value) if isinstance(value, list) else value
    return replace(role, **changes)


def _plain_role(name: str, role: Assistant | Checker | Reflector | Summariser, usual: Any) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key in role.__dataclass_fields__:
        value = getattr(role, key)
        if value == getattr(usual, key):
            continue
        if key in _CODE or (key == "model" and not isinstance(value, str)):
            raise InvalidSetting(f"{name}.{key} is code and cannot be written as data; name a model as provider:name")
        if isinstance(value, Prompt):
            value = {"name": value.name, "version": value.version, "text": value.text}
        values[key] = list(value) if isinstance(value, tuple) else value
    return values
