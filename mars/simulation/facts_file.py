"""A user's own facts for a simulated life: a small JSON file.

```json
{
  "user": "Mara",
  "start": "2026-02-02",
  "facts": [
    {"topic": "dentist", "ask": "When is my dentist appointment?",
     "tell": ["My dentist appointment is on {value}."], "first": "14 March",
     "change": ["The clinic called: the dentist moved my visit to {value} instead."], "new": "21 March"},
    {"topic": "locker", "ask": "What is my locker code?", "tell": ["My locker code is {value}."], "first": "4812"},
    {"topic": "sister", "ask": "Where does my sister live?", "tell": ["My sister lives in {value}."], "first": "Porto"}
  ],
  "small_talk": ["The weather is awful today."]
}
```

``user``, ``start`` (the first day) and ``small_talk`` may be left out; so may ``new``, and ``change`` where the user
corrects in the words of ``tell``. A life needs at least one fact with a new value and two without.
"""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from mars.errors import InvalidFile
from mars.simulation.life import Fact

Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]


def _with_value(text: str) -> str:
    if text.replace("{value}", "").count("{") or text.replace("{value}", "").count("}"):
        raise ValueError("the only placeholder is {value}")
    if "{value}" not in text:
        raise ValueError("the words must hold {value}, where the value stands")
    return text


Template = Annotated[Words, AfterValidator(_with_value)]


class _FactEntry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    topic: Words
    ask: Words
    tell: Annotated[list[Template], Field(min_length=1)]
    first: Words
    change: list[Template] = []
    new: Words | None = None

    @model_validator(mode="after")
    def _changes_to_something(self) -> _FactEntry:
        if self.change and self.new is None:
            raise ValueError('there are words for a change, but no new value: add "new"')
        if self.new == self.first:
            raise ValueError("the new value is the first one")
        return self

    def fact(self) -> Fact:
        return Fact(
            topic=self.topic,
            ask=self.ask,
            tell=tuple(self.tell),
            first=self.first,
            new=self.new,
            change=tuple(self.change),
        )


class _FactsFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    user: Words | None = None
    start: date | None = None
    facts: Annotated[list[_FactEntry], Field(min_length=3)]
    small_talk: list[Words] = []


class OwnFacts:
    """What a facts file holds."""

    def __init__(self, entries: _FactsFile) -> None:
        self.user = entries.user
        """Name of the user, if the file gives one."""
        self.start = entries.start
        """The first day, if the file gives one."""
        self.facts = tuple(entry.fact() for entry in entries.facts)
        """The facts."""
        self.small_talk = tuple(entries.small_talk)
        """What is said beside; empty for the built-in talk."""


def read_facts(path: Path) -> OwnFacts:
    """Return the facts of a file. Raises `InvalidFile`, which names the line of broken JSON, or the field at fault."""
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError as error:
        raise InvalidFile(f"there is no file {path}; examples/facts.json shows the format") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidFile(f"{path} cannot be read as UTF-8 text: {error}") from error
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidFile(f"{path}, line {error.lineno}, column {error.colno}: {error.msg}") from error
    except RecursionError as error:
        raise InvalidFile(f"{path} is nested too deeply for a facts file") from error
    try:
        own = OwnFacts(_FactsFile.model_validate(values))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise InvalidFile(f"{path}: {field}: {first['msg'].removeprefix('Value error, ')}") from error
    check_parts(own, path)
    return own


def check_parts(own: OwnFacts, path: Path) -> None:
    """Raise `InvalidFile` unless a life can be made of these facts."""
    topics = [fact.topic for fact in own.facts]
    twice = next((topic for topic in topics if topics.count(topic) > 1), None)
    if twice is not None:
        raise InvalidFile(
            f"{path}: facts.{len(topics) - 1 - topics[::-1].index(twice)}.topic: {twice!r} is there twice"
        )
    steady = sum(fact.new is None for fact in own.facts)
    if steady < 2 or steady == len(topics):
        raise InvalidFile(
            f"{path}: facts: a life needs at least one fact with a new value and two without; "
            f"there are {len(topics) - steady} with and {steady} without"
        )
