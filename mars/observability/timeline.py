"""The timeline of a turn as one page: lanes of roles over time, then what each said, recalled, checked and did.

It is a page of `mars.pages`: no script, no font and nothing from a network. All words in it are somebody else's, a log
may be anybody's, so every text is escaped and every value is taken as what it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from mars.observability.cards import LANES, card, chip, count, dictionary, money, number, quoted, seconds, shade
from mars.observability.reading import ENDS, LoggedRun
from mars.pages import page, text

MARKS = frozenset({"draft", "verdict", "reflection", "memory_read", "memory_write", "tool", "retry", "budget"})
"""Kinds of lines that are a mark in the lane of their role."""

PEOPLE = frozenset({"interrupt", "decision"})
"""Kinds of lines in the lane of the person."""


@dataclass(slots=True)
class _Lane:
    """What is drawn in a lane: (from, to, class, title), in seconds; a mark ends where it begins."""

    drawn: list[tuple[float, float, str, str]] = field(default_factory=list)


@dataclass(slots=True)
class _Part:
    """A run of the turn, and where on the axis it begins."""

    run: LoggedRun
    start: float
    rested: float
    """Seconds between it and the run before."""


def timeline(runs: Sequence[LoggedRun]) -> str:
    """Return the page of a turn: of one run, or of those that worked on it one after the other.

    Raises `InvalidFile` where a run is logged in a newer format.
    """
    parts = _parts(runs)
    lines = [(part.start + number(line.get("offset")), line) for part in parts for line in part.run.lines]
    last = runs[-1]
    result = last.result or {}
    task = next((run.task for run in reversed(runs) if run.task), "")
    style = files("mars.observability").joinpath("timeline.css").read_text(encoding="utf-8")
    body = "\n".join((_head(last, task, result), _chart(parts, lines), _story(parts), _foot(runs)))
    return page(task or last.id, body, style)


def same_turn(runs: Sequence[LoggedRun], run: LoggedRun) -> list[LoggedRun]:
    """Return the runs of a log that worked on the same turn as one of them, oldest first."""
    turn = _turn(run)
    return [one for one in runs if one is run or (turn is not None and _turn(one) == turn)]


def _turn(run: LoggedRun) -> str | None:
    turns = [line["turn"] for line in run.lines if line.get("turn") is not None]
    return str(turns[-1]) if turns else None


def _parts(runs: Sequence[LoggedRun]) -> list[_Part]:
    """Put runs one after the other; what lies between them is told, not drawn to scale."""
    parts: list[_Part] = []
    whole = sum(run.seconds for run in runs)
    for run in runs:
        if not parts:
            parts.append(_Part(run, 0.0, 0.0))
            continue
        before = parts[-1]
        between = (run.began - before.run.began).total_seconds() - before.run.seconds
        parts.append(_Part(run, before.start + before.run.seconds + 0.03 * whole, max(0.0, between)))
    return parts


def _head(run: LoggedRun, task: str, result: dict[str, Any]) -> str:
    usage = dictionary(result.get("usage"))
    tiles = [
        ("time", seconds(number(result.get("latency")) or run.seconds)),
        ("drafts", count(result.get("iterations"))),
        ("model calls", count(usage.get("calls"))),
        ("tokens in", count(usage.get("input_tokens"))),
        ("tokens out", count(usage.get("output_tokens"))),
        ("cost", money(usage.get("cost"))),
        ("tool calls", count(usage.get("tool_calls"))),
        ("recalled", count(result.get("recalled"))),
    ]
    drawn = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in tiles)
    approved = "approved" if result.get("approved") is True else "not approved"
    chips = chip(run.status) + (chip(approved) if result else "")
    answer = quoted(result.get("answer")) if result.get("answer") else '<p class="none">no answer</p>'
    wrong = f'<p class="wrong">{text(result["error"])}</p>' if result.get("error") else ""
    return (
        f'<header><p class="brand">MARS <span>timeline of a turn</span></p><h1>{text(task) or "A run"}</h1>'
        f'<div class="answer">{answer}<p>{chips}</p>{wrong}</div><dl class="tiles">{drawn}</dl></header>'
    )


def _chart(parts: list[_Part], lines: list[tuple[float, dict[str, Any]]]) -> str:
    """Draw the lanes over time."""
    lanes: dict[str, _Lane] = {}
    for at, line in lines:
        for lane, thing in _drawn(at, line, parts):
            lanes.setdefault(lane, _Lane()).drawn.append(thing)
    order = sorted(lanes, key=lambda name: LANES.index(name) if name in LANES else len(LANES))
    whole = max((at for at, _ in lines), default=0.0) or 1.0
    ticks = "".join(
        f'<i style="left:{100 * step / 4:.2f}%"><b>{seconds(whole * step / 4)}</b></i>' for step in range(5)
    )
    rests = "".join(
        f'<i class="rest" style="left:{100 * part.start / whole:.2f}%" title="rested {seconds(part.rested)}"></i>'
        for part in parts[1:]
    )
    rows = "".join(
        f'<div class="lane {shade(name)}"><h3>{text(name, 24)}</h3>'
        f'<div class="track">{rests}{_things(lanes[name], whole)}</div></div>'
        for name in order
    )
    rested = "".join(
        f'<p class="rested">The turn rested {seconds(part.rested)} at the dashed line.</p>' for part in parts[1:]
    )
    return f'<section class="chart"><h2>Who did what, when</h2><div class="axis">{ticks}</div>{rows}{rested}</section>'


def _drawn(at: float, line: dict[str, Any], parts: list[_Part]) -> list[tuple[str, tuple[float, float, str, str]]]:
    """Return what a line draws, and in which lanes."""
    kind, role, data = str(line["kind"]), str(line.get("role") or "runtime"), dictionary(line.get("data"))
    if kind == "call":
        long = number(data.get("latency"))
        title = f"{data.get('name')}: {line.get('text')}, {seconds(long)}"
        begun = max(at - long, 0.0)
        return [(role, (begun, at, "bar" if line.get("text") == "done" else "bar bad", title))]
    if kind == "header":
        return [("user", (at, at, "mark", "asked"))] if data.get("operation") == "run" else []
    if kind == "token":
        return [(role, (at, at, "token", "token"))]
    if kind in PEOPLE:
        return [("person", (at, at, f"mark {kind}", f"{kind}: {line.get('text')}"))]
    if kind in ENDS:
        return [("runtime", (at, at, f"mark {kind}", kind))]
    if kind in MARKS:
        verdict = dictionary(data.get("verdict")).get("decision", "") if kind == "verdict" else ""
        return [(role, (at, at, f"mark {kind} {_word(verdict)}", f"{kind.replace('_', ' ')} {_word(verdict)}"))]
    return []


def _things(lane: _Lane, whole: float) -> str:
    """Draw a lane: bars below, tokens on them, marks on top."""
    rank = {"bar": 0, "token": 1, "mark": 2}
    drawn = ""
    for start, end, sort, title in sorted(lane.drawn, key=lambda one: (rank[one[2].split()[0]], one[0])):
        left, width = 100 * start / whole, 100 * (end - start) / whole
        size = f";width:{width:.3f}%" if sort.startswith("bar") else ""
        hint = f' title="{text(title, 120)}"' if sort != "token" else ""
        drawn += f'<i class="{sort}" style="left:{left:.3f}%{size}"{hint}></i>'
    return drawn


def _word(value: object) -> str:
    """Return a value as a class's name, empty where it is none."""
    return value if isinstance(value, str) and value.isalpha() and value.isascii() else ""


def _story(parts: list[_Part]) -> str:
    """Tell what happened, line by line, with a heading for each draft."""
    told, iteration = "", None
    for part in parts:
        if part.rested:
            told += f'<p class="rested">The turn rested {seconds(part.rested)}; then it was resumed.</p>'
        for line in part.run.lines:
            drawn = card(line, part.start + number(line.get("offset")))
            if not drawn:
                continue
            if line.get("iteration") not in (None, iteration):
                iteration = line["iteration"]
                told += f"<h2>Attempt {text(iteration)}</h2>"
            elif line["kind"] in ENDS and part is parts[-1]:
                told += "<h2>The end</h2>"
            told += drawn
    return f'<section class="story">{told}</section>'


def _foot(runs: Sequence[LoggedRun]) -> str:
    first, last = runs[0], runs[-1]
    names = {
        "run": ", ".join(run.id for run in runs),
        "conversation": last.conversation,
        "turn": _turn(last),
        "user": dictionary(first.header.get("data")).get("user"),
        "began": first.began.isoformat(" ", "seconds"),
        "MARS": first.header.get("mars"),
    }
    return "<footer>" + " · ".join(f"{name} {text(value, 80)}" for name, value in names.items() if value) + "</footer>"
