"""Suites `decay` and `loops`: age and use decide what is recalled first and kept longer, and repetition does not."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from mars.evaluation.change_cases import MATTERS, START, VALUES, Broken, Outcome, Setting, Shares, days, spread
from mars.memory.engine import Memory
from mars.memory.presets import Preset
from mars.memory.records import Duplicates, Grade, Kind, Namespace, NewRecord, Record, Source
from mars.memory.views import standing_at

KINDS = (Kind.EPISODE, Kind.REFLECTION, Kind.PROCEDURE)
"""The kinds that are compared; a fact is one, however often it is told."""
WAYS = ("age", "uses", "spacing")
"""In what two records may differ: when they were told; whether they were used; how often, with one last use."""
GAPS = {"age": (0.5, 20.0), "uses": (0.5, 20.0), "spacing": (5.0, 20.0)}
"""Least and most days between two events. Uses nearer to each other count for less than one apart (FSRS's spacing)."""
HORIZONS = (0.1, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1_000.0, 3_000.0, 10_000.0)
"""Days after the last use at which the store is looked at."""
SETTLED = 30.0
"""From so many days on nothing that was stored again may outlast what was used."""
TOP = 5
"""Hits that a prompt has room for."""


async def decay(setting: Setting) -> Outcome:
    """Let two records of the same words differ in age or uses, and look at them for years.

    ``first``: of the looks at which both are there, those where the stronger one is recalled first, by the way in which
    they differ. ``archived``: of the cases, those where the weaker one is archived at a look and the stronger one not
    yet. ``displaced``: of the cases under a capacity of two, those where a third record displaces the weaker one.
    """
    outcome, shares = Outcome(), Shares()
    async with setting.memory() as memory:
        for case in range(setting.cases):
            namespace, way = ("decay", str(case)), WAYS[case % len(WAYS)]
            weak, strong, last = await _pair(memory, namespace, way, setting)
            wrong, apart = list[str](), False
            for horizon in HORIZONS:
                now = last + days(horizon)
                live = await _live(memory, namespace, now)
                there = [weak.id in live, strong.id in live]
                apart |= there == [False, True]
                if there == [True, False]:
                    wrong.append(f"{way}: after {horizon:g} days the stronger of two is archived, the weaker is not")
                elif all(there):
                    first = await _first(memory, namespace, weak.text, now) == strong.id
                    shares.add(f"first_{way}", first)
                    if not first:
                        wrong.append(f"{way}: after {horizon:g} days the weaker of two is recalled first")
            shares.add("archived", apart)
            shares.add("displaced", await _displaced(memory, setting.preset, weak, strong, last))
            outcome.told(wrong)
    outcome.figures = shares.plain()
    return outcome


async def _pair(memory: Memory, namespace: Namespace, way: str, setting: Setting) -> tuple[Record, Record, datetime]:
    """Store two records of the same words; return the weaker, the stronger, and the time of what happened last."""
    draw = setting.draw
    text = f"The {draw.choice(MATTERS)} list is kept under {draw.choice(VALUES)}."
    kind, gap = draw.choice(KINDS), days(spread(draw, *GAPS[way]))
    twins = [NewRecord(text=text, namespace=namespace, kind=kind, conversation=f"talk {place}") for place in (0, 1)]
    times = [START, START + gap] if way == "age" else [START, START]
    one, other = await memory.add_many(twins, duplicates=Duplicates.KEEP, now=times)
    if way == "age":
        return one, other, times[1]
    weak, strong = (one, other) if draw.random() < 0.5 else (other, one)
    grade = Grade.AGAIN if setting.broken is Broken.STRENGTH else Grade.GOOD
    last = START
    for number in range(draw.randint(1, 4)):
        last += gap * draw.uniform(1.0, 2.0)
        await memory.used(strong.id, grade, f"turn {number}", now=last)
    if way == "spacing":
        last += gap
        await memory.used([weak.id, strong.id], Grade.GOOD, "both", now=last)
    return weak, strong, last


async def _live(memory: Memory, namespace: Namespace, now: datetime) -> dict[str, Record]:
    return {one.id: one for one in await memory.list(namespace, now=now)}


async def _first(memory: Memory, namespace: Namespace, text: str, now: datetime) -> str | None:
    hits = await memory.recall(text, namespace=namespace, k=2, floor=0.0, now=now)
    return hits[0].record.id if hits else None


async def _displaced(memory: Memory, preset: Preset, weak: Record, strong: Record, last: datetime) -> bool:
    """Return whether a third record takes the weaker one's place where there is room for two."""
    now = last + days(2.0)
    fresh = NewRecord(
        text="Every Tuesday the kitchen opens late because the gardener waters seven rows.", namespace=weak.namespace
    )
    async with memory.under(preset.but(capacity=2)) as small:
        await small.add(fresh, now=now)
        live = await _live(small, weak.namespace, now)
    return weak.id not in live and strong.id in live


async def loops(setting: Setting) -> Outcome:
    """Store one answer again day after day, use another, then wait for years.

    ``first``: of the looks, those where the used record is recalled before every copy; ``in_prompt``: where it is among
    the first five; ``copies``: mean number of live records of the repeated answer when the loop ends.
    """
    outcome, shares, copies = Outcome(), Shares(), list[int]()
    async with setting.memory() as memory:
        for case in range(setting.cases):
            namespace, kind = ("loops", str(case)), setting.draw.choice(KINDS)
            used, again, last = await _looped(memory, namespace, kind, setting)
            live = await _live(memory, namespace, last)
            copies.append(sum(one in live for one in again))
            outcome.told(await _outlived(memory, used, again, last, setting.preset, shares))
    outcome.figures = {**shares.plain(), "copies": round(sum(copies) / len(copies), 2)}
    return outcome


async def _looped(
    memory: Memory, namespace: Namespace, kind: Kind, setting: Setting
) -> tuple[Record, list[str], datetime]:
    """Play the loop; return what was used, the ids of what was stored again, and the last day."""
    draw = setting.draw
    matter, values = draw.choice(MATTERS), draw.sample(VALUES, 2)
    texts = [f"The {matter} key is in the drawer {value}." for value in values]
    made = NewRecord(text=texts[0], namespace=namespace, kind=kind, conversation="talk")
    used = await memory.add(made, now=START)
    count = draw.randint(5, 20)
    every = draw.randint(1, min(7, count))
    again: dict[str, None] = {}
    for day in range(1, count + 1):
        now = START + timedelta(days=day)
        copy = replace_text(made, texts[1], f"turn {day}")
        record = await memory.add(copy, now=now)
        again[record.id] = None
        if setting.broken is Broken.LOOPS:
            await memory.used(record.id, Grade.GOOD, f"turn {day}", now=now)
        elif day % every == 0:
            await memory.used(used.id, Grade.GOOD, f"turn {day}", now=now)
    return used, list(again), START + timedelta(days=count)


def replace_text(made: NewRecord, text: str, conversation: str) -> NewRecord:
    """Return the answer that an assistant stores again in a later conversation."""
    return NewRecord(
        text=text, namespace=made.namespace, kind=made.kind, conversation=conversation, source=Source.ASSISTANT
    )


async def _outlived(
    memory: Memory, used: Record, again: Sequence[str], last: datetime, preset: Preset, shares: Shares
) -> list[str]:
    """Return at which looks a copy outlasts what was used: is there without it, or retains more."""
    wrong = list[str]()
    for horizon in (one for one in HORIZONS if one >= SETTLED):
        now = last + days(horizon)
        live = await _live(memory, used.namespace, now)
        left = {name: standing_at(record, preset, now).retention for name, record in live.items()}
        kept, most = left.get(used.id, 0.0), max(left.get(one, 0.0) for one in again)
        if most > kept:
            wrong.append(f"{horizon:g} days after the loop a copy retains {most:.3f}, what was used {kept:.3f}")
        if kept > 0.0:
            hits = await memory.recall(used.text, namespace=used.namespace, k=TOP, floor=0.0, now=now)
            found = [hit.record.id for hit in hits]
            shares.add("first", found[:1] == [used.id])
            shares.add("in_prompt", used.id in found)
    return wrong
