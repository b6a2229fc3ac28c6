"""What holds for every course of events: sweeping changes no answer, namespaces never leak, replays are equal."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from anyio import run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mars.errors import InvalidInput, NotFound
from mars.memory.curves import EXPONENTIAL, POWER
from mars.memory.engine import Memory
from mars.memory.presets import Preset
from mars.memory.records import Grade, Kind, Record, Source, Status
from mars.memory.strength import Policy
from mars.memory.tiers import TierRule, TierStrength
from mars.testing import ConstantEmbedder, FixedClock

HOME, AWAY = ("home",), ("home", "away")
WORDS = ["heron", "weir", "nests", "by", "the", "old"]
QUICK = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])

presets = st.builds(
    Preset,
    curve=st.sampled_from([EXPONENTIAL, POWER]),
    base_strength=st.sampled_from([0.1, 0.4, 2.0]),
    policy=st.sampled_from(Policy),
    tiers=st.builds(TierRule, theta1=st.just(0.95), theta2=st.just(0.8), strength=st.sampled_from(TierStrength)),
    retention_floor=st.sampled_from([0.0, 0.7]),
    capacity=st.sampled_from([None, 4]),
    audit_days=st.just(2.0),
)


@dataclass(frozen=True)
class Add:
    """Store a text."""

    words: tuple[str, ...]
    kind: Kind
    namespace: tuple[str, ...]
    source: Source
    pinned: bool
    expires: float | None
    value: str | None


@dataclass(frozen=True)
class On:
    """Do something to one of the records so far."""

    action: str
    which: int


@dataclass(frozen=True)
class Wait:
    """Let time pass."""

    days: float


Step = Add | On | Wait

adds = st.builds(
    Add,
    words=st.lists(st.sampled_from(WORDS), min_size=1, max_size=5).map(tuple),
    kind=st.sampled_from([Kind.EPISODE, Kind.EPISODE, Kind.FACT, Kind.REFLECTION]),
    namespace=st.sampled_from([HOME, HOME, AWAY]),
    source=st.sampled_from([Source.USER, Source.USER, Source.WEB]),
    pinned=st.sampled_from([False, False, True]),
    expires=st.sampled_from([None, None, 0.4]),
    value=st.sampled_from(["Rome", "Oslo"]),
)
actions = ["good", "easy", "again", "pin", "unpin", "archive", "restore", "release", "reject", "undo", "edit"]
steps = st.lists(
    adds | adds | st.builds(On, st.sampled_from(actions), st.integers(0, 9)) | st.builds(Wait, st.floats(0.0, 1.5)),
    min_size=2,
    max_size=11,
)


async def act(memory: Memory, step: Add | On, ids: list[str], turn: str) -> None:
    """Take one step; what is refused is refused."""
    if isinstance(step, Add):
        now = memory.clock.now()
        fields: dict[str, Any] = {"kind": step.kind, "source": step.source, "pinned": step.pinned}
        if step.expires is not None:
            fields["expires_at"] = now + timedelta(days=step.expires)
        if step.kind is Kind.FACT:
            fields |= {"subject": "Ann", "relation": "lives in", "value": step.value}
        record = await memory.add(" ".join(step.words), step.namespace, **fields)
        if record.id not in ids:
            ids.append(record.id)
        return
    if not ids:
        return
    one = ids[step.which % len(ids)]
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "good": lambda: memory.used(one, Grade.GOOD, turn),
        "easy": lambda: memory.used(one, Grade.EASY, turn),
        "again": lambda: memory.used(one, Grade.AGAIN, turn),
        "pin": lambda: memory.pin(one),
        "unpin": lambda: memory.unpin(one),
        "archive": lambda: memory.archive(one, "put away"),
        "restore": lambda: memory.restore(one),
        "release": lambda: memory.review(one, True),
        "reject": lambda: memory.review(one, False),
        "undo": lambda: memory.undo(one),
        "edit": lambda: memory.edit(one, importance=0.5),
    }
    with suppress(InvalidInput, NotFound):
        await calls[step.action]()


async def answers(memory: Memory, ids: Sequence[str]) -> list[Any]:
    """Every read there is, with records named by their place: ids and `seq` differ where sweeps took numbers."""
    place = {one: number for number, one in enumerate(ids)}

    def plain(record: Record | None) -> Any:
        if record is None:
            return None
        sources = tuple(str(place[one]) for one in record.provenance.sources)
        by = None if record.superseded_by is None else str(place[record.superseded_by])
        provenance = replace(record.provenance, sources=sources)
        return replace(record, id=str(place[record.id]), seq=0, superseded_by=by, provenance=provenance)

    hits = [
        *await memory.recall("Where does the old heron nest?", namespace=HOME, explain=True),
        *await memory.recall("heron by the weir", namespace_prefix=HOME, k=3, floor=0.0),
    ]
    stats = await memory.stats()
    return [
        [replace(hit, record=plain(hit.record)) for hit in hits],
        [plain(await memory.get(one)) for one in ids],
        [plain(row) for row in await memory.list(HOME)],
        sorted(place[row.id] for row in await memory.list(HOME, statuses=set(Status))),
        [plain(row) for row in await memory.as_of(HOME, memory.clock.now())],
        [plain(row) for row in await memory.window(HOME, "c")],
        (stats.by_status, stats.by_kind, stats.by_tier, stats.records),
    ]


async def live(course: Sequence[Step], preset: Preset, sweep: str) -> list[Any]:
    """Live through a course of events, sweeping hourly, sometimes or never, and return every answer on the way."""
    clock, ids, seen = FixedClock(), list[str](), list[Any]()
    async with Memory.open(
        "memory:", clock=clock, preset=preset, embedder=ConstantEmbedder(lexical_weight=0.8), seed=1
    ) as memory:
        for number, step in enumerate(course):
            if isinstance(step, Wait):
                end = clock.now() + timedelta(days=step.days)
                while sweep == "hourly" and clock.now() + timedelta(hours=1) <= end:
                    clock.advance(hours=1)
                    await memory.sweep()
                clock.set(end)
            else:
                await act(memory, step, ids, f"turn {number}")
            if sweep == "hourly" or (sweep == "once" and number == len(course) // 2):
                await memory.sweep()
            seen.append(await answers(memory, ids))
    return seen


@QUICK
@given(course=steps, preset=presets)
def test_sweeping_changes_no_answer(course: list[Step], preset: Preset) -> None:
    """Sweeping hourly, once or never gives the same answer to every read, through every course of events."""
    never = run(live, course, preset, "never")
    assert run(live, course, preset, "once") == never
    assert run(live, course, preset, "hourly") == never


@QUICK
@given(course=steps, preset=presets)
def test_replay(course: list[Step], preset: Preset) -> None:
    """The same course of events gives the same store: no coin is tossed anywhere."""

    async def dump() -> list[Any]:
        clock, ids = FixedClock(), list[str]()
        async with Memory.open("memory:", clock=clock, preset=preset, seed=5) as memory:
            for number, step in enumerate(course):
                if isinstance(step, Wait):
                    clock.advance(days=step.days)
                    await memory.sweep()
                else:
                    await act(memory, step, ids, f"turn {number}")
            rows = await memory.list(namespace_prefix=HOME, statuses=set(Status))
            return [rows, [await memory.history(one) for one in ids]]

    assert run(dump) == run(dump)


@QUICK
@given(course=steps, preset=presets)
def test_nothing_leaks(course: list[Step], preset: Preset) -> None:
    """No read of one namespace ever shows, counts or is changed by what lies in another."""

    async def answers_at_home(course: Sequence[Step]) -> list[Any]:
        clock, ids = FixedClock(), list[str]()
        async with Memory.open("memory:", clock=clock, preset=preset) as memory:
            for number, step in enumerate(course):
                if isinstance(step, Wait):
                    clock.advance(days=step.days)
                elif isinstance(step, Add):
                    await act(memory, step, ids, f"turn {number}")
            hits = await memory.recall("the old heron", namespace=HOME, floor=0.0)
            assert {hit.record.namespace for hit in hits} <= {HOME}
            rows = await memory.list(HOME, statuses=set(Status))
            assert {row.namespace for row in rows} <= {HOME}
            return [[(hit.record.text, hit.rank, hit.relevance) for hit in hits], [row.text for row in rows]]

    alone = [step for step in course if not (isinstance(step, Add) and step.namespace == AWAY)]
    assert run(answers_at_home, course) == run(answers_at_home, alone)
