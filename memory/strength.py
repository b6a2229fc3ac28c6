"""The strength of a memory in days: where it starts, and what a graded use does to it.

Pure functions; a record's strength S and difficulty D go in, new ones come out. Nothing here reads a clock.

Sources: FSRS-6 as the ``fsrs`` package computes it; MemoryBank (2305.10250); MARS (2503.19271), which prints no rule
for strengthening at all. Two decisions differ from ``fsrs``, both because no learner is shown the answer again here:
*Again* does not restart τ, so that being named as the cause of an error never raises retention; and the least strength
is a hundredth of the kind's base instead of 0.001 days.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from mars.errors import InvalidSetting
from mars.memory.records import Grade, check_share

FSRS_WEIGHTS: tuple[float, ...] = (
    *(0.212, 1.2931, 2.3065, 8.2956, 6.4133, 0.8334, 3.0194, 0.001, 1.8722, 0.1666, 0.796),
    *(1.4835, 0.0614, 0.2629, 1.6483, 0.6014, 1.8729, 0.5425, 0.0912, 0.0658, 0.1542),
)
"""The default parameters w0 to w20 of FSRS-6."""

FIRST_DIFFICULTY = 2.118103970459015
"""D0(Good) of FSRS-6: ``w4 - e^(2·w5) + 1``."""

SAME_DAY = 1.0
"""Uses closer together than this many days count as the same day."""

FLOOR_SHARE = 0.01
"""The least strength, as a share of the kind's base."""


class Policy(StrEnum):
    """What a graded use does to a strength."""

    FSRS = "fsrs"
    """FSRS-6: the gain is larger when retention is lower (spacing effect), and saturates."""
    MEMORYBANK = "memorybank"
    """Good adds one base strength and restarts τ; Again halves the strength."""
    STRICT = "strict"
    """MARS as printed: nothing strengthens, nothing weakens."""


@dataclass(frozen=True, slots=True)
class Strength:
    """The outcome of a graded use."""

    days: float
    """S in days."""
    difficulty: float
    """D of FSRS, in [1, 10]."""
    restarts: bool
    """Whether τ counts from now on: retention is 1 again."""


def initial_strength(
    base: float, importance: float = 0.0, entropy: float = 0.0, *, w_importance: float = 0.0, w_entropy: float = 0.0
) -> float:
    """Return ``S0 = base · (1 + w_i·importance + w_h·H)`` in days.

    `base` is the kind's in days, `importance` and the normalised entropy H lie in [0, 1], the weights are not negative
    and finite. Raises `InvalidSetting` otherwise.
    """
    check_positive(base, "the base strength")
    check_share(importance, "importance")
    check_share(entropy, "entropy")
    for weight in (w_importance, w_entropy):
        if not (math.isfinite(weight) and weight >= 0.0):
            raise InvalidSetting(f"weights of importance and entropy are finite and not negative; got {weight!r}")
    return check_positive(base * (1.0 + w_importance * importance + w_entropy * entropy), "the initial strength")


def strengthen(
    policy: Policy, grade: Grade, *, strength: float, difficulty: float, retention: float, tau_days: float, base: float
) -> Strength:
    """Return what one use with this grade makes of a record's strength.

    `strength` and the kind's `base` in days, `difficulty` in [1, 10], `retention` in [0, 1] at the time of the use,
    `tau_days` since the last strengthening. Raises `InvalidSetting` for values outside their range.
    """
    check_positive(strength, "the strength")
    check_positive(base, "the base strength")
    check_share(retention, "retention")
    if not 1.0 <= difficulty <= 10.0:
        raise InvalidSetting(f"a difficulty lies in [1, 10]; got {difficulty!r}")
    if not math.isfinite(tau_days):
        raise InvalidSetting(f"τ must be a finite number of days; got {tau_days!r}")
    match policy:
        case Policy.STRICT:
            return Strength(strength, difficulty, False)
        case Policy.MEMORYBANK:
            changed = _memorybank(grade, strength, difficulty, base)
        case Policy.FSRS:
            changed = _fsrs(grade, strength, difficulty, retention, tau_days)
    return Strength(max(changed.days, FLOOR_SHARE * base), changed.difficulty, changed.restarts)


def _memorybank(grade: Grade, strength: float, difficulty: float, base: float) -> Strength:
    if grade is Grade.AGAIN:
        return Strength(strength / 2.0, difficulty, False)
    return Strength(strength + base, difficulty, True)


def _fsrs(grade: Grade, strength: float, difficulty: float, retention: float, tau_days: float) -> Strength:
    if tau_days < SAME_DAY:
        days = short_term_stability(strength, grade)
    elif grade is Grade.AGAIN:
        days = post_lapse_stability(strength, difficulty, retention)
    else:
        days = recall_stability(strength, difficulty, retention, grade)
    if grade is Grade.AGAIN:
        days = min(days, strength)
    return Strength(days, next_difficulty(difficulty, grade), grade is not Grade.AGAIN)


def recall_stability(strength: float, difficulty: float, retention: float, grade: Grade) -> float:
    """Return S' in days after a use that went well, FSRS-6:

    ``S·(1 + e^w8·(11 - D)·S^-w9·(e^((1 - R)·w10) - 1)·bonus)``, bonus = w16 for Easy, 1 for Good.
    """
    w = FSRS_WEIGHTS
    bonus = w[16] if grade is Grade.EASY else 1.0
    gain = math.exp(w[8]) * (11.0 - difficulty) * math.pow(strength, -w[9]) * math.expm1((1.0 - retention) * w[10])
    return strength * (1.0 + gain * bonus)


def post_lapse_stability(strength: float, difficulty: float, retention: float) -> float:
    """Return S' in days after a lapse, FSRS-6:

    ``min(w11·D^-w12·((S + 1)^w13 - 1)·e^((1 - R)·w14), S / e^(w17·w18))``.
    """
    w = FSRS_WEIGHTS
    long_term = (
        w[11]
        * math.pow(difficulty, -w[12])
        * (math.pow(strength + 1.0, w[13]) - 1.0)
        * math.exp((1.0 - retention) * w[14])
    )
    return min(long_term, strength / math.exp(w[17] * w[18]))


def short_term_stability(strength: float, grade: Grade) -> float:
    """Return S' in days after a use on the same day, FSRS-6: ``S·e^(w17·(g - 3 + w18))·S^-w19``, g the rating 1 to 4.

    At least S for Good and Easy.
    """
    w = FSRS_WEIGHTS
    growth = math.exp(w[17] * (_rating(grade) - 3 + w[18])) * math.pow(strength, -w[19])
    return strength * (growth if grade is Grade.AGAIN else max(growth, 1.0))


def next_difficulty(difficulty: float, grade: Grade) -> float:
    """Return D' in [1, 10], FSRS-6: linear damping towards 10, then mean reversion to D0(Easy) with weight w7."""
    w = FSRS_WEIGHTS
    easiest = w[4] - math.exp(w[5] * 3.0) + 1.0
    moved = difficulty - w[6] * (_rating(grade) - 3) * (10.0 - difficulty) / 9.0
    return min(max(w[7] * easiest + (1.0 - w[7]) * moved, 1.0), 10.0)


def _rating(grade: Grade) -> int:
    return {Grade.AGAIN: 1, Grade.GOOD: 3, Grade.EASY: 4}[grade]


def check_positive(value: object, name: str) -> float:
    """Return `value` as a float if it is a finite number above 0, else raise `InvalidSetting`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not (math.isfinite(value) and value > 0.0):
        raise InvalidSetting(f"{name} must be a finite number above 0; got {value!r}")
    return float(value)
