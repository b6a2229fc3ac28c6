"""The report of a simulation in Markdown: the same numbers as the page, without its drawings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mars.evaluation.reports.measures import LAPSES, Measured, Played, best_of, measured
from mars.evaluation.reports.page import facts
from mars.evaluation.reports.words import (
    MINUS,
    NONE,
    VARIANTS,
    Origin,
    asked,
    difference,
    estimate,
    outcome,
    ranked,
    shared,
    signed,
    unsure,
    verdict,
)

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|!~&$])")


def report_markdown(values: Mapping[str, Any], episodes: Sequence[Played], origin: Origin) -> str:
    """Return the report of finished episodes; the arguments are those of `report_page`."""
    numbers, told = measured(episodes, best_of(values)), verdict(values, origin)
    warnings = "".join(f"> **{plain(one)}**\n>\n" for one in told.warnings)
    parts = (
        f"# {plain(origin.name)}: {plain(values['world'])}\n\n{warnings}\n**{plain(told.title)}**\n",
        "\n".join(f"* {plain(line)}" for line in told.lines) + "\n",
        _success(values),
        _over_time(values, numbers),
        _truth(values, numbers),
        _lapses(values, numbers),
        _curves(numbers),
        _calibration(values, numbers),
        _grid(values, numbers),
        _parts(values),
        _failures(numbers),
        "## How this was made\n\n"
        + "\n".join(f"* {name}: {plain(what)}" for name, what in facts(origin, len(episodes))),
    )
    return "\n".join(parts) + "\n"


def plain(value: object) -> str:
    """Return words so that Markdown takes none of them as its own: on one line, with its characters escaped."""
    return _SPECIAL.sub(r"\\\1", " ".join(str(value).split()))


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _success(values: Mapping[str, Any]) -> str:
    rows = [["oracle", f"{values['oracle']:.3f}", "", "", ""]]
    for name in ranked(values):
        one = values["variants"][name]
        cost = "unknown" if one["cost"] is None else f"{one['cost']:.4f}"
        rows.append([plain(name), estimate(one), f"{one['tokens']:,.0f}", f"{one['ms']:,.0f}", cost])
    rows.append(["predicted floor", f"{values['floor']:.3f}", "", "", ""])
    heads = ["variant", "success (95 %)", "tokens", "ms", "US dollars"]
    meant = "\n".join(f"* `{name}`: {VARIANTS[name]}" for name in ("oracle", *ranked(values)) if name in VARIANTS)
    return f"## Who answers right, and what it takes\n\n{_table(heads, rows)}\nMeans of an episode.\n\n{meant}\n"


def _over_time(values: Mapping[str, Any], numbers: Measured) -> str:
    months = max((len(months) for months in numbers.months.values()), default=0)
    rows = [
        [plain(name), *(shared(one) for one in [*numbers.months[name], *[None] * (months - len(numbers.months[name]))])]
        for name in ranked(values)
    ]
    return "## Success over time\n\n" + _table(["variant", *(f"month {one + 1}" for one in range(months))], rows)


def _truth(values: Mapping[str, Any], numbers: Measured) -> str:
    rows = [
        [plain(name), *(shared(numbers.standing[name][sort]) for sort in ("needed", "spare", "stale"))]
        for name in ranked(values)
        if name in numbers.standing
    ]
    heads = ["variant", "true and needed later", "true, not needed", "no longer true"]
    told = "The share of claims that is still held; what is missing of the first column is wrongly forgotten.\n\n"
    return "## Retained, forgotten, wrongly forgotten\n\n" + told + _table(heads, rows)


def _lapses(values: Mapping[str, Any], numbers: Measured) -> str:
    rows = [
        [
            plain(name),
            *(f"{numbers.lapses[name][one].value:.3f}" if one in numbers.lapses[name] else "0" for one in LAPSES),
        ]
        for name in ranked(values)
    ]
    return "## Why answers were wrong\n\nShares of all answers.\n\n" + _table(["variant", *LAPSES], rows)


def _curves(numbers: Measured) -> str:
    told = "## Memories over time\n"
    for name, chosen in numbers.curves.items():
        rows = [
            [
                plain(one["role"]),
                plain(one["text"]),
                str(one["uses"]),
                ", ".join(f"{step['event']} day {step['day']:.0f} (S {step['strength']:.1f})" for step in one["steps"]),
            ]
            for one in chosen["curves"]
        ]
        told += f"\n{plain(name)}, {plain(chosen['cell'])}, seed {chosen['seed']}:\n\n"
        told += _table(["part", "memory", "uses", "changes of strength, in days"], rows)
    return told


def _calibration(values: Mapping[str, Any], numbers: Measured) -> str:
    rows = [
        [plain(name), sort, f"{one.retention:.2f}", str(one.used.of), shared(one.used)]
        for name in ranked(values)
        if name in numbers.calibration
        for sort, bins in zip(("all", "true"), numbers.calibration[name], strict=True)
        for one in bins
    ]
    heads = ["variant", "records in prompts", "mean R", "records", "cited (95 %)"]
    return "## Retention against use\n\n" + _table(heads, rows)


def _grid(values: Mapping[str, Any], numbers: Measured) -> str:
    names = ranked(values)
    rows = []
    for one in numbers.cells:
        lost = one.difference is not None and one.difference < -1e-12
        told = NONE if one.difference is None else f"**▼ {signed(one.difference)}**" if lost else signed(one.difference)
        rows.append(
            [plain(one.cell), told, *(f"{one.shares[name]:.3f}" if name in one.shares else NONE for name in names)]
        )
    heads = ["cell", f"mars {MINUS} {plain(best_of(values))}", *map(plain, names)]
    return "## Every cell of the grid\n\nLost cells are marked ▼.\n\n" + _table(heads, rows)


def _parts(values: Mapping[str, Any]) -> str:
    pairs = {name: pair for name, pair in values["pairs"].items() if pair["delta"] is not None}
    rows = []
    for question, name in asked(pairs):
        pair = pairs[name]
        cells = f"{pair['cells_won']} : {pair['cells_lost']}"
        told = difference(pair["delta"], pair["ci95"])
        rows.append([question, plain(name), outcome(pair)[0], told, f"{pair['p_holm']:.3f}", cells])
    heads = ["what is asked", "pair", "it", "difference (95 %)", "p (Holm)", "cells won : lost"]
    caution = f"**{plain(unsure(values))}**\n\n" if unsure(values) else ""
    return f"## What each part adds\n\n{caution}{_table(heads, rows)}"


def _failures(numbers: Measured) -> str:
    told = "## Failures to read\n"
    for one in numbers.failures:
        recalled = "; ".join(
            f"{plain(record['text'])} ({plain(record['said'])}{', true' if record['true'] else ''}"
            f"{', cited' if record['cited'] else ''})"
            for record in one.get("recalled", ())
        )
        told += (
            f"\n* **{plain(one['variant'])}**, {plain(one['cell'])}, {plain(one['at'])}: {plain(one.get('lapse'))}\n"
            f"  * asked: {plain(one['question'])}\n  * true: {plain(one.get('reference'))}\n"
            f"  * answered: {plain(one['answer'])}\n  * in the prompt: {recalled or 'nothing'}\n"
        )
    return told
