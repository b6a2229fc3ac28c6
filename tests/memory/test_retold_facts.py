"""Facts that are told again, late, and as of an earlier time: what holds when is a function of what was told.

The oracle is a few lines over the list of tellings. The same tellings in any order, in any groups, with writes that
were taken back and made again, leave what it says, in memory and in a file; a store that forgets its notes does not.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest
from anyio import run
from hypothesis import given, settings
from hypothesis import strategies as st

from mars.errors import InvalidInput
from mars.memory.backends.inmemory import InMemoryBackend
from mars.memory.engine import Memory
from mars.memory.interfaces import Backend, Reader, Selection, Transaction
from mars.memory.records import Change, Kind, NewRecord, Record, Source, Status
from mars.memory.spans import ALSO_HELD, spans_of
from mars.testing import FixedClock, RandomEmbedder
from mars.testing.workload import contents

HOME = ("soak", "0")
DAY = datetime(2025, 1, 1, tzinfo=UTC)
Result = TypeVar("Result")


@dataclass(frozen=True)
class Told:
    """That a value holds from a day on, told on another by somebody; days since `DAY`."""

    value: str
    holds: int
    told: int
    speaker: str = "Ann"
    key: str | None = None

    @property
    def new(self) -> NewRecord:
        """The fact that says it, about Ann."""
        return NewRecord(
            text=f"Ann lives in {self.value}.",
            namespace=HOME,
            kind=Kind.FACT,
            subject="Ann",
            relation="lives in",
            value=self.value,
            speaker=self.speaker,
            valid_from=day(self.holds),
            idempotency_key=self.key,
        )


Case = Sequence[Told]


def day(number: int) -> datetime:
    """The start of a day."""
    return DAY + timedelta(days=number)


def ends(tellings: Case, later: int, earlier: int) -> bool:
    """Whether one telling ends another: it comes later, says otherwise, and is Ann's own word or the same speaker's."""
    new, old = tellings[later], tellings[earlier]
    comes_later = (new.holds, new.told, later) > (old.holds, old.told, earlier)
    return comes_later and new.value != old.value and new.speaker in ("Ann", old.speaker)


def truth(tellings: Case, valid: int, known: int) -> list[int]:
    """Which tellings hold on a day by what was told up to another: the oracle."""
    so = [place for place, one in enumerate(tellings) if one.holds <= valid and one.told <= known]
    return [one for one in so if not any(ends(tellings, other, one) for other in so)]


def silent(tellings: Case, one: int, valid: int, known: int) -> bool:
    """Whether what was known then may be gone: a later telling has moved the end of this one since."""
    places = range(len(tellings))
    return any(ends(tellings, x, one) and tellings[x].told > known and tellings[x].holds <= valid for x in places)


async def wrong(memory: Memory, tellings: Case) -> list[str]:
    """What a memory says otherwise than the oracle."""
    last = max(one.told for one in tellings)
    found = []
    for known in {one.told for one in tellings}:
        for valid in range(-4, last + 4):
            said = await memory.as_of(HOME, day(valid), known_at=day(known), now=day(last))
            right = truth(tellings, valid, known)
            heard, wanted = {one.value for one in said}, {tellings[one].value for one in right}
            missing = [one for one in right if tellings[one].value not in heard]
            if heard - wanted or not all(known < last and silent(tellings, one, valid, known) for one in missing):
                found.append(f"on day {valid}, as known on {known}: {heard} for {wanted}")
    active = {one.value for one in await memory.list(HOME, kinds={Kind.FACT}, now=day(last))}
    if active != {tellings[one].value for one in truth(tellings, last + 99, last)}:
        found.append(f"listed: {active}")
    return found


async def rows_of(memory: Memory) -> dict[str, Record]:
    """Every fact that is stored, by id."""
    rows = await memory.read(lambda reader: reader.select(Selection(namespace=HOME, kinds=frozenset({Kind.FACT}))))
    return {one.id: one for one in rows}


async def check_ends(memory: Memory) -> None:
    """Each span ends where one of the fact that ended it begins, and the doctor finds nothing."""
    rows = await rows_of(memory)
    for one in (span for row in rows.values() for span in spans_of(row)):
        assert (one.valid_to is None) == (one.known_to is None) == (one.superseded_by is None)
        if one.superseded_by is not None:
            assert one.valid_to in {span.valid_from for span in spans_of(rows[one.superseded_by])}
    assert (await memory.doctor(now=DAY)).clean


def drawn(draw: random.Random, *, apart: bool) -> list[Told]:
    """Return tellings in the order in which they became known; `apart`: no two on one day."""
    told, result = 0, list[Told]()
    for number in range(draw.randint(2, 7)):
        told += draw.choice((1, 2, 3) if apart else (0, 1, 3))
        result.append(
            Told(
                value=draw.choice(("Rome", "Oslo", "Graz")),
                holds=draw.randint(-3, told + 2 * (draw.random() < 0.2)),
                told=told,
                speaker=draw.choice(("Ann", "Ann", "Ann", "Ben")),
                key=str(number) if draw.random() < 0.1 else None,
            )
        )
    return result


async def tell(memory: Memory, tellings: Case, draw: random.Random) -> None:
    """Store facts in groups of any size."""
    left = list(tellings)
    while left:
        size = draw.randint(1, 4)
        group, left = left[:size], left[size:]
        await memory.add_many([one.new for one in group], now=[day(one.told) for one in group])


def opened(store: str | Backend) -> Any:
    """A memory with small vectors."""
    return Memory.open(store, clock=FixedClock(DAY), seed=1, embedder=RandomEmbedder(4))


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.randoms(use_true_random=False))
def test_any_tellings_in_any_groups(draw: random.Random) -> None:
    """What is told one by one or in groups is what the oracle says, and what a repair makes of a broken store again."""

    async def case() -> None:
        tellings = drawn(draw, apart=False)
        backend = InMemoryBackend()
        async with opened(backend) as memory:
            await tell(memory, tellings, draw)
            assert await wrong(memory, tellings) == []
            await check_ends(memory)
            before = await rows_of(memory)
            heirs = {one.id for one in before.values() if one.status is Status.ACTIVE}
            broken = [replace(one, status=Status.ACTIVE) for one in before.values() if one.superseded_by in heirs]
            for one in broken[:1]:
                backend.transact(lambda tx, one=one: tx.update([replace(one, seq=tx.next_seq())]))  # type: ignore[misc]
            assert (await memory.repair(now=DAY)).clean
            mended = await rows_of(memory)
            assert {key: replace(one, seq=before[key].seq) for key, one in mended.items()} == before

    run(case)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.randoms(use_true_random=False))
def test_any_order_of_telling(draw: random.Random) -> None:
    """In whatever order the store is told what became known when, it says the same."""

    async def case() -> None:
        tellings = drawn(draw, apart=True)
        async with opened("memory:") as memory:
            await tell(memory, draw.sample(tellings, len(tellings)), draw)
            assert await wrong(memory, tellings) == []
            await check_ends(memory)

    run(case)


@pytest.mark.parametrize("seed", range(4))
async def test_groups_failures_and_stores_change_nothing(tmp_path: Path, seed: int) -> None:
    """A file that is closed between groups, each of which failed once, holds to the letter what one by one leaves."""
    draw = random.Random(seed)
    tellings = drawn(draw, apart=False)
    keyed = NewRecord(text="held", namespace=HOME, key="key")
    left = list(tellings)
    while True:
        group, left = left[: (size := draw.randint(1, 3))], left[size:]
        async with opened(f"sqlite:///{tmp_path / 'told.db'}") as memory:
            await memory.add(keyed, now=DAY)
            failing = [*(one.new for one in group), replace(keyed, text="another")]
            times = [day(one.told) for one in group]
            with pytest.raises(InvalidInput, match="nothing was written"):
                await memory.add_many(failing, now=[*times, DAY])
            await memory.add_many(failing[:-1], now=times)
            if not left:
                held = await contents(memory, 0)
                assert await wrong(memory, tellings) == []
                break
    async with opened("memory:") as memory:
        await memory.add(keyed, now=DAY)
        for one in tellings:
            await memory.add(one.new, now=day(one.told))
        assert await contents(memory, 0) == held


class Told2Nobody:
    """A transaction over another one; what is not named here is the other's."""

    def __init__(self, tx: Transaction) -> None:
        self.tx = tx

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tx, name)


class Unnoted(Told2Nobody):
    """Reads no history."""

    def history(self, record: str) -> list[Change]:
        """Return nothing."""
        return []


class Spanless(Told2Nobody):
    """Keeps one span of a fact."""

    def update(self, records: Sequence[Record]) -> None:
        """Write a record without its other spans."""
        lost = [
            replace(one, metadata={key: value for key, value in one.metadata.items() if key != ALSO_HELD})
            for one in records
        ]
        self.tx.update(lost)


class Sabotaged(InMemoryBackend):
    """Gives another transaction to those who write."""

    sort: type[Told2Nobody] = Told2Nobody

    def transact(self, work: Callable[[Transaction], Result]) -> Result:
        """Run `work` in it."""
        return super().transact(lambda tx: work(cast("Transaction", self.sort(tx))))


@pytest.mark.parametrize(("sort", "red"), [(Told2Nobody, False), (Unnoted, True), (Spanless, True)])
async def test_sabotaged(sort: type[Told2Nobody], red: bool) -> None:
    """A store that does not read what was told again, or keeps one span, is found out; the wrapper alone is not."""
    found = []
    for seed in range(12):
        tellings = drawn(random.Random(seed), apart=False)
        backend = Sabotaged()
        backend.sort = sort
        async with opened(backend) as memory:
            with suppress(InvalidInput):
                for one in tellings:
                    await memory.add(one.new, now=day(one.told))
            found += await wrong(memory, tellings)
    assert bool(found) == red


async def said_on(memory: Memory, *days: int, known: int = 99) -> list[list[str | None]]:
    """The values that held on days."""
    held = [await memory.as_of(HOME, day(one), known_at=day(known)) for one in days]
    return [[one.value for one in facts] for facts in held]


async def told(memory: Memory, value: str, holds: int, on: int, **more: Any) -> Record:
    """Store a telling."""
    return await memory.add(replace(Told(value, holds, on).new, **more), now=day(on))


@pytest.fixture
def later(clock: FixedClock) -> FixedClock:
    """A clock that stands after all that is told."""
    clock.set(day(99))
    return clock


async def test_told_again_and_something_late_in_between(memory: Memory, later: FixedClock) -> None:
    """Rome on day 0 and 20, Oslo told late as of day 10: Rome now, in one record that says both its times."""
    rome = await told(memory, "Rome", 0, 0)
    assert (await told(memory, "Rome", 20, 20)).id == rome.id
    oslo = await told(memory, "Oslo", 10, 25)
    assert (oslo.status, oslo.superseded_by, oslo.valid_to) == (Status.SUPERSEDED, rome.id, day(20))
    assert await said_on(memory, 5, 15, 22) == [["Rome"], ["Oslo"], ["Rome"]]
    assert await said_on(memory, 15, 22, known=22) == [["Rome"], ["Rome"]]
    (first,) = await memory.as_of(HOME, day(5))
    assert (first.id, first.valid_from, first.valid_to, first.known_to) == (rome.id, day(0), day(10), day(25))
    now = await memory.get(rome.id)
    assert now is not None
    assert (now.status, now.valid_from, now.valid_to, now.uses) == (Status.ACTIVE, day(20), None, 0)
    assert [one.event for one in await memory.history(rome.id)] == ["added", "repeated", "parted"]
    assert [hit.record.value for hit in await memory.recall("Where does Ann live?", namespace=HOME)] == ["Rome"]
    await check_ends(memory)


async def test_an_earlier_beginning_is_known_since_it_was_told(memory: Memory, later: FixedClock) -> None:
    """What was told as of day 10 and later as of day 5 was not known for day 5 before that; it stays one record."""
    rome = await told(memory, "Rome", 10, 10)
    again = await told(memory, "Rome", 5, 30)
    assert (again.id, again.status, again.valid_from) == (rome.id, Status.ACTIVE, day(5))
    assert await said_on(memory, 4, 7, 12) == [[], ["Rome"], ["Rome"]]
    assert await said_on(memory, 4, 7, 12, known=20) == [[], [], ["Rome"]]
    assert len(await memory.list(HOME)) == 1
    await told(memory, "Oslo", 20, 40)
    assert await said_on(memory, 7, 12, 25) == [["Rome"], ["Rome"], ["Oslo"]]
    await check_ends(memory)


async def test_a_merge_by_hand_backdates_nothing(memory: Memory, later: FixedClock) -> None:
    """What one record has from another by `merge` is known since the other was."""
    rome = await told(memory, "Rome", 10, 10, idempotency_key="a")
    other = await told(memory, "Rome", 5, 30, idempotency_key="b")
    kept = await memory.merge(rome.id, [other.id])
    assert (kept.id, kept.valid_from) == (rome.id, day(5))
    assert await said_on(memory, 7, 12, known=20) == [[], ["Rome"]]
    assert await said_on(memory, 7, 12, known=30) == [["Rome"], ["Rome"]]
    third = await told(memory, "Rome", 20, 40, idempotency_key="c")
    await memory.merge(rome.id, [third.id])
    await told(memory, "Oslo", 15, 50)
    assert await said_on(memory, 12, 17, 25) == [["Rome"], ["Oslo"], ["Rome"]]


async def test_undo_takes_back_that_it_was_told_again(memory: Memory, later: FixedClock) -> None:
    """Without the later telling the fact is what it was before what came in between, which holds on; then that goes."""
    await told(memory, "Bern", -3, 0)
    rome = await told(memory, "Rome", 0, 0)
    await told(memory, "Rome", 20, 20)
    oslo = await told(memory, "Oslo", 10, 25)
    await memory.undo(oslo.id)
    assert await said_on(memory, -2, 2) == [["Bern"], ["Rome"]]
    assert await said_on(memory, 5, 15, 25) == [["Rome"], ["Oslo"], ["Oslo"]]
    await check_ends(memory)
    await memory.undo(rome.id)
    assert await said_on(memory, -2, 5, 15, 25) == [["Bern"], ["Rome"], ["Rome"], ["Rome"]]
    await told(memory, "Graz", 18, 30)
    assert await said_on(memory, 5, 15, 25) == [
        ["Rome"],
        ["Rome"],
        ["Graz"],
    ]  # the telling of day 20 counts as never made


async def test_what_comes_back_in_between(memory: Memory, later: FixedClock) -> None:
    """A fact that is restored, or released, parts one that was told again after it, as if it had been there."""
    for number, source in enumerate((Source.USER, Source.WEB)):
        namespace = ("soak", f"back {number}")
        oslo = await told(memory, "Oslo", 10, 1, namespace=namespace, speaker=None, source=source)
        if source is Source.USER:
            await memory.archive(oslo.id)
        rome = await told(memory, "Rome", 0, 2, namespace=namespace)
        assert (await told(memory, "Rome", 20, 20, namespace=namespace)).id == rome.id
        await (memory.restore(oslo.id) if source is Source.USER else memory.review([oslo.id], passed=True))
        held = [await memory.as_of(namespace, day(one)) for one in (5, 15, 25)]
        assert [[one.value for one in facts] for facts in held] == [["Rome"], ["Oslo"], ["Rome"]]


async def test_one_record_one_text(memory: Memory, later: FixedClock) -> None:
    """A parted fact keeps its uses and its lineage, goes as a whole, and nothing that it said stays."""
    source = await memory.add("source", HOME, now=DAY)
    rome = await told(memory, "Rome", 0, 0)
    await memory.used(rome.id, turn="one")
    again = replace(Told("Rome", 20, 20).new, provenance=replace(rome.provenance, sources=(source.id,)))
    await memory.add(again, now=day(20))
    await told(memory, "Oslo", 10, 25)
    parted = await memory.get(rome.id)
    assert parted is not None
    assert (parted.uses, parted.strength > rome.strength, parted.provenance.sources) == (1, True, (source.id,))
    edited = await memory.edit(rome.id, metadata={"mine": 1, ALSO_HELD: []})
    assert (edited.metadata["mine"], spans_of(edited)[1:]) == (
        1,
        [replace(one, seq=edited.seq, metadata=edited.metadata) for one in spans_of(parted)[1:]],
    )
    await memory.purge(rome.id)
    left = await memory.read(lambda reader: reader.select(Selection(namespace=HOME)))
    assert not any("Rome" in str(one) for one in left)
    assert not any("Rome" in str(one.detail) for one in await memory.history(rome.id))
    assert await said_on(memory, 5, 15) == [[], ["Oslo"]]


async def test_nobody_gives_a_fact_its_spans(memory: Memory, later: FixedClock) -> None:
    """What a caller puts under the store's own key is not taken for what the store knows."""
    span = [day(-9).isoformat(), None, day(-9).isoformat(), None, None]
    mine = await told(memory, "Rome", 0, 0, metadata={ALSO_HELD: [span], "mine": 1})
    assert dict(mine.metadata) == {"mine": 1}
    await told(memory, "Rome", 3, 3, metadata={ALSO_HELD: [span]})
    await memory.edit(mine.id, metadata={ALSO_HELD: [span], "mine": 2})
    assert await said_on(memory, -5, 1) == [[], ["Rome"]]
    note = await memory.add("A note.", HOME, metadata={ALSO_HELD: "mine"})
    assert dict(note.metadata) == {ALSO_HELD: "mine"}


class Counted(InMemoryBackend):
    """Counts the histories that are read by those who write."""

    read_histories = 0

    def transact(self, work: Callable[[Transaction], Result]) -> Result:
        """Run `work`, which is watched."""
        backend = self

        class Watched(Told2Nobody):
            def history(self, record: str) -> list[Change]:
                backend.read_histories += 1
                return cast("Reader", self.tx).history(record)

        return super().transact(lambda tx: work(cast("Transaction", Watched(tx))))


async def test_what_nobody_told_again_costs_no_more(clock: FixedClock) -> None:
    """A fact that takes another's place reads one history if that one was changed since it was stored, else none."""
    backend = Counted()
    async with opened(backend) as memory:
        for number, value in enumerate(("Rome", "Oslo", "Graz", "Bern")):
            await told(memory, value, number, number)
        assert backend.read_histories == 0
        await told(memory, "Bern", 9, 9)
        assert backend.read_histories == 0
        await told(memory, "Rome", 5, 12)
        assert backend.read_histories == 1
