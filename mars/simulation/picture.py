"""The picture of a life: how memories fade, and what keeps them.

Each row is one memory over the 60 days: its retention, with a dot where an approved answer used it and a cross where
the Checker found it to be the cause of an error. Needs the extra ``plot``; matplotlib is imported when it is called.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mars.errors import InvalidFile, MissingExtra
from mars.memory.interfaces import Kind, Status, Tier
from mars.simulation.life import DAYS, Part
from mars.simulation.story import lesson_plan

if TYPE_CHECKING:
    from mars.simulation.story import Step, Story, Trace

ROWS = 6
"""How many memories are drawn at most."""
BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY = "#0072B2", "#B87400", "#00795C", "#C24E00", "#A0507F", "#3C8FC0"
"""After Okabe and Ito, told apart with any colour vision; some darker, so that text in them can be read."""
INK, FAINT, GRID = "#222222", "#6A6A6A", "#D9D9D9"
SAMPLES_PER_DAY = 12
LABELS_AT = (0.02 - 0.305) / (0.825 - 0.305)
"""Left edge of the labels, in widths of the axes."""


@dataclass(frozen=True, slots=True)
class Row:
    """One memory in the picture."""

    trace: Trace
    """The memory."""
    role: str
    """What it is in the story, in a few words."""
    colour: str
    """Colour of its curve."""


def chosen_rows(story: Story) -> list[Row]:
    """Return the memories to draw, by the part that they play: at most `ROWS`, each fact's own words."""
    rows: list[Row] = []
    for part, role, colour in (
        (Part.KEPT, "asked now and then", BLUE),
        (Part.FADED, "asked at the end only", VERMILION),
    ):
        rows += [
            Row(trace, role, colour) for topic in _topics(story, part)[:1] for trace in _episodes(story, topic)[:1]
        ]
    for topic in _topics(story, Part.CHANGED)[:1]:
        value = story.life.facts[topic].first
        told = {turn.at: turn.value for turn in story.life.told(topic)}
        old = [trace for trace in _episodes(story, topic) if told[trace.record.event_time] == value]
        new = [trace for trace in _episodes(story, topic) if told[trace.record.event_time] != value]
        blamed = [trace for trace in old if any(step.mark == "blamed" for step in trace.steps)]
        rows += [Row(trace, "out of date", ORANGE) for trace in (blamed or old)[-1:]]
        rows += [Row(trace, "the change", GREEN) for trace in new[-1:]]
    lessons = [trace for trace in story.traces if trace.record.kind is Kind.REFLECTION]
    rows += [Row(trace, "the lesson", PURPLE) for trace in lessons[:1]]
    for topic in _topics(story, Part.PASSING):
        rows += [Row(trace, "asked once", SKY) for trace in _episodes(story, topic)[:1]]
    return rows[:ROWS]


def _topics(story: Story, part: Part) -> list[str]:
    return [topic for topic, played in story.life.parts.items() if played is part]


def _episodes(story: Story, topic: str) -> list[Trace]:
    return [trace for trace in story.of_topic(topic) if trace.record.kind is Kind.EPISODE]


def draw_picture(story: Story, path: Path) -> Path:
    """Draw the forgetting curves of a life as a PNG of 1200 x 700 pixels and return its path.

    Raises `MissingExtra` without matplotlib, `InvalidFile` if the file cannot be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("the picture of forgetting curves", "plot") from error
    rows = chosen_rows(story)
    figure = Figure(figsize=(12, 7), dpi=100, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.subplots(max(len(rows), 1), 1, sharex=True, squeeze=False)[:, 0]
    figure.subplots_adjust(left=0.305, right=0.825, top=0.865, bottom=0.085, hspace=0.28)
    _title(figure, story)
    for axis, row in zip(axes, rows, strict=False):
        _draw_row(axis, row, story)
    axes[-1].set_xlabel("day", color=FAINT, fontsize=10)
    axes[-1].tick_params(axis="x", labelbottom=True, colors=FAINT, labelsize=9, length=3)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format="png", dpi=100, metadata={"Software": "MARS"})
    except OSError as error:
        raise InvalidFile(f"the picture cannot be written to {path}: {error.strerror or error}") from error
    return path


def _title(figure: Any, story: Story) -> None:
    rules = story.rules
    what = "What is used stays, what is not fades"
    if not rules.tiers.forgets:
        what = "Decay is off, nothing is forgotten"
    figure.text(0.02, 0.95, f"{what}: {DAYS} days of {story.life.user}", fontsize=17, color=INK, weight="bold")
    figure.text(
        0.02,
        0.912,
        f"Retention R; preset {rules.name}; seed {story.life.seed}",
        fontsize=10.5,
        color=FAINT,
    )
    _legend(figure)


def _legend(figure: Any) -> None:
    """Say what the marks mean, each drawn as it is in the rows."""
    from matplotlib.lines import Line2D

    marks = [
        Line2D([], [], linestyle="", color="white", markeredgecolor=INK, markeredgewidth=1.6, marker="o", markersize=6),
        Line2D([], [], linestyle="", color=INK, markeredgecolor="white", marker="o", markersize=8.5),
        Line2D([], [], linestyle="", color=INK, markeredgecolor="white", marker="X", markersize=10),
    ]
    figure.legend(
        marks,
        ["told", "used by an approved answer", "blamed for a wrong draft"],
        loc="upper right",
        bbox_to_anchor=(0.985, 0.948),
        ncols=3,
        frameon=False,
        fontsize=10,
        labelcolor=FAINT,
        handletextpad=0.1,
        columnspacing=1.2,
    )


def _draw_row(axis: Any, row: Row, story: Story) -> None:
    trace, tiers = row.trace, story.rules.tiers
    moments = [
        story.life.start + timedelta(days=place / SAMPLES_PER_DAY) for place in range(DAYS * SAMPLES_PER_DAY + 1)
    ]
    moments = sorted({*moments, *(step.at for step in trace.steps), *(_before(step) for step in trace.steps[1:])})
    held = [(_day(story, at), trace.retention_at(at, story.rules)) for at in moments]
    drawn = [(day, value) for day, value in held if value is not None]
    days, left = [day for day, _ in drawn], [value for _, value in drawn]
    gone = _day(story, trace.crossed) if trace.crossed else DAYS + 2.0
    alive = [day <= gone for day in days]
    for theta in (tiers.theta1, tiers.theta2):
        axis.axhline(theta, color=GRID, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
    axis.fill_between(days, left, 0, where=alive, color=row.colour, alpha=0.16, linewidth=0)
    until = sum(alive)
    axis.plot(days[:until], left[:until], color=row.colour, linewidth=2.2, solid_capstyle="round")
    axis.plot(days[until:], left[until:], color=row.colour, linewidth=1.1, linestyle=(0, (1, 2)), alpha=0.8)
    for step in trace.steps:
        _draw_mark(axis, step, row, story)
    _label(axis, row, story)
    _plain_axis(axis, tiers.theta1, tiers.theta2)


def _plain_axis(axis: Any, theta1: float, theta2: float) -> None:
    axis.set_xlim(1, DAYS + 1)
    axis.set_ylim(0, 1.14)
    axis.set_yticks([0, theta2, theta1, 1], ["0", f"\u03b82 {theta2:g}", f"\u03b81 {theta1:g}", "1"], fontsize=7.5)
    axis.tick_params(axis="both", colors=FAINT, length=0)
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
    axis.spines["bottom"].set_color(GRID)


def _before(step: Step) -> datetime:
    return step.at - timedelta(microseconds=1)


def _day(story: Story, moment: datetime) -> float:
    """Return a time as a day of the life: the first day goes from 1 to 2."""
    return 1.0 + (moment - story.life.start) / timedelta(days=1)


def _draw_mark(axis: Any, step: Step, row: Row, story: Story) -> None:
    left = row.trace.retention_at(_before(step), story.rules)
    height = 1.0 if left is None or step.since == step.at else left
    day = _day(story, step.at)
    if step.mark == "blamed":
        axis.plot([day], [height], marker="X", markersize=9, color=row.colour, markeredgecolor="white", clip_on=False)
    elif step.mark == "used":
        axis.plot([day], [height], marker="o", markersize=7.5, color=row.colour, markeredgecolor="white", clip_on=False)
    else:
        axis.plot(
            [day],
            [height],
            marker="o",
            markersize=6,
            color="white",
            markeredgecolor=row.colour,
            markeredgewidth=1.6,
            clip_on=False,
        )


def _label(axis: Any, row: Row, story: Story) -> None:
    trace = row.trace
    words = (
        lesson_plan(trace.record.text).removeprefix("Next: ")
        if trace.record.kind is Kind.REFLECTION
        else trace.record.text
    )
    quoted = textwrap.wrap(f"\u201c{words}\u201d", 42, max_lines=2, placeholder=" \u2026\u201d")
    place = {"transform": axis.transAxes, "va": "top"}
    axis.text(LABELS_AT, 0.93, row.role, fontsize=11.5, weight="bold", color=row.colour, **place)
    axis.text(LABELS_AT, 0.63, "\n".join(quoted), fontsize=9, color=INK, linespacing=1.25, **place)
    fate, colour = _fate(trace, story)
    uses = {0: "never used", 1: "used once"}.get(trace.record.uses, f"used {trace.record.uses} times")
    numbers = f"{uses}\nS {trace.record.strength:.1f} days, R {trace.retention:.2f}"
    axis.text(1.02, 0.93, fate, fontsize=11.5, weight="bold", color=colour, **place)
    axis.text(1.02, 0.63, numbers, fontsize=9, color=INK, linespacing=1.25, **place)


def _fate(trace: Trace, story: Story) -> tuple[str, str]:
    if trace.crossed is not None:
        return f"forgotten on day {int(_day(story, trace.crossed))}", FAINT
    if trace.record.status is Status.SUPERSEDED:
        return "superseded", FAINT
    return ("still there" if trace.tier is not Tier.FORGOTTEN else "forgotten"), INK
