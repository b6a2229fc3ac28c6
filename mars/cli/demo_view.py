"""What `mars demo` prints for people: a log of what matters, as it happens, and a table of memories at the end."""

from __future__ import annotations

import textwrap
from collections.abc import Collection

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mars.memory.interfaces import Kind, Status, Tier
from mars.results import Attempt
from mars.simulation.life import DAYS, Act, Life
from mars.simulation.story import Answered, Faded, Moment, Story, Trace, demo_preset, lesson_plan

WORDS = {Act.TELLS: "says", Act.REPEATS: "says again", Act.CHANGES: "says", Act.ASKS: "asks"}
INDENT = " " * 8
LABEL = 11
"""Width of the column that says who does what."""


def show_start(console: Console, life: Life, off: Collection[str]) -> None:
    """Print whose life it is, what is built in and which preset holds."""
    rules = demo_preset("decay" not in off)
    console.print()
    start = f"{life.start:%A} {life.start.day} {life.start:%B %Y}"
    title = f"{DAYS} days of {life.user}, from {start}, drawn from seed {life.seed}"
    console.print(Text(title, style="bold"))
    console.print(
        Text(
            "Built in and keyless: an extractive reader that quotes memories (no language model), a Checker and a "
            f"Reflector that work by rules. Memory: preset {rules.name}, exponential; forgotten below "
            f"R = {rules.tiers.theta2:g}, each use adds {rules.base_strength[Kind.EPISODE]:g} days.",
            style="dim",
        )
    )
    if off:
        console.print(Text(f"Switched off: {', '.join(sorted(off))}.", style="yellow"))
    console.print()


class Watcher:
    """Prints the moments of a life as they happen; talk of no consequence is left out."""

    def __init__(self, console: Console, life: Life) -> None:
        self._console = console
        self._life = life
        self._day = 0

    def __call__(self, moment: Moment) -> None:
        """Print one moment."""
        if isinstance(moment, Answered):
            self._answered(moment)
        elif isinstance(moment, Faded):
            if moment.topic is not None and moment.record.kind is Kind.EPISODE:
                self._line(moment.day, "forgotten", moment.record.text, "dim", "dim")
        elif moment.topic is not None:
            style = "yellow" if moment.act is Act.CHANGES else "cyan"
            self._line(moment.day, WORDS[moment.act], moment.text, style, "")

    def _answered(self, moment: Answered) -> None:
        turn = moment.turn
        self._line(turn.day, "asks", turn.text, "bold magenta", "bold")
        told = [each for each in self._life.told(turn.topic or "") if each.at < turn.at]
        if told:
            self._line(turn.day, "", f"last told on day {told[-1].day}: {told[-1].value}", "", "dim")
        for lesson in moment.lessons:
            self._line(turn.day, "recalls", f"the lesson: {lesson_plan(lesson)}", "blue", "blue")
        for place, attempt in enumerate(moment.result.attempts):
            self._line(turn.day, f"draft {attempt.iteration}", attempt.draft, "bold", "")
            verdict, style = _verdict(attempt)
            self._line(turn.day, "Checker", verdict, style, style, most=170)
            if place < len(moment.result.reflections):
                self._line(
                    turn.day, "Reflector", lesson_plan(moment.result.reflections[place].text), "blue", "blue", most=230
                )
        if moment.result.attempts and not moment.result.approved:
            ended = f"{moment.result.answer or '(nothing)'} ({moment.result.status.value}, not approved)"
            self._line(turn.day, "answer", ended, "yellow", "yellow")

    def _line(self, day: int, who: str, words: str, who_style: str, style: str, most: int = 200) -> None:
        shown = f"day {day:>2}" if day != self._day else ""
        self._day = day
        room = max(self._console.width - len(INDENT) - LABEL - 1, 30)
        lines = textwrap.wrap(textwrap.shorten(words, most, placeholder=" \u2026"), room) or [""]
        for place, line in enumerate(lines):
            head = Text(f"{shown if place == 0 else '':<{len(INDENT)}}", style="dim")
            head.append(f"{who if place == 0 else '':<{LABEL}}", style=who_style)
            self._console.print(head.append(line, style=style), soft_wrap=True)


def _verdict(attempt: Attempt) -> tuple[str, str]:
    verdict = attempt.verdict
    if verdict.origin == "unchecked":
        return "switched off: the draft leaves unchecked", "yellow"
    why = "; ".join(f"{issue.kind.value}: {issue.evidence}" for issue in verdict.issues[:1])
    style = "green" if verdict.approved else "red" if verdict.issues else "yellow"
    return f"{verdict.decision.value}{', ' if why else ''}{why}", style


def show_end(console: Console, story: Story, picture: str) -> None:
    """Print the table of memories, what happened in numbers, and where the picture is."""
    console.print()
    if story.traces:
        console.print(_memories(story))
    drafts = [attempt for each in story.answered for attempt in each.result.attempts]
    rejected = sum(not attempt.verdict.approved and bool(attempt.verdict.issues) for attempt in drafts)
    approved = sum(each.result.approved for each in story.answered)
    lessons = sum(len(each.result.reflections) for each in story.answered)
    remembered = sum(each.lessons != () for each in story.answered)
    console.print()
    gone = sum(trace.tier is Tier.FORGOTTEN for trace in story.traces)
    console.print(
        f"Questions: {len(story.answered)}, answers approved: {approved}, drafts rejected: {rejected}, "
        f"lessons drawn: {lessons}, answers helped by an earlier lesson: {remembered}."
    )
    console.print(f"Memories: {len(story.traces)}, forgotten: {gone}. {DAYS} days took {story.seconds:.1f} seconds.")
    console.print(Text(picture, style="bold"), soft_wrap=True)


def _memories(story: Story) -> Table:
    table = Table(
        title=f"Memories on day {DAYS}: what was told, and the lessons",
        title_justify="left",
        title_style="bold",
        header_style="dim",
        box=None,
        pad_edge=False,
        expand=True,
    )
    table.add_column("memory", ratio=1)
    for name in ("told", "S days", "uses", "R"):
        table.add_column(name, justify="right")
    table.add_column("where it is")
    shown = [trace for trace in story.traces if trace.topic is not None or trace.record.kind is Kind.REFLECTION]
    for trace in sorted(shown, key=lambda trace: (-trace.record.uses, -trace.retention)):
        record = trace.record
        where, style = _where(trace)
        day = (record.created_at - story.life.start).days + 1
        lesson = record.kind is Kind.REFLECTION
        words = f"lesson: {lesson_plan(record.text)}" if lesson else " ".join(record.text.split())
        table.add_row(
            Text(words, style=style),
            f"day {day}",
            f"{record.strength:.1f}",
            str(record.uses),
            f"{trace.retention:.2f}",
            Text(where, style=style),
        )
    return table


def _where(trace: Trace) -> tuple[str, str]:
    if trace.record.status is Status.SUPERSEDED:
        return "superseded", "dim"
    style = {Tier.SHORT_TERM: "green", Tier.LONG_TERM: "", Tier.FORGOTTEN: "dim"}[trace.tier]
    return trace.tier.value.replace("_", "-"), style
