"""Facts in the store: drawn from what users say, superseded by newer ones, and taken back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import pytest

from mars.errors import InvalidInput
from mars.memory.engine import Memory
from mars.memory.facts import extract_facts
from mars.memory.records import Kind, NewRecord, Provenance, Record, Source, Status
from mars.testing import FixedClock

HOME = ("user-1",)
DAY = datetime(2025, 1, 1, tzinfo=UTC)


async def tell(memory: Memory, value: str, day: int = 0, relation: str = "lives in", **more: Any) -> Record:
    """Store a fact about Ann, valid from a day on."""
    return await memory.add(
        f"Ann {relation} {value}.",
        HOME,
        kind=Kind.FACT,
        subject="Ann",
        relation=relation,
        value=value,
        valid_from=DAY + timedelta(days=day),
        **more,
    )


async def live(memory: Memory) -> list[str]:
    """The values of the facts that are active."""
    return sorted(str(row.value) for row in await memory.list(HOME, kinds={Kind.FACT}))


async def test_supersession(memory: Memory, clock: FixedClock) -> None:
    """A newer value of a relation that has one takes the older one's place, whose validity ends where it begins."""
    rome = await tell(memory, "Rome")
    clock.advance(days=40)
    oslo = await tell(memory, "Oslo", 30)
    assert await live(memory) == ["Oslo"]
    old = await memory.get(rome.id)
    assert old is not None
    assert (old.status, old.superseded_by) == (Status.SUPERSEDED, oslo.id)
    assert (old.valid_to, old.known_to) == (DAY + timedelta(days=30), clock.now())
    assert [change.event for change in await memory.history(rome.id)] == ["added", "superseded"]
    hits = await memory.recall("Where does Ann live?", namespace=HOME)
    assert [hit.record.value for hit in hits] == ["Oslo"]


async def test_out_of_order(memory: Memory) -> None:
    """An older fact that is told after a newer one is superseded on arrival."""
    oslo = await tell(memory, "Oslo", 30)
    rome = await tell(memory, "Rome", 0)
    assert (rome.status, rome.superseded_by, rome.valid_to) == (Status.SUPERSEDED, oslo.id, oslo.valid_from)
    assert await live(memory) == ["Oslo"]


@pytest.mark.parametrize("order", list(permutations(range(4))))
async def test_any_order_of_telling(clock: FixedClock, order: tuple[int, ...]) -> None:
    """Whatever the order in which values are told, each holds until the next one begins."""
    values = ["Rome", "Oslo", "Graz", "Bern"]
    async with Memory.open("memory:", clock=clock, seed=1) as memory:
        for place in order:
            await tell(memory, values[place], 10 * place)
        for day in range(0, 40, 5):
            held = await memory.as_of(HOME, DAY + timedelta(days=day))
            assert [fact.value for fact in held] == [values[day // 10]]
        assert await live(memory) == ["Bern"]


async def test_within_one_batch(memory: Memory) -> None:
    """Facts of one batch supersede each other as if they had been told one by one."""
    values = ["Rome", "Oslo", "Graz"]
    news = [
        NewRecord(
            text=f"Ann lives in {value}.",
            namespace=HOME,
            kind=Kind.FACT,
            subject="ann",
            relation="lives in",
            value=value,
        )
        for value in values
    ]
    added = await memory.add_many(news)
    assert [row.status for row in added] == [Status.SUPERSEDED, Status.SUPERSEDED, Status.ACTIVE]
    assert [row.superseded_by for row in added] == [added[1].id, added[2].id, None]
    assert await live(memory) == ["Graz"]


async def test_guard(memory: Memory) -> None:
    """Nothing is superseded by likes, other people, other relations, other namespaces, or more precise words."""
    await tell(memory, "tea", relation="likes")
    await tell(memory, "coffee", 5, relation="likes")
    await tell(memory, "Lisbon")
    await tell(memory, "Lisbon, Portugal", 5)
    await memory.add("Bob lives in Oslo.", HOME, kind=Kind.FACT, subject="Bob", relation="lives in", value="Oslo")
    await memory.add(
        "Ann lives in Bonn.", ("user-2",), kind=Kind.FACT, subject="Ann", relation="lives in", value="Bonn"
    )
    assert await live(memory) == ["Lisbon", "Lisbon, Portugal", "Oslo", "coffee", "tea"]


async def test_untrusted_facts_supersede_nothing(memory: Memory) -> None:
    """A web page cannot replace what the user said."""
    await tell(memory, "Rome")
    await tell(memory, "Oslo", 30, source=Source.WEB)
    assert await live(memory) == ["Rome"]


@pytest.mark.parametrize("given", ["older", "newer"])
async def test_undo(memory: Memory, clock: FixedClock, given: str) -> None:
    """A supersession is taken back whole, given either of its facts."""
    rome, oslo = await tell(memory, "Rome"), await tell(memory, "Oslo", 30)
    clock.advance(days=1)
    await memory.undo(rome.id if given == "older" else oslo.id)
    assert await live(memory) == ["Rome"]
    back = await memory.get(rome.id)
    assert back is not None
    assert (back.valid_to, back.known_to, back.superseded_by) == (None, None, None)
    away = await memory.get(oslo.id)
    assert away is not None
    assert (away.status, away.archived_because) == (Status.ARCHIVED, "undone")
    with pytest.raises(InvalidInput, match="nothing to undo"):
        await memory.undo(rome.id)


async def test_undo_in_the_middle(memory: Memory) -> None:
    """When a value between two others is taken back, the first holds until the last begins: one value at a time."""
    rome = await tell(memory, "Rome")
    oslo = await tell(memory, "Oslo", 30)
    graz = await tell(memory, "Graz", 60)
    await memory.undo(rome.id)
    first, middle = await memory.get(rome.id), await memory.get(oslo.id)
    assert first is not None
    assert middle is not None
    assert (first.status, first.superseded_by, first.valid_to) == (Status.SUPERSEDED, graz.id, graz.valid_from)
    assert middle.status is Status.ARCHIVED
    assert await live(memory) == ["Graz"]


async def test_superseded_facts_stay_so_in_the_archive(memory: Memory) -> None:
    """What was out of date when it was put away is out of date when it is restored, and undo does not fetch it."""
    rome, oslo = await tell(memory, "Rome"), await tell(memory, "Oslo", 30)
    await memory.archive(rome.id)
    (back,) = await memory.restore(rome.id)
    assert (back.status, back.superseded_by) == (Status.SUPERSEDED, oslo.id)
    assert await live(memory) == ["Oslo"]
    await memory.archive(rome.id)
    await memory.undo(oslo.id)
    assert await live(memory) == []


async def test_what_comes_back_takes_its_place(memory: Memory, clock: FixedClock) -> None:
    """A fact that is restored or released supersedes and is superseded as if it had been told now."""
    rome = await tell(memory, "Rome")
    await memory.archive(rome.id)
    await tell(memory, "Oslo", 30)
    (back,) = await memory.restore(rome.id)
    assert back.status is Status.SUPERSEDED
    graz = await tell(memory, "Graz", 60, source=Source.WEB)
    await memory.review(graz.id, passed=True)
    assert await live(memory) == ["Graz"]


async def test_superseded_is_not_restored(memory: Memory) -> None:
    """To bring a superseded fact back is an undo, not a restore."""
    rome = await tell(memory, "Rome")
    await tell(memory, "Oslo", 30)
    with pytest.raises(InvalidInput, match="undo"):
        await memory.restore(rome.id)


async def test_as_of(memory: Memory, clock: FixedClock) -> None:
    """What held at a time is told as the store knows it now, and as it knew it then."""
    clock.set(DAY)
    await tell(memory, "Rome")
    clock.set(DAY + timedelta(days=60))
    await tell(memory, "Oslo", 30)

    async def held(day: int, known: int | None = None) -> list[str | None]:
        known_at = None if known is None else DAY + timedelta(days=known)
        facts = await memory.as_of(HOME, DAY + timedelta(days=day), known_at=known_at, subject="ann")
        return [fact.value for fact in facts]

    assert await held(10) == ["Rome"]
    assert await held(40) == ["Oslo"]
    assert await held(40, known=40) == ["Rome"]
    assert await held(-1) == []
    assert await held(10, known=-1) == []


async def test_as_of_hides(memory: Memory, clock: FixedClock) -> None:
    """A supersession that was undone counts as never made, and what was put away is not told."""
    clock.set(DAY)
    rome = await tell(memory, "Rome")
    clock.advance(days=1)
    await tell(memory, "Oslo", 1)
    clock.advance(days=1)
    await memory.undo(rome.id)
    for known_at in (DAY + timedelta(days=1), clock.now()):
        assert [fact.value for fact in await memory.as_of(HOME, clock.now(), known_at=known_at)] == ["Rome"]
    await memory.archive(rome.id)
    assert await memory.as_of(HOME, clock.now()) == []


async def test_as_of_at_a_time(quick: Memory, clock: FixedClock) -> None:
    """`now` says when it is asked: what is forgotten then is not told, and nothing that is told only later."""
    await tell(quick, "Rome")
    for days, expected in ((-1, []), (1, ["Rome"]), (10_000, [])):
        held = await quick.as_of(HOME, DAY, now=clock.now() + timedelta(days=days))
        assert [fact.value for fact in held] == expected


async def test_told_again(memory: Memory, clock: FixedClock) -> None:
    """A fact that is told again is no second fact; it is fresh again, and no stronger than before."""
    first = await tell(memory, "Rome")
    clock.advance(days=20)
    again = await tell(memory, "rome", 20)
    assert (again.id, again.last_strengthened, again.strength) == (first.id, clock.now(), first.strength)
    assert await live(memory) == ["Rome"]


async def test_told_again_in_other_letters(memory: Memory) -> None:
    """What differs in case alone is a second fact where there may be several, told or drawn from what was said."""
    for value in ("Polish", "polish", "Polish"):
        await tell(memory, value, relation="likes")
    assert await live(memory) == ["Polish", "polish"]
    assert [fact.value for fact in extract_facts("I like Turkey and turkey.", "Ann")] == ["Turkey", "turkey"]


async def test_told_again_loses_nothing(memory: Memory, clock: FixedClock) -> None:
    """Told again for good, a fact outlives its first telling; all that is known is united; it counts as skipped."""
    a, b = await memory.add("source a", HOME), await memory.add("source b", HOME)
    end = clock.now() + timedelta(days=5)
    more: dict[str, Any] = {
        "expires_at": end,
        "importance": 0.2,
        "provenance": Provenance(sources=(a.id,)),
        "metadata": {"x": 1},
    }
    first = await tell(memory, "Rome", 10, **more)
    new = NewRecord(
        text="Ann lives in Rome.",
        namespace=HOME,
        kind=Kind.FACT,
        subject="Ann",
        relation="lives in",
        value="Rome",
        valid_from=DAY,
        pinned=True,
        importance=0.9,
        provenance=Provenance(sources=(b.id,)),
        metadata={"y": 2},
    )
    added = await memory.add_many([new])
    assert (added.added, added.skipped, added[0].id) == (0, 1, first.id)
    now = added[0]
    assert (now.expires_at, now.pinned, now.importance, now.valid_from) == (None, True, 0.9, DAY)
    assert (now.provenance.sources, dict(now.metadata)) == ((a.id, b.id), {"x": 1, "y": 2})
    assert (await memory.history(first.id))[-1].detail == {
        "sources": [b.id],
        "told": [[first.valid_from.isoformat(), first.known_from.isoformat()]],
    }
    clock.advance(days=6)
    assert await live(memory) == ["Rome"]
    shorter = await tell(memory, "Rome", 10, expires_at=clock.now() + timedelta(days=1))
    assert (shorter.id, shorter.expires_at, shorter.valid_from) == (first.id, None, DAY)


async def test_the_later_end_wins(memory: Memory, clock: FixedClock) -> None:
    """Of two times to live the longer one counts, whichever was told first."""
    near, far = (clock.now() + timedelta(days=days) for days in (5, 9))
    for relation, ends in (("likes", (near, far)), ("hates", (far, near))):
        rows = [await tell(memory, "tea", relation=relation, expires_at=end) for end in ends]
        assert (rows[1].id, rows[1].expires_at) == (rows[0].id, far)


async def test_metadata_that_disagree(memory: Memory) -> None:
    """A telling whose metadata say otherwise is kept beside the other: neither is overwritten."""
    for room in (1, 2, 1):
        await tell(memory, "tea", relation="likes", metadata={"room": room})
    assert sorted(row.metadata["room"] for row in await memory.list(HOME)) == [1, 2]


async def test_told_again_from_earlier_on(memory: Memory) -> None:
    """What begins earlier now ends what it excludes earlier; what was something else in between is two facts."""
    oslo, rome = await tell(memory, "Oslo", 1), await tell(memory, "Rome", 20)
    assert (await tell(memory, "Rome", 10)).id == rome.id
    away = await memory.get(oslo.id)
    assert away is not None
    assert (away.valid_to, away.superseded_by) == (DAY + timedelta(days=10), rome.id)
    first = await tell(memory, "Rome", 0)
    assert (first.status, first.superseded_by) == (Status.SUPERSEDED, oslo.id)
    held = [(await memory.as_of(HOME, DAY + timedelta(days=day)))[0].id for day in (0, 5, 15)]
    assert held == [first.id, oslo.id, rome.id]
    assert not (await memory.doctor()).findings


@pytest.mark.parametrize(("one", "other"), [("O+", "O-"), ("US", "us"), (">5", "<5"), ("10⁵", "105"), ("5", "-5")])
async def test_signs_count(memory: Memory, one: str, other: str) -> None:
    """A value that differs by a sign is stored, and takes the other's place."""
    first = await tell(memory, one, relation="blood", metadata={"single_valued": True})
    second = await tell(memory, other, 1, relation="blood", metadata={"single_valued": True})
    assert first.id != second.id
    assert await live(memory) == [other]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_edited_to_have_one_value(memory: Memory, order: tuple[int, int]) -> None:
    """Facts of many values that an edit calls single-valued become no rivals: the newer one stays."""
    facts = [await tell(memory, value, day, relation="car") for day, value in enumerate(("red", "blue"))]
    changed = [await memory.edit(facts[one].id, metadata={"single_valued": True}) for one in order]
    assert await live(memory) == ["blue"]
    red = await memory.get(facts[0].id)
    assert red is not None
    assert (red.status, red.superseded_by) == (Status.SUPERSEDED, facts[1].id)
    assert changed[-1] == await memory.get(facts[order[-1]].id)
    assert not (await memory.doctor()).findings


async def test_drawn_again(store: str, clock: FixedClock) -> None:
    """A fact that is drawn a second time is none of the new ones, and names both episodes as its sources."""
    async with Memory.open(store, clock=clock, extract_facts=True) as memory:
        news = [NewRecord(text=f"I live in Rome{end}", namespace=HOME, speaker="Ann") for end in ".!"]
        added = await memory.add_many(news)
        assert (added.added, len(added.facts)) == (2, 1)
        (fact,) = await memory.list(HOME, kinds={Kind.FACT})
        assert fact.provenance.sources == (added[0].id, added[1].id)


async def test_drawn_from_what_users_say(store: str, clock: FixedClock) -> None:
    """With `extract_facts`, facts come from users' words only, point at their episode, and supersede older ones."""
    async with Memory.open(store, clock=clock, extract_facts=True) as memory:
        added = await memory.add_many(
            [
                NewRecord(text="I live in Rome and my favourite tea is Earl Grey.", namespace=HOME, speaker="Ann"),
                NewRecord(text="I live in the cloud.", namespace=HOME, speaker="Bot", source=Source.ASSISTANT),
                NewRecord(text="I live in Hell.", namespace=HOME, speaker="Page", source=Source.WEB),
            ]
        )
        assert [(fact.subject, fact.relation, fact.value) for fact in added.facts] == [
            ("Ann", "lives in", "Rome"),
            ("Ann", "favourite tea", "Earl Grey"),
        ]
        assert {fact.provenance.sources for fact in added.facts} == {(added[0].id,)}
        assert added.facts[0].provenance.role == "extractor"
        clock.advance(days=3)
        await memory.add("I moved to Oslo last week.", HOME, speaker="Ann")
        assert await live(memory) == ["Earl Grey", "Oslo"]


async def test_retry_draws_nothing_twice(store: str, clock: FixedClock) -> None:
    """An episode that is there already gives no facts again."""
    async with Memory.open(store, clock=clock, extract_facts=True) as memory:
        for _ in range(2):
            await memory.add("I live in Rome.", HOME, speaker="Ann", idempotency_key="turn-1")
        stats = await memory.stats()
        assert (stats.by_kind, stats.head) == ({Kind.EPISODE: 1, Kind.FACT: 1}, 2)


async def test_no_facts_unless_asked(memory: Memory) -> None:
    """By default nothing is drawn from episodes."""
    await memory.add("I live in Rome.", HOME, speaker="Ann")
    assert await live(memory) == []


async def said(memory: Memory, speaker: str, text: str, day: int) -> None:
    """Let somebody say something on a day, in a store that draws facts."""
    await memory.add(text, HOME, speaker=speaker, event_time=DAY + timedelta(days=day), now=DAY + timedelta(days=day))


TOLD = (
    ("Mara", "My dentist is Anna Keller.", 0),
    ("Zoe", "Mara's dentist is Omar Haddad.", 10),
    ("Ben", "Mara's dentist is Ruth Ferrari.", 20),
    ("Zoe", "Mara's dentist is Pavel Orlov.", 30),
)


@pytest.mark.parametrize("order", list(permutations(range(4))))
async def test_hearsay_ends_nobody_elses_word(store: str, clock: FixedClock, order: tuple[int, ...]) -> None:
    """What others say of somebody stays beside their own word and ends only what the same speaker said before."""
    async with Memory.open(store, clock=clock, extract_facts=True) as memory:
        for one in order:
            await said(memory, *TOLD[one])
        assert await live(memory) == ["Anna Keller", "Pavel Orlov", "Ruth Ferrari"]
        assert not (await memory.doctor()).findings


@pytest.mark.parametrize("order", list(permutations(range(3))))
async def test_ones_own_word_ends_what_others_said_before(
    store: str, clock: FixedClock, order: tuple[int, ...]
) -> None:
    """The subject's newer word takes the place of all older ones, in whatever order the conversations are read."""
    told = (TOLD[0], TOLD[1], ("mara", "My dentist is now Ingrid Dahl.", 40))
    async with Memory.open(store, clock=clock, extract_facts=True) as memory:
        for one in order:
            await said(memory, *told[one])
        assert [value for value in await live(memory) if value != "Ingrid Dahl"] == []
        assert not (await memory.doctor()).findings


async def test_hearsay_that_agrees_is_no_word_of_ones_own(store: str, clock: FixedClock) -> None:
    """Somebody else's words are not merged into one's own fact, and lend nobody its authority."""
    async with Memory.open(store, clock=clock, extract_facts=True) as memory:
        await said(memory, "Zoe", "Mara's dentist is Anna Keller.", 0)
        await said(memory, "Mara", "My dentist is Anna Keller.", 5)
        await said(memory, "Zoe", "Mara's dentist is Omar Haddad.", 10)
        facts = {(row.speaker, row.value) for row in await memory.list(HOME, kinds={Kind.FACT})}
        assert facts == {("Mara", "Anna Keller"), ("Zoe", "Omar Haddad")}


async def test_things_belong_to_nobody(store: str, clock: FixedClock) -> None:
    """Of what cannot speak for itself the newest word holds, whoever says it."""
    async with Memory.open(store, clock=clock, extract_facts=True) as memory:
        await said(memory, "Zoe", "The standup has moved to 9:30.", 0)
        await said(memory, "Ben", "The standup has moved to 10:15.", 5)
        assert await live(memory) == ["10:15"]


async def test_words_that_a_page_puts_into_ones_mouth_are_hearsay(memory: Memory) -> None:
    """A released record of an untrusted source does not end what somebody said, though it names them as its speaker."""
    await tell(memory, "Rome", speaker="Ann")
    page = await tell(memory, "Oslo", 30, speaker="Ann", source=Source.WEB)
    await memory.review(page.id, passed=True)
    assert await live(memory) == ["Oslo", "Rome"]
    await tell(memory, "Graz", 60, speaker="Ann")
    assert await live(memory) == ["Graz"]
