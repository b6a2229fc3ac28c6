"""What goes wrong in LangGraph's own stores and must not in ours; shown against both, so that a mending is noticed."""

from __future__ import annotations

import importlib.util
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from langchain_core.embeddings import Embeddings
from langgraph.store.base import BaseStore, IndexConfig
from langgraph.store.memory import InMemoryStore

from mars import Memory, MemoryStore
from mars.memory.interfaces import Selection
from mars.testing import FixedClock

HOME = ("user-1",)
LOADABLE = hasattr(sqlite3.Connection, "enable_load_extension")


class Words(Embeddings):
    """Three words with a direction each, and a little of a fourth for every text."""

    directions = ("fig", "rye", "oat")

    def embed_query(self, text: str) -> list[float]:
        """Return four numbers."""
        return [float(word in text) for word in self.directions] + [0.1]

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return four numbers for each text."""
        return [self.embed_query(text) for text in texts]


class Bench:
    """Opens either store, and does to its clock what each permits."""

    def __init__(self, ours: bool, stack: ExitStack) -> None:
        self.ours = ours
        self.clock = FixedClock()
        self._stack = stack

    def open(self, **index: Any) -> BaseStore:
        """Open the store with an index of the three words."""
        config: Any = {"dims": 4, "embed": Words(), **index} if index else None
        if self.ours:
            return self._stack.enter_context(MemoryStore.open("sqlite:///:memory:", index=config, clock=self.clock))
        from langgraph.store.sqlite import SqliteStore

        store: Any = self._stack.enter_context(SqliteStore.from_conn_string(":memory:", index=config))
        store.setup()
        return store  # type: ignore[no-any-return]

    def years_later(self, store: Any) -> None:
        """Let time pass: by our clock, or by moving the other store's rows into the past."""
        if self.ours:
            self.clock.advance(days=3650)
            return
        for column in ("created_at", "updated_at", "expires_at"):
            store.conn.execute(f"UPDATE store SET {column} = '2020-01-01 00:00:00' WHERE {column} IS NOT NULL")

    def expect(self, seen: object, *, right: object, stock: object) -> None:
        """Compare what was seen with what is right, or with the defect of the other store."""
        if not self.ours:
            assert seen == stock, "the other store was mended: say so in docs/langgraph.md, and drop this half"
        else:
            assert seen == right


@pytest.fixture(params=["mars", pytest.param("sqlite", marks=pytest.mark.stock)])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """Our store and LangGraph's SqliteStore in turn."""
    if request.param == "sqlite" and importlib.util.find_spec("langgraph.store.sqlite") is None:
        pytest.skip("langgraph-checkpoint-sqlite is not installed")
    with ExitStack() as stack:
        yield Bench(request.param == "mars", stack)


@pytest.fixture
def vectors(bench: Bench) -> Bench:
    """The same, where the other store can load its extension."""
    if not bench.ours and not LOADABLE:
        pytest.skip("this Python loads no SQLite extensions, so SqliteStore has no search here")
    return bench


def keys(store: BaseStore, query: str, **page: Any) -> list[str]:
    """What a search finds, in order."""
    return [item.key for item in store.search(HOME, query=query, **page)]


def test_search_needs_no_extension_of_sqlite(bench: Bench) -> None:
    """Search works on a Python that cannot load SQLite extensions."""
    try:
        store = bench.open(fields=["$"])
        store.put(HOME, "k", {"a": "fig"})
        seen = keys(store, "fig") == ["k"]
    except AttributeError as error:
        seen = "enable_load_extension" not in str(error)
    bench.expect(seen, right=True, stock=LOADABLE)


def test_the_fields_option_is_honoured(vectors: Bench) -> None:
    """A field that `fields` leaves out brings no item near a query."""
    store = vectors.open(fields=["a"])
    store.put(HOME, "1", {"a": "oat", "b": "rye"})
    store.put(HOME, "2", {"a": "oat"})
    scores = {item.key: item.score for item in store.search(HOME, query="rye")}
    vectors.expect(scores["1"] == scores["2"], right=True, stock=False)


def test_the_nearest_comes_first(vectors: Bench) -> None:
    """Whatever distance is asked for, the nearest item is the first."""
    store = vectors.open(distance_type="l2")
    store.put(HOME, "near", {"a": "fig"})
    store.put(HOME, "far", {"a": "rye"})
    vectors.expect(keys(store, "fig"), right=["near", "far"], stock=["far", "near"])


def test_an_update_keeps_the_time_of_creation(bench: Bench) -> None:
    """A put over an item changes when it was updated, not when it was created."""
    store = bench.open()
    store.put(HOME, "k", {"a": 1})
    first = store.get(HOME, "k")
    assert first is not None
    bench.years_later(store)
    store.put(HOME, "k", {"a": 2})
    item = store.get(HOME, "k")
    assert item is not None
    born = first.created_at.year if bench.ours else 2020
    bench.expect(item.created_at.year == born, right=True, stock=False)
    assert item.updated_at >= item.created_at


def test_pages_go_on_to_the_end(vectors: Bench) -> None:
    """Every page of a search holds items until there are no more."""
    store = vectors.open(fields=["$"])
    for number in range(9):
        store.put(HOME, str(number), {"a": "fig"})
    sizes = [len(keys(store, "fig", limit=2, offset=offset)) for offset in (0, 2, 4, 6, 8, 10)]
    vectors.expect(sizes, right=[2, 2, 2, 2, 1, 0], stock=[2, 2, 0, 0, 0, 0])


def test_what_has_expired_is_never_shown(bench: Bench) -> None:
    """Get, search and the list of namespaces show no expired item, before any sweep."""
    store = bench.open()
    store.put(HOME, "k", {"a": 1}, ttl=1)
    bench.years_later(store)
    seen = (store.get(HOME, "k") is None, store.search(HOME) == [], store.list_namespaces() == [])
    bench.expect(seen, right=(True, True, True), stock=(False, False, False))


def test_a_delete_removes_the_vector() -> None:
    """After a delete no row and no vector of the item is left in the database."""
    index: IndexConfig = {"dims": 4, "embed": Words(), "fields": ["a", "b"]}
    with Memory.open_sync("sqlite:///:memory:") as memory, MemoryStore.open(memory) as store:
        store.put(HOME, "k", {"a": "fig", "b": "rye"}, index=index["fields"])
        ids = [row.id for row in memory.read(lambda reader: reader.select(Selection()))]
        assert len(memory.read(lambda reader: reader.vectors(ids))) == 3
        store.delete(HOME, "k")
        assert memory.read(lambda reader: reader.vectors(ids)) == {}
        assert memory.read(lambda reader: reader.select(Selection())) == []


@pytest.mark.stock
@pytest.mark.skipif(not LOADABLE, reason="this Python loads no SQLite extensions")
def test_the_stock_delete_leaves_the_vector() -> None:
    """SqliteStore's delete leaves the vector; when this fails, it was mended."""
    pytest.importorskip("langgraph.store.sqlite")
    with ExitStack() as stack:
        store: Any = Bench(False, stack).open(fields=["$"])
        store.put(HOME, "k", {"a": "fig"})
        store.delete(HOME, "k")
        assert tuple(store.conn.execute("SELECT count(*) FROM store_vectors").fetchone()) == (1,)


@pytest.mark.parametrize("kind", ["mars", pytest.param("memory", marks=pytest.mark.stock)])
def test_no_stale_vector_survives_a_put_without_index(kind: str) -> None:
    """An item that was put again with `index=False` is not found by what it said before."""
    index: Any = {"dims": 4, "embed": Words()}
    with ExitStack() as stack:
        store: BaseStore = InMemoryStore(index=index)
        if kind == "mars":
            store = stack.enter_context(MemoryStore.open("memory:", index=index))
        store.put(HOME, "k", {"a": "fig"})
        store.put(HOME, "k", {"a": "something else"}, index=False)
        assert (keys(store, "fig") == []) is (kind == "mars")
        assert len(store.search(HOME)) == 1
