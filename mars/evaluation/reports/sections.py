"""The parts of a report that compare variants: success and its course, the grid, what each part adds and takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mars.evaluation.paired import COMPLETE
from mars.evaluation.reports.measures import Cellwise, Measured, Share, best_of
from mars.evaluation.reports.words import (
    MINUS,
    NONE,
    VARIANTS,
    asked,
    colour,
    difference,
    estimate,
    outcome,
    ranked,
    shared,
    signed,
    unsure,
)
from mars.pages import text
from mars.pages.charts import Axis, Line, Mark, Panel, behind, interval_track, table

SHARES = Axis(low=0, high=1, ticks=[(0, "0"), (0.5, ".5"), (1, "1")], label="share of right answers")
"""From nothing to all."""


def section(name: str, title: str, told: str, body: str) -> str:
    """Return a part of the page. `told` says in plain words what is to be seen; it is HTML, as is `body`."""
    return f'<section id="{name}" class="part-of-page"><h2>{title}</h2><p class="told">{told}</p>{body}</section>'


def ends(low: str, high: str) -> str:
    """Return the head of a column of strips: what its two ends are."""
    return f'<span class="ends"><i>{low}</i><i>{high}</i></span>'


def key(entries: Sequence[tuple[str, str]]) -> str:
    """Return what the colours and marks mean: (class, words)."""
    return '<ul class="key">' + "".join(f'<li class="{name}">{words}</li>' for name, words in entries) + "</ul>"


def success(values: Mapping[str, Any]) -> str:
    """Show the success of every variant with its interval, the oracle and the floor."""
    rules = [(values["floor"], ""), (values["oracle"], "")]
    rows = [["oracle<small>" + VARIANTS["oracle"] + "</small>", _only(values["oracle"]), f"{values['oracle']:.3f}", ""]]
    for name in ranked(values):
        one = values["variants"][name]
        low, high = one["ci95"]
        strip = interval_track(SHARES, one["success"], low, high, colour=colour(name, values), rules=rules)
        rows.append([_named(name), strip, f"<b>{one['success']:.3f}</b>", f"{low:.3f} to {high:.3f}"])
    floor = "predicted floor<small>what no memory must reach, derived beforehand</small>"
    rows.append([floor, _only(values["floor"]), f"{values['floor']:.3f}", ""])
    drawn = table(
        ["variant", ends("0", "1"), "success", "95 %"],
        rows,
        caption="Share of right answers, mean of episodes.",
        kind="strips",
    )
    told = (
        "Every variant lives through the same episodes with the same policy and the same budget of words. The dashed "
        "lines are the predicted floor and the oracle."
    )
    return section("success", "Who answers right", told, key(_colours(values)) + drawn)


def _only(value: float) -> str:
    return interval_track(SHARES, value, value, value, colour="grey")


def _named(name: str) -> str:
    return f"{text(name)}<small>{text(VARIANTS.get(name, ''))}</small>"


def _colours(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    best = best_of(values)
    found = [("blue", "MARS complete")] if COMPLETE in values["variants"] else []
    found += [("orange", f"the best baseline, {text(best)}")] if best else []
    return [*found, ("green", "other variants")]


def over_time(values: Mapping[str, Any], numbers: Measured) -> str:
    """Show success over time with bands, a panel for each variant."""
    names = [name for name in ranked(values) if name in numbers.months]
    months = max((len(numbers.months[name]) for name in names), default=1)
    x = Axis(low=0.5, high=max(months, 2) + 0.5, ticks=month_ticks(months))
    lines = {name: _points(numbers.months[name]) for name in names}
    panels = ""
    for name in names:
        others = [Line(points=lines[other], kind="faint") for other in names if other != name]
        own = Line(points=lines[name], band=_band(numbers.months[name]), colour=colour(name, values))
        panel = Panel(
            title=f"Success of {name} over time",
            description="; ".join(f"month {x:g}: {y:.2f}" for x, y in lines[name]),
            x=x,
            y=SHARES,
            lines=[*others, own],
            rules=[(values["floor"], "")],
            marks=[
                Mark(
                    x=place + 1,
                    y=one.value,
                    title=f"month {place + 1}: {shared(one)} of {one.of}",
                    **_dot(name, values),
                )
                for place, one in enumerate(numbers.months[name])
                if one is not None
            ],
        )
        panels += (
            f"<div><h3>{text(name)}<small>{values['variants'][name]['success']:.3f}</small></h3>{panel.svg()}</div>"
        )
    rows = [[text(name), *map(shared, _filled(numbers.months[name], months))] for name in names]
    numbered = table(["variant", *(f"month {one + 1}" for one in range(months))], rows, caption="Success by month.")
    told = (
        "The share of right answers in each 30 days, with its 95 % band. Months with few questions have wide bands. "
        "The other variants are grey behind each; the dashed line is the floor of the whole."
    )
    return section("time", "Success over time", told, behind(f'<div class="panels">{panels}</div>', numbered))


def _dot(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {"colour": colour(name, values), "radius": 3.0}


def month_ticks(months: int) -> list[tuple[float, str]]:
    """Return some months as ticks."""
    step = 1 if months <= 7 else 2 if months <= 14 else 6
    return [(one, f"month {one}" if one == 1 else str(one)) for one in range(1, months + 1, step)]


def _points(shares: Sequence[Share | None]) -> list[tuple[float, float]]:
    return [(place + 1, one.value) for place, one in enumerate(shares) if one is not None]


def _band(shares: Sequence[Share | None]) -> list[tuple[float, float, float]]:
    return [(place + 1, one.low, one.high) for place, one in enumerate(shares) if one is not None]


def _filled(shares: Sequence[Share | None], length: int) -> list[Share | None]:
    return [*shares, *[None] * (length - len(shares))]


def tokens_and_latency(values: Mapping[str, Any]) -> str:
    """Show what the variants take: tokens and milliseconds an episode against success."""
    panels = ""
    for kind, label in (("tokens", "tokens an episode"), ("ms", "milliseconds an episode")):
        amounts = {name: max(1.0, values["variants"][name][kind]) for name in values["variants"]}
        x = _decades(list(amounts.values()), label)
        marks = [
            Mark(
                x=amounts[name],
                y=one["success"],
                spread=tuple(one["ci95"]),
                title=f"{name}: {amounts[name]:,.0f} {label}, success {estimate(one)}",
                label=name,
                colour=colour(name, values),
                radius=5,
            )
            for name, one in values["variants"].items()
        ]
        described = "; ".join(mark.title for mark in marks)
        y = _zoomed([end for one in values["variants"].values() for end in one["ci95"]])
        panel = Panel(
            title=f"Success against {label}", description=described, x=x, y=y, marks=marks, height=300, width=440
        )
        panels += f"<div><h3>{label}<small>log scale; success upwards</small></h3>{panel.svg()}</div>"
    rows = [
        [
            text(name),
            f"{one['tokens']:,.0f}",
            f"{one['ms']:,.0f}",
            "unknown" if one["cost"] is None else f"{one['cost']:.4f}",
            estimate(one),
        ]
        for name, one in ((name, values["variants"][name]) for name in ranked(values))
    ]
    heads = ["variant", "tokens", "ms", "US dollars", "success"]
    numbered = table(heads, rows, caption="Means of an episode; of keyless models a token is a word.")
    told = (
        "What an answer takes: retries and reflections of the loop are read and written too. Latency is what the arm "
        "took for all it was told and asked, on the machine that played; good for orders of magnitude."
    )
    return section("cost", "Tokens and latency", told, behind(f'<div class="panels wide">{panels}</div>', numbered))


def _decades(amounts: Sequence[float], label: str) -> Axis:
    """Return a logarithmic axis with ticks at 1, 2 and 5."""
    low, high = min(amounts, default=1) / 1.5, max(amounts, default=1) * 3.6  # room for the labels
    ticks = [factor * 10.0**power for power in range(8) for factor in (1, 2, 5)]
    kept = [tick for tick in ticks if low <= tick <= high]
    kept = kept if len(kept) <= 6 else [tick for tick in kept if str(tick)[0] in "15"]
    return Axis(low=low, high=high, ticks=[(tick, _short(tick)) for tick in kept], label=label, log=True)


def _short(amount: float) -> str:
    return f"{amount / 1e6:g} M" if amount >= 1e6 else f"{amount / 1e3:g} k" if amount >= 1e3 else f"{amount:g}"


def _zoomed(shares: Sequence[float]) -> Axis:
    low, high = max(0.0, min(shares, default=0) - 0.08), min(1.0, max(shares, default=1) + 0.08)
    ticks = [tick / 10 for tick in range(11) if low <= tick / 10 <= high]
    return Axis(low=low, high=high, ticks=[(tick, f"{tick:.1f}".lstrip("0") or "0") for tick in ticks])


def grid(values: Mapping[str, Any], numbers: Measured) -> str:
    """Show every cell of the grid, lost ones marked."""
    best, names = best_of(values), ranked(values)
    heads = ["cell", "", f"mars {MINUS} {text(best)}", "from … to", *map(text, names)]
    rows = [_cell(one, names) for one in numbers.cells]
    lost = [one for one in numbers.cells if (one.difference or 0) < -1e-12]
    told = (
        f"Success in every cell of the grid, losing ones included: {len(lost)} of {len(numbers.cells)} cells are lost "
        f"against {text(best)} (<b class='bad'>▼</b>). “From … to” is the range over a cell's episodes; a cell is few "
        "episodes, so a mark says which mean is higher, and not that the difference is sure."
    )
    return section("grid", "Every cell of the grid", told, table(heads, rows, caption="Success by cell.", kind="grid"))


def _cell(one: Cellwise, names: Sequence[str]) -> list[str]:
    mark = "<span class='none'>not compared</span>"
    if one.difference is not None:
        state = "lost" if one.difference < -1e-12 else "won" if one.difference > 1e-12 else "equal"
        sign = {"lost": "▼", "won": "▲", "equal": "="}[state]
        mark = f'<span class="mark-of {state}"><b>{sign}</b> {state}</span>'
    ends = f"{signed(one.ends[0])} … {signed(one.ends[1])} ({one.episodes})"
    shares = [
        f'<span class="heat" style="--share:{100 * one.shares[name]:.0f}%">{one.shares[name]:.2f}</span>'
        if name in one.shares
        else NONE
        for name in names
    ]
    told = NONE if one.difference is None else signed(one.difference)
    return [text(one.cell), mark, told, ends if one.difference is not None else NONE, *shares]


def ablations(values: Mapping[str, Any]) -> str:
    """Show what each part adds, costs, or does not change."""
    pairs = {name: pair for name, pair in values["pairs"].items() if pair["delta"] is not None}
    furthest = max((abs(end) for pair in pairs.values() for end in pair["ci95"]), default=0.1) * 1.05
    axis = Axis(low=-furthest, high=furthest)
    rows, before = [], ""
    for question, name in asked(pairs):
        pair = pairs[name]
        word, shade = outcome(pair)
        strip = interval_track(axis, pair["delta"], *pair["ci95"], colour=shade, rules=[(0, "zero")])
        head = f"<b>{question}</b>" if question != before else ""
        before = question
        rows.append(
            [
                f"{head}<small>{text(name.replace(' vs ', ' against '))}</small>",
                f'<span class="chip {shade}">{word}</span>',
                strip,
                difference(pair["delta"], pair["ci95"]),
                f"{pair['p_holm']:.3f}",
                f"{pair['cells_won']} : {pair['cells_lost']}",
            ]
        )
    heads = [
        "what is asked",
        "",
        ends(f"{MINUS}{furthest:.2f}", f"+{furthest:.2f}"),
        "difference (95 %)",
        "p (Holm)",
        "cells won : lost",
    ]
    drawn = table(heads, rows, caption="Paired over episodes; the first against the second.", kind="strips pairs")
    told = (
        "The comparisons were fixed beforehand. <b>Adds</b> and <b>costs</b> need a Holm-corrected p below .05; all "
        "else is a <b>null</b>: no difference is shown, which does not show that there is none. Checker and "
        "reflections have work only together: their differences are one gain seen twice, and do not add up."
    )
    if caution := unsure(values):
        told += f" <b>{text(caution)}</b>"
    return section("parts", "What each part adds", told, drawn)
