"""Where a record stands: its retention and its tier, as pure functions of what is stored and the time.

The tiers follow MARS eq. 8 and 9 (2503.19271): short-term while R >= θ1, long-term while θ2 <= R < θ1, forgotten below
θ2. A tier is never a state that is written: sweeping hourly, once or never gives every read the same answer.

MARS eq. 11 lets the stronger S* count for short-term and the weaker S for long-term memory, so that an item is lost at
the moment of its transfer unless ``S*/S <= c(θ2)/c(θ1)``, c the curve's crossing (3.3755 for the exponential at .7/.3).
`TierStrength` says which strength counts where; the default departs from the print for this reason.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from mars.errors import InvalidSetting
from mars.memory.curves import Curve, Floats, crossing, retention
from mars.memory.records import Kind, Tier

SHORT, LONG, FORGOTTEN = 0, 1, 2
"""The codes of tiers in arrays; see `TIERS`."""

TIERS = (Tier.SHORT_TERM, Tier.LONG_TERM, Tier.FORGOTTEN)
"""The tier of each code."""

Codes = npt.NDArray[np.int8]
"""Tiers as codes, shape ``[n]``."""

Flags = npt.NDArray[np.bool_]
"""One truth value per record, shape ``[n]``."""


class TierStrength(StrEnum):
    """Which strength counts in which tier."""

    CONTINUOUS = "continuous"
    """S* in both: one unbroken curve."""
    LITERAL = "literal"
    """MARS eq. 11 as printed: S* while short-term, S while long-term."""
    RESET = "reset"
    """At the transfer τ starts again at 0, with ``multiple`` · S*."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TierRule:
    """The thresholds and what happens between them. Raises `InvalidSetting` unless 0 < θ2 < θ1 < 1, multiple >= 1."""

    theta1: float = 0.9
    """At or above it a record is short-term."""
    theta2: float = 0.5
    """Below it a record is forgotten."""
    forgets: bool = True
    """Whether anything is ever forgotten; if not, all below θ1 is long-term."""
    strength: TierStrength = TierStrength.CONTINUOUS
    """Which strength counts in which tier."""
    multiple: float = 1.0
    """m of `reset`: the long-term strength is m·S*."""

    def __post_init__(self) -> None:
        if not 0.0 < self.theta2 < self.theta1 < 1.0:
            raise InvalidSetting(f"thresholds must satisfy 0 < θ2 < θ1 < 1; got θ1={self.theta1!r}, θ2={self.theta2!r}")
        if not (math.isfinite(self.multiple) and self.multiple >= 1.0):
            raise InvalidSetting(f"the multiple of a long-term strength must be at least 1; got {self.multiple!r}")
        try:
            object.__setattr__(self, "strength", TierStrength(self.strength))
        except ValueError as error:
            names = ", ".join(rule.value for rule in TierStrength)
            raise InvalidSetting(f"there is no tier strength {self.strength!r}; choose one of {names}") from error

    def largest_boost(self, curve: Curve) -> float:
        """Return the most that S*/S may be: ``c(θ2)/c(θ1)`` for `literal`, else infinite."""
        if self.strength is not TierStrength.LITERAL or not self.forgets:
            return math.inf
        return crossing(curve, self.theta2) / crossing(curve, self.theta1)


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one record stands at one time."""

    retention: float
    """R in (0, 1]; 1 for a pinned record."""
    tier: Tier
    """Its tier."""


def check_boost(boost: float, rule: TierRule, curve: Curve) -> float:
    """Return S*/S if the rule can take it, else raise `InvalidSetting`; a rounding above the bound is let through."""
    if not (math.isfinite(boost) and boost >= 1.0):
        raise InvalidSetting(f"the boost S*/S must be at least 1; got {boost!r}")
    most = rule.largest_boost(curve)
    if boost > most * (1.0 + 1e-9):
        raise InvalidSetting(
            f"with tier_strength='literal' a boost S*/S of {boost:.4g} loses records at the moment of transfer; "
            f"the most is {most:.4f}: use 'continuous' or 'reset', or other thresholds"
        )
    return boost


def short_capable(kind: Kind) -> bool:
    """Return whether records of this kind can be short-term; reflections and procedures never are (MARS eq. 9)."""
    return kind in (Kind.EPISODE, Kind.FACT)


def tier(
    kind: Kind, pinned: bool, curve: Curve, strength: float, boosted: float, tau_days: float, rule: TierRule
) -> Tier:
    """Return the tier of a record: S = `strength`, S* = `boosted` and τ in days. See `standing`."""
    return standing(kind, pinned, curve, strength, boosted, tau_days, rule).tier


def standing(
    kind: Kind, pinned: bool, curve: Curve, strength: float, boosted: float, tau_days: float, rule: TierRule
) -> Standing:
    """Return the retention and the tier of a record.

    `strength` is S, `boosted` is S* >= S, `tau_days` the days since it was last strengthened. Raises `InvalidSetting`
    where S*/S is beyond what the rule can take, and as `mars.memory.curves.retention` does.
    """
    check_boost(boosted / strength, rule, curve)
    left, codes = standings(
        curve,
        rule,
        np.array([strength]),
        np.array([boosted]),
        np.array([tau_days]),
        np.array([short_capable(kind)]),
        np.array([pinned]),
    )
    return Standing(float(left[0]), TIERS[codes[0]])


def standings(
    curve: Curve, rule: TierRule, strength: Floats, boosted: Floats, tau_days: Floats, capable: Flags, pinned: Flags
) -> tuple[Floats, Codes]:
    """Return the retention and the tier code (`TIERS`) of many records; all arrays have shape ``[n]``.

    `strength` is S and `boosted` S*, in days; `tau_days` the days since the last strengthening; `capable` whether a
    record's kind can be short-term; `pinned` whether its retention is 1. The boost is not checked: writes do that.
    """
    first = retention(curve, tau_days, boosted)
    short = capable & (first >= rule.theta1)
    match rule.strength:
        case TierStrength.CONTINUOUS:
            left = first
        case TierStrength.LITERAL:
            left = np.where(short, first, retention(curve, tau_days, strength))
        case TierStrength.RESET:
            since = np.where(capable, tau_days - crossing(curve, rule.theta1) * boosted, tau_days)
            left = np.where(short, first, retention(curve, since, rule.multiple * boosted))
    codes = np.where(short, SHORT, LONG)
    if rule.forgets:
        codes = np.where(~short & (left < rule.theta2), FORGOTTEN, codes)
    left = np.where(pinned, 1.0, left)
    codes = np.where(pinned, np.where(capable, SHORT, LONG), codes)
    return left, codes.astype(np.int8)


def lifetime(kind: Kind, pinned: bool, curve: Curve, strength: float, boosted: float, rule: TierRule) -> float:
    """Return after how many days without a use a record crosses θ2 and is forgotten; infinite if it never is."""
    if pinned or not rule.forgets:
        return math.inf
    last, first = crossing(curve, rule.theta2), crossing(curve, rule.theta1)
    match rule.strength:
        case TierStrength.CONTINUOUS:
            return last * boosted
        case TierStrength.LITERAL:
            return last * strength if not short_capable(kind) else max(first * boosted, last * strength)
        case TierStrength.RESET:
            return last * rule.multiple * boosted + (first * boosted if short_capable(kind) else 0.0)
