"""Rule policies that play worlds: chat models that look at their prompt and nothing else, and know no truth.

Each reads the blocks that `mars.models.prompt_parts` reads, so that any other chat model can take its place. A lesson's
"avoid" is heeded. The same prompt gives the same answer.
"""

from __future__ import annotations

import random
import re
from abc import abstractmethod
from collections.abc import Iterable
from datetime import date
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatResult

from mars.language import asks, words
from mars.models.prompt_parts import Passage, Prompt, read_prompt
from mars.models.reader import NOT_KNOWN, NOTED

PROCEDURES = ("Alpha", "Bravo", "Delta", "Kilo", "Sierra")
"""What an operations desk can do about a fault."""

_OUTCOME = re.compile(r"Procedure (\w+) (fixed|did not fix) the ([\w ]+)\.$")
_FAULT = re.compile(r"Which procedure fixes the ([\w ]+)\?")
_PROMISE = re.compile(r"I promised (\w+) the (\w+) by (\d+ \w+)\.$")
_ASKED_DAY = re.compile(r"by (\d+ \w+)\?")


def chosen_procedure(answer: str) -> str | None:
    """Return the procedure that an answer names; None if it names none or several."""
    named = {one for one in PROCEDURES if re.search(rf"\b{one}\b", answer, re.IGNORECASE)}
    return named.pop() if len(named) == 1 else None


def day_name(day: date) -> str:
    """Return a day as promises name it: ``12 May``."""
    return f"{day.day} {day:%B}"


class RulePolicy(BaseChatModel):
    """A chat model that answers by rules from its prompt's memories."""

    @property
    def _llm_type(self) -> str:
        return "mars-rules"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        prompt = read_prompt(messages)
        text = self.answer(prompt) if asks(prompt.question) else NOTED
        read = sum(len(words(str(message.text))) for message in messages)
        wrote = len(words(text))
        usage = UsageMetadata(input_tokens=read, output_tokens=wrote, total_tokens=read + wrote)
        message = AIMessage(content=text, usage_metadata=usage, response_metadata={"model_name": self._llm_type})
        return ChatResult(generations=[ChatGeneration(message=message)])

    @abstractmethod
    def answer(self, prompt: Prompt) -> str:
        """Return the answer to the prompt's question."""


class DeskPolicy(RulePolicy):
    """Names the procedure that fixed a fault last; else draws one among those that have not failed since."""

    seed: int = 0
    """What it draws with, together with the day and the words of its prompt."""

    def answer(self, prompt: Prompt) -> str:
        """Return a log line with its citation, or the name of a procedure."""
        asked = _FAULT.search(prompt.question)
        if asked is None:
            return NOT_KNOWN
        failed: set[str] = set()
        for line in _newest_first(prompt):
            found = _OUTCOME.match(line.text)
            if found is None or found[3] != asked[1]:
                continue
            if found[2] == "fixed" and found[1] not in failed:
                return f"{line.text} [{line.ref}]"
            failed.add(found[1])
        left = [one for one in PROCEDURES if one not in failed] or list(PROCEDURES)
        drawn = random.Random(f"{self.seed} {prompt.question} {prompt.user} {sorted(failed)}").choice(left)
        return f"Procedure {drawn}."


class SchedulerPolicy(RulePolicy):
    """Names the promise that is due on a day, by the newest line about each promise."""

    def answer(self, prompt: Prompt) -> str:
        """Return a line with its citation, or "Not known."."""
        asked = _ASKED_DAY.search(prompt.question)
        seen: set[tuple[str, str]] = set()
        for line in _newest_first(prompt):
            found = _PROMISE.match(line.text)
            if asked is None or found is None or line.speaker != prompt.user or (found[1], found[2]) in seen:
                continue
            seen.add((found[1], found[2]))
            if found[3] == asked[1]:
                return f"{line.text} [{line.ref}]"
        return NOT_KNOWN


def _newest_first(prompt: Prompt) -> Iterable[Passage]:
    """Return the memories that no lesson says to avoid, the newest first; those of one day in the prompt's order."""
    lines = [line for line in prompt.passages if line.ref not in prompt.lessons.avoid]
    return sorted(lines, key=lambda line: line.day or date.min, reverse=True)
