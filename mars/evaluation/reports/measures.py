"""The numbers of a report, from finished episodes: shares with intervals, and what is shown one by one.

Each episode is (task, outcome), plain values as they lie in the results; the truth that they hold is the scorer's.
Intervals are percentile bootstraps over episodes with `RESAMPLES` resamples, as in `mars.evaluation.paired`: of a
share, numerator and denominator are resampled together. Same episodes, same numbers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mars.evaluation.paired import BASELINES, COMPLETE, finest, interval

RESAMPLES = 1_000
"""Resamples of each interval."""
FAILURES = 12
"""So many wrong answers are shown, of the variants that the claim is about."""
CURVED = (COMPLETE, "fsrs", "memorybank")
"""Variants whose memories are drawn, if they were played; else the first in which something fades."""
MONTH = 30
"""Days of a month."""
LAPSES = ("never told", "forgotten", "not recalled", "not used", "should abstain")
"""Why answers are wrong, as `mars.simulation.census.Lapse` names it."""

Played = tuple[Mapping[str, Any], Mapping[str, Any]]
"""An episode: task and outcome."""
Counts = npt.NDArray[np.float64]


class Share(NamedTuple):
    """A share with its 95 % interval."""

    value: float
    """In [0, 1]."""
    low: float
    """Lower end."""
    high: float
    """Upper end."""
    of: int
    """How many it is a share of."""


class Bin(NamedTuple):
    """Records of about the same retention that stood in prompts."""

    retention: float
    """Their mean R."""
    used: Share
    """Share that the answer cites."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cellwise:
    """A cell of the grid: MARS complete against the best baseline."""

    cell: str
    """Name of the cell."""
    shares: Mapping[str, float]
    """Success of each variant."""
    difference: float | None
    """Mean difference to the best baseline; None where one of the two was not played."""
    ends: tuple[float, float]
    """Smallest and largest difference of its episodes."""
    episodes: int
    """How many pairs of episodes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """All numbers of a report that `simulation_report` does not hold."""

    months: Mapping[str, Sequence[Share | None]]
    """For each variant the share of right answers in each month."""
    needed: Mapping[str, Sequence[Share | None]]
    """For each variant and month: of what is true and needed later, the share that is still held."""
    stale: Mapping[str, Sequence[Share | None]]
    """The same of what is no longer true."""
    standing: Mapping[str, Mapping[str, Share | None]]
    """For each variant, over all looks: the share held of ``needed``, ``spare`` and ``stale``."""
    lapses: Mapping[str, Mapping[str, Share]]
    """For each variant and reason the wrong answers, as a share of all answers."""
    calibration: Mapping[str, tuple[Sequence[Bin], Sequence[Bin]]]
    """For each variant in which something fades: bins of all records in prompts, and of the true ones."""
    cells: Sequence[Cellwise]
    """The grid, in the order in which it was played."""
    curves: Mapping[str, Mapping[str, Any]]
    """For each drawn variant: ``cell``, ``seed``, ``end`` (days) and ``curves``."""
    failures: Sequence[Mapping[str, Any]]
    """Wrong answers to read, each with ``variant``, ``cell`` and ``seed``."""


def measured(episodes: Sequence[Played], best: str | None, *, seed: int = 0) -> Measured:
    """Return the numbers of finished episodes; `best` is the baseline that the claim compares with."""
    draw = np.random.default_rng(seed)
    of: dict[str, list[Played]] = {}
    for task, outcome in episodes:
        of.setdefault(task["variant"], []).append((task, outcome))
    outcomes = {name: [outcome for _, outcome in played] for name, played in of.items()}
    remembering = {name: values for name, values in outcomes.items() if _remembers(values)}
    return Measured(
        months={name: _months(values, draw) for name, values in outcomes.items()},
        needed={name: _by_month(values, "needed", draw) for name, values in remembering.items()},
        stale={name: _by_month(values, "stale", draw) for name, values in remembering.items()},
        standing={
            name: {sort: _held(values, sort, draw) for sort in ("needed", "spare", "stale")}
            for name, values in remembering.items()
        },
        lapses={name: _lapses(values, draw) for name, values in outcomes.items()},
        calibration={
            name: (_bins(values, 0, 2, draw), _bins(values, 3, 4, draw))
            for name, values in outcomes.items()
            if any(outcome.get("calibration") for outcome in values)
        },
        cells=_cells(of, best),
        curves=_curves(of),
        failures=_failures(of, best),
    )


def share(right: Iterable[float], asked: Iterable[float], draw: np.random.Generator) -> Share | None:
    """Return Σ right / Σ asked over episodes; None where nothing was asked."""
    top, bottom = np.array(list(right), dtype=np.float64), np.array(list(asked), dtype=np.float64)
    if not bottom.sum():
        return None
    drawn = draw.integers(0, len(top), size=(RESAMPLES, len(top)))
    below = bottom[drawn].sum(axis=1)
    shares = np.divide(top[drawn].sum(axis=1), below, where=below > 0, out=np.full(RESAMPLES, np.nan))
    low, high = interval(shares[~np.isnan(shares)], finest([int(np.count_nonzero(bottom))]), (0.0, 1.0))
    return Share(float(top.sum() / bottom.sum()), low, high, int(bottom.sum()))


def _remembers(outcomes: Sequence[Mapping[str, Any]]) -> bool:
    return any(look["records"] for outcome in outcomes for look in outcome.get("census", ()))


def _months(outcomes: Sequence[Mapping[str, Any]], draw: np.random.Generator) -> list[Share | None]:
    length = max((len(outcome["months"]) for outcome in outcomes), default=0)
    padded = [[*outcome["months"], *[[0, 0]] * (length - len(outcome["months"]))] for outcome in outcomes]
    return [
        share((months[place][1] for months in padded), (months[place][0] for months in padded), draw)
        for place in range(length)
    ]


def _by_month(outcomes: Sequence[Mapping[str, Any]], sort: str, draw: np.random.Generator) -> list[Share | None]:
    looks = [{look["day"] // MONTH: look for look in outcome.get("census", ())} for outcome in outcomes]
    length = max((month for one in looks for month in one), default=-1) + 1
    return [
        share(
            (one[month][f"{sort}_held"] if month in one else 0 for one in looks),
            (one[month][sort] if month in one else 0 for one in looks),
            draw,
        )
        for month in range(length)
    ]


def _held(outcomes: Sequence[Mapping[str, Any]], sort: str, draw: np.random.Generator) -> Share | None:
    def total(name: str) -> list[int]:
        return [sum(look[name] for look in outcome.get("census", ())) for outcome in outcomes]

    return share(total(f"{sort}_held"), total(sort), draw)


def _lapses(outcomes: Sequence[Mapping[str, Any]], draw: np.random.Generator) -> dict[str, Share]:
    found = {}
    for name in LAPSES:
        counted = [outcome.get("lapses", {}).get(name, 0) for outcome in outcomes]
        one = share(counted, [outcome["asked"] for outcome in outcomes], draw)
        if one is not None and sum(counted):
            found[name] = one
    return found


def _bins(outcomes: Sequence[Mapping[str, Any]], count: int, used: int, draw: np.random.Generator) -> list[Bin]:
    """Return the bins with records in them; `count` and `used` are places in an outcome's bin."""
    noted = [outcome["calibration"] for outcome in outcomes if outcome.get("calibration")]
    found = []
    for place in range(max(map(len, noted), default=0)):
        rows = [one[place] for one in noted]
        records = sum(row[0] for row in rows)
        one = share([row[used] for row in rows], [row[count] for row in rows], draw)
        if one is not None:
            found.append(Bin(sum(row[1] for row in rows) / records, one))
    return found


def _cells(of: Mapping[str, Sequence[Played]], best: str | None) -> list[Cellwise]:
    shares: dict[str, dict[str, dict[int, float]]] = {}
    for name, played in of.items():
        for task, outcome in played:
            scored = shares.setdefault(task["cell"], {}).setdefault(name, {})
            scored[task["seed"]] = outcome["right"] / outcome["asked"]
    found = []
    for cell, variants in shares.items():
        one, other = variants.get(COMPLETE, {}), variants.get(best or "", {})
        differences = [one[seed] - other[seed] for seed in one if seed in other]
        found.append(
            Cellwise(
                cell=cell,
                shares={name: float(np.mean(list(values.values()))) for name, values in variants.items()},
                difference=float(np.mean(differences)) if differences else None,
                ends=(min(differences, default=0.0), max(differences, default=0.0)),
                episodes=len(differences),
            )
        )
    return found


def _curves(of: Mapping[str, Sequence[Played]]) -> dict[str, Mapping[str, Any]]:
    """Return for some variants the memories of the episode in which most was used; the first of several such."""
    fading = [name for name, played in of.items() if any(outcome.get("curves") for _, outcome in played)]
    chosen = [name for name in CURVED if name in fading] or fading[: len(CURVED)]

    def worth(one: Played) -> tuple[int, int]:
        curves = one[1].get("curves", ())
        return len({curve["role"] for curve in curves}), sum(len(curve["steps"]) for curve in curves)

    found: dict[str, Mapping[str, Any]] = {}
    for name in chosen:
        task, outcome = max(of[name], key=worth)
        end = MONTH * len(outcome["months"])
        found[name] = {"cell": task["cell"], "seed": task["seed"], "end": end, "curves": outcome["curves"]}
    return found


def _failures(of: Mapping[str, Sequence[Played]], best: str | None) -> list[Mapping[str, Any]]:
    """Return wrong answers of MARS complete and the best baseline, taken in turn from reasons and cells."""
    wanted = [name for name in (COMPLETE, best or "") if name in of] or [name for name in of if name != "oracle"][:2]
    found: list[Mapping[str, Any]] = []
    for name in wanted:
        all_of_it = [
            {**failure, "variant": name, "cell": task["cell"], "seed": task["seed"]}
            for task, outcome in of[name]
            for failure in outcome["failures"]
        ]
        found += _in_turn(all_of_it, FAILURES // len(wanted))
    return found


def _in_turn(rows: Sequence[Mapping[str, Any]], most: int) -> list[Mapping[str, Any]]:
    """Return at most so many rows: other reasons and other cells before more of the same."""
    seen: Counter[Any] = Counter()
    ranked = []
    for place, row in enumerate(rows):
        reason, both = row.get("lapse"), (row.get("lapse"), row["cell"])
        seen.update((reason, both))
        ranked.append((seen[both], seen[reason], place))
    return [rows[place] for _, _, place in sorted(ranked)[:most]]


def best_of(values: Mapping[str, Any]) -> str | None:
    """Return the baseline that a report's claim compares with; without a claim the best that was played."""
    if values["claim"]:
        return str(values["claim"]["best_baseline"])
    played = [name for name in BASELINES if name in values["variants"]]
    return max(played, key=lambda name: values["variants"][name]["success"], default=None)
