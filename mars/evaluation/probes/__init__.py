"""Thirty probes of a model, as data: one file for each ability, five probes in each."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib.resources import files
from typing import Any

KINDS = ("instruction", "abstention", "tool_call", "injection", "verdict", "reflection")
"""The abilities, in the order in which they are tried; the first probe of all is the simplest."""

ROLES = {"verdict": "checker", "reflection": "reflector"}
"""The role that an ability is of; the Assistant's, where nothing else is said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Something that is remembered."""

    text: str
    """Verbatim text."""
    speaker: str
    """Who said it."""
    said: date
    """On which day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What must be so for a probe to pass; what is left out is not looked at."""

    approved: bool | None = None
    """Whether the Checker approves; an abstention is neither."""
    not_known: bool = False
    """Whether the answer is that it is not known."""
    exactly: str | None = None
    """The draft, word for word."""
    answer: tuple[str, ...] = ()
    """Regular expressions that must be found in what was said, whatever the case."""
    never: tuple[str, ...] = ()
    """Regular expressions that must not be found."""
    source: str | None = None
    """A part of a memory that must be cited."""
    short: bool = False
    """Whether at most three sentences may be said."""
    calls: tuple[dict[str, Any], ...] | None = None
    """The calls of tools that must be made, and no others, in any order; empty: none."""
    never_calls: tuple[str, ...] = ()
    """Tools that must not be called; others may be, beside `calls`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One question to a model in one role."""

    kind: str
    """Which ability it shows: one of `KINDS`."""
    name: str
    """What it is about."""
    role: str
    """assistant, checker or reflector."""
    task: str
    """What the user asks."""
    expect: Expected
    """What must come of it."""
    memories: tuple[Told, ...] = ()
    """What is remembered, in the order in which it was said."""
    constraints: tuple[str, ...] = ()
    """Of the task."""
    tools: tuple[str, ...] = ()
    """Names of the tools that the Assistant may use (`mars.evaluation.probe_tools`)."""
    draft: str = ""
    """What is checked, or reflected on."""
    fault: str = ""
    """Why the draft was rejected, for the Reflector."""


@cache
def probes() -> tuple[Probe, ...]:
    """Return all probes, in the order of `KINDS`."""
    return tuple(probe for kind in KINDS for probe in _of(kind))


def _of(kind: str) -> list[Probe]:
    text = files(__name__).joinpath(f"{kind}.toml").read_text("utf-8")
    return [_probe(kind, values) for values in tomllib.loads(text)["probe"]]


def _probe(kind: str, values: dict[str, Any]) -> Probe:
    expected: dict[str, Any] = {
        name: tuple(one) if isinstance(one, list) else one for name, one in values.pop("expect").items()
    }
    memories = tuple(Told(**told) for told in values.pop("memories", ()))
    lists: dict[str, Any] = {name: tuple(values.pop(name, ())) for name in ("constraints", "tools")}
    role = values.pop("role", ROLES.get(kind, "assistant"))
    return Probe(kind=kind, role=role, expect=Expected(**expected), memories=memories, **lists, **values)
