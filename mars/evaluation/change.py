"""Memory under change: what a store answers when facts change, uses differ, answers are stored again, junk piles up.

Five suites of cases drawn from a seed. Each keeps a truth of its own beside the store, by rules of a few lines, and
compares what the store says with it; no model reads or judges anything.

=========  ============================================================================================================
suite      a case, and what breaks its rule
=========  ============================================================================================================
`update`   a matter is told, changed, used, told late; an old value recalled as a fact, or listed as what is so
`as-of`    what held at a time, as far as was known at another; a value told that did not hold
`decay`    two records that differ only in age or uses; the weaker one recalled first, or archived while the other lives
`loops`    an answer stored again each day beside a record that is used; a copy of it outlives the used one
`junk`     thousands of turns, nearly all junk (`mars.evaluation.change_junk`); a needed record is not there any more
=========  ============================================================================================================

Each suite can be broken on purpose (`SABOTAGE`), and must show it. Presets are those of `mars.memory.presets`, and
``no decay``, the default without its curve.
"""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from mars.errors import InvalidSetting
from mars.evaluation import change_facts, change_junk, change_strength
from mars.evaluation.change_cases import Broken, Outcome, Setting
from mars.memory.presets import DEFAULT, PRESETS, Preset
from mars.memory.presets import preset as preset_named

NO_DECAY = "no decay"
"""The default preset without its curve; a control."""

Suite = Callable[[Setting], Awaitable[Outcome]]
"""Plays all cases of a suite under one preset."""

SUITES: Mapping[str, Suite] = MappingProxyType(
    {
        "update": change_facts.update,
        "as-of": change_facts.as_of,
        "decay": change_strength.decay,
        "loops": change_strength.loops,
        "junk": change_junk.junk,
    }
)
"""The suites by name."""

SABOTAGE: Mapping[str, Broken] = MappingProxyType({one.value: one for one in Broken})
"""What can be broken on purpose."""

Progress = Callable[[int, int], None]
"""Called with (parts done, parts in all)."""


@dataclass(frozen=True, slots=True)
class ChangeReport:
    """What the suites found, by preset and suite."""

    outcomes: Mapping[str, Mapping[str, Outcome]]
    """By preset and suite."""
    seed: int
    """What the cases were drawn from."""
    sabotage: str | None
    """What was broken on purpose."""
    seconds: float = field(compare=False)
    """How long it took, on the wall clock."""

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON values, with the keys that `mars eval change --json` promises.

        ``presets`` holds for each preset and suite ``cases``, ``violations`` (cases that break the suite's rule), the
        suite's own shares, and ``examples`` of what broke it.
        """
        return {
            "seed": self.seed,
            "sabotage": self.sabotage,
            "presets": {
                name: {suite: outcome.as_dict() for suite, outcome in suites.items()}
                for name, suites in self.outcomes.items()
            },
            "violations": {
                name: sum(outcome.violations for outcome in suites.values()) for name, suites in self.outcomes.items()
            },
            "seconds": round(self.seconds, 3),
        }


def presets_compared() -> dict[str, Preset]:
    """Return every named preset, and the control."""
    return {**PRESETS, NO_DECAY: DEFAULT.without_decay()}


async def evaluate_change(
    presets: Mapping[str, str | Preset] | None = None,
    suites: Sequence[str] = tuple(SUITES),
    *,
    cases: int = 200,
    turns: int = 1_000,
    seed: int = 0,
    sabotage: str | None = None,
    progress: Progress | None = None,
) -> ChangeReport:
    """Play suites under presets, by name; all of them by default.

    `cases` of each suite but `junk`, whose turns are `turns`. Everything but the milliseconds of `junk` follows from
    `seed`. Raises `InvalidSetting` for what cannot be.
    """
    started = time.perf_counter()
    chosen = presets_compared() if presets is None else {name: preset_named(one) for name, one in presets.items()}
    _check(suites, cases, turns, sabotage)
    outcomes: dict[str, dict[str, Outcome]] = {name: {} for name in chosen}
    parts = [(name, suite) for name in chosen for suite in suites]
    for done, (name, suite) in enumerate(parts, 1):
        setting = Setting(
            preset=chosen[name],
            cases=cases,
            turns=turns,
            draw=random.Random(f"{seed} {suite}"),
            broken=None if sabotage is None else SABOTAGE[sabotage],
        )
        outcomes[name][suite] = await SUITES[suite](setting)
        if progress is not None:
            progress(done, len(parts))
    return ChangeReport(outcomes, seed, sabotage, time.perf_counter() - started)


def _check(suites: Sequence[str], cases: int, turns: int, sabotage: str | None) -> None:
    unknown = [name for name in suites if name not in SUITES]
    if unknown or not suites:
        raise InvalidSetting(f"the suites are {', '.join(SUITES)}; got {', '.join(unknown) or 'none'}")
    if not 1 <= cases <= 100_000 or not 100 <= turns <= 1_000_000:
        raise InvalidSetting(f"cases must lie in [1, 100,000] and turns in [100, 1,000,000]; got {cases}, {turns}")
    if sabotage is not None and sabotage not in SABOTAGE:
        raise InvalidSetting(f"what can be broken is {', '.join(SABOTAGE)}; got {sabotage!r}")
