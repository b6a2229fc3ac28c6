"""What a report says in words: what the variants are, what a comparison asks, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mars.evaluation.paired import COMPLETE
from mars.evaluation.reports.measures import Share, best_of

NONE, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"
"""Stands where there is no number; the sign of negative ones."""
LEVEL = 0.05
"""A difference counts where Holm's p is below this."""
NEEDED = 4
"""Episodes that an interval needs (`mars.evaluation.paired`)."""

VARIANTS: Mapping[str, str] = {
    "oracle": "the same policy, with the true records in its prompt",
    "none": "no memory",
    "window": "the newest statements, as many as fit",
    "fifo": "the most relevant of the newest statements",
    "vector": "nearest by vector, of all; no decay, nothing strengthens",
    "decay": "the default curve; nothing strengthens",
    "memorybank": "MemoryBank's curve and strengthening",
    "fsrs": "the default curve; what is cited is strengthened",
    "mars": "complete: facts, curve, Checker, reflections",
    "mars-no-checker": "the loop without the Checker, so that nothing is rejected or reflected on",
    "mars-no-reflection": "the loop without reflections, so that no retry sees anything else",
    "mars-no-decay": "the loop without decay",
}
"""What each variant is, in a few words."""

QUESTIONS: Sequence[tuple[str, Sequence[str]]] = (
    ("Memory", ("mars vs none",)),
    ("Decay", ("mars vs mars-no-decay", "decay vs vector")),
    ("Reinforcement", ("fsrs vs decay",)),
    ("Reflections", ("mars vs mars-no-reflection",)),
    ("Checker", ("mars vs mars-no-checker",)),
    ("FSRS or MemoryBank", ("fsrs vs memorybank",)),
    ("The whole against", ("mars vs window", "mars vs fifo", "mars vs vector")),
)
"""What the planned pairs ask; pairs that are named nowhere here are shown after these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where results come from."""

    name: str
    """Name of the simulation."""
    config: Mapping[str, Any]
    """What was to be played: world, cells, seeds, variants, limits, model."""
    method: int | None
    """Version of the arms and policies."""
    commits: Sequence[str]
    """Commits of the code that played, oldest first; ``+`` marks changes that were not committed."""
    version: str
    """Version of MARS."""
    sabotage: str | None = None
    """What was broken on purpose."""
    oracle_feedback: bool = False
    """Whether somebody in the loop knew references."""
    missing: int = 0
    """How many episodes are not finished."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the whole comes to."""

    holds: bool | None
    """Whether the claim holds; None where it was not tested."""
    title: str
    """In one sentence."""
    lines: Sequence[str]
    """What it rests on, a sentence each."""
    warnings: Sequence[str]
    """Why it must not be believed, or not be compared."""


def verdict(values: Mapping[str, Any], origin: Origin) -> Verdict:
    """Return what a report's numbers come to, in plain words."""
    claim, world = values["claim"], values["world"]
    warnings = [f"This cannot be believed: {problem}." for problem in values["problems"]]
    if origin.missing:
        warnings.insert(0, f"Unfinished: {origin.missing:,} episodes are missing. The same command plays them.")
    if origin.sabotage:
        warnings.insert(0, f"Sabotaged on purpose ({origin.sabotage}): these numbers must be bad.")
    if origin.oracle_feedback:
        warnings.insert(
            0, "oracle_feedback: somebody in the loop knew the references. This is no measure of the agent."
        )
    if not claim:
        title = f"No claim is tested here in the {world} world: mars, or every baseline, was not played."
        return Verdict(holds=None, title=title, lines=_ends(values), warnings=warnings)
    best, holds = claim["best_baseline"], bool(claim["holds"])
    title = f"The claim {'holds' if holds else 'does not hold'} in the {world} world: MARS complete "
    title += f"{'beats' if holds else 'is not shown to beat'} the best baseline, {best}."
    one, other = values["variants"][COMPLETE], values["variants"][best]
    cells = values["pairs"].get(f"{COMPLETE} vs {best}", {"cells_won": 0, "cells_lost": 0})
    lines = [
        f"MARS complete answers {estimate(one)} of the questions right; {best} answers {estimate(other)}.",
        f"It rests on {_counted(one['episodes'], 'episode')} of each variant. In the median cell the difference is "
        f"{difference(claim['median_cell'], claim['ci95'])}; the claim needs the whole interval above 0. Of "
        f"{_counted(len(values['grid'][COMPLETE]), 'cell')} {cells['cells_won']} are won and {cells['cells_lost']} "
        "lost.",
    ]
    top = max(values["variants"], key=lambda name: values["variants"][name]["success"])
    if top != COMPLETE:
        lines.append(f"The best of all variants is {top} with {estimate(values['variants'][top])}.")
    return Verdict(holds=holds, title=title, lines=[*lines, *_ends(values)], warnings=warnings)


def _ends(values: Mapping[str, Any]) -> list[str]:
    return [
        f"The oracle reaches {values['oracle']:.3f}; without memory {values['memoryless']:.3f} is reached, and "
        f"{values['floor']:.3f} was predicted."
    ]


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def unsure(values: Mapping[str, Any]) -> str:
    """Return in words which differences another test is not sure of, and where no interval is to be had, if any."""
    pairs = {name: pair for name, pair in values["pairs"].items() if pair["delta"] is not None}
    called = [name for name, pair in pairs.items() if outcome(pair)[0] != "null"]
    doubted = [name for name in called if pairs[name]["p_signs_holm"] >= LEVEL]
    least = min((pair["episodes"] for pair in pairs.values()), default=NEEDED)
    told = []
    if doubted:
        those = ", ".join(doubted) if len(doubted) <= 3 else f"{len(doubted)} of these {len(called)} differences"
        told.append(
            f"Where few episodes differ p by bootstrap is too small: flipping signs, which is exact then, is not sure "
            f"of {those} (p after Holm {min(pairs[name]['p_signs_holm'] for name in doubted):.3f} or more)."
        )
    if least < NEEDED:
        told.append("Of fewer than four episodes no interval can be had: what is shown is all that is possible.")
    return " ".join(told)


def estimate(variant: Mapping[str, Any]) -> str:
    """Return a success with its interval."""
    low, high = variant["ci95"]
    return f"{variant['success']:.3f} ({low:.3f} to {high:.3f})"


def shared(one: Share | None) -> str:
    """Return a share with its interval; a dash where there is none."""
    return NONE if one is None else f"{one.value:.2f} ({one.low:.2f} to {one.high:.2f})"


def difference(value: float, ends: Sequence[float]) -> str:
    """Return a difference with its interval, with signs."""
    return f"{signed(value)} ({signed(ends[0])} to {signed(ends[1])})"


def signed(value: float) -> str:
    """Return a number with its sign, and none for what is 0."""
    told = f"{value:+.3f}".replace("-", MINUS)
    return "0.000" if told[1:] == "0.000" else told


def outcome(pair: Mapping[str, Any]) -> tuple[str, str]:
    """Return what a comparison came to, adds, costs or null, and the class of its colour."""
    if pair["p_holm"] < LEVEL and pair["delta"]:
        return ("adds", "good") if pair["delta"] > 0 else ("costs", "bad")
    return "null", "grey"


def asked(pairs: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return (question, pair) of all pairs that were compared, in the order in which they are shown."""
    found = [(question, name) for question, names in QUESTIONS for name in names if name in pairs]
    named = {name for _, name in found}
    return found + [("Others", name) for name in pairs if name not in named]


def ranked(values: Mapping[str, Any]) -> list[str]:
    """Return the variants, the best first."""
    return sorted(values["variants"], key=lambda name: -values["variants"][name]["success"])


def colour(name: str, values: Mapping[str, Any]) -> str:
    """Return the class that a variant is drawn in: MARS complete, the best baseline, and the others."""
    return "blue" if name == COMPLETE else "orange" if name == best_of(values) else "green"
