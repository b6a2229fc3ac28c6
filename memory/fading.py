"""How far rows have faded: bounds on the factors of a rank, and which rows are forgotten, over a whole shard.

Both are exact where it counts: a bound from above is never too small, and a tier that single precision or a kept time
leaves in doubt is computed in full.
"""

from __future__ import annotations

import numpy as np

from mars.memory.bounds import Reals
from mars.memory.columns import NEVER, Columns, Integers
from mars.memory.curves import Curve, Floats, Shape, crossing
from mars.memory.fusion import Flags, bounded
from mars.memory.presets import Preset
from mars.memory.records import Tier
from mars.memory.tiers import FORGOTTEN, LONG, SHORT, TIERS, Codes, TierRule, TierStrength, standings

RETENTION_SLACK = 1e-5
"""More than single precision can err in a retention."""

DOUBTFUL = 1e-6
"""So near to a threshold, relatively, a tier is computed in full."""

KEPT = 3_600_000_000
"""So many microseconds bounds on retention are kept: it only falls, so they hold later too, but are less tight."""

_DAY = 86_400e6
_LONGEST = 4e18


class Fading:
    """When each row of a shard is forgotten, and a bound on its factors; kept from question to question.

    What a row's retention is at one time bounds it at any later one, until the row is written: curves only fall. Rules
    by which a tier begins anew (`TierStrength.RESET`) or has a strength of its own are not kept: `of_use`.
    """

    def __init__(self, preset: Preset) -> None:
        self._preset = preset
        self._last = crossing(preset.curve, preset.tiers.theta2)
        first = crossing(preset.curve, preset.tiers.theta1)
        self.of_use = preset.tiers.strength is TierStrength.CONTINUOUS and DOUBTFUL < first <= self._last < 1e300
        """Whether the preset's rule allows it."""
        self._known = 0
        self._dirty: set[int] = set()
        self._since = self._latest = 0
        self._ceiling: Reals = np.zeros(0, np.float32)
        self._there: Integers = np.zeros(0, np.int64)
        self._gone: Integers = np.zeros(0, np.int64)

    def touch(self, row: int) -> None:
        """Note that a row was written."""
        if row < self._known:
            self._dirty.add(row)

    def at(self, columns: Columns, size: int, now: int, tiers: frozenset[Tier]) -> tuple[Reals, Flags]:
        """Return a bound from above on the factors of each of `size` rows, and which rows are of these tiers.

        Forgotten rows never are. `now` is in microseconds.
        """
        if not (self.of_use and tiers >= {Tier.SHORT_TERM, Tier.LONG_TERM}):
            return self._anew(columns, size, now, tiers)
        self._follow(columns, size, now)
        remembered: Flags = self._there[:size] >= now
        if self._preset.tiers.forgets:
            doubtful = ~remembered
            doubtful &= self._gone[:size] > now
            near = np.flatnonzero(doubtful)
            if len(near):
                remembered[near] = standings_of(self._preset, columns, near, now)[1] != FORGOTTEN
        return self._ceiling[:size], remembered

    def _anew(self, columns: Columns, size: int, now: int, tiers: frozenset[Tier]) -> tuple[Reals, Flags]:
        rows = slice(size)
        upper, codes = quick_standings(
            self._preset.curve,
            self._preset.tiers,
            columns.strength[rows],
            columns.boosted[rows],
            columns.ages(now, rows),
            columns.capable[rows],
            columns.pinned[rows],
        )
        return _factors(self._preset, upper, columns, rows), of_tiers(codes, tiers)

    def _follow(self, columns: Columns, size: int, now: int) -> None:
        if size < self._known or not self._latest <= now <= self._since + KEPT:
            self._known, self._since = 0, now
        if size > len(self._ceiling):
            for name in ("_ceiling", "_there", "_gone"):
                held = getattr(self, name)
                grown = np.zeros(size if not len(held) else size * 9 // 8, held.dtype)
                grown[: len(held)] = held
                setattr(self, name, grown)
        if self._known < size:
            self._renew(columns, slice(self._known, size), now)
            self._known = size
        if self._dirty:
            self._renew(columns, np.fromiter(self._dirty, np.int64, len(self._dirty)), now)
            self._dirty.clear()
        self._latest = now

    def _renew(self, columns: Columns, rows: slice | Integers, now: int) -> None:
        preset, boosted, pinned = self._preset, columns.boosted[rows], columns.pinned[rows]
        with np.errstate(over="ignore", under="ignore"):
            upper = _retention(preset.curve, (columns.ages(now, rows) / boosted).astype(np.float32))
            left = boosted * (self._last * _DAY)
        upper[pinned] = 1.0
        self._ceiling[rows] = _factors(preset, upper, columns, rows)
        if not preset.tiers.forgets:
            self._there[rows] = self._gone[rows] = NEVER
            return
        left[pinned] = np.inf
        since = columns.strengthened[rows]
        for times, part in ((self._there, 1.0 - DOUBTFUL), (self._gone, 1.0 + DOUBTFUL)):
            times[rows] = since + np.minimum(left * part, _LONGEST).astype(np.int64)
        self._there[rows] -= 1
        self._gone[rows] += 2


def of_tiers(codes: Codes, tiers: frozenset[Tier]) -> Flags:
    """Return which rows are of these tiers, given the code of each; forgotten ones never are."""
    flags = np.zeros(len(codes), np.bool_)
    for tier in tiers - {Tier.FORGOTTEN}:
        flags |= codes == TIERS.index(tier)
    return flags


def _factors(preset: Preset, upper: Reals, columns: Columns, rows: slice | Integers) -> Reals:
    """Return a bound from above on the factors of some rows, given one on their retention, which is used up."""
    upper *= np.float32(1.0 - preset.retention_floor)
    upper += np.float32(preset.retention_floor)
    if preset.importance_floor < 1.0:
        upper *= bounded(columns.importance[rows], preset.importance_floor)
    upper *= columns.trust[rows]
    return upper


def standings_of(preset: Preset, columns: Columns, rows: slice | Integers, now: int) -> tuple[Floats, Codes]:
    """Return the retention and tier code of some rows, in full. `now` is in microseconds."""
    return standings(
        preset.curve,
        preset.tiers,
        columns.strength[rows],
        columns.boosted[rows],
        columns.ages(now, rows),
        columns.capable[rows],
        columns.pinned[rows],
    )


def quick_standings(
    curve: Curve, rule: TierRule, strength: Floats, boosted: Floats, tau: Floats, capable: Flags, pinned: Flags
) -> tuple[Reals, Codes]:
    """Return a bound from above on each row's retention, and its tier code exactly; as `mars.memory.tiers.standings`.

    Tiers are told by the ratio τ/S where it is not near a threshold, retentions in single precision.
    """
    first, last = crossing(curve, rule.theta1), crossing(curve, rule.theta2)
    if rule.strength is not TierStrength.CONTINUOUS or not DOUBTFUL < first <= last < 1e300:
        left, codes = standings(curve, rule, strength, boosted, tau, capable, pinned)
        return np.minimum(left.astype(np.float32) + np.float32(RETENTION_SLACK), np.float32(1.0)), codes
    assert (SHORT, LONG, FORGOTTEN) == (0, 1, 2)
    with np.errstate(over="ignore", under="ignore"):
        ratio = tau / boosted
        upper = _retention(curve, ratio.astype(np.float32))
    short = ratio <= first
    doubtful = short != (ratio <= first * (1.0 + DOUBTFUL))
    doubtful |= short != (ratio <= first * (1.0 - DOUBTFUL))
    short &= capable
    codes = np.int8(LONG) - short.view(np.int8)
    if rule.forgets:
        gone = ratio > last
        doubtful |= gone != (ratio > last * (1.0 + DOUBTFUL))
        doubtful |= gone != (ratio > last * (1.0 - DOUBTFUL))
        codes += gone.view(np.int8)
    near = np.flatnonzero(doubtful | pinned)
    if len(near):
        left, codes[near] = standings(
            curve, rule, strength[near], boosted[near], tau[near], capable[near], pinned[near]
        )
        upper[near] = np.minimum(left + RETENTION_SLACK, 1.0)
    return upper, codes


def _retention(curve: Curve, ratio: Reals) -> Reals:
    """A bound from above on R at ratios τ/S, in single precision and in place."""
    match curve.shape:
        case Shape.POWER:
            ratio *= np.float32(curve.factor)
            ratio += np.float32(1.0)
            np.log(ratio, out=ratio)
            ratio *= np.float32(-curve.decay)
        case Shape.EXPONENTIAL90:
            ratio *= np.float32(np.log(0.9))
        case _:
            np.negative(ratio, out=ratio)
    np.exp(ratio, out=ratio)
    ratio += np.float32(RETENTION_SLACK)
    return np.minimum(ratio, np.float32(1.0), out=ratio)
