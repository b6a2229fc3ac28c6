"""A scheduler: promises with due dates, moved now and then, and long silences before they are due.

*Distribution.* The user makes 16 promises, each to another pair of person and thing, on days of 0..59 (uniform), each
with a due date of its own. Each is said again `repeat` times within 5 days. With chance `change` a promise is moved 5
to 20 days after it was made: said anew in the same words with another date, and that said again `repeat` times. The due
date is `gap` days after the last telling, plus a draw of 0..9 days so that no two promises share a date; the date that
was said before a move lies 3 to 30 days before or after the last one. On the morning of each due date the user asks
what is due. On 8 other days, on which nothing is due, the user asks too: first the given-up dates of moved promises
that lie after the move, then drawn days. For each statement of the user there are `noise` statements of others
(rounded): half of them promises of their own with drawn dates, half talk.

*Truth.* The promise that is due on the day, by what the user has said last of it.

*Policy.* `mars.simulation.policies.SchedulerPolicy`: of the newest line of the user about each promise in its prompt,
the one that names the day that was asked for; else "Not known.".

*Oracle.* The same policy, with the newest statement of the promise that is due as its only memory; none on empty days.

*Memoryless.* "Not known." is right on the 8 empty days and never else: 8 of 24 questions, 1/3 exactly.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from mars.simulation.policies import SchedulerPolicy, day_name
from mars.simulation.topics import PEOPLE, SMALL_TALK
from mars.simulation.worlds import START, USER, Claim, Episode, Reference, Statement, Step, in_order

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

PROMISES, EMPTY = 16, 8
"""Promises of an episode, and questions on days without one."""
THINGS = (
    "contract",
    "invoice",
    "report",
    "ladder",
    "photos",
    "recipe",
    "tickets",
    "survey",
    "keys",
    "manuscript",
    "drill",
    "slides",
)
"""What is promised."""

_PROMISED = re.compile(r"I promised (\w+ the \w+) by (\d+ \w+)\.$")


class SchedulerEpisode(Episode):
    """Months of promises; see this module's first lines."""

    world = "scheduler"
    version = 1

    @staticmethod
    def policy(seed: int) -> BaseChatModel:
        """Return the rules of the scheduler."""
        return SchedulerPolicy()

    @staticmethod
    def claim(speaker: str, text: str) -> Claim | None:
        """Return the promise and its due date, of what the user says."""
        found = _PROMISED.match(text) if speaker == USER else None
        return None if found is None else (found[1], found[2])

    def floor(self) -> float:
        """Return 1/3: see the docstring of the module."""
        return EMPTY / (PROMISES + EMPTY)

    def steps(self) -> Iterator[Step]:
        """Yield all that is promised, moved and asked."""
        draw = self.random
        pairs = draw.sample([(name, thing) for name in PEOPLE for thing in THINGS], PROMISES)
        taken: set[int] = set()
        given_up: list[tuple[int, int]] = []
        steps: list[Step] = []
        told = 0
        for name, thing in pairs:
            said, due = self._life_of(name, thing, taken, given_up)
            told += len(said)
            steps += said
            true = max(said, key=lambda one: one.at)
            wrong = frozenset(f"{other} the {what}" for other, what in pairs) - {f"{name} the {thing}"}
            reference = Reference(values=(f"{name} the {thing}",), wrong=wrong, records=(true,))
            steps.append(self.ask(_morning(due), _question(due), reference))
        last = max(taken)
        steps += self._empty(taken, given_up, last)
        steps += [self._noise(last) for _ in range(round(self.cell.noise * told))]
        yield from in_order(steps)

    def _life_of(
        self, name: str, thing: str, taken: set[int], given_up: list[tuple[int, int]]
    ) -> tuple[list[Statement], int]:
        """Return the statements of a promise, and its due day."""
        draw = self.random
        made = draw.randrange(60)
        days = [made, *(made + draw.randint(1, 5) for _ in range(self.cell.repeat))]
        moved: list[int] = []
        if draw.random() < self.cell.change:
            at = made + draw.randint(5, 20)
            moved = [max(at, max(days) + 1)]
            moved += [moved[0] + draw.randint(1, 5) for _ in range(self.cell.repeat)]
        due = max(days + moved) + max(1, round(self.cell.gap)) + draw.randrange(10)
        while due in taken:
            due += 1
        taken.add(due)
        before = due
        if moved:
            before = due + draw.choice((-1, 1)) * draw.randint(3, 30)
            before = max(before, max(days) + 1)
            given_up.append((before, max(moved)))
        said = [self._promise(day, name, thing, before) for day in days]
        said += [self._promise(day, name, thing, due) for day in moved]
        return said, due

    def _empty(self, taken: set[int], given_up: list[tuple[int, int]], last: int) -> list[Step]:
        draw = self.random
        days = [day for day, moved in sorted(given_up) if day > moved and day not in taken]
        chosen = list(dict.fromkeys(days))[:EMPTY]
        spoken = taken | {day for day, _ in given_up}
        others = [day for day in range(20, last + EMPTY + 20) if day not in spoken]
        chosen += draw.sample(others, EMPTY - len(chosen))
        return [self.ask(_morning(day), _question(day), Reference(values=())) for day in chosen]

    def _promise(self, day: int, name: str, thing: str, due: int) -> Statement:
        text = f"I promised {name} the {thing} by {day_name(START + timedelta(days=due))}."
        return Statement(at=self.moment(day), speaker=USER, text=text)

    def _noise(self, last: int) -> Statement:
        draw = self.random
        speaker, at = draw.choice(PEOPLE), self.moment(draw.randrange(last))
        if draw.random() < 0.5:
            return Statement(at=at, speaker=speaker, text=draw.choice(SMALL_TALK))
        due = day_name(START + timedelta(days=draw.randrange(last)))
        text = f"I promised {draw.choice(PEOPLE)} the {draw.choice(THINGS)} by {due}."
        return Statement(at=at, speaker=speaker, text=text)


def _morning(day: int) -> datetime:
    return START + timedelta(days=day, hours=7)


def _question(day: int) -> str:
    return f"What did I promise by {day_name(START + timedelta(days=day))}?"
