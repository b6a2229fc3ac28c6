"""Transactions on every backend: all or nothing, one at a time, in the order of their commits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mars.errors import InvalidInput, InvalidVector, StoreClosed, StoreError
from mars.memory.backends import open_backend
from mars.memory.interfaces import Backend, Reader, Selection, Transaction
from mars.memory.records import Change, Record

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
EVERY_BACKEND = settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
Build = Callable[..., Record]
Put = Callable[..., list[Record]]
Contents = Callable[[Backend], tuple[Any, ...]]


def test_a_failed_transaction_leaves_nothing(
    backend: Backend, make_record: Build, put: Put, contents: Contents
) -> None:
    """If `work` raises, records, vectors, history, tombstones, facts and `seq` are as they were before."""
    one, two, three = put(backend, make_record(0, key="k"), make_record(0), make_record(0), vectors={})
    backend.transact(lambda t: t.set_vectors("e", {one.id: np.ones(3, np.float32)}))
    backend.transact(lambda t: t.log([Change(seq=one.seq, at=NOW, record=one.id, event="added", detail={"a": 1})]))
    before = contents(backend)

    def work(transaction: Transaction) -> None:
        transaction.remove([one, two])
        transaction.insert([make_record(transaction.next_seq(), key="k")], {})
        transaction.update([replace(three, seq=transaction.next_seq(), uses=9)])
        transaction.set_vectors("f", {three.id: np.zeros(3, np.float32)})
        transaction.log([Change(seq=9, at=NOW, record=three.id, event="used", detail={})])
        transaction.set_meta({"embedder": "f"})
        raise KeyError("no")

    with pytest.raises(KeyError):
        backend.transact(work)
    assert contents(backend) == before
    assert put(backend, make_record(0))[0].seq == before[0] + 1


@EVERY_BACKEND
@given(steps=st.lists(st.tuples(st.sampled_from("iurv"), st.integers(0, 5)), max_size=12))
def test_any_rolled_back_sequence_leaves_nothing(
    backend: Backend, make_record: Build, steps: list[tuple[str, int]], put: Put, contents: Contents
) -> None:
    """Whatever a transaction did before it failed, the store holds what it held."""
    put(backend, *(make_record(0) for _ in range(4)))
    before = contents(backend)

    def work(transaction: Transaction) -> None:
        for step, which in steps:
            alive = transaction.select(Selection(limit=6))
            if step == "i" or not alive:
                fresh = make_record(transaction.next_seq())
                transaction.insert([fresh], {fresh.id: np.ones(2, np.float32)})
                continue
            chosen = alive[which % len(alive)]
            if step == "u":
                transaction.update([replace(chosen, seq=transaction.next_seq(), uses=chosen.uses + 1)])
            elif step == "r":
                transaction.remove([chosen])
            else:
                transaction.set_vectors("e", {chosen.id: np.ones(2, np.float32)})
        raise KeyError("no")

    with pytest.raises(KeyError):
        backend.transact(work)
    assert contents(backend) == before


@pytest.mark.parametrize("field", ["id", "key", "idempotency_key"])
def test_a_taken_key_is_refused(backend: Backend, make_record: Build, field: str, put: Put, contents: Contents) -> None:
    """An id, a key or an idempotency key that is there already is `InvalidInput`, and nothing of the write stays."""
    (first,) = put(backend, make_record(0, **{field: "0190b6a0-same"}))
    before = contents(backend)
    with pytest.raises(InvalidInput):
        put(backend, make_record(0), make_record(0, **{field: "0190b6a0-same"}))
    assert contents(backend) == before
    if field != "id":
        put(backend, make_record(0, **{field: "0190b6a0-same"}, namespace=("other",)))
        backend.transact(lambda t: t.remove([first]))
        put(backend, make_record(0, **{field: "0190b6a0-same"}))


def test_a_swallowed_error_still_dooms_the_transaction(backend: Backend, make_record: Build, put: Put) -> None:
    """A failed statement inside `work` cannot be followed by a commit of the rest."""
    (first,) = put(backend, make_record(0))

    def work(transaction: Transaction) -> None:
        transaction.insert([make_record(transaction.next_seq())], {})
        with pytest.raises(InvalidInput):
            transaction.insert([replace(first, seq=transaction.next_seq())], {})

    def without_vector(transaction: Transaction) -> None:
        record = make_record(transaction.next_seq())
        with pytest.raises(InvalidVector):
            transaction.insert([record], {record.id: np.asarray([float("nan")], np.float32)})

    with pytest.raises(InvalidVector):
        backend.transact(without_vector)
    with pytest.raises(InvalidInput):
        backend.transact(work)
    assert backend.read(lambda reader: reader.select(Selection())) == [first]


def test_threads_write_one_after_the_other(backend: Backend, make_record: Build, put: Put) -> None:
    """Concurrent writers lose nothing, `seq` has no gap, and a reader never sees half of a transaction."""
    one, two = put(backend, make_record(0), make_record(0))
    torn: list[tuple[int, int]] = []
    faults: list[BaseException] = []
    done = threading.Event()

    def bump(transaction: Transaction) -> None:
        records = [record for record in transaction.get([one.id, two.id]) if record]
        transaction.update([replace(r, seq=transaction.next_seq(), uses=r.uses + 1) for r in records])

    def write() -> None:
        try:
            for _ in range(20):
                backend.transact(bump)
        except BaseException as error:  # noqa: BLE001 - shown by the assertion below
            faults.append(error)

    def watch() -> None:
        while not done.is_set():
            seen = backend.read(lambda reader: [r.uses for r in reader.get([one.id, two.id]) if r])
            if seen[0] != seen[1]:
                torn.append((seen[0], seen[1]))

    writers = [threading.Thread(target=write) for _ in range(4)]
    watcher = threading.Thread(target=watch)
    for thread in [watcher, *writers]:
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    watcher.join()
    assert (faults, torn) == ([], [])
    assert backend.read(lambda reader: [r.uses for r in reader.get([one.id, two.id]) if r]) == [80, 80]
    assert backend.read(lambda reader: reader.head()) == 2 + 2 * 80


def test_transactions_do_not_nest(backend: Backend) -> None:
    """A transaction within a transaction is an error that says what to do instead of a deadlock."""
    with pytest.raises(StoreError, match="use the one"):
        backend.transact(lambda _: backend.transact(lambda _: None))
    assert backend.transact(lambda t: t.next_seq()) == 1


def test_a_closed_backend_says_so(store: str) -> None:
    """After `close`, which may be called twice, every use is `StoreClosed`."""
    backend = open_backend(store)
    backend.close()
    backend.close()
    with pytest.raises(StoreClosed):
        backend.read(lambda reader: reader.head())
    with pytest.raises(StoreClosed):
        backend.transact(lambda t: t.next_seq())


@pytest.fixture
def pair(store: str) -> Iterator[tuple[Backend, Backend]]:
    """Open the store twice, as two processes would."""
    opened = open_backend(store), open_backend(store)
    yield opened
    for backend in opened:
        backend.close()


@pytest.mark.parametrize("store", ["sqlite", "postgres"], indirect=True)
def test_a_view_is_one_snapshot(pair: tuple[Backend, Backend], make_record: Build, put: Put) -> None:
    """What others commit while a view is open is seen by the next view only, and by that one at once."""
    reading, writing = pair

    def look(reader: Reader) -> list[int]:
        before = len(reader.select(Selection()))
        put(writing, make_record(0))
        return [before, len(reader.select(Selection())), reader.head()]

    assert reading.read(look) == [0, 0, 0]
    assert reading.read(look) == [1, 1, 1]
    assert reading.read(lambda reader: reader.head()) == 2


@pytest.mark.parametrize("store", ["sqlite", "postgres"], indirect=True)
def test_two_writers_share_one_clock(pair: tuple[Backend, Backend], make_record: Build, put: Put) -> None:
    """Two connections that write at the same time give every change its own `seq`, without a gap, in commit order."""
    order: list[int] = []

    def write(backend: Backend) -> None:
        for _ in range(25):
            order.extend(record.seq for record in put(backend, make_record(0)))

    threads = [threading.Thread(target=write, args=(backend,)) for backend in pair]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stored = pair[0].read(lambda reader: [record.seq for record in reader.select(Selection())])
    assert sorted(order) == stored == list(range(1, 51))
