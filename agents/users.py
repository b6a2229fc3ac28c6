"""Simulated users: a script or a model that plays the person who sets the tasks (runtime.md §1).

A simulated user sees its own persona, its goal and what was said, and nothing else: no verdict, no source, no memory,
and above all no reference answer. Whether it goes on is one of two words; a reply that holds anything else is asked for
once more and then ends the dialogue as unusable, never as satisfied.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mars.agents.interfaces import ChatModel
from mars.agents.judge import one_object
from mars.agents.prompts import REPAIR, SIMULATED_USER, Prompt
from mars.agents.rendering import as_line, block, shown
from mars.agents.roles import User
from mars.errors import InvalidSetting, ModelOutputError


class Satisfaction(StrEnum):
    """All that a user can say of how it goes."""

    SATISFIED = "satisfied"
    """The goal is reached; the dialogue ends."""
    CONTINUE = "continue"
    """There is more to say."""


class Exchange(NamedTuple):
    """What was said in one turn."""

    said: str
    """By the user."""
    answered: str
    """By the Assistant, as a user sees it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UserReply:
    """What a user says next."""

    satisfaction: Satisfaction
    """Whether the dialogue goes on."""
    text: str = ""
    """The next task; empty if satisfied."""


@runtime_checkable
class SimulatedUser(Protocol):
    """Somebody who sets tasks, one after another."""

    @property
    def user(self) -> User:
        """Name, persona and goal."""
        ...

    async def reply(self, dialogue: Sequence[Exchange]) -> UserReply:
        """Return what the user says after these exchanges, oldest first; the first time there are none."""
        ...


class ScriptedUser:
    """A user who says the lines of a script in order, and is satisfied at its end or as soon as a condition holds."""

    def __init__(
        self, user: User | str, lines: Sequence[str], *, satisfied: Callable[[Sequence[Exchange]], bool] | None = None
    ) -> None:
        """Say `lines`; `satisfied` is asked after each answer. Raises `InvalidSetting` for a script without words."""
        if not lines or not all(isinstance(line, str) and line.strip() for line in lines):
            raise InvalidSetting("a scripted user needs at least one line, and no line may be empty")
        self.user = user if isinstance(user, User) else User(name=user)
        """Name, persona and goal."""
        self._lines = tuple(lines)
        self._satisfied = satisfied

    async def reply(self, dialogue: Sequence[Exchange]) -> UserReply:
        """Return the next line."""
        done = bool(dialogue) and self._satisfied is not None and self._satisfied(dialogue)
        if done or len(dialogue) >= len(self._lines):
            return UserReply(satisfaction=Satisfaction.SATISFIED)
        return UserReply(satisfaction=Satisfaction.CONTINUE, text=self._lines[len(dialogue)])


class _Said(BaseModel):
    """What a model that plays a user replies."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    satisfaction: Satisfaction = Field(description="satisfied or continue.")
    text: str = Field(default="", description="What the user says next; empty if satisfied.")


class ModelUser:
    """A user played by a chat model."""

    def __init__(self, user: User, model: ChatModel, *, prompt: Prompt = SIMULATED_USER) -> None:
        """Let `model` play `user`. Raises `InvalidSetting` for a user without a goal: it would never be satisfied."""
        if not (user.goal or "").strip():
            raise InvalidSetting(f"{user.name} has no goal: give one, such as User(name=…, goal='find the address')")
        self.user = user
        """Name, persona and goal."""
        self._model = model
        self._prompt = prompt

    async def reply(self, dialogue: Sequence[Exchange]) -> UserReply:
        """Return what the model says; raise `ModelOutputError` if it is unusable after one repair."""
        from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage

        messages: list[BaseMessage] = [SystemMessage(self._prompt.text), HumanMessage(self._blocks(dialogue))]
        fault = ""
        for _ in range(2):
            text = (await self._model.ainvoke(messages)).text
            try:
                return _read(text, first=not dialogue)
            except ValueError as error:
                fault = str(error)
                messages = [
                    *messages,
                    AIMessage(text or "(empty)"),
                    HumanMessage(REPAIR.text.replace("{error}", fault)),
                ]
        raise ModelOutputError(f"the model that plays {self.user.name} gave no usable reply: {fault}")

    def _blocks(self, dialogue: Sequence[Exchange]) -> str:
        said = [
            as_line({"speaker": who, "text": shown(text)})
            for one in dialogue
            for who, text in ((self.user.name, one.said), ("assistant", one.answered))
        ]
        persona = [as_line({"name": self.user.name, "persona": self.user.persona})]
        return (
            block("persona", persona) + block("goal", [as_line({"text": self.user.goal})]) + block("conversation", said)
        )


def _read(text: str, *, first: bool) -> UserReply:
    """Return the one reply in a text; raise `ValueError` for none, several, or one without the words that it needs."""
    try:
        said = _Said.model_validate(one_object(text))
    except ValidationError as error:
        one = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, one['loc']))}: {one['msg']}") from None
    if said.satisfaction is Satisfaction.SATISFIED:
        if first:
            raise ValueError("nothing was said yet: begin, with satisfaction continue")
        return UserReply(satisfaction=said.satisfaction)
    if not said.text.strip():
        raise ValueError("text is empty: say something, or be satisfied")
    return UserReply(satisfaction=said.satisfaction, text=said.text.strip())
