"""A life of 60 days, drawn from a seed: what is told when, in which words, and what is asked when.

The plan of a life knows what was told, never what will be answered. Facts play one of five parts:

=========== ===================================================================================================
part        what the user does
=========== ===================================================================================================
changed     says it three times in clear words, once announces a change in other words, asks; asks again later
corrected   says it, takes it back in the same clear words, asks
kept        says it once and asks for it now and then, to the end
faded       says it once, on the day of `kept`, and asks for it only at the end
passing     says it once and asks for it once, a few days later
=========== ===================================================================================================
"""

from __future__ import annotations

import random
import string
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum

from mars.errors import InvalidInput
from mars.simulation.topics import CORRECTIONS, PEOPLE, POOLS, SMALL_TALK, TOPICS, USERS, Topic

DAYS = 60
"""How long a life is, in days."""
FIRST_DAY = date(2026, 1, 5)
"""Lives begin on this day or up to 300 days later."""
PASSING = 3
"""How many facts are told and asked for once."""
OTHERS = 5
"""How many facts about other people are mentioned."""
TALK = 24
"""How often the user says something of no consequence."""


class Part(StrEnum):
    """The part that a fact plays; see this module's first lines."""

    CHANGED = "changed"
    CORRECTED = "corrected"
    KEPT = "kept"
    FADED = "faded"
    PASSING = "passing"


class Act(StrEnum):
    """What the user does with a turn."""

    TELLS = "tells"
    """Says a fact for the first time."""
    REPEATS = "repeats"
    """Says it again."""
    CHANGES = "changes"
    """Says that it is otherwise now."""
    CHATS = "chats"
    """Says something that is never asked for."""
    ASKS = "asks"
    """Asks for a fact."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """Something that is so in the user's life, and the words for it."""

    topic: str
    """What it is about, in a few words; unique in a life."""
    ask: str
    """The question for it."""
    tell: tuple[str, ...]
    """Clear statements of it, with ``{value}``."""
    first: str
    """The value at first."""
    new: str | None = None
    """The value later, if it changes."""
    change: tuple[str, ...] = ()
    """Announcements of the change in other words, with ``{value}``; empty: the user corrects in the words of `tell`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One thing that the user says."""

    at: datetime
    """When, in UTC."""
    day: int
    """The day of the life, from 1."""
    act: Act
    """What the user does with it."""
    text: str
    """The words."""
    topic: str | None = None
    """Topic of the fact that it tells or asks for."""
    value: str | None = None
    """The value that it tells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """Everything that a user will say in 60 days."""

    seed: int
    """What it was drawn from."""
    user: str
    """Name of the user."""
    start: datetime
    """Midnight before the first day, UTC."""
    facts: dict[str, Fact] = field(default_factory=dict)
    """The facts by topic."""
    parts: dict[str, Part] = field(default_factory=dict)
    """The part that each topic plays."""
    turns: tuple[Turn, ...] = ()
    """What is said, in order of time."""

    def told(self, topic: str) -> list[Turn]:
        """Return the turns that tell a fact, oldest first: the truth that the world knows."""
        return [turn for turn in self.turns if turn.topic == topic and turn.act is not Act.ASKS]


def draw_life(
    seed: int,
    facts: Sequence[Fact] | None = None,
    user: str | None = None,
    small_talk: Sequence[str] | None = None,
    start: date | None = None,
) -> Life:
    """Return the life of a seed. The same arguments give the same life.

    `facts` replaces the built-in ones, `user` the name, `small_talk` what is said beside, `start` the first day. Raises
    `InvalidInput` unless there are at least two facts that do not change and one that does, with topics of their own.
    """
    rng = random.Random(seed)
    drawn_day = FIRST_DAY + timedelta(days=rng.randrange(300))
    midnight = datetime.combine(start or drawn_day, time(), UTC)
    name = rng.choice(USERS)
    drawn = tuple(facts) if facts is not None else _draw_facts(rng, midnight.date())
    parts = _cast(rng, drawn)
    plan = _Plan(rng, midnight)
    for fact in drawn:
        plan.add(fact, parts[fact.topic])
    plan.add_noise(small_talk or SMALL_TALK)
    return Life(
        seed=seed,
        user=user or name,
        start=midnight,
        facts={fact.topic: fact for fact in drawn},
        parts=parts,
        turns=plan.turns(),
    )


def _cast(rng: random.Random, facts: Sequence[Fact]) -> dict[str, Part]:
    """Return the part that each fact plays: what changes is given, what is kept and what fades is drawn."""
    steady = [fact.topic for fact in facts if fact.new is None]
    if len({fact.topic for fact in facts}) < len(facts):
        raise InvalidInput("two facts have the same topic; give each a topic of its own")
    if len(steady) < 2 or len(steady) == len(facts):
        raise InvalidInput(
            "a life needs at least one fact with a new value and two without: one changes, one is kept, one fades; "
            f"got {len(facts) - len(steady)} with and {len(steady)} without"
        )
    kept, faded, *passing = rng.sample(steady, len(steady))
    parts = {fact.topic: Part.CHANGED if fact.change else Part.CORRECTED for fact in facts}
    return parts | {kept: Part.KEPT, faded: Part.FADED} | dict.fromkeys(passing, Part.PASSING)


def _draw_facts(rng: random.Random, start: date) -> tuple[Fact, ...]:
    """Return built-in facts: one that changes, one that is corrected, and those that stay as they are."""
    pools = {name: rng.sample(values, len(values)) for name, values in POOLS.items()}
    chosen = rng.sample(TOPICS, 4 + PASSING)
    facts = []
    for place, topic in enumerate(chosen):
        first, second = _value(rng, topic, pools, start), _value(rng, topic, pools, start)
        names = {slot: pools[slot].pop() for slot in sorted(_slots(topic.name) - {"value"})}
        facts.append(
            Fact(
                topic=topic.name.format(**names),
                ask=rng.choice(topic.ask).format(**names),
                tell=_filled(rng.sample(topic.tell, len(topic.tell)), names),
                first=first,
                new=second if place < 2 else None,
                change=_filled(rng.sample(topic.change, len(topic.change)), names) if place == 0 else (),
            )
        )
    return tuple(facts)


def _value(rng: random.Random, topic: Topic, pools: dict[str, list[str]], start: date) -> str:
    """Take a value out of the topic's pool, or a day of the calendar some weeks ahead."""
    if topic.values != "day":
        return pools[topic.values].pop()
    taken = pools.setdefault("day", [])
    day = start + timedelta(days=rng.randrange(70, 150))
    while str(day) in taken:
        day += timedelta(days=1)
    taken.append(str(day))
    month = day.strftime("%B")
    return rng.choice((f"{day.day} {month}", f"{month} {day.day}", f"{day.strftime('%A')} {day.day} {month}"))


def _slots(template: str) -> set[str]:
    return {slot for _, slot, _, _ in string.Formatter().parse(template) if slot}


def _filled(templates: Iterable[str], names: dict[str, str]) -> tuple[str, ...]:
    return tuple(template.format(**names, value="{value}") for template in templates)


class _Plan:
    """Collects the turns of a life."""

    def __init__(self, rng: random.Random, start: datetime) -> None:
        self._rng = rng
        self._start = start
        self._turns: list[Turn] = []
        self._together = rng.randint(2, 4)  # the day on which the kept and the faded facts are told

    def add(self, fact: Fact, part: Part) -> None:
        """Plan when a fact is told and asked for."""
        told, changed, asked = self._days(part)
        for place, day in enumerate(told):
            words = fact.tell[place % len(fact.tell)]
            self._say(day, Act.REPEATS if place else Act.TELLS, words.format(value=fact.first), fact.topic, fact.first)
        if fact.new is not None:
            words = fact.change[0] if fact.change else f"{self._rng.choice(CORRECTIONS)} {_lowered(fact.tell[0])}"
            self._say(changed, Act.CHANGES, words.format(value=fact.new), fact.topic, fact.new)
        for day in asked:
            self._say(day, Act.ASKS, fact.ask, fact.topic)

    def _days(self, part: Part) -> tuple[Sequence[int], int, Sequence[int]]:
        """Return the days on which a fact is told, changed (0 if it is not) and asked for."""
        draw = self._rng.randint
        match part:
            case Part.CHANGED:
                first = draw(3, 40)
                told = (first, first + draw(1, 2), first + draw(3, 4))
                return told, first + 5, (first + 6, first + draw(7, 8), first + 16)
            case Part.CORRECTED:
                first = draw(3, 48)
                return (first,), first + draw(2, 4), (first + 6,)
            case Part.KEPT:
                first = self._together
                return (first,), 0, (first + 5, first + 15, first + 30, DAYS - 2)
            case Part.FADED:
                return (self._together,), 0, (DAYS - 1,)
            case Part.PASSING:
                first = draw(2, 50)
                return (first,), 0, (first + draw(2, 6),)

    def add_noise(self, small_talk: Sequence[str]) -> None:
        """Plan what is said beside: facts about other people, and talk."""
        rng = self._rng
        people = rng.sample(PEOPLE, OTHERS)
        for name, topic in zip(people, rng.sample(TOPICS, OTHERS), strict=True):
            value = _value(rng, topic, {key: list(values) for key, values in POOLS.items()}, self._start.date())
            self._say(rng.randint(1, DAYS), Act.CHATS, rng.choice(topic.others).format(name=name, value=value))
        said = rng.sample(small_talk, min(TALK, len(small_talk)))
        for text in said:
            self._say(rng.randint(1, DAYS), Act.CHATS, text)

    def turns(self) -> tuple[Turn, ...]:
        """Return the turns in order of time."""
        return tuple(sorted(self._turns, key=lambda turn: turn.at))

    def _say(self, day: int, act: Act, text: str, topic: str | None = None, value: str | None = None) -> None:
        at = self._start + timedelta(days=day - 1, minutes=self._rng.randint(8 * 60, 21 * 60))
        while any(turn.at == at for turn in self._turns):
            at += timedelta(minutes=1)
        self._turns.append(Turn(at=at, day=day, act=act, text=text, topic=topic, value=value))


def _lowered(text: str) -> str:
    """Return a sentence as it goes on after a colon: a small first letter, unless the word is "I"."""
    return text if text.startswith("I ") else text[0].lower() + text[1:]
