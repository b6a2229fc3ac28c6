"""What a simulation shows: oracle, floor, variants, pairs, and whether the measurement itself can be believed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mars.environments.interfaces import FAILED_TURNS
from mars.evaluation.paired import Row, compared

LEAST_ORACLE = 0.98
"""An oracle below this says that the world, the policy or the scorer is broken."""
FLOOR_DEVIATIONS = 4.0
"""So many standard deviations may the memoryless score differ from the floor where answers are drawn."""
ORACLE, MEMORYLESS = "oracle", "none"
"""Names of the two ends."""


def simulation_report(
    world: str, episodes: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]], *, exact_floor: bool, seed: int = 0
) -> dict[str, Any]:
    """Return the report of finished episodes; the keys are stable.

    Each episode is (task, outcome): ``variant``, ``cell`` and ``seed``; ``asked``, ``right``, ``floor``, ``tokens``,
    ``ms``, ``cost``, ``months`` and ``counts``. `exact_floor` says whether the memoryless answers are not drawn.
    ``problems`` says in words why the measurement cannot be believed; it is empty where it can.
    """
    rows = [
        Row(
            variant=task["variant"],
            cell=task["cell"],
            seed=task["seed"],
            success=outcome["right"] / outcome["asked"],
            tokens=outcome["tokens"],
            ms=outcome["ms"],
            cost=outcome["cost"],
        )
        for task, outcome in episodes
    ]
    values = compared([row for row in rows if row.variant != ORACLE], seed=seed)
    ends = {name: [outcome for task, outcome in episodes if task["variant"] == name] for name in (ORACLE, MEMORYLESS)}
    oracle, memoryless = (_share(ends[name]) for name in (ORACLE, MEMORYLESS))
    floor = _mean([outcome["floor"] for outcome in ends[MEMORYLESS]])
    for name, variant in values["variants"].items():
        of = [outcome for task, outcome in episodes if task["variant"] == name]
        variant["counts"] = _counts(of)
        variant["months"] = _months(of)
    return {
        "world": world,
        "oracle": round(oracle, 4),
        "memoryless": round(memoryless, 4),
        "floor": round(floor, 4),
        **values,
        "problems": [*_problems(oracle, memoryless, floor, ends[MEMORYLESS], exact_floor), *_broken_off(episodes)],
    }


def _problems(
    oracle: float, memoryless: float, floor: float, outcomes: Sequence[Mapping[str, Any]], exact: bool
) -> list[str]:
    found = []
    if oracle < LEAST_ORACLE:
        found.append(f"the oracle reaches {oracle:.3f}, below {LEAST_ORACLE}: world, policy or scorer is broken")
    asked = sum(outcome["asked"] for outcome in outcomes)
    room = 1e-9 if exact else FLOOR_DEVIATIONS * math.sqrt(floor * (1 - floor) / asked)
    if abs(memoryless - floor) > room:
        found.append(f"without memory {memoryless:.3f} is reached, and {floor:.3f} was predicted (within {room:.3f})")
    return found


def _broken_off(episodes: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> list[str]:
    """Return a problem if turns ended in an error: they count as wrong answers, which is no measure of the variant."""
    failed: dict[str, int] = {}
    for task, outcome in episodes:
        if turns := outcome["counts"].get(FAILED_TURNS, 0):
            failed[task["variant"]] = failed.get(task["variant"], 0) + turns
    if not failed:
        return []
    each = ", ".join(f"{name} {turns}" for name, turns in failed.items())
    return [f"{sum(failed.values())} turns failed with an error and count as wrong answers: {each}"]


def _share(outcomes: Sequence[Mapping[str, Any]]) -> float:
    return _mean([outcome["right"] / outcome["asked"] for outcome in outcomes])


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan


def _counts(outcomes: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return what the world counts, per episode."""
    names = sorted({name for outcome in outcomes for name in outcome["counts"]})
    return {name: round(_mean([outcome["counts"].get(name, 0) for outcome in outcomes]), 3) for name in names}


def _months(outcomes: Sequence[Mapping[str, Any]]) -> list[float | None]:
    """Return the share of right answers in each 30 days; None where nothing was asked."""
    length = max((len(outcome["months"]) for outcome in outcomes), default=0)
    shares: list[float | None] = []
    for place in range(length):
        held = [outcome["months"][place] for outcome in outcomes if place < len(outcome["months"])]
        asked = sum(month[0] for month in held)
        shares.append(round(sum(month[1] for month in held) / asked, 4) if asked else None)
    return shares
