"""What a rendered prompt holds, read back from its strings: memories, lessons and the task.

The only input is text: blocks such as ``<memories>`` … ``</memories>`` with one JSON object a line. A line that is no
JSON object is skipped; a block that is missing is empty. Nothing here knows a store, a record or an agent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

_BLOCK = r"<{name}>\n?(.*?)</{name}>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """One memory, as the prompt shows it."""

    ref: str
    """Its name in the prompt, such as m1; empty for what a tool returned as plain text."""
    text: str
    """Verbatim text."""
    day: date | None = None
    """When it was said."""
    speaker: str = ""
    """Who said it; empty if the prompt does not tell."""
    dates: dict[str, str] = field(default_factory=dict)
    """Relative dates of the text that the prompt has resolved: {"yesterday": "2023-05-07"}."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lessons:
    """What the lessons of the prompt ask for, all of them together."""

    avoid: frozenset[str] = frozenset()
    """Refs not to rely on."""
    not_before: date | None = None
    """Prefer what was said on this day or later."""
    speaker: str = ""
    """Prefer this person's own words."""
    abstain: bool = False
    """Answer only where the support is clear."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """Everything that the reader looks at."""

    question: str
    """The words of the task."""
    user: str
    """Who asks: "I" and "my" mean this person; empty if the prompt does not tell."""
    passages: tuple[Passage, ...]
    """Memories and tool results, in the prompt's order."""
    lessons: Lessons
    """What the lessons ask for."""
    called: frozenset[str]
    """Names of the tools that were called since the task was set."""


def read_prompt(messages: Sequence[BaseMessage]) -> Prompt:
    """Return what the messages hold, from the last one that sets a task on.

    Without a ``<task>`` block the last human message is the task and the whole conversation is read.
    """
    start = _start(messages)
    current = messages[start:] if start is not None else messages
    task = next(_objects("task", current[0].text), {}) if start is not None else {}
    texts = [str(message.text) for message in current if isinstance(message, HumanMessage | SystemMessage)]
    passages = [_passage(values) for text in texts for values in _objects("memories", text)]
    shown = {item.ref for item in passages}
    found = [item for message in current if isinstance(message, ToolMessage) for item in _from_tool(message)]
    # What a tool returned must not pass for a memory of the prompt.
    passages += [replace(item, ref="") if item.ref in shown else item for item in found]
    spoken = next((str(m.text) for m in reversed(messages) if isinstance(m, HumanMessage)), "")
    return Prompt(
        question=str(task.get("text") or re.sub(_BLOCK.format(name="memories"), "", spoken, flags=re.DOTALL)).strip(),
        user=str(task.get("user") or ""),
        passages=tuple(item for item in passages if item.text.strip()),
        lessons=_lessons([values for text in texts for values in _objects("lessons", text)]),
        called=frozenset(call["name"] for m in current if isinstance(m, AIMessage) for call in m.tool_calls),
    )


def _start(messages: Sequence[BaseMessage]) -> int | None:
    for place in range(len(messages) - 1, -1, -1):
        if isinstance(messages[place], HumanMessage) and any(True for _ in _objects("task", messages[place].text)):
            return place
    return None


def _objects(name: str, text: str) -> Iterator[dict[str, Any]]:
    for body in re.findall(_BLOCK.format(name=name), str(text), re.DOTALL):
        for line in body.splitlines():
            values = _parsed(line)
            if values is not None:
                yield values


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) else None


def _passage(values: dict[str, Any]) -> Passage:
    dates = values.get("dates")
    return Passage(
        ref=str(values.get("id") or ""),
        text=str(values.get("text") or ""),
        day=_day(values.get("date")),
        speaker=str(values.get("speaker") or ""),
        dates={str(phrase): str(day) for phrase, day in dates.items()} if isinstance(dates, dict) else {},
    )


def _from_tool(message: ToolMessage) -> Iterator[Passage]:
    """Yield what a tool returned: its memories, JSON objects with a text, else its lines as they are."""
    for memory in _objects("memories", str(message.text)):
        yield _passage(memory)
    text = re.sub(_BLOCK.format(name="memories"), "", str(message.text), flags=re.DOTALL)
    for line in text.splitlines():
        values = _parsed(line)
        if values is None:
            yield Passage(ref="", text=line.strip())
        elif values.get("text"):
            yield _passage(values)


def _lessons(lessons: list[dict[str, Any]]) -> Lessons:
    """Return the lessons as one; the last one wins where they disagree."""
    avoid: set[str] = set()
    for lesson in lessons:
        refs = lesson.get("avoid")
        avoid |= {str(ref) for ref in refs} if isinstance(refs, list) else set()
    days = [day for lesson in lessons if (day := _day(lesson.get("not_before")))]
    speakers = [str(lesson["speaker"]) for lesson in lessons if lesson.get("speaker")]
    return Lessons(
        avoid=frozenset(avoid),
        not_before=days[-1] if days else None,
        speaker=speakers[-1] if speakers else "",
        abstain=bool(lessons and lessons[-1].get("abstain")),
    )


def _day(value: object) -> date | None:
    try:
        return date.fromisoformat(str(value)[:10])
    except ValueError:
        return None
