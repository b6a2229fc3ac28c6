"""Living a life: every turn through the real runtime, every memory in a real store, the clock moved day by day.

What happens is told to a watcher as it happens, and returned as a `Story`: plain values that a table, a picture or a
comparison can be made of. Nothing in here looks at what an answer says.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from mars.errors import InvalidSetting
from mars.events import Event, EventKind
from mars.memory.curves import retention
from mars.memory.engine import Memory
from mars.memory.interfaces import Backend, Kind, Record, Status, Tier
from mars.memory.presets import Preset, preset
from mars.memory.records import days_between
from mars.memory.views import standing_at
from mars.results import RunResult
from mars.runtime import Mars
from mars.simulation.life import DAYS, Act, Life, Turn
from mars.team import SWITCHES, Team
from mars.testing.clocks import FixedClock

ABLATIONS = SWITCHES
"""What a life can be lived without."""
BASE_DAYS = 7.0
"""Base strength of the demo's memories in days. The paper's is not published; one day forgets all between visits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A change of a record's strength."""

    at: datetime
    """When."""
    strength: float
    """S from then on, in days."""
    since: datetime
    """When τ was 0."""
    mark: str
    """What changed it: added, used (an approved answer cites it), blamed (the cause of an error) or repeated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """One memory and how its strength went."""

    record: Record
    """The record as it stands at the end."""
    topic: str | None
    """The fact that it tells; None for talk and lessons."""
    steps: tuple[Step, ...]
    """The changes of its strength, oldest first; the first is its adding."""
    retention: float
    """R at the end, in [0, 1]."""
    tier: Tier
    """Tier at the end."""
    crossed: datetime | None
    """When it fell below θ2, if it did; where a blame halved its strength, that may be the moment of the blame."""

    def retention_at(self, moment: datetime, rules: Preset) -> float | None:
        """Return R at a time; None before it was stored."""
        before = [step for step in self.steps if step.at <= moment]
        if not before:
            return None
        return retention(rules.curve, days_between(before[-1].since, moment), before[-1].strength)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A question and what came of it."""

    turn: Turn
    """The turn that asked."""
    result: RunResult
    """What the runtime returned."""
    lessons: tuple[str, ...] = ()
    """Lessons of earlier turns that were recalled for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Faded:
    """A memory that fell below θ2."""

    day: int
    """The day of the life on which the sweep found it."""
    record: Record
    """The record."""
    topic: str | None
    """The fact that it tells, if any."""


Moment = Turn | Answered | Faded
"""Something that a watcher is told: what was said, what was answered, what was forgotten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """A life that was lived."""

    life: Life
    """The plan."""
    rules: Preset
    """The preset of its memory."""
    without: frozenset[str]
    """What was switched off."""
    answered: tuple[Answered, ...]
    """The questions, in order."""
    faded: tuple[Faded, ...]
    """The memories that were forgotten, in order."""
    traces: tuple[Trace, ...]
    """Every memory, in the order of storing."""
    seconds: float
    """How long it took."""
    ended: datetime
    """The end of the last day, UTC."""

    def of_topic(self, topic: str) -> list[Trace]:
        """Return the memories of a fact, oldest first."""
        return [trace for trace in self.traces if trace.topic == topic]


def demo_preset(decay: bool = True) -> Preset:
    """Return preset ``paper`` with a base of `BASE_DAYS`; without decay nothing is hidden and age does not rank."""
    rules = preset("paper").but(base_strength=BASE_DAYS, name=f"paper, base {BASE_DAYS:.0f} days")
    if decay:
        return rules
    name = f"{rules.name}, decay off"
    return rules.but(tiers=replace(rules.tiers, forgets=False), retention_floor=1.0, name=name)


async def live(
    life: Life,
    *,
    without: Collection[str] = (),
    store: Backend | str = "sqlite:///:memory:",
    watch: Callable[[Moment], None] | None = None,
    team: Team | None = None,
) -> Story:
    """Live a life over a store and return what came of it.

    `without` names what is switched off, of `ABLATIONS`; `watch` is called with each moment as it happens; `team` is
    the loop's, with its own switches replaced. Raises `InvalidSetting` for an unknown name and for a store that knows
    the user already, and what the store raises.
    """
    unknown = set(without) - set(ABLATIONS)
    if unknown:
        raise InvalidSetting(f"without knows {', '.join(ABLATIONS)}; got {', '.join(sorted(unknown))}")
    began = time.perf_counter()
    clock = FixedClock(life.start)
    rules = demo_preset("decay" not in without)
    crew = replace(team or Team(), without=frozenset(without) - {"decay"})
    async with Memory.open(store, preset=rules, clock=clock) as memory, Mars.open(memory, team=crew) as mars:
        if await memory.namespaces((life.user,)):
            raise InvalidSetting(
                f"the memory holds records of {life.user} already; a life begins in a store of its own"
            )
        teller = _Teller(life, mars, clock, watch or _ignore)
        await teller.tell()
        return Story(
            life=life,
            rules=rules,
            without=frozenset(without),
            answered=tuple(teller.answered),
            faded=tuple(teller.faded),
            traces=teller.traces(rules),
            seconds=time.perf_counter() - began,
            ended=clock.now(),
        )


def _ignore(moment: Moment) -> None:
    """Watch nothing."""


class _Teller:
    """Goes through the days of a life and keeps what it sees."""

    def __init__(self, life: Life, mars: Mars, clock: FixedClock, watch: Callable[[Moment], None]) -> None:
        self.answered: list[Answered] = []
        self.faded: list[Faded] = []
        self._life = life
        self._mars = mars
        self._clock = clock
        self._watch = watch
        self._records: dict[str, Record] = {}
        self._steps: dict[str, list[Step]] = {}
        self._topics = {turn.at: turn.topic for turn in life.turns if turn.act is not Act.ASKS}

    async def tell(self) -> None:
        """Live day after day; each ends with a sweep at midnight."""
        for day in range(1, DAYS + 1):
            for turn in self._life.turns:
                if turn.day == day:
                    await self._take(turn)
            self._clock.set(self._life.start + timedelta(days=day))
            await self._sweep(day)

    async def _take(self, turn: Turn) -> None:
        self._clock.set(turn.at)
        if turn.act is not Act.ASKS:
            self._watch(turn)
        lessons: tuple[str, ...] = ()
        result: RunResult | None = None
        events = self._mars.stream(
            turn.text, user=self._life.user, conversation=f"day {turn.day}", heard={EventKind.MEMORY_READ}
        )
        async for event in events:
            lessons = _lessons(event) or lessons
            result = event.result or result
        assert result is not None
        if turn.act is Act.ASKS:
            self.answered.append(Answered(turn=turn, result=result, lessons=lessons))
            self._watch(self.answered[-1])
        await self._note()

    async def _sweep(self, day: int) -> None:
        swept = await self._mars.memory.sweep(now=self._clock.now())
        if not swept.archived:
            return
        await self._note()
        for record in swept.archived:
            if record in self._records:
                gone = self._records[record]
                self.faded.append(Faded(day=day, record=gone, topic=self._topic(gone)))
                self._watch(self.faded[-1])

    async def _note(self) -> None:
        """Note which records are new and whose strength has changed."""
        for record in await self._mars.memory.list(namespace=(self._life.user,), statuses=frozenset(Status)):
            before = self._records.get(record.id)
            self._records[record.id] = record
            if before is None or (before.strength, before.last_strengthened) != (
                record.strength,
                record.last_strengthened,
            ):
                self._steps.setdefault(record.id, []).append(
                    Step(
                        at=self._clock.now(),
                        strength=record.strength,
                        since=record.last_strengthened,
                        mark=_mark(before, record),
                    )
                )

    def _topic(self, record: Record) -> str | None:
        """Return the fact that a record tells: an episode by when it was said, a fact by its sources."""
        if record.kind is Kind.FACT:
            told = [self._records[source] for source in record.provenance.sources if source in self._records]
            return next((self._topic(source) for source in told), None)
        return self._topics.get(record.event_time) if record.kind is Kind.EPISODE else None

    def traces(self, rules: Preset) -> tuple[Trace, ...]:
        """Return every memory as it stands now."""
        now = self._clock.now()
        crossed = {faded.record.id: faded.record.archived_at or now for faded in self.faded}
        found = []
        for record in self._records.values():
            standing = standing_at(record, rules, now)
            found.append(
                Trace(
                    record=record,
                    topic=self._topic(record),
                    steps=tuple(self._steps[record.id]),
                    retention=standing.retention,
                    tier=standing.tier,
                    crossed=max(crossed[record.id], self._steps[record.id][-1].at) if record.id in crossed else None,
                )
            )
        return tuple(found)


def _mark(before: Record | None, record: Record) -> str:
    if before is None:
        return "added"
    if record.uses > before.uses:
        return "used"
    return "blamed" if record.strength < before.strength else "repeated"


def lesson_plan(text: str) -> str:
    """Return the part of a rules' lesson that says what comes next; all of another lesson."""
    return text[text.rfind("Next: ") :] if "Next: " in text else text


def _lessons(event: Event) -> tuple[str, ...]:
    """Return the lessons of earlier turns that an event says were recalled."""
    if event.kind is not EventKind.MEMORY_READ:
        return ()
    return tuple(str(lesson["text"]) for lesson in event.data.get("lessons", ()))
