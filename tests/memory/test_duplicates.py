"""Near-duplicates: what is one and what never is, at `add`, in a namespace, merged and brought back."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from sqlite3 import connect
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mars.errors import InvalidInput, InvalidSetting, NotFound
from mars.memory.backends.selections import selection_query
from mars.memory.duplicates import groups, said
from mars.memory.engine import Memory
from mars.memory.ids import content_hash
from mars.memory.interfaces import Selection
from mars.memory.presets import DEFAULT, PAPER
from mars.memory.records import Duplicates, Kind, NewRecord, Provenance, Record, Source, Status
from mars.testing import FixedClock

HOME, AWAY = ("home",), ("away",)
MARKS = "- < > = ( ) [ ] \" ' # % $ € ° ⁵ + / * _ ? x \n".split(" ")
pieces = st.sampled_from(
    [*"I like not 5 -5 <5 5\" 5' 10⁵ 105 mg MG Polish polish uh, hmm Uh tea, tea . No No,".split(), "\n", "\n  "]
)
texts = st.lists(pieces, min_size=1, max_size=6).map(" ".join)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("I like tea.", "I like tea"),
        ("I uh like tea!", "I  like\ttea."),
        ("I, hmm, like tea\u2026", "I, like tea"),
        ("Caf\u00e9 au lait", "Cafe\u0301 au lait"),
        (":-)", ":-)"),
        ("hmm", "hmm"),
        ("日本語", "日本語。"),
    ],
)
def test_says_the_same(one: str, other: str) -> None:
    """What differs in the marks at the end, in space, or in a sound that says nothing."""
    assert said(one) == said(other)


ADVERSARIAL = [
    ("Give <5 mg each day", "Give 5 mg each day"),
    ("Give >5 mg", "Give <5 mg"),
    ("Give 5 mg", "Give 5 Mg"),
    ("Give 5 mg", "Give 5 g"),
    ("Give 5 mg", "Give 5.0 mg"),
    ("Give 1,5 mg", "Give 15 mg"),
    ('Order the 5" board', "Order the 5' board"),
    ("Multiply by *10", "Multiply by 10"),
    ("Book (5)", "Book 5"),
    ("Set it to - 5 degrees", "Set it to 5 degrees"),
    ("It is -5", "It is 5"),
    ("It is \u22125", "It is 5"),
    ("Use 10⁵ cells", "Use 105 cells"),
    ("50 m² are enough", "50 m2 are enough"),
    ("½ cup", "1/2 cup"),
    ("Meet at 10:30", "Meet at 1030"),
    ("It costs $500", "It costs €500"),
    ("It costs 5%", "It costs 5"),
    ("She knows C#", "She knows C"),
    ("She knows C++", "She knows C"),
    ("Run rm -r", "Run rm r"),
    ("Compute 5!", "Compute 5"),
    ("Hey Jude is a song", "Jude is a song"),
    ("Please Please Me is an album", "Please Me is an album"),
    ("Really is a firm", "is a firm"),
    ("Uh is a name", "is a name"),
    ("ER is a series", "is a series"),
    ("Er ist müde", "ist müde"),
    ("um filho", "filho"),
    ("Polish the table daily", "polish the table daily"),
    ("I love polish food", "I love Polish food"),
    ("May is warm", "may is warm"),
    ("Ask us", "Ask US"),
    ("No, smoking is allowed", "No smoking is allowed"),
    ("Let us eat, Anna", "Let us eat Anna"),
    ("Ann is here.", "Ann is here?"),
    ("[ ] buy milk", "[x] buy milk"),
    ("if a:\n    b\nc", "if a:\n    b\n    c"),
    ("good :)", "good :("),
    ("I like tea", "I don't like tea"),
    ("I don't like tea", "I do not like tea"),
    ("I can't go", "I can go"),
    ("Ann likes Bob", "Bob likes Ann"),
    *(
        (
            f"The vote on the bridge by the old weir was {word} counted on that long day",
            "The vote on the bridge by the old weir was counted on that long day",
        )
        for word in "against refused fake unlikely negative dead cancelled not never twice formerly 7 -".split()
    ),
]


@pytest.mark.parametrize(("one", "other"), ADVERSARIAL)
def test_never_the_same(one: str, other: str) -> None:
    """A sign, a unit, a number, a negation, a name's case, a comma, or any word more is never a duplicate."""
    assert said(one) != said(other)


@pytest.mark.parametrize("mode", [None, "exact", "skip", "merge"])
async def test_nothing_adversarial_is_lost(mode: str | None) -> None:
    """Whatever is asked, both of such a pair are kept: as lessons, and as facts without a value."""
    async with Memory.open("memory:") as memory:
        for number, (one, other) in enumerate(ADVERSARIAL):
            for kind in (Kind.REFLECTION, Kind.FACT):
                about: dict[str, Any] = {"subject": "Ann", "relation": "says"} if kind is Kind.FACT else {}
                news = [NewRecord(text=text, namespace=(f"n{number}",), kind=kind, **about) for text in (one, other)]
                assert (await memory.add_many(news, duplicates=mode)).added == 2
            assert await memory.near_duplicates((f"n{number}",)) == []


def oracle(text: str) -> str:
    """What a text says, letter by letter: without the end of a sentence, sounds, and runs of space; knows no words."""
    left = unicodedata.normalize("NFC", text).strip()
    for sound in ("uhm", "umm", "uh", "erm", "hmm"):
        for mark in (",", ""):
            left = re.sub(rf"(?<!\S){sound}{mark}(?!\S)", "", left)
    left = re.sub(
        r"[^\S\n]+", " ", re.sub(r"\n[^\S\n]*", lambda found: found[0].replace(" ", "\u00b7") + " ", left)
    ).strip()
    return re.sub(r"(?<=[A-Za-z]{2})[.!]+$", "", left) or "nothing"


@settings(max_examples=1000, deadline=None)
@given(one=texts, other=texts)
def test_nothing_is_lost(one: str, other: str) -> None:
    """Against a measure of letters instead of words: what is called the same differs by nothing else."""
    if said(one) == said(other):
        assert oracle(one) == oracle(other)


@settings(max_examples=500, deadline=None)
@given(text=texts, mark=st.sampled_from(MARKS), place=st.integers(0, 60))
def test_one_mark_more_counts(text: str, mark: str, place: int) -> None:
    """One sign, digit or letter put anywhere into a text makes another text of it."""
    at = min(place, len(text))
    assert said(text[:at] + mark + text[at:]) != said(text) or not mark.strip()


@settings(max_examples=100, deadline=None)
@given(told=st.lists(texts, min_size=2, max_size=12))
def test_groups_miss_nothing(told: list[str]) -> None:
    """What a group holds says the same, no record is in two, and of what is left no two say the same."""
    rows = [row(number, text) for number, text in enumerate(told)]
    found = groups(rows)
    grouped = [one.id for group in found for one in (group.keep, *group.others)]
    assert len(grouped) == len(set(grouped))
    for group in found:
        assert all(said(one.text) == said(group.keep.text) for one in group.others)
    away = {one.id for group in found for one in group.others}
    left = [said(one.text) for one in rows if one.id not in away]
    assert len(left) == len(set(left))


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
async def test_the_same_text_is_one_lesson(memory: Memory, clock: FixedClock, kind: Kind) -> None:
    """By default the very same text is one memory, and one that differs by a mark is another."""
    about: dict[str, Any] = {"subject": "Ann", "relation": "says"} if kind is Kind.FACT else {}
    first = await memory.add("Ask at the weir.", HOME, kind=kind, **about)
    clock.advance(days=3)
    new = NewRecord(text="Ask at the weir.", namespace=HOME, kind=kind, **about)
    added = await memory.add_many([new, replace(new, text="Ask at the weir"), new])
    assert (added.added, added.skipped) == (1, 2)
    assert (added[0].id, added[2].id, added[0].last_strengthened) == (first.id, first.id, clock.now())
    assert [row.text for row in await memory.list(HOME)] == ["Ask at the weir", "Ask at the weir."]
    assert [change.event for change in await memory.history(first.id)] == ["added", "merged", "merged"]


@pytest.mark.parametrize("mode", [None, "skip", "merge"])
@pytest.mark.parametrize("kind", [Kind.REFLECTION, Kind.FACT])
async def test_retries_find_what_they_stored(memory: Memory, clock: FixedClock, mode: str | None, kind: Kind) -> None:
    """A record with an idempotency key is stored beside its like; a retry changes nothing, also after an edit."""
    value: dict[str, Any] = {"value": "x", "subject": "Ann", "relation": "likes"} if kind is Kind.FACT else {}
    await memory.add("Check the units.", HOME, kind=kind, duplicates=mode, **value)
    new = NewRecord(text="Check the units.", namespace=HOME, kind=kind, idempotency_key="K", **value)
    added = await memory.add_many([new, new], duplicates=mode)
    assert (added.added, added[0].idempotency_key, added[1].id) == (1, "K", added[0].id)
    head = (await memory.stats()).head
    clock.advance(days=1)
    assert (await memory.add(new, duplicates=mode)) == added[0]
    assert (await memory.stats()).head == head
    await memory.edit(added[0].id, text="Check all units.")
    again = await memory.add_many([new], duplicates=mode)
    assert (again.added, again[0].id, again[0].text) == (0, added[0].id, "Check all units.")
    assert len(await memory.list(HOME)) == 2


async def test_a_lesson_is_found_by_its_hash(tmp_path: Path) -> None:
    """Adding reads no more of a matter of 2,000 lessons than the records of one text, whatever the namespace holds."""
    async with Memory.open(f"sqlite:///{tmp_path / 'life.db'}") as memory:
        news = [NewRecord(text=f"lesson {n}", namespace=HOME, kind=Kind.REFLECTION) for n in range(2000)]
        await memory.add_many(news)
        hashes = frozenset({content_hash("lesson 7")})
        kinds, statuses = frozenset({Kind.REFLECTION}), frozenset({Status.ACTIVE})
        wanted = Selection(namespace=HOME, kinds=kinds, statuses=statuses, content_hashes=hashes)
        query, values = selection_query(wanted, "sqlite")
        with closing(connect(tmp_path / "life.db")) as database:
            told = str(database.execute(f"EXPLAIN QUERY PLAN {query}", values).fetchall())
        assert "ix_mars_records_hash" in told
        assert "SCAN mars_records" not in told


async def test_merge_at_add(memory: Memory, clock: FixedClock) -> None:
    """What says nothing new is not stored: the one that is there takes over its sources, and its τ restarts."""
    a, b = await told(memory, "source a", "source b")
    first = await memory.add(
        "Ask at the weir first.",
        HOME,
        kind=Kind.REFLECTION,
        provenance=Provenance(sources=(a.id,)),
        importance=0.2,
    )
    clock.advance(days=3)
    new = NewRecord(
        text="Ask at the uh weir first",
        namespace=HOME,
        kind=Kind.REFLECTION,
        provenance=Provenance(sources=(b.id,)),
        importance=0.6,
        metadata={"place": "weir"},
    )
    added = await memory.add_many([new, new], duplicates="merge")
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
    said = ["I like tea.", "I like tea", "I don't like tea", "I don't like tea!", "I like tea."]
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
    said = ["Ask at the weir.", "Ask at the weir!", "Ask at the bridge.", "Ask uh at the weir"]
    cited = [Provenance(sources=(one.id,)) for one in (a, a, a, b)]
    one, two, other, three = [
        await memory.add(text, HOME, kind=Kind.REFLECTION, provenance=came, duplicates="keep")
        for text, came in zip(said, cited, strict=True)
    ]
    await memory.add("Ask at the weir.", AWAY, kind=Kind.REFLECTION)
    await memory.pin(three.id)
    (group,) = await memory.near_duplicates(HOME)
    assert (group.keep.id, [row.id for row in group.others]) == (three.id, [one.id, two.id])
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


async def test_merged_facts_begin_with_the_first(memory: Memory) -> None:
    """A fact that takes over an earlier beginning and a longer life ends there what it took the place of."""
    noon = FixedClock().now()
    red, late, early = [
        await memory.add(
            f"Ann's car is {value}.",
            HOME,
            kind=Kind.FACT,
            subject="Ann",
            relation="car",
            value=value,
            valid_from=noon + timedelta(days=day),
            expires_at=end,
            metadata=metadata,
            idempotency_key=f"{day}",
        )
        for value, day, end, metadata in (
            ("red", 0, None, {"single_valued": True}),
            ("blue", 9, noon + timedelta(days=99), {"single_valued": True}),
            ("blue", 5, None, {}),
        )
    ]
    kept = await memory.merge(late.id, early.id)
    assert (kept.valid_from, kept.expires_at, kept.status) == (early.valid_from, None, Status.ACTIVE)
    away = await memory.get(red.id)
    assert away is not None
    assert (away.valid_to, away.superseded_by) == (early.valid_from, late.id)


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
    """A mode that does not exist is refused by name."""
    with pytest.raises(InvalidSetting, match="keep, skip, merge, exact"):
        await quick.add("x", HOME, duplicates="drop")
    with pytest.raises(InvalidSetting, match="duplicates"):
        DEFAULT.but(duplicates={"poem": "skip"})
    every = DEFAULT.but(duplicates="skip").duplicates
    assert set(every.values()) == {Duplicates.SKIP}
    assert DEFAULT.but(duplicates={"fact": "keep"}).duplicates[Kind.REFLECTION] is Duplicates.EXACT
