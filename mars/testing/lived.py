"""Records whose uses went well with the chance that a known curve gives: what a fit must find again."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from mars.memory.curves import Curve, retention
from mars.memory.presets import DEFAULT, Preset
from mars.memory.records import Grade, Kind
from mars.memory.reviews import Reviewed, Step
from mars.memory.strength import FIRST_DIFFICULTY, strengthen

USES = 5
"""Uses of each record."""


def lived(seed: int, curve: Curve, scale: float, *, records: int = 300, preset: Preset = DEFAULT) -> list[Reviewed]:
    """Return records that were used `USES` times, after gaps from a third of their kind's base strength to thirty.

    Their strengths are those of `preset` times `scale`, and grow by its policy; a use goes well with the chance R that
    `curve` gives.
    """
    draw, made = random.Random(seed), list[Reviewed]()
    for number in range(records):
        kind = draw.choice(list(Kind))
        base = preset.base_strength[kind]
        strength, difficulty, day, last = base * scale, FIRST_DIFFICULTY, 0.0, 0.0
        steps = list[Step]()
        for _ in range(USES):
            day += base * 10.0 ** draw.uniform(-0.5, 1.5)
            left = retention(curve, day - last, strength)
            grade = Grade.GOOD if draw.random() < left else Grade.AGAIN
            after = strengthen(
                preset.policy,
                grade,
                strength=strength,
                difficulty=difficulty,
                retention=left,
                tau_days=day - last,
                base=base * scale,
            )
            strength, difficulty = after.days, after.difficulty
            last = day if after.restarts else last
            steps.append(Step(day, grade))
        made.append(Reviewed(str(number), kind, base, 1.0, tuple(steps)))
    return made


def shuffled(records: Sequence[Reviewed], seed: int) -> list[Reviewed]:
    """Return the same uses with all outcomes dealt anew: what is left says nothing about any curve."""
    grades = [step.grade for one in records for step in one.steps]
    random.Random(seed).shuffle(grades)
    left = iter(grades)
    return [replace(one, steps=tuple(replace(step, grade=next(left)) for step in one.steps)) for one in records]
