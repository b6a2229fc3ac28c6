"""Charts as inline SVG: panels of lines with bands, scattered points, and tracks for the rows of a table.

Colours are classes (``blue``, ``orange``, …) that `charts.css` gives a value for light and for dark. Every panel has a
title and a description for those who do not see it; a track is drawn beside the numbers that it shows, and is hidden
from them. Panels are `WIDTH` units wide, about as wide as a phone, so that their letters are never shrunk.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files

from mars.pages import text

WIDTH = 344
"""Width of a panel, in pixels where it is not stretched."""
LEFT, RIGHT, TOP, BOTTOM = 34, 10, 10, 24
"""Room around what is drawn, for the labels of the axes."""

Point = tuple[float, float]
Band = tuple[float, float, float]
"""x, lower and upper end."""
Box = tuple[float, float, float, float]
"""Left, top, right and bottom, in pixels."""
LETTER = 6.6
"""About the width of a letter of a label, in pixels."""


def style() -> str:
    """Return the style sheet of charts."""
    return files("mars.pages").joinpath("charts.css").read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """An axis from `low` to `high`."""

    low: float
    """Value at its beginning."""
    high: float
    """Value at its end."""
    ticks: Sequence[tuple[float, str]] = ()
    """Values with their labels."""
    label: str = ""
    """What it measures, with the unit."""
    log: bool = False
    """Whether equal steps are equal ratios."""

    def share(self, value: float) -> float:
        """Return where a value lies, 0 at the beginning and 1 at the end; beyond either it is cut."""
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(max(value, 1e-300))
        return min(1.0, max(0.0, (value - low) / (high - low))) if high > low else 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line, with its band if it has one."""

    points: Sequence[Point]
    """From left to right."""
    band: Sequence[Band] = ()
    """Its interval, from left to right."""
    colour: str = "blue"
    """A class of `charts.css`."""
    kind: str = ""
    """More classes: ``faint``, ``dashed``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A point with a title that is shown when it is pointed at."""

    x: float
    """Value on the x axis."""
    y: float
    """Value on the y axis."""
    title: str
    """What it is, in words."""
    shape: str = "dot"
    """dot, ring or cross."""
    colour: str = "blue"
    """A class of `charts.css`."""
    radius: float = 3.5
    """In pixels."""
    spread: tuple[float, float] | None = None
    """An interval on the y axis."""
    label: str = ""
    """Written beside it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """A chart. `rules` are dashed lines at a y, with a class; `shaded` are spans of x with words for them."""

    title: str
    """What it shows, for those who do not see it."""
    description: str
    """What it says, in words."""
    x: Axis
    """From left to right."""
    y: Axis
    """From below to above."""
    lines: Sequence[Line] = ()
    """The first lie below the others."""
    marks: Sequence[Mark] = ()
    """On top of the lines."""
    rules: Sequence[tuple[float, str]] = ()
    """Values of y with the class of their line."""
    shaded: Sequence[tuple[float, float, str]] = ()
    """From x to x, and words."""
    height: float = 150
    """In pixels."""
    width: float = WIDTH
    """In pixels."""

    def at(self, x: float, y: float) -> Point:
        """Return where two values lie, in pixels from the upper left."""
        left = LEFT + self.x.share(x) * (self.width - LEFT - RIGHT)
        return left, TOP + (1 - self.y.share(y)) * (self.height - TOP - BOTTOM)

    def svg(self) -> str:
        """Return the drawing."""
        drawn = [self._shade(*one) for one in self.shaded]
        drawn += [self._axes()]
        drawn += [self._rule(value, name) for value, name in self.rules]
        drawn += [self._line(line) for line in self.lines]
        drawn += [self._mark(mark) for mark in self.marks]
        dots = [(*self.at(mark.x, mark.y), mark.radius + 1) for mark in self.marks]
        taken: list[Box] = [(x - room, y - room, x + room, y + room) for x, y, room in dots]
        drawn += [self._label(mark, taken) for mark in sorted(self.marks, key=lambda one: -one.y) if mark.label]
        return (
            f'<svg class="panel" role="img" viewBox="0 0 {self.width:g} {self.height:g}" '
            f'aria-label="{text(self.title)}"><title>{text(self.title)}</title><desc>{text(self.description)}</desc>'
            f"{''.join(drawn)}</svg>"
        )

    def _axes(self) -> str:
        left, bottom = self.at(self.x.low, self.y.low)
        right = self.width - RIGHT
        drawn = ""
        for value, label in self.y.ticks:
            y = self.at(self.x.low, value)[1]
            drawn += f'<path class="grid" d="M{left:.1f} {y:.1f}H{right:.1f}"/>'
            drawn += f'<text class="tick" x="{left - 5:.1f}" y="{y + 3.5:.1f}" text-anchor="end">{text(label)}</text>'
        for value, label in self.x.ticks:
            x = self.at(value, self.y.low)[0]
            anchor = "end" if x > right - 12 else "start" if x < left + 4 else "middle"
            drawn += f'<text class="tick" x="{x:.1f}" y="{bottom + 15:.1f}" text-anchor="{anchor}">{text(label)}</text>'
        return f'{drawn}<path class="axis" d="M{left:.1f} {bottom:.1f}H{right:.1f}"/>'

    def _rule(self, value: float, name: str) -> str:
        left, y = self.at(self.x.low, value)
        return f'<path class="rule {name}" d="M{left:.1f} {y:.1f}H{self.width - RIGHT:.1f}"/>'

    def _shade(self, low: float, high: float, words: str) -> str:
        left, right = self.at(low, 0)[0], self.at(high, 0)[0]
        height = self.height - TOP - BOTTOM
        label = f'<text class="note" x="{right - 4:.1f}" y="{TOP + 11:.1f}" text-anchor="end">{text(words)}</text>'
        room = right - left > 6 * len(words)
        return (
            f'<rect class="shaded" x="{left:.1f}" y="{TOP}" width="{max(0.0, right - left):.1f}" '
            f'height="{height:.1f}"><title>{text(words)}</title></rect>{label if room else ""}'
        )

    def _line(self, line: Line) -> str:
        drawn = ""
        if len(line.band) > 1:
            ends = [self.at(x, high) for x, _, high in line.band]
            ends += [self.at(x, low) for x, low, _ in reversed(line.band)]
            drawn = f'<path class="band {line.colour}" d="{_path(ends)}Z"/>'
        if line.points:
            points = _path(self.at(x, y) for x, y in line.points)
            drawn += f'<path class="line {line.colour} {line.kind}" d="{points}"/>'
        return drawn

    def _mark(self, mark: Mark) -> str:
        (x, y), radius = self.at(mark.x, mark.y), mark.radius
        drawn = ""
        if mark.spread is not None:
            low, high = (self.at(mark.x, end)[1] for end in mark.spread)
            drawn = f'<path class="spread {mark.colour}" d="M{x:.1f} {low:.1f}V{high:.1f}"/>'
        title = f"<title>{text(mark.title)}</title>"
        if mark.shape == "cross":
            arms = f"M{x - radius:.1f} {y - radius:.1f}l{2 * radius:g} {2 * radius:g}m0 {-2 * radius:g}"
            return f'{drawn}<path class="cross {mark.colour}" d="{arms}l{-2 * radius:g} {2 * radius:g}">{title}</path>'
        kind = f"{mark.shape} {mark.colour}"
        return f'{drawn}<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}">{title}</circle>'

    def _label(self, mark: Mark, taken: list[Box]) -> str:
        """Write beside a mark, where nothing is written or drawn yet; as near as can be."""
        x, y = self.at(mark.x, mark.y)
        long = LETTER * len(mark.label)
        boxes = [
            (start, y + down - 7, start + long, y + down + 5)
            for down in (0, -13, 13, -26, 26, -39, 39, -52, 52, 65, -65)
            for start in (x + 8, x - 8 - long)
            if LEFT <= start <= self.width - long and TOP - 8 <= y + down <= self.height - BOTTOM
        ]
        boxes = boxes or [(x + 8, y - 7, x + 8 + long, y + 5)]
        box = min(boxes, key=lambda box: sum(_overlap(box, other) for other in taken))
        taken.append(box)
        near, middle = (box[0] - 2 if box[0] > x else box[2] + 2), (box[1] + box[3]) / 2
        pointer = f'<path class="pointer" d="M{x:.1f} {y:.1f}L{near:.1f} {middle:.1f}"/>' if abs(middle - y) > 8 else ""
        return f'{pointer}<text class="label" x="{box[0]:.1f}" y="{box[3]:.1f}">{text(mark.label)}</text>'


def _overlap(one: Box, other: Box) -> float:
    """Return how many square pixels two boxes share."""
    wide, high = (min(one[end], other[end]) - max(one[end - 2], other[end - 2]) for end in (2, 3))
    return max(0.0, wide) * max(0.0, high)


def _path(points: Iterable[Point]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def interval_track(
    axis: Axis, value: float, low: float, high: float, *, colour: str = "blue", rules: Sequence[tuple[float, str]] = ()
) -> str:
    """Return a value with its interval as a strip as wide as its place; `rules` are values with a class."""
    left, right, middle, *others = (
        f"{100 * axis.share(one):.2f}%" for one in (low, high, value, *(one for one, _ in rules))
    )
    lines = "".join(
        f'<line class="rule {name}" x1="{x}" x2="{x}" y1="0" y2="24"/>'
        for x, (_, name) in zip(others, rules, strict=True)
    )
    return (
        f'<svg class="track" aria-hidden="true">{lines}<line class="spread {colour}" x1="{left}" x2="{right}" y1="12" '
        f'y2="12"/><circle class="dot {colour}" cx="{middle}" cy="12" r="5"/></svg>'
    )


def stack_track(parts: Sequence[tuple[float, str, str]], whole: float = 1.0) -> str:
    """Return parts (amount, class, words) one after the other, on a strip whose full width is `whole`."""
    drawn, start = "", 0.0
    for amount, name, words in parts:
        if amount <= 0 or whole <= 0:
            continue
        place = f'x="{100 * start / whole:.2f}%" width="{100 * amount / whole:.2f}%"'
        drawn += f'<rect class="part {name}" {place} y="5" height="14"><title>{text(words)}</title></rect>'
        start += amount
    return f'<svg class="track" aria-hidden="true"><rect class="whole" y="5" width="100%" height="14"/>{drawn}</svg>'


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, caption: str, kind: str = "") -> str:
    """Return a table. Heads and cells are HTML; the first cell of a row is its head."""
    columns = "".join(f'<th scope="col">{head}</th>' for head in heads)
    body = "".join(
        f'<tr><th scope="row">{row[0]}</th>' + "".join(f"<td>{cell}</td>" for cell in row[1:]) + "</tr>" for row in rows
    )
    return (
        f'<div class="scroll" tabindex="0"><table class="{kind}"><caption>{caption}</caption><thead><tr>{columns}</tr>'
        f"</thead><tbody>{body}</tbody></table></div>"
    )


def behind(drawn: str, numbers: str) -> str:
    """Return a drawing with the table of its numbers behind it, folded."""
    return f"<figure>{drawn}<details><summary>The numbers</summary>{numbers}</details></figure>"
