"""LangGraph's store over MARS's memory: every operation, from every kind of caller."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from random import Random
from typing import Any, TypedDict

import pytest
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from langgraph.store.base import (
    GetOp,
    InvalidNamespaceError,
    ListNamespacesOp,
    MatchCondition,
    PutOp,
    SearchOp,
)

from mars import Memory, MemoryStore
from mars.errors import InvalidInput, InvalidSetting, StoreClosed
from mars.integrations.items import render
from mars.memory.presets import PAPER
from mars.testing import ConstantEmbedder, FixedClock

pytestmark = pytest.mark.anyio

HOME = ("users", "ann")
BAD_NAMESPACES: list[Any] = [("a.b",), ("a", ""), ("a", 1), ("a\x00",)]


@pytest.fixture(params=["memory:", "sqlite:///:memory:", "file"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Each kind of store that needs no server."""
    return f"sqlite:///{tmp_path / 'store.db'}" if request.param == "file" else str(request.param)


def found(store: MemoryStore, prefix: tuple[str, ...] = (), **search: Any) -> list[str]:
    """The keys that a search finds, in order."""
    return [item.key for item in store.search(prefix, **search)]


@pytest.mark.wheel
def test_put_get_delete(url: str) -> None:
    """An item comes back as it was put, with its times, and is gone when it is deleted."""
    clock = FixedClock()
    with MemoryStore.open(url, clock=clock) as store:
        value = {"text": "I like figs", "n": 1.5, "tags": ["a", None], "nested": {"deep": [{"x": True}]}, "nul": "\x00"}
        store.put(HOME, "k", value)
        item = store.get(HOME, "k")
        assert item is not None
        assert (item.value, item.key, item.namespace) == (value, "k", HOME)
        assert item.created_at == item.updated_at == clock.now()
        store.delete(HOME, "k")
        assert store.get(HOME, "k") is None
        store.delete(HOME, "k")


def test_a_returned_value_is_the_callers_own(url: str) -> None:
    """Changing what get and put handled changes nothing in the store."""
    with MemoryStore.open(url) as store:
        value = {"list": [1]}
        store.put(HOME, "k", value)
        value["list"].append(2)
        for _ in range(2):
            item = store.get(HOME, "k")
            assert item is not None
            assert item.value == {"list": [1]}
            item.value["list"].append(3)


def test_an_acknowledged_put_outlives_the_store(tmp_path: Path) -> None:
    """A store opened again on the same file holds what was put, and searches it."""
    url = f"sqlite:///{tmp_path / 'store.db'}"
    with MemoryStore.open(url) as store:
        store.put(HOME, "k", {"text": "I like figs"})
    with MemoryStore.open(url) as store:
        assert found(store, query="figs") == ["k"]


async def test_the_asynchronous_half(url: str) -> None:
    """The asynchronous methods do what the blocking ones do, on the same items."""
    async with MemoryStore.open(url) as store:
        await store.aput(HOME, "k", {"text": "I like figs"})
        item = await store.aget(HOME, "k")
        assert item == await asyncio.to_thread(store.get, HOME, "k") == store.get(HOME, "k")
        assert [one.key for one in await store.asearch((), query="figs")] == ["k"]
        assert await store.alist_namespaces() == [HOME]
        await store.adelete(HOME, "k")
        assert await store.aget(HOME, "k") is None


async def test_many_callers_at_once(url: str) -> None:
    """Tasks and threads may use one store at the same time, and nothing is lost."""
    async with MemoryStore.open(url) as store:

        def work(number: int) -> None:
            for place in range(5):
                store.put(HOME, f"t{number}-{place}", {"n": number})
                store.search(HOME, query="n")

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        await asyncio.gather(*(store.aput(HOME, f"a{number}", {"n": number}) for number in range(20)))
        for thread in threads:
            await asyncio.to_thread(thread.join)
        assert len(await store.asearch(HOME, limit=100)) == 40


def test_from_one_event_loop_after_another() -> None:
    """A store that was opened once serves several event loops in turn."""
    with MemoryStore.open("memory:") as store:
        asyncio.run(store.aput(HOME, "k", {"n": 1}))
        item = asyncio.run(store.aget(HOME, "k"))
        assert item is not None
        assert item.value == {"n": 1}


def test_a_batch_reads_before_it_writes(url: str) -> None:
    """Results come in the order of the operations; reads see what was there before the batch; the last put wins."""
    with MemoryStore.open(url) as store:
        store.put(HOME, "k", {"n": 1})
        results = store.batch(
            [
                PutOp(HOME, "k", {"n": 2}),
                GetOp(HOME, "k"),
                PutOp(HOME, "k", {"n": 3}),
                SearchOp(("users",)),
                ListNamespacesOp(),
                GetOp(HOME, "none"),
            ]
        )
        assert results[0] is results[2] is results[5] is None
        assert results[1].value == {"n": 1}  # type: ignore[union-attr]
        assert results[4] == [HOME]
        item = store.get(HOME, "k")
        assert item is not None
        assert item.value == {"n": 3}


def test_a_bad_operation_fails_its_whole_batch(url: str) -> None:
    """Where one operation means nothing, none is done."""
    with MemoryStore.open(url) as store:
        store.put(HOME, "old", {"n": 1})
        values: list[Any] = [{"n": float("nan")}, {"o": object()}, {1: 2}, ["list"]]
        bad = [PutOp(HOME, "bad", value) for value in values]
        bad += [PutOp(HOME, "bad", {"n": 1}, ttl=ttl) for ttl in (0, -1, float("nan"), 1e300, True)]
        for op in bad:
            with pytest.raises(InvalidInput):
                store.batch([PutOp(HOME, "good", {"n": 1}), PutOp(HOME, "old", None), op])
        filters: list[Any] = [{"n": {"$regex": "x"}}, {"n": {"$gt": 1, "plain": 2}}, ["n"]]
        for filter in filters:
            with pytest.raises(InvalidInput):
                store.batch([PutOp(HOME, "good", {}), SearchOp(HOME, filter)])
        with pytest.raises(InvalidInput):
            store.search(HOME, limit=-1)
        assert found(store) == ["old"]


@pytest.mark.parametrize("namespace", BAD_NAMESPACES)
def test_labels_are_checked(namespace: Any) -> None:
    """A label that is empty, no string, or holds a period or a NUL is refused by every operation."""
    with MemoryStore.open("memory:") as store:
        for op in (
            GetOp(namespace, "k"),
            PutOp(namespace, "k", {}),
            PutOp(namespace, "k", None),
            SearchOp(namespace),
            ListNamespacesOp((MatchCondition("prefix", namespace),)),
        ):
            with pytest.raises(InvalidNamespaceError):
                store.batch([op])


def test_the_empty_namespace_is_for_searches() -> None:
    """() searches and lists everything, but holds nothing; LangGraph's own root is refused."""
    with MemoryStore.open("memory:") as store:
        store.put(("a",), "k", {})
        assert found(store, ()) == ["k"]
        assert store.get((), "k") is None
        for namespace in ((), ("langgraph",), ("\ud800",)):
            with pytest.raises(InvalidNamespaceError):
                store.batch([PutOp(namespace, "k", {})])


def test_any_label_and_any_key(url: str) -> None:
    """Wildcards, quotes, newlines and letters of all scripts are plain text in labels and keys."""
    labels = ["user_1", "a%b", "star*", "q?", "br[ack]et", "alice\n", "alice", "Alice", "日本", '"', "\\", " "]
    with MemoryStore.open(url) as store:
        for label in labels:
            store.put((label, "x"), label, {"label": label})
        for label in labels:
            assert [item.value["label"] for item in store.search((label,))] == [label]
            assert store.get((label, "x"), label) is not None
        assert sorted(store.list_namespaces()) == sorted((label, "x") for label in labels)


def test_ttl_ends_and_is_refreshed(url: str) -> None:
    """An item lives for its minutes since it was last put or read; a read may leave its time alone."""
    clock = FixedClock()
    with MemoryStore.open(url, clock=clock, ttl={"default_ttl": 10}, index={"fields": ["a", "b"]}) as store:
        store.put(HOME, "default", {"a": "fig", "b": "rye"})
        store.put(HOME, "short", {"a": "fig"}, ttl=1)
        store.put(HOME, "forever", {"a": "oat"}, ttl=None)
        clock.advance(minutes=2)
        assert store.get(HOME, "short") is None
        clock.advance(minutes=7)
        assert store.get(HOME, "default") is not None
        clock.advance(minutes=9)
        assert found(store, query="rye", limit=1) == ["default"]
        clock.advance(minutes=9)
        assert found(store, refresh_ttl=False) == ["forever", "default"]
        clock.advance(minutes=1)
        assert found(store) == found(store, query="rye") == ["forever"]
        assert store.sweep_ttl() == 2
        assert store.sweep_ttl() == 0


async def test_ttl_is_left_alone_where_reads_do_not_refresh() -> None:
    """With refresh_on_read off, reading prolongs nothing unless the call asks for it."""
    clock = FixedClock()
    config: Any = {"default_ttl": 10, "refresh_on_read": False}
    async with MemoryStore.open("memory:", clock=clock, ttl=config) as store:
        await store.aput(HOME, "k", {})
        await store.aput(HOME, "kept", {})
        clock.advance(minutes=9)
        await store.aget(HOME, "k")
        await store.aget(HOME, "kept", refresh_ttl=True)
        clock.advance(minutes=2)
        assert [item.key for item in await store.asearch(())] == ["kept"]
        assert await store.asweep_ttl() == 1


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        ({"n": 1}, "a"),
        ({"n": {"$eq": 1.0}}, "a"),
        ({"n": {"$ne": 1}}, "bc"),
        ({"n": {"$gt": 1}}, "bc"),
        ({"n": {"$gte": 2, "$lt": 3}}, "b"),
        ({"n": {"$lte": float("inf")}}, "abc"),
        ({"n": {"$eq": float("nan")}}, ""),
        ({"n": True}, ""),
        ({"flag": True}, "a"),
        ({"color": {"$gt": "green"}}, "a"),
        ({"color": {"$gt": 1}}, ""),
        ({"color": None}, "c"),
        ({"none": None}, ""),
        ({"tags": ["x", "y"]}, "a"),
        ({"tags": ["y", "x"]}, ""),
        ({"user": {"age": {"$gte": 40}}}, "b"),
        ({"user.age": 30, "n": 1}, "a"),
        ({"user.last-name": "O'Brien"}, "b"),
        ({"dotted.name": 1}, "c"),
        ({"n' OR 1=1 --": 1}, ""),
        ({}, "abcd"),
    ],
)
@pytest.mark.parametrize("query", [None, "item"])
def test_filters(filter: dict[str, Any], expected: str, query: str | None) -> None:
    """Every operator, with and without a query; a missing field passes nothing."""
    rows: dict[str, dict[str, Any]] = {
        "a": {"n": 1, "flag": True, "color": "red", "tags": ["x", "y"], "user": {"age": 30}},
        "b": {"n": 2, "flag": False, "color": "green", "user": {"age": 40, "last-name": "O'Brien"}},
        "c": {"n": 3.5, "color": None, "dotted.name": 1},
        "d": {"other": "item"},
    }
    with MemoryStore.open("memory:") as store:
        for key, value in rows.items():
            store.put(HOME, key, {"what": "item", **value})
        assert sorted(found(store, HOME, filter=filter, query=query)) == list(expected)


def test_search_ranks_every_item_or_those_above_the_floor() -> None:
    """Without a floor what is near comes first and the rest has score 0; with one the rest stays away."""
    rows = {"fig": "I like figs", "rye": "Rye bread is for Sundays", "bus": "The bus leaves at nine"}
    for floor, expected in ((None, ["bus", "rye", "fig"]), (0.2, ["bus"])):
        with MemoryStore.open("memory:", floor=floor) as store:
            for key, text in rows.items():
                store.put(HOME, key, {"text": text})
            hits = store.search(HOME, query="When does the bus leave?")
            assert [hit.key for hit in hits] == expected
            assert hits[0].score is not None
            assert 0.2 < hits[0].score <= 1.0
            assert all(hit.score == 0.0 for hit in hits[1:])
            assert [hit.score for hit in store.search(HOME, query=" ", limit=1)] == [None]


def test_deep_pages_with_a_filter() -> None:
    """Pages of a filtered search cover each item once, however few of the hits pass the filter."""
    with MemoryStore.open("memory:") as store:
        store.batch([PutOp(HOME, f"{n:03}", {"text": "heron", "odd": bool(n % 2), "n": n}) for n in range(300)])
        searches: list[dict[str, Any]] = [{"query": "heron"}, {}]
        for search in searches:
            keys = [
                key
                for offset in range(0, 160, 20)
                for key in found(store, filter={"odd": True}, limit=20, offset=offset, **search)
            ]
            assert sorted(keys) == [f"{n:03}" for n in range(1, 300, 2)]


def test_parts_of_an_item_are_found_one_by_one() -> None:
    """Each text of a field with many is found by itself, and its item comes once."""
    with MemoryStore.open("memory:", floor=0.1, index={"fields": ["tags[*]", "title"]}) as store:
        store.put(HOME, "k", {"tags": ["red apple", "blue car", "blue car"], "title": "blue", "hidden": "heron"})
        store.put(HOME, "none", {"hidden": "car"})
        assert found(store, query="car") == ["k"]
        assert found(store, query="heron") == []
        assert sorted(found(store)) == ["k", "none"]
        store.put(HOME, "none", {"hidden": "car"}, index=["hidden"])
        assert sorted(found(store, query="car")) == ["k", "none"]
        store.put(HOME, "k", {"tags": ["red apple"]})
        assert found(store, query="blue") == []
        store.put(HOME, "k", {"tags": ["red apple"]}, index=False)
        assert found(store, query="apple") == []


async def test_an_edit_of_the_text_is_what_is_found(tmp_path: Path) -> None:
    """An item with parts that is edited as a record is found by its new text alone, and is the same item."""
    url = f"sqlite:///{tmp_path / 'store.db'}"
    async with MemoryStore.open(url, index={"fields": ["a", "b"]}) as store:
        await store.aput(HOME, "k", {"a": "red apple", "b": "blue car"})
    async with Memory.open(url) as memory:
        (whole,) = [row for row in await memory.list(HOME) if row.key == "k"]
        await memory.edit(whole.id, text="a heron")
    async with MemoryStore.open(url, index={"fields": ["a", "b"]}) as store:
        scores = {text: [hit.score for hit in await store.asearch(HOME, query=text)] for text in ("heron", "apple")}
        assert (scores["heron"][0] or 0.0) > 0.5
        assert scores["apple"] == [0.0]


def test_namespaces_are_listed() -> None:
    """Prefix, suffix, wildcards, depth and pages, in order and each once; empty namespaces are not listed."""
    names = [("a", "b", "c"), ("a", "b", "d", "e"), ("a", "b", "d", "i"), ("a", "b", "f"), ("a", "c", "f"), ("x",)]
    with MemoryStore.open("memory:") as store:
        store.batch([PutOp(name, "k", {}) for name in reversed(names)])
        assert store.list_namespaces() == names
        cut = store.list_namespaces(prefix=("a", "b"), max_depth=3)
        assert cut == [("a", "b", "c"), ("a", "b", "d"), ("a", "b", "f")]
        assert store.list_namespaces(suffix=("f",)) == [("a", "b", "f"), ("a", "c", "f")]
        assert store.list_namespaces(prefix=("a", "*", "f")) == [("a", "b", "f"), ("a", "c", "f")]
        assert store.list_namespaces(prefix=("a",), suffix=("*", "e")) == [("a", "b", "d", "e")]
        assert store.list_namespaces(limit=2, offset=4) == names[4:]
        store.delete(("x",), "k")
        assert ("x",) not in store.list_namespaces()


def test_items_are_pinned_unless_they_may_fade() -> None:
    """Years later an item is there; with `decay` it is forgotten, and a put brings it back."""
    for decay, left in ((False, ["k"]), (True, [])):
        clock = FixedClock()
        with MemoryStore.open("memory:", clock=clock, preset=PAPER, decay=decay) as store:
            store.put(HOME, "k", {"text": "figs"})
            clock.advance(days=1000)
            assert found(store) == found(store, query="figs") == left
            assert (store.get(HOME, "k") is not None) is bool(left)
            assert (store.list_namespaces() == [HOME]) is bool(left)
            store.put(HOME, "k", {"text": "figs again"})
            assert found(store, query="figs") == ["k"]


async def test_over_a_live_memory() -> None:
    """The store reads and writes a memory that is open, shows its own items only, and leaves it open."""
    async with Memory.open("memory:", clock=FixedClock()) as memory:
        await memory.add("A record that is no item.", HOME)
        async with MemoryStore.open(memory) as store:
            store.put(HOME, "k", {"text": "I like figs"})
            assert [item.key for item in await store.asearch(())] == ["k"]
        (hit,) = await memory.recall("figs", namespace=HOME)
        assert hit.record.text == "text: I like figs"
        with pytest.raises(InvalidSetting):
            MemoryStore.open(memory, preset=PAPER)


def test_use_out_of_turn_is_refused() -> None:
    """Before it is opened, after it is closed and a second time, the remedy is named."""
    store = MemoryStore.open("memory:")
    with pytest.raises(StoreClosed, match="with MemoryStore"):
        store.get(HOME, "k")
    with store:
        pass
    store.close()
    with pytest.raises(StoreClosed):
        store.get(HOME, "k")
    with pytest.raises(StoreClosed), store:
        pass


def test_settings_are_checked() -> None:
    """Fields that are no list, a floor out of range and two embedders are refused."""
    fields: Any = {"fields": "text"}
    with pytest.raises(InvalidSetting):
        MemoryStore.open("memory:", index=fields)
    with pytest.raises(InvalidSetting):
        MemoryStore.open("memory:", floor=2.0)
    index: Any = {"embed": ConstantEmbedder()}
    with pytest.raises(InvalidSetting):
        MemoryStore.open("memory:", index=index, embedder=ConstantEmbedder())
    with MemoryStore.open("memory:", index=index) as store:
        store.put(HOME, "k", {"a": 1})
        assert found(store, query="anything") == ["k"]


def test_the_text_of_a_value() -> None:
    """A value reads as one line for each leaf, in the order of its keys."""
    value = {"food": {"likes": ["figs", "rye"], "none": None}, "blank": " ", "age": 30, "a": [{"b": True}], "empty": {}}
    assert render(value) == "a.b: true\nage: 30\nfood.likes: figs\nfood.likes: rye"


class State(TypedDict, total=False):
    """What the graph below carries."""

    said: str
    answer: str


async def test_in_a_graph() -> None:
    """A compiled graph hands the store to its nodes, asynchronous and plain ones alike."""

    async def listen(state: State, runtime: Runtime[None]) -> State:
        assert runtime.store is not None
        await runtime.store.aput(HOME, "said", {"text": state["said"]})
        return {}

    def answer(state: State, runtime: Runtime[None]) -> State:
        assert runtime.store is not None
        return {"answer": runtime.store.search(HOME, query="figs")[0].value["text"]}

    builder = StateGraph(State)
    builder.add_node("listen", listen)
    builder.add_node("answer", answer)
    builder.add_edge(START, "listen")
    builder.add_edge("listen", "answer")
    builder.add_edge("answer", END)
    async with MemoryStore.open("sqlite:///:memory:") as store:
        result = await builder.compile(store=store).ainvoke({"said": "I like figs"})
    assert result["answer"] == "I like figs"


def test_a_page_is_what_a_whole_listing_says(url: str) -> None:
    """Whatever order items were put, refreshed and replaced in, each page is a part of the whole."""
    clock, random = FixedClock(), Random(7)
    with MemoryStore.open(url, clock=clock) as store:
        last: dict[str, int] = {}
        for step in range(200):
            clock.advance(seconds=random.choice((0, 0, 1, 5, -3)))
            key = str(random.randrange(150))
            store.put(("n", key[0]), key, {"odd": step % 2 == 1}, ttl=60)
            last[key] = step
            store.get(("n", key[0]), str(random.randrange(150)))
        everything = store.search(("n",), limit=1000)
        assert {item.key for item in everything} == set(last)
        assert [item.updated_at for item in everything] == sorted((i.updated_at for i in everything), reverse=True)
        for offset in (0, 1, 7, 63, 64, 65, len(everything)):
            for limit in (0, 1, 10):
                assert store.search(("n",), limit=limit, offset=offset) == everything[offset : offset + limit]
        odd = [item for item in everything if item.value["odd"]]
        assert odd == store.search(("n",), filter={"odd": True}, limit=1000)
        assert store.search(("n",), filter={"odd": True}, limit=5, offset=3) == odd[3:8]
