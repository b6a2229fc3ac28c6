"""What the suites of `mars.evaluation.change` share: how they are set up, counted, and broken on purpose."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from mars.memory.engine import Memory
from mars.memory.presets import Preset

START = datetime(2025, 1, 1, tzinfo=UTC)
"""When every case begins."""

MATTERS = (
    *("tea", "film", "park", "song", "game", "soup", "book", "dance", "colour", "fruit", "river", "museum", "flower"),
    *("bakery", "island", "dessert", "poet", "opera", "market", "sandwich"),
)
"""What somebody has a favourite of."""
VALUES = (
    *("Assam", "Brindle", "Corvo", "Dunlin", "Elmer", "Fresno", "Garnet", "Harlow", "Indigo", "Juniper", "Kestrel"),
    *("Lumen", "Marlow", "Nectar", "Osprey", "Pomelo", "Quartz", "Rowan", "Saffron", "Tansy"),
)
"""What it may be."""
EXAMPLES = 3
"""So many broken cases are told."""


class Broken(StrEnum):
    """What is broken on purpose."""

    SUPERSEDING = "superseding"
    """Each telling names a matter of its own, so that nothing takes anything's place."""
    DATES = "dates"
    """What held at a time is asked for the present."""
    STRENGTH = "strength"
    """A use is graded as an error."""
    LOOPS = "loops"
    """What is stored again is strengthened in place of what is used."""
    FORGETTING = "forgetting"
    """Nothing decays: every record of years is kept."""
    USES = "uses"
    """No use is told to the memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a suite plays under."""

    preset: Preset
    """How the memory forgets."""
    cases: int
    """So many cases."""
    turns: int
    """So many turns, where the suite is one long life."""
    draw: random.Random
    """Draws the cases: the same for every preset."""
    broken: Broken | None = None
    """What is broken on purpose."""

    def memory(self, **options: Any) -> Memory:
        """Return an empty memory; enter it."""
        return Memory.open("memory:", preset=self.preset, seed="change", **options)


@dataclass(slots=True)
class Outcome:
    """What a suite found under one preset."""

    cases: int = 0
    """Cases played."""
    violations: int = 0
    """Cases that break the suite's rule."""
    figures: dict[str, Any] = field(default_factory=dict)
    """The suite's own figures; shares in [0, 1]."""
    examples: list[str] = field(default_factory=list)
    """The first broken cases, in words."""

    def told(self, wrong: list[str]) -> None:
        """Count a case and what was wrong with it."""
        self.cases += 1
        self.violations += bool(wrong)
        if wrong and len(self.examples) < EXAMPLES:
            self.examples.append(wrong[0])

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {"cases": self.cases, "violations": self.violations, **self.figures, "examples": self.examples}


class Shares:
    """Counts how often something was so, by name."""

    def __init__(self) -> None:
        self._yes: Counter[str] = Counter()
        self._all: Counter[str] = Counter()

    def add(self, name: str, yes: bool) -> None:
        """Count one case."""
        self._yes[name] += yes
        self._all[name] += 1

    def plain(self) -> dict[str, float]:
        """Return the shares, rounded."""
        return {name: round(self._yes[name] / count, 4) for name, count in self._all.items()}


def days(count: float) -> timedelta:
    """Return so many days, to the second."""
    return timedelta(seconds=round(count * 86_400.0))


def spread(draw: random.Random, least: float, most: float) -> float:
    """Return a number of days, evenly drawn on a logarithmic scale."""
    return float(least * (most / least) ** draw.random())
