"""The memory over every backend: what is stored is found, by whom it may be, when it may be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest
from anyio import create_task_group

from mars.errors import (
    EmbedderMismatch,
    InvalidFile,
    InvalidInput,
    InvalidNamespace,
    InvalidSetting,
    InvalidText,
    InvalidTime,
    InvalidVector,
    NotFound,
    StoreClosed,
)
from mars.memory.backends import open_backend
from mars.memory.engine import Memory
from mars.memory.preparing import Fields
from mars.memory.recall import QUERY_VECTORS
from mars.memory.records import Kind, NewRecord, Provenance, Source, Status, Tier
from mars.memory.store import SystemClock
from mars.testing import ConstantEmbedder, FixedClock, RandomEmbedder

HOME = ("user-1",)


async def test_add_and_recall(memory: Memory, clock: FixedClock) -> None:
    """What was added is recalled, whole, with its numbers; recalling changes nothing."""
    stored = await memory.add(
        "The concert in Vienna was wonderful.",
        HOME,
        conversation="c1",
        position=3,
        speaker="Ann",
        importance=0.25,
        event_time=datetime(2025, 5, 1, tzinfo=UTC),
        metadata={"mood": "glad"},
    )
    clock.advance(days=1)
    (hit,) = await memory.recall("Vienna concert", namespace=HOME, explain=True)
    assert hit.record == stored == await memory.get(stored.id)
    assert 0.9 < hit.retention < 1.0
    assert hit.tier is Tier.SHORT_TERM
    assert 0.0 < hit.relevance <= 1.0
    parts = hit.explanation
    assert parts is not None
    assert hit.rank == pytest.approx(parts.fusion * parts.retention_factor * parts.importance_factor * parts.trust)
    assert (stored.speaker, stored.position, stored.metadata["mood"]) == ("Ann", 3, "glad")
    assert stored.created_at == stored.last_strengthened == clock.now() - timedelta(days=1)
    assert stored.event_time == stored.valid_from == datetime(2025, 5, 1, tzinfo=UTC)


async def test_ages_count_from_storing(memory: Memory) -> None:
    """A conversation of long ago that is imported today is fresh today."""
    await memory.add("We met in Graz.", HOME, event_time=datetime(1990, 1, 1, tzinfo=UTC))
    (hit,) = await memory.recall("Graz", namespace=HOME)
    assert hit.retention == 1.0


async def test_namespaces_do_not_leak(memory: Memory) -> None:
    """A record is found in its own namespace only, and below a prefix that is asked for by name."""
    places = [("a", "b.c"), ("a.b", "c"), ("a",), ("a", "b")]
    for place in places:
        await memory.add(f"The secret word of {len(place)} labels is plum.", place)
    for place in places:
        assert {hit.record.namespace for hit in await memory.recall("secret plum", namespace=place)} == {place}
        assert [row.namespace for row in await memory.list(place)] == [place]
    below = await memory.recall("secret plum", namespace_prefix=("a",))
    assert {hit.record.namespace for hit in below} == {("a",), ("a", "b"), ("a", "b.c")}
    assert len(await memory.list(namespace_prefix=("a",))) == 3
    assert await memory.namespaces(("a",)) == {("a",): 1, ("a", "b"): 1, ("a", "b.c"): 1}
    assert await memory.recall("plum", namespace=("nobody",)) == []


async def test_ids(memory: Memory, clock: FixedClock) -> None:
    """Ids are UUIDs of version 7 that sort by the time and then by the order of storing."""
    rows = [*await memory.add_many([NewRecord(text=f"row {n}", namespace=HOME) for n in range(50)])]
    clock.advance(seconds=1)
    rows.append(await memory.add("later", HOME))
    ids = [row.id for row in rows]
    assert ids == sorted(ids)
    assert {UUID(one).version for one in ids} == {7}
    assert {UUID(one).variant for one in ids} == {UUID(ids[0]).variant}


async def test_same_inputs_same_store(store: str) -> None:
    """The same calls at the same times with the same seed give the same records, ids included; another seed others."""
    ids = []
    for place, seed in enumerate([7, 7, 8]):
        clock = FixedClock()
        target = "memory:" if place else store
        async with Memory.open(target, clock=clock, seed=seed) as memory:
            await memory.add("one", HOME)
            clock.advance(days=1)
            await memory.used((await memory.add("two", HOME)).id, turn="t")
            ids.append(await memory.list(HOME))
    assert ids[0] == ids[1]
    assert ids[0] != ids[2]


async def test_bulk(memory: Memory) -> None:
    """Many records are stored in one transaction, in their order, each with the time that is given for it."""
    start = datetime(2024, 1, 1, tzinfo=UTC)
    news = [NewRecord(text=f"entry number {n}", namespace=HOME) for n in range(30)]
    added = await memory.add_many(news, now=[start + timedelta(days=n) for n in range(30)])
    assert (len(added), added.added, added.skipped) == (30, 30, 0)
    assert [row.text for row in added] == [new.text for new in news]
    assert [row.created_at for row in added[:2]] == [start, start + timedelta(days=1)]
    assert [row.seq for row in added] == list(range(1, 31))
    assert len(await memory.add_many([])) == 0


async def test_idempotency(memory: Memory) -> None:
    """A write under a known idempotency key adds nothing, in a later call and within one batch."""
    first = await memory.add("I like tea.", HOME, idempotency_key="k1")
    again = await memory.add("I like tea, said again.", HOME, idempotency_key="k1")
    assert again == first
    elsewhere = await memory.add("I like tea.", ("user-2",), idempotency_key="k1")
    assert elsewhere.id != first.id
    batch = [NewRecord(text=f"text {n % 3}", namespace=HOME, idempotency_key=f"b{n % 3}") for n in range(9)]
    added = await memory.add_many([*batch, NewRecord(text="I like tea.", namespace=HOME, idempotency_key="k1")])
    assert (added.added, added.skipped) == (3, 7)
    assert [row.text for row in added[:4]] == ["text 0", "text 1", "text 2", "text 0"]
    assert len(await memory.list(HOME)) == 4


async def test_keys(memory: Memory) -> None:
    """A caller's key is unique in its namespace: the same text is the same record, another text is refused."""
    first = await memory.add("blue", HOME, key="colour")
    assert await memory.add("blue", HOME, key="colour") == first
    with pytest.raises(InvalidInput, match="edit"):
        await memory.add("green", HOME, key="colour")
    assert [row.text for row in await memory.list(HOME)] == ["blue"]


async def test_all_or_nothing(memory: Memory) -> None:
    """If one record of a batch is refused, none is stored."""
    await memory.add("blue", HOME, key="colour")
    news = [NewRecord(text="fine", namespace=HOME), NewRecord(text="green", namespace=HOME, key="colour")]
    with pytest.raises(InvalidInput):
        await memory.add_many(news)
    assert [row.text for row in await memory.list(HOME)] == ["blue"]
    assert await memory.recall("fine", namespace=HOME) == []


async def test_restrictions(memory: Memory) -> None:
    """Kinds, times, conversation and metadata restrict what is recalled; what a row lacks never matches."""
    day = datetime(2025, 6, 1, tzinfo=UTC)
    for n in range(4):
        await memory.add(
            f"apple number {n}",
            HOME,
            kind=Kind.PROCEDURE if n == 3 else Kind.EPISODE,
            event_time=day + timedelta(days=n),
            conversation=f"c{n % 2}",
            metadata={"n": n},
        )

    async def found(**limits: object) -> list[str]:
        hits = await memory.recall("apple", namespace=HOME, **limits)  # type: ignore[arg-type]
        return sorted(hit.record.text[-1] for hit in hits)

    assert await found() == ["0", "1", "2", "3"]
    assert await found(kinds={Kind.PROCEDURE}) == ["3"]
    assert await found(since=day + timedelta(days=1), until=day + timedelta(days=3)) == ["1", "2"]
    assert await found(conversation="c1") == ["1", "3"]
    assert await found(filter={"n": 2}) == ["2"]
    assert await found(filter={"other": None}) == []
    assert len(await found(k=2)) == 2
    assert await found(k=0) == []


async def test_floor(memory: Memory) -> None:
    """What has nothing to do with the question is not returned, however little else there is."""
    await memory.add("The boiler was repaired on Monday.", HOME)
    assert await memory.recall("zebra saxophone", namespace=HOME) == []
    assert await memory.recall("the boiler and the zebra saxophone orchestra", namespace=HOME, floor=0.9) == []


async def test_untrusted(memory: Memory) -> None:
    """Text from tools and the web waits in quarantine, and so does what is derived from it, until it is reviewed."""
    told = await memory.add("The code is 1234.", HOME)
    web = await memory.add("The code is 6666, says a web page.", HOME, source=Source.WEB)
    derived = await memory.add("The code may be 6666.", HOME, provenance=Provenance(sources=(web.id,)))
    assert [row.status for row in (told, web, derived)] == [Status.ACTIVE, Status.QUARANTINED, Status.QUARANTINED]
    assert (web.trust, derived.trust, web.strength) == (0.5, 0.5, 3.5)
    assert [hit.record.id for hit in await memory.recall("code 6666", namespace=HOME)] == [told.id]
    await memory.review([web.id], passed=True)
    await memory.review([derived.id], passed=False)
    assert {hit.record.id for hit in await memory.recall("code 6666", namespace=HOME)} == {told.id, web.id}
    shown = await memory.get(derived.id)
    assert shown is not None
    assert (shown.status, shown.archived_because) == (Status.ARCHIVED, "review")


async def test_no_way_around_a_review(memory: Memory) -> None:
    """Neither the archive nor a derived record nor a repeated fact brings unreviewed text into recall."""
    web, failed = await memory.add_many(
        [NewRecord(text=f"The code is {code}.", namespace=HOME, source=Source.WEB) for code in (6666, 7777)]
    )
    await memory.archive(web.id, "put away for now")
    await memory.review([failed.id], passed=False)
    for record in (web, failed):
        (back,) = await memory.restore(record.id)
        assert back.status is Status.QUARANTINED
        await memory.archive(record.id)
        derived = await memory.add("The code may be 8888.", HOME, provenance=Provenance(sources=(record.id,)))
        assert derived.status is Status.QUARANTINED
    assert await memory.recall("code", namespace=HOME) == []
    with pytest.raises(InvalidInput, match="reason"):
        await memory.archive(web.id, "review")


async def test_other_processes_writes(tmp_path: Path, clock: FixedClock) -> None:
    """What another process commits to the same file is found at the next call, and what it deletes is not."""
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    async with Memory.open(url, clock=clock) as ours, Memory.open(url, clock=clock) as theirs:
        await ours.add("alpha", HOME)
        assert len(await theirs.recall("alpha beta", namespace=HOME)) == 1
        late = await ours.add("beta", HOME)
        assert len(await theirs.recall("alpha beta", namespace=HOME)) == 2
        await ours.purge(late.id)
        assert len(await theirs.recall("alpha beta", namespace=HOME)) == 1


async def test_reopening(tmp_path: Path, clock: FixedClock) -> None:
    """What was stored is there when the file is opened again, with the same answers."""
    url = f"sqlite:///{tmp_path / 'life.db'}"
    async with Memory.open(url, clock=clock, embedder=RandomEmbedder()) as memory:
        await memory.add_many([NewRecord(text=f"note {n} on subject {n % 4}", namespace=HOME) for n in range(20)])
        before = await memory.recall("subject 3", namespace=HOME, explain=True)
    async with Memory.open(url, clock=clock, embedder=RandomEmbedder()) as memory:
        assert await memory.recall("subject 3", namespace=HOME, explain=True) == before


async def test_embedder_of_the_store(tmp_path: Path) -> None:
    """A store's vectors come from one embedder: another one is refused by name, an empty store takes any."""
    url = f"sqlite:///{tmp_path / 'one.db'}"
    async with Memory.open(url, embedder=ConstantEmbedder()):
        pass
    async with Memory.open(url, embedder=RandomEmbedder()) as memory:
        await memory.add("text", HOME)
    with pytest.raises(EmbedderMismatch, match="random-32-0"):
        async with Memory.open(url):
            pass
    with pytest.raises(InvalidFile):
        async with Memory.open(url, embedder=tmp_path / "no weights"):
            pass


async def test_embedder_race(tmp_path: Path) -> None:
    """Where two processes open an empty store with different embedders, the second one's write is refused."""
    url = f"sqlite:///{tmp_path / 'race.db'}"
    async with Memory.open(url, embedder=RandomEmbedder()) as first, Memory.open(url) as second:
        await first.add("text", HOME)
        with pytest.raises(EmbedderMismatch):
            await second.add("text", HOME)


async def test_given_vectors(memory: Memory) -> None:
    """A caller's own vector is taken if it has the embedder's dimension, and refused otherwise."""
    size = memory.embedder.dimension
    await memory.add("given", HOME, embedding=np.ones(size, np.float32))
    with pytest.raises(InvalidVector, match="dimensions"):
        await memory.add("wrong", HOME, embedding=np.ones(size + 1, np.float32))
    with pytest.raises(InvalidVector, match="NaN"):
        await memory.add("broken", HOME, embedding=np.full(size, np.nan, np.float32))
    assert len(await memory.list(HOME)) == 1


async def test_vectors_find(clock: FixedClock) -> None:
    """With an embedder that means something, a record is found by its vector alone."""
    async with Memory.open("memory:", clock=clock, embedder=ConstantEmbedder(lexical_weight=0.2)) as memory:
        await memory.add("entirely other words", HOME)
        (hit,) = await memory.recall("unrelated", namespace=HOME, explain=True)
        assert hit.explanation is not None
        assert hit.explanation.cosine == pytest.approx(1.0, abs=1e-6)
        assert await memory.recall("unrelated", namespace=HOME) == await memory.recall("unrelated", namespace=HOME)


async def test_bad_input(memory: Memory) -> None:
    """Whatever is wrong with a call is refused by type and remedy, and nothing is written."""
    with pytest.raises(InvalidText, match="empty"):
        await memory.add("  ", HOME)
    with pytest.raises(InvalidText, match="split"):
        await memory.add("x" * (4 * 1024 * 1024 + 1), HOME)
    for bad in ((), ("",), "user-1", ["a"], None):
        with pytest.raises(InvalidNamespace):
            await memory.add("text", bad)  # type: ignore[arg-type]
        with pytest.raises(InvalidNamespace):
            await memory.recall("text", namespace=bad)  # type: ignore[arg-type]
    with pytest.raises(InvalidNamespace, match="either"):
        await memory.recall("text", namespace=HOME, namespace_prefix=HOME)
    with pytest.raises(InvalidTime, match="time zone"):
        await memory.add("text", HOME, now=datetime(2026, 1, 1))  # noqa: DTZ001
    with pytest.raises(InvalidTime, match="event_time"):
        await memory.add("text", HOME, event_time=datetime(2026, 1, 1))  # noqa: DTZ001
    with pytest.raises(InvalidTime, match="now"):
        await memory.recall("text", namespace=HOME, now="today")  # type: ignore[arg-type]
    for k in (-1, 2.5, True):
        with pytest.raises(InvalidSetting, match="k counts"):
            await memory.recall("text", namespace=HOME, k=k)  # type: ignore[arg-type]
    with pytest.raises(InvalidSetting, match="floor"):
        await memory.recall("text", namespace=HOME, floor=1.5)
    with pytest.raises(InvalidText, match="query"):
        await memory.recall("", namespace=HOME)
    with pytest.raises(InvalidInput, match="times for"):
        await memory.add_many([NewRecord(text="text", namespace=HOME)], now=[])
    with pytest.raises(InvalidInput, match="NewRecord"):
        await memory.add_many(["text"])  # type: ignore[list-item]
    with pytest.raises(InvalidInput, match="replace"):
        await memory.add(NewRecord(text="text", namespace=HOME), HOME)
    with pytest.raises(InvalidInput, match="turn"):
        await memory.used("nothing")
    with pytest.raises(NotFound, match="nobody"):
        await memory.used("nobody", turn="t")
    assert (await memory.stats()).records == 0


async def test_long_text(memory: Memory) -> None:
    """A text of one megabyte is stored and found like any other."""
    text = "All work and no play makes a long story. " * 25_600
    await memory.add(text, HOME)
    (hit,) = await memory.recall("long story", namespace=HOME)
    assert hit.record.text == text


async def test_edit(memory: Memory, clock: FixedClock) -> None:
    """An edit changes what is named and what follows from it, and keeps strength, times and id."""
    record = await memory.add("The gate code is 1111.", HOME, metadata={"a": 1})
    clock.advance(days=2)
    edited = await memory.edit(record.id, text="The gate code is 2222.", importance=0.5, metadata={"b": 2})
    assert (edited.text, edited.importance, dict(edited.metadata)) == ("The gate code is 2222.", 0.5, {"b": 2})
    assert (edited.created_at, edited.last_strengthened, edited.strength) == (
        record.created_at,
        record.last_strengthened,
        record.strength,
    )
    assert edited.content_hash != record.content_hash
    assert [hit.record.text for hit in await memory.recall("2222", namespace=HOME)] == ["The gate code is 2222."]
    assert await memory.recall("1111", namespace=HOME) == []
    assert await memory.edit(record.id) == edited
    later = clock.now() + timedelta(days=1)
    assert (await memory.edit(record.id, short_text="gate 2222", expires_at=later)).expires_at == later
    assert "1111" not in str(await memory.history(record.id))
    with pytest.raises(NotFound):
        await memory.edit("nobody", importance=1.0)


async def test_window(memory: Memory, clock: FixedClock) -> None:
    """The window of a conversation is its newest short-term records, in order."""
    for n in range(5):
        await memory.add(f"turn {n}", HOME, conversation="c", position=n)
    await memory.add("elsewhere", HOME, conversation="d")
    await memory.add("a lesson", HOME, conversation="c", kind=Kind.REFLECTION)
    assert [row.text for row in await memory.window(HOME, "c", k=3)] == ["turn 2", "turn 3", "turn 4"]
    assert await memory.window(HOME, "c", k=0) == []
    clock.advance(days=8)
    assert await memory.window(HOME, "c") == []


async def test_listing(memory: Memory) -> None:
    """A listing is in the order of the last change, may be turned round and cut, and shows active records only."""
    rows = [await memory.add(f"row {n}", HOME) for n in range(4)]
    await memory.archive(rows[0].id, "no use")
    assert [row.text for row in await memory.list(HOME)] == ["row 1", "row 2", "row 3"]
    assert [row.text for row in await memory.list(HOME, newest_first=True, limit=2)] == ["row 3", "row 2"]
    assert [row.text for row in await memory.list(HOME, statuses={Status.ARCHIVED})] == ["row 0"]
    assert len(await memory.list(HOME, statuses=set(Status))) == 4
    with pytest.raises(InvalidNamespace):
        await memory.list()


async def test_stats(memory: Memory) -> None:
    """The figures say what the store holds and how it was opened."""
    row = await memory.add("one", HOME)
    await memory.add("two", ("user-2",), kind=Kind.PROCEDURE)
    await memory.archive(row.id)
    stats = await memory.stats()
    assert (stats.records, stats.namespaces, stats.preset, stats.head) == (2, 2, "default", 3)
    assert stats.by_status == {Status.ARCHIVED: 1, Status.ACTIVE: 1}
    assert stats.by_kind == {Kind.EPISODE: 1, Kind.PROCEDURE: 1}
    assert stats.by_tier == {Tier.LONG_TERM: 1}
    assert stats.embedder == memory.embedder.id


async def test_concurrent_calls(memory: Memory) -> None:
    """Many tasks may write and read at once; nothing is lost and `seq` has no gap."""

    async def work(number: int) -> None:
        await memory.add(f"task {number}", HOME, idempotency_key=str(number % 20))
        await memory.recall("task", namespace=HOME)

    async with create_task_group() as tasks:
        for number in range(40):
            tasks.start_soon(work, number)
    assert sorted(row.seq for row in await memory.list(HOME)) == list(range(1, 21))


async def test_closing(store: str) -> None:
    """A memory is used between opening and closing only, once; what the caller opened stays open."""
    memory = Memory.open(store)
    with pytest.raises(StoreClosed, match="async with"):
        await memory.add("text", HOME)
    with pytest.raises(StoreClosed, match="async with"):
        _ = memory.embedder
    async with memory:
        await memory.add("text", HOME)
    await memory.close()
    with pytest.raises(StoreClosed):
        await memory.recall("text", namespace=HOME)
    with pytest.raises(StoreClosed, match="opened before"):
        await memory.__aenter__()
    backend = open_backend("memory:")
    async with Memory.open(backend) as memory:
        assert memory.backend is backend
    assert backend.read(lambda reader: reader.head()) == 0


async def test_settings() -> None:
    """Unknown presets and options are refused before anything is opened, and the system's clock is the default."""
    with pytest.raises(InvalidSetting, match="memorybank"):
        Memory.open("memory:", preset="grim")
    async with Memory.open("memory:", preset="paper") as memory:
        assert memory.preset.name == "paper"
        assert isinstance(memory.clock, SystemClock)
        record = await memory.add("text", HOME)
        assert abs(record.created_at - datetime.now(UTC)) < timedelta(minutes=1)


def test_fields() -> None:
    """`Memory.add` takes every field of a new record by its name."""
    assert set(Fields.__annotations__) == set(NewRecord.__dataclass_fields__) - {"text", "namespace"}


async def test_reindex(tmp_path: Path, clock: FixedClock) -> None:
    """Rebuilding what is derived changes no answer; a store that is no file must be told where the index goes."""
    async with Memory.open("memory:") as memory:
        with pytest.raises(InvalidSetting, match="folder"):
            await memory.reindex()
    async with Memory.open("memory:", clock=clock, index=tmp_path / "vectors", embedder=RandomEmbedder()) as memory:
        await memory.add_many([NewRecord(text=f"note {n}", namespace=HOME) for n in range(5)])
        before = await memory.recall("note 3", namespace=HOME)
        seen: list[tuple[int, int]] = []
        assert await memory.reindex(lambda at, aim: seen.append((at, aim))) == 5
        assert seen[-1] == (5, 5)
        assert await memory.recall("note 3", namespace=HOME) == before


async def test_query_vectors_are_bounded(clock: FixedClock) -> None:
    """However many questions are asked, only the newest ones' vectors are kept, and each is answered the same."""
    async with Memory.open("memory:", clock=clock, embedder=RandomEmbedder(lexical_weight=0.9)) as memory:
        await memory.add("The heron nests by the weir.", HOME)
        first = await memory.recall("heron 0", namespace=HOME)
        for number in range(1, QUERY_VECTORS + 20):
            await memory.recall(f"heron {number}", namespace=HOME, k=1)
        assert await memory.recall("heron 0", namespace=HOME) == first


async def test_random_seeds() -> None:
    """Without a seed two stores give different ids to the same record."""
    ids = set()
    for _ in range(2):
        async with Memory.open("memory:", clock=FixedClock()) as memory:
            ids.add((await memory.add("text", HOME)).id)
    assert len(ids) == 2
