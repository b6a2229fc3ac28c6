"""One suite, every backend: dictionaries, SQLite (file and in memory), PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import FrozenInstanceError, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mars.errors import InvalidInput, InvalidVector, NotFound
from mars.memory.backends import open_backend
from mars.memory.backends.rows import micros
from mars.memory.interfaces import Backend, Failed, Reader, Selection, Transaction
from mars.memory.lives import KINDS, STATUSES
from mars.memory.loading import COLUMNS, PART, loaded
from mars.memory.records import Change, Draft, Kind, Namespace, Provenance, Record, Source, Status, sealed

FIRST, LAST = (datetime.min + timedelta(days=1), datetime.max - timedelta(days=1))  # noqa: DTZ901 - hypothesis adds UTC
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
EVERY_BACKEND = settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
Build = Callable[..., Record]
Put = Callable[..., list[Record]]
Contents = Callable[[Backend], tuple[Any, ...]]

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=30)
maybe_text = st.none() | texts
times = st.datetimes(FIRST, LAST, timezones=st.just(UTC))
maybe_time = st.none() | times
shares = st.floats(0, 1)
days = st.floats(1e-9, 1e9)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
labels = st.sampled_from(["a", "b", "a.b", 'a","b', "[", '"', "\\", "ü", "a,", "-", "日本", "A"])
namespaces = st.lists(labels, min_size=1, max_size=3).map(tuple)
record_fields: dict[str, st.SearchStrategy[Any]] = {
    "text": texts,
    "namespace": namespaces,
    "kind": st.sampled_from(Kind),
    "status": st.sampled_from(Status),
    "short_text": maybe_text,
    "key": maybe_text,
    "conversation": maybe_text,
    "position": st.none() | st.integers(0, 2**62),
    "speaker": maybe_text,
    "strength": days,
    "boost": days,
    "difficulty": st.floats(1, 10),
    "uses": st.integers(0, 2**40),
    "last_turn": maybe_text,
    "importance": shares,
    "entropy": st.floats(0, 20),
    "pinned": st.booleans(),
    "subject": maybe_text,
    "relation": maybe_text,
    "value": maybe_text,
    "superseded_by": maybe_text,
    "archived_because": maybe_text,
    "source": st.sampled_from(Source),
    "trust": shares,
    "provenance": st.builds(
        Provenance,
        task=maybe_text,
        iteration=st.none() | st.integers(0, 9),
        role=maybe_text,
        sources=st.lists(texts, max_size=3).map(tuple),
    ),
    "idempotency_key": maybe_text,
    "content_hash": texts,
    "embedder": maybe_text,
    "metadata": st.dictionaries(st.text(), json_values, max_size=3),
    **dict.fromkeys(("created_at", "event_time", "last_strengthened", "valid_from", "known_from"), times),
    **dict.fromkeys(("valid_to", "known_to", "archived_at", "expires_at"), maybe_time),
}


@EVERY_BACKEND
@given(data=st.data())
def test_every_field_comes_back_as_it_was_stored(
    backend: Backend, make_record: Build, data: st.DataObject, put: Put
) -> None:
    """What `get` and `select` return equals what was inserted, in every field, for any value the types allow."""
    given_fields = data.draw(st.fixed_dictionaries(record_fields))
    seen = backend.read(lambda reader: reader.head())
    wanted = make_record(0, **given_fields)
    taken = backend.read(lambda reader: reader.select(Selection(namespace=wanted.namespace)))
    keys = {("k", one.key) for one in taken} | {("i", one.idempotency_key) for one in taken}
    if {("k", wanted.key or ""), ("i", wanted.idempotency_key or "")} & keys:
        return
    (stored,) = put(backend, wanted)
    found = backend.read(lambda reader: reader.get(["nobody", stored.id]))
    assert found == [None, stored]
    assert backend.read(lambda reader: reader.metadata(["nobody", stored.id])) == {stored.id: stored.metadata}
    assert backend.read(lambda reader: reader.select(Selection(after_seq=seen))) == [stored]
    assert found[1] is not None
    assert found[1].event_time.tzinfo is UTC


@EVERY_BACKEND
@given(stored=st.lists(namespaces, min_size=1, max_size=12), asked=namespaces)
def test_namespaces_never_mix(
    backend: Backend, make_record: Build, stored: list[Namespace], asked: Namespace, put: Put
) -> None:
    """A namespace holds its own records only, and a prefix those whose first labels equal it, whatever the labels."""
    put(backend, *(make_record(0, namespace=namespace) for namespace in stored))

    def work(reader: Reader) -> tuple[list[Record], list[Record], list[Record], dict[Namespace, int]]:
        exact, below = Selection(namespace=asked), Selection(prefix=asked)
        return reader.select(Selection()), reader.select(exact), reader.select(below), reader.namespaces()

    everything, exact, below, counted = backend.read(work)
    assert exact == [one for one in everything if one.namespace == asked]
    assert below == [one for one in everything if one.namespace[: len(asked)] == asked]
    assert counted == {
        name: sum(one.namespace == name for one in everything) for name in {r.namespace for r in everything}
    }


def test_labels_with_dots_do_not_collide(backend: Backend, make_record: Build, put: Put) -> None:
    """('a', 'b.c') is not ('a.b', 'c')."""
    put(backend, make_record(0, namespace=("a", "b.c")))
    assert backend.read(lambda reader: reader.select(Selection(namespace=("a.b", "c")))) == []


def test_update_replaces_the_record_and_keeps_its_vector(backend: Backend, make_record: Build, put: Put) -> None:
    """After `update` the record has its new fields and its place in the log is the new `seq`; its vector stays."""
    vector = np.asarray([0.5, -1.25, 3e-8], np.float32)
    record = make_record(0, embedder="e")
    stored, other = put(backend, record, make_record(0), vectors={record.id: vector})
    changed = replace(stored, seq=3, text="new", namespace=("elsewhere",), uses=1, pinned=True, metadata={"a": [1]})

    def work(transaction: Transaction) -> None:
        assert transaction.next_seq() == 3
        transaction.update([changed])

    backend.transact(work)
    assert backend.read(lambda reader: reader.select(Selection())) == [other, changed]
    found = backend.read(lambda reader: reader.vectors([stored.id, other.id]))
    assert set(found) == {stored.id}
    assert found[stored.id].dtype == np.float32
    assert found[stored.id].tolist() == vector.tolist()


def test_writing_to_what_is_not_there_is_an_error(
    backend: Backend, make_record: Build, put: Put, contents: Contents
) -> None:
    """`update` and `set_vectors` of an unknown record raise `NotFound` and change nothing."""
    put(backend, make_record(0))
    before = contents(backend)
    with pytest.raises(NotFound):
        backend.transact(lambda t: t.update([make_record(t.next_seq())]))
    with pytest.raises(NotFound):
        backend.transact(lambda t: t.set_vectors("e", {"nobody": np.ones(2, np.float32)}))
    assert contents(backend) == before


def test_new_vectors_take_a_new_seq(backend: Backend, make_record: Build, put: Put) -> None:
    """`set_vectors` replaces vectors, names the embedder, and moves the records to the end of the log."""
    one, two = put(backend, make_record(0), make_record(0))
    backend.transact(lambda t: t.set_vectors("new", {one.id: np.ones(2, np.float32)}))
    assert backend.read(lambda reader: reader.head()) == 3
    assert backend.read(lambda reader: reader.select(Selection())) == [two, replace(one, seq=3, embedder="new")]
    assert backend.read(lambda reader: reader.vectors([one.id]))[one.id].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("values", [[1.0, float("nan")], [float("inf")], [[1.0]], []])
def test_a_bad_vector_is_refused(
    backend: Backend, make_record: Build, values: list[Any], put: Put, contents: Contents
) -> None:
    """NaN, infinity and a wrong shape are `InvalidVector`; the record that came with it is not stored either."""
    record = make_record(0)
    with pytest.raises(InvalidVector):
        put(backend, record, vectors={record.id: np.asarray(values, np.float32)})
    assert contents(backend)[:2] == (0, [])


def test_removal_leaves_a_tombstone_and_the_history(backend: Backend, make_record: Build, put: Put) -> None:
    """A purged record is gone with its vector; its tombstone has a `seq` of its own, its history stays."""
    record = make_record(0)
    one, two = put(backend, record, make_record(0), vectors={record.id: np.ones(2, np.float32)})
    change = Change(seq=1, at=NOW, record=one.id, event="added", detail={"from": "ü"})
    backend.transact(lambda t: t.log([change]))
    backend.transact(lambda t: t.remove([one]))

    def work(reader: Reader) -> tuple[Any, ...]:
        return (
            reader.get([one.id]),
            reader.vectors([one.id]),
            reader.removed(0),
            reader.removed(3),
            reader.history(one.id),
        )

    assert backend.read(work) == ([None], {}, [(3, one.id, one.namespace)], [], [change])
    assert backend.read(lambda reader: reader.namespaces()) == {two.namespace: 1}


def test_selections_agree_with_a_plain_filter(backend: Backend, make_record: Build, put: Put) -> None:
    """Every field of a selection restricts as it says, alone and together, in either order and with a limit."""
    stored = put(
        backend,
        *(
            make_record(
                0,
                kind=list(Kind)[number % 4],
                status=list(Status)[number % 3],
                conversation=("c", None)[number % 2],
                subject=(None, "Straße", "Ann")[number % 3],
                relation=(None, "lives in")[number % 2],
                key=f"key{number}" if number % 2 else None,
                idempotency_key=f"once{number}" if number % 3 else None,
                content_hash=f"h{number % 5}",
                expires_at=(None, NOW + timedelta(days=number))[number % 2],
                archived_at=NOW + timedelta(hours=number) if number % 3 == 2 else None,
                last_strengthened=NOW + timedelta(minutes=number),
                event_time=NOW - timedelta(days=number),
                provenance=Provenance(sources=("a", f"s{number % 7}") if number % 4 else ()),
            )
            for number in range(40)
        ),
    )
    noon = NOW + timedelta(days=7)
    wanted: list[tuple[Selection, Callable[[Record], bool]]] = [
        (Selection(kinds=frozenset({Kind.FACT, Kind.EPISODE})), lambda r: r.kind in (Kind.FACT, Kind.EPISODE)),
        (Selection(statuses=frozenset({Status.ACTIVE})), lambda r: r.status is Status.ACTIVE),
        (Selection(conversation="c"), lambda r: r.conversation == "c"),
        (Selection(subject="STRASSE"), lambda r: r.subject == "Straße"),
        (Selection(subject="ann", relation="lives in"), lambda r: r.subject == "Ann" and r.relation == "lives in"),
        (Selection(after_seq=17), lambda r: r.seq > 17),
        (Selection(keys=frozenset({"key1", "key7", "no"})), lambda r: r.key in ("key1", "key7")),
        (Selection(idempotency_keys=frozenset({"once1", 'o"'})), lambda r: r.idempotency_key == "once1"),
        (Selection(content_hashes=frozenset({"h1", "h2"})), lambda r: r.content_hash in ("h1", "h2")),
        (
            Selection(namespace=("user-1",), after_seq=5, kinds=frozenset({Kind.FACT})),
            lambda r: r.seq > 5 and r.kind == "fact",
        ),
        (Selection(namespace=("nobody",)), lambda r: False),
        (Selection(alive_at=noon), lambda r: r.expires_at is None or r.expires_at > noon),
        (Selection(expired_at=noon), lambda r: r.expires_at is not None and r.expires_at <= noon),
        (
            Selection(archived_before=NOW + timedelta(hours=20)),
            lambda r: r.archived_at is not None and r.archived_at < NOW + timedelta(hours=20),
        ),
        (Selection(strengthened_before=NOW + timedelta(minutes=9)), lambda r: r.seq <= 9),
        (Selection(since=NOW - timedelta(days=9), until=NOW - timedelta(days=3)), lambda r: 4 < r.seq <= 10),
        (Selection(before_seq=9, after_seq=3), lambda r: 3 < r.seq < 9),
    ]

    def select(selection: Selection) -> list[Record]:
        return backend.read(lambda reader: reader.select(selection))

    for selection, keep in wanted:
        expected = [record for record in stored if keep(record)]
        assert select(selection) == expected
        assert select(replace(selection, newest_first=True, limit=3)) == expected[::-1][:3]
        assert select(replace(selection, limit=2)) == expected[:2]
        for limit in (None, 0, 2):
            asked = replace(selection, limit=limit)
            assert backend.read(lambda reader, asked=asked: list(reader.each(asked))) == expected[:limit]  # type: ignore[misc]
        assert backend.read(lambda reader, asked=selection: reader.count(replace(asked, limit=1))) == len(expected)  # type: ignore[misc]
        lives = backend.read(lambda reader, asked=selection: reader.lives(asked))  # type: ignore[misc]
        assert list(lives.ids) == [record.id for record in expected]
        assert lives.strengthened.tolist() == [micros(record.last_strengthened) for record in expected]
        assert [KINDS[code] for code in lives.kind] == [record.kind for record in expected]
        assert [STATUSES[code] for code in lives.status] == [record.status for record in expected]
    for ids in ({"s1", "s3"}, {"a"}, {"no"}, set[str]()):
        citing = backend.read(lambda reader, ids=ids: reader.citing(ids))  # type: ignore[misc]
        assert citing == [record for record in stored if ids.intersection(record.provenance.sources)]


def test_order_is_by_seq_however_it_was_written(backend: Backend, make_record: Build) -> None:
    """Records that are inserted after a newer one was changed are found in their places, and by `after_seq`."""

    def work(tx: Transaction) -> None:
        first = make_record(tx.next_seq())
        tx.insert([first], {})
        second, third = make_record(tx.next_seq()), make_record(tx.next_seq())
        tx.update([replace(first, seq=tx.next_seq())])
        tx.insert([replace(second, seq=tx.next_seq()), third], {})

    backend.transact(work)
    for selection in (Selection(), Selection(namespace=("user-1",))):
        found = backend.read(lambda reader, selection=selection: reader.select(selection))  # type: ignore[misc]
        assert [record.seq for record in found] == [3, 4, 5]
        later = replace(selection, after_seq=3)
        found = backend.read(lambda reader, later=later: reader.select(later))  # type: ignore[misc]
        assert [record.seq for record in found] == [4, 5]


def test_a_hash_finds_who_holds_it_now(backend: Backend, make_record: Build) -> None:
    """By a text's hash are found the records that hold it now: not changed, removed or rolled back ones."""
    space, other = ("user-1",), ("user-2",)

    def found(digest: str, **wanted: Any) -> list[int]:
        selection = Selection(content_hashes=frozenset({digest}), **wanted)
        return [record.seq for record in backend.read(lambda reader: reader.select(selection))]

    def begin(tx: Transaction) -> list[Record]:
        rows = [make_record(tx.next_seq(), content_hash="a", namespace=name) for name in (space, other, space, space)]
        tx.insert(rows, {})
        return rows

    def spoil(tx: Transaction) -> None:
        tx.update([replace(rows[2], seq=tx.next_seq(), content_hash="b")])
        tx.remove([rows[3]])
        tx.insert([make_record(tx.next_seq(), content_hash="a")], {})
        raise InvalidInput("no")

    rows = backend.transact(begin)
    with pytest.raises(InvalidInput):
        backend.transact(spoil)
    assert (found("a"), found("b")) == ([1, 2, 3, 4], [])
    backend.transact(lambda tx: tx.update([replace(rows[0], seq=tx.next_seq(), content_hash="b")]))
    backend.transact(lambda tx: tx.remove([rows[3]]))
    assert (found("a"), found("a", namespace=space), found("b", namespace=space)) == ([2, 3], [3], [5])
    assert (found("a", newest_first=True, limit=1), found("a", after_seq=2), found("b", namespace=other)) == (
        [3],
        [3],
        [],
    )


def test_pages_are_read_as_they_are_asked_for(backend: Backend, make_record: Build, put: Put) -> None:
    """`each` gives in either order what `select` gives, over many pages, and can be left early."""
    stored = put(backend, *(make_record(0, kind=list(Kind)[number % 2]) for number in range(700)))
    facts = [record for record in stored if record.kind is Kind.FACT]
    for asked in (Selection(), Selection(kinds=frozenset({Kind.FACT})), Selection(limit=321)):
        expected = (facts if asked.kinds else stored)[: asked.limit]
        assert backend.read(lambda reader, asked=asked: list(reader.each(asked))) == expected  # type: ignore[misc]
        newest = replace(asked, newest_first=True)
        expected = (facts if asked.kinds else stored)[::-1][: asked.limit]
        assert backend.read(lambda reader, asked=newest: list(reader.each(asked))) == expected  # type: ignore[misc]
    assert backend.read(lambda reader: next(iter(reader.each(Selection())))) == stored[0]


def test_many_ids_at_once(backend: Backend, make_record: Build, put: Put) -> None:
    """A batch is not limited by the number of parameters that a database takes."""
    records = [make_record(0, idempotency_key=f"k{number}") for number in range(3000)]
    stored = put(backend, *records)
    ids = [record.id for record in reversed(stored)] + [f"nobody{number}" for number in range(70_000)]
    found = backend.read(lambda reader: reader.get(ids))
    assert found[:3000] == stored[::-1]
    assert not any(found[3000:])
    keys = frozenset(f"k{number}" for number in range(70_000))
    assert backend.read(lambda reader: reader.select(Selection(idempotency_keys=keys))) == stored


def test_nothing_stored_can_be_changed_from_outside(backend: Backend, make_record: Build, put: Put) -> None:
    """Changing what was given to the store, or what it returned, does not change what it holds."""
    metadata: dict[str, Any] = {"tags": ["a"]}
    vector = np.ones(2, np.float32)
    record = make_record(0, metadata=metadata, embedder="e")
    (stored,) = put(backend, record, vectors={record.id: vector})
    metadata["tags"].append("b")
    vector[:] = 7
    found = backend.read(lambda reader: reader.get([stored.id]))[0]
    assert found is not None
    assert found.metadata == {"tags": ["a"]}
    returned = backend.read(lambda reader: reader.vectors([stored.id]))[stored.id]
    assert returned.tolist() == [1.0, 1.0]
    with pytest.raises(ValueError, match="read-only"):
        returned[0] = 3


@pytest.mark.parametrize("value", [float("nan"), object(), {1, 2}, b"bytes"])
def test_metadata_that_are_no_json_are_refused(
    backend: Backend, make_record: Build, value: object, put: Put, contents: Contents
) -> None:
    """Metadata hold JSON values; anything else is `InvalidInput`, and nothing is written."""
    with pytest.raises(InvalidInput):
        put(backend, make_record(0), make_record(0, metadata={"x": value}))
    assert contents(backend)[:2] == (0, [])


def test_facts_of_the_store(backend: Backend) -> None:
    """`set_meta` adds and replaces; every store has an id of its own."""
    assert backend.read(lambda reader: set(reader.meta())) == {"store_id"}
    backend.transact(lambda t: t.set_meta({"embedder": "a", "dimension": "3"}))
    backend.transact(lambda t: t.set_meta({"embedder": "b"}))
    meta = dict(backend.read(lambda reader: reader.meta()))
    assert len(meta.pop("store_id")) == 32
    assert meta == {"embedder": "b", "dimension": "3"}


def test_a_sealed_draft_is_a_record(make_record: Build) -> None:
    """What was made as a draft is a record like any other: equal, frozen, with every field and no other."""
    record = make_record(1)
    sealed_one = sealed(Draft(**{name: getattr(record, name) for name in Record.__dataclass_fields__}))
    assert (type(sealed_one), sealed_one, replace(sealed_one)) == (Record, record, record)
    with pytest.raises(FrozenInstanceError):
        sealed_one.text = "another"  # type: ignore[misc]
    with pytest.raises(TypeError):
        sealed(Draft(id="one"))  # type: ignore[call-arg]


def test_a_moment_keeps_its_microseconds(backend: Backend, make_record: Build, put: Put) -> None:
    """Times are kept to the microsecond and compared in UTC, whatever zone they came in."""
    moment = (NOW + timedelta(microseconds=123457)).astimezone(tz=None)
    (stored,) = put(backend, make_record(0, event_time=moment))
    found = backend.read(lambda reader: reader.get([stored.id]))[0]
    assert found is not None
    assert found.event_time == moment


def test_a_use_is_found_by_its_turn(backend: Backend, make_record: Build, put: Put) -> None:
    """`graded` finds a use of this record in exactly this turn, whatever its name holds, and no other event."""
    one, two = put(backend, make_record(0), make_record(0))
    names = ["t1", "ü", 'a"b', "\\", "%", '"turn":"x"', "T1"]
    backend.transact(
        lambda t: t.log(
            [Change(seq=1, at=NOW, record=one.id, event="used", detail={"grade": "good", "turn": n}) for n in names]
            + [Change(seq=1, at=NOW, record=one.id, event="edited", detail={"turn": "other"})]
        )
    )
    asked = [*names, "t", "1", "x", "a", "", "t1 ", "other"]
    found = backend.read(lambda reader: [reader.graded(one.id, name) for name in asked])
    assert found == [name in names for name in asked]
    assert not backend.read(lambda reader: reader.graded(two.id, "t1"))


def test_columns_hold_what_the_records_hold(backend: Backend, make_record: Build) -> None:
    """A namespace comes in parts, with its vectors, whatever the database; others stay out."""
    size = PART + 3
    vector = np.array([0.6, 0.8], np.float32)

    def write(tx: Transaction) -> None:
        fields: dict[str, Any] = {
            "expires_at": datetime(2027, 1, 1, tzinfo=UTC),
            "metadata": {"x": [1]},
            "pinned": True,
            "boost": 1.5,
        }
        records = [make_record(tx.next_seq(), **fields) for _ in range(size)]
        tx.insert(records, {records[-1].id: vector})
        tx.insert([make_record(tx.next_seq(), namespace=("user-2",))], {})

    backend.transact(write)
    stored = backend.read(lambda reader: reader.select(Selection(namespace=("user-1",))))
    parts = backend.read(lambda reader: list(reader.load(("user-1",))))
    assert [(len(part), part.later) for part in parts] == [(PART, 3), (3, 0)]
    expected = loaded(stored, {stored[-1].id: vector}, 0)
    for name in (*COLUMNS, "vector"):
        found = [value for part in parts for value in getattr(part, name)]
        wanted = getattr(expected, name)
        assert (list(map(json.loads, found)) if name == "metadata" else found) == (
            list(map(json.loads, wanted)) if name == "metadata" else list(wanted)
        )


def test_a_crowd_is_what_is_active(backend: Backend, make_record: Build) -> None:
    """The columns kept for making room are those of the active records, whatever was written, taken back or failed."""
    random, homes = Random(5), [("user-1",), ("user-2",)]

    def check(tx: Transaction) -> None:
        for home in homes:
            fresh = tx.lives(Selection(namespace=home, statuses=frozenset({Status.ACTIVE})))
            kept = tx.crowd(home)
            rows = [
                sorted(zip(one.ids, one.strengthened.tolist(), one.boosted.tolist(), strict=True))
                for one in (kept, fresh)
            ]
            assert rows[0] == rows[1]

    def write(tx: Transaction, fail: bool) -> None:
        if random.random() < 0.3:
            check(tx)
        rows = tx.select(Selection())
        for record in random.sample(rows, min(len(rows), 3)):
            change = random.choice(("remove", "strength", "status", "vector"))
            if change == "remove":
                tx.remove([record])
            elif change == "vector":
                tx.set_vectors("e", {record.id: np.ones(3, np.float32)})
            else:
                status = random.choice((Status.ACTIVE, Status.ARCHIVED))
                strength = random.random()
                tx.update([replace(record, status=status, strength=strength, seq=tx.next_seq())])
        tx.insert([make_record(tx.next_seq(), namespace=random.choice(homes)) for _ in range(3)], {})
        check(tx)
        if fail:
            raise ValueError("taken back")

    for step in range(40):
        fails = [random.random() < 0.4 for _ in range(1 + step % 3)]
        works = [partial(write, fail=fail) for fail in fails]
        assert [isinstance(one, Failed) for one in backend.transact_all(works)] == fails
    backend.transact(lambda tx: tx.clear())
    backend.transact(check)


def test_a_crowd_follows_other_writers(tmp_path: Path, make_record: Build) -> None:
    """What another backend has written meanwhile is in the crowd, however much it is."""
    url = f"sqlite:///{tmp_path / 'store.db'}"
    with closing(open_backend(url)) as one, closing(open_backend(url)) as other:

        def add(tx: Transaction, count: int) -> None:
            tx.insert([make_record(tx.next_seq()) for _ in range(count)], {})

        for count in (1, 5, 200, 3):
            other.transact(partial(add, count=count))
            seen = one.transact(lambda tx: tx.crowd(("user-1",)))
            assert len(seen.ids) == other.read(lambda reader: reader.count(Selection()))
        other.transact(lambda tx: tx.remove(tx.select(Selection(limit=2))))
        assert len(one.transact(lambda tx: tx.crowd(("user-1",))).ids) == 207
