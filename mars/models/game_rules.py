"""Built-in, keyless rules that play a text adventure by its list of commands: a baseline that works offline.

They are **no language model**, and look at nothing but the strings of their messages: the task, the memories, and what
the tool ``play`` returned. They give the commands that scored in this very game as a memory has them, as far as the
game takes them. Then they give what they have not given, or, of ways, not in this room: what shares words
with the task first, what gives things away last; not what only looks, nor what a memory says has lost this game. The
rest is drawn from the seed and the words of the task.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.base import LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import tool_call
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool

from mars.language import STOP_WORDS, stem, words
from mars.models.prompt_parts import Prompt, read_prompt

NOT_KNOWN = "Not known."
"""What they say when they cannot go on."""
DONE = "Done."
"""What they say when the game is over."""

_GAME = re.compile(r'[Gg]ame "(?P<name>[^"]+)"')
_KNOWN = re.compile(
    r'In the game "(?P<name>[^"]+)" (?:these commands, in this order, score (?P<points>\d+) points: (?P<line>[^.]+)\.)?'
    r"(?: ?These lose it: (?P<lost>[^.]+)\.)?$"
)
_LISTED = re.compile(r"^You can: (.+)\.$", re.MULTILINE)
_OVER = "*** The End ***"
_IDLE = ("examine", "look", "inventory", "drop", "close", "lock")
"""First words of commands that only look, or take back what was done."""

_LATER = ("put", "insert")
"""First words of commands that are given after the others: they give away what was taken."""
_ROOM = re.compile(r"-= (.+?) =-")


class GameRulesModel(BaseChatModel):
    """Plays by rules; see this module's first lines."""

    seed: int = 0
    """What it draws with, together with the words of the task."""

    @property
    def _llm_type(self) -> str:
        return "mars-game-rules"

    def bind_tools(
        self, tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool], **kwargs: Any
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Return the rules themselves: they know the tool by its name."""
        return self

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        command, over = self._next(messages)
        text = "" if command is not None else DONE if over else NOT_KNOWN
        calls = []
        if command is not None:
            mark = blake2b(f"{command} {len(messages)}".encode(), digest_size=8).hexdigest()
            calls = [tool_call(name="play", args={"command": command}, id=f"call_{mark}")]
        read = sum(len(words(str(message.text))) for message in messages)
        wrote = len(words(command or text))
        usage = UsageMetadata(input_tokens=read, output_tokens=wrote, total_tokens=read + wrote)
        message = AIMessage(
            content=text, tool_calls=calls, usage_metadata=usage, response_metadata={"model_name": self._llm_type}
        )
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _next(self, messages: Sequence[BaseMessage]) -> tuple[str | None, bool]:
        """Return the next command, None if there is none; and whether the game is over."""
        prompt = read_prompt(messages)
        asked = max((place for place, one in enumerate(messages) if isinstance(one, HumanMessage)), default=-1)
        since = messages[asked + 1 :]
        results = [str(one.text) for one in since if isinstance(one, ToolMessage)]
        given, room = _given(since, _room(prompt.question, ""))
        told = next((text for text in reversed(results) if _LISTED.search(text) or _OVER in text), prompt.question)
        listed = _LISTED.search(told)
        if _OVER in told or listed is None or (results and results[-1] is not told):
            return None, _OVER in told  # the last command was refused: none are left
        taken = listed[1].split("; ")
        before = {one for _, one in given}
        line, lost = _known(prompt)
        known = next((one for one in line if one not in before), None)
        if known in taken:
            return known, False
        left = [one for one in taken if one not in lost]
        counted = [one for place, one in given if place == room or not one.startswith("go ")]
        return self._untried(left, counted, prompt.question), False

    def _untried(self, taken: Sequence[str], given: Sequence[str], task: str) -> str | None:
        useful = [one for one in taken if one.split()[0] not in _IDLE] or list(taken)
        head = task.partition("\n")[0]
        asked = {stem(word) for word in words(head) if word not in STOP_WORDS}
        draw = random.Random(f"{self.seed} {task} {len(given)}")
        order = draw.sample(range(len(useful)), len(useful))

        def rank(place: int) -> tuple[int, int, bool, int]:
            command = useful[place]
            shared = len({stem(word) for word in words(command)} & asked)
            return given.count(command), -shared, command.split()[0] in _LATER, order[place]

        return useful[min(range(len(useful)), key=rank)] if useful else None


def _room(text: str, room: str) -> str:
    """Return the room that a text says one is in; the one from before, if it says none."""
    named = _ROOM.findall(text)
    return named[-1] if named else room


def _given(messages: Sequence[BaseMessage], room: str) -> tuple[list[tuple[str, str]], str]:
    """Return the commands that were given, each with the room where it was, and the room of now."""
    given = []
    for message in messages:
        if isinstance(message, AIMessage):
            given += [(room, str(call["args"].get("command", ""))) for call in message.tool_calls]
        elif isinstance(message, ToolMessage):
            room = _room(str(message.text), room)
    return given, room


def _known(prompt: Prompt) -> tuple[list[str], set[str]]:
    """Return what the memories have of the game that is asked for: the line of most points, and what lost it."""
    asked = _GAME.search(prompt.question)
    told = [found for one in prompt.passages if one.ref and (found := _KNOWN.match(one.text))]
    own = [found for found in told if asked is not None and found["name"] == asked["name"]]
    lines = [found for found in own if found["line"]]
    line = max(lines, key=lambda one: int(one["points"]))["line"].split("; ") if lines else []
    return line, {command for found in own if found["lost"] for command in found["lost"].split("; ")}
