"""The shard: equal to brute force over every row, whatever happened before the question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mars.errors import InvalidInput, InvalidSetting, InvalidTime, InvalidVector
from mars.language import terms
from mars.memory import loading
from mars.memory.agreement import agreement, vector_share
from mars.memory.backends import open_backend
from mars.memory.backends.inmemory import InMemoryBackend
from mars.memory.columns import Ids
from mars.memory.curves import EXPONENTIAL, POWER
from mars.memory.filters import RecallFilter
from mars.memory.ids import content_hash
from mars.memory.interfaces import Backend, Transaction
from mars.memory.lexical import Document, LexicalIndex
from mars.memory.presets import DEFAULT, PAPER, Preset
from mars.memory.records import Kind, Provenance, Record, Source, Status, Tier, Vector
from mars.memory.shard import Match, Shard, search, voiced
from mars.memory.tiers import TierRule
from mars.memory.views import is_expired, is_forgotten, standing_at, swept, unswept
from mars.memory.weights import Weights

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SPACE = ("user-1",)
DIMENSION = 4
FADING = DEFAULT.but(curve=EXPONENTIAL, tiers=TierRule(theta1=0.7, theta2=0.3), retention_floor=0.0)
KEEPING = FADING.but(tiers=TierRule(theta1=0.7, theta2=0.3, forgets=False), importance_floor=0.5)
PRESETS = [DEFAULT, PAPER, FADING, KEEPING, DEFAULT.but(curve=POWER, base_strength=1.0)]


def make(number: int, text: str = "a dog", **fields: Any) -> Record:
    """A record that is valid; ids follow the number."""
    values: dict[str, Any] = dict.fromkeys(Record.__dataclass_fields__)
    values |= {"id": f"id-{number:03d}", "seq": number + 1, "text": text, "namespace": SPACE, "kind": Kind.EPISODE}
    values |= dict.fromkeys(("created_at", "event_time", "last_strengthened", "valid_from", "known_from"), NOW)
    values |= {"status": Status.ACTIVE, "strength": 7.0, "boost": 1.0, "difficulty": 2.1, "uses": 0, "importance": 0.0}
    values |= {"entropy": 3.0, "pinned": False, "source": Source.USER, "trust": 1.0, "provenance": Provenance()}
    values |= {"content_hash": content_hash(text), "embedder": "grid", "metadata": {}}
    return Record(**(values | fields))


# Corners of a cube: of unit length, and every sum of products is exact in float32, in any order.
vectors = st.lists(st.sampled_from([-0.5, 0.5]), min_size=DIMENSION, max_size=DIMENSION).map(
    lambda values: np.array(values, np.float32)
)
texts = st.lists(st.sampled_from(["dog", "dogs", "walk", "rome?", "the", "ann", "2026"]), min_size=1, max_size=5).map(
    " ".join
)
days = st.sampled_from([0.0, 0.5, 1.0, 7.0, 40.0, 700.0])
record_fields = st.fixed_dictionaries(
    {
        "text": texts,
        "kind": st.sampled_from(Kind),
        "status": st.sampled_from([Status.ACTIVE] * 5 + [Status.SUPERSEDED, Status.QUARANTINED, Status.ARCHIVED]),
        "archived_because": st.sampled_from(["capacity", "review", "forgotten"]),
        "speaker": st.sampled_from([None, "Ann", "Bob"]),
        "conversation": st.sampled_from([None, "a", "b"]),
        "position": st.none() | st.integers(0, 3),
        "event_time": days.map(lambda ago: NOW - timedelta(days=ago)),
        "last_strengthened": days.map(lambda ago: NOW - timedelta(days=ago)),
        "strength": st.sampled_from([0.3, 1.0, 7.0, 90.0]),
        "boost": st.sampled_from([1.0, 1.5]),
        "importance": st.sampled_from([0.0, 0.5, 1.0]),
        "trust": st.sampled_from([0.5, 1.0]),
        "pinned": st.sampled_from([False, False, True]),
        "expires_at": st.none() | days.map(lambda later: NOW + timedelta(days=later - 1.0)),
        "metadata": st.dictionaries(st.sampled_from(["x", "y"]), st.sampled_from([1, 1.0, True, None, "1", [1]])),
    }
)
filters = st.builds(
    RecallFilter,
    kinds=st.frozensets(st.sampled_from(Kind), max_size=2),
    statuses=st.sampled_from([frozenset({Status.ACTIVE}), frozenset(Status)]),
    tiers=st.sampled_from(
        [frozenset({Tier.SHORT_TERM}), frozenset({Tier.SHORT_TERM, Tier.LONG_TERM}), frozenset(Tier)]
    ),
    conversation=st.sampled_from([None, None, "a", "z"]),
    after=st.none() | days.map(lambda ago: NOW - timedelta(days=ago)),
    before=st.none() | days.map(lambda ago: NOW - timedelta(days=ago)),
    metadata=st.just({}) | st.dictionaries(st.sampled_from(["x", "z"]), st.sampled_from([1, True, None]), max_size=1),
)
questions = st.lists(st.sampled_from(["dog", "walking", "Rome", "Ann", "Bob's", "cat", "2026"]), max_size=4).map(
    " ".join
)
stores = st.lists(st.tuples(record_fields, vectors), max_size=16)


def records_of(store: Sequence[tuple[dict[str, Any], Vector]]) -> tuple[list[Record], dict[str, Vector]]:
    """The records of a drawn store and their vectors."""
    records = []
    for number, (fields, _) in enumerate(store):
        archived = fields["status"] is Status.ARCHIVED
        because = fields["archived_because"] if archived else None
        records.append(make(number, **(fields | {"archived_because": because})))
    return records, {record.id: vector for record, (_, vector) in zip(records, store, strict=True)}


def passes(record: Record, filter: RecallFilter, preset: Preset, now: datetime) -> bool:
    """Whether a record may be recalled, asked of the record itself."""
    plain = unswept(record)
    standing = standing_at(plain, preset, now)

    def same(key: str, wanted: object) -> bool:
        held = record.metadata.get(key, ...)
        return held == wanted and isinstance(held, bool) == isinstance(wanted, bool)

    return (
        standing.tier is not Tier.FORGOTTEN
        and standing.tier in filter.tiers
        and not is_expired(record, now)
        and plain.status in filter.statuses
        and (not filter.kinds or record.kind in filter.kinds)
        and (filter.conversation is None or record.conversation == filter.conversation)
        and (filter.after is None or record.event_time >= filter.after)
        and (filter.before is None or record.event_time < filter.before)
        and all(same(key, value) for key, value in filter.metadata.items())
    )


def counted(record: Record) -> bool:
    """Whether a record's words take part."""
    failed = record.status is Status.ARCHIVED and record.archived_because == "review"
    return record.status is not Status.QUARANTINED and not failed


def brute(
    records: Sequence[Record],
    held: Mapping[str, Vector],
    query: str,
    vector: Vector,
    weight: float,
    preset: Preset,
    now: datetime,
    k: int,
    filter: RecallFilter,
    floor: float,
) -> list[tuple[str, float, float, Tier]]:
    """Every record scored by itself, sorted by rank and id."""
    index = LexicalIndex()
    for row, record in enumerate(records):
        place = float("inf") if record.position is None else float(record.position)
        said = round((record.event_time - NOW) / timedelta(microseconds=1))
        document = Document.of(
            record.text,
            speaker=record.speaker,
            said_at=record.event_time,
            conversation=record.conversation,
            place=(place, said, record.id),
        )
        index.add(row, document if counted(record) else Document(counts={}))
    words = index.scores(query)
    allowed = [row for row, record in enumerate(records) if passes(record, filter, preset, now)]
    best = max((float(words.scores[row]) for row in allowed), default=0.0)
    found = []
    for row in allowed:
        record = records[row]
        cosine = max(float(held[record.id] @ vector), 0.0)
        lexical = float(words.scores[row]) / best if best else 0.0
        fused = weight * lexical + (1 - weight) * cosine
        relevant = weight * float(words.shares[row]) + (1 - weight) * cosine
        standing = standing_at(unswept(record), preset, now)
        remembered = preset.retention_floor + (1 - preset.retention_floor) * standing.retention
        mattering = preset.importance_floor + (1 - preset.importance_floor) * record.importance
        if fused > 0.0 and relevant >= floor:
            found.append((record.id, fused * remembered * mattering * record.trust, relevant, standing.tier))
    return sorted(found, key=lambda each: (-each[1], each[0]))[:k]


def same(matches: Sequence[Match], expected: Sequence[tuple[str, float, float, Tier]]) -> bool:
    """Whether two results agree in ids, order, numbers and tiers."""
    return [match.id for match in matches] == [each[0] for each in expected] and all(
        match.rank == pytest.approx(rank, rel=1e-9)
        and match.relevance == pytest.approx(relevant, abs=1e-9)
        and match.tier is tier
        for match, (_, rank, relevant, tier) in zip(matches, expected, strict=True)
    )


@settings(deadline=None, max_examples=250)
@given(
    stores,
    questions,
    vectors,
    st.sampled_from([0.0, 0.5, 1.0]),
    st.sampled_from(PRESETS),
    days,
    st.integers(0, 20),
    filters,
    st.sampled_from([0.0, 0.05, 0.4, 1.0]),
)
def test_equals_brute_force(
    store: list[tuple[dict[str, Any], Vector]],
    query: str,
    vector: Vector,
    weight: float,
    preset: Preset,
    later: float,
    k: int,
    filter: RecallFilter,
    floor: float,
) -> None:
    """The k best are those of a row-by-row computation, for any store, curve, clock, filter, floor, ties and k."""
    records, held = records_of(store)
    shard = Shard(SPACE, dimension=DIMENSION, preset=preset, lexical_weight=weight)
    shard.apply(records, held)
    now = NOW + timedelta(days=later)
    matches = shard.search(query, vector, now=now, k=k, filter=filter, floor=floor)
    assert same(matches, brute(records, held, query, vector, weight, preset, now, k, filter, floor))


@settings(deadline=None, max_examples=60)
@given(stores, stores, questions, vectors, st.data())
def test_history_leaves_no_trace(
    first: list[tuple[dict[str, Any], Vector]],
    second: list[tuple[dict[str, Any], Vector]],
    query: str,
    vector: Vector,
    data: st.DataObject,
) -> None:
    """Rows added in any order and batches, changed and removed, with questions in between, end as a fresh shard."""
    old, old_vectors = records_of(first)
    new, new_vectors = records_of(second)
    grown = Shard(SPACE, dimension=DIMENSION, preset=KEEPING, lexical_weight=0.5)
    for record in data.draw(st.permutations(old)):
        grown.apply([record], {record.id: old_vectors[record.id]})
        if data.draw(st.booleans()):
            grown.search(query, vector, now=NOW, k=3)
    grown.remove([record.id for record in old[len(new) :]] + ["unknown"])
    grown.apply(new, new_vectors)
    fresh = Shard(SPACE, dimension=DIMENSION, preset=KEEPING, lexical_weight=0.5)
    fresh.apply(new, new_vectors)
    ask: dict[str, Any] = {"now": NOW, "k": 20, "floor": 0.0, "explain": True}
    left, right = grown.search(query, vector, **ask), fresh.search(query, vector, **ask)
    assert len(grown) == len(fresh) == len(new)
    assert same(left, [(each.id, each.rank, each.relevance, each.tier) for each in right])
    assert [each.explanation and each.explanation.terms for each in left] == [
        each.explanation and each.explanation.terms for each in right
    ]


@settings(deadline=None, max_examples=60)
@given(stores, questions, vectors, st.sampled_from([DEFAULT, PAPER, FADING]), days)
def test_sweeping_changes_nothing(
    store: list[tuple[dict[str, Any], Vector]], query: str, vector: Vector, preset: Preset, later: float
) -> None:
    """A sweep that archives what is forgotten changes no hit and no number of any later question."""
    records, held = records_of(store)
    now = NOW + timedelta(days=later)
    shard = Shard(SPACE, dimension=DIMENSION, preset=preset, lexical_weight=0.5)
    shard.apply(records, held)
    before = shard.search(query, vector, now=now, k=20, floor=0.0)
    shard.apply([swept(record, preset) for record in records if is_forgotten(record, preset, now)], {})
    assert shard.search(query, vector, now=now, k=20, floor=0.0) == before


def test_follow() -> None:
    """A shard follows the truth by `seq`: added, changed and purged rows show, those of other namespaces never do."""
    backend = InMemoryBackend()
    shard = Shard(SPACE, dimension=DIMENSION, preset=DEFAULT, lexical_weight=0.5)
    vector = np.full(DIMENSION, 0.5, np.float32)

    def insert(tx: Transaction, *records: Record) -> None:
        stamped = [replace(record, seq=tx.next_seq()) for record in records]
        tx.insert(stamped, {record.id: vector for record in stamped})

    backend.transact(lambda tx: insert(tx, make(0, "a dog"), make(1, "a cat"), make(2, "a dog", namespace=("other",))))
    assert backend.read(shard.follow) == 2
    assert backend.read(shard.follow) == 0
    assert [each.id for each in shard.search("dog", None, now=NOW, k=5)] == ["id-000"]
    edited = replace(make(0), text="a horse", content_hash=content_hash("a horse"))
    backend.transact(lambda tx: tx.update([replace(edited, seq=tx.next_seq())]))
    backend.read(shard.follow)
    assert shard.search("dog", None, now=NOW, k=5) == []
    assert next(each.id for each in shard.search("horses", vector, now=NOW, k=5)) == "id-000"
    backend.transact(lambda tx: tx.remove([found for found in tx.get(["id-000"]) if found]))
    backend.read(shard.follow)
    assert shard.search("horse", None, now=NOW, k=5) == []
    assert len(shard) == 1
    backend.close()


@pytest.mark.parametrize("loads", [True, False])
def test_follows_a_new_vector_of_an_old_text(loads: bool) -> None:
    """Another vector of the same text and embedder is what a repair writes, and whoever brings his own."""
    backend, shard = InMemoryBackend(), Shard(SPACE, dimension=DIMENSION, preset=DEFAULT, lexical_weight=0.5)
    here, there = np.eye(DIMENSION, dtype=np.float32)[:2]
    if not loads:
        backend.transact(lambda tx: tx.insert([make(0, seq=tx.next_seq())], {}))
        backend.read(shard.follow)
    backend.transact(lambda tx: tx.insert([make(1, seq=tx.next_seq())], {"id-001": here}))
    backend.read(shard.follow)
    backend.transact(lambda tx: tx.set_vectors("grid", {"id-001": there}))
    backend.read(shard.follow)
    hit = next(one for one in shard.search("dog", there, now=NOW, k=2, explain=True) if one.id == "id-001")
    assert hit.explanation is not None
    assert hit.explanation.cosine == 1.0


def test_a_load_that_failed_leaves_nothing() -> None:
    """Rows that were read before a load broke off are read again, not counted twice; as when a vector is damaged."""
    backend, shard = InMemoryBackend(), Shard(SPACE, dimension=DIMENSION, preset=DEFAULT, lexical_weight=0.5)
    many, ones = loading.PART + 1, np.full(DIMENSION, 0.5, np.float32)
    rows = [make(number, f"dog number {number}") for number in range(many)]
    held = {row.id: ones for row in rows[:-1]} | {rows[-1].id: np.ones(DIMENSION + 1, np.float32)}
    write(backend, rows, held)
    with pytest.raises(InvalidVector, match="expected 4"):
        backend.read(shard.follow)
    assert len(shard) == shard.seq == 0
    backend.transact(lambda tx: tx.set_vectors("grid", {rows[-1].id: ones}))
    backend.read(shard.follow)
    assert len(shard) == many
    hits = [one.id for one in shard.search("dog", ones, now=NOW, k=2 * many)]
    assert sorted(hits) == sorted(row.id for row in rows)
    backend.close()


def test_worn_shard_starts_afresh() -> None:
    """When most rows are gone a shard rebuilds itself from the truth and answers as before."""
    backend = InMemoryBackend()
    shard = Shard(SPACE, dimension=DIMENSION, preset=DEFAULT)
    for turn in range(3):
        names = [make(turn * 100 + number, f"dog number {number}") for number in range(100)]
        backend.transact(lambda tx, names=names: tx.insert([replace(n, seq=tx.next_seq()) for n in names], {}))  # type: ignore[misc]
        backend.read(shard.follow)
        if turn < 2:
            backend.transact(lambda tx, names=names: tx.remove([n for n in tx.get([n.id for n in names]) if n]))  # type: ignore[misc]
    backend.read(shard.follow)
    assert len(shard) == 100
    assert [each.id for each in shard.search("number 42", None, now=NOW, k=1)] == ["id-242"]
    backend.close()


def test_several_shards() -> None:
    """A search over several namespaces ranks by one measure: a weak match is not best because its namespace is poor."""
    shards = []
    for name, texts_here in (
        ("a", ["dog walk dog", "rain", "sun"]),
        ("b", ["one dog among so many other words here", "x"]),
    ):
        shard = Shard((name,), dimension=DIMENSION, preset=DEFAULT)
        shard.apply([make(ord(name) + n, text, namespace=(name,)) for n, text in enumerate(texts_here)], {})
        shards.append(shard)
    found = search(shards, "dog", None, now=NOW, k=5)
    assert [each.id for each in found] == ["id-097", "id-098"]
    assert found[0].rank == pytest.approx(1.0)
    assert found[1].rank < 0.95
    assert search([], "dog", None, now=NOW, k=5) == []


def test_voiced() -> None:
    """What a speaker said is compared with the question in the first person, all else with the question itself."""
    shard = Shard(SPACE, dimension=2, preset=DEFAULT, lexical_weight=0.0)
    spoken, told = make(0, "I moved", speaker="Ann"), make(1, "Ann moved")
    along = np.array([1.0, 0.0], np.float32)
    shard.apply([spoken, told], {spoken.id: along, told.id: along})
    across = np.array([0.0, 1.0], np.float32)
    assert voiced([shard], "Where did Ann's dog move?") == "Where did my dog move?"
    assert voiced([shard], "Where did Bob move?") is None
    gone = make(2, "I moved, too", speaker="Bob")
    shard.apply([gone], {})
    assert voiced([shard], "Where did Bob move?") == "Where did I move?"
    shard.remove([gone.id])
    assert voiced([shard], "Where did Bob move?") is None, "who has said nothing that is left is nobody's voice"
    assert [each.id for each in shard.search("q", across, voiced=along, now=NOW, k=5)] == ["id-000"]
    assert [each.id for each in shard.search("q", along, voiced=across, now=NOW, k=5)] == ["id-001"]


def test_quarantined_words_count_nowhere() -> None:
    """The words of an unreviewed or rejected record neither surface nor lend relevance to their neighbours."""
    talk = {"conversation": "a"}
    for away in (
        {"status": Status.QUARANTINED},
        {"status": Status.ARCHIVED, "archived_because": "review"},
    ):
        shard = Shard(SPACE, dimension=DIMENSION, preset=DEFAULT)
        shard.apply([make(0, "nice weather", position=0, **talk), make(1, "a dog", position=1, **talk, **away)], {})
        assert shard.search("dog", None, now=NOW, k=5) == []
        shard.apply([make(1, "a dog", position=1, **talk)], {})
        assert [each.id for each in shard.search("dog", None, now=NOW, k=5)] == ["id-001", "id-000"]


def test_explanation() -> None:
    """The parts that are explained multiply to the rank, and name the query terms that were found."""
    shard = Shard(SPACE, dimension=DIMENSION, preset=FADING, lexical_weight=0.5)
    record = make(0, "a dog", importance=0.5, trust=0.5, last_strengthened=NOW - timedelta(days=1))
    shard.apply([record], {record.id: np.full(DIMENSION, 0.5, np.float32)})
    (match,) = shard.search("dog cat", np.full(DIMENSION, 0.5, np.float32), now=NOW, k=1, explain=True)
    parts = match.explanation
    assert parts is not None
    assert parts.terms.keys() == {"dog"}
    assert (parts.cosine, parts.lexical_weight) == (1.0, 0.5)
    assert parts.retention_factor == pytest.approx(match.retention)
    assert parts.fusion * parts.retention_factor * parts.importance_factor * parts.trust == pytest.approx(match.rank)


def test_refusals() -> None:
    """A naive time, a wrong dimension, a negative k and a filter without meaning are refused; odd metadata is not."""
    shard = Shard(SPACE, dimension=DIMENSION, preset=DEFAULT, lexical_weight=0.5)
    shard.apply([make(0, metadata={"x": {1, 2}})], {})
    assert shard.search("dog", None, now=NOW, k=1, filter=RecallFilter(metadata={"x": 1})) == []
    with pytest.raises(InvalidTime):
        shard.search("dog", None, now=NOW.replace(tzinfo=None), k=1)
    with pytest.raises(InvalidVector):
        shard.search("dog", np.zeros(3, np.float32), now=NOW, k=1)
    with pytest.raises(InvalidVector):
        shard.apply([make(1)], {"id-001": np.zeros(3, np.float32)})
    with pytest.raises(InvalidSetting):
        shard.search("dog", None, now=NOW, k=-1)
    with pytest.raises(InvalidInput):
        RecallFilter(metadata={"x": {1}})
    with pytest.raises(InvalidInput):
        RecallFilter(kinds=frozenset({"nonsense"}))  # type: ignore[arg-type]
    with pytest.raises(InvalidTime):
        RecallFilter(after=NOW.replace(tzinfo=None))


def test_edges_of_time() -> None:
    """A row exists until its time to live ends, not at that instant; `after` is inclusive and `before` is not."""
    shard = Shard(SPACE, dimension=DIMENSION, preset=DEFAULT)
    end, instant = NOW + timedelta(days=1), timedelta(microseconds=1)
    shard.apply([make(0, expires_at=end)], {})
    assert shard.search("dog", None, now=end - instant, k=1)
    assert not shard.search("dog", None, now=end, k=1)
    assert shard.search("dog", None, now=NOW, k=1, filter=RecallFilter(after=NOW, before=NOW + instant))
    assert not shard.search("dog", None, now=NOW, k=1, filter=RecallFilter(before=NOW))
    assert not shard.search("dog", None, now=NOW, k=1, filter=RecallFilter(after=NOW + instant))


# Filled at once from the truth: as one that was told of each record, whatever happens afterwards

ASKED = ["dogs", "walk in rome?", "ann's dog", "march 2026", "the"]
FILTERS = [RecallFilter(), RecallFilter(metadata={"x": {"$in": [1, "1"]}}, statuses=frozenset(Status))]
drawn = st.lists(st.tuples(record_fields, st.none() | vectors), min_size=1, max_size=12)


def empty() -> Shard:
    """An empty one."""
    return Shard(SPACE, dimension=DIMENSION, preset=FADING, lexical_weight=0.5)


def found(of: Shard) -> list[list[Match]]:
    """The answers to some questions, to the last bit."""
    aim = np.array([0.5, -0.5, 0.5, 0.5], np.float32)
    return [
        of.search(text, vector, now=NOW, k=20, filter=each, explain=True)
        for text in ASKED
        for vector in (None, aim)
        for each in FILTERS
    ]


def made(
    rows: Sequence[tuple[dict[str, Any], Vector | None]], first: int = 0
) -> tuple[list[Record], dict[str, Vector]]:
    """Valid records with their vectors, numbered from `first`."""
    records, held = [], {}
    for number, (fields, vector) in enumerate(rows, first):
        archived = fields["status"] is Status.ARCHIVED
        reason = fields["archived_because"] if archived else None
        told = {"content_hash": content_hash(fields["text"]), "archived_because": reason}
        records.append(make(number, **(fields | told)))
        if vector is not None:
            held[records[-1].id] = vector
    return records, held


def write(backend: Backend, records: Sequence[Record], held: dict[str, Vector]) -> list[Record]:
    """Store records under the next numbers, and return them as they are stored."""
    return backend.transact(
        lambda tx: (placed := [replace(one, seq=tx.next_seq()) for one in records], tx.insert(placed, held))[0]
    )


@settings(deadline=None, max_examples=60)
@given(drawn, drawn, st.sampled_from(["memory:", "sqlite://"]), st.data())
def test_equals_one_after_the_other(
    rows: list[tuple[dict[str, Any], Vector | None]],
    more: list[tuple[dict[str, Any], Vector | None]],
    url: str,
    data: st.DataObject,
) -> None:
    """Rows, neighbours, dates, speakers, decay, filters and vectors are the same; so is what follows later."""
    backend = open_backend(url)
    try:
        first, held = made(rows)
        first = write(backend, first, held)
        at_once, in_turn = empty(), empty()
        assert backend.read(at_once.follow) == len(first)
        for record in first:
            in_turn.apply([record], {record.id: held[record.id]} if record.id in held else {})
        assert found(at_once) == found(in_turn)
        later, held = made(more, first=len(first))
        write(backend, later, held)
        changed = data.draw(st.sampled_from(first))
        text, days = data.draw(st.sampled_from(["a dog", "rome"])), data.draw(st.sampled_from([0.0, 40.0]))
        values: dict[str, Any] = {
            "text": text,
            "content_hash": content_hash(text),
            "event_time": NOW - timedelta(days=days),
        }
        backend.transact(lambda tx: tx.update([replace(changed, seq=tx.next_seq(), **values)]))
        gone = data.draw(st.sampled_from(first))
        backend.transact(lambda tx: tx.remove([one for one in tx.get([gone.id]) if one is not None]))
        in_turn.seq = len(first)
        for each in (at_once, in_turn):
            backend.read(each.follow)
        assert found(at_once) == found(in_turn)
    finally:
        backend.close()


@pytest.mark.parametrize("url", ["memory:", "sqlite:///{}/many.db"])
def test_many_parts(url: str, tmp_path: Path) -> None:
    """More rows than are read at a time, among those of another namespace; one without a vector."""
    size = 2 * loading.PART + 7
    backend = open_backend(url.format(tmp_path))
    try:
        fields = {"conversation": "a", "position": None, "speaker": "Ann"}
        first = [make(row, f"dog {row}", **fields) for row in range(size)]
        other = [make(size + row, "dogs", namespace=("user-2",)) for row in range(3)]
        held = {one.id: np.full(DIMENSION, 0.5, np.float32) for one in first[1:]}
        write(backend, [*other, *first], held)
        filled = empty()
        assert backend.read(filled.follow) == size == len(filled)
        hits = filled.search(f"dog {size - 1}", None, now=NOW, k=3)
        assert hits[0].id == first[-1].id
        assert len(filled.search("dog", held[first[1].id], now=NOW, k=2 * size)) == size
    finally:
        backend.close()


def test_a_vector_of_another_size_is_named() -> None:
    """Rows of another embedder are refused, not misread."""
    backend = open_backend("memory:")
    (record,) = made([({"text": "dog", "status": Status.ACTIVE, "archived_because": None}, None)])[0]
    write(backend, [record], {record.id: np.ones(3, np.float32)})
    with pytest.raises(InvalidVector, match=f"{record.id} has a vector of 3 dimensions; expected {DIMENSION}"):
        backend.read(empty().follow)


def brute_weights(
    records: Sequence[Record],
    held: Mapping[str, Vector],
    query: str,
    vector: Vector,
    preset: Preset,
    now: datetime,
    filter: RecallFilter,
    floor: float,
    weights: Weights,
) -> list[tuple[str, float]]:
    """Every record by Generative Agents' sum, scaled by hand over all that pass the filter."""
    loose = preset.but(retention_floor=1.0, importance_floor=1.0)
    by_words = brute(records, held, query, vector, 0.5, loose, now, len(records), filter, 0.0)
    trusts = {record.id: record.trust for record in records}
    fused = {name: rank / trusts[name] for name, rank, _, _ in by_words}
    relevant = {name: relevance for name, _, relevance, _ in by_words}
    rows = [record for record in records if passes(record, filter, preset, now)]
    hours = {each.id: max((now - each.last_strengthened) / timedelta(hours=1), 0.0) for each in rows}
    parts = [
        [weights.hourly ** hours[each.id] for each in rows],
        [each.importance for each in rows],
        [fused.get(each.id, 0.0) for each in rows],
    ]

    def scale(value: float, values: Sequence[float]) -> float:
        return 0.5 if max(values) == min(values) else (value - min(values)) / (max(values) - min(values))

    found = []
    for row, record in enumerate(rows):
        by_hand = [scale(part[row], part) for part in parts]
        total = weights.recency * by_hand[0] + weights.importance * by_hand[1] + weights.relevance * by_hand[2]
        if relevant.get(record.id, 0.0) >= floor:
            found.append((record.id, total * record.trust))
    return sorted(found, key=lambda each: (-each[1], each[0]))


factors = st.sampled_from([0.0, 0.5, 1.0, 3.0])


@settings(deadline=None, max_examples=150)
@given(
    stores,
    questions,
    vectors,
    st.sampled_from(PRESETS),
    days,
    st.integers(0, 20),
    filters,
    st.sampled_from([0.0, 0.05, 0.4]),
    st.tuples(factors, factors, factors).filter(any),
    st.sampled_from([0.995, 0.5, 1.0, 0.0]),
)
def test_weights_equal_brute_force(
    store: list[tuple[dict[str, Any], Vector]],
    query: str,
    vector: Vector,
    preset: Preset,
    later: float,
    k: int,
    filter: RecallFilter,
    floor: float,
    sums: tuple[float, float, float],
    hourly: float,
) -> None:
    """By weights the k best of every eligible row are those of a sum by hand, for one item, none, or all alike too."""
    records, held = records_of(store)
    weights = Weights(recency=sums[0], importance=sums[1], relevance=sums[2], hourly=hourly)
    shard = Shard(SPACE, dimension=DIMENSION, preset=preset, lexical_weight=0.5)
    shard.apply(records, held)
    now = NOW + timedelta(days=later)
    matches = shard.search(query, vector, now=now, k=k, filter=filter, floor=floor, weights=weights, explain=True)
    expected = brute_weights(records, held, query, vector, preset, now, filter, floor, weights)
    ranks = dict(expected)
    # Sums that differ by rounding only may change places; so ranks are compared in order, and ids with their ranks.
    assert [match.rank for match in matches] == pytest.approx([rank for _, rank in expected[:k]], rel=1e-9, abs=1e-9)
    assert all(match.rank == pytest.approx(ranks[match.id], rel=1e-9, abs=1e-9) for match in matches)
    assert [match.id for match in matches] == [
        match.id for match in sorted(matches, key=lambda each: (-each.rank, each.id))
    ]
    for match in matches:
        parts = match.explanation
        assert parts is not None
        total = sum(getattr(weights, name) * part for name, part in parts.weighed.items())
        assert match.rank == pytest.approx(parts.trust * total, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(
    ("sabotage", "values"),
    [
        ("the weight", {"weight": 0.6}),
        ("decay", {"preset": KEEPING.but(retention_floor=0.1)}),
        ("importance", {"preset": KEEPING.but(importance_floor=0.4)}),
        ("the clock", {"now": NOW + timedelta(days=8)}),
        ("the filter", {"filter": RecallFilter(kinds=frozenset({Kind.FACT}))}),
        ("the floor", {"floor": 0.9}),
        ("k", {"k": 4}),
        ("ties", {"ties": True}),
        ("nothing", {}),
    ],
)
def test_sabotaged_brute_force_shows(sabotage: str, values: dict[str, Any]) -> None:
    """The comparison with brute force turns red when one ingredient is off, ties included, and not otherwise."""
    rng = np.random.default_rng(3)
    texts_here = [" ".join(rng.choice(["dog", "walk", "rome"], 2)) for _ in range(12)]
    fields: list[dict[str, Any]] = [
        {
            "text": text,
            "importance": float(rng.choice([0.0, 1.0])),
            "kind": Kind.EPISODE,
            "last_strengthened": NOW - timedelta(days=float(rng.choice([0.0, 7.0, 40.0]))),
        }
        for text in texts_here
    ]
    records = [make(number, **each) for number, each in enumerate(fields)] + [make(20 + n, "dog walk") for n in (0, 1)]
    held = {each.id: np.array(rng.choice([-0.5, 0.5], DIMENSION), np.float32) for each in records[:12]}
    held |= {each.id: np.full(DIMENSION, 0.5, np.float32) for each in records[12:]}
    shard = Shard(SPACE, dimension=DIMENSION, preset=KEEPING, lexical_weight=0.5)
    shard.apply(records, held)
    vector = np.full(DIMENSION, 0.5, np.float32)
    asked: dict[str, Any] = {"weight": 0.5, "preset": KEEPING, "now": NOW, "k": 20, "filter": RecallFilter()}
    given_values = asked | {"floor": 0.05} | {name: value for name, value in values.items() if name != "ties"}
    expected = brute(records, held, "dog", vector, **given_values)
    if "ties" in values:
        expected.sort(key=lambda each: (each[1], each[0]), reverse=True)
    matches = shard.search("dog", vector, now=NOW, k=20, floor=0.05)
    assert same(matches, expected) is (sabotage == "nothing")


@settings(deadline=None, max_examples=25)
@given(
    st.integers(0, 1 << 30),
    st.integers(2, 120),
    st.sampled_from(["noise", "topics", "equal"]),
    st.sampled_from(PRESETS),
    days,
    st.integers(0, 30),
    st.sampled_from([0.0, 0.05]),
)
def test_measured_weight_equals_brute_force(
    seed: int, count: int, meaning: str, preset: Preset, later: float, k: int, floor: float
) -> None:
    """A search whose weight comes from the rows equals brute force with the weight that the rows define."""
    rng = np.random.default_rng(seed)
    words = [["dog", "walk", "lead"], ["rome", "italy", "trip"], ["tea", "cup", "leaf"]]
    topics = rng.integers(3, size=count)
    texts_here = [" ".join([*rng.choice(words[topic], 2), f"n{n}"]) for n, topic in enumerate(topics)]
    centres = rng.standard_normal((3, 32))
    made = {"noise": rng.standard_normal((count, 32)), "topics": centres[topics], "equal": np.ones((count, 32))}[
        meaning
    ]
    made = made + (0.3 * rng.standard_normal((count, 32)) if meaning == "topics" else 0.0)
    unit = np.asarray(made / np.linalg.norm(made, axis=1, keepdims=True), np.float32)
    strengthened = NOW - timedelta(days=3)
    records = [make(n, text, last_strengthened=strengthened) for n, text in enumerate(texts_here)]
    held = {record.id: unit[row] for row, record in enumerate(records)}
    shard = Shard(SPACE, dimension=32, preset=preset, lexical_weight=0.5, measured=True)
    for at in rng.permutation(count).tolist():
        shard.apply([records[at]], {records[at].id: held[records[at].id]})
    order = sorted(range(count), key=lambda row: content_hash(texts_here[row]))
    says = agreement([frozenset(terms(texts_here[row])) for row in order], unit[order])
    weight = 1.0 - 0.5 * vector_share([says])
    assert weight == 1.0 or meaning != "equal"  # few texts of a topic may agree no more than chance
    now = NOW + timedelta(days=later)
    matches = shard.search("dog rome", unit[0], now=now, k=k, floor=floor)
    expected = brute(records, held, "dog rome", unit[0], weight, preset, now, len(records), RecallFilter(), floor)
    ranks = {name: rank for name, rank, _, _ in expected}
    assert [each.rank for each in matches] == pytest.approx([each[1] for each in expected[:k]], rel=1e-6, abs=1e-7)
    assert all(each.rank == pytest.approx(ranks[each.id], rel=1e-6, abs=1e-7) for each in matches)


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.text(alphabet="ab\0é", min_size=1, max_size=4), unique=True, max_size=12),
    st.integers(0, 12),
    st.booleans(),
    st.data(),
)
def test_ids_of_rows(names: list[str], loaded: int, ascending: bool, data: st.DataObject) -> None:
    """Each row has its id and each id its row, in whatever order and script they came, until it is dropped."""
    first = sorted(names[:loaded]) if ascending else names[:loaded]
    ids, expected = Ids(), {name: row for row, name in enumerate([*first, *names[loaded:]])}
    for part in (first[:3], first[3:]):
        if part:
            ids.load(part)
    ids.settle()
    for name in names[loaded:]:
        assert ids.append(name) == expected[name]
    assert [ids[row] for row in range(len(ids))] == list(expected)
    for name in data.draw(st.lists(st.sampled_from(names), unique=True)) if names else ():
        assert ids.drop(name) == expected.pop(name)
    assert {name: ids.row(name) for name in names} == {name: expected.get(name) for name in names}
    assert ids.row("abab" * 40) is ids.row("none") is None
    assert ids.alive == len(expected)
