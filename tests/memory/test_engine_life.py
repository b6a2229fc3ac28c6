"""The life of a record: use strengthens, time forgets, and what was decided can be taken back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from mars.errors import InvalidInput, NotFound
from mars.memory.curves import EXPONENTIAL
from mars.memory.engine import Memory
from mars.memory.presets import MEMORYBANK, PAPER, Preset
from mars.memory.records import Grade, Kind, NewRecord, Provenance, Source, Status, Tier
from mars.memory.strength import FIRST_DIFFICULTY, recall_stability
from mars.memory.tiers import TierRule
from mars.testing import FixedClock

HOME = ("user-1",)
ARCHIVED = frozenset({Status.ARCHIVED})
QUERY = "Where does the heron nest?"
TEXT = "The heron nests by the weir."


async def texts(memory: Memory) -> list[str]:
    """What a recall of the heron finds."""
    return [hit.record.text for hit in await memory.recall(QUERY, namespace=HOME)]


async def test_use_strengthens(memory: Memory, clock: FixedClock) -> None:
    """A graded use changes strength by FSRS, restarts τ, and leaves a row of history with what it did."""
    record = await memory.add(TEXT, HOME)
    clock.advance(days=10)
    (hit,) = await memory.recall(QUERY, namespace=HOME)
    (used,) = await memory.used([record.id], Grade.GOOD, "turn-1")
    assert used.strength == pytest.approx(recall_stability(7.0, FIRST_DIFFICULTY, hit.retention, Grade.GOOD), rel=1e-12)
    assert (used.last_strengthened, used.uses, used.last_turn) == (clock.now(), 1, "turn-1")
    change = (await memory.history(record.id))[-1]
    assert change.event == "used"
    assert change.detail["retention"] == hit.retention
    assert change.detail["strength"] == [7.0, used.strength]


async def test_reading_never_strengthens(memory: Memory, clock: FixedClock) -> None:
    """However often a record is recalled, listed or shown, it fades as if nobody had looked."""
    record = await memory.add(TEXT, HOME)
    clock.advance(days=5)
    for _ in range(5):
        await memory.recall(QUERY, namespace=HOME)
        await memory.list(HOME)
        await memory.window(HOME, "c")
    assert await memory.get(record.id) == record


async def test_once_per_turn(memory: Memory, clock: FixedClock) -> None:
    """A record is graded once in a turn, also when another turn came between."""
    record = await memory.add(TEXT, HOME)
    clock.advance(days=3)
    (first,) = await memory.used(record.id, Grade.GOOD, "a")
    assert await memory.used([record.id, record.id], Grade.AGAIN, "a") == [first]
    (second,) = await memory.used(record.id, Grade.EASY, "b")
    assert await memory.used(record.id, Grade.GOOD, "a") == [second]
    assert second.uses == 2


async def test_again(memory: Memory, clock: FixedClock) -> None:
    """To be the cause of an error weakens a record, and never makes it fresh."""
    record = await memory.add(TEXT, HOME)
    clock.advance(days=10)
    before = (await memory.recall(QUERY, namespace=HOME))[0].retention
    (used,) = await memory.used(record.id, Grade.AGAIN, "a")
    after = (await memory.recall(QUERY, namespace=HOME))[0].retention
    assert after < before
    assert (used.uses, used.last_strengthened) == (0, record.last_strengthened)


async def test_use_is_all_or_nothing(memory: Memory, clock: FixedClock) -> None:
    """If one id is unknown, nothing is graded."""
    record = await memory.add(TEXT, HOME)
    clock.advance(days=2)
    with pytest.raises(NotFound, match="nobody"):
        await memory.used([record.id, "nobody"], Grade.GOOD, "a")
    assert await memory.get(record.id) == record


async def test_memorybank_over_days(store: str, clock: FixedClock) -> None:
    """With preset `memorybank` and recalls on days 1, 3 and 7 retention follows the paper's formula."""
    async with Memory.open(store, clock=clock, preset=MEMORYBANK) as memory:
        record = await memory.add(TEXT, HOME)
        seen = []
        for day, wait in ((1, 1), (3, 2), (7, 4)):
            clock.advance(days=wait)
            seen.append((await memory.recall(QUERY, namespace=HOME))[0].retention)
            await memory.used(record.id, Grade.GOOD, f"day {day}")
        clock.advance(days=7)
        seen.append((await memory.recall(QUERY, namespace=HOME))[0].retention)
    assert seen == pytest.approx([0.367879, 0.367879, 0.263597, 0.173774], abs=1e-6)


async def test_forgetting(store: str, clock: FixedClock) -> None:
    """What has crossed θ2 never surfaces, before any sweep; a good use of it brings it back."""
    async with Memory.open(store, clock=clock, preset=PAPER) as memory:
        record = await memory.add(TEXT, HOME)
        clock.advance(hours=28)
        assert await texts(memory) == [TEXT]
        clock.advance(hours=1)
        assert await texts(memory) == []
        shown = await memory.get(record.id)
        assert shown is not None
        assert (shown.status, shown.archived_because) == (Status.ARCHIVED, "forgotten")
        assert clock.now() - timedelta(hours=1) < (shown.archived_at or clock.now()) < clock.now()
        assert await memory.list(HOME) == []
        await memory.used(record.id, Grade.GOOD, "a")
        assert await texts(memory) == [TEXT]


async def test_sweep(store: str, clock: FixedClock) -> None:
    """A sweep archives what is forgotten and what has expired, says so before if asked, and then finds nothing more."""
    async with Memory.open(store, clock=clock, preset=PAPER) as memory:
        old = await memory.add(TEXT, HOME)
        kept = await memory.add("pinned", HOME, pinned=True)
        clock.advance(days=2)
        over = await memory.add("expires", HOME, expires_at=clock.now() + timedelta(minutes=1))
        fresh = await memory.add("fresh", ("user-2",))
        clock.advance(minutes=2)
        dry = await memory.sweep(dry_run=True)
        assert (dry.archived, dry.expired, dry.kept, dry.dry_run) == ((old.id,), (over.id,), 2, True)
        assert (await memory.sweep(namespace=("user-2",))).archived == ()
        done = await memory.sweep()
        assert (done.archived, done.expired, done.kept, done.dry_run) == ((old.id,), (over.id,), 2, False)
        again = await memory.sweep()
        assert (again.archived, again.expired, again.kept) == ((), (), 2)
        assert [row.id for row in await memory.list(HOME)] == [kept.id]
        assert (await memory.get(fresh.id)) == fresh
        assert await memory.get(over.id) is None


async def test_use_wins_over_sweep(store: str, clock: FixedClock) -> None:
    """A record that was swept between its recall and its use is used all the same."""
    async with Memory.open(store, clock=clock, preset=PAPER) as memory:
        record = await memory.add(TEXT, HOME)
        clock.advance(days=2)
        await memory.sweep()
        (used,) = await memory.used(record.id, Grade.GOOD, "a")
        assert (used.status, used.archived_at) == (Status.ACTIVE, None)
        assert await texts(memory) == [TEXT]


async def test_expiry(memory: Memory, clock: FixedClock) -> None:
    """What has expired exists for no read, whatever its retention, and makes room for its key."""
    end = clock.now() + timedelta(hours=1)
    record = await memory.add(TEXT, HOME, key="k", idempotency_key="i", expires_at=end, pinned=True)
    clock.advance(hours=1)
    assert await memory.get(record.id) is None
    assert await texts(memory) == []
    assert await memory.list(HOME, statuses=set(Status)) == []
    assert (await memory.stats()).records == 0
    with pytest.raises(NotFound):
        await memory.used(record.id, Grade.GOOD, "a")
    again = await memory.add("another text", HOME, key="k", idempotency_key="i")
    assert again.id != record.id
    assert [row.id for row in await memory.list(HOME)] == [again.id]
    assert (await memory.history(record.id))[-1].event == "expired"


async def test_pinning(store: str, clock: FixedClock) -> None:
    """A pinned record does not fade; unpinned, it fades from its last strengthening on."""
    async with Memory.open(store, clock=clock, preset=PAPER) as memory:
        record = await memory.add(TEXT, HOME)
        (pinned,) = await memory.pin(record.id)
        assert await memory.pin(record.id) == [pinned]
        clock.advance(days=100)
        (hit,) = await memory.recall(QUERY, namespace=HOME)
        assert (hit.retention, hit.tier) == (1.0, Tier.SHORT_TERM)
        assert (await memory.sweep()).archived == ()
        await memory.unpin(record.id)
        assert await texts(memory) == []


async def test_archive_and_restore(memory: Memory, clock: FixedClock) -> None:
    """What was put away is hidden with its reason; restored, it is as fresh as new and as strong as before."""
    record = await memory.add(TEXT, HOME)
    clock.advance(days=4)
    (away,) = await memory.archive(record.id, "wrong person")
    assert (away.archived_at, away.archived_because) == (clock.now(), "wrong person")
    assert await memory.archive(record.id, "other reason") == [away]
    assert await texts(memory) == []
    clock.advance(days=4)
    (back,) = await memory.restore(record.id)
    assert (back.status, back.last_strengthened, back.strength) == (Status.ACTIVE, clock.now(), 7.0)
    assert await memory.restore(record.id) == [back]
    assert await texts(memory) == [TEXT]
    with pytest.raises(InvalidInput, match="reason"):
        await memory.archive(record.id, "forgotten")
    web = await memory.add("from the web", HOME, source=Source.WEB)
    with pytest.raises(InvalidInput, match="review"):
        await memory.restore(web.id)


async def test_restoring_the_forgotten(store: str, clock: FixedClock) -> None:
    """What was forgotten is restored alike, swept or not."""
    for sweep in (False, True):
        async with Memory.open("memory:" if sweep else store, clock=clock, preset=PAPER) as memory:
            record = await memory.add(TEXT, HOME)
            clock.advance(days=9)
            if sweep:
                await memory.sweep()
            (back,) = await memory.restore(record.id)
            assert (back.status, back.archived_because, back.last_strengthened) == (Status.ACTIVE, None, clock.now())


async def test_purge(memory: Memory, clock: FixedClock) -> None:
    """A purged record is gone from every read; its history stays, without a word of it."""
    record = await memory.add(TEXT, HOME)
    assert await memory.purge(record.id, dry_run=True) == [record.id]
    assert await memory.get(record.id) == record
    assert await memory.purge(record.id) == [record.id]
    assert await memory.get(record.id) is None
    assert await texts(memory) == []
    history = await memory.history(record.id)
    assert [change.event for change in history] == ["added", "purged"]
    assert "heron" not in str(history)
    with pytest.raises(NotFound):
        await memory.purge(record.id)


async def test_purge_of_sources(memory: Memory) -> None:
    """What a record was derived from is not purged behind its back; by force it is, and the record is flagged."""
    source = await memory.add(TEXT, HOME)
    lesson = await memory.add("Ask at the weir.", HOME, provenance=Provenance(sources=(source.id,)))
    for dry_run in (True, False):
        with pytest.raises(InvalidInput, match="force"):
            await memory.purge(source.id, dry_run=dry_run)
    assert await memory.purge(source.id, force=True, dry_run=True) == [source.id]
    assert await memory.get(lesson.id) == lesson
    await memory.purge(source.id, force=True)
    flagged = await memory.get(lesson.id)
    assert flagged is not None
    assert flagged.metadata["sources_purged"] is True
    assert await memory.purge([lesson.id]) == [lesson.id]


async def test_sources_are_cited_from_anywhere(memory: Memory, clock: FixedClock) -> None:
    """A lesson of another namespace keeps its source as one of the same does, from either purge."""
    source = await memory.add(TEXT, HOME)
    lesson = await memory.add("Ask at the weir.", ("team",), provenance=Provenance(sources=(source.id,)), pinned=True)
    with pytest.raises(InvalidInput, match="force"):
        await memory.purge(source.id)
    await memory.archive(source.id)
    clock.advance(days=60)
    assert await memory.purge() == []
    assert await memory.purge(source.id, force=True) == [source.id]
    flagged = await memory.get(lesson.id)
    assert flagged is not None
    assert flagged.metadata["sources_purged"] is True


@pytest.mark.parametrize("ending", ["purged", "expired", "expired and purged"])
async def test_undo_where_the_newer_fact_is_gone(memory: Memory, clock: FixedClock, ending: str) -> None:
    """An older fact outlives the one that took its place: undone, it holds again, or gives way to a third."""
    told: dict[str, Any] = {"kind": Kind.FACT, "subject": "Ann", "relation": "lives in"}
    old = await memory.add("Ann lives in Lisbon.", HOME, value="Lisbon", **told)
    clock.advance(days=1)
    end = None if ending == "purged" else clock.now() + timedelta(days=1)
    new = await memory.add("Ann lives in Porto.", HOME, value="Porto", expires_at=end, **told)
    clock.advance(days=1)
    if ending == "purged":
        await memory.purge(new.id)
    elif ending != "expired":
        assert await memory.purge() == [new.id]
    with pytest.raises(InvalidInput, match="undo"):
        await memory.restore(old.id)
    (back,) = await memory.undo(old.id)
    assert (back.id, back.status, back.superseded_by, back.valid_to) == (old.id, Status.ACTIVE, None, None)
    assert [row.id for row in await memory.list(HOME)] == [old.id]
    with pytest.raises(InvalidInput, match="nothing to undo"):
        await memory.undo(old.id)


async def test_undo_gives_way_to_a_third_fact(memory: Memory, clock: FixedClock) -> None:
    """What is freed by a purge is superseded by the fact that holds meanwhile."""
    told: dict[str, Any] = {"kind": Kind.FACT, "subject": "Ann", "relation": "lives in"}
    rows = []
    for city in ("Lisbon", "Porto", "Rome"):
        rows.append(await memory.add(f"Ann lives in {city}.", HOME, value=city, **told))
        clock.advance(days=1)
    await memory.purge(rows[1].id)
    (back,) = await memory.undo(rows[0].id)
    assert (back.status, back.superseded_by) == (Status.SUPERSEDED, rows[2].id)
    assert [row.value for row in await memory.list(HOME)] == ["Rome"]


async def test_purge_by_age(memory: Memory, clock: FixedClock) -> None:
    """Without ids, what expired goes, and what was archived before the audit window, unless a live record cites it."""
    plain, cited = await memory.add(TEXT, HOME), await memory.add("cited", HOME)
    await memory.add("citing", HOME, pinned=True, provenance=Provenance(sources=(cited.id,)))
    await memory.archive([plain.id, cited.id])
    clock.advance(days=29)
    over = await memory.add("over", HOME, expires_at=clock.now())
    assert await memory.purge() == [over.id]
    clock.advance(days=2)
    assert await memory.purge(namespace=("user-2",)) == []
    assert await memory.purge(dry_run=True) == [plain.id]
    assert await memory.purge() == [plain.id]


@pytest.mark.parametrize("sweep", [False, True])
async def test_the_forgotten_keep_no_source(store: str, clock: FixedClock, sweep: bool) -> None:
    """What is forgotten protects its sources from the purge no longer, whether a sweep has come by or not."""
    async with Memory.open(store, clock=clock, preset="paper") as memory:
        source = await memory.add(TEXT, HOME)
        citing = await memory.add("citing", HOME, provenance=Provenance(sources=(source.id,)))
        clock.advance(days=60)
        if sweep:
            await memory.sweep()
        assert await memory.purge() == [source.id, citing.id]


async def test_capacity(store: str, clock: FixedClock) -> None:
    """A write that exceeds the capacity archives what has the least entropy times retention, at its own time."""
    async with Memory.open(store, clock=clock, preset=Preset(capacity=3)) as memory:
        dull = await memory.add("no no no no", HOME, pinned=True)
        rich = await memory.add("one two three four five six seven eight", HOME)
        plain = await memory.add("one two three", HOME)
        poor = await memory.add("one two one", HOME)
        assert len(await memory.list(HOME)) == 4
        added = await memory.add_many([NewRecord(text="one two three four", namespace=HOME)])
        assert {row.id for row in await memory.list(HOME)} == {dull.id, rich.id, plain.id, added[0].id}
        gone = await memory.get(poor.id)
        assert gone is not None
        assert (gone.archived_because, gone.archived_at) == ("capacity", clock.now())
        assert (await memory.history(poor.id))[-1].detail["because"] == "capacity"
        (faint,) = await memory.add_many([NewRecord(text="faint", namespace=HOME)])
        assert (faint.status, faint.archived_because) == (Status.ARCHIVED, "capacity")
        assert len(await memory.list(HOME)) == 4


async def test_capacity_at_every_return(store: str, clock: FixedClock) -> None:
    """Whatever comes back, restored, released, used again or unpinned, is within the capacity in that same write."""
    async with Memory.open(store, clock=clock, preset=PAPER.but(capacity=2)) as memory:

        async def crowd() -> set[str]:
            rows = [row for row in await memory.list(HOME) if not row.pinned]
            assert len(rows) <= 2
            return {row.text for row in rows}

        old = await memory.add("one two three four five six seven", HOME)
        away = await memory.add("eight nine ten eleven twelve", HOME)
        await memory.archive(away.id)
        clock.advance(days=2)
        web = await memory.add("ten eleven twelve thirteen fourteen fifteen", HOME, source=Source.WEB)
        held = await memory.add("twenty thirty forty fifty sixty seventy eighty ninety", HOME, pinned=True)
        await memory.add("a b", HOME)
        await memory.add("a b c", HOME)
        assert await crowd() == {"a b", "a b c"}
        (back,) = await memory.restore(away.id)
        assert (back.status, await crowd()) == (Status.ACTIVE, {"a b c", away.text})
        (released,) = await memory.review(web.id, True)
        assert (released.status, await crowd()) == (Status.ACTIVE, {away.text, web.text})
        (used,) = await memory.used(old.id, Grade.GOOD, "a")
        assert (used.status, await crowd()) == (Status.ACTIVE, {web.text, old.text})
        (free,) = await memory.unpin(held.id)
        assert (free.status, await crowd()) == (Status.ACTIVE, {free.text, old.text})
        (poor,) = await memory.restore(
            [row.id for row in await memory.list(HOME, statuses=ARCHIVED) if row.text == "a b"]
        )
        assert (poor.status, poor.archived_because, await crowd()) == (
            Status.ARCHIVED,
            "capacity",
            {free.text, old.text},
        )


async def test_capacity_at_undo(store: str, clock: FixedClock) -> None:
    """A supersession taken back keeps the capacity, and says of each fact what became of it."""
    async with Memory.open(store, clock=clock, preset=Preset(capacity=2)) as memory:
        told: dict[str, Any] = {"kind": Kind.FACT, "subject": "Ann", "relation": "lives in"}
        old = [
            await memory.add(f"Ann lives in {value} these days.", HOME, value=value, valid_from=clock.now(), **told)
            for value in ("Rome", "Rome, Italy")
        ]
        clock.advance(days=1)
        new = await memory.add("Ann lives in Oslo.", HOME, value="Oslo", **told)
        await memory.add_many([NewRecord(text=f"a longer text of many words {n}", namespace=HOME) for n in range(2)])
        assert {(await memory.get(one.id)).status for one in old} == {Status.SUPERSEDED}  # type: ignore[union-attr]
        if (await memory.get(new.id)).status is Status.ARCHIVED:  # type: ignore[union-attr]
            await memory.restore(new.id)
        undone = {row.id: row for row in await memory.undo(new.id)}
        assert set(undone) == {new.id, *(one.id for one in old)}
        assert len(await memory.list(HOME)) == 2
        for one, row in undone.items():
            assert await memory.get(one) == row


async def test_a_full_store_that_is_only_read(store: str, clock: FixedClock) -> None:
    """A store that was opened with a smaller capacity loses nothing to grades, pins or sweeps, only to additions."""
    async with Memory.open(store, clock=clock, preset=Preset()) as memory:
        rows = [await memory.add(f"text number {number}", HOME) for number in range(4)]
    if store in ("memory:", "sqlite:///:memory:"):
        return
    async with Memory.open(store, clock=clock, preset=Preset(capacity=2)) as memory:
        await memory.used(rows[0].id, Grade.GOOD, "a")
        await memory.pin(rows[1].id)
        await memory.sweep()
        assert len(await memory.list(HOME)) == 4
        await memory.add("text number 5", HOME)
        assert len(await memory.list(HOME)) == 3  # two of the others, and the pinned one


async def test_capacity_and_the_forgotten(store: str, clock: FixedClock) -> None:
    """What is forgotten takes no room, whether a sweep has come by or not."""
    preset = Preset(curve=EXPONENTIAL, base_strength=1.0, tiers=TierRule(theta1=0.7, theta2=0.3), capacity=2)  # type: ignore[arg-type]
    async with Memory.open(store, clock=clock, preset=preset) as memory:
        await memory.add("an old thing", HOME)
        clock.advance(days=2)
        await memory.add("a new thing", HOME)
        await memory.add("another new thing", HOME)
        assert {row.archived_because for row in await memory.list(HOME, statuses={Status.ARCHIVED})} == {"forgotten"}


async def test_clock_backwards(memory: Memory, clock: FixedClock) -> None:
    """A clock that is set back makes nothing older or fresher than it was, and no call fails."""
    record = await memory.add(TEXT, HOME)
    clock.advance(days=-30)
    (hit,) = await memory.recall(QUERY, namespace=HOME)
    assert hit.retention == 1.0
    (used,) = await memory.used(record.id, Grade.GOOD, "a")
    assert used.last_strengthened == record.last_strengthened
    assert (await memory.sweep()).archived == ()


async def test_lessons_are_long_term(memory: Memory) -> None:
    """Reflections and procedures are long-term from the start, with the strength of their kind."""
    lesson = await memory.add("The heron moved.", HOME, kind=Kind.REFLECTION)
    assert lesson.strength == 90.0
    (hit,) = await memory.recall("heron", namespace=HOME)
    assert hit.tier is Tier.LONG_TERM
