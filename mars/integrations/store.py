"""LangGraph's store over MARS's memory: `MemoryStore`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np
from langgraph.store.base import (
    BaseStore,
    GetOp,
    IndexConfig,
    InvalidNamespaceError,
    ListNamespacesOp,
    Op,
    PutOp,
    Result,
    SearchOp,
    TTLConfig,
    ensure_embeddings,
    validate_op_namespace,
)

from mars.bridge import Openable, Twin
from mars.errors import InvalidInput, InvalidSetting, StoreClosed
from mars.integrations import items
from mars.integrations.matching import check_filter, matches, passes
from mars.memory.embedding import LangchainEmbedder
from mars.memory.engine import Memory
from mars.memory.filters import RecallFilter
from mars.memory.interfaces import FIRST_PAGE, LAST_PAGE, Backend, Embedder, Namespace, Reader, Selection
from mars.memory.recall import Question
from mars.memory.records import Record, Status, check_share
from mars.memory.sync import SyncMemory
from mars.memory.tiers import FORGOTTEN
from mars.memory.views import as_read, standings_of

if TYPE_CHECKING:
    from sqlalchemy import Engine

Returned = TypeVar("Returned")

FIRST_LOOK = 64
"""So many hits are asked for at first; more, if a filter leaves too few of them for a page."""

ROOT = "langgraph"
"""The root label that LangGraph keeps for itself."""


class Desk:
    """Serves operations, asynchronously, over one memory that it opens and closes."""

    def __init__(
        self, open_memory: Callable[[], Memory], *, fields: Sequence[str], decay: bool, floor: float | None
    ) -> None:
        self._open_memory = open_memory
        self._fields = tuple(fields)
        self._decay = decay
        self._floor = floor

    async def __aenter__(self) -> Self:
        self._memory = await self._open_memory().__aenter__()
        self._layout = items.Layout(self._fields, self._memory.embedder.dimension, self._decay)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._memory.close()

    async def serve(self, ops: Sequence[Op]) -> list[Result]:
        """Return the results of operations in their order: reads first, then all writes in one transaction."""
        now = self._memory.clock.now()
        puts = [self._layout.keyed(op, now) for op in ops if isinstance(op, PutOp)]
        seen: dict[str, Record] = {}
        results: list[Result] = []
        for op in ops:
            found: list[Record] = []
            if isinstance(op, GetOp):
                found = await self._get(op, now)
                results.append(items.item_of(found[0]) if found else None)
            elif isinstance(op, SearchOp):
                scored = await self._search(op, now)
                found = [record for record, _ in scored]
                results.append([items.search_item_of(record, score) for record, score in scored])
            elif isinstance(op, ListNamespacesOp):
                results.append(await self._namespaces(op, now))
            else:
                results.append(None)
            if isinstance(op, GetOp | SearchOp) and op.refresh_ttl:
                seen.update((record.id, record) for record in found if items.ttl_of(record) is not None)
        if seen:
            await self._memory.renew({one: items.until(items.ttl_of(seen[one]), now) for one in seen}, now=now)
        if puts:
            await self._memory.put_many(puts, now=now)
        return results

    def _live(self, records: Iterable[Record | None], now: datetime) -> list[Record]:
        """Return those that are items as they read now: not expired, not put away, not forgotten."""
        read = (as_read(one, self._memory.preset, now) for one in records if one is not None and items.is_item(one))
        return [record for record in read if record is not None and record.status is Status.ACTIVE]

    async def _select(self, selection: Selection, now: datetime) -> list[Record]:
        return self._live(await self._memory.read(lambda reader: reader.select(selection)), now)

    async def _get(self, op: GetOp, now: datetime) -> list[Record]:
        if not op.namespace:
            return []
        return await self._select(Selection(namespace=tuple(op.namespace), keys=frozenset({str(op.key)})), now)

    async def _search(self, op: SearchOp, now: datetime) -> list[tuple[Record, float | None]]:
        filter = check_filter(op.filter)
        page = slice(op.offset, op.offset + op.limit)
        if op.query is not None and op.query.strip():
            ranked: list[tuple[Record, float | None]] = [*await self._ranked(op, op.query, filter, page.stop, now)]
            if len(ranked) < page.stop and self._floor is None:
                known = {record.id for record, _ in ranked}
                rest = await self._listed(op, filter, now, None)
                ranked += [(one, 0.0) for one in rest if one.id not in known and items.is_indexed(one)]
            return ranked[page]
        return [(record, None) for record in (await self._listed(op, filter, now, page.stop))[page]]

    async def _listed(self, op: SearchOp, filter: Mapping[str, Any], now: datetime, count: int | None) -> list[Record]:
        """Return the items under the prefix that pass the filter, the last one put first; all, or the first `count`."""
        active = Selection(prefix=tuple(op.namespace_prefix), statuses=frozenset({Status.ACTIVE}), alive_at=now)

        def look(reader: Reader) -> list[Record]:
            lives = reader.lives(active)
            kept = np.flatnonzero(standings_of(lives, self._memory.preset, now)[1] != FORGOTTEN)
            # A put restarts the retention, which nothing sets back: so no item was put later than this says.
            times = lives.strengthened[kept].tolist()
            order = sorted(zip(times, (lives.ids[place] for place in kept.tolist()), strict=True), reverse=True)
            found: list[Record] = []
            start, size = 0, FIRST_PAGE
            while start < len(order) and not (count is not None and _settled(found, count, order[start])):
                names = _passing(reader, [name for _, name in order[start : start + size]], filter)
                found += [one for one in reader.get(names) if one is not None and items.is_item(one)]
                found.sort(key=items.age, reverse=True)
                start, size = start + size, min(4 * size, LAST_PAGE)
            return found[:count]

        return await self._memory.read(look)

    async def _ranked(
        self, op: SearchOp, query: str, filter: Mapping[str, Any], count: int, now: datetime
    ) -> list[tuple[Record, float]]:
        """Return at least `count` items that are near the query and pass the filter, if there are so many."""
        k = max(FIRST_LOOK, 2 * count)
        while True:
            question = Question(
                text=query,
                scope=tuple(op.namespace_prefix),
                below=True,
                k=k,
                now=now,
                filter=RecallFilter(metadata={items.FOUND: True}),
                floor=self._floor or 0.0,
                explain=False,
            )
            hits = await self._memory.answer(question)
            found = await self._wholes([(hit.record, hit.relevance) for hit in hits], now)
            kept = [(one, score) for one, score in found if passes(items.value_of(one), filter)]
            if len(kept) >= count or len(hits) < k:
                return kept
            k *= 64  # a filter that the nearest do not pass is rarely passed by a few more

    async def _wholes(self, hits: Sequence[tuple[Record, float]], now: datetime) -> list[tuple[Record, float]]:
        """Return the items that hits belong to, each once, with the best of its scores."""
        names = [one.id if items.is_item(one) else next(iter(one.provenance.sources), "") for one, _ in hits]
        wanted = list(dict.fromkeys(names))
        scores = dict.fromkeys(wanted, 0.0)
        for name, (_, relevance) in zip(names, hits, strict=True):
            scores[name] = max(scores[name], relevance)
        known = {one.id: one for one, _ in hits if items.is_item(one)}
        others = [name for name in wanted if name not in known]
        if others:
            read = await self._memory.read(lambda reader: reader.get(others))
            known.update((one.id, one) for one in read if one is not None)
        return [(one, scores[one.id]) for one in self._live((known.get(name) for name in wanted), now)]

    async def _namespaces(self, op: ListNamespacesOp, now: datetime) -> list[Namespace]:
        """Return the namespaces that hold an item, in order, each once; cut to the depth, if one is given."""
        conditions, stop = op.match_conditions or (), op.offset + op.limit

        def look(reader: Reader) -> list[Namespace]:
            found: dict[Namespace, None] = {}
            for name in sorted(reader.namespaces()):
                cut = name if op.max_depth is None else name[: op.max_depth]
                if cut in found or not matches(name, conditions):
                    continue
                active = Selection(namespace=name, statuses=frozenset({Status.ACTIVE}), alive_at=now)
                if any(self._live([one], now) for one in reader.each(active)):
                    found[cut] = None
                if len(found) >= stop:
                    break
            return list(found)[op.offset : stop]

        return await self._memory.read(look)

    async def sweep(self) -> int:
        """Delete what has expired; return how many items it was."""
        return sum(items.is_item(record) for record in await self._memory.purge_expired())


class _Bridge(Twin[Desk]):
    """Runs the desk on an event loop in a thread of its own, for callers of every kind."""

    def run(self, work: Callable[[Desk], Awaitable[Returned]]) -> Returned:
        """Block until the work is done."""
        desk = self.original
        return self._run(lambda: work(desk))

    async def arun(self, work: Callable[[Desk], Awaitable[Returned]]) -> Returned:
        """Do the same without blocking the caller's event loop."""
        desk, portal = self.original, self._portal
        assert portal is not None
        return await asyncio.wrap_future(portal.start_task_soon(lambda: work(desk)))


class MemoryStore(Openable, BaseStore):
    """A `langgraph.store.base.BaseStore` over MARS's memory: durable, exact, with search and TTL, without a key.

    Open it with ``with MemoryStore.open("sqlite:///life.db") as store`` or ``async with``, and give it to
    ``graph.compile(store=store)``. Guarantees. *Durable*: an acknowledged put survives the death of the process, and
    all puts of one `batch` are written together or not at all; reads of a batch see what was there before it. *Fresh*:
    another process's put is seen by the next call. *Exact*: search looks at every item, pages to any depth, and shows
    no item that has expired. *From anywhere*: each method works in plain code, in worker threads and within a running
    event loop, where the blocking ones block it. *Quiet*: reading strengthens nothing.

    Items do not fade, unless the store is opened with `decay`; TTL is in minutes and honoured at read. Labels must be
    non-empty strings without periods, else `InvalidNamespaceError`. Raises `InvalidInput` for a value that is no JSON.
    """

    supports_ttl = True

    def __init__(self, bridge: _Bridge, index_config: IndexConfig | None, ttl_config: TTLConfig | None) -> None:
        self._bridge = bridge
        self._state = "new"
        self.index_config = index_config
        self.ttl_config = ttl_config

    @classmethod
    def open(
        cls,
        target: str | Engine | Backend | Memory | SyncMemory = "sqlite:///mars.db",
        *,
        index: IndexConfig | None = None,
        ttl: TTLConfig | None = None,
        decay: bool = False,
        floor: float | None = None,
        **options: Any,
    ) -> Self:
        """Return a store that opens when it is entered, by ``with`` or ``async with``.

        `target` is all that `Memory.open` takes, with its `options` (embedder, preset, clock, …), or a live memory,
        which stays open. `index` has LangGraph's keys: ``fields`` to be indexed (default ``["$"]``, the whole value)
        and ``embed`` with ``dims``; without ``embed`` search goes by words. `ttl` has LangGraph's keys ``default_ttl``
        (minutes) and ``refresh_on_read``. With `decay` items fade by the preset, and forgotten ones are gone for every
        read. A search with a query ranks every indexed item, those that nothing brings near last, with score 0; with a
        `floor` in [0, 1] only those of at least this score are returned. The score is the hit's `relevance`.
        """
        fields = (index or {}).get("fields") or [items.WHOLE]
        if isinstance(fields, str) or not all(isinstance(field, str) for field in fields):
            raise InvalidSetting(f"index['fields'] is a list of paths; got {fields!r}")
        desk = Desk(
            _opener(target, index, options),
            fields=fields,
            decay=decay,
            floor=None if floor is None else check_share(floor, "floor"),
        )
        return cls(_Bridge(desk), index, ttl)

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Execute operations and return their results in order; see the class for what holds between them."""
        checked = _checked(ops)
        return self._opened().run(lambda desk: desk.serve(checked))

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """Do what `batch` does without blocking the event loop."""
        checked = _checked(ops)
        return await self._opened().arun(lambda desk: desk.serve(checked))

    def sweep_ttl(self) -> int:
        """Delete what has expired and return how many items it was. No read depends on it; it frees space."""
        return self._opened().run(Desk.sweep)

    async def asweep_ttl(self) -> int:
        """Do what `sweep_ttl` does without blocking the event loop."""
        return await self._opened().arun(Desk.sweep)

    def close(self) -> None:
        """Finish what is in progress and release what was opened; idempotent."""
        self._state = "closed"
        self._bridge.close()

    def _begin(self) -> None:
        if self._state != "new":
            raise StoreClosed("this store was opened before: make another with MemoryStore.open()")
        self._bridge.open()
        self._state = "open"

    def _opened(self) -> _Bridge:
        if self._state != "open":
            raise StoreClosed(f"the store is {self._state}: use it in `with MemoryStore.open(...) as store:`")
        return self._bridge


def _passing(reader: Reader, names: list[str], filter: Mapping[str, Any]) -> list[str]:
    """Return which of these records hold an item that passes the filter, by their metadata alone."""
    if not filter:
        return names
    values = {name: items.value_in(held) for name, held in reader.metadata(names).items()}
    return [name for name in names if (value := values.get(name)) is not None and passes(value, filter)]


def _settled(found: Sequence[Record], count: int, bound: tuple[int, str]) -> bool:
    """Tell whether the first `count` of these are the first of all, if no other's age is beyond the bound."""
    return len(found) >= count and (count == 0 or items.age(found[count - 1]) >= bound)


def _opener(
    target: str | Engine | Backend | Memory | SyncMemory, index: IndexConfig | None, options: Mapping[str, Any]
) -> Callable[[], Memory]:
    """Return what opens the memory in the store's own thread: a live one is read through its backend."""
    if isinstance(target, Memory | SyncMemory):
        if options or (index or {}).get("embed"):
            raise InvalidSetting("a live memory has its embedder and options already; give it alone, or give its URL")
        memory = target.original if isinstance(target, SyncMemory) else target
        return lambda: Memory.open(memory.backend, embedder=memory.embedder, preset=memory.preset, clock=memory.clock)
    where, settings = target, dict(options)
    if index and index.get("embed"):
        if "embedder" in settings:
            raise InvalidSetting("give the embedder once: as index['embed'] or as embedder=…")
        settings["embedder"] = _embedder(index)
    return lambda: Memory.open(where, **settings)


def _embedder(index: IndexConfig) -> Embedder:
    """Return the embedder of an index configuration: one of MARS's, or anything that LangGraph takes."""
    named: Any = index["embed"]
    if isinstance(named, Embedder):
        return named
    embeddings = ensure_embeddings(named)
    dimension = index.get("dims")
    model = named if isinstance(named, str) else getattr(embeddings, "model", None) or type(embeddings).__name__
    return LangchainEmbedder(embeddings, id=f"{model}-{dimension or 'd'}", dimension=dimension)


def _checked(ops: Iterable[Op]) -> list[Op]:
    """Return the operations if each of them means something; so nothing of a batch is done where one does not."""
    checked = list(ops)
    for op in checked:
        validate_op_namespace(op)
        if isinstance(op, PutOp):
            _check_place(op)
        elif isinstance(op, SearchOp):
            check_filter(op.filter)
        elif not isinstance(op, GetOp | ListNamespacesOp):
            raise InvalidInput(f"a store serves get, put, search and list operations; got {type(op).__name__}")
        if isinstance(op, SearchOp | ListNamespacesOp) and not (_counts(op.limit) and _counts(op.offset)):
            raise InvalidInput(f"limit and offset count from 0; got {op.limit!r} and {op.offset!r}")
    return checked


def _counts(number: object) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and 0 <= number < sys.maxsize // 8


def _check_place(op: PutOp) -> None:
    if not op.namespace:
        raise InvalidNamespaceError("the namespace of an item must not be empty")
    if op.value is not None and op.namespace[0] == ROOT:
        raise InvalidNamespaceError(f"the root label {ROOT!r} is LangGraph's own; got {op.namespace!r}")
    try:
        "".join(op.namespace).encode()
    except UnicodeEncodeError:
        raise InvalidNamespaceError(f"a label holds a lone surrogate: {op.namespace!r}") from None
