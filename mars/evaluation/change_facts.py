"""Suites `update` and `as-of`: what a store holds to be so while facts change, late and out of order.

*The truth* of a case is a list of tellings: from when on a value holds, and when the store was told. What holds at a
time is the value of the latest beginning up to then; of two with one beginning, the one told last. Values are repeated:
as of later times, before something in between is told late, and as of earlier times than were known.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from mars.evaluation.change_cases import MATTERS, START, VALUES, Broken, Outcome, Setting, Shares, days, spread
from mars.memory.engine import Memory
from mars.memory.records import Grade, Hit, Kind, Namespace, NewRecord, Source, Status

USER = "Mara"
"""Whom the facts are about."""
K = 10
"""Hits that are looked at."""
USES = (0, 3)
"""How often the first statement is used before it changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """That something is so from a time on, told at another."""

    value: str
    """What is so."""
    holds: datetime
    """From when on."""
    told: datetime
    """When the store learned it."""


def so_at(tellings: Sequence[Telling], valid: datetime, known: datetime) -> str | None:
    """Return what held at `valid` by what was told up to `known`: the truth of a case."""
    heard = [(one.holds, one.told, one.value) for one in tellings if one.told <= known and one.holds <= valid]
    return max(heard)[2] if heard else None


def drawn_tellings(draw: random.Random, late: bool) -> list[Telling]:
    """Return two to seven tellings in the order in which the store learns them; some are told late.

    Where none is late, a value may come back after others: Rome, Oslo, Rome. Else one may be repeated before what came
    in between is told: it still holds after that. And one may turn out to have held from earlier on.
    """
    values = draw.sample(VALUES, draw.randint(2, 5))
    if not late and len(values) > 2 and draw.random() < 0.5:
        values[-1] = values[0]
    elif late and draw.random() < 0.5:
        place = draw.randrange(len(values))
        values.insert(place + 1 + (place + 1 < len(values)), values[place])
    at, tellings = START, list[Telling]()
    for value in values:
        at += days(spread(draw, 0.2, 60.0))
        tellings.append(Telling(value=value, holds=at, told=at))
    if late:
        place = draw.randrange(len(tellings) - 1)
        tellings[place] = replace(tellings[place], told=at + days(spread(draw, 0.1, 30.0)))
        if draw.random() < 0.5:
            told = draw.choice(tellings)
            earlier = START + (told.holds - START) * draw.random()
            after = max(one.told for one in tellings) + days(spread(draw, 0.1, 30.0))
            tellings.append(Telling(value=told.value, holds=earlier, told=after))
    return sorted(tellings, key=lambda one: one.told)


def as_fact(one: Telling, matter: str, namespace: Namespace, number: int, broken: Broken | None) -> NewRecord:
    """Return a telling as the fact that a caller stores."""
    relation = f"favourite {matter}"
    return NewRecord(
        text=f"{USER}'s {relation} is {one.value}.",
        namespace=namespace,
        kind=Kind.FACT,
        subject=USER,
        relation=f"{relation} {number}" if broken is Broken.SUPERSEDING else relation,
        value=one.value,
        valid_from=one.holds,
    )


def as_words(one: Telling, matter: str, namespace: Namespace, number: int, broken: Broken | None) -> NewRecord:
    """Return a telling as the user's own words, from which the store draws the fact."""
    return NewRecord(
        text=f"My favourite {matter} is {one.value}.",
        namespace=namespace,
        conversation=f"talk {number}",
        speaker=USER,
        event_time=one.holds,
        source=Source.USER,
        draw_facts=broken is not Broken.SUPERSEDING,
    )


async def update(setting: Setting) -> Outcome:
    """Play tellings that change a matter; see what is recalled and listed as being so after each.

    Half of the cases store facts, half say them. ``found``: the share of checks where the value that is so was among
    the first hits. ``newer_first``: of the user's own words about a matter that has changed, the newest come first;
    ``newer_first_used``: the same where the older ones were used three times before.
    """
    outcome, shares = Outcome(), Shares()
    async with setting.memory(extract_facts=True) as memory:
        for case in range(setting.cases):
            spoken = case % 2 == 1
            tellings = drawn_tellings(setting.draw, late=case % 4 >= 2)
            matter, namespace = setting.draw.choice(MATTERS), ("update", str(case))
            uses = setting.draw.choice(USES)
            wrong: list[str] = []
            for number, one in enumerate(tellings):
                make = as_words if spoken else as_fact
                record = await memory.add(make(one, matter, namespace, number, setting.broken), now=one.told)
                if number == 0:
                    await _use(memory, record.id, uses, one.told, tellings[1].told)
                now = one.told + days(spread(setting.draw, 0.01, 0.2))
                wrong += await _checked(memory, namespace, matter, tellings, now, shares)
            now = tellings[-1].told + days(spread(setting.draw, 0.1, 200.0))
            if setting.draw.random() < 0.5:
                await memory.sweep(namespace=namespace, now=now)
            wrong += await _checked(memory, namespace, matter, tellings, now, shares)
            if spoken and case % 4 == 1:
                await _words_compared(memory, namespace, matter, tellings, now, shares, used=uses > 0)
            outcome.told(wrong)
    outcome.figures = shares.plain()
    return outcome


async def _use(memory: Memory, record: str, uses: int, first: datetime, last: datetime) -> None:
    """Use a record so many times between two moments."""
    for number in range(uses):
        await memory.used(record, Grade.GOOD, f"use {number}", now=first + (last - first) * (number + 1) / (uses + 1))


async def _checked(
    memory: Memory, namespace: Namespace, matter: str, tellings: Sequence[Telling], now: datetime, shares: Shares
) -> list[str]:
    """Return what is wrong with what is recalled and listed at `now`."""
    so = so_at(tellings, now, now)
    question = f"What is {USER}'s favourite {matter}?"
    hits = await memory.recall(question, namespace=namespace, k=K, floor=0.0, now=now)
    facts = [hit.record for hit in hits if hit.record.kind is Kind.FACT]
    active = await memory.list(namespace, kinds=(Kind.FACT,), statuses=(Status.ACTIVE,), now=now)
    shares.add("found", so in [_value(hit) for hit in hits[:2]])
    return [
        f"{how}: {one.text} At {now:%Y-%m-%d} it is {so}."
        for how, records in (("recalled", facts), ("listed", active))
        for one in records
        if one.value != so
    ]


def _value(hit: Hit) -> str:
    return hit.record.text.rstrip(".").rpartition(" ")[2]


async def _words_compared(
    memory: Memory,
    namespace: Namespace,
    matter: str,
    tellings: Sequence[Telling],
    now: datetime,
    shares: Shares,
    *,
    used: bool,
) -> None:
    """Count whether the newest of the user's own words come first."""
    question = f"What is {USER}'s favourite {matter}?"
    kinds = (Kind.EPISODE,)
    hits = await memory.recall(question, namespace=namespace, k=K, floor=0.0, kinds=kinds, now=now)
    newest = max(tellings, key=lambda one: one.holds)
    shares.add("newer_first_used" if used else "newer_first", bool(hits) and _value(hits[0]) == newest.value)


async def as_of(setting: Setting) -> Outcome:
    """Ask what held at a time, as far as the store knew at another.

    ``told``: the share of questions with an answer that got it, asked by what is known now; ``told_then`` by what was
    known at an earlier time. An answer that is missing is no violation: it is told in these figures.
    """
    outcome, shares = Outcome(), Shares()
    async with setting.memory() as memory:
        for case in range(setting.cases):
            tellings = drawn_tellings(setting.draw, late=case % 2 == 1)
            matter, namespace = setting.draw.choice(MATTERS), ("as-of", str(case))
            news = [as_fact(one, matter, namespace, place, setting.broken) for place, one in enumerate(tellings)]
            await memory.add_many(news, now=[one.told for one in tellings])
            end = tellings[-1].told + days(spread(setting.draw, 0.1, 100.0))
            wrong = list[str]()
            for name, known in (("told", end), ("told", end), ("told_then", None), ("told_then", None)):
                valid = START + (end - START) * setting.draw.random()
                known = known or START + (end - START) * setting.draw.random()
                so = so_at(tellings, valid, known)
                asked = end if setting.broken is Broken.DATES else valid
                said = await memory.as_of(namespace, asked, known_at=known, subject=USER, now=end)
                if so is not None:
                    shares.add(name, so in [one.value for one in said])
                wrong += [
                    f"{one.text} On {valid:%Y-%m-%d}, as known on {known:%Y-%m-%d}, it was {so}."
                    for one in said
                    if one.value != so
                ]
            outcome.told(wrong)
    outcome.figures = shares.plain()
    return outcome
