"""Paired comparisons of variants over a grid: bootstrap intervals, Holm's correction, cells won and lost.

A unit is one episode: a cell and a seed, played by every variant. Means are over episodes. Intervals are percentile
bootstraps over episodes (Efron 1979); of a difference, over the episodes that both variants played, with their
differences. The two-sided p of a difference is twice the smaller share of resampled means on either side of 0, at least
2/(B + 1) and, for n episodes, 2/nⁿ, the chance of one resample of nⁿ at either end: nothing finer can be said. Where it
is more than an interval may leave out (n < 4), the interval is all that could be. Beside it stands the p of a test
that is right for few episodes too, and for few that differ: the share of flipped signs of the differences whose sum is
as far from 0 (Fisher 1935). Holm (1979) corrects both over all pairs of the report. Same rows and seed, same report.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from mars.errors import InvalidInput

RESAMPLES = 5_000
"""B: resamples of each interval."""
LEVEL = 0.95
"""Coverage of the intervals."""
EXACT = 12
"""Of so many differences that are not 0 all signs are flipped; of more, B draws of them."""
BASELINES = ("none", "window", "fifo", "vector")
"""Of these the best by its mean is what `claim` compares with."""
COMPLETE = "mars"
"""What is claimed to beat them."""
PLANNED = (
    *((COMPLETE, other) for other in (*BASELINES, "decay", "memorybank", "fsrs")),
    *((COMPLETE, f"{COMPLETE}-no-{part}") for part in ("checker", "reflection", "decay")),
    ("fsrs", "decay"),
    ("fsrs", "memorybank"),
    ("fsrs", "vector"),
    ("decay", "vector"),
)
"""The comparisons that are made, fixed before any was run: each with the same in its place."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One episode by one variant."""

    variant: str
    """Name of the variant."""
    cell: str
    """Name of the cell."""
    seed: int
    """Draws the episode."""
    success: float
    """Share of right answers, in [0, 1]."""
    tokens: float
    """Tokens of the episode."""
    ms: float
    """Milliseconds of the episode."""
    cost: float | None
    """US dollars of the episode; None where unknown."""


def compared(rows: Sequence[Row], *, seed: int = 0, resamples: int = RESAMPLES) -> dict[str, Any]:
    """Return ``variants``, ``pairs``, ``grid`` and ``claim`` of finished episodes.

    Raises `InvalidInput` where an episode stands there twice.
    """
    of: dict[str, dict[tuple[str, int], Row]] = {}
    for row in rows:
        played = of.setdefault(row.variant, {})
        if (row.cell, row.seed) in played:
            raise InvalidInput(f"{row.variant} has played {row.cell}, seed {row.seed}, twice; give each episode once")
        played[row.cell, row.seed] = row
    draw, flips = np.random.default_rng(seed), np.random.default_rng((seed, 1))
    planned = [(one, other) for one, other in PLANNED if one in of and other in of]
    pairs = {f"{one} vs {other}": _pair(of[one], of[other], draw, flips, resamples) for one, other in planned}
    for test in ("p", "p_signs"):
        for values, corrected in zip(pairs.values(), holm([pair[test] for pair in pairs.values()]), strict=True):
            values[f"{test}_holm"] = corrected
    return {
        "variants": {name: _variant(list(played.values()), draw, resamples) for name, played in of.items()},
        "pairs": pairs,
        "grid": {name: _rounded(_by_cell(played)) for name, played in of.items()},
        "claim": _claim(of, draw, resamples),
    }


def _variant(rows: Sequence[Row], draw: np.random.Generator, resamples: int) -> dict[str, Any]:
    values = np.array([row.success for row in rows])
    costs = [row.cost for row in rows if row.cost is not None]
    return {
        "success": round(float(values.mean()), 4),
        "ci95": interval(_means(values, draw, resamples), finest([len(rows)]), (0.0, 1.0)),
        "tokens": round(float(np.mean([row.tokens for row in rows])), 1),
        "ms": round(float(np.mean([row.ms for row in rows])), 1),
        "cost": round(float(np.mean(costs)), 6) if len(costs) == len(rows) else None,
        "episodes": len(rows),
    }


def _pair(
    one: Mapping[tuple[str, int], Row],
    other: Mapping[tuple[str, int], Row],
    draw: np.random.Generator,
    flips: np.random.Generator,
    resamples: int,
) -> dict[str, Any]:
    both = sorted(set(one) & set(other))
    if not both:
        nothing = {"delta": None, "ci95": None, "cells_won": 0, "cells_lost": 0}
        return {**nothing, "p": 1.0, "p_signs": 1.0, "episodes": 0}
    differences = np.array([one[key].success - other[key].success for key in both])
    means = _means(differences, draw, resamples)
    cells: dict[str, list[float]] = {}
    for (cell, _), difference in zip(both, differences, strict=True):
        cells.setdefault(cell, []).append(float(difference))
    by_cell = {cell: float(np.mean(values)) for cell, values in cells.items()}
    below, above = float(np.mean(means <= 0)), float(np.mean(means >= 0))
    return {
        "delta": round(float(differences.mean()), 4),
        "ci95": interval(means, finest([len(both)]), (-1.0, 1.0)),
        "cells_won": sum(value > 1e-12 for value in by_cell.values()),
        "cells_lost": sum(value < -1e-12 for value in by_cell.values()),
        "median_cell": round(float(np.median(list(by_cell.values()))), 4),
        "lost": sorted(cell for cell, value in by_cell.items() if value < -1e-12),
        "p": min(1.0, max(2 * min(below, above), 2 / (resamples + 1), finest([len(both)]))),
        "p_signs": _by_signs(differences, flips, resamples),
        "episodes": len(both),
    }


def _claim(
    of: Mapping[str, Mapping[tuple[str, int], Row]], draw: np.random.Generator, resamples: int
) -> dict[str, Any] | None:
    """Return the difference to the best baseline in the median cell; episodes are resampled within their cells.

    Where a cell has one episode nothing can be resampled within it: then cells are drawn as well.
    """
    means = {name: float(np.mean([row.success for row in of[name].values()])) for name in BASELINES if name in of}
    if not means or COMPLETE not in of:
        return None
    best = max(means, key=lambda name: means[name])
    cells: dict[str, list[float]] = {}
    for key in sorted(set(of[COMPLETE]) & set(of[best])):
        cells.setdefault(key[0], []).append(of[COMPLETE][key].success - of[best][key].success)
    if not cells:
        return None
    resampled = np.array([_means(np.array(values), draw, resamples) for values in cells.values()])
    sizes = [len(values) for values in cells.values()]
    if min(sizes) == 1:
        sizes = [len(cells)]
        drawn = draw.integers(0, len(cells), size=(len(cells), resamples))
        resampled = np.take_along_axis(resampled, drawn, axis=0)
    bounds = interval(np.median(resampled, axis=0), finest(sizes), (-1.0, 1.0))
    middle = float(np.median([np.mean(values) for values in cells.values()]))
    return {"best_baseline": best, "median_cell": round(middle, 4), "ci95": bounds, "holds": bounds[0] > 0}


def _by_cell(played: Mapping[tuple[str, int], Row]) -> dict[str, float]:
    cells: dict[str, list[float]] = {}
    for (cell, _), row in played.items():
        cells.setdefault(cell, []).append(row.success)
    return {cell: float(np.mean(values)) for cell, values in sorted(cells.items())}


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in values.items()}


def _means(values: Floats, draw: np.random.Generator, resamples: int) -> Floats:
    """Return the means of `resamples` samples with replacement; shape ``[resamples]``."""
    means: Floats = values[draw.integers(0, len(values), size=(resamples, len(values)))].mean(axis=1)
    return means


def _by_signs(differences: Floats, draw: np.random.Generator, resamples: int) -> float:
    """Return the share of flipped signs whose sum is as far from 0: of all signs, or of `resamples` drawn ones."""
    own = differences[np.abs(differences) > 1e-12]
    exact = len(own) <= EXACT
    signs = np.array(list(product((-1, 1), repeat=len(own)))) if exact else draw.choice((-1, 1), (resamples, len(own)))
    far = np.abs(signs @ own) >= abs(float(own.sum())) - 1e-9
    return float(far.mean()) if exact else float((far.sum() + 1) / (resamples + 1))


def finest(sizes: Sequence[int]) -> float:
    """Return twice the chance of one resample of groups of these sizes: no two-sided p can be finer."""
    return 2 * math.exp(-math.fsum(size * math.log(size) for size in sizes))


def interval(means: Floats, chance: float, all_of_it: tuple[float, float]) -> list[float]:
    """Return the percentile interval of resampled means, of coverage `LEVEL`.

    `chance` is what `finest` gives for the samples: where it is more than the interval leaves out, it is `all_of_it`.
    """
    if chance > 1 - LEVEL:
        return list(all_of_it)
    low, high = np.quantile(means, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return [round(float(low), 4), round(float(high), 4)]


def holm(values: Sequence[float]) -> list[float]:
    """Return p-values corrected by Holm's step-down procedure, in the order given."""
    corrected = [0.0] * len(values)
    largest = 0.0
    for place, index in enumerate(sorted(range(len(values)), key=lambda index: values[index])):
        largest = max(largest, min(1.0, (len(values) - place) * values[index]))
        corrected[index] = round(largest, 6)
    return corrected
