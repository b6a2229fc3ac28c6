"""Near-duplicates: what is one and what never is, at `add`, in a namespace, merged and brought back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mars.errors import InvalidInput, InvalidSetting, NotFound
from mars.memory.duplicates import GUARDED, Gist, groups
from mars.memory.engine import Memory
from mars.memory.presets import DEFAULT, PAPER
from mars.memory.records import Duplicates, Kind, NewRecord, Provenance, Record, Source, Status
from mars.testing import FixedClock

HOME, AWAY = ("home",), ("away",)
LONG = "On most days my neighbour walks along the quiet towpath with her old brown dog and a folded newspaper"
words = st.sampled_from("I like don't tea Rome Rome? the 5 5% at really well, . heron May may not very if".split())
texts = st.lists(words, min_size=1, max_size=9).map(" ".join)


@pytest.mark.parametrize(
    ("kept", "other"),
    [
        ("I like tea.", "I like tea"),
        ("Well, I really like tea!", "I like tea."),
        ("I don't like tea", "I do not like tea."),
        ("\u201cI\u2019m at home\u201d", "I am at home"),
        ("I like tea.  Rome is far.", "I like tea, Rome is far"),
        ("the heron nests", "The heron nests."),
        (f"{LONG} daily", LONG),
        (":-)", ":-)"),
        ("日本語", "日本語。"),
    ],
)
def test_says_the_same(kept: str, other: str) -> None:
    """What differs in punctuation, case at a start, contractions, fillers, or a harmless word in a long text."""
    assert Gist.of(kept).covers(Gist.of(other), 0.8)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("I like tea", "I don't like tea"),
        ("See you at 5", "See you at 6"),
        ("It costs 5", "It costs $5"),
        ("It costs 5%", "It costs 5"),
        ("It is -5 outside", "It is 5 outside"),
        ("Ann lives in Rome", "Anna lives in Rome"),
        ("Ann likes Bob", "Bob likes Ann"),
        ("I love polish food", "I love Polish food"),
        ("Ask us", "Ask US"),
        ("Ann is here.", "Ann is here?"),
        ("She knows C", "She knows C++"),
        ("I go before lunch", "I go after lunch"),
        ("I work at Acme", "I worked at Acme"),
        ("He has hepatitis a", "He has hepatitis"),
        ("good :)", "good :("),
        ("Yes", "No"),
        *((f"{LONG} {word}", LONG) for word in ("not", "7", "Ann", "if", "perhaps", "twice", "5%", "formerly")),
        (LONG.replace("old", "new"), LONG),
        (LONG.replace("her", "his"), LONG),
        (LONG.replace("walks", "might walk"), LONG),
    ],
)
def test_never_the_same(one: str, other: str) -> None:
    """A negation, a number, a name, a modal, another word or another order is never a duplicate, at any threshold."""
    assert not Gist.of(one).covers(Gist.of(other), 0.01)
    assert not Gist.of(other).covers(Gist.of(one), 0.01)


@settings(max_examples=400, deadline=None)
@given(kept=texts, other=texts, threshold=st.sampled_from([0.01, 0.5, 0.8, 1.0]))
def test_nothing_is_lost(kept: str, other: str, threshold: float) -> None:
    """Whatever is covered has no word that the covering text lacks, and that adds no guarded one."""
    one, two = Gist.of(kept), Gist.of(other)
    assert one.covers(one, 1.0)
    assert one.likeness(two) == two.likeness(one)
    if not one.covers(two, threshold):
        return
    held = [word.folded for word in one.words]
    for word in two.words:
        assert word.folded in held
        held.remove(word.folded)
    assert not GUARDED.intersection(held)
    assert one.likeness(two) >= threshold


@settings(max_examples=60, deadline=None)
@given(said=st.lists(texts, min_size=2, max_size=12), threshold=st.sampled_from([0.3, 0.6, 0.8, 1.0]))
def test_groups_miss_nothing(said: list[str], threshold: float) -> None:
    """The prefix filter loses no pair: what no group holds is covered by nothing that is kept."""
    rows = [row(number, text) for number, text in enumerate(said)]
    found = groups(rows, threshold)
    grouped = [one.id for group in found for one in (group.keep, *group.others)]
    assert len(grouped) == len(set(grouped))
    gists = {one.id: Gist.of(one.text) for one in rows}
    for group in found:
        assert all(gists[group.keep.id].covers(gists[one.id], threshold) for one in group.others)
        assert all(gists[group.keep.id].likeness(gists[one.id]) >= threshold for one in group.others)
    away = {one.id for group in found for one in group.others}
    left = [one for one in rows if one.id not in away]
    for one in left:
        for other in left:
            same = one.id != other.id and gists[one.id].covers(gists[other.id], threshold)
            assert not same or other.id in {group.keep.id for group in found}


def row(number: int, text: str) -> Record:
    """A reflection as it is stored."""
    now = FixedClock().now()
    times = dict.fromkeys(("created_at", "event_time", "last_strengthened", "valid_from", "known_from"), now)
    plain = dict.fromkeys(Record.__dataclass_fields__)
    values = {"strength": 1.0, "boost": 1.0, "difficulty": 2.0, "uses": 0, "importance": 0.0, "entropy": 1.0}
    what = {"kind": Kind.REFLECTION, "status": Status.ACTIVE, "source": Source.USER, "provenance": Provenance()}
    rest = {"pinned": False, "trust": 1.0, "content_hash": "", "metadata": {}, "namespace": HOME, "seq": number}
    return Record(**{**plain, **times, **values, **what, **rest, "id": f"{number:03}", "text": text})  # type: ignore[arg-type]


async def told(memory: Memory, *said: str, mode: str | None = None, **fields: object) -> Sequence[Record]:
    """Store texts one by one; return what each call gave back."""
    return [await memory.add(text, HOME, duplicates=mode, **fields) for text in said]  # type: ignore[arg-type]


async def test_episodes_are_kept(memory: Memory) -> None:
    """Evidence is never spared by default: who says the same twice has said it twice."""
    one, two = await told(memory, "I like tea.", "I like tea.")
    assert one.id != two.id
    assert len(await memory.list(HOME)) == 2


@pytest.mark.parametrize("kind", [Kind.REFLECTION, Kind.PROCEDURE, Kind.FACT])
async def test_lessons_are_merged(memory: Memory, clock: FixedClock, kind: Kind) -> None:
    """The same lesson or fact twice is one memory, whoever writes it and under whatever idempotency key."""
    about: dict[str, Any] = {"subject": "Ann", "relation": "likes", "value": "tea"} if kind is Kind.FACT else {}
    first = await memory.add("Ann likes tea.", HOME, kind=kind, idempotency_key="1", **about)
    clock.advance(days=3)
    new = NewRecord(text="Well, Ann really likes tea", namespace=HOME, kind=kind, idempotency_key="2", **about)
    added = await memory.add_many([new, new])
    assert (added.added, added[0].id, added[0].last_strengthened) == (0, first.id, clock.now())
    assert [row.id for row in await memory.list(HOME)] == [first.id]
    assert [change.event for change in await memory.history(first.id)] == ["added", "merged", "merged"]


async def test_merge_at_add(memory: Memory, clock: FixedClock) -> None:
    """What says nothing new is not stored: the one that is there takes over its sources, and its τ restarts."""
    a, b = await told(memory, "source a", "source b")
    first = await memory.add(
        "Well, ask at the weir first.",
        HOME,
        kind=Kind.REFLECTION,
        provenance=Provenance(sources=(a.id,)),
        importance=0.2,
    )
    clock.advance(days=3)
    new = NewRecord(
        text="Ask at the weir first",
        namespace=HOME,
        kind=Kind.REFLECTION,
        provenance=Provenance(sources=(b.id,)),
        importance=0.6,
        metadata={"place": "weir"},
    )
    added = await memory.add_many([new, new])
    assert (added.added, added.skipped, added[0].id, added[1].id) == (0, 2, first.id, first.id)
    now = await memory.get(first.id)
    assert now is not None
    assert now.provenance.sources == (a.id, b.id)
    assert (now.strength, now.last_strengthened, now.importance) == (first.strength, clock.now(), 0.6)
    assert (now.text, dict(now.metadata), now.uses) == (first.text, {"place": "weir"}, 0)
    events = await memory.history(first.id)
    assert [one.event for one in events] == ["added", "merged", "merged"]
    assert events[1].detail["sources"] == [b.id]
    assert "weir" not in str(events)


async def test_skip_at_add(memory: Memory, clock: FixedClock) -> None:
    """Skipped, the new one is not stored and the other is untouched."""
    (first,) = await told(memory, "I like tea.")
    clock.advance(minutes=5)
    (again,) = await told(memory, "I like tea", mode="skip")
    assert again == first
    assert [change.event for change in await memory.history(first.id)] == ["added"]
    assert len(await memory.list(HOME)) == 1


async def test_within_one_call(memory: Memory) -> None:
    """A batch finds duplicates among its own records too, and counts what is new."""
    said = ["I like tea.", "I like tea", "I do not like tea", "I don't like tea!", "I like tea."]
    added = await memory.add_many([NewRecord(text=text, namespace=HOME) for text in said], duplicates="skip")
    assert (added.added, added.skipped) == (2, 3)
    assert [one.text for one in added] == [said[0], said[0], said[2], said[2], said[0]]
    assert [one.text for one in await memory.list(HOME)] == [said[0], said[2]]


@pytest.mark.parametrize(
    "other",
    [
        {"namespace": AWAY},
        {"kind": Kind.PROCEDURE},
        {"speaker": "ben"},
        {"conversation": "other"},
        {"position": 7},
        {"key": "k"},
        {"source": Source.WEB},
        {"metadata": {"room": 2}},
        {"text": "I like green tea."},
        {"text": "Well, I like tea a lot, which says more than the other."},
    ],
)
async def test_what_is_kept_apart(quick: Memory, other: dict[str, object]) -> None:
    """Another namespace, kind, speaker, conversation, place, trust or metadata is another memory."""
    fields: dict[str, object] = {
        "text": "I like tea.",
        "namespace": HOME,
        "speaker": "ann",
        "conversation": "c",
        "position": 1,
        "metadata": {"room": 1},
    }
    first = await quick.add(NewRecord(**fields))  # type: ignore[arg-type]
    new = NewRecord(**{**fields, **other})  # type: ignore[arg-type]
    assert (await quick.add(new, duplicates="merge")).id != first.id
    assert (await quick.add(NewRecord(**fields), duplicates="merge")).id == first.id  # type: ignore[arg-type]


async def test_other_days(quick: Memory, clock: FixedClock) -> None:
    """The same words on another day are another event; a lesson has no day."""
    one = await told(quick, "It rained.", mode="skip")
    lesson = await told(quick, "Take an umbrella.", mode="skip", kind=Kind.REFLECTION)
    clock.advance(days=1)
    assert await told(quick, "It rained.", mode="skip") != one
    assert await told(quick, "Take an umbrella.", mode="skip", kind=Kind.REFLECTION) == lesson


async def test_the_gone_spare_nothing(store: str, clock: FixedClock) -> None:
    """What is archived, forgotten or expired stands for nothing, and what lives shorter not for what lives longer."""
    async with Memory.open(store, clock=clock, preset=PAPER) as memory:
        (first,) = await told(memory, "I like tea.", mode="skip")
        clock.advance(days=9)
        (second,) = await told(memory, "I like tea.", mode="skip", event_time=first.event_time)
        await memory.archive(second.id)
        (third,) = await told(memory, "I like tea.", mode="skip", event_time=first.event_time)
        assert len({first.id, second.id, third.id}) == 3
        end = clock.now() + timedelta(hours=1)
        (short,) = await told(memory, "It rains.", mode="skip", expires_at=end)
        assert (await told(memory, "It rains.", mode="skip", expires_at=end))[0] == short
        (long,) = await told(memory, "It rains.", mode="skip")
        assert long.id != short.id
        assert (await told(memory, "It rains.", mode="skip", expires_at=end))[0].id in (short.id, long.id)


async def test_facts_of_a_duplicate(store: str, clock: FixedClock) -> None:
    """An episode that is spared gives no facts a second time."""
    async with Memory.open(store, clock=clock, extract_facts=True) as memory:
        new = NewRecord(text="I moved to Bern.", namespace=HOME, speaker="Ann")
        first = await memory.add_many([new], duplicates="skip")
        again = await memory.add_many([new], duplicates="skip")
        assert (first.added, len(first.facts), again.added, len(again.facts)) == (1, 1, 0, 0)


async def test_groups_and_merge(memory: Memory, clock: FixedClock) -> None:
    """A group names what can stand for the others; merged, they are archived with the reason, and can come back."""
    a, b = await told(memory, "source a", "source b")
    said = ["Ask at the weir.", "Well, ask at the weir!", "Ask at the bridge.", "Please ask at the weir"]
    cited = [Provenance(sources=(one.id,)) for one in (a, a, a, b)]
    one, two, other, three = [
        await memory.add(text, HOME, kind=Kind.REFLECTION, provenance=came, duplicates="keep")
        for text, came in zip(said, cited, strict=True)
    ]
    await memory.add("Ask at the weir.", AWAY, kind=Kind.REFLECTION)
    await memory.pin(three.id)
    (group,) = await memory.near_duplicates(HOME)
    assert (group.keep.id, [row.id for row in group.others], group.likeness) == (three.id, [one.id, two.id], (1.0, 1.0))
    assert await memory.near_duplicates(HOME, kinds=[Kind.EPISODE]) == []
    clock.advance(hours=1)
    kept = await memory.merge(group.keep.id, [row.id for row in group.others])
    assert set(kept.provenance.sources) == {a.id, b.id}
    gone = await memory.get(one.id)
    assert gone is not None
    assert (gone.status, gone.archived_because, gone.archived_at) == (Status.ARCHIVED, "merged", clock.now())
    assert (await memory.history(one.id))[-1].detail == {"because": "merged", "into": three.id}
    assert await memory.near_duplicates(HOME) == []
    assert await memory.merge(three.id, []) == kept
    await memory.restore([one.id, two.id])
    assert len((await memory.near_duplicates(HOME))[0].others) == 2
    assert {row.id for row in await memory.list(HOME, kinds=[Kind.REFLECTION])} == {one.id, two.id, three.id, other.id}


async def test_what_cannot_be_merged(memory: Memory) -> None:
    """Records of another namespace, another kind, with a key, or not active, are not merged, and nothing changes."""
    keep = await memory.add("Ask at the weir.", HOME)
    others = [
        await memory.add("Ask at the weir.", AWAY),
        await memory.add("Ask at the weir.", HOME, kind=Kind.PROCEDURE),
        await memory.add("Ask at the weir.", HOME, key="k"),
        await memory.add("Ask at the weir.", HOME, source=Source.WEB),
        (await memory.archive((await memory.add("Ask at the weir.", HOME)).id))[0],
    ]
    before = (await memory.stats()).head
    for other in others:
        with pytest.raises(InvalidInput, match="merged"):
            await memory.merge(keep.id, other.id)
        with pytest.raises(InvalidInput, match="merged"):
            await memory.merge(other.id, keep.id)
    with pytest.raises(NotFound):
        await memory.merge(keep.id, "nobody")
    assert (await memory.stats()).head == before


async def test_settings(quick: Memory) -> None:
    """A mode that does not exist and a threshold out of range are refused by name."""
    with pytest.raises(InvalidSetting, match="keep, skip, merge"):
        await quick.add("x", HOME, duplicates="drop")
    for threshold in (0.0, 1.1, float("nan")):
        with pytest.raises(InvalidSetting, match="likeness"):
            await quick.near_duplicates(HOME, threshold)
    with pytest.raises(InvalidSetting, match="duplicates"):
        DEFAULT.but(duplicates={"poem": "skip"})
    every = DEFAULT.but(duplicates="skip").duplicates
    assert set(every.values()) == {Duplicates.SKIP}
    assert DEFAULT.but(duplicates={"fact": "keep"}).duplicates[Kind.REFLECTION] is Duplicates.MERGE
