"""Suite `junk`: three years in which nearly all that is told is of no use, and a few things are asked for again.

*The life.* 24 things are told in its first third: where the user keeps something. Each is asked for again and again,
after gaps drawn between 10 and 120 days; a hit among the first `TOP` is used. All else is junk, in the mix of `MIX`:
talk about nothing, talk about the same things that answers nothing, what others say of things of their own in the very
same words, lessons that repeat one of a few texts, status lines. Turns are spread evenly over `SPAN` days, so that
more turns mean more junk and not more time.

*Needed* is a thing from its telling to its last question. The rule: a needed thing is never archived.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from typing import Any

from mars.evaluation.change_cases import MATTERS, START, VALUES, Broken, Outcome, Setting, days, spread
from mars.memory.engine import Memory
from mars.memory.records import Grade, Kind, Namespace, NewRecord, Source, Status

SPAN = 1_095.0
"""Days of the life."""
NEEDED = 24
"""Things that are asked for again."""
GAPS = (10.0, 120.0)
"""Days between two questions for a thing."""
TOP = 8
"""Hits that a prompt has room for, as in the loop."""
LOOKS = 10
"""So often the store is measured."""
TIMED = 20
"""Questions that are timed at each look."""
MIX: Mapping[str, float] = {"chatter": 0.45, "near": 0.25, "rival": 0.05, "lesson": 0.15, "status": 0.1}
"""Shares of the sorts of junk."""
LESSONS = 12
"""Different lessons; the same text is merged."""

_USER: Namespace = ("mara",)
_PLACES = ("cellar", "attic", "garage", "pantry", "study", "shed", "hall", "loft")
_SUBJECTS = ("The neighbour", "My brother", "Somebody at work", "The postman", "A friend", "The teacher")
_OTHERS = ("Ann", "Bob", "Cleo", "Dirk", "Edda")
_VERBS = ("talked about", "complained about", "laughed at", "forgot", "photographed", "asked me about", "dreamt of")
_OBJECTS = ("the weather", "a train", "some paint", "the election", "a cousin's dog", "two tickets", "the old bridge")
_WHENS = ("again", "this morning", "for an hour", "on the phone", "over lunch", "without a reason", "as usual")


@dataclass(frozen=True, slots=True)
class _Thing:
    name: str
    text: str
    told: datetime
    asked: tuple[datetime, ...]

    @property
    def question(self) -> str:
        return f"Where do I keep the {self.name}?"


@dataclass(slots=True)
class _Life:
    """What happens, and what was seen of it."""

    things: list[_Thing]
    ids: dict[str, str] = field(default_factory=dict)
    asked: list[bool] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    looks: list[dict[str, Any]] = field(default_factory=list)
    junk: int = 0
    said: int = 0


async def junk(setting: Setting) -> Outcome:
    """Live through the turns, look at the store ten times on the way.

    ``answered``: share of the questions that found their thing among the first eight hits; ``answered_last``: of the
    last tenth of them. ``junk_there``: share of the junk told that is still active at the end; ``merged`` and
    ``archived``: shares that went so. ``looks``: at each, turns so far, live records, share of things found, and
    milliseconds of a recall, also by the process's CPU. ``growth``: live records at the end against those half way.
    """
    preset = setting.preset.without_decay() if setting.broken is Broken.FORGETTING else setting.preset
    draw, outcome = setting.draw, Outcome()
    life = _Life([_thing(draw, number) for number in range(NEEDED)])
    due = sorted((at, place) for place, thing in enumerate(life.things) for at in (thing.told, *thing.asked))
    async with Memory.open("memory:", preset=preset, seed="change") as memory:
        for turn in range(1, setting.turns + 1):
            now = START + days(SPAN * turn / setting.turns)
            while due and due[0][0] <= now:
                at, place = due.pop(0)
                await _needed(memory, life, life.things[place], at, setting.broken)
            await memory.add(_junk(draw, life.said, draw.choice(life.things)), now=now)
            life.junk, life.said = life.junk + 1, life.said + 1
            if turn % (setting.turns // LOOKS) == 0:
                life.looks.append(await _look(memory, life, turn, now))
    for thing in life.things:
        outcome.told([one for one in life.lost if one.startswith(f"{thing.name}:")])
    outcome.figures = _figures(life, setting.turns)
    return outcome


def _thing(draw: Random, number: int) -> _Thing:
    name = f"{VALUES[number % len(VALUES)]} {MATTERS[(number * 7 + number // len(VALUES)) % len(MATTERS)]} box"
    told = START + days(SPAN / 3 * draw.random())
    asked, at = list[datetime](), told
    while (at := at + days(spread(draw, *GAPS))) < START + days(SPAN):
        asked.append(at)
    return _Thing(name, f"I keep the {name} in the {draw.choice(_PLACES)}.", told, tuple(asked))


async def _needed(memory: Memory, life: _Life, thing: _Thing, now: datetime, broken: Broken | None) -> None:
    """Tell a thing, or ask for it and use what is found."""
    if now == thing.told:
        made = _said(thing.text, "Mara", life.said)
        life.said += 1
        life.ids[thing.name] = (await memory.add(made, now=now)).id
        return
    record = life.ids[thing.name]
    found = await memory.get(record, now=now)
    if found is None or found.status is not Status.ACTIVE:
        life.lost.append(f"{thing.name}: archived though it was asked for on {now:%Y-%m-%d}")
    hits = await memory.recall(thing.question, namespace=_USER, k=TOP, now=now)
    there = record in [hit.record.id for hit in hits]
    life.asked.append(there)
    if there and broken is not Broken.USES:
        await memory.used(record, Grade.GOOD, f"turn {len(life.asked)}", now=now)


def _said(text: str, speaker: str, number: int) -> NewRecord:
    """Return what somebody said as the turn of this number; twenty turns are a conversation."""
    return NewRecord(text=text, namespace=_USER, conversation=f"talk {number // 20}", position=number, speaker=speaker)


def _junk(draw: Random, number: int, thing: _Thing) -> NewRecord:
    (sort,) = draw.choices(list(MIX), list(MIX.values()))
    if sort == "lesson":
        text = f"Lesson {draw.randrange(LESSONS)}: look at the question again before you answer it."
        return NewRecord(text=text, namespace=_USER, kind=Kind.REFLECTION, source=Source.ASSISTANT)
    if sort == "status":
        text = f"Job {draw.randrange(10_000)} ended with code {draw.randrange(4)} after {draw.randrange(900)} seconds."
        return NewRecord(text=text, namespace=_USER, conversation="jobs", position=number, source=Source.OPERATOR)
    if sort == "rival":
        return _said(f"I keep the {thing.name} in the {draw.choice(_PLACES)}.", draw.choice(_OTHERS), number)
    about = f"the {thing.name}" if sort == "near" else draw.choice(_OBJECTS)
    return _said(f"{draw.choice(_SUBJECTS)} {draw.choice(_VERBS)} {about} {draw.choice(_WHENS)}.", "Mara", number)


async def _look(memory: Memory, life: _Life, turns: int, now: datetime) -> dict[str, Any]:
    """Sweep, count, and ask for every thing that was told."""
    await memory.sweep(now=now)
    stats = await memory.stats(now=now)
    known = [thing for thing in life.things if thing.name in life.ids]
    found = 0
    for thing in known:
        hits = await memory.recall(thing.question, namespace=_USER, k=TOP, now=now)
        found += life.ids[thing.name] in [hit.record.id for hit in hits]
    spent, worked = list[float](), time.process_time()
    for place in range(TIMED):
        started = time.perf_counter()
        await memory.recall(known[place % len(known)].question, namespace=_USER, k=TOP, now=now)
        spent.append(time.perf_counter() - started)
    worked = time.process_time() - worked
    return {
        "turns": turns,
        "live": stats.by_status.get(Status.ACTIVE, 0),
        "records": stats.records,
        "found": round(found / len(known), 4),
        "ms": round(1e3 * statistics.median(spent), 3),
        "cpu_ms": round(1e3 * worked / TIMED, 3),
    }


def _figures(life: _Life, turns: int) -> dict[str, Any]:
    last, half = life.looks[-1], life.looks[len(life.looks) // 2 - 1]
    tail = life.asked[-max(1, len(life.asked) // 10) :]
    stored = last["records"] - len(life.ids)
    return {
        "turns": turns,
        "asked": len(life.asked),
        "answered": round(sum(life.asked) / len(life.asked), 4),
        "answered_last": round(sum(tail) / len(tail), 4),
        "junk_share": round(life.junk / (life.junk + len(life.ids)), 4),
        "junk_there": round(max(0, last["live"] - len(life.ids)) / life.junk, 4),
        "merged": round((life.junk - stored) / life.junk, 4),
        "archived": round((last["records"] - last["live"]) / life.junk, 4),
        "growth": round(last["live"] / half["live"], 4),
        "looks": life.looks,
    }
